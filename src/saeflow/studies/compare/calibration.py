"""Every rate of a model beside chance, its untrained twin and the control dictionaries (design, 6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from saeflow.artifacts.calibration import CALIBRATION

RATES = (
    "interpretable_rate",
    "monosemantic_rate",
    "discovered_rate",
    "family_wise_rate",
    "single_token_rate",
    "confirmed_rate",
    "interpretable_above_matched",
)
EXCESSES = ("interpretable_excess", "monosemantic_excess", "discovered_excess")
SEEDS, PERMUTATIONS, NONE = "seed_range", "permutation_range", "none"
PLACE = ["mode", "target", "layer", "step", "metric"]


class Studied(NamedTuple):
    """A model's dictionary and what stands beside it.

    Attributes
    ----------
    model, dictionary : str
        Names in the configuration.
    untrained : sequence of str
        Models of the same architecture with fresh weights that study the same dictionary.
    controls : mapping of str to str
        Control dictionaries, by the name of the control.
    """

    model: str
    dictionary: str
    untrained: Sequence[str]
    controls: Mapping[str, str]


def calibration_table(
    summaries: Mapping[str, pa.Table], studied: Sequence[Mapping[str, Any]]
) -> pa.Table:
    """Set each model's rates beside their controls, place by place.

    Numbers are means over SAE seeds, with the seeds' smallest and largest value as the interval
    ``seed_range``. Control ``permuted`` has the smallest and the largest value over all
    permutations and seeds. Of an excess over permutations there are two rows: one with the range
    over seeds, and one with ``permutation_95``, whose ends are the means of the seeds' ends.

    Rows whose metric ends in ``_over`` hold the model's rate minus that of a control. Their
    interval reaches from the smallest seed against the control's largest to the reverse: where it
    holds 0, some seed of the control does as well as one of the model, and it is not beaten. With
    one seed on either side there is no interval. A control on some layers stands beside the model
    on these, place by place, and not where a place spans all layers.

    Parameters
    ----------
    summaries : mapping of str to pyarrow.Table
        By model, columns of `saeflow.artifacts.catalog.SUMMARY`.
    studied : sequence of mapping
        Fields of `Studied`.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.calibration.CALIBRATION`.
    """
    frames = {model: _Model(_overview(summary)) for model, summary in summaries.items()}
    rows = [row for each in studied for row in _rows_of(Studied(**each), frames)]
    return pa.Table.from_pylist(rows, CALIBRATION.schema())


def _overview(summary: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = summary.to_pandas()
    frame = frame[frame["metric"].isin((*RATES, *EXCESSES)) & frame["value"].notna()]
    # Missing layers and steps compare as equal numbers, which missing values do not.
    filled: pd.DataFrame = frame.fillna({"layer": -1, "step": -1})
    return filled


class _Bank(NamedTuple):
    """Rates of one bank without controls, over seeds, by place; and the layers that it has."""

    values: Mapping[tuple[Any, ...], pd.Series]
    layers: frozenset[int]


class _Model:
    """Rates of one model."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        own = frame[frame["control"] == "none"]
        self._banks = {
            key: _Bank(
                {place: rows["value"] for place, rows in bank.groupby(PLACE)},
                frozenset(bank["layer"]),
            )
            for key, bank in own.groupby(["dataset", "dictionary"])
        }

    def bank(self, dataset: object, dictionary: str) -> _Bank:
        """Rates of one bank; empty where nothing was measured."""
        return self._banks.get((dataset, dictionary), _Bank({}, frozenset()))


def _rows_of(studied: Studied, frames: Mapping[str, _Model]) -> Iterator[dict[str, Any]]:
    frame = frames[studied.model].frame
    for dataset, own in frame[frame["dictionary"] == studied.dictionary].groupby("dataset"):
        key = {"model": studied.model, "dataset": dataset, "dictionary": studied.dictionary}
        for place, rows in own.groupby(PLACE, sort=True):
            named = key | _named(place)
            observed = rows[rows["control"] == "none"]["value"]
            if named["metric"] in EXCESSES:
                yield from _excess_rows(named, rows)
            else:
                yield from _own_rows(named, rows)
            for control, values in _beside(studied, frames, dataset, place).items():
                yield named | {"control": control} | _over_seeds(values)
                if len(observed):
                    yield named | _difference(named["metric"], control, observed, values)


def _beside(
    studied: Studied, frames: Mapping[str, _Model], dataset: object, place: tuple[Any, ...]
) -> dict[str, pd.Series]:
    """Values of each control at a place, over its seeds.

    Where a place spans all layers, a control on other layers than the model's is left out: its
    sites, and the tests that its rate is corrected for, would be others.
    """
    sources = {name: (studied.model, dictionary) for name, dictionary in studied.controls.items()}
    for model in studied.untrained:
        name = "untrained" if len(studied.untrained) == 1 else model
        sources[name] = (model, studied.dictionary)
    banks = {
        name: frames[model].bank(dataset, dictionary)
        for name, (model, dictionary) in sources.items()
    }
    own = frames[studied.model].bank(dataset, studied.dictionary)
    spans_layers = place[PLACE.index("layer")] < 0
    return {
        name: bank.values[place]
        for name, bank in banks.items()
        if place in bank.values and not (spans_layers and bank.layers != own.layers)
    }


def _own_rows(named: Mapping[str, Any], rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rate itself, and what chance gives for it."""
    for control, own in rows.groupby("control", sort=True):
        row = {**named, "control": control, **_over_seeds(own["value"])}
        if control == "permuted":
            ends = {"ci_low": own["ci_low"].min(), "ci_high": own["ci_high"].max()}
            row |= {**ends, "interval": PERMUTATIONS}
        yield row


def _excess_rows(named: Mapping[str, Any], rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    row = {**named, "control": "none", **_over_seeds(rows["value"])}
    yield row
    if (rows["interval"] != NONE).all():
        ends = {"ci_low": rows["ci_low"].mean(), "ci_high": rows["ci_high"].mean()}
        yield {**row, **ends, "interval": rows["interval"].iloc[0]}


def _difference(
    metric: str, control: str, observed: pd.Series, values: pd.Series
) -> dict[str, Any]:
    several = len(observed) > 1 or len(values) > 1
    return {
        "metric": metric.removesuffix("_rate") + "_over",
        "control": control,
        "value": observed.mean() - values.mean(),
        "ci_low": observed.min() - values.max() if several else None,
        "ci_high": observed.max() - values.min() if several else None,
        "interval": SEEDS if several else NONE,
        "n": len(observed) * len(values),
    }


def _over_seeds(values: pd.Series) -> dict[str, Any]:
    ends = {"ci_low": values.min(), "ci_high": values.max(), "interval": SEEDS}
    if len(values) < 2:
        ends = {"ci_low": None, "ci_high": None, "interval": NONE}
    return {"value": values.mean(), **ends, "n": len(values)}


def _named(place: tuple[Any, ...]) -> dict[str, Any]:
    named = dict(zip(PLACE, place, strict=True))
    for name in ("layer", "step"):
        named[name] = None if named[name] < 0 else int(named[name])
    return named
