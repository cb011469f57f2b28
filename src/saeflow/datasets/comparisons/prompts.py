"""Prompts about pairs of numbers, and where in them the numbers and the adjective stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from string import Formatter

from saeflow.datasets.comparisons.formats import (
    CHAT_TEMPLATE,
    FORMS,
    ORDERS,
    QUESTION,
    SWAPPED,
    TEMPLATES,
    check_names,
)
from saeflow.datasets.comparisons.pairs import ComparisonPair
from saeflow.errors import SaeflowError

FIRST, SECOND, ADJECTIVE = "first", "second", "adjective"
FIELDS = (FIRST, SECOND, ADJECTIVE)
_FIELD_OF = {"a": FIRST, "b": SECOND, "adjective": ADJECTIVE}
Spans = dict[str, tuple[int, int]]
"""Start and end of each field, in characters."""


@dataclass(frozen=True)
class Prompt:
    """A question which of two numbers is bigger.

    Attributes
    ----------
    item : int
        Number of the pair; its prompts in all formats share it.
    stratum, half : str
        Kind of the pair, and whether it is there to choose or to report.
    form, order : str
        Format, and ``given`` or ``swapped``.
    adjective : str
        ``bigger``, ``larger`` or ``greater``.
    first, second : str
        The numbers as they come in the prompt.
    truth, other : str
        The bigger number and the smaller one.
    text : str
        The prompt.
    first_start, first_end, second_start, second_end, adjective_start, adjective_end : int
        Where the fields are in the text, in characters, the end exclusive.
    """

    item: int
    stratum: str
    half: str
    form: str
    order: str
    adjective: str
    first: str
    second: str
    truth: str
    other: str
    text: str
    first_start: int
    first_end: int
    second_start: int
    second_end: int
    adjective_start: int
    adjective_end: int

    @property
    def spans(self) -> Spans:
        """Start and end of ``first``, ``second`` and ``adjective``, in characters."""
        return {
            FIRST: (self.first_start, self.first_end),
            SECOND: (self.second_start, self.second_end),
            ADJECTIVE: (self.adjective_start, self.adjective_end),
        }


def comparison_prompts(
    pairs: Iterable[ComparisonPair],
    forms: Sequence[str],
    orders: Sequence[str] = ORDERS,
    *,
    render: Callable[[str], str] | None = None,
) -> list[Prompt]:
    """Ask about pairs in several formats and orders.

    Parameters
    ----------
    pairs : iterable of ComparisonPair
        What is asked about.
    forms, orders : sequence of str
        Some of `saeflow.datasets.comparisons.formats.FORMS` and ``ORDERS``.
    render : callable, optional
        Puts a question into a tokenizer's chat template, for the format ``chat_template``; see
        `saeflow.models.chat.chat_renderer`.

    Returns
    -------
    list of Prompt
        Pair by pair, format by format, in the orders asked for.

    Raises
    ------
    SaeflowError
        If a format or an order is unknown, or ``chat_template`` is asked for and there is none, or
        it does not repeat the question once and as it is.
    """
    check_names("format", forms, FORMS)
    check_names("order", orders, ORDERS)
    return [
        _prompt(pair, form, order, render) for pair in pairs for form in forms for order in orders
    ]


def _prompt(
    pair: ComparisonPair, form: str, order: str, render: Callable[[str], str] | None
) -> Prompt:
    first, second = pair.left, pair.right
    if order == SWAPPED:
        first, second = second, first
    fields = {FIRST: first, SECOND: second, ADJECTIVE: pair.adjective}
    if form == CHAT_TEMPLATE:
        text, spans = _rendered(fields, render)
    else:
        text, spans = _filled(TEMPLATES[form], fields)
    return Prompt(
        item=pair.item,
        stratum=pair.stratum,
        half=pair.half,
        form=form,
        order=order,
        adjective=pair.adjective,
        first=first,
        second=second,
        truth=pair.truth,
        other=pair.other,
        text=text,
        first_start=spans[FIRST][0],
        first_end=spans[FIRST][1],
        second_start=spans[SECOND][0],
        second_end=spans[SECOND][1],
        adjective_start=spans[ADJECTIVE][0],
        adjective_end=spans[ADJECTIVE][1],
    )


def _filled(template: str, fields: dict[str, str]) -> tuple[str, Spans]:
    text, spans = "", {}
    for literal, name, _, _ in Formatter().parse(template):
        text += literal
        if name is not None:
            field = _FIELD_OF[name]
            spans[field] = (len(text), len(text) + len(fields[field]))
            text += fields[field]
    return text, spans


def _rendered(fields: dict[str, str], render: Callable[[str], str] | None) -> tuple[str, Spans]:
    if render is None:
        raise SaeflowError(
            f"the format {CHAT_TEMPLATE} is asked for and the model's tokenizer has no chat "
            "template; leave the format out."
        )
    question, spans = _filled(QUESTION, fields)
    text = render(question)
    if text.count(question) != 1:
        raise SaeflowError(
            f"the tokenizer's chat template repeats the question {question!r} {text.count(question)} "
            f"times; the format {CHAT_TEMPLATE} expects it once and unchanged."
        )
    start = text.index(question)
    return text, {field: (start + a, start + b) for field, (a, b) in spans.items()}
