"""How an answer to "which is bigger?" is judged, as in the study (methods/4, section 5.1)."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from saeflow.datasets.texts.decimals import ADJECTIVES

RIGHT, WRONG, UNCLEAR = "right", "wrong", "unclear"
NEW_QUESTION, WHICH_WHICH, REPEATED_WORD = "new_question", "which_which", "repeated_word"
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_BIGGER = re.compile(rf"({_NUMBER.pattern}) is (?:{'|'.join(ADJECTIVES)})")
_OFTEN = 5


class Judgement(NamedTuple):
    """What an answer says.

    Attributes
    ----------
    verdict : str
        ``right``, ``wrong`` (the study's BUG) or ``unclear``; see `judge`.
    fallback : str
        The verdict; where it is unclear, what the first line decides: ``right`` or ``wrong`` if it
        holds the one number and not the other.
    gibberish : tuple of str
        Signs of gibberish: ``new_question`` (``Q: W`` is in the answer), ``which_which``
        (``Which Which`` is), ``repeated_word`` (a word comes more than five times).
    """

    verdict: str
    fallback: str
    gibberish: tuple[str, ...]


def judge(answer: str, truth: str, other: str) -> str:
    """Judge an answer by which number it calls bigger, larger or greater.

    Numbers are read whole, so that neither ``19.8 is bigger`` nor ``1.9.8 is bigger`` speaks of 9.8;
    the study searched for the letters, which agrees where no longer number ends in one of the two.

    Parameters
    ----------
    answer : str
        What the model wrote, as long as it is to be read.
    truth, other : str
        The bigger number and the other one, as in the prompt.

    Returns
    -------
    str
        ``right`` if the true number alone is called the bigger one, ``wrong`` if the other alone
        is, else ``unclear``.
    """
    return _verdict(called_bigger(answer), truth, other)


def full_judgement(answer: str, truth: str, other: str) -> Judgement:
    """Judge an answer, with the study's later fallback and its signs of gibberish.

    Parameters
    ----------
    answer : str
        What the model wrote, as long as it is to be read. The first line ends at the first line
        break, even where nothing stands before it.
    truth, other : str
        The bigger number and the other one, as in the prompt.
    """
    verdict = fallback = judge(answer, truth, other)
    if verdict == UNCLEAR:
        first_line = answer.split("\n", maxsplit=1)[0]
        fallback = _verdict(set(_NUMBER.findall(first_line)), truth, other)
    signs = {
        NEW_QUESTION: "Q: W" in answer,
        WHICH_WHICH: "Which Which" in answer,
        REPEATED_WORD: max(Counter(answer.split()).values(), default=0) > _OFTEN,
    }
    return Judgement(verdict, fallback, tuple(name for name, shows in signs.items() if shows))


def called_bigger(answer: str) -> set[str]:
    """Numbers that an answer calls bigger, larger or greater, in whatever case."""
    return set(_BIGGER.findall(answer.lower()))


def _verdict(named: set[str], truth: str, other: str) -> str:
    if (truth in named) == (other in named):
        return UNCLEAR
    return RIGHT if truth in named else WRONG
