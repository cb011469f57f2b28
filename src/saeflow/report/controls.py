"""Rates of trained models beside their controls, as `compare/calibration.parquet` tells them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

OBSERVED, PERMUTED, FREQUENCY, CHANCE = "none", "permuted", "frequency_matched", "chance"
NULLS = (PERMUTED, FREQUENCY, CHANCE)
"""Controls that are made from the same SAEs."""
SEED_RANGE = "seed_range"

TITLES = {
    OBSERVED: "Observed",
    PERMUTED: "Permuted",
    FREQUENCY: "Frequency-matched",
    CHANCE: "Chance",
    "untrained": "Untrained model",
    "frozen_decoder": "Frozen decoder",
    "soft_frozen_decoder": "Softly frozen decoder",
    "frozen_encoder": "Frozen encoder",
    "random_rotation": "Random rotation",
    "pca": "PCA",
    "raw_neurons": "Raw neurons",
}
"""What a control is called in tables and figures; others by their name in the configuration."""

Row = Mapping[str, Any]


class Measure(NamedTuple):
    """A rate: how it was measured, of what, what it is called, and what it means."""

    mode: str
    target: str
    metric: str
    title: str = ""
    about: str = ""

    @property
    def excess(self) -> Measure:
        """What remains of it after the mean over permutations."""
        return self._replace(metric=self.metric.replace("_rate", "_excess"))

    @property
    def over(self) -> Measure:
        """The model's rate minus that of a control."""
        return self._replace(metric=self.metric.replace("_rate", "_over"))


INTERPRETABLE = Measure(
    "published", "token", "interpretable_rate", "Interpretable", "of all features; published"
)
MONOSEMANTIC = Measure(
    "published", "token", "monosemantic_rate", "Monosemantic", "of interpretable ones; published"
)
DISCOVERED = Measure(
    "calibrated", "token", "discovered_rate", "Discovered", "of all features; calibrated"
)
CONFIRMED = Measure(
    "calibrated", "token", "confirmed_rate", "Confirmed", "on the other half, of those found on one"
)
SINGLE = Measure(
    "calibrated", "token", "single_token_rate", "Single token", "of discovered features"
)
HEADLINES = (INTERPRETABLE, MONOSEMANTIC, DISCOVERED, CONFIRMED, SINGLE)


class Against(NamedTuple):
    """A rate held against one control.

    Attributes
    ----------
    control : str
        Name of the control.
    layer : int or None
        The layer at which both are taken; None for all layers.
    observed, value : mapping
        Rows of the rate and of the control.
    difference : mapping or None
        Row of the rate minus the control, with its interval; None where the table has none.
    """

    control: str
    layer: int | None
    observed: Row
    value: Row
    difference: Row | None

    @property
    def beaten(self) -> bool:
        """Whether the rate is above the control beyond the interval.

        Of permuted tokens: the excess's interval lies above 0. Of other SAEs: the lowest seed of
        the rate is above the highest of the control; one seed on either side shows no spread, so
        nothing is beaten. Frequency-matched features have no difference in the table; there, the
        lowest seed is above what they give for any.
        """
        if self.difference is not None:
            low = self.difference["ci_low"]
            return low is not None and low > 0
        low, high = self.observed["ci_low"], self.value["ci_high"]
        low = self.observed["value"] if low is None else low
        return bool(low > (self.value["value"] if high is None else high))


@dataclass
class Beside:
    """A dictionary of a trained model, with everything that stands beside it.

    Attributes
    ----------
    model, dataset, dictionary : str
        Names in the configuration.
    rows : dict
        Rows by mode, target, metric, layer, step and control.
    layers : dict of str to set of int
        Layers of the model's own SAEs (``none``) and of each control.
    """

    model: str
    dataset: str
    dictionary: str
    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    layers: dict[str, set[int]] = field(default_factory=dict)

    def row(
        self, measure: Measure, control: str, layer: int | None = None, step: int | None = None
    ) -> Row | None:
        """Row of a rate, or of a control's rate, at a place; None without a number."""
        return self.rows.get((*measure[:3], layer, step, control))

    def everywhere(self) -> list[str]:
        """Controls whose SAEs stand at all layers, and untrained models."""
        return [name for name in self._controls() if self.layers[name] == self.layers[OBSERVED]]

    def local(self) -> dict[int, list[str]]:
        """Controls whose SAEs stand at some layers only, by layer."""
        found: dict[int, list[str]] = {}
        for name in self._controls():
            if self.layers[name] != self.layers[OBSERVED]:
                for layer in self.layers[name]:
                    found.setdefault(layer, []).append(name)
        return dict(sorted(found.items()))

    def against(self, measure: Measure) -> Iterator[Against]:
        """Hold a rate against each control at the places where the control is measured."""
        places: list[tuple[str, int | None]]
        places = [(name, None) for name in (*NULLS, *self.everywhere())]
        places += [(name, layer) for layer, names in self.local().items() for name in names]
        for control, layer in places:
            found = self.compared(measure, control, layer)
            if found is not None:
                yield found

    def compared(self, measure: Measure, control: str, layer: int | None) -> Against | None:
        """Hold a rate against one control; None where either is not defined."""
        observed, value = self.row(measure, OBSERVED, layer), self.row(measure, control, layer)
        if observed is None or value is None:
            return None
        difference = self.row(measure.over, control, layer)
        if control == PERMUTED:
            difference = self.row(measure.excess, OBSERVED, layer)
        return Against(control, layer, observed, value, difference)

    def _controls(self) -> list[str]:
        order = list(TITLES)
        names = [name for name in self.layers if name not in (OBSERVED, *NULLS)]
        place = {name: order.index(name) if name in order else len(order) for name in names}
        return sorted(names, key=lambda name: (place[name], name))


def read_calibration(calibration: pa.Table, models: Sequence[str]) -> list[Beside]:
    """Group the table by model, data set and dictionary.

    Parameters
    ----------
    calibration : pyarrow.Table
        Columns of `saeflow.artifacts.calibration.CALIBRATION`.
    models : sequence of str
        Names in the order of the pages.

    Returns
    -------
    list of Beside
        Of an excess, the row with the interval over permutations is kept.
    """
    found: dict[tuple[str, str, str], Beside] = {}
    for row in map(without_nan, calibration.to_pylist()):
        name = (row["model"], row["dataset"], row["dictionary"])
        beside = found.setdefault(name, Beside(*name))
        if row["metric"].endswith("_excess") and row["interval"] == SEED_RANGE:
            continue
        keys = ("mode", "target", "metric", "layer", "step", "control")
        beside.rows[tuple(row[key] for key in keys)] = row
        if row["layer"] is not None:
            beside.layers.setdefault(row["control"], set()).add(row["layer"])
    for beside in found.values():
        beside.layers.setdefault(OBSERVED, set())
    place = {name: number for number, name in enumerate(models)}
    return sorted(
        found.values(), key=lambda each: (place[each.model], each.dataset, each.dictionary)
    )


def control_title(name: str) -> str:
    """What a control is called."""
    return TITLES.get(name, name)


def titles_of(all_of_them: Sequence[Beside]) -> list[str]:
    """What tells dictionaries apart: the model, and data set and dictionary where it has several."""
    found = []
    for each in all_of_them:
        same = [other for other in all_of_them if other.model == each.model]
        more = f" ({each.dictionary} on {each.dataset})" if len(same) > 1 else ""
        found.append(each.model + more)
    return found


def without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Put None for what is no number: JSON has no NaN."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
