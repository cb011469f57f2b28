"""What patches do: maps by layer, units and donor, the chosen site, and blending."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.cells import (
    Cell,
    filled,
    integer,
    nats,
    nats_cell,
    p_text,
    plain_cell,
    points_cell,
    share_cell,
    table,
    text_cell,
)
from saeflow.report.decimal_bug.numbers import (
    CALIBRATED,
    MODULES,
    NONE,
    PARTS,
    PUBLISHED,
    TO_BUGGY,
    TO_PLAIN,
    Numbers,
    Patch,
    Row,
    Units,
    chosen_kind,
    patch_of,
    site_of,
)
from saeflow.report.figures import COLOURS, MARKS, error_bars, plain_figure
from saeflow.report.shares import Shares, shares_figure
from saeflow.report.tables import percent

DONORS = {
    NONE: "same pair, other format",
    "other_pair_plain": "another pair, plain format",
    "other_pair_buggy": "another pair, Q/A format",
    "unlike_pair_plain": "a pair whose answer looks other, plain format",
    "unlike_pair_buggy": "a pair whose answer looks other, Q/A format",
    "word_problem": "a word problem",
    "identity": "the prompt itself: nothing changes",
    "mean_plain": "mean of plain prompts",
    "mean_buggy": "mean of Q/A prompts",
}
"""Where activations come from, in words; the first is the measurement, the others its controls."""
SHORT = {
    NONE: "same pair",
    "other_pair_plain": "other pair, plain",
    "other_pair_buggy": "other pair, Q/A",
    "unlike_pair_plain": "unlike pair, plain",
    "unlike_pair_buggy": "unlike pair, Q/A",
    "word_problem": "word problem",
    "identity": "itself",
    "mean_plain": "mean, plain",
    "mean_buggy": "mean, Q/A",
}
"""The same for heads of columns."""
PHASES = {"both": "prompt and answer", "prefill": "prompt", "decode": "answer"}
KINDS = (*MODULES, *PARTS)
METRICS = ("right", "wrote_donor", "logit_change")
OTHER = ("other_pair", "unlike_pair")
FORMAT, FORMAT_TITLE = "right_by_format", "unlike pairs: plain format against Q/A format"
"""Right answers from pairs whose answer looks other: asked plainly, beyond asked in the Q/A format."""
BEYOND = "right_beyond_"
"""How the names of differences from a control donor begin."""
_UNIT = {"head": "H", "kv_group": "KV", "block": "B"}
Figure = dict[str, Any]
Table = dict[str, Any]
Patched = dict[tuple[Patch, int, str, str], Row]
"""Rows by patch, layer, metric and control."""


def patches_of(numbers: Numbers, part: str, mode: str = CALIBRATED) -> Patched:
    """Rows of one part of the patches, in the order of the table."""
    return {
        (patch, key.layer or 0, key.metric, key.control): row
        for key, row in numbers.of_part("patching").items()
        if (patch := patch_of(key.group)) is not None and (patch.part, key.mode) == (part, mode)
    }


def map_figure(numbers: Numbers, direction: str) -> Figure | None:
    """Share of right answers by layer, units and donor, a panel per donor.

    Parameters
    ----------
    numbers : Numbers
        Of one model.
    direction : str
        Which prompts are patched: ``plain_to_buggy`` or ``buggy_to_plain``.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was patched.
    """
    found = {
        where: row
        for where, row in patches_of(numbers, "map").items()
        if where[0].direction == direction and where[0].phase == "both" and where[2] == "right"
    }
    units = sorted({patch.where for patch, *_ in found}, key=_unit_order)
    kinds = [where.kind if where.kind in PARTS else "" for where in units]
    return shares_figure(
        [
            _panel(donor, found, {where: unit_name(*where) for where in units})
            for donor in _donors(found)
        ],
        of="pairs",
        breaks=[place for place in range(1, len(kinds)) if kinds[place] != kinds[place - 1]],
        rows="layer",
    )


def phases_figure(numbers: Numbers) -> Figure | None:
    """Whole modules by layer and by which tokens are patched, a panel per donor."""
    found = {
        where: row
        for where, row in patches_of(numbers, "map").items()
        if where[0].direction == TO_BUGGY and where[0].where.kind in MODULES and where[2] == "right"
    }
    phased = {
        donor
        for donor in _donors(found)
        if len({patch.phase for patch, _, _, control in found if control == donor}) > 1
    }
    columns = {
        (kind, phase): f"{MODULES[kind]}, {'both' if phase == 'both' else PHASES[phase]}"
        for kind in MODULES
        for phase in PHASES
    }
    panels = [
        Shares(
            f"from {DONORS.get(donor, donor)}",
            _layers(found),
            list(columns.values()),
            {
                (str(layer), columns[patch.where.kind, patch.phase]): row
                for (patch, layer, _, control), row in found.items()
                if control == donor
            },
        )
        for donor in _donors(found)
        if donor in phased
    ]
    breaks = [len(PHASES) * place for place in range(1, len(MODULES))]
    return shares_figure(panels, of="pairs", breaks=breaks, rows="layer")


def site_table(numbers: Numbers) -> Table | None:
    """The chosen site with every donor: right answers, the donor's number written, and the logit."""
    cells = []
    for donor, title in DONORS.items():
        rows = [numbers.at_site(metric, donor) for metric in METRICS]
        if not donor.startswith(OTHER):
            # Only another pair has numbers that the prompt does not hold.
            rows[1] = None
        if any(rows):
            right, wrote, change = rows
            first = next(row for row in rows if row)
            numbered = plain_cell(float(first["n"]), integer)
            cells.append(
                [
                    text_cell(title),
                    share_cell(right),
                    share_cell(wrote),
                    nats_cell(change),
                    numbered,
                ]
            )
    heads = [("Activations from", False), ("Right", True), ("Names the donor’s number", True)]
    heads += [("Change of the logit difference, nats", True), ("Pairs", True)]
    return filled(table(heads, cells)) if cells else None


