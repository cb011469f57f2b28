"""What is answered in which format: grids and tables, beside a coin, samples and untrained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeflow.datasets.comparisons.formats import FORMS, PUBLISHED, TEMPLATES
from saeflow.datasets.texts.decimals import PRONE, STRATA
from saeflow.datasets.texts.judge import RIGHT, UNCLEAR, WRONG
from saeflow.report.cells import Cell, filled, nats, number_cell, share_cell, table, text_cell
from saeflow.report.decimal_bug.model import DecimalModel
from saeflow.report.decimal_bug.numbers import NONE, Numbers
from saeflow.report.decimal_bug.numbers import PUBLISHED as AS_PUBLISHED
from saeflow.report.shares import Shares, shares_figure
from saeflow.report.tables import MISSING

SAMPLED, CHANCE = "sampled", "chance"
GROUPS = {
    "all": "all pairs",
    PRONE: "prone, all",
    "prone_dates": "prone: dates",
    "prone_versions": "prone: versions",
    "prone_other": "prone: other",
    "unequal_digits": "digits unequal",
    "equal_digits": "digits equal",
    "whole_differs": "whole part differs",
    "integers": "integers",
}
"""Kinds of pairs, in words; those of `STRATA` that are not named here go by their own name."""
_TITLES = {"qa": "Q/A", "plain": "plain"}
_TEMPLATE = "the tokenizer’s own chat template"


def form_title(form: str) -> str:
    """Name of a format, in words."""
    family, _, wording = form.partition("_")
    if family in _TITLES and wording:
        return f"{_TITLES[family]}, {wording}"
    return form.replace("_", " ")


def forms_of(numbers: Numbers) -> list[str]:
    """Formats that were asked in, Q/A formats first."""
    asked = {key.group.partition(", ")[0] for key in numbers.of_part("behaviour")}
    return [form for form in FORMS if form in asked]


def behaviour_figure(model: DecimalModel) -> dict[str, Any] | None:
    """Share of right answers by format and kind of pair: greedy, sampled, and untrained.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was asked.
    """
    sources = [
        ("Greedy answers", model.numbers, NONE),
        ("Sampled answers", model.numbers, SAMPLED),
        (f"{model.control_name}, untrained: greedy answers", model.control, NONE),
    ]
    panels = [
        _panel(title, numbers, control)
        for title, numbers, control in sources
        if numbers is not None
    ]
    return shares_figure(panels, of="pairs", breaks=[1, 2 + _count_prone()])


def formats_table(numbers: Numbers, pair: Sequence[str]) -> dict[str, Any] | None:
    """How each format asks about the study's own pair.

    Parameters
    ----------
    numbers : Numbers
        Of one model.
    pair : sequence of str
        Its numbers.
    """
    first, second = pair
    known = {form: name for name, form in PUBLISHED.items()}
    cells = []
    for form in forms_of(numbers):
        template = TEMPLATES.get(form)
        text = _TEMPLATE
        if template is not None:
            filled_in = template.format(adjective="bigger", a=first, b=second)
            text = filled_in.replace("\n", "⏎")
        cells.append(
            [
                text_cell(form_title(form)),
                text_cell(text, wrap=True),
                text_cell(known.get(form, "")),
            ]
        )
    heads = [("Format", False), ("Prompt", False), ("The study calls it", False)]
    return table(heads, cells) if cells else None


def prone_table(model: DecimalModel) -> dict[str, Any] | None:
    """Answers to the prone pairs by format, beside the coin, samples and the untrained model."""
    numbers = model.numbers
    cells = []
    for form in forms_of(numbers):
        group = f"{form}, {PRONE}"
        shares = [
            numbers.row("behaviour", group, metric, control)
            for metric, control in (
                (RIGHT, NONE),
                (RIGHT, SAMPLED),
                (RIGHT, CHANCE),
                (WRONG, NONE),
                (UNCLEAR, NONE),
                ("right_fallback", NONE),
                ("gibberish", NONE),
            )
        ]
        other = model.control and model.control.row("behaviour", group, RIGHT)
        shares.insert(3, other or None)
        difference = number_cell(numbers.row("behaviour", group, "logit_difference"), nats)
        cells.append([text_cell(form_title(form)), *map(share_cell, shares), difference])
    titles = ["Right", "Right, sampled", "Coin", "Right, untrained", "Wrong", "Unclear"]
    titles += ["Right by the first line", "Gibberish", "Logit difference, nats"]
    heads = [("Format", False), *((title, True) for title in titles)]
    return filled(table(heads, cells)) if cells else None


def own_pair_table(model: DecimalModel) -> dict[str, Any] | None:
    """The published procedure: one answer per format to the study's own pair."""
    cells = []
    for name in PUBLISHED:
        found = _verdict(model.numbers, name)
        if found is not None:
            difference = model.numbers.row("behaviour", name, "logit_difference", mode=AS_PUBLISHED)
            other = None if model.control is None else _verdict(model.control, name)
            line = [text_cell(name), text_cell(found), number_cell(difference, nats)]
            cells.append([*line, text_cell(other or MISSING)])
    heads = [("Format", False), ("Answer", False), ("Logit difference, nats", True)]
    return filled(table([*heads, ("Answer, untrained", False)], cells)) if cells else None


def right_cells(numbers: Numbers) -> list[Cell]:
    """Right answers in the Q/A formats and in the plain ones, on the half that is reported."""
    return [share_cell(numbers.bug(metric)) for metric in ("right_qa", "right_plain")]


def _panel(title: str, numbers: Numbers, control: str) -> Shares:
    groups = {**GROUPS, **{name: name for name in STRATA if name not in GROUPS}}
    forms = forms_of(numbers)
    cells = {
        (form_title(form), words): row
        for form in forms
        for group, words in groups.items()
        if (row := numbers.row("behaviour", f"{form}, {group}", RIGHT, control)) is not None
    }
    return Shares(title, list(map(form_title, forms)), list(groups.values()), cells)


def _count_prone() -> int:
    return sum(name.startswith(PRONE) for name in STRATA)


def _verdict(numbers: Numbers, name: str) -> str | None:
    rows: Mapping[str, Any] = {
        verdict: numbers.row("behaviour", name, verdict, mode=AS_PUBLISHED)
        for verdict in (RIGHT, WRONG, UNCLEAR)
    }
    return next((verdict for verdict, row in rows.items() if row and row["value"] == 1), None)
