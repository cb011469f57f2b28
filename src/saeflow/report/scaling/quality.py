"""How well SAEs reconstruct, how often features fire, how alike they are, and which return."""

from __future__ import annotations

from typing import Any, NamedTuple

import plotly.graph_objects as go

from saeflow.report.cells import (
    Cell,
    Head,
    filled,
    number_cell,
    plain_cell,
    share_cell,
    table,
    text_cell,
    whole_cell,
)
from saeflow.report.controls import TITLES
from saeflow.report.figures import COLOURS, literal, plain_figure
from saeflow.report.scaling.dots import Dots, dots_figure
from saeflow.report.scaling.model import ScalingModel
from saeflow.report.scaling.numbers import (
    ALL,
    NONE,
    RANDOM,
    TRAIN,
    Figure,
    Numbers,
    Row,
    Sae,
    Table,
    of_sae,
)
from saeflow.report.specialists.choices import offer

BY_ZERO, BY_MEAN = "ce_recovered_zero", "ce_recovered_mean"
ABLATIONS = {
    BY_ZERO: "held against activations of 0",
    BY_MEAN: "held against mean activations",
}
"""What the cross-entropy that is recovered is held against, in words."""
NEVER = "never"


class Shown(NamedTuple):
    """An SAE of a table: its name, where its numbers are, and which it is."""

    title: str
    numbers: Numbers
    sae: Sae

    def row(self, metric: str, split: str | None = None) -> Row | None:
        """Row of a number, on the held-out split if no other is named."""
        return self.numbers.quality(self.sae, metric, split=split)


def shown_saes(model: ScalingModel) -> list[Shown]:
    """SAEs of a model, the main one first, then that of the untrained model."""
    found = [
        Shown(sae_title(sae, control), model.numbers, sae)
        for sae, control in model.numbers.controls.items()
    ]
    if model.control is not None and model.beside is not None:
        found.append(Shown(f"{model.beside.title}, untrained model", model.control, model.beside))
    return found


def sae_title(sae: Sae, control: str) -> str:
    """Name of an SAE, with what control it is."""
    told = "" if control == NONE else f" ({TITLES.get(control, control).lower()})"
    return sae.title + told


def mean_alone(model: ScalingModel) -> Row | None:
    """Cross-entropy that the mean activation for every token recovers, held against zeros.

    What every SAE with a bias has for nothing; none where its parts were not measured.
    """
    losses = [
        model.numbers.quality(model.numbers.main, f"ce_{name}")
        for name in ("zero", "mean", "clean")
    ]
    if None in losses:
        return None
    zero, mean, clean = (row["value"] for row in losses if row is not None)
    if zero == clean:
        return None
    return {"value": (zero - mean) / (zero - clean), "ci_low": None, "ci_high": None}


def quality_table(model: ScalingModel) -> Table | None:
    """Reconstruction of every SAE on documents that trained none, beside its controls."""
    cells = []
    for each in shown_saes(model):
        width = each.numbers.latents(each.sae)
        cells.append(
            [
                text_cell(each.title),
                whole_cell(width),
                number_cell(each.row("l0_mean"), "{:,.1f}".format),
                number_cell(each.row("fvu"), _ratio),
                number_cell(each.row("fvu", TRAIN), _ratio),
                share_cell(each.row(BY_ZERO)),
                share_cell(each.row(BY_MEAN)),
                number_cell(each.row("ce_spliced"), _ratio),
                share_cell(each.row("dead_share", ALL)),
                share_cell(each.row("dead_share")),
            ]
        )
    if not cells:
        return None
    if (alone := mean_alone(model)) is not None:
        cells.append(_mean_cells(model, alone))
    heads = [("SAE", False), ("Features", True), ("Active per token", True)]
    heads += [("Variance unexplained", True), ("The same, training documents", True)]
    heads += [("Cross-entropy recovered, from zeros", True), ("The same, from the mean", True)]
    heads += [("Cross-entropy, nats", True), ("Dead on all documents", True)]
    return filled(table([*heads, ("Dead on held-out ones", True)], cells))


def _mean_cells(model: ScalingModel, alone: Row) -> list[Cell]:
    """What the mean activation gives in place of every token's: by definition, but for two numbers."""
    numbers = model.numbers
    return [
        text_cell("Mean activation for every token, without an SAE"),
        whole_cell(None),
        plain_cell(0.0, "{:,.1f}".format),
        plain_cell(1.0, _ratio),
        plain_cell(1.0, _ratio),
        share_cell(alone),
        share_cell({"value": 0.0, "ci_low": None, "ci_high": None}),
        number_cell(numbers.quality(numbers.main, "ce_mean"), _ratio),
        share_cell(None),
        share_cell(None),
    ]


