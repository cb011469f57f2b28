"""Whether classes of texts of one topic lie together, and whether more so than their words do.

All works on matrices of similarities; the number of features matters in `gram_matrix` only. The study
tests 190 similarities of 20 classes as if they were independent (methods/3, section 4.5 C); here classes
are what is permuted (section 4.7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.linalg import orth
from scipy.stats import ttest_ind

from saeflow.errors import SaeflowError

CHUNK = 4096
"""Features that are multiplied at a time."""
BLOCK = 2**22
"""Permuted similarities that are held at a time."""

Square = Float[np.ndarray, "n n"]


class PublishedGeometry(NamedTuple):
    """The study's comparison of similarities within and across topics.

    Attributes
    ----------
    within, across : float
        Mean similarity of two classes of one topic, and of two.
    t, p_value : float
        Student's test of all pairs of classes; two-sided.
    n_within, n_across : int
        Pairs of classes.
    """

    within: float
    across: float
    t: float
    p_value: float
    n_within: int
    n_across: int


class GroupDifference(NamedTuple):
    """How much more similar classes of one group are, against groups permuted over classes.

    Attributes
    ----------
    within, across, difference : float
        Mean similarities, and the first less the second.
    low, high : float
        Middle 95 % of differences under permutation.
    p_value : float
        One-sided: permutations, the observed one included, with a difference as large.
    """

    within: float
    across: float
    difference: float
    low: float
    high: float
    p_value: float


class AdjustedDifference(NamedTuple):
    """How much more similar classes of one group are than other similarities explain.

    Attributes
    ----------
    explained : float
        Share of the variance of similarities that the others explain (R²).
    coefficient : float
        Of "same group" in a regression beside the others; what these share with topic is theirs.
    low, high, p_value : float
        Middle 95 % of coefficients under permutation; and one-sided, of the coefficient.
    """

    explained: float
    coefficient: float
    low: float
    high: float
    p_value: float


class MantelTest(NamedTuple):
    """Correlation of two matrices of similarities, against one of them with its rows permuted.

    Attributes
    ----------
    value : float
        Pearson's correlation over pairs of rows, partial where others are given; NaN, as is the
        p-value, where one of both does not vary beyond these.
    low, high : float
        Middle 95 % under permutation.
    p_value : float
        One-sided: permutations, the observed one included, with a correlation as large or larger.
    """

    value: float
    low: float
    high: float
    p_value: float


def gram_matrix(vectors: Num[np.ndarray, "n features"]) -> Square:
    """Inner products of all rows, summed in float64 a chunk of features at a time.

    700 texts of 25,000 features take about 1 s, and 25 MB beyond the input.
    """
    found = np.zeros((len(vectors), len(vectors)))
    for start in range(0, vectors.shape[1], CHUNK):
        part = vectors[:, start : start + CHUNK].astype(np.float64)
        found += part @ part.T
    return found


def class_gram(
    gram: Square, classes: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "classes classes"]:
    """Inner products of the mean vectors of classes, numbered from 0, from those of texts."""
    found, sizes = np.unique(classes, return_counts=True)
    if not np.array_equal(found, np.arange(len(found))):
        raise SaeflowError(
            f"Classes of texts are numbered {found.tolist()}; expected all numbers from 0."
        )
    average = (classes == found[:, None]) / sizes[:, None]
    products: Float[np.ndarray, "classes classes"] = average @ gram @ average.T
    return products


def cosines(gram: Square) -> Square:
    """Cosines from inner products; 0 with a vector of zeros, and 0 on the diagonal of one."""
    lengths = np.sqrt(np.clip(np.diag(gram), 0, None))
    # Of a vector of zeros, products with others are 0 whatever they are divided by.
    scale = np.where(lengths > 0, lengths, 1.0)
    found: Square = np.clip(gram / np.outer(scale, scale), -1.0, 1.0)
    return found


def principal_components(
    gram: Square, components: int = 2
) -> tuple[Float[np.ndarray, "n components"], Float[np.ndarray, " components"]]:
    """Coordinates on principal components, from inner products, and shares of variance.

    Signs are such that the coordinate farthest from 0 is positive. Components beyond the rank are 0.
    """
    centred = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    variances, directions = np.linalg.eigh((centred + centred.T) / 2)
    variances = np.clip(variances[::-1][:components], 0, None)
    coordinates = directions[:, ::-1][:, :components] * np.sqrt(variances)
    farthest = np.abs(coordinates).argmax(0)
    coordinates = coordinates * np.where(coordinates[farthest, range(components)] < 0, -1.0, 1.0)
    total = float(np.trace(centred))
    return coordinates, variances / total if total > 0 else np.zeros(components)


def published_geometry(similarity: Square, groups: Int[np.ndarray, " n"]) -> PublishedGeometry:
    """Similarities within and across groups with Student's t-test of pairs (methods/3, 4.5 C).

    Its p-value means nothing, since each class is in many pairs; it is for comparison with the study.

    Parameters
    ----------
    similarity : numpy.ndarray of float, shape (n, n)
        Symmetric, of classes.
    groups : numpy.ndarray of int, shape (n,)
        Topic of each class.

    Raises
    ------
    SaeflowError
        If no two classes are of one group, or none of two.
    """
    values, same = _pairs(similarity), _same_group(groups)
    test = ttest_ind(values[same], values[~same])
    means = float(values[same].mean()), float(values[~same].mean())
    return PublishedGeometry(
        *means, float(test.statistic), float(test.pvalue), int(same.sum()), int((~same).sum())
    )


def group_difference(
    similarity: Square,
    groups: Int[np.ndarray, " n"],
    permutations: int,
    generator: np.random.Generator,
) -> GroupDifference:
    """Test whether classes of one group are more similar, with groups permuted over classes.

    Classes that hold the same pairs are alike by that alone: choose texts with `disjoint_pairs` first.

    Parameters
    ----------
    similarity, groups : numpy.ndarray
        As of `published_geometry`.
    permutations : int
        How many to draw; 20 classes and 10,000 permutations take 0.2 s.
    generator : numpy.random.Generator
        Draws them.

    Raises
    ------
    SaeflowError
        If no two classes are of one group, or none of two.
    """
    values, same = _pairs(similarity), _same_group(groups)
    weights = np.where(same, 1 / same.sum(), -1 / (~same).sum())
    within, across = float(values[same].mean()), float(values[~same].mean())
    drawn = _permuted_products(similarity, weights[:, None], permutations, generator)[:, 0]
    low, high, p_value = _against(within - across, drawn)
    return GroupDifference(within, across, within - across, low, high, p_value)


def mantel(
    similarity: Square,
    other: Square,
    permutations: int,
    generator: np.random.Generator,
    given: Sequence[Square] = (),
) -> MantelTest:
    """Mantel's test of whether two kinds of similarity go together, partial where others are given.

    What the others explain of `similarity` stays, and its residuals are permuted over classes
    (Freedman and Lane; Legendre 2000 compares such tests).

    Parameters
    ----------
    similarity, other : numpy.ndarray of float, shape (n, n)
        Symmetric; rows of the first are permuted.
    permutations : int
        How many to draw.
    generator : numpy.random.Generator
        Draws them.
    given : sequence of numpy.ndarray of float, shape (n, n)
        Similarities that are held fixed, such as of words and of length.
    """
    basis = _basis(similarity, given)
    residual, target = _beyond(_pairs(similarity), basis), _beyond(_pairs(other), basis)
    if not residual.any() or not target.any():
        return MantelTest(*[float("nan")] * 4)
    target /= np.linalg.norm(target)
    value = float(residual @ target / np.linalg.norm(residual))
    drawn = _permuted_correlations(residual, target, basis, permutations, generator)
    return MantelTest(value, *_against(value, drawn))


def adjusted_difference(
    similarity: Square,
    groups: Int[np.ndarray, " n"],
    given: Sequence[Square],
    permutations: int,
    generator: np.random.Generator,
) -> AdjustedDifference:
    """Test whether classes of one group are more similar than other similarities explain.

    Permutation is of the residuals of classes, as in `mantel`, whose assumption it shares: that
    classes are exchangeable once the others are accounted for. Parameters are those of
    `group_difference` and of `mantel`.

    Raises
    ------
    SaeflowError
        If no two classes are of one group, or none of two, or group follows from the others.
    """
    values, same = _pairs(similarity), _same_group(groups)
    basis = _basis(similarity, given)
    residual = _beyond(values, basis)
    target = _beyond(same.astype(np.float64), basis)
    square = float(target @ target)
    if square == 0:
        raise SaeflowError(
            "Which classes are of one group follows from the given similarities; "
            "expected something left to test."
        )
    centred = values - values.mean()
    total = float(centred @ centred)
    explained = 1 - float(residual @ residual) / total if total > 0 else float("nan")
    coefficient = float(residual @ target) / square
    weights = (target / square)[:, None]
    drawn = _permuted_products(_matrix(residual), weights, permutations, generator)[:, 0]
    return AdjustedDifference(explained, coefficient, *_against(coefficient, drawn))


def _pairs(matrix: Square) -> Float[np.ndarray, " pairs"]:
    """Upper triangle without the diagonal, row by row."""
    return matrix[np.triu_indices(len(matrix), 1)].astype(np.float64)


def _matrix(pairs: Float[np.ndarray, " pairs"]) -> Square:
    """Symmetric matrix of an upper triangle, with zeros on the diagonal."""
    n = round((1 + np.sqrt(1 + 8 * len(pairs))) / 2)
    found = np.zeros((n, n))
    found[np.triu_indices(n, 1)] = pairs
    return found + found.T


def _same_group(groups: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " pairs"]:
    first, second = np.triu_indices(len(groups), 1)
    same: Bool[np.ndarray, " pairs"] = groups[first] == groups[second]
    if same.all() or not same.any():
        raise SaeflowError(
            f"{same.sum()} of {len(same)} pairs of classes are of one group; expected some, not all."
        )
    return same


def _basis(similarity: Square, given: Sequence[Square]) -> Float[np.ndarray, "pairs terms"]:
    """Orthonormal columns that span a constant and the given similarities."""
    columns = [np.ones_like(_pairs(similarity))]
    for each in given:
        if each.shape != similarity.shape:
            raise SaeflowError(
                f"Similarities are of {len(similarity)} and {len(each)} classes; expected the same."
            )
        column = _pairs(each) - _pairs(each).mean()
        length = np.linalg.norm(column)
        columns.append(column / length if length > 0 else column)
    found: Float[np.ndarray, "pairs terms"] = orth(np.stack(columns, axis=1))
    return found


def _beyond(
    values: Float[np.ndarray, " pairs"], basis: Float[np.ndarray, "pairs terms"]
) -> Float[np.ndarray, " pairs"]:
    """What is left of values; nothing where it is within rounding."""
    left: Float[np.ndarray, " pairs"] = values - basis @ (basis.T @ values)
    if np.linalg.norm(left) <= 1e-10 * np.linalg.norm(values):
        return np.zeros(len(values))
    return left


def _permuted_blocks(
    matrix: Square, permutations: int, generator: np.random.Generator
) -> Iterator[Float[np.ndarray, "block pairs"]]:
    """Upper triangles of the matrix with rows and columns permuted alike, a block at a time."""
    n = len(matrix)
    first, second = np.triu_indices(n, 1)
    size = max(BLOCK // max(len(first), 1), 1)
    for start in range(0, permutations, size):
        orders = generator.permuted(
            np.tile(np.arange(n), (min(size, permutations - start), 1)), axis=1
        )
        yield matrix[orders[:, first], orders[:, second]]


def _permuted_products(
    matrix: Square,
    weights: Float[np.ndarray, "pairs columns"],
    permutations: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "permutations columns"]:
    blocks = [each @ weights for each in _permuted_blocks(matrix, permutations, generator)]
    return np.concatenate(blocks) if blocks else np.zeros((0, weights.shape[1]))


def _permuted_correlations(
    residual: Float[np.ndarray, " pairs"],
    target: Float[np.ndarray, " pairs"],
    basis: Float[np.ndarray, "pairs terms"],
    permutations: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, " permutations"]:
    """Partial correlations of permuted residuals; what the basis explains of them anew is taken out."""
    weights = np.column_stack([target, basis])
    found = _permuted_products(_matrix(residual), weights, permutations, generator)
    left = residual @ residual - (found[:, 1:] ** 2).sum(1)
    # All of a permuted residual may be explained where there are only a few classes.
    some = left > 1e-12 * (residual @ residual)
    return np.where(some, found[:, 0] / np.sqrt(np.where(some, left, 1.0)), 0.0)


def _against(value: float, drawn: Float[np.ndarray, " permutations"]) -> tuple[float, float, float]:
    """Middle 95 % of what was drawn, and the share that is as large as the observed value."""
    if not len(drawn):
        return float("nan"), float("nan"), 1.0
    low, high = np.quantile(drawn, [0.025, 0.975])
    # Sums in another order differ in their last bits.
    slack = 1e-9 * max(abs(value), float(np.abs(drawn).max()))
    as_large = int((drawn >= value - slack).sum())
    return float(low), float(high), (1 + as_large) / (1 + len(drawn))
