"""Specialised features by the published rule, and how many of them chance gives (methods/2, 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.config.hierarchy import SpecialistSettings
from saeflow.seeds import numpy_generator
from saeflow.studies.hierarchy.patterns import OPERATIONS, VALUES

OPERATION_NAMES = tuple(OPERATIONS)
VALUE_NAMES = tuple(f"number {value}" for value in VALUES)
GENERAL, OPERATION, VALUE, HIGHLY = (
    "general",
    "operation-specialised",
    "value-specialised",
    "highly-specialised",
)


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


def random_sets(
    patterns: Bool[np.ndarray, "problems patterns"],
    n_active: Int[np.ndarray, " features"],
    samples: int,
    settings: SpecialistSettings,
) -> tuple[Float[np.ndarray, " features"], Float[np.ndarray, " features"]]:
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
    published, untied : numpy.ndarray of float64, shape (features,)
        By the published rule, and with ties counted; 0 where a feature never fires.
    """
    sizes, place = np.unique(np.minimum(n_active, samples), return_inverse=True)
    # Problems that show the same patterns are interchangeable: how many of each kind a random set
    # holds is all that is drawn.
    kinds, members = np.unique(patterns, axis=0, return_counts=True)
    rates = np.zeros((2, len(sizes)))
    for column, size in enumerate(sizes.tolist()):
        counts, weight = _sets_of(size, kinds.astype(np.float64), members, settings)
        for row, ties_count in enumerate((False, True)):
            found = specialisation(
                counts, np.full(len(counts), size), settings, ties_count=ties_count
            )
            rates[row, column] = weight[found.any].sum()
    published, untied = rates[:, place]
    return published, untied


def _sets_of(
    size: int,
    kinds: Float[np.ndarray, "kinds patterns"],
    members: Int[np.ndarray, " kinds"],
    settings: SpecialistSettings,
) -> tuple[Int[np.ndarray, "sets patterns"], Float[np.ndarray, " sets"]]:
    """Pattern counts of sets of problems, and the probability that each set stands for."""
    if size == 1:
        return kinds.astype(np.int64), members / members.sum()
    generator = numpy_generator(settings.null_seed, "hierarchy", "random_problems", size)
    drawn = generator.multivariate_hypergeometric(
        members, size, settings.null_draws, method="count"
    )
    # Counts are exact as floats, and multiplied far faster than integers.
    counts = (drawn.astype(np.float64) @ kinds).astype(np.int64)
    return counts, np.full(settings.null_draws, 1 / settings.null_draws)


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
