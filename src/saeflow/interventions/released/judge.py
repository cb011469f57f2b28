"""What a released SAE should give, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from saeflow.artifacts.checks import NOT_TESTED, OWN_BOUND, PUBLISHED
from saeflow.interventions.released.measure import Measured, Recovered

L0_FACTOR = 2.0
"""How far from the published L0 the measured one may be: it differs by tens of per cent between
corpora, and by far more where an SAE is read in the wrong way."""
TOLERANCE = 0.15
"""How far below the published explained variance the measured one may be, on few tokens of another
corpus. Above it may be as far as it likes: no mistake in reading makes an SAE explain more."""
LEAST_EXPLAINED, LEAST_RECOVERED = 0.5, 0.8
"""Bounds of our own, where nothing is published."""
ELSEWHERE = 0.05
"""By how much more an SAE may explain at a place that is none of its own."""

L0, EXPLAINED = "l0", "explained_variance"
RECOVERED_ZERO, RECOVERED_MEAN = "ce_recovered_zero", "ce_recovered_mean"
EXPLAINED_ELSEWHERE = "explained_variance_elsewhere"


class Release(NamedTuple):
    """What a release says of one SAE.

    Attributes
    ----------
    name : str
        Release and SAE, for people.
    l0, explained_variance : float or None
        As published.
    centred : bool
        Whether it reconstructs activations minus their mean over dimensions.
    begin : bool or None
        Whether a begin token comes first; None where that is not said.
    context_size : int or None
        Positions of its training texts.
    """

    name: str
    l0: float | None
    explained_variance: float | None
    centred: bool
    begin: bool | None
    context_size: int | None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Release:
        """Read a row of the table beside fetched SAEs."""
        return cls(
            name=f"{row['release']}/{row['sae_id']}",
            l0=row["l0"],
            explained_variance=row["explained_variance"],
            centred=bool(row["centred"]),
            begin=row["prepend_bos"],
            context_size=row["context_size"],
        )


@dataclass(frozen=True)
class Check:
    """One number and where it must lie; see `saeflow.artifacts.checks.CHECKS`."""

    metric: str
    value: float
    n: int
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    source: str = NOT_TESTED

    @property
    def passed(self) -> bool | None:
        """Whether the value lies within the bounds; None where it has none or is not defined."""
        if self.source == NOT_TESTED:
            return None
        return (self.low is None or self.value >= self.low) and (
            self.high is None or self.value <= self.high
        )

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            wanted = f"{self.low:.3g} to {self.high:.3g}"
        elif self.low is not None:
            wanted = f"at least {self.low:.3g}"
        else:
            wanted = f"at most {self.high:.3g}"
        published = self.source == PUBLISHED
        why = f"{self.expected:.3g} is published" if published else "a bound of our own"
        return f"{self.metric} is {self.value:.3g}, expected {wanted} ({why})"


def judge(
    found: Measured, recovered: Recovered, elsewhere: float, release: Release, d_in: int
) -> list[Check]:
    """Hold what an SAE gives against what it should give.

    Parameters
    ----------
    found, recovered
        What it gives at its place.
    elsewhere : float
        Most that it explains at a neighbouring place; NaN where there is none.
    release : Release
        What is published.
    d_in : int
        Dimensions of its activations.
    """
    own = found.explained_variance
    beside = Check(EXPLAINED_ELSEWHERE, elsewhere, found.n, expected=own)
    # Nothing explains more than all, so of an SAE that explains nearly all this tests nothing.
    if not math.isnan(elsewhere) and own + ELSEWHERE < 1:
        beside = replace(beside, high=own + ELSEWHERE, source=OWN_BOUND)
    return [*judge_reconstruction(found, release, d_in), *judge_recovery(recovered), beside]


def judge_reconstruction(found: Measured, release: Release, d_in: int) -> list[Check]:
    """L0 and explained variance, which need no model."""
    n, published = found.n, release.explained_variance
    if release.l0:
        low, high = release.l0 / L0_FACTOR, release.l0 * L0_FACTOR
        sparse = Check(L0, found.l0, n, release.l0, low, high, PUBLISHED)
    else:
        # A code with more active latents than dimensions is not sparse, whoever made it.
        sparse = Check(L0, found.l0, n, None, 1.0, float(d_in), OWN_BOUND)
    explained = Check(EXPLAINED, found.explained_variance, n, low=LEAST_EXPLAINED, source=OWN_BOUND)
    if published is not None:
        low = published - TOLERANCE
        explained = replace(explained, expected=published, low=low, source=PUBLISHED)
    return [sparse, explained]


def judge_recovery(recovered: Recovered) -> list[Check]:
    """Cross-entropy recovered: tested against ablation to 0; against the mean it is for information."""
    zero, mean, n = recovered
    tested = Check(RECOVERED_ZERO, zero, n, low=LEAST_RECOVERED, source=OWN_BOUND)
    untested = Check(RECOVERED_ZERO, zero, n)
    return [untested if math.isnan(zero) else tested, Check(RECOVERED_MEAN, mean, n)]


def passes(checks: list[Check]) -> bool:
    """Whether none of them failed; NaN never lies within bounds."""
    return all(check.passed is not False for check in checks)
