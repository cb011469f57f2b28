"""Figures of what features are called and follow, each beside what chance gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.config.hierarchy import BIN_LABELS as BINS
from saeflow.report.figures import BAND, COLOURS, SYMBOLS, error_bars, plain_figure
from saeflow.report.hierarchy.finding import FOLLOWED, LEVELS, NO_LEVEL
from saeflow.report.hierarchy.numbers import (
    NONE,
    PERMUTED,
    PUBLISHED,
    RANDOM_PROBLEMS,
    HierarchyRun,
    Row,
)
from saeflow.report.tables import number_text

RULES = {"": "published rule", "_untied": "ties counted"}
SCORE = "n_score."
Figure = dict[str, Any]


def frequency_figure(run: HierarchyRun) -> Figure | None:
    """Share of specialised features by how often they fire, beside that of random problems.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no bin has a feature.
    """
    figure = go.Figure()
    for number, (ending, title) in enumerate(RULES.items()):
        for control, words in ((RANDOM_PROBLEMS, "random problems"), (NONE, "features")):
            rows = {
                name: run.number(f"share_specialised{ending}", control, group=name, mode=PUBLISHED)
                for name in BINS
            }
            # Two rules, each with its chance level, which often coincide: the null is drawn larger.
            null = control != NONE
            line = _line(rows, f"{title}: {words}", number, null=null)
            if line is not None:
                figure.add_trace(line)
    if not figure.data:
        return None
    _order_bins(figure)
    figure.update_xaxes(title_text="held-out problems on which a feature fires")
    figure.update_yaxes(title_text="specialised", tickformat=".0%", zeroline=False)
    return _finished(figure, 420)


def followed_figure(run: HierarchyRun) -> Figure | None:
    """Share of features that follow something by how often they fire, a panel per target."""
    targets = [each for each in FOLLOWED if run.number(f"n_tested.{each}") is not None]
    if not targets:
        return None
    figure = make_subplots(
        rows=len(targets),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        subplot_titles=[f"follow {FOLLOWED[each]}" for each in targets],
    )
    for number, target in enumerate(targets, start=1):
        metric = f"share_specialists.{target}"
        own = {name: run.number(metric, group=name) for name in BINS}
        null = {name: run.number(metric, PERMUTED, group=name) for name in BINS}
        for trace in _banded(own, null, in_legend=number == 1):
            figure.add_trace(trace, row=number, col=1)
    _order_bins(figure)
    figure.update_xaxes(title_text="held-out problems on which a feature fires", row=len(targets))
    figure.update_yaxes(tickformat=".0%", zeroline=False, rangemode="tozero")
    figure.update_annotations(font={"size": 13})
    return _finished(figure, 120 + 150 * len(targets), top=60)


def levels_figure(run: HierarchyRun) -> Figure | None:
    """Features by level, each count with its band."""
    names = [*LEVELS, NO_LEVEL]
    titles = {name: name.replace("_", " ") for name in LEVELS}
    titles |= {"operator_value": "operator × value", NO_LEVEL: "no level"}
    own = {titles[name]: run.number(f"n_level.{name}") for name in names}
    null = {titles[name]: run.number(f"n_level.{name}", PERMUTED) for name in names}
    if not any(own.values()):
        return None
    figure = go.Figure(_banded(own, null, joined=False))
    figure.update_yaxes(title_text="features", zeroline=False, rangemode="tozero")
    return _finished(figure, 360)


def scores_figure(run: HierarchyRun) -> Figure | None:
    """Features by the score of their best variable, above what chance gives for most."""
    edges = sorted(
        {key[2].removeprefix(SCORE) for key in run.numbers if SCORE in key[2]}, key=float
    )
    own = {edge: run.number(f"{SCORE}{edge}") for edge in edges}
    null = {edge: run.number(f"{SCORE}{edge}", PERMUTED) for edge in edges}
    if not any(run.number(f"n_level.{name}") for name in (*LEVELS, NO_LEVEL)):
        return None
    figure = go.Figure()
    for rows, name, number in ((null, "permuted, mean", 1), (own, "features", 0)):
        # A logarithm has no place for bins without a feature.
        some = {edge: row for edge, row in rows.items() if row is not None and row["value"] > 0}
        line = _line(some, name, number, null=bool(number), text=_counted)
        if line is not None:
            figure.add_trace(line)
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=edges,
        title_text="adjusted mutual information of the best variable, from",
        showgrid=False,
    )
    figure.update_yaxes(title_text="features (logarithmic)", type="log", dtick=1)
    return _finished(figure, 380)


def sweep_figure(run: HierarchyRun) -> Figure | None:
    """Specialists of SAEs of several k: by the published rule, and by exact tests."""
    sizes = sorted({k for k, *_ in run.sweep})
    if not sizes:
        return None
    tests = [each for each in FOLLOWED if (sizes[0], f"n_specialists.{each}", NONE) in run.sweep]
    panels = {f"n_specialised{ending}": (title, RANDOM_PROBLEMS) for ending, title in RULES.items()}
    panels |= {f"n_specialists.{each}": (f"follow {FOLLOWED[each]}", PERMUTED) for each in tests}
    figure = make_subplots(
        rows=1,
        cols=len(panels),
        horizontal_spacing=0.06,
        subplot_titles=[title for title, _ in panels.values()],
    )
    for number, (metric, (_, control)) in enumerate(panels.items(), start=1):
        own = {str(k): run.sweep.get((k, metric, NONE)) for k in sizes}
        null = {str(k): run.sweep.get((k, metric, control)) for k in sizes}
        for trace in _banded(own, null, chance="chance", in_legend=number == 1):
            figure.add_trace(trace, row=1, col=number)
    figure.update_xaxes(type="category", title_text="k", showgrid=False)
    figure.update_yaxes(zeroline=False, rangemode="tozero")
    figure.update_yaxes(title_text="features", col=1)
    figure.update_annotations(font={"size": 13})
    return _finished(figure, 360, top=70)


def _order_bins(figure: go.Figure) -> None:
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=list(BINS), showgrid=False
    )


def _line(
    rows: Mapping[str, Row | None],
    name: str,
    number: int,
    *,
    null: bool,
    text: Any = None,
) -> go.Scatter | None:
    some = {x: row for x, row in rows.items() if row is not None and row["value"] is not None}
    if not some:
        return None
    colour = COLOURS[number % len(COLOURS)]
    symbol = SYMBOLS[number % len(SYMBOLS)] + "-open" * null
    return go.Scatter(
        x=list(some),
        y=[row["value"] for row in some.values()],
        mode="lines+markers",
        line={"width": 1.5, "color": colour, "dash": "dot" if null else "solid"},
        marker={
            "size": 12 if null else 7,
            "symbol": symbol,
            "color": colour,
            "line": {"width": 1.5, "color": colour},
        },
        name=name,
        error_y=_band(list(some.values())),
        text=[f"{name}, {x}: {(text or _shared)(row)}{_ends(row)}" for x, row in some.items()],
        hovertemplate="%{text}<extra></extra>",
    )


def _band(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Bars over the ranges of what chance gives; a point without one has none."""
    if all(None in (row["ci_low"], row["ci_high"]) for row in rows):
        return None
    return error_bars(rows, width=4)


