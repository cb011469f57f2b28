"""What two models share as a whole on the same texts, whatever their single features: CKA and SVCCA.

Both are far above 0 by chance where features outnumber texts, so each comes beside what exchanged texts
give. For single features see `saeflow.stats.feature_alignment`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from saeflow.errors import SaeflowError
from saeflow.stats.feature_alignment import (
    HeldOutPairs,
    check_half,
    check_shared,
    held_out_pairs,
)
from saeflow.stats.matching import Matches
from saeflow.stats.text_clusters import NullTest, TextClusters, against_exchanges


def cka_test(
    first: Float[np.ndarray, "texts features"],
    second: Float[np.ndarray, "texts others"],
    *,
    clusters: TextClusters,
    generator: np.random.Generator,
    permutations: int = 999,
) -> NullTest:
    """Linear centred kernel alignment against exchanged texts (Kornblith et al., 2019).

    It is between 0 and 1, 0 where no feature of a model varies, and does not change when features are
    rotated or all scaled alike. With more features than texts it is far above 0 even where nothing is
    shared: read it beside its expectation. It is of all texts, since nothing is chosen.

    It works on texts × texts tables: 700 texts take about 3 ms per permutation, whatever the number
    of features.

    Parameters
    ----------
    first, second, clusters, generator, permutations
        As for `saeflow.stats.feature_alignment.held_out_partners`, which also raises what this does.
    """
    check_shared(first, second, clusters)
    ours, theirs = _gram(first), _gram(second)
    return against_exchanges(
        lambda order: float((ours * theirs[np.ix_(order, order)]).sum()),
        clusters,
        generator,
        permutations,
    )


def svcca_test(
    first: Float[np.ndarray, "texts features"],
    second: Float[np.ndarray, "texts others"],
    *,
    clusters: TextClusters,
    half: Bool[np.ndarray, " texts"],
    generator: np.random.Generator,
    share: float = 0.99,
    permutations: int = 999,
) -> HeldOutPairs:
    """Find canonical directions on one half of the texts and correlate along them on the other.

    They pair the leading singular directions of both models (Raghu et al., 2017), and do not change
    when features are rotated or all scaled alike. Where they are found their correlations are large by
    choice: of as many directions as texts they are perfect whatever these are.

    With 4,096 features on each side, 350 texts in a half and 999 permutations it takes about a second
    on one core.

    Parameters
    ----------
    first, second, clusters, half, generator, permutations
        As for `saeflow.stats.feature_alignment.held_out_partners`, which also raises what this does.
    share : float
        Part of the variance that the singular directions kept of each model hold; above 0, at most 1.
        The smaller, the fewer directions there are to fit by chance.

    Returns
    -------
    HeldOutPairs
        One pair of directions per row, as many as the model with fewer has, in the order of `chosen`,
        the canonical correlations on the first half, largest first.

    Raises
    ------
    SaeflowError
        If the share is out of range, too.
    """
    check_shared(first, second, clusters)
    check_half(half, clusters)
    ours, theirs, chosen = _canonical(first[half], second[half], share)
    ranks = np.arange(len(chosen))
    along = (first[~half].astype(np.float64) @ ours, second[~half].astype(np.float64) @ theirs)
    found = Matches(ranks, ranks, chosen)
    return held_out_pairs(found, *along, clusters.select(~half), generator, permutations)


def _gram(values: Float[np.ndarray, "texts features"]) -> Float[np.ndarray, "texts texts"]:
    """Products of centred texts, scaled so that those of a model with themselves sum to 1."""
    centred = _centred(values)
    products: Float[np.ndarray, "texts texts"] = centred @ centred.T
    size = np.linalg.norm(products)
    return products / size if size > 0 else products


def _canonical(
    first: Float[np.ndarray, "texts features"],
    second: Float[np.ndarray, "texts others"],
    share: float,
) -> tuple[
    Float[np.ndarray, "features directions"],
    Float[np.ndarray, "others directions"],
    Float[np.ndarray, " directions"],
]:
    """Weights of features along paired directions, and the correlations that these were chosen for."""
    if not 0 < share <= 1:
        raise SaeflowError(
            f"the share of variance to keep is {share}; expected more than 0, at most 1."
        )
    ours, our_weights = _leading(first, share)
    theirs, their_weights = _leading(second, share)
    left, found, right = np.linalg.svd(ours.T @ theirs, full_matrices=False)
    return our_weights @ left, their_weights @ right.T, found.clip(0, 1)


def _leading(
    values: Float[np.ndarray, "texts features"], share: float
) -> tuple[Float[np.ndarray, "texts kept"], Float[np.ndarray, "features kept"]]:
    """Leading singular directions: texts along them, each of length 1, and the weights that give it."""
    texts, sizes, features = np.linalg.svd(_centred(values), full_matrices=False)
    variance = sizes**2
    # Short of all by more than rounding, so that what is left of rounding is no direction.
    reached = np.cumsum(variance) >= share * variance.sum() * (1 - 1e-12)
    kept = int(reached.argmax()) + 1 if variance.any() else 0
    return texts[:, :kept], features[:kept].T / sizes[:kept]


def _centred(values: Float[np.ndarray, "texts features"]) -> Float[np.ndarray, "texts features"]:
    wide = values.astype(np.float64)
    centred: Float[np.ndarray, "texts features"] = wide - wide.mean(0)
    return np.where(np.ptp(values, axis=0) > 0, centred, 0.0)
