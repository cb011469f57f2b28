"""What was done to each problem and what came of it, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32, Int
from torch import Tensor

from saeflow.artifacts.hierarchy import TRIALS
from saeflow.errors import SaeflowError
from saeflow.interventions.outcomes import Outcome
from saeflow.saes.bank import Site
from saeflow.seeds import numpy_generator

CHOSEN, REPORTED = "chosen", "reported"
SET, ALL = "set", "all"
NONE = "none"
RANDOM_FEATURE, RANDOM_DIRECTION = "random_feature", "random_direction"
OTHER_STEP, RECONSTRUCTION = "other_step", "reconstruction"


class Key(NamedTuple):
    """What is done: columns of `saeflow.artifacts.hierarchy.TRIALS`."""

    dataset: str
    layer: int
    step: int
    unit: str
    edit: str
    dose: float | None
    control: str
    half: str


@dataclass
class TrialLog:
    """Outcomes so far, in small columns.

    Attributes
    ----------
    keys : list of Key
        One per intervention and batch of problems.
    """

    keys: list[Key] = field(default_factory=list)
    _columns: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(
        self,
        key: Key,
        problems: Int[np.ndarray, " rows"],
        outcome: Outcome,
        toward: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Note the outcome on problems, given by their running numbers in the data set."""
        if not len(problems):
            return
        missing = np.full(len(problems), np.nan, np.float32)
        found: dict[str, np.ndarray] = {
            "problem": problems.astype(np.int32),
            "log_probability": _floats(outcome.log_probability),
            "kl": _floats(outcome.kl),
            "cosine": _floats(outcome.cosine),
            "changed": outcome.changed.cpu().numpy(),
            "correct": outcome.correct.cpu().numpy().astype(np.int8),
            "right_before": outcome.right_before.cpu().numpy(),
            "toward": missing if toward is None else _floats(toward),
            "key": np.full(len(problems), len(self.keys)),
        }
        self.keys.append(key)
        for name, values in found.items():
            self._columns.setdefault(name, []).append(values)

    def table(self, run: Mapping[str, object]) -> pa.Table:
        """Columns of `saeflow.artifacts.hierarchy.TRIALS`, sorted by its keys."""
        if not self.keys:
            return TRIALS.schema().empty_table()
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        order = columns.pop("key")
        toward = columns.pop("toward")
        arrays: dict[str, pa.Array] = {name: pa.array(values) for name, values in columns.items()}
        arrays["toward"] = pa.array(toward, mask=np.isnan(toward))
        for place, name in enumerate(Key._fields):
            kind = TRIALS.schema().field(name).type
            arrays[name] = pa.array([key[place] for key in self.keys], kind).take(pa.array(order))
        for name, value in run.items():
            if name not in Key._fields:
                kind = TRIALS.schema().field(name).type
                arrays[name] = pa.repeat(pa.scalar(value, kind), len(order))
        table = pa.table(arrays).select(TRIALS.column_names()).cast(TRIALS.schema())
        return table.sort_by([(name, "ascending") for name in TRIALS.keys])


class Parts(NamedTuple):
    """Running numbers of the problems of an experiment, each ascending.

    Attributes
    ----------
    screened : numpy.ndarray of int
        Those on which the members of each site's set are picked.
    chosen : numpy.ndarray of int
        Those on which one site is chosen by what its set does: had the sets been picked on the same
        problems, all would seem to do much there.
    reported : numpy.ndarray of int
        Those on which everything is reported.
    """

    screened: Int[np.ndarray, " screened"]
    chosen: Int[np.ndarray, " chosen"]
    reported: Int[np.ndarray, " reported"]

    @property
    def unreported(self) -> Int[np.ndarray, " problems"]:
        """Problems that single features are picked on, ascending."""
        return np.union1d(self.screened, self.chosen)


def problem_parts(numbers: Int[np.ndarray, " problems"], wanted: int | None, seed: int) -> Parts:
    """Split problems at random: some to pick and choose on, the others to report.

    Parameters
    ----------
    numbers : numpy.ndarray of int, shape (problems,)
        Running numbers, ascending.
    wanted : int or None
        Intervene on at most so many, a third of which choose, and two thirds are reported; None: on
        three quarters. All others are screened, which takes little time.
    seed : int
        Seed of the draw.
    """
    order = numpy_generator(seed, "hierarchy", "parts").permutation(len(numbers))
    most = 3 * len(order) // 4
    intervened = most if wanted is None else min(wanted, most)
    third = intervened // 3
    cut = (order[intervened:], order[:third], order[third:intervened])
    return Parts(*(np.sort(numbers[rows]) for rows in cut))


def choose_site(trials: pa.Table) -> Site:
    """Site where ablating a set lowers the right answer's log-probability most, beyond its control.

    Parameters
    ----------
    trials : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.TRIALS`; only the half that sites are chosen on is
        read.

    Raises
    ------
    SaeflowError
        If no set stands beside random features on any problem.
    """
    found = set_effects(trials, CHOSEN)
    if not found:
        raise SaeflowError(
            "no site has a problem on which features outside its set are active, so that no ablation "
            "can stand beside one of others; expected SAEs of a larger k, or a smaller "
            "studies.hierarchy.calibrated.causal.set_size."
        )
    return min(found, key=lambda site: (float(found[site].mean()), site))


def set_effects(trials: pa.Table, half: str) -> dict[Site, Float[np.ndarray, " problems"]]:
    """Effect of ablating each site's set minus that of matched random features, by problem.

    Problems without a matched feature are left out, and so is a site that has no others.
    """
    values: dict[str, dict[Site, dict[int, float]]] = {NONE: {}, RANDOM_FEATURE: {}}
    names = ("layer", "step", "unit", "edit", "control", "half", "problem", "log_probability")
    for row in zip(*(trials[name].to_pylist() for name in names), strict=True):
        layer, step, unit, edit, control, of, problem, effect = row
        if (unit, edit, of) == (SET, "zero", half) and control in values:
            values[control].setdefault(Site(layer, step), {})[problem] = effect
    return {
        site: np.array([own[problem] - other[problem] for problem in own if problem in other])
        for site, own in values[NONE].items()
        if (other := values[RANDOM_FEATURE].get(site))
    }


def _floats(values: Tensor) -> Float32[np.ndarray, " rows"]:
    found: Float32[np.ndarray, " rows"] = values.float().cpu().numpy()
    return found


def in_chunks(count: int, size: int) -> Sequence[slice]:
    """Slices of at most so many, one after the other."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
