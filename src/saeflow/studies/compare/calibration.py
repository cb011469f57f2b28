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
)
EXCESSES = ("interpretable_excess", "monosemantic_excess", "discovered_excess")
SEEDS, PERMUTATIONS = "seed_range", "permutation_range"
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
    holds 0, some seed of the control does as well as one of the model, and it is not beaten.

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
    frames = {model: _overview(summary) for model, summary in summaries.items()}
    rows = [row for each in studied for row in _rows_of(Studied(**each), frames)]
    return pa.Table.from_pylist(rows, CALIBRATION.schema())


def _overview(summary: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = summary.to_pandas()
    frame = frame[frame["metric"].isin((*RATES, *EXCESSES)) & frame["value"].notna()]
    # Missing layers and steps compare as equal numbers, which missing values do not.
    filled: pd.DataFrame = frame.fillna({"layer": -1, "step": -1})
    return filled


def _rows_of(studied: Studied, frames: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    frame = frames[studied.model]
    for dataset, own in frame[frame["dictionary"] == studied.dictionary].groupby("dataset"):
        key = {"model": studied.model, "dataset": dataset, "dictionary": studied.dictionary}
        for place, rows in own.groupby(PLACE, sort=True):
            named = key | _named(place)
            if named["metric"] in EXCESSES:
                yield from _excess_rows(named, rows)
                continue
            observed = rows[rows["control"] == "none"]["value"]
            yield from _own_rows(named, rows)
            beside = _beside(studied, frames, dataset, place)
            for control, values in beside.items():
                yield named | {"control": control} | _over_seeds(values)
                yield named | _difference(named["metric"], control, observed, values)


def _beside(
    studied: Studied, frames: Mapping[str, pd.DataFrame], dataset: object, place: tuple[Any, ...]
) -> dict[str, pd.Series]:
    """Values of each control at a place, over its seeds."""
    found = {}
    for model in studied.untrained:
        name = "untrained" if len(studied.untrained) == 1 else model
        found[name] = _values(frames[model], dataset, studied.dictionary, place)
    for name, dictionary in studied.controls.items():
        found[name] = _values(frames[studied.model], dataset, dictionary, place)
    return {name: values for name, values in found.items() if len(values)}


def _values(
    frame: pd.DataFrame, dataset: object, dictionary: str, place: tuple[Any, ...]
) -> pd.Series:
    chosen = (frame["dataset"] == dataset) & (frame["dictionary"] == dictionary)
    chosen &= frame["control"] == "none"
    for name, value in zip(PLACE, place, strict=True):
        chosen &= frame[name] == value
    return frame.loc[chosen, "value"]


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
    ends = {"ci_low": rows["ci_low"].mean(), "ci_high": rows["ci_high"].mean()}
    yield {**row, **ends, "interval": rows["interval"].iloc[0]}


def _difference(
    metric: str, control: str, observed: pd.Series, values: pd.Series
) -> dict[str, Any]:
    return {
        "metric": metric.replace("_rate", "_over"),
        "control": control,
        "value": observed.mean() - values.mean(),
        "ci_low": observed.min() - values.max(),
        "ci_high": observed.max() - values.min(),
        "interval": SEEDS,
        "n": len(observed) * len(values),
    }


def _over_seeds(values: pd.Series) -> dict[str, Any]:
    ends = {"ci_low": values.min(), "ci_high": values.max(), "interval": SEEDS}
    return {"value": values.mean(), **ends, "n": len(values)}


def _named(place: tuple[Any, ...]) -> dict[str, Any]:
    named = dict(zip(PLACE, place, strict=True))
    for name in ("layer", "step"):
        named[name] = None if named[name] < 0 else int(named[name])
    return named
