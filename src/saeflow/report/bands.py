"""The summary's numbers, each with the band that permutations give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc


class Run(NamedTuple):
    """What was analysed together."""

    dataset: str
    dictionary: str
    seed: int
    mode: str


class Place(NamedTuple):
    """Where a number was taken; None means all layers or all steps."""

    layer: int | None
    step: int | None
    metric: str


@dataclass(frozen=True)
class Banded:
    """A number beside what permutations give for it.

    Attributes
    ----------
    value : float or None
        The observed number; None where there is nothing to take it over.
    n : int or None
        How many units it is taken over.
    mean, low, high : float or None
        Mean, smallest and largest value over the permutations.
    permutations : int
        How many permutations gave a value.
    """

    value: float | None = None
    n: int | None = None
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    permutations: int = 0

    @property
    def word(self) -> str:
        """Where the observed number lies, in words; never a verdict."""
        if self.value is None:
            return "not defined"
        if self.low is None or self.high is None:
            return "in no permutation"
        if self.low == self.value == self.high:
            return "same"
        if self.value > self.high:
            return "above"
        return "below" if self.value < self.low else "inside"


@dataclass
class ModelBands:
    """All runs of one model.

    Attributes
    ----------
    model : str
        Its name in the configuration.
    runs : dict of Run to dict of Place to Banded
        Numbers by run, in the order of the table.
    """

    model: str
    runs: dict[Run, dict[Place, Banded]] = field(default_factory=dict)


def read_bands(
    model: str,
    summary: pa.Table,
    dictionaries: Sequence[str],
    mode: str = "published",
    target: str = "token",
) -> ModelBands:
    """Join each observed number with its band.

    Parameters
    ----------
    model : str
        Name of the model.
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.SUMMARY`.
    dictionaries : sequence of str
        The model's own, whose rows alone are read; the table holds those of controls, too.
    mode : {"published", "calibrated"}
        Rows of this procedure alone are read.
    target : str
        What features are tested against.

    Returns
    -------
    ModelBands
        Only the controls ``none`` and ``permuted`` are read.
    """
    chosen = pc.and_(pc.equal(summary["mode"], mode), pc.equal(summary["target"], target))
    chosen = pc.and_(chosen, pc.is_in(summary["dictionary"], pa.array(dictionaries, pa.string())))
    chosen = pc.and_(chosen, pc.is_in(summary["control"], pa.array(["none", "permuted"])))
    found: dict[Run, dict[Place, dict[str, Any]]] = {}
    for row in summary.filter(chosen).to_pylist():
        run = Run(*(row[key] for key in Run._fields))
        place = Place(*(row[key] for key in Place._fields))
        cell = found.setdefault(run, {}).setdefault(place, {})
        if row["control"] == "none":
            cell.update(value=row["value"], n=row["n"])
        elif row["control"] == "permuted":
            band = {"mean": row["value"], "low": row["ci_low"], "high": row["ci_high"]}
            cell.update(**band, permutations=row["n"] or 0)
    bands = ModelBands(model)
    for run, cells in found.items():
        bands.runs[run] = {place: Banded(**cell) for place, cell in cells.items()}
    return bands


def run_names(runs: Sequence[Run]) -> list[str]:
    """Short names that tell runs of one model apart: what they share is left out."""
    parts = []
    for run in runs:
        named = {
            "dataset": run.dataset,
            "dictionary": run.dictionary,
            "seed": f"seed {run.seed}",
            "mode": run.mode,
        }
        keep = [key for key in named if key == "seed" or len({getattr(r, key) for r in runs}) > 1]
        parts.append(", ".join(named[key] for key in keep))
    return parts
