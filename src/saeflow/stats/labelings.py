"""Whether labels of units, such as even and odd, tell apart those that carry more of a value."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator


class LabelingTest(NamedTuple):
    """How much more of a value labelled units carry than the others.

    Attributes
    ----------
    difference : float
        Sum over labelled units minus sum over the others.
    expected : float
        Mean of that difference over all labelings with as many labelled units: 0 where a half is.
    p_value : float
        Two-sided: labelings with a difference as far from `expected` as the observed one, or farther.
    labelings : int
        Labelings compared.
    exact : bool
        Whether these are all; otherwise the observed one is counted as one more, so that the p-value
        is never 0.
    """

    difference: float
    expected: float
    p_value: float
    labelings: int
    exact: bool


def even(n_units: int) -> Bool[np.ndarray, " units"]:
    """Label units with an even number."""
    return every(2, n_units)


def every(step: int, n_units: int) -> Bool[np.ndarray, " units"]:
    """Label units 0, `step`, twice `step`, and so on."""
    labels: Bool[np.ndarray, " units"] = np.arange(n_units) % step == 0
    return labels


def label_difference(
    values: Float[np.ndarray, "units ..."], labels: Bool[np.ndarray, " units"]
) -> Float[np.ndarray, "*rest"]:
    """Sum over labelled units minus sum over the others, such as on every prompt."""
    difference: Float[np.ndarray, "*rest"] = np.tensordot(
        np.where(labels, 1.0, -1.0), values, axes=1
    )
    return difference


def smallest_p_value(n_units: int, n_labelled: int) -> float:
    """Smallest p-value that `labeling_test` can give: half of the units and the other half are as far."""
    return (2 if 2 * n_labelled == n_units else 1) / comb(n_units, n_labelled)


def labelled_units(
    n_units: int, n_labelled: int, labelings: int, generator: np.random.Generator
) -> tuple[Int[np.ndarray, "labelings labelled"], bool]:
    """All ways to label as many units, or some drawn at random.

    Parameters
    ----------
    n_units, n_labelled : int
        Units, and how many of them are labelled.
    labelings : int
        All labelings are listed where there are no more than these; else so many are drawn.
    generator : numpy.random.Generator
        Draws them.

    Returns
    -------
    chosen : numpy.ndarray of int64, shape (labelings, labelled)
        Labelled units.
    exact : bool
        Whether these are all.
    """
    exact = comb(n_units, n_labelled) <= labelings
    if exact:
        return np.array(list(combinations(range(n_units), n_labelled)), np.int64), True
    drawn = generator.random((labelings, n_units))
    return np.argsort(drawn, axis=1)[:, :n_labelled].astype(np.int64), False


def labeling_test(
    values: Float[np.ndarray, " units"],
    labels: Bool[np.ndarray, " units"],
    *,
    labelings: int = 2000,
    seed: int = 0,
) -> LabelingTest:
    """Compare labelled units with the others, against labels that are permuted among units.

    With few units few labelings exist and no p-value can be small: of four units, two of them
    labelled, the smallest is 1/3.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (units,)
        Such as Shapley's.
    labels : numpy.ndarray of bool, shape (units,)
        Which units are labelled; some and not all.
    labelings : int
        All labelings are compared where there are no more than these; else so many are drawn.
    seed : int
        Seed of drawn labelings.

    Raises
    ------
    SaeflowError
        If all units are labelled, or none.
    """
    n_units, n_labelled = len(values), int(labels.sum())
    if not 0 < n_labelled < n_units:
        raise SaeflowError(f"{n_labelled} of {n_units} units are labelled; expected some, not all.")
    expected = float(values.sum()) * (2 * n_labelled / n_units - 1)
    difference = float(label_difference(values, labels))
    generator = numpy_generator(seed, "stats", "labelings", n_units, n_labelled)
    chosen, exact = labelled_units(n_units, n_labelled, labelings, generator)
    others = 2 * values[chosen].sum(1) - values.sum()
    # Sums in another order differ in their last bits, and would break ties at random.
    slack = 1e-9 * float(np.abs(values).sum())
    as_far = int((np.abs(others - expected) >= abs(difference - expected) - slack).sum())
    p_value = as_far / len(chosen) if exact else (as_far + 1) / (labelings + 1)
    return LabelingTest(difference, expected, p_value, len(chosen), exact)