def _ends(row: Row) -> str:
    if None in (row["ci_low"], row["ci_high"]):
        return ""
    write = _shared if row["metric"].startswith("share") else _counted
    low, high = (write({"value": row[end], "n": None}) for end in ("ci_low", "ci_high"))
    return f", {low} to {high}"


def _banded(
    own: Mapping[str, Row | None],
    null: Mapping[str, Row | None],
    *,
    chance: str = "permuted",
    in_legend: bool = True,
    joined: bool = True,
) -> Sequence[Any]:
    """Numbers before the band that chance gives for each."""
    bands = {x: row for x, row in null.items() if row is not None and row["ci_low"] is not None}
    some = {x: row for x, row in own.items() if row is not None and row["value"] is not None}
    text = [_hover(x, row, null.get(x), chance) for x, row in some.items()]
    return [
        go.Bar(
            x=list(bands),
            base=[row["ci_low"] for row in bands.values()],
            y=[row["ci_high"] - row["ci_low"] for row in bands.values()],
            width=0.5,
            marker={"color": COLOURS[1] + BAND, "line": {"width": 1, "color": COLOURS[1]}},
            name=f"{chance}: band",
            legendgroup="band",
            showlegend=in_legend,
            hoverinfo="skip",
        ),
        go.Scatter(
            x=list(bands),
            y=[row["value"] for row in bands.values()],
            mode="markers",
            marker={"symbol": "line-ew", "size": 12, "line": {"width": 2, "color": COLOURS[1]}},
            name=f"{chance}: mean",
            legendgroup="mean",
            showlegend=in_legend,
            hoverinfo="skip",
        ),
        go.Scatter(
            x=list(some),
            y=[row["value"] for row in some.values()],
            mode="lines+markers" if joined else "markers",
            line={"width": 1.5, "color": COLOURS[0]},
            marker={"size": 9, "color": COLOURS[0]},
            name="observed",
            legendgroup="observed",
            showlegend=in_legend,
            text=text,
            hovertemplate="%{text}<extra></extra>",
        ),
    ]


def _hover(x: str, row: Row, null: Row | None, chance: str) -> str:
    write = _shared if row["metric"].startswith("share") else _counted
    text = f"<b>{x}</b><br>observed {write(row)}"
    if null is not None and null["value"] is not None:
        text += f"<br>{chance} {write({**null, 'n': None})}"
        text += _ends(null)
    return text


def _shared(row: Row) -> str:
    text = number_text(row["value"], "rate")
    return text if row["n"] is None else f"{text} of {row['n']:,}"


def _counted(row: Row) -> str:
    return number_text(row["value"], "count", mean=True)


def _finished(figure: go.Figure, height: int, top: int = 16) -> Figure:
    figure.update_layout(
        barmode="overlay",
        height=height,
        margin={"l": 64, "r": 12, "t": top + 20, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)
