"""The published judge of answers to "which is bigger?", against slow and obvious readings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.datasets.texts.judge import (
    NEW_QUESTION,
    REPEATED_WORD,
    RIGHT,
    UNCLEAR,
    WHICH_WHICH,
    WRONG,
    called_bigger,
    full_judgement,
    judge,
)

TRUTH, OTHER = "9.8", "9.11"
FLIPPED = {RIGHT: WRONG, WRONG: RIGHT, UNCLEAR: UNCLEAR}
PIECES = ["9.8", "9.11", "19.8", "9.1", "9.8.1", "1.9.8", "9", " is ", "bigger", "Larger", "greater",
          "smaller", " than ", ". ", ".", "\n", " ", "x", "Q: W", "Which ", "is"]  # fmt: skip
ANSWERS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def whole_numbers(text: str) -> list[tuple[str, str]]:
    """Every number, dots between digits included, with what follows; character by character."""
    found, start = [], 0
    while start < len(text):
        end = start
        while end < len(text) and (
            text[end].isdigit()
            or (end > start and text[end] == "." and text[end + 1 : end + 2].isdigit())
        ):
            end += 1
        if end > start:
            found.append((text[start:end], text[end:]))
        start = max(end, start + 1)
    return found


def slow_verdict(named: set[str]) -> str:
    if TRUTH in named and OTHER not in named:
        return RIGHT
    if OTHER in named and TRUTH not in named:
        return WRONG
    return UNCLEAR


@given(ANSWERS)
def test_judgement_is_that_of_a_slow_reader(answer: str) -> None:
    endings = tuple(f" is {word}" for word in ("bigger", "larger", "greater"))
    called = {number for number, rest in whole_numbers(answer.lower()) if rest.startswith(endings)}
    assert called_bigger(answer) == called
    found = full_judgement(answer, TRUTH, OTHER)
    assert found.verdict == judge(answer, TRUTH, OTHER) == slow_verdict(called)
    line = {number for number, _ in whole_numbers(answer.split("\n")[0])}
    assert found.fallback == (found.verdict if found.verdict != UNCLEAR else slow_verdict(line))
    words = answer.split()
    assert (REPEATED_WORD in found.gibberish) == any(words.count(word) >= 6 for word in words)
    assert (NEW_QUESTION in found.gibberish) == ("Q: W" in answer)
    assert (WHICH_WHICH in found.gibberish) == ("Which Which" in answer)


@given(st.text() | ANSWERS)
def test_judgement_of_the_other_way_round_is_the_opposite(answer: str) -> None:
    found, turned = full_judgement(answer, TRUTH, OTHER), full_judgement(answer, OTHER, TRUTH)
    assert turned == (FLIPPED[found.verdict], FLIPPED[found.fallback], found.gibberish)


@pytest.mark.parametrize(
    ("answer", "verdict", "fallback"),
    [
        (" 9.8 is bigger than 9.11.", RIGHT, RIGHT),
        (" 9.11 is bigger than 9.8.", WRONG, WRONG),
        (" 9.11 IS GREATER", WRONG, WRONG),
        (" 9.8 is bigger. No: 9.11 is bigger.", UNCLEAR, UNCLEAR),
        (" 9.8\n9.11", UNCLEAR, RIGHT),
        (" 9.11.", UNCLEAR, WRONG),
        (" 9.8 or 9.11", UNCLEAR, UNCLEAR),
        (" 9.1", UNCLEAR, UNCLEAR),
        (" 19.8 is bigger", UNCLEAR, UNCLEAR),
        ("\n9.8", UNCLEAR, UNCLEAR),
        (" 9.11\n9.8 is larger", RIGHT, RIGHT),
        ("", UNCLEAR, UNCLEAR),
    ],
)
def test_answers(answer: str, verdict: str, fallback: str) -> None:
    assert full_judgement(answer, TRUTH, OTHER)[:2] == (verdict, fallback)


def test_a_number_within_the_other_is_not_taken_for_it() -> None:
    assert full_judgement(" 9.11", "9.11", "9.1").fallback == RIGHT
    assert full_judgement(" 9.1", "9.11", "9.1").fallback == WRONG
    assert judge(" 15 is bigger than 5", "15", "5") == RIGHT


@pytest.mark.parametrize(
    ("answer", "gibberish"),
    [
        (" 9.8\nQ: Which", (NEW_QUESTION,)),
        (" Which Which is", (WHICH_WHICH,)),
        (" is" * 5, ()),
        (" is" * 6, (REPEATED_WORD,)),
        ("Q: W" + " Which Which" * 3, (NEW_QUESTION, WHICH_WHICH, REPEATED_WORD)),
    ],
)
def test_gibberish(answer: str, gibberish: tuple[str, ...]) -> None:
    assert full_judgement(answer, TRUTH, OTHER).gibberish == gibberish