def recovered_figure(model: ScalingModel) -> Figure | None:
    """Cross-entropy that each SAE recovers, by what it is held against."""
    shown = shown_saes(model)
    rows = {
        metric: {
            place: row for place, each in enumerate(shown) if (row := each.row(metric)) is not None
        }
        for metric in ABLATIONS
    }
    names = [each.title for each in shown]
    if any(rows.values()) and (alone := mean_alone(model)) is not None:
        rows[BY_ZERO][len(names)] = alone
        rows[BY_MEAN][len(names)] = {"value": 0.0, "ci_low": None, "ci_high": None}
        names.append("mean activation, without an SAE")
    kinds = [Dots(title, rows[metric], metric == BY_MEAN) for metric, title in ABLATIONS.items()]
    return dots_figure(names, kinds, format=".0%", title="cross-entropy recovered")


def densities_figure(model: ScalingModel) -> Figure | None:
    """How many features fire on how many tokens, SAE by SAE; a reader chooses the documents.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was counted.
    """
    figure = go.Figure()
    choices: dict[str, list[int]] = {}
    for number, each in enumerate(shown_saes(model)):
        control = each.numbers.controls[each.sae]
        found: dict[str, list[dict[str, Any]]] = {}
        for row in of_sae(each.numbers.tables["densities"], each.sae, control):
            found.setdefault(row["split"], []).append(row)
        for split in sorted(found, key=lambda name: (name == TRAIN, name)):
            choices.setdefault(split, []).append(len(figure.data))
            dash = "solid" if control == NONE and each.numbers is model.numbers else "dash"
            figure.add_trace(_histogram(each.title, found[split], number, dash))
    if not choices:
        return None
    figure.update_xaxes(
        type="category", showgrid=False, title={"text": "share of tokens on which it fires, up to"}
    )
    figure.update_yaxes(title={"text": "features"}, rangemode="tozero", zeroline=False)
    figure.update_layout(
        height=440,
        margin={"l": 60, "r": 12, "t": 90, "b": 76},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    named = {f"{split} documents": traces for split, traces in choices.items()}
    return offer(plain_figure(figure), {"Read": named})


def _histogram(name: str, rows: list[dict[str, Any]], number: int, dash: str) -> go.Scatter:
    ordered = sorted(rows, key=lambda row: row["high"])
    ends = [NEVER if not row["high"] else f"{row['high']:.2g}" for row in ordered]
    return go.Scatter(
        x=ends,
        y=[row["n_features"] for row in ordered],
        mode="lines",
        line={"shape": "hvh", "width": 2, "dash": dash, "color": COLOURS[number % len(COLOURS)]},
        name=literal(name),
        text=[
            f"<b>{literal(name)}</b><br>"
            + ("fires never" if end == NEVER else f"fires on {row['low']:.2g} to {end} of tokens")
            + f"<br>{row['n_features']:,} features"
            for end, row in zip(ends, ordered, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def alike_table(model: ScalingModel) -> Table | None:
    """How alike decoder directions of one SAE are, and how many return with another seed, beside chance."""
    shown = shown_saes(model)
    measures = dict.fromkeys(
        (key.metric, key.other_seed)
        for each in shown
        for key in each.numbers.rows
        if key.sae == each.sae and key.split == ALL and _alike_title(key.metric, key.other_seed)
    )
    cells = [
        [
            text_cell(each.title),
            *(cell for measure in measures for cell in _alike_cells(each, *measure)),
        ]
        for each in shown
    ]
    heads: list[Head] = [("SAE", False)]
    for measure in measures:
        heads += [(_alike_title(*measure), True), ("Random directions", True)]
    return filled(table(heads, cells)) if measures else None


def _alike_cells(each: Shown, metric: str, other_seed: int) -> list[Cell]:
    rows = [
        each.numbers.quality(each.sae, metric, split=ALL, control=control, other_seed=other_seed)
        for control in (None, RANDOM)
    ]
    if metric == "largest_cosine":
        return [number_cell(row, _ratio) for row in rows]
    return [share_cell(row) for row in rows]


def _alike_title(metric: str, other_seed: int) -> str:
    """What a number of the decoder is; empty where it is of something else."""
    least = metric.removeprefix("redundant_share_")
    if least != metric:
        return f"Cosine of {least} or more with another"
    return {
        "largest_cosine": "Largest cosine with another, mean",
        "returning_share": f"Return with seed {other_seed}, mutual nearest",
        "matched_share": f"Return with seed {other_seed}, one to one",
    }.get(metric, "")


def _ratio(value: float) -> str:
    return f"{value:.3f}"
