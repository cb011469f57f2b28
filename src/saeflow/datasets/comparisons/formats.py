"""Formats of the question which of two numbers is bigger, and which of them belong together.

The published formats are Q&A, Simple and Chat (methods/4, section 5.1); the reference models were
trained on six. With the adjective ``bigger`` two of these are the published Q&A and Simple.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from saeflow.datasets.texts.decimals import BUGGY_FORMATS, FORMATS, PLAIN_FORMATS
from saeflow.errors import SaeflowError, nearest

QUESTION = "Which is {adjective}: {a} or {b}?"
"""What the chat formats ask."""
CHAT, CHAT_TEMPLATE = "chat", "chat_template"
TEMPLATES = FORMATS | {
    CHAT: (
        "<|start_header_id|>user<|end_header_id|>\n\n"
        + QUESTION
        + "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
}
"""Formats by name. ``chat`` is raw text; ``chat_template`` is made by a tokenizer and not here."""
FORMS = (*TEMPLATES, CHAT_TEMPLATE)
PUBLISHED = {"Q&A": "qa_which", "Simple": "plain_which", "Chat": CHAT}
"""Formats of the study, by its names for them."""
FAMILIES = {
    "qa": tuple(BUGGY_FORMATS),
    "plain": tuple(PLAIN_FORMATS),
    "chat": (CHAT, CHAT_TEMPLATE),
}
"""Formats that differ in the wording of the question, or of the frame around it, only."""
PLAIN_COUNTERPARTS = {
    "qa_which": "plain_which",
    "qa_number": "plain_number",
    "qa_order": "plain_order",
    CHAT: "plain_which",
    CHAT_TEMPLATE: "plain_which",
}
"""Plain format that asks in the same words, for each format that may show the bug."""
GIVEN, SWAPPED = "given", "swapped"
ORDERS = (GIVEN, SWAPPED)
"""The numbers as they were drawn, or the second one first."""
WORDING, ORDER = "wording", "order"


class Paraphrase(NamedTuple):
    """Another prompt about the same pair, in the same family, with the same answer.

    Attributes
    ----------
    kind : str
        ``wording``: another format of the family; ``order``: the same format, numbers swapped.
    form, order : str
        Format and order of the other prompt.
    """

    kind: str
    form: str
    order: str


class UsableForms(NamedTuple):
    """Formats that can be written for a tokenizer.

    Attributes
    ----------
    forms : tuple of str
        In the order asked for.
    note : str
        A sentence that names what is left out and why; empty where nothing is.
    """

    forms: tuple[str, ...]
    note: str


def paraphrases(form: str, order: str, forms: Sequence[str] = FORMS) -> list[Paraphrase]:
    """Prompts that ask the same otherwise, within the family of a format.

    Parameters
    ----------
    form, order : str
        Format and order of the prompt.
    forms : sequence of str
        Formats that are there at all.

    Returns
    -------
    list of Paraphrase
        The other formats of the family in the same order, then the same format in the other order.
    """
    check_names("format", [form], FORMS)
    check_names("order", [order], ORDERS)
    (family,) = (each for each in FAMILIES.values() if form in each)
    others = [each for each in family if each != form and each in forms]
    swapped = SWAPPED if order == GIVEN else GIVEN
    return [
        *(Paraphrase(WORDING, other, order) for other in others),
        Paraphrase(ORDER, form, swapped),
    ]


def usable_forms(forms: Sequence[str], *, has_template: bool) -> UsableForms:
    """Leave out the format that a tokenizer without a chat template cannot write.

    Parameters
    ----------
    forms : sequence of str
        Formats asked for.
    has_template : bool
        Whether the tokenizer has a chat template.
    """
    check_names("format", forms, FORMS)
    if has_template or CHAT_TEMPLATE not in forms:
        return UsableForms(tuple(forms), "")
    kept = tuple(form for form in forms if form != CHAT_TEMPLATE)
    note = f"The format {CHAT_TEMPLATE} is left out: the model's tokenizer has no chat template."
    return UsableForms(kept, note)


def check_names(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Stop at the first name that is not known.

    Raises
    ------
    SaeflowError
        Which names it and the nearest known one.
    """
    for name in names:
        if name not in known:
            raise SaeflowError(f"the {what} {name!r} is unknown{nearest(name, known)}")
