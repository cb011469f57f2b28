"""Specialised features by the published rule, and how many of them chance gives (methods/2, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.config.hierarchy import SpecialistSettings
from saeflow.studies.hierarchy.patterns import OPERATIONS, VALUES
from saeflow.studies.hierarchy.random_problems import random_outcomes
from saeflow.studies.hierarchy.rule_counts import RANDOM_PROBLEMS

OPERATION_NAMES = tuple(OPERATIONS)
VALUE_NAMES = tuple(f"number {value}" for value in VALUES)
GENERAL, OPERATION, VALUE, HIGHLY = (
    "general",
    "operation-specialised",
    "value-specialised",
    "highly-specialised",
)
ENDINGS = {"": False, "_untied": True}
"""Whether ties between patterns count, by what the names of such numbers end in."""


@dataclass(frozen=True)
class Specialisation:
    """What the rule finds in sets of problems.

    Attributes
    ----------
    operation, value : numpy.ndarray of bool, shape (sets,)
        Whether the set is specialised so.
    best_operation, best_value : numpy.ndarray of int, shape (sets,)
        Place of the commonest one, the first of equals.
    """

    operation: Bool[np.ndarray, " sets"]
    value: Bool[np.ndarray, " sets"]
    best_operation: Int[np.ndarray, " sets"]
    best_value: Int[np.ndarray, " sets"]

    @property
    def any(self) -> Bool[np.ndarray, " sets"]:
        """Specialised in an operation, a value or both."""
        either: Bool[np.ndarray, " sets"] = self.operation | self.value
        return either

    def kind(self, place: int) -> str:
        """What the rule calls one of the sets."""
        if self.operation[place] and self.value[place]:
            return HIGHLY
        if self.any[place]:
            return OPERATION if self.operation[place] else VALUE
        return GENERAL

    def name(self, place: int) -> str | None:
        """Name that the rule gives one of the sets; None where it is general."""
        parts = []
        if self.operation[place]:
            parts.append(OPERATION_NAMES[self.best_operation[place]])
        if self.value[place]:
            parts.append(VALUE_NAMES[self.best_value[place]])
        return " + ".join(parts) or None


def specialisation(
    counts: Int[np.ndarray, "sets patterns"],
    sizes: Int[np.ndarray, " sets"],
    settings: SpecialistSettings,
    *,
    ties_count: bool = False,
) -> Specialisation:
    """Apply the rule to sets of problems.

    The commonest pattern must be in more than a share of the problems, and the others in less than
    another. As published, "the others" are those whose share *differs* from the commonest one's, so
    two patterns that are in every problem do not rule each other out.

    Parameters
    ----------
    counts : numpy.ndarray of int, shape (sets, 9)
        Problems of each set with each pattern, in the order of `Patterns.specialists`.
    sizes : numpy.ndarray of int, shape (sets,)
        Problems of each set; an empty one is never specialised.
    settings : SpecialistSettings
        The shares.
    ties_count : bool
        Whether patterns as common as the commonest one are among the others: the rule without its
        error.
    """
    share = counts / np.maximum(sizes, 1)[:, None]
    operations, values = share[:, : len(OPERATION_NAMES)], share[:, len(OPERATION_NAMES) :]
    one_operation = _stands_out(
        operations, settings.operation_share, settings.other_operation_share, ties_count
    )
    one_value = _stands_out(values, settings.value_share, settings.other_value_share, ties_count)
    return Specialisation(one_operation, one_value, operations.argmax(1), values.argmax(1))


def _stands_out(
    share: Float[np.ndarray, "sets patterns"], least: float, others_below: float, ties_count: bool
) -> Bool[np.ndarray, " sets"]:
    largest = share.max(1, keepdims=True)
    spared = share == largest
    if ties_count:
        spared = share.argmax(1)[:, None] == np.arange(share.shape[1])
    found: Bool[np.ndarray, " sets"] = (largest[:, 0] > least) & (
        spared | (share < others_below)
    ).all(1)
    return found


def both_rules(
    samples: Bool[np.ndarray, "features problems"],
    patterns: Bool[np.ndarray, "problems patterns"],
    settings: SpecialistSettings,
) -> dict[str, Specialisation]:
    """Apply the rule to all features of an SAE, as published and with ties counted.

    Parameters
    ----------
    samples : numpy.ndarray of bool, shape (features, problems)
        Problems that the rule looks at, as `saeflow.studies.hierarchy.ranking.strongest` marks them.
    patterns : numpy.ndarray of bool, shape (problems, 9)
        As `Patterns.specialists` gives them.
    settings : SpecialistSettings
        The shares.

    Returns
    -------
    dict of str to Specialisation
        By the keys of `ENDINGS`.
    """
    counts, sizes = pattern_counts(samples, patterns), np.count_nonzero(samples, axis=1)
    return {
        ending: specialisation(counts, sizes, settings, ties_count=ties_count)
        for ending, ties_count in ENDINGS.items()
    }


def pattern_counts(
    samples: Bool[np.ndarray, "features problems"], patterns: Bool[np.ndarray, "problems patterns"]
) -> Int[np.ndarray, "features patterns"]:
    """Samples of each feature that show each pattern."""
    # float32 is exact up to 2**24 problems, and multiplied far faster than integers.
    return (samples.astype(np.float32) @ patterns.astype(np.float32)).astype(np.int64)


def random_sets(
    patterns: Bool[np.ndarray, "problems patterns"],
    n_active: Int[np.ndarray, " features"],
    samples: int,
    settings: SpecialistSettings,
) -> dict[str, Float[np.ndarray, " features"]]:
    """Chance that a random set of problems is specialised, as many as a feature's samples.

    Parameters
    ----------
    patterns : numpy.ndarray of bool, shape (problems, 9)
        As `Patterns.specialists` gives them.
    n_active : numpy.ndarray of int, shape (features,)
        Problems on which each feature fires.
    samples : int
        Problems per feature that the rule looks at, at most.
    settings : SpecialistSettings
        The rule, and how many sets are drawn of each size; sets of one problem are enumerated.

    Returns
    -------
    dict of str to numpy.ndarray of float64, shape (features,)
        By the keys of `ENDINGS`; 0 where a feature never fires.
    """

    def judge(
        counts: Int[np.ndarray, "sets patterns"], sizes: Int[np.ndarray, " sets"]
    ) -> Bool[np.ndarray, "outcomes sets"]:
        found = (
            specialisation(counts, sizes, settings, ties_count=ties_count)
            for ties_count in ENDINGS.values()
        )
        return np.array([each.any for each in found])

    rates = random_outcomes(
        judge, len(ENDINGS), patterns, np.minimum(n_active, samples), settings, RANDOM_PROBLEMS
    )
    return dict(zip(ENDINGS, rates, strict=True))


def swap_pairs(
    found: Specialisation,
    rank: Int[np.ndarray, " features"],
    chosen: Bool[np.ndarray, " features"],
) -> Iterator[dict[str, str | int]]:
    """Pairs of specialists that the study would exchange.

    A group holds the features specialised in one operation, or in one value; those specialised in
    both are in two groups. The commonest feature stands for its group.

    Parameters
    ----------
    found : Specialisation
        What the published rule says of all features of an SAE.
    rank : numpy.ndarray of int, shape (features,)
        Their ranks.
    chosen : numpy.ndarray of bool, shape (features,)
        Those of one rank range.

    Yields
    ------
    dict
        Columns kind, name, feature, other_name, other_feature of
        `saeflow.artifacts.hierarchy.SWAP_PAIRS`.
    """
    for kind, names, passes, best in (
        ("operation", OPERATION_NAMES, found.operation, found.best_operation),
        ("value", VALUE_NAMES, found.value, found.best_value),
    ):
        commonest = []
        for number, name in enumerate(names):
            members = np.flatnonzero(chosen & passes & (best == number))
            if len(members):
                commonest.append((name, int(members[rank[members].argmin()])))
        for (name, feature), (other_name, other_feature) in combinations(commonest, 2):
            yield {
                "kind": kind,
                "name": name,
                "feature": feature,
                "other_name": other_name,
                "other_feature": other_feature,
            }
