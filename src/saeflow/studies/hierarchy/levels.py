"""Level of every feature: the variable that it shares most information with, beyond chance.

Of each level by itself chance explains at most the chosen share. Two things limit what a level says. A
feature that fires for one class only of a fine variable is nearly as well told by the coarse one,
which is adjusted less, so some of these get the coarser level. And within its story a problem's
sequence is its first operator: what differs between stories in how that is told is a sequence, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int

from saeflow.artifacts.hierarchy import LEVELS
from saeflow.config.hierarchy import LevelSettings
from saeflow.seeds import numpy_generator
from saeflow.stats.information import (
    SharedInformation,
    shared_information,
    threshold_at_false_share,
    thresholds_among_others,
    within,
)
from saeflow.studies.chance import band, places
from saeflow.studies.gsm8k.bank_test import BankFeatures
from saeflow.studies.hierarchy.bins import ALL, bin_groups
from saeflow.studies.hierarchy.variables import JOINT, NONE, PARTS, ClassVariable

QUANTILES = (50, 90, 99)
"""Percentiles of the score that the summary gives."""
SCORE_EDGES = (
    *(-0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12),
    *(0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
)
"""Lower edges of bins of the score; each belongs to its bin, and the first and last are open."""


@dataclass(frozen=True)
class Levels:
    """Scores and levels of the tested features of a bank, beside those in permutations.

    Attributes
    ----------
    names : list of str
        What levels are called: the variables, then none.
    tested : numpy.ndarray of bool, shape (all,)
        Which of the bank's features fire often enough; the other arrays hold these alone.
    information : SharedInformation
        With every variable.
    threshold : numpy.ndarray of float64, shape (variables,)
        Smallest score that gives each level; infinite where none does.
    score : numpy.ndarray of float64, shape (features,)
        Largest adjusted information over variables.
    level : numpy.ndarray of int, shape (features,)
        Place in `names`; as `Joint` says, not always that of the largest information.
    null_level : numpy.ndarray of int, shape (permutations, features)
        The same in permutations, each at thresholds of its own, chosen in the same way by what the
        other permutations explain.
    """

    names: list[str]
    tested: Bool[np.ndarray, " all"]
    information: SharedInformation
    threshold: Float[np.ndarray, " variables"]
    score: Float[np.ndarray, " features"]
    level: Int[np.ndarray, " features"]
    null_level: Int[np.ndarray, "permutations features"]


def level_table(
    features: BankFeatures,
    variables: Sequence[ClassVariable],
    settings: LevelSettings,
    run: Mapping[str, object],
    device: torch.device,
    groups: Int[np.ndarray, " problems"] | None = None,
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Give features their level, and count levels beside what chance gives.

    Parameters
    ----------
    features : BankFeatures
        Activations.
    variables : sequence of ClassVariable
        Classes of the same problems, row by row, those of `PARTS` and `JOINT` among them; of equal
        ones the first is the level.
    settings : LevelSettings
        Least number of active problems, permutations, and false share.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    device : torch.device
        Where to count.
    groups : numpy.ndarray of int, shape (problems,), optional
        Problems change places in permutations with others of their group only, such as the same
        story: what a feature knows of the group is then no information on its problems.

    Returns
    -------
    levels : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.LEVELS`; features that fire too rarely are missing.
    summary : list of dict
        Rows of `saeflow.artifacts.hierarchy.HIERARCHY`, as `summary_rows` describes them.
    """
    found = find_levels(features, variables, settings, device, groups)
    return _table(features, found, run), list(summary_rows(features, found, run))


def find_levels(
    features: BankFeatures,
    variables: Sequence[ClassVariable],
    settings: LevelSettings,
    device: torch.device,
    groups: Int[np.ndarray, " problems"] | None = None,
) -> Levels:
    """Score the features of a bank, and find the score that gives a level.

    Each level has a threshold of its own for the whole bank, such that chance explains no more than
    the settings' share of the features that have it
    (`saeflow.stats.information.threshold_at_false_share`): with one for all, the commonest level
    would let the others be named by chance. Permutations have theirs by the same rule: at those of
    the measurement they would have few levels because these are chosen so, information or none.

    What has operator and value together for its level must then know each beyond the other, or has
    another (`Joint`); so it is in permutations.

    Parameters
    ----------
    features, variables, settings, device, groups
        As for `level_table`.
    """
    tested = (features.values != 0).sum(0) >= settings.min_active
    values = features.values[:, tested]
    classes = np.stack([variable.classes for variable in variables])
    orders = _orders(groups, len(values), settings, "levels")
    centre = None if groups is None else _orders(groups, len(values), settings, "centre")
    information = shared_information(values, classes, orders, device, centre=centre)
    score, best = information.adjusted.max(0), information.adjusted.argmax(0)
    nothing, null_score = len(variables), information.null_score
    threshold = np.empty(nothing)
    null_threshold = np.empty((len(null_score), nothing))
    for number in range(nothing):
        null = np.where(information.null_variable == number, null_score, -np.inf)
        own = score[best == number]
        threshold[number] = threshold_at_false_share(own, null, settings.false_share)
        null_threshold[:, number] = thresholds_among_others(null, settings.false_share)
    needed = np.take_along_axis(null_threshold, information.null_variable, axis=1)
    level = np.where(score >= threshold[best], best, nothing)
    null_level = np.where(null_score >= needed, information.null_variable, nothing)
    names = [variable.name for variable in variables]
    joint = Joint(values, names, classes, settings, device, groups, centre)
    joint.check(level, threshold, np.arange(len(values)))
    for found, limits, order in zip(null_level, null_threshold, orders, strict=True):
        joint.check(found, limits, order)
    return Levels([*names, NONE], tested, information, threshold, score, level, null_level)


