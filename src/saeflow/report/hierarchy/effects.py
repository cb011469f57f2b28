"""Figures of what interventions do to answers, each beside its controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.cells import nats, p_text
from saeflow.report.dotplot import name_rows
from saeflow.report.figures import COLOURS, SYMBOLS, error_bars, plain_figure
from saeflow.report.heatmaps import Panel, grid_figure
from saeflow.report.hierarchy.causal import (
    EXCESS,
    LOG_PROBABILITY,
    feature_cell,
    shortlist,
    unit_title,
)
from saeflow.report.hierarchy.numbers import (
    NONE,
    RANDOM_DIRECTION,
    RANDOM_FEATURE,
    SET,
    Condition,
    HierarchyRun,
    Row,
)

DOSED = {
    LOG_PROBABILITY: "log-probability",
    "kl": "KL",
    "changed": "changed answers",
}
"""Measures of the dose-response figure, a row of panels each."""
Figure = dict[str, Any]


def ablation_figure(run: HierarchyRun) -> Figure | None:
    """Effect of ablating each site's set, of matched random features, and the difference.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was ablated.
    """
    sites = [where for where in run.conditions("zero") if where.unit == SET]
    panels = [
        Panel(title, _cells(run, sites, metric, control), "+.2f", centred=True)
        for title, metric, control in (
            ("set", LOG_PROBABILITY, NONE),
            ("matched random features", LOG_PROBABILITY, RANDOM_FEATURE),
            ("set − random", EXCESS, RANDOM_FEATURE),
        )
    ]
    return grid_figure({"": panels}, shared_scale=len(panels))


def forest_figure(run: HierarchyRun, level: float) -> Figure | None:
    """Effect of each feature of the shortlists minus that of matched random features.

    Parameters
    ----------
    run : HierarchyRun
        Numbers.
    level : float
        Features whose q-value is no larger are filled.
    """
    rows = {
        where: row
        for where in shortlist(run)
        if (row := run.effect(where, EXCESS, RANDOM_FEATURE)) is not None
    }
    if not rows:
        return None
    figure = go.Figure()
    for number, below in enumerate((True, False)):
        some = {
            place: (where, row)
            for place, (where, row) in enumerate(rows.items())
            if (row["q_value"] is not None and row["q_value"] <= level) == below
        }
        if some:
            title = f"q {'≤' if below else '>'} {level:g}"
            figure.add_trace(_dots(some, title, number))
    name_rows(figure, [feature_cell(where)["value"] for where in rows])
    figure.update_yaxes(tickfont={"size": 11})
    figure.update_xaxes(title_text="nats beyond matched features")
    figure.update_layout(
        height=130 + 17 * len(rows),
        showlegend=True,
        margin={"l": 20, "r": 24, "t": 36, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def dose_figure(run: HierarchyRun) -> Figure | None:
    """Effect by dose of each dosed feature and of the chosen set, beside a random direction."""
    scaled = run.conditions("scale")
    units = list(dict.fromkeys(where._replace(dose=None) for where in scaled))
    if not units:
        return None
    figure = make_subplots(
        rows=len(DOSED),
        cols=len(units),
        shared_xaxes=True,
        shared_yaxes="rows",
        column_titles=[unit_title(each) for each in units],
        horizontal_spacing=0.02,
        vertical_spacing=0.05,
    )
    for column, unit in enumerate(units, start=1):
        doses = sorted(where.dose or 0.0 for where in scaled if where._replace(dose=None) == unit)
        for row, metric in enumerate(DOSED, start=1):
            for number, (control, name) in enumerate(
                ((RANDOM_DIRECTION, "random direction"), (NONE, "feature or set"))
            ):
                found = {
                    dose: cell
                    for dose in doses
                    if (cell := run.effect(unit._replace(dose=dose), metric, control)) is not None
                }
                line = _curve(found, name, 1 - number, in_legend=row == column == 1)
                figure.add_trace(line, row=row, col=column)
    for row, title in enumerate(DOSED.values(), start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    figure.update_yaxes(zeroline=False)
    figure.update_yaxes(tickformat=".0%", row=len(DOSED))
    figure.update_xaxes(zeroline=False, showgrid=False)
    figure.update_xaxes(title_text="dose", row=len(DOSED))
    figure.update_annotations(font={"size": 12})
    figure.update_layout(
        height=140 + 170 * len(DOSED),
        margin={"l": 70, "r": 12, "t": 70, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def screen_figure(run: HierarchyRun) -> Figure | None:
    """Exact effect of each feature of the shortlists over its attributed one."""
    rows = [row for row in run.screen if row["exact"] is not None]
    if not rows:
        return None
    names = ["L{layer}_P{step}_F{feature}".format_map(row) for row in rows]
    both = [(row["attribution"], row["exact"]) for row in rows]
    ends = [min(map(min, both)), max(map(max, both))]
    figure = go.Figure(
        [
            go.Scatter(
                x=ends,
                y=ends,
                mode="lines",
                line={"width": 1, "dash": "dot", "color": COLOURS[1]},
                name="equal",
                hoverinfo="skip",
            ),
            go.Scatter(
                x=[x for x, _ in both],
                y=[y for _, y in both],
                mode="markers",
                marker={"size": 8, "color": COLOURS[0]},
                name="feature",
                text=[
                    f"<b>{name}</b><br>attributed {nats(x)}<br>exact {nats(y)}"
                    for name, (x, y) in zip(names, both, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            ),
        ]
    )
    figure.update_xaxes(title_text="effect attributed on other problems, nats", zeroline=False)
    figure.update_yaxes(title_text="exact effect on reported problems, nats", zeroline=False)
    figure.update_layout(
        height=420,
        margin={"l": 70, "r": 12, "t": 36, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def _cells(
    run: HierarchyRun, sites: Sequence[Condition], metric: str, control: str
) -> dict[tuple[int, int], float | None]:
    rows = {(each.layer, each.step): run.effect(each, metric, control) for each in sites}
    return {site: None if row is None else row["value"] for site, row in rows.items()}


def _dots(some: dict[int, tuple[Condition, Row]], title: str, number: int) -> go.Scatter:
    rows = [row for _, row in some.values()]
    colour = COLOURS[number]
    return go.Scatter(
        x=[row["value"] for row in rows],
        y=list(some),
        mode="markers",
        marker={
            "size": 8,
            "color": colour,
            "symbol": SYMBOLS[number] + "-open" * number,
            "line": {"width": 1.5, "color": colour},
        },
        error_x=error_bars(rows),
        name=title,
        text=[
            f"<b>{feature_cell(where)['value']}</b><br>{nats(row['value'])} nats<br>q "
            + ("–" if row["q_value"] is None else p_text(row["q_value"]))
            for where, row in some.values()
        ],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _curve(found: dict[float, Row], name: str, number: int, *, in_legend: bool) -> go.Scatter:
    rows = list(found.values())
    return go.Scatter(
        x=list(found),
        y=[row["value"] for row in rows],
        mode="lines+markers",
        line={"width": 1.5, "color": COLOURS[number], "dash": "dot" if number else "solid"},
        marker={
            "size": 7,
            "symbol": SYMBOLS[number] + "-open" * number,
            "color": COLOURS[number],
        },
        error_y=error_bars(rows),
        name=name,
        legendgroup=name,
        showlegend=in_legend,
        text=[f"{name}, dose {dose:g}: {row['value']:.3f}" for dose, row in found.items()],
        hovertemplate="%{text}<extra></extra>",
    )
