"""Two-by-two tables of many features against many labels, as the published study tests them.

All tables of a block come from one matrix product; p-values are computed only for tables that can
pass. Counts below 2**24 are exact in float32, so CPU and CUDA agree to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from scipy.special import chdtrc, chdtri

from saeflow.config.studies import AssociationSettings

BLOCK = 4096
"""Features per matrix product; bounds memory at BLOCK x labels tables."""


@dataclass(frozen=True)
class Pairs:
    """Tables that pass, sorted by feature, then enrichment descending, then label.

    Attributes
    ----------
    feature, label : numpy.ndarray of shape (pairs,), int64
        Column of the features' and of the labels' matrix.
    a, b, c, d : numpy.ndarray of shape (pairs,), int64
        Active and present, active and absent, inactive and present, inactive and absent.
    chi2, p_value, enrichment : numpy.ndarray of shape (pairs,), float64
        See `yates_chi2` and `enrichment`.
    """

    feature: Int[np.ndarray, " pairs"]
    label: Int[np.ndarray, " pairs"]
    a: Int[np.ndarray, " pairs"]
    b: Int[np.ndarray, " pairs"]
    c: Int[np.ndarray, " pairs"]
    d: Int[np.ndarray, " pairs"]
    chi2: Float[np.ndarray, " pairs"]
    p_value: Float[np.ndarray, " pairs"]
    enrichment: Float[np.ndarray, " pairs"]


def cooccurrence(
    active: Bool[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    device: torch.device,
) -> Int[np.ndarray, "features labels"]:
    """Examples on which a feature is active and a label present, for all pairs.

    Parameters
    ----------
    active : numpy.ndarray of bool, shape (examples, features)
        Where features fire.
    present : numpy.ndarray of bool, shape (examples, labels)
        Where labels occur.
    device : torch.device
        Where to multiply.

    Returns
    -------
    numpy.ndarray of int64, shape (features, labels)
        Exact counts.
    """
    left = torch.from_numpy(active).to(device, torch.float32)
    right = torch.from_numpy(present).to(device, torch.float32)
    return (left.T @ right).to(torch.int64).cpu().numpy()


def yates_chi2(
    a: Num[np.ndarray, "*shape"],
    b: Num[np.ndarray, "*shape"],
    c: Num[np.ndarray, "*shape"],
    d: Num[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
    """Pearson's chi-square of 2 x 2 tables with Yates's correction, one degree of freedom.

    Equals ``scipy.stats.chi2_contingency([[a, b], [c, d]]).statistic``, whose correction moves each
    cell towards its expectation by at most one half. No expected count is checked, as in the study
    (methods/1, section 2.5).

    Returns
    -------
    numpy.ndarray of float64
        NaN where a margin is zero, for which SciPy raises.
    """
    a, b, c, d = (np.asarray(cell, np.float64) for cell in (a, b, c, d))
    total = a + b + c + d
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.maximum(np.abs(a * d - b * c) / total - 0.5, 0.0)
        return np.where(margins > 0, distance**2 * total**3 / margins, np.nan)


def chi2_p_value(chi2: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Upper tail of the chi-square distribution with one degree of freedom."""
    return np.asarray(chdtrc(1, chi2), np.float64)


def enrichment(
    a: Num[np.ndarray, "*shape"],
    b: Num[np.ndarray, "*shape"],
    c: Num[np.ndarray, "*shape"],
    d: Num[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
    """Rate of the label when the feature is active over its rate when it is not.

    Returns
    -------
    numpy.ndarray of float64
        Infinite where the label occurs only with the feature, NaN where a row is empty.
    """
    a, b, c, d = (np.asarray(cell, np.float64) for cell in (a, b, c, d))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a / (a + b)) / (c / (c + d))


def published_pairs(
    active: Bool[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    criteria: AssociationSettings,
    device: torch.device,
) -> Pairs:
    """Feature-label pairs that pass the published criteria (methods/1, section 2.5).

    Quirks of the study, all kept: a table with any empty cell is skipped, so the perfect detector,
    whose label occurs *only* when the feature fires (c = 0), is invisible; expected counts are not
    checked; p-values are not corrected for the number of tests; sign and size of an activation do
    not count.

    Parameters
    ----------
    active : numpy.ndarray of bool, shape (examples, features)
        Where features are not zero.
    present : numpy.ndarray of bool, shape (examples, labels)
        Where labels occur.
    criteria : AssociationSettings
        Thresholds.
    device : torch.device
        Where to multiply.

    Returns
    -------
    Pairs
        All pairs that pass, not only those that the study stores.
    """
    n_active = active.sum(0)
    analysed = np.flatnonzero(n_active >= criteria.min_active)
    if len(active) < criteria.min_total:
        analysed = analysed[:0]
    support = present.sum(0)
    blocks = [
        _pairs_of_block(active, present, analysed[start : start + BLOCK], support, criteria, device)
        for start in range(0, max(len(analysed), 1), BLOCK)
    ]
    columns = [np.concatenate(column) for column in zip(*blocks, strict=True)]
    feature, label, a, b, c, d = columns
    chi2 = yates_chi2(a, b, c, d)
    ratio = enrichment(a, b, c, d)
    order = np.lexsort((label, -ratio, feature))
    values = (feature, label, a, b, c, d, chi2, chi2_p_value(chi2), ratio)
    return Pairs(*(value[order] for value in values))


def _pairs_of_block(
    active: Bool[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    features: Int[np.ndarray, " block"],
    support: Int[np.ndarray, " labels"],
    criteria: AssociationSettings,
    device: torch.device,
) -> tuple[np.ndarray, ...]:
    """Feature, label and cells of a block's passing tables."""
    block = active[:, features]
    a = cooccurrence(block, present, device)
    b = block.sum(0)[:, None] - a
    c = support[None, :] - a
    d = len(active) - a - b - c
    full = (a > 0) & (b > 0) & (c > 0) & (d > 0)
    row, label = np.nonzero(full & (enrichment(a, b, c, d) >= criteria.min_enrichment))
    cells = [cell[row, label] for cell in (a, b, c, d)]
    chi2 = yates_chi2(*cells)
    # The tail function is the costly part; tables clearly below the critical value never reach it.
    near = chi2 > chdtri(1, min(criteria.p_value, 1.0)) * (1 - 1e-6) - 1e-12
    near[near] = chi2_p_value(chi2[near]) < criteria.p_value
    return (features[row[near]], label[near], *(cell[near] for cell in cells))