def beyond_table(numbers: Numbers) -> Table | None:
    """How many more answers are right than with a control donor, at what was chosen, tested."""
    cells = []
    for key, row in numbers.of_part("patching").items():
        title = FORMAT_TITLE if key.metric == FORMAT else tested_against(key.metric)
        where, kind = site_of(key.group), chosen_kind(key.group)
        if title is not None and where is not None:
            name = f"chosen site: {where.title}, layer {key.layer}"
        elif title is not None and kind is not None:
            name = f"chosen layer: {MODULES.get(kind, kind)}, layer {key.layer}"
        else:
            continue
        cells.append([text_cell(name), text_cell(title or ""), *_tested(row)])
    heads = [("Patched", False), ("Held against", False), ("More right, points", True)]
    return table([*heads, ("p", True), ("p, Holm", True)], cells) if cells else None


def tested_against(metric: str) -> str | None:
    """Donor that a difference of right answers is from, in words; None for other metrics."""
    donor = metric.removeprefix(BEYOND)
    return None if donor == metric else DONORS.get(donor, donor)


def random_table(numbers: Numbers) -> Table | None:
    """Chosen sets of units with every donor, beside random sets of as many and exchanged units."""
    found = {
        (patch.where.kind, patch.set, patch.where.units, layer, control): row
        for (patch, layer, metric, control), row in patches_of(numbers, "random").items()
        if metric == "right"
    }
    names = dict.fromkeys((key[0], key[1], key[3]) for key in found)
    cells = []
    for kind, name, layer in sorted(
        names, key=lambda key: (kind_order(key[0]), len(key[1]), key[1])
    ):
        size = name.removeprefix("chosen_")
        if not name.startswith("chosen_"):
            continue
        (units,) = {key[2] for key in found if key[:2] == (kind, name) and key[3] == layer}
        line = [
            text_cell(Units(kind, units).title),
            plain_cell(float(layer), integer),
            *(share_cell(found.get((kind, name, units, layer, donor))) for donor in DONORS),
            _range_cell(
                row
                for key, row in found.items()
                if key[0] == kind
                and key[1].startswith(f"random_{size}_")
                and key[3:] == (layer, NONE)
            ),
            _range_cell(
                row
                for key, row in found.items()
                if key[:2] == (kind, "exchanged") and key[3:] == (layer, NONE)
            ),
        ]
        cells.append(line)
    heads = [("Chosen units", False), ("Layer", True)]
    heads += [(capital(title), True) for title in SHORT.values()]
    heads += [("Random sets of as many", True), ("All units exchanged", True)]
    return filled(table(heads, cells)) if cells else None


