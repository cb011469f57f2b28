"""Whether classes of a topic lie together: heat maps beside those of words, and what words leave of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.cells import (
    Cell,
    filled,
    number_cell,
    p_text,
    plain_cell,
    table,
    text_cell,
    whole_cell,
)
from saeflow.report.figures import literal, plain_figure
from saeflow.report.specialists.choices import offer
from saeflow.report.specialists.model import SpecialistModel
from saeflow.report.specialists.numbers import (
    BASELINES,
    CALIBRATED,
    NO_BANK,
    NONE,
    POOLINGS,
    PUBLISHED,
    Bank,
    Figure,
    Numbers,
    Row,
    Table,
    of_bank,
    pooling_title,
)
from saeflow.report.tables import MISSING

TOPICS = "topics"
COSINES = ("words", "trigrams", "characters")
"""Baselines that are cosines, as the similarities of features are."""
MODES = {PUBLISHED: "published: all texts", CALIBRATED: "calibrated: no pair in common"}
TOPIC_LINE = "#808080"
STUDY = {"within": 0.610, "across": 0.137, "t": 8.391, "same_form_across": 0.090}
"""Of GPT-2 small, layer 11 (methods/3, section 4.5 C); its later pooling gives .503 and .137."""
_DIGITS = 3


def similarity_figure(numbers: Numbers, bank: Bank, pooling: str) -> Figure | None:
    """Heat maps of classes: features on the left, words on the right, each to choose from.

    Parameters
    ----------
    numbers : Numbers
        Of one model.
    bank : Bank
        SAEs.
    pooling : str
        What is shown at first, of the last block.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; ``layout.meta`` tells `page.js` what there is
        to choose. None where no class was compared.
    """
    features = _matrices(numbers, bank, [pooling, *POOLINGS])
    words = _matrices(numbers, NO_BANK, list(BASELINES))
    if not features:
        return None
    shown = [each for each in (features, words) if each]
    figure = make_subplots(rows=1, cols=len(shown), shared_yaxes=True, horizontal_spacing=0.02)
    choices: dict[str, dict[str, list[int]]] = {}
    for column, (label, some) in enumerate(
        zip(("Features (left)", "Words (right)"), shown, strict=False), start=1
    ):
        for title, (classes, values) in some.items():
            choices.setdefault(label, {})[title] = [len(figure.data)]
            figure.add_trace(_heatmap(title, classes, values), row=1, col=column)
    classes = next(iter(features.values()))[0]
    topics = [each.partition(": ")[0] for each in classes]
    for place in range(1, len(topics)):
        if topics[place] != topics[place - 1]:
            line = {"width": 1, "color": TOPIC_LINE}
            figure.add_vline(x=place - 0.5, line=line)
            figure.add_hline(y=place - 0.5, line=line)
    named = {"type": "category", "showgrid": False, "zeroline": False, "automargin": True}
    figure.update_xaxes(**named, tickangle=-45, tickfont={"size": 10})
    figure.update_yaxes(**named, autorange="reversed", tickfont={"size": 10})
    figure.update_layout(
        coloraxis={"colorscale": "RdBu", "cmin": -1, "cmid": 0, "cmax": 1, "colorbar": _BAR},
        height=200 + 17 * len(classes),
        margin={"l": 20, "r": 12, "t": 12, "b": 70},
    )
    return offer(plain_figure(figure), choices)


def clustering_table(model: SpecialistModel, bank: Bank) -> Table | None:
    """Classes within and across topics, permuted topics, and what words leave, by pooling and block."""
    numbers = model.numbers
    cells = [
        [*named, *_clustering(numbers, key, control, model)]
        for named, key, control in _places(numbers, bank, CALIBRATED)
    ]
    titles = ["Within topics", "Across topics", "Difference", "p, topics permuted", "q"]
    titles += ["Untrained model’s difference", "Explained by words and lengths"]
    titles += [
        "Difference beyond them",
        "p beyond them",
        "q beyond them",
        "Partial Mantel",
        "Its p",
    ]
    heads = [("Features or words", False), ("Layer", True), *((each, True) for each in titles)]
    return filled(table(heads, cells)) if _any(cells, 2) else None


def published_table(numbers: Numbers, bank: Bank) -> Table | None:
    """The study's own comparison of classes, beside the same of words."""
    metrics = ("within", "across", "t", "same_form_across", "variance_share_1", "variance_share_2")
    cells = []
    for named, key, control in _places(numbers, bank, PUBLISHED):
        rows = [numbers.row("geometry", TOPICS, each, control, **key) for each in metrics]
        line = [number_cell(row, _ratio) for row in rows]
        line.insert(3, _tested(rows[2], "p_value"))
        cells.append([*named, *line])
    if not _any(cells, 2):
        return None
    blank = text_cell(MISSING) | {"numeric": True}
    study = [plain_cell(STUDY[each], _ratio) for each in metrics[:4]]
    study.insert(3, plain_cell(1.14e-14, p_text))
    cells.append([text_cell("GPT-2 small, as published"), whole_cell(11), *study, blank, blank])
    titles = ["Within topics", "Across topics", "t of pairs", "its p, as published"]
    titles += ["Same form, other topic", "First component", "Second component"]
    heads = [("Features or words", False), ("Layer", True), *((each, True) for each in titles)]
    return filled(table(heads, cells))