class Joint:
    """Whether features of the joint level know each of its parts beyond the other.

    Information with operator and value together is largest, too, where one of them is known and
    the other only seems to be. So it is held against permutations within the same story and first
    operator, which leave what is known of that and take the value away, and against others within
    the same story and value. In either kind the information with the part that stays is the same,
    so the information with both together rises and falls by what they share with the other part
    given that one: it must be larger than in every permutation. A threshold for the whole bank
    will not do here: it would take every feature that knows an operator for one that knows a value
    alone, of which there are a hundred times fewer.

    Features that fail have the level of the largest information among the other variables, where
    that reaches its threshold.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (problems, features)
        Activations of the tested features.
    names : list of str
        The variables.
    classes : numpy.ndarray of int, shape (variables, problems)
        Class of each problem.
    settings, device, groups
        As for `level_table`.
    centre : list of numpy.ndarray of int, shape (problems,), optional
        As for `saeflow.stats.information.shared_information`.
    """

    def __init__(
        self,
        values: Float[np.ndarray, "problems features"],
        names: Sequence[str],
        classes: Int[np.ndarray, "variables problems"],
        settings: LevelSettings,
        device: torch.device,
        groups: Int[np.ndarray, " problems"] | None,
        centre: Sequence[Int[np.ndarray, " problems"]] | None,
    ) -> None:
        self._values, self._classes, self._device = values, classes, device
        self._place, self._none, self._centre = names.index(JOINT), len(names), centre
        story = np.zeros(len(values), np.int64) if groups is None else groups
        self._kept = []
        for part in PARTS:
            both = np.stack([story, classes[names.index(part)]])
            together = np.unique(both, axis=1, return_inverse=True)[1].ravel()
            self._kept.append(_orders(together, len(values), settings, f"beyond {part}"))

    def check(
        self,
        level: Int[np.ndarray, " features"],
        threshold: Float[np.ndarray, " variables"],
        order: Int[np.ndarray, " problems"],
    ) -> None:
        """Change the level of features that know no more than a part, in place.

        Parameters
        ----------
        level : numpy.ndarray of int, shape (features,)
            Place of their variable; its number of those without one.
        threshold : numpy.ndarray of float64, shape (variables,)
            Smallest score that gives each level.
        order : numpy.ndarray of int, shape (problems,)
            Permutation that all this was found in.
        """
        named = np.flatnonzero(level == self._place)
        if not len(named):
            return
        # Features moved back are the same as problems moved.
        moved = self._values[:, named][np.argsort(order)]
        joint = self._classes[self._place][None]
        enough = np.ones(len(named), bool)
        for orders in self._kept:
            found = shared_information(moved, joint, orders, self._device)
            enough &= found.adjusted[0] > found.null_score.max(0)
        failed = named[~enough]
        if not len(failed):
            return
        others = np.flatnonzero(np.arange(len(self._classes)) != self._place)
        rest = shared_information(
            self._values[:, failed],
            self._classes[others],
            [order],
            self._device,
            centre=self._centre,
        )
        best = others[rest.null_variable[0]]
        level[failed] = np.where(rest.null_score[0] >= threshold[best], best, self._none)


def _orders(
    groups: Int[np.ndarray, " problems"] | None, count: int, settings: LevelSettings, stage: str
) -> list[Int[np.ndarray, " problems"]]:
    """Permutations of as many problems, within their groups where there are any."""
    generators = (
        numpy_generator(settings.seed, "hierarchy", stage, number)
        for number in range(settings.permutations)
    )
    if groups is None:
        return [generator.permutation(count) for generator in generators]
    return [within(groups, generator) for generator in generators]


