"""How often a patch makes answers right, by layer, units and donor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float

from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.datasets.comparisons.pairs import REPORT
from saeflow.datasets.texts.judge import RIGHT, WRONG
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.games import game_values, plan_game, success_by_size
from saeflow.stats.labelings import even, label_difference, labeling_test, smallest_p_value
from saeflow.stats.resampling import WILSON, cluster_averages, sign_flip_p_value
from saeflow.studies import rows
from saeflow.studies.decimal_bug.names import (
    BLEND,
    BOTH,
    BUGGY_TO_PLAIN,
    CHOICE,
    MAP,
    NO_ITEM,
    OTHER_BUGGY,
    OTHER_PAIR,
    OWN,
    PLAIN_TO_BUGGY,
    RANDOM,
    SAME_PLAIN,
    SITE,
    SPARED,
    SUBSETS,
    UNLIKE_BUGGY,
    UNLIKE_PAIR,
    UNLIKE_PLAIN,
    UNRELATED,
    Site,
)
from saeflow.studies.rows import mean_row, row, share_row

PART = "patching"
FLIPS = 9999
"""Sign flips of pairs, at most."""
PLACE = ["half", "direction", "layer", "kind", "units", "phase", "weight", "set"]
"""What a patch and its controls, which take activations from elsewhere, share."""


def patch_rows(patches: pa.Table, settings: PatchSettings) -> Iterator[dict[str, Any]]:
    """Share of right answers and mean change of the logit difference, patch by patch.

    Each row is of one prompt per pair, so pairs are independent; where several get activations of one
    donor, each donor counts once. Donors other than the prompt of the same pair are its controls.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`.
    settings : PatchSettings
        Seed of the resamples.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`.
    """
    frame = patches.to_pandas()
    # The site in both phases has rows of its own (`chosen_rows`).
    frame = frame[(frame["part"] != SITE) | (frame["phase"] != BOTH)]
    for part in (CHOICE, SITE, SPARED, MAP, RANDOM, BLEND, rows.PUBLISHED):
        some = frame[frame["part"] == part]
        for (mode, *place), group in some.groupby(["mode", *PLACE], sort=True):
            where = dict(zip(PLACE, place, strict=True))
            key = _key(str(mode), int(where["layer"]), _name(part, where))
            for donor, chosen in group.groupby("donor", sort=True):
                yield from _donor_rows(key, str(donor), chosen, settings.seed)
                if where["direction"] == BUGGY_TO_PLAIN:
                    yield _share(key, WRONG, str(donor), chosen, chosen["verdict"] == WRONG)
    yield from _own_rows(frame[frame["part"] == OWN])


def chosen_rows(
    patches: pa.Table, chosen: Mapping[str, int], site: Site, settings: PatchSettings
) -> Iterator[dict[str, Any]]:
    """The layers and the site that were chosen on one half, on the other.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`; only the half that reports is read.
    chosen : mapping of str to int
        Layer by kind of module.
    site : Site
        As `saeflow.studies.decimal_bug.choice.choose_site` gives it.
    settings : PatchSettings
        Seed of resamples and sign flips.

    Yields
    ------
    dict
        Of the site, shares and changes by donor. Of both, ``right_beyond_…``: right answers beyond an
        unrelated donor. Of attention and of the site ``right_by_format``: those from an unlike pair
        asked plainly beyond those from the same pair asked Q/A, which no answer of the donor's explains.
        Differences are tested by flipping signs of pairs, or of the donors that several pairs share, and
        adjusted together by Holm.
    """
    frame = patches.to_pandas()
    frame = frame[(frame["half"] == REPORT) & (frame["direction"] == PLAIN_TO_BUGGY)]
    frame = frame[frame["phase"] == BOTH]
    whole = frame[frame["part"] == MAP]
    tested: list[dict[str, Any]] = []
    for kind, layer in chosen.items():
        right = _right_by_donor(whole[(whole["kind"] == kind) & (whole["layer"] == layer)])
        against = UNRELATED if kind == "attn_out" else (OTHER_BUGGY,)
        key = _key(rows.CALIBRATED, layer, f"chosen, {kind}")
        tested += _differences(key, right, against, settings.seed)
    of_site = frame[frame["part"] == SITE]
    key = _key(rows.CALIBRATED, site.layer, f"chosen site: {site.name}")
    for donor, some in of_site.groupby("donor", sort=True):
        yield from _donor_rows(key, str(donor), some, settings.seed)
    tested += _differences(key, _right_by_donor(of_site), UNRELATED, settings.seed)
    if tested:
        adjusted = holm(np.array([each["p_value"] for each in tested], np.float64))
        for each, q_value in zip(tested, adjusted.tolist(), strict=True):
            yield {**each, "q_value": q_value}


def subset_rows(patches: pa.Table, settings: SubsetSettings) -> Iterator[dict[str, Any]]:
    """What units add to one another, whether even ones add more, and success by number of units.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`; part ``subsets`` is read.
    settings : SubsetSettings
        The plan that the patches come from, and the labelings.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`.
    """
    frame = patches.to_pandas()
    frame = frame[frame["part"] == SUBSETS]
    for (mode, layer, kind), some in frame.groupby(["mode", "layer", "kind"], sort=True):
        hits = some.assign(hit=some["verdict"] == RIGHT).pivot(
            index="units", columns="item", values="hit"
        )
        yield from _game_rows(str(mode), int(layer), str(kind), hits, settings)


def _donor_rows(
    key: Mapping[str, Any], donor: str, frame: pd.DataFrame, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of one patch with one donor; the same pair's is the measurement, others its controls."""
    yield _share(key, RIGHT, donor, frame, frame["verdict"] == RIGHT)
    if donor.startswith((OTHER_PAIR, UNLIKE_PAIR)):
        # The others have no number that the prompt does not hold.
        yield _share(key, "wrote_donor", donor, frame, frame["wrote_donor"])
    change = frame["logit_difference"] - frame["clean_logit_difference"]
    generator = numpy_generator(seed, "decimal_bug", PART, key["group"])
    averages = _averages(change, _clusters(frame))
    yield mean_row(key, "logit_change", averages, None, generator, _control(donor))


def _share(
    key: Mapping[str, Any], metric: str, donor: str, frame: pd.DataFrame, flags: pd.Series
) -> dict[str, Any]:
    return share_row(key, metric, _averages(flags, _clusters(frame)), _control(donor))


def _control(donor: str) -> str:
    return rows.NONE if donor.startswith("same_pair") else donor


def _clusters(frame: pd.DataFrame) -> list[int]:
    """What each pair's result is of: the donor's pair, or its own where the donor has none."""
    chosen = frame["donor_item"].where(frame["donor_item"] != NO_ITEM, frame["item"])
    return [int(each) for each in chosen]


def _averages(values: pd.Series, clusters: Sequence[int]) -> Float[np.ndarray, " clusters"]:
    """Average what is of one cluster, so that it counts once."""
    return cluster_averages(values.to_numpy(np.float64), clusters)


def _own_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The study's own pair: one prompt per patch, so nothing that an interval could be of."""
    for values in frame.itertuples(index=False, name=None):
        each = dict(zip(frame.columns, values, strict=True))
        key = _key(str(each["mode"]), int(each["layer"]), _name(OWN, each))
        for verdict in (RIGHT, WRONG):
            yield row(key, verdict, float(each["verdict"] == verdict), n=1)
        change = each["logit_difference"] - each["clean_logit_difference"]
        yield row(key, "logit_change", float(change), n=1)


def _right_by_donor(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Whether each pair is answered rightly, and which donor it has, by kind of donor."""
    return {
        str(donor): pd.DataFrame(
            {"right": some["verdict"].eq(RIGHT).to_numpy(float), "cluster": _clusters(some)},
            index=some["item"],
        )
        for donor, some in frame.groupby("donor")
    }


def _differences(
    key: Mapping[str, Any], right: Mapping[str, pd.DataFrame], against: Sequence[str], seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of differences of right answers, pair by pair, each with a p-value of flipped signs."""
    wanted = {f"right_beyond_{donor}": (SAME_PLAIN, donor) for donor in against}
    if UNLIKE_BUGGY in against:
        wanted["right_by_format"] = UNLIKE_PLAIN, UNLIKE_BUGGY
    for metric, (donor, other) in wanted.items():
        if donor in right and other in right:
            pair_by_pair = right[donor]["right"] - right[other]["right"]
            # The same donor in both formats, or the pair itself beside one: the latter's is shared.
            clusters = right[other]["cluster"].loc[pair_by_pair.index]
            beyond = _averages(pair_by_pair, clusters.tolist())
            generator = numpy_generator(seed, "decimal_bug", key["group"], metric)
            p_value = sign_flip_p_value(beyond, None, FLIPS, generator)
            yield {**mean_row(key, metric, beyond, None, generator), "p_value": p_value}


def _game_rows(
    mode: str, layer: int, kind: str, hits: pd.DataFrame, settings: SubsetSettings
) -> Iterator[dict[str, Any]]:
    n_units = 1 + max(int(unit) for name in hits.index for unit in name.split(",") if unit)
    plan = plan_game(
        n_units, exhaustive=settings.exhaustive, orders=settings.orders, seed=settings.seed
    )
    success = _success(plan.masks, hits)
    values = game_values(plan, success.astype(np.float64))
    for name, found in (("shapley", values.shapley), ("banzhaf", values.banzhaf)):
        for unit, of_unit in enumerate(found.per_prompt):
            key = _subset_key(mode, layer, kind, f"unit {unit}")
            generator = numpy_generator(settings.seed, "decimal_bug", name, kind, unit)
            yield mean_row(key, name, of_unit, None, generator)
        if n_units > 1:
            labels = even(n_units)
            key = _subset_key(mode, layer, kind, "even minus odd units")
            generator = numpy_generator(settings.seed, "decimal_bug", "parity", name, kind)
            shown = mean_row(key, name, label_difference(found.per_prompt, labels), None, generator)
            test = labeling_test(
                found.per_prompt.mean(1),
                labels,
                labelings=settings.labelings,
                seed=settings.seed,
            )
            yield {**shown, "p_value": test.p_value}
    if n_units > 1:
        key = _subset_key(mode, layer, kind, "even minus odd units")
        smallest = smallest_p_value(n_units, int(even(n_units).sum()))
        yield row(key, "smallest_p_value", smallest, n=n_units)
    rates = success_by_size(plan.masks, success)
    for place, size in enumerate(rates.size.tolist()):
        key = _subset_key(mode, layer, kind, f"{size} of {n_units} units")
        ends = float(rates.low[place]), float(rates.high[place])
        value = float(rates.rate[place])
        yield row(key, "right", value, n=rates.n, ends=ends, interval=WILSON)
        yield row(key, "subsets", int(rates.subsets[place]), n=rates.n)


def _success(
    masks: Bool[np.ndarray, "subsets units"], hits: pd.DataFrame
) -> Bool[np.ndarray, "subsets prompts"]:
    names = [",".join(map(str, np.flatnonzero(mask))) for mask in masks]
    found: Bool[np.ndarray, "subsets prompts"] = hits.loc[names].to_numpy(bool)
    return found


def _name(part: str, where: Mapping[str, Any]) -> str:
    units = "" if where["units"] == "all" else f" {where['units']}"
    named = f" ({where['set']})" if where["set"] else ""
    weight = "" if where["weight"] == 1 else f", weight {where['weight']:g}"
    prefix = "" if part == MAP else f"{part}: "
    return f"{prefix}{where['direction']}, {where['kind']}{units}{named}, {where['phase']}{weight}"


def _key(mode: str, layer: int, group: str) -> dict[str, Any]:
    return {"part": PART, **rows.NO_BANK, "mode": mode, "layer": layer, "group": group}


def _subset_key(mode: Any, layer: Any, kind: Any, group: str) -> dict[str, Any]:
    key = _key(str(mode), int(layer), f"{kind}, {group}")
    return {**key, "part": SUBSETS}
