"""Tokens of the calculations, exactly as the study cut them (methods/1, section 2.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKEN = re.compile(r"\d+\.?\d*|[+\-*/=()]")
"""The study's pattern. "-5" gives "-" and "5", ".5" gives "5", "3." keeps its dot."""

OPERATORS = frozenset("+-*/=()")


def calculation_tokens(calculation: str) -> list[str]:
    """Tokens of one ``<<...>>`` annotation, in order."""
    return TOKEN.findall(calculation)


def token_rows(calculations: list[str]) -> Iterator[tuple[int, int, str, str]]:
    """Occurrences of tokens in a problem's annotations.

    Yields
    ------
    calculation : int
        Which annotation, from 0.
    position : int
        Which token of it, from 0.
    token : str
        The token.
    kind : str
        ``number`` or ``operator``.
    """
    for calculation, text in enumerate(calculations):
        for position, token in enumerate(calculation_tokens(text)):
            yield calculation, position, token, token_kind(token)


def token_kind(token: str) -> str:
    """``operator`` for the study's seven signs, else ``number``."""
    return "operator" if token in OPERATORS else "number"
