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
from saeflow.datasets.texts.judge import RIGHT
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.games import game_values, plan_game, success_by_size
from saeflow.stats.labelings import even, label_difference, labeling_test
from saeflow.stats.resampling import WILSON, sign_flip_p_value
from saeflow.studies.decimal_bug import rows
from saeflow.studies.decimal_bug.names import (
    BLEND,
    BOTH,
    CHOICE,
    MAP,
    OTHER_BUGGY,
    OWN,
    PLAIN_TO_BUGGY,
    RANDOM,
    SAME_PLAIN,
    SITE,
    SUBSETS,
    UNRELATED,
    Site,
)
from saeflow.studies.decimal_bug.rows import mean_row, row, share_row

PART = "patching"
FLIPS = 9999
"""Sign flips of pairs, at most."""
PLACE = ["half", "direction", "layer", "kind", "units", "phase", "weight", "set"]
"""What a patch and its controls, which take activations from elsewhere, share."""


def patch_rows(patches: pa.Table, settings: PatchSettings) -> Iterator[dict[str, Any]]:
    """Share of right answers and mean change of the logit difference, patch by patch.

    Each row is of one prompt per pair, so pairs are independent. Donors other than the prompt of the
    same pair are its controls.

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
    for part in (CHOICE, MAP, RANDOM, BLEND, rows.PUBLISHED):
        some = frame[frame["part"] == part]
        for (mode, *place), group in some.groupby(["mode", *PLACE], sort=True):
            where = dict(zip(PLACE, place, strict=True))
            key = _key(str(mode), int(where["layer"]), _name(part, where))
            for donor, chosen in group.groupby("donor", sort=True):
                yield from _donor_rows(key, str(donor), chosen, settings.seed)
    yield from _own_rows(frame[frame["part"] == OWN])


def chosen_rows(
    patches: pa.Table, chosen: Mapping[str, int], settings: PatchSettings
) -> Iterator[dict[str, Any]]:
    """The layer that was chosen on one half, on the other: right answers beyond other buggy pairs.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`.
    chosen : mapping of str to int
        Layer by kind of module.
    settings : PatchSettings
        Seed of the sign flips.

    Yields
    ------
    dict
        ``right_beyond_other_pair_buggy`` for each kind, tested by flipping signs of pairs and
        adjusted over kinds by Holm.
    """
    frame = patches.to_pandas()
    frame = frame[(frame["part"] == MAP) & (frame["half"] == REPORT)]
    frame = frame[(frame["direction"] == PLAIN_TO_BUGGY) & (frame["phase"] == BOTH)]
    found = []
    for kind, layer in chosen.items():
        some = frame[(frame["kind"] == kind) & (frame["layer"] == layer)]
        right = {
            donor: part.set_index("item")["verdict"].eq(RIGHT).astype(float)
            for donor, part in some.groupby("donor")
        }
        if SAME_PLAIN not in right or OTHER_BUGGY not in right:
            continue
        beyond = (right[SAME_PLAIN] - right[OTHER_BUGGY]).to_numpy(np.float64)
        key = _key(rows.CALIBRATED, layer, f"chosen, {kind}")
        metric = f"right_beyond_{OTHER_BUGGY}"
        found.append(_tested(key, metric, beyond, settings.seed, kind))
    yield from _adjusted(found)


def site_rows(patches: pa.Table, site: Site, settings: PatchSettings) -> Iterator[dict[str, Any]]:
    """The site that was chosen on one half, on the other: with every donor, and beyond unrelated ones.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`; part ``site`` is read.
    site : Site
        As `saeflow.studies.decimal_bug.patching.choose_site` gives it.
    settings : PatchSettings
        Seed of resamples and sign flips.

    Yields
    ------
    dict
        Shares and changes by donor; ``right_beyond_…`` for each unrelated donor, tested by flipping
        signs of pairs and adjusted over these donors by Holm.
    """
    frame = patches.to_pandas()
    frame = frame[frame["part"] == SITE]
    key = _key(rows.CALIBRATED, site.layer, f"chosen site: {site.name}")
    right = {}
    for donor, some in frame.groupby("donor", sort=True):
        yield from _donor_rows(key, str(donor), some, settings.seed)
        right[donor] = some.set_index("item")["verdict"].eq(RIGHT).astype(float)
    tested = []
    for donor in UNRELATED:
        if donor in right:
            beyond = (right[SAME_PLAIN] - right[donor]).to_numpy(np.float64)
            tested.append(_tested(key, f"right_beyond_{donor}", beyond, settings.seed, donor))
    yield from _adjusted(tested)


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
        if mode == rows.PUBLISHED:
            for (name, units), part in some.groupby(["set", "units"], sort=True):
                shares = (part["verdict"] == RIGHT).to_numpy(np.float64)
                yield share_row(_subset_key(mode, layer, kind, f"{name}: {units}"), "right", shares)
        else:
            yield from _game_rows(str(mode), int(layer), str(kind), hits, settings)


def _donor_rows(
    key: Mapping[str, Any], donor: str, frame: pd.DataFrame, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of one patch with one donor; the same pair's is the measurement, others its controls."""
    control = rows.NONE if donor.startswith("same_pair") else donor
    right, wrote = frame["verdict"] == RIGHT, frame["wrote_donor"]
    yield share_row(key, "right", right.to_numpy(np.float64), control)
    yield share_row(key, "wrote_donor", wrote.to_numpy(np.float64), control)
    change = frame["logit_difference"] - frame["clean_logit_difference"]
    generator = numpy_generator(seed, "decimal_bug", PART, key["group"])
    yield mean_row(key, "logit_change", change.to_numpy(np.float64), None, generator, control)


def _own_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The study's own pair: one prompt per patch, so nothing that an interval could be of."""
    for values in frame.itertuples(index=False, name=None):
        each = dict(zip(frame.columns, values, strict=True))
        key = _key(str(each["mode"]), int(each["layer"]), _name(OWN, each))
        yield row(key, "right", float(each["verdict"] == RIGHT), n=1)
        change = each["logit_difference"] - each["clean_logit_difference"]
        yield row(key, "logit_change", float(change), n=1)


def _tested(
    key: Mapping[str, Any],
    metric: str,
    beyond: Float[np.ndarray, " pairs"],
    seed: int,
    name: str,
) -> dict[str, Any]:
    """Row of a difference of pairs, tested by flipping their signs."""
    generator = numpy_generator(seed, "decimal_bug", "chosen", name)
    p_value = sign_flip_p_value(beyond, None, FLIPS, generator)
    return {**mean_row(key, metric, beyond, None, generator), "p_value": p_value}


def _adjusted(tested: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows with what Holm makes of their p-values."""
    if tested:
        adjusted = holm(np.array([each["p_value"] for each in tested], np.float64))
        for each, q_value in zip(tested, adjusted.tolist(), strict=True):
            yield {**each, "q_value": q_value}


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