def mantel_table(numbers: Numbers, bank: Bank) -> Table | None:
    """How far similarity of features follows each similarity of words, by pooling and block."""
    cells = []
    for named, key, control in _places(numbers, bank, CALIBRATED):
        if control == NONE:
            line = [
                number_cell(numbers.row("geometry", name, "mantel", **key), _ratio)
                for name in BASELINES
            ]
            cells.append([*named, *line])
    heads = [("Features", False), ("Layer", True), *((each, True) for each in BASELINES.values())]
    return filled(table(heads, cells)) if _any(cells, 2) else None


def _matrices(
    numbers: Numbers, bank: Bank, first: Sequence[str]
) -> dict[str, tuple[list[str], list[list[float | None]]]]:
    """Classes and their similarities by what is compared, the calibrated ones first, blocks descending.

    The deepest block comes first, since there the study found its topics.
    """
    found: dict[tuple[str, str, int | None], dict[tuple[str, str], float | None]] = {}
    for row in of_bank(numbers.tables.similarities, bank):
        place = (row["mode"], row["pooling"], row["layer"])
        found.setdefault(place, {})[row["first"], row["second"]] = row["similarity"]
    rank = {name: number for number, name in reversed(list(enumerate(first)))}
    order = sorted(
        found,
        key=lambda each: (each[0] != CALIBRATED, -(each[2] or 0), rank.get(each[1], len(rank))),
    )
    shown = {}
    for place in order:
        mode, pooling, layer = place
        cells = found[place]
        classes = list(dict.fromkeys(first for first, _ in cells))
        where = (
            BASELINES.get(pooling) if layer is None else f"layer {layer}, {pooling_title(pooling)}"
        )
        shown[f"{where or pooling} ({MODES.get(mode, mode)})"] = (
            classes,
            [[_rounded(cells.get((one, two))) for two in classes] for one in classes],
        )
    return shown


def _heatmap(title: str, classes: Sequence[str], values: list[list[float | None]]) -> go.Heatmap:
    return go.Heatmap(
        x=list(map(literal, classes)),
        y=list(map(literal, classes)),
        z=values,
        coloraxis="coloraxis",
        name=literal(title),
        hovertemplate=f"<b>{literal(title)}</b><br>%{{y}}<br>%{{x}}<br>%{{z:.3f}}<extra></extra>",
    )


_BAR = {
    "orientation": "h",
    "x": 0.5,
    "len": 0.5,
    "thickness": 10,
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "outlinewidth": 0,
}


def _places(
    numbers: Numbers, bank: Bank, mode: str
) -> Iterator[tuple[list[Cell], dict[str, Any], str]]:
    """First cells, key and control of the rows of a table: features by block, then words."""
    for pooling in numbers.poolings(bank, mode):
        for layer in numbers.layers(bank):
            named = [text_cell(pooling_title(pooling)), whole_cell(layer)]
            yield named, {"bank": bank, "mode": mode, "layer": layer, "pooling": pooling}, NONE
    for name in COSINES:
        named = [text_cell(f"{BASELINES[name]} alone"), text_cell(MISSING) | {"numeric": True}]
        yield named, {"mode": mode}, name


def _clustering(
    numbers: Numbers, key: dict[str, Any], control: str, model: SpecialistModel
) -> list[Cell]:
    def row(metric: str) -> Row | None:
        return numbers.row("geometry", TOPICS, metric, control, **key)

    difference, beyond, mantel = (
        row(each) for each in ("difference", "difference_beyond_words", "mantel_beyond_words")
    )
    other = None
    bank = key.get("bank")
    beside = None if bank is None else model.beside(bank)
    if model.control is not None and beside is not None:
        other = model.control.row("geometry", TOPICS, "difference", **{**key, "bank": beside})
    return [
        number_cell(row("within"), _ratio),
        number_cell(row("across"), _ratio),
        number_cell(difference, _signed),
        _tested(difference, "p_value"),
        _tested(difference, "q_value"),
        number_cell(other, _signed),
        number_cell(row("explained_by_words"), _ratio),
        number_cell(beyond, _signed),
        _tested(beyond, "p_value"),
        _tested(beyond, "q_value"),
        number_cell(mantel, _signed),
        _tested(mantel, "p_value"),
    ]


def _tested(row: Row | None, column: str) -> Cell:
    """A p-value of a row, in a column of its own."""
    return plain_cell(None if row is None else row[column], p_text)


def _any(cells: Sequence[Sequence[Cell]], start: int) -> bool:
    return any(cell["value"] != MISSING for line in cells for cell in line[start:])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _ratio(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
