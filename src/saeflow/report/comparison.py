"""The four questions of the study's comparison: published answers beside this run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
import pyarrow as pa

from saeflow.report.bands import Banded
from saeflow.report.figures import BAND, COLOURS, plain_figure
from saeflow.report.site import Link, Site
from saeflow.report.tables import MISSING, number_text
from saeflow.studies.compare.published import PUBLISHED

COMPARISON_PAGE = Link("Comparison", "compare.html")
OBSERVED, PERMUTED = "none", "permuted"


class Question(NamedTuple):
    """One of the four: its name in the table, the metric, what is asked."""

    name: str
    metric: str
    title: str
    about: str


QUESTIONS = (
    Question(
        "interpretable",
        "interpretable_rate",
        "How many features follow a token?",
        "Interpretable features among all latents.",
    ),
    Question(
        "monosemantic",
        "monosemantic_rate",
        "How many of those have one meaning?",
        "Monosemantic features, by the published rule, among interpretable ones.",
    ),
    Question(
        "number",
        "number_rate",
        "Are they about numbers?",
        "Features with “number” in their label among interpretable ones. Most tokens of a calculation are "
        "numbers, so nearly every label holds the word.",
    ),
    Question(
        "capacity",
        "monosemantic_rate",
        "Does the smaller model mix more meanings?",
        "The published verdict is a bare comparison of two monosemantic rates, of models with different k, "
        "layers and problems. Here the difference stands beside what permuted tokens give for it.",
    ),
)


def write_comparison_page(site: Site, found: Sequence[Mapping[str, Any]]) -> None:
    """Write the page with the four questions, as `answers` lays them out."""
    figures = {f"{each['name']}-figure": each["figure"] for each in found}
    site.write_page(COMPARISON_PAGE.href, "compare.html.jinja", {"answers": found}, figures)


def answers(comparison: pa.Table, models: Sequence[str]) -> list[dict[str, Any]]:
    """Lay out the comparison by question.

    Parameters
    ----------
    comparison : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COMPARISON`.
    models : sequence of str
        Names in the order of the pages.

    Returns
    -------
    list of dict
        ``name``, ``title``, ``about``; ``published``: rate of each published model; ``models``: one
        row per model and bank; ``differences``: one row per pair; ``figure``.
    """
    place = {name: number for number, name in enumerate([*models, ""])}
    rows = sorted(
        comparison.to_pylist(), key=lambda row: (place[row["model"]], place[row["other"]])
    )
    found: list[dict[str, Any]] = []
    for question in QUESTIONS:
        own = [row for row in rows if row["question"] == question.name]
        singles = list(_rows(own, question.metric, "excess", paired=False))
        published = [
            {"name": each.model, "rate": getattr(each, question.metric)} for each in PUBLISHED
        ]
        found.append(
            {
                **question._asdict(),
                "published": [
                    {**each, "value": number_text(each["rate"], "rate")} for each in published
                ],
                "models": singles,
                "differences": list(_rows(own, "difference", "excess_difference", paired=True)),
                "figure": _figure(singles, published) if singles else None,
            }
        )
    return found


def _rows(
    rows: Sequence[Mapping[str, Any]], metric: str, excess: str, *, paired: bool
) -> Iterator[dict[str, Any]]:
    keys = ("model", "dataset", "dictionary", "other", "other_dataset", "other_dictionary", "mode")
    cells: dict[tuple[Any, ...], dict[tuple[str, str], Mapping[str, Any]]] = {}
    for row in rows:
        if bool(row["other"]) == paired:
            key = tuple(row[key] for key in keys)
            cells.setdefault(key, {})[row["metric"], row["control"]] = row
    signed = paired
    for key, found in cells.items():
        observed = found.get((metric, OBSERVED))
        permuted = found.get((metric, PERMUTED))
        yield {
            **dict(zip(keys, key, strict=True)),
            "observed": _cell(observed, signed=signed),
            "permuted": _cell(permuted, signed=signed),
            "excess": _cell(found.get((excess, OBSERVED)), signed=True),
            "word": _banded(observed, permuted).word,
            "numbers": (observed, permuted),
        }


def _cell(row: Mapping[str, Any] | None, *, signed: bool) -> dict[str, str]:
    """Write a share in per cent, or a difference of shares in percentage points."""
    if row is None or row["value"] is None:
        return {"value": MISSING, "interval": ""}
    text = _points if signed else _percent
    ends = (row["ci_low"], row["ci_high"])
    told = None not in ends
    return {
        "value": text(row["value"]) + ("" if signed else " %"),
        "interval": f"[{text(ends[0])}, {text(ends[1])}]" if told else "",
    }


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(value: float) -> str:
    # A minus sign, not a hyphen, and no sign on what rounds to zero.
    text = f"{100 * value:+.1f}"
    return text.replace("-", "−") if float(text) else "0.0"


def _banded(observed: Mapping[str, Any] | None, permuted: Mapping[str, Any] | None) -> Banded:
    value = observed["value"] if observed else None
    if permuted is None:
        return Banded(value)
    ends = (permuted["ci_low"], permuted["ci_high"])
    return Banded(value, None, permuted["value"], *ends, permuted["n"] or 0)


def _figure(
    models: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    names = [_name(row, models) for row in models]
    places = list(range(len(names)))
    figure = go.Figure()
    bands = [row["numbers"][1] or {} for row in models]
    banded = [place for place in places if bands[place].get("ci_low") is not None]
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=banded,
            base=[bands[place]["ci_low"] for place in banded],
            x=[bands[place]["ci_high"] - bands[place]["ci_low"] for place in banded],
            width=0.5,
            marker={"color": COLOURS[0] + BAND, "line": {"width": 0}},
            name="permuted, smallest to largest",
            hoverinfo="skip",
        )
    )
    known = [
        place for place in places if (models[place]["numbers"][0] or {}).get("value") is not None
    ]
    rows = [models[place]["numbers"][0] for place in known]
    figure.add_trace(
        go.Scatter(
            x=[row["value"] for row in rows],
            y=known,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [(row["ci_high"] or row["value"]) - row["value"] for row in rows],
                "arrayminus": [row["value"] - (row["ci_low"] or row["value"]) for row in rows],
                "thickness": 1.5,
            },
            mode="markers",
            marker={"size": 9, "color": COLOURS[0]},
            name="observed, mean and range of SAE seeds",
            hovertemplate="%{x:.1%}<extra></extra>",
        )
    )
    top = [len(names) + place for place in range(len(published))]
    figure.add_trace(
        go.Scatter(
            x=[each["rate"] for each in published],
            y=top,
            mode="markers",
            marker={"size": 9, "symbol": "diamond-open", "color": COLOURS[1], "line": {"width": 2}},
            name="published, other weights",
            hovertemplate="%{x:.1%}<extra></extra>",
        )
    )
    ticks = [*names, *(each["name"] for each in published)]
    figure.update_yaxes(
        tickvals=[*places, *top],
        ticktext=ticks,
        autorange="reversed",
        showgrid=False,
        zeroline=False,
        automargin=True,
    )
    figure.update_xaxes(tickformat=".0%", zeroline=False)
    figure.update_layout(
        barmode="overlay",
        height=130 + 34 * len(ticks),
        margin={"l": 20, "r": 12, "t": 16, "b": 40},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    return plain_figure(figure)


def _name(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Model, and of data set and dictionary what is needed to tell its rows apart."""
    same = [each for each in rows if each["model"] == row["model"]]
    parts = [row[key] for key in ("dataset", "dictionary") if len({each[key] for each in same}) > 1]
    return ", ".join([row["model"], *parts])