def summary_rows(
    features: BankFeatures, found: Levels, run: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """Counts of levels and the distribution of scores, each beside its permutations.

    ===================== =====================================================================
    n_tested              Features that fire often enough.
    n_level.{level}       Tested features of a level; permuted: found by the same procedure, each
                          permutation's thresholds chosen by what the others explain.
    share_level.{level}   That over n_tested.
    score_quantile.{q}    Percentile of the score; permuted: of each permutation.
    score_threshold.{level}    Smallest score that gives a level; null where no score does.
    n_score.{edge}        Features by bin of the score, named by its lower edge.
    ===================== =====================================================================

    The first four at every place, and for the whole bank by bin of active problems; the others for
    the whole bank. The control ``permuted`` has the mean over permutations, and their range. Scores
    need no threshold, so permuted ones are as they are. By chance a permutation has no level or,
    rarely, some at once, so the range says more than the mean.

    Yields
    ------
    dict
        Rows of `saeflow.artifacts.hierarchy.HIERARCHY`; places without a tested feature have
        n_tested only.
    """
    for layer, step, chosen in places(features.layer, features.step):
        key = {**run, "layer": layer, "step": step, "group": ALL}
        yield from _group_rows(found, chosen, key)
    bank = {**run, "layer": None, "step": None}
    n_active = (features.values != 0).sum(0)
    for group, chosen in bin_groups(n_active):
        if group != ALL:
            yield from _group_rows(found, chosen, {**bank, "group": group})
    key, count = {**bank, "group": ALL}, len(found.score)
    for name, limit in zip(found.names, found.threshold.tolist(), strict=False):
        threshold = limit if np.isfinite(limit) else None
        yield {**key, "metric": f"score_threshold.{name}", **_observed(threshold, count)}
    bins, null_bins = _by_bin(found.score[None]), _by_bin(found.information.null_score)
    for edge, own, chance in zip(SCORE_EDGES, bins[0], null_bins.T, strict=True):
        yield from _beside({**key, "metric": f"n_score.{edge:g}"}, float(own), chance, count)


def _group_rows(
    found: Levels, members: Bool[np.ndarray, " all"], key: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    chosen = members[found.tested]
    count = int(chosen.sum())
    yield {**key, "metric": "n_tested", **_observed(float(count), int(members.sum()))}
    if not count:
        return
    level, null_level = found.level[chosen], found.null_level[:, chosen]
    for number, name in enumerate(found.names):
        own, chance = float((level == number).sum()), (null_level == number).sum(1)
        yield from _beside({**key, "metric": f"n_level.{name}"}, own, chance, count)
        named = {**key, "metric": f"share_level.{name}"}
        yield from _beside(named, own / count, chance / count, count)
    quantiles = np.array(QUANTILES) / 100
    own_quantiles = np.quantile(found.score[chosen], quantiles)
    null_quantiles = np.quantile(found.information.null_score[:, chosen], quantiles, axis=1)
    for quantile, own, chance in zip(QUANTILES, own_quantiles, null_quantiles, strict=True):
        named = {**key, "metric": f"score_quantile.{quantile}"}
        yield from _beside(named, float(own), chance, count)


def _beside(
    key: Mapping[str, object], own: float, chance: np.ndarray, count: int
) -> Iterator[dict[str, Any]]:
    yield {**key, **_observed(own, count)}
    yield {**key, "control": "permuted", **band(chance.astype(float).tolist())}


def _observed(value: float | None, count: int) -> dict[str, Any]:
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {"control": "none", "value": value, **nothing, "n": count}


def _by_bin(scores: Float[np.ndarray, "rows features"]) -> Int[np.ndarray, "rows bins"]:
    place = np.maximum(np.searchsorted(SCORE_EDGES, scores, side="right") - 1, 0)
    width = len(SCORE_EDGES)
    return np.stack([np.bincount(each, minlength=width) for each in place])


def _table(features: BankFeatures, found: Levels, run: Mapping[str, object]) -> pa.Table:
    count, shared = len(found.score), found.information
    columns: dict[str, Any] = {
        **{name: [value] * count for name, value in run.items()},
        "layer": features.layer[found.tested],
        "step": features.step[found.tested],
        "feature": features.index[found.tested],
        "n_active": (features.values[:, found.tested] != 0).sum(0),
        "level": [found.names[number] for number in found.level],
        "score": found.score,
    }
    for number, name in enumerate(found.names[:-1]):
        columns[f"mi.{name}"] = shared.mutual[number]
        columns[f"null.{name}"] = shared.chance[number]
        columns[f"adjusted.{name}"] = shared.adjusted[number]
    arrays = [pa.array(columns[each.name], each.type) for each in LEVELS.columns]
    return pa.table(arrays, schema=LEVELS.schema())
