"""Targets: sets of labels that features are tested against (methods/1, section 2.9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from saeflow.datasets.tokens import OPERATORS
from saeflow.errors import SaeflowError
from saeflow.studies.gsm8k.association import token_matrix

_SIGNS = frozenset("+-")
_NO_OPERAND_BEFORE = OPERATORS - {")"}


@dataclass(frozen=True)
class Target:
    """One set of labels and which problem has which of them.

    Attributes
    ----------
    name : str
        token, operator, operand, magnitude, n_steps, correct or decoded.
    labels : list of str
        In the order in which the problems first show them; empty where no problem shows any.
    present : numpy.ndarray of bool, shape (problems, labels)
        Rows are the evaluated problems, ascending; as `target_labels` makes it, every label occurs.
    step : int or None
        Thought step whose features alone are tested against it; None: those of all steps.
    """

    name: str
    labels: list[str]
    present: Bool[np.ndarray, "problems labels"]
    step: int | None


@dataclass(frozen=True)
class _Sources:
    """Tables of the evaluated problems alone, and their running numbers."""

    problems: pa.Table
    cot_tokens: pa.Table
    answers: pa.Table
    numbers: Int[np.ndarray, " problems"]


def target_labels(
    wanted: Sequence[str],
    problems: pa.Table,
    cot_tokens: pa.Table,
    answers: pa.Table,
    numbers: Int[np.ndarray, " problems"],
) -> list[Target]:
    """Labels of the evaluated problems.

    ========= =================================================================================
    token     Presence of a token in any calculation, as the study counts.
    operator  ``step 1: +``: a binary operator left of the first "=" of a calculation. Neither "="
              nor parentheses count, nor a plus or minus that has no operand before it, which is
              the sign of a number: "71+-3" adds. Where a sign follows text that the study's
              pattern does not see, such as "x-3", it looks like that, too; GSM8K has no such
              calculation.
    operand   ``step 1: 12``: a number left of the first "=", without its sign and as the study's
              pattern cuts it, so ".5" is 5 and "3." is not 3.
    magnitude ``result 10 to 99``: decade of the final result's absolute value, its fraction cut
              off; besides ``negative result`` and ``fractional result``, where it is that.
    n_steps   ``2 steps``: number of calculations.
    correct   ``answered right``: whether the model gives the final result.
    decoded   The token that the output embedding reads from a thought, blanks and all; a target of
              its own per thought step. Different tokens with one text are one label.
    ========= =================================================================================

    Parameters
    ----------
    wanted : sequence of str
        Which of them.
    problems, cot_tokens, answers : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`, `COT_TOKENS` and `ANSWERS`, sorted by their
        keys; they may hold other problems, too.
    numbers : numpy.ndarray of shape (problems,)
        Running numbers of the evaluated problems, ascending.

    Returns
    -------
    list of Target
        In the order of `wanted`; those of decoded by step.

    Raises
    ------
    SaeflowError
        If a name is unknown, or a table lacks an evaluated problem.
    """
    for name in wanted:
        if name not in _MAKERS:
            raise SaeflowError(f"{name!r} is no target; expected one of {', '.join(_MAKERS)}.")
    calculated = np.isin(cot_tokens["problem"].to_numpy(), numbers)
    sources = _Sources(
        _evaluated(problems, numbers, "problems"),
        cot_tokens.filter(pa.array(calculated)),
        _evaluated(answers, numbers, "answers"),
        numbers,
    )
    return [target for name in wanted for target in _MAKERS[name](sources)]


def _evaluated(table: pa.Table, numbers: Int[np.ndarray, " problems"], kind: str) -> pa.Table:
    part = table.filter(pa.array(np.isin(table["problem"].to_numpy(), numbers)))
    if not np.array_equal(part["problem"].to_numpy(), numbers):
        raise SaeflowError(
            f"the {kind} hold {len(part)} of {len(numbers)} evaluated problems; expected each of "
            "them once, ascending. Run the workflow again."
        )
    return part


def calculations(
    cot_tokens: pa.Table, numbers: Int[np.ndarray, " problems"]
) -> Iterator[tuple[int, int, list[str]]]:
    """Read the calculations of some problems, in order.

    Parameters
    ----------
    cot_tokens : pyarrow.Table
        Columns problem, calculation and token, sorted as `saeflow.artifacts.catalog.COT_TOKENS`;
        those of other problems do not count.
    numbers : numpy.ndarray of int, shape (problems,)
        Running numbers of the problems, ascending.

    Yields
    ------
    row : int
        Place of the problem in `numbers`.
    step : int
        Which calculation of it, from 1.
    tokens : list of str
        Its tokens.
    """
    table = cot_tokens.filter(pa.array(np.isin(cot_tokens["problem"].to_numpy(), numbers)))
    rows = np.searchsorted(numbers, table["problem"].to_numpy()).tolist()
    steps = (table["calculation"].to_numpy() + 1).tolist()
    found = zip(rows, steps, table["token"].to_pylist(), strict=True)
    for (row, step), part in groupby(found, key=lambda each: each[:2]):
        yield row, step, [each[2] for each in part]


def operators_in(tokens: Sequence[str]) -> list[str]:
    """Binary operators of one calculation, in order; see `target_labels`."""
    left = _left_side(tokens)
    return [
        token
        for before, token in zip(["(", *left], left, strict=False)
        if token in OPERATORS - set("()") and not (token in _SIGNS and before in _NO_OPERAND_BEFORE)
    ]


def operands_in(tokens: Sequence[str]) -> list[str]:
    """Numbers left of the first "=" of one calculation, in order; see `target_labels`."""
    return [token for token in _left_side(tokens) if token not in OPERATORS]


def _left_side(tokens: Sequence[str]) -> list[str]:
    return list(takewhile(lambda token: token != "=", tokens))


def target_of(
    name: str, labelled: Iterable[tuple[int, str]], n_problems: int, step: int | None = None
) -> Target:
    """Make a target of pairs of a row and a label that it has, repeated or not."""
    places: dict[str, int] = {}
    cells = [(row, places.setdefault(label, len(places))) for row, label in labelled]
    present = np.zeros((n_problems, len(places)), bool)
    rows, columns = np.array(cells, np.intp).reshape(-1, 2).T
    present[rows, columns] = True
    return Target(name, list(places), present, step)


def _tokens(sources: _Sources) -> list[Target]:
    matrix = token_matrix(sources.cot_tokens, sources.numbers)
    return [Target("token", matrix.tokens, matrix.present, None)]


def _operators(sources: _Sources) -> list[Target]:
    labelled = (
        (row, f"step {step}: {operator}")
        for row, step, tokens in calculations(sources.cot_tokens, sources.numbers)
        for operator in operators_in(tokens)
    )
    return [target_of("operator", labelled, len(sources.numbers))]


def _operands(sources: _Sources) -> list[Target]:
    labelled = (
        (row, f"step {step}: {operand}")
        for row, step, tokens in calculations(sources.cot_tokens, sources.numbers)
        for operand in operands_in(tokens)
    )
    return [target_of("operand", labelled, len(sources.numbers))]


def _magnitudes(sources: _Sources) -> list[Target]:
    labelled = (
        (row, label)
        for row, gold in enumerate(sources.problems["gold"].to_pylist())
        for label in _sizes(gold)
    )
    return [target_of("magnitude", labelled, len(sources.numbers))]


def _sizes(number: float) -> Iterator[str]:
    digits = len(str(int(abs(number))))
    lowest = 10 ** (digits - 1) if digits > 1 else 0
    yield f"result {lowest} to {10**digits - 1}"
    if number < 0:
        yield "negative result"
    if not number.is_integer():
        yield "fractional result"


def _step_counts(sources: _Sources) -> list[Target]:
    counts = sources.problems["n_steps"].to_pylist()
    labelled = ((row, f"{n} step{'s' * (n != 1)}") for row, n in enumerate(counts))
    return [target_of("n_steps", labelled, len(counts))]


def _right_answers(sources: _Sources) -> list[Target]:
    correct = sources.answers["correct"].to_pylist()
    labelled = ((row, "answered right") for row, right in enumerate(correct) if right)
    return [target_of("correct", labelled, len(correct))]


def _decoded(sources: _Sources) -> list[Target]:
    by_step = zip(*sources.answers["decoded"].to_pylist(), strict=True)
    return [
        target_of("decoded", enumerate(tokens), len(tokens), step)
        for step, tokens in enumerate(by_step)
    ]


_MAKERS: dict[str, Callable[[_Sources], list[Target]]] = {
    "token": _tokens,
    "operator": _operators,
    "operand": _operands,
    "magnitude": _magnitudes,
    "n_steps": _step_counts,
    "correct": _right_answers,
    "decoded": _decoded,
}
