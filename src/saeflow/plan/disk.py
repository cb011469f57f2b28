"""Disk that a plan fills, by kind of result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from saeflow.plan.jobs import Job
from saeflow.sizes.results import Basis, Kind, Results, Size

KINDS = get_args(Kind)


@dataclass(frozen=True)
class Disk:
    """Bytes that will be written.

    Attributes
    ----------
    kinds : dict of str to (float, str)
        By kind: bytes, and the weakest basis among its results.
    temporary : float
        Most that a job, or the shards of one, keep beside their results while they run.
    unknown : list of str
        Models from the hub of which ``weights_gb`` is not configured, and which are not here.
    """

    kinds: dict[Kind, tuple[float, Basis]]
    temporary: float
    unknown: list[str]

    @property
    def total(self) -> float:
        """Of everything that stays, and the most that is temporary."""
        return float(sum(size for size, _ in self.kinds.values())) + self.temporary


def planned_disk(jobs: Sequence[Job], results: Results) -> Disk:
    """Disk that jobs fill.

    Parameters
    ----------
    jobs : sequence of Job
        Those that would run.
    results : Results
        Sizes of what they write.

    Returns
    -------
    Disk
        What there will be when all are done, computed even where an older result is there.
    """
    sizes = [results.computed(path) for job in jobs for path in job.outputs]
    training = [job for job in jobs if job.rule.startswith("train_wide") and job.gpu]
    # Shards of one stream may run side by side.
    wide: defaultdict[str, float] = defaultdict(float)
    for job in training:
        wide[job.rule] += results.temporary(job.banks)
    fetched = [
        path.split("/")[2]
        for job in jobs
        for path in job.outputs
        if path.startswith("results/models/") and not results.computed(path).bytes
    ]
    kinds = {kind: _sum(sizes, kind) for kind in KINDS}
    return Disk(
        {kind: found for kind, found in kinds.items() if found[0]},
        max(wide.values(), default=0.0),
        sorted(set(fetched)),
    )


def _sum(sizes: Iterable[Size], kind: Kind) -> tuple[float, Basis]:
    own = [size for size in sizes if size.kind == kind]
    basis: Basis = "assumed" if any(size.basis == "assumed" for size in own) else "computed"
    return float(sum(size.bytes for size in own)), basis
