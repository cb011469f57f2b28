"""The causal part of one bank: effects, exact effects of the shortlist, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Int
from scipy.stats import spearmanr, wilcoxon

from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.hierarchy import HIERARCHY, SCREEN
from saeflow.config.hierarchy import CausalSettings, SpecialistTests
from saeflow.saes.bank import Site
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest, bank_features
from saeflow.studies.gsm8k.discoveries import discovery_table
from saeflow.studies.hierarchy.effects import FeatureLabel, Labels, effect_table, mean_row
from saeflow.studies.hierarchy.specialist_tests import specialist_targets
from saeflow.studies.hierarchy.trials import (
    CHOSEN,
    NONE,
    RANDOM_FEATURE,
    REPORTED,
    SET,
    Parts,
    choose_site,
    problem_parts,
    set_effects,
)


class CausalTables(NamedTuple):
    """What the trials of a bank come to.

    Attributes
    ----------
    effects : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.EFFECTS`.
    screen : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SCREEN`, exact effects filled in.
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`.
    """

    effects: pa.Table
    screen: pa.Table
    summary: pa.Table


def causal_tables(
    trials: pa.Table,
    screen: pa.Table,
    cot_tokens: pa.Table,
    features: Iterable[LayerTable],
    numbers: Int[np.ndarray, " problems"],
    swapped: Mapping[str, Int[np.ndarray, " swapped"]],
    settings: CausalSettings,
    tests: SpecialistTests,
    run: Mapping[str, object],
) -> CausalTables:
    """Turn trials into effects, and compare the screening with what was done exactly.

    Parameters
    ----------
    trials, screen : pyarrow.Table
        As `saeflow.studies.hierarchy.intervene.intervene` gives them.
    cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COT_TOKENS`.
    features : iterable of LayerTable
        Activations of the bank's features, for what they follow.
    numbers : numpy.ndarray of int
        Held-out problems, ascending.
    swapped : mapping of str to numpy.ndarray of int
        By data set of balanced problems, those among which values are exchanged, ascending.
    settings : CausalSettings
        As for the interventions.
    tests : SpecialistTests
        How labels are found, on the problems that features are chosen on.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    """
    dataset = str(run["dataset"])
    parts = problem_parts(numbers, settings.problems, settings.seed)
    reported = parts.reported
    halves = {(dataset, CHOSEN): parts.chosen, (dataset, REPORTED): reported}
    halves |= {(name, REPORTED): problems for name, problems in swapped.items()}
    exact = _exact(trials, dataset, len(reported))
    labels = followed(list(features), cot_tokens, parts.unreported, reported, list(exact), tests)
    keys = {name: run[name] for name in ("dictionary", "seed", "mode")}
    effects = effect_table(trials, halves, labels, keys, settings.seed)
    filled = _with_exact(screen, exact)
    rows = [
        *_agreement(filled, run),
        *_largest_set(trials, effects, run),
        *_before(trials, parts, settings.seed, run),
    ]
    return CausalTables(effects, filled, pa.Table.from_pylist(rows, HIERARCHY.schema()))


def followed(
    features: list[LayerTable],
    cot_tokens: pa.Table,
    chosen: Int[np.ndarray, " chosen"],
    reported: Int[np.ndarray, " reported"],
    wanted: list[tuple[Site, int]],
    tests: SpecialistTests,
) -> Labels:
    """Best label of features, found on some of the problems, and which others have it.

    Parameters
    ----------
    features : list of LayerTable
        Activations.
    cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COT_TOKENS`.
    chosen, reported : numpy.ndarray of int
        Running numbers of either.
    wanted : list of (Site, int)
        Features.
    tests : SpecialistTests
        Targets and thresholds, of which the smallest counts are halved as in `split_half`.
    """
    if not wanted:
        return {}
    whole = bank_features(features, chosen)
    names = list(zip(whole.layer.tolist(), whole.step.tolist(), whole.index.tolist(), strict=True))
    place = {name: column for column, name in enumerate(names)}
    columns = np.array([place[(*site, feature)] for site, feature in wanted])
    bank = BankFeatures(
        whole.layer[columns], whole.step[columns], whole.index[columns], whole.values[:, columns]
    )
    targets = specialist_targets(tests.targets, cot_tokens, chosen)
    test = BankTest(bank, targets, tests.tests, torch.device("cpu"), least=0.5)
    nothing = {"dataset": "", "dictionary": "", "seed": 0, "mode": ""}
    table = discovery_table(test, test.candidates(), nothing).to_pandas()
    there = {
        f"{target.name}: {label}": reported[target.present[:, column]]
        for target in specialist_targets(tests.targets, cot_tokens, reported)
        for column, label in enumerate(target.labels)
    }
    none = np.zeros(0, reported.dtype)
    found: dict[tuple[Site, int], FeatureLabel] = {}
    for row in table.sort_values("p_value", kind="stable").itertuples():
        label = f"{row.target}: {row.label}"
        feature = Site(int(row.layer), int(row.step)), int(row.feature)
        found.setdefault(feature, FeatureLabel(label, there.get(label, none)))
    return found


def _exact(trials: pa.Table, dataset: str, count: int) -> dict[tuple[Site, int], tuple[float, int]]:
    """Mean effect of each single ablation over all reported problems, and where it was active."""
    frame = trials.to_pandas()
    single = frame[
        (frame["dataset"] == dataset)
        & (frame["edit"] == "zero")
        & (frame["control"] == NONE)
        & (frame["half"] == REPORTED)
        & frame["unit"].str.startswith("F")
    ]
    return {
        (Site(int(layer), int(step)), int(str(unit)[1:])): (
            float(part["log_probability"].astype(np.float64).sum() / count),
            len(part),
        )
        for (layer, step, unit), part in single.groupby(["layer", "step", "unit"])
    }


def _with_exact(screen: pa.Table, exact: Mapping[tuple[Site, int], tuple[float, int]]) -> pa.Table:
    names = (screen[name].to_pylist() for name in ("layer", "step", "feature"))
    found = [exact.get((Site(layer, step), f)) for layer, step, f in zip(*names, strict=True)]
    columns = {name: screen[name] for name in screen.column_names}
    columns["exact"] = pa.array([each and each[0] for each in found], pa.float64())
    columns["n_exact"] = pa.array([each and each[1] for each in found], pa.int32())
    return pa.table(columns, schema=SCREEN.schema())


def _agreement(screen: pa.Table, run: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """How well attributed effects tell exact ones of the shortlists.

    Those that features were picked by are of other problems than the exact ones; with the ending
    ``.same_problems`` both are of the same, which shows what the first order alone leaves out.
    """
    frame = screen.to_pandas()
    frame = frame[frame["exact"].notna()]
    places: list[tuple[int | None, int | None, pd.DataFrame]] = [(None, None, frame)]
    places += [(int(layer), None, part) for layer, part in frame.groupby("layer")]
    places += [(None, int(step), part) for step, part in frame.groupby("step")]
    for layer, step, part in places:
        key = {**run, "layer": layer, "step": step, "group": "shortlist"}
        count = len(part)
        names = ("attribution", "attribution_reported", "exact")
        varied = all(part[name].nunique() > 1 for name in names)
        if count > 2 and varied:
            for ending, column in (("", "attribution"), (".same_problems", "attribution_reported")):
                rank = float(spearmanr(part[column], part["exact"]).statistic)
                yield _plain(key, f"screen_rank_correlation{ending}", rank, count)
        if count:
            same = float((np.sign(part["attribution"]) == np.sign(part["exact"])).mean())
            yield _plain(key, "screen_same_sign", same, count)


def _largest_set(
    trials: pa.Table, effects: pa.Table, run: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """The chosen site, with what its set does on the problems it was chosen on, and on reported ones."""
    site = choose_site(trials)
    key = {**run, "layer": site.layer, "step": site.step, "group": SET}
    before = set_effects(trials, CHOSEN)[site]
    after = set_effects(trials, REPORTED).get(site)
    yield _plain(key, "largest_set_effect.chosen", float(before.mean()), len(before))
    if after is None:
        return
    (own,) = (
        row
        for row in effects.to_pylist()
        if (row["dataset"], Site(row["layer"], row["step"])) == (run["dataset"], site)
        and (row["unit"], row["edit"], row["half"]) == (SET, "zero", REPORTED)
        and (row["control"], row["metric"]) == (RANDOM_FEATURE, "log_probability_excess")
    )
    values = {name: own[name] for name in ("value", "ci_low", "ci_high", "interval", "n")}
    yield {**key, "metric": "largest_set_effect", "control": NONE, **values}
    lower = wilcoxon(after, alternative="less").pvalue if after.any() else 1.0
    yield _plain(key, "largest_set_effect.p_value", float(lower), len(after))


def _before(
    trials: pa.Table, parts: Parts, seed: int, run: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """How many problems each part has, and how many of the reported ones are answered right."""
    key = {**run, "layer": None, "step": None, "group": "causal"}
    for name, problems in parts._asdict().items():
        yield _plain(key, f"n_problems.{name}", float(len(problems)), len(problems))
    frame = trials.to_pandas()
    frame = frame[(frame["dataset"] == run["dataset"]) & (frame["half"] == REPORTED)]
    right = frame.drop_duplicates("problem")["right_before"].to_numpy(np.float64)
    yield {**key, "control": NONE, **mean_row("accuracy_before", right, seed)}


def _plain(key: Mapping[str, Any], metric: str, value: float, n: int) -> dict[str, Any]:
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {**key, "metric": metric, "control": NONE, "value": value, **nothing, "n": n}