def blend_figure(numbers: Numbers) -> Figure | None:
    """The published form: right answers by the weight of the plain prompt's module."""
    found = patches_of(numbers, "blend", PUBLISHED)
    if not found:
        return None
    figure = make_subplots(
        rows=1,
        cols=2,
        horizontal_spacing=0.1,
        subplot_titles=["right answers", "change of the logit difference, nats"],
    )
    for column, (metric, write) in enumerate(
        (("right", lambda value: f"{percent(value)} %"), ("logit_change", nats)), start=1
    ):
        for number, (phase, words) in enumerate(PHASES.items()):
            rows = {
                patch.weight: row
                for (patch, _, name, control), row in found.items()
                if (patch.phase, name, control) == (phase, metric, NONE)
            }
            some = dict(sorted(rows.items()))
            if some:
                trace = _curve(some, words, number, write, in_legend=column == 1)
                figure.add_trace(trace, row=1, col=column)
    figure.update_yaxes(tickformat=".0%", range=[-0.05, 1.05], row=1, col=1)
    figure.update_yaxes(zeroline=False)
    figure.update_xaxes(title_text="weight of the plain prompt’s module", zeroline=False)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        height=380,
        margin={"l": 64, "r": 12, "t": 70, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def unit_name(kind: str, units: str) -> str:
    """Short name of what is patched, for an axis."""
    return f"{_UNIT[kind]}{units}" if kind in _UNIT else MODULES.get(kind, kind)


def baseline(numbers: Numbers, direction: str) -> Row | None:
    """Right answers where each prompt gets its own activations, which changes nothing."""
    for (patch, _, metric, control), row in patches_of(numbers, "map").items():
        if (patch.direction, metric, control) == (direction, "right", "identity"):
            return row
    return None


DIRECTIONS = {
    TO_BUGGY: "From plain prompts into Q/A prompts",
    TO_PLAIN: "From Q/A prompts into plain prompts",
}
"""Directions of patches, in words."""


def capital(text: str) -> str:
    """Begin with a capital letter, and leave the others as they are."""
    return text[:1].upper() + text[1:]


def _panel(donor: str, found: Patched, names: Mapping[Any, str]) -> Shares:
    cells = {
        (str(layer), names[patch.where]): row
        for (patch, layer, _, control), row in found.items()
        if control == donor
    }
    return Shares(f"from {DONORS.get(donor, donor)}", _layers(found), list(names.values()), cells)


def _donors(found: Patched) -> list[str]:
    """Donors of patches, those with a name of ours first and in its order."""
    there = dict.fromkeys(control for *_, control in found)
    return [
        *(each for each in DONORS if each in there),
        *(each for each in there if each not in DONORS),
    ]


def _layers(found: Patched) -> list[str]:
    return [str(layer) for layer in sorted({layer for _, layer, *_ in found})]


def kind_order(kind: str) -> int:
    """Place of a kind of units among the others; modules first."""
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _unit_order(where: Any) -> tuple[int, list[int]]:
    return kind_order(where.kind), [int(each) for each in where.units.split(",") if each]


def _tested(row: Row) -> list[Cell]:
    return [points_cell(row), *(plain_cell(row[key], p_text) for key in ("p_value", "q_value"))]


def _range_cell(rows: Iterable[Row]) -> Cell:
    """Smallest to largest of several shares."""
    values = sorted(row["value"] for row in rows)
    if not values:
        return share_cell(None)
    ends = list(dict.fromkeys((values[0], values[-1])))
    return plain_cell(values[-1], lambda _: " to ".join(map(percent, ends)) + " %")


def _curve(
    rows: Mapping[float, Row], words: str, number: int, write: Any, *, in_legend: bool
) -> go.Scatter:
    alone = number > 0
    colour = COLOURS[number]
    return go.Scatter(
        x=list(rows),
        y=[row["value"] for row in rows.values()],
        mode="markers" if alone else "lines+markers",
        line={"width": 1.5, "color": colour},
        marker={
            "size": 10 if alone else 8,
            "symbol": MARKS[number] if alone else "circle",
            "color": colour,
            "line": {"width": 2, "color": colour},
        },
        error_y=error_bars(list(rows.values()), width=4),
        name=f"patched: {words}",
        legendgroup=words,
        showlegend=in_legend,
        text=[f"{words}, weight {weight:g}: {write(row['value'])}" for weight, row in rows.items()],
        hovertemplate="%{text}<extra></extra>",
    )
