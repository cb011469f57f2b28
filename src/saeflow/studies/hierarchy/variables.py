"""What a feature may know of a problem: operators, their order, a value, or operator and value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from saeflow.config.hierarchy import VARIABLES
from saeflow.studies.gsm8k.targets import calculations, operands_in, operators_in

NONE = "none"
"""Class of problems without the thing asked for, and level of features that follow no variable."""
JOINT, PARTS = "operator_value", ("first_operator", "value")
"""The variable that is two others together, and these."""


@dataclass(frozen=True)
class ClassVariable:
    """One variable, and the class of every problem.

    Attributes
    ----------
    name : str
        One of `saeflow.config.hierarchy.VARIABLES`.
    labels : list of str
        Names of the classes, in alphabetical order; every class occurs.
    classes : numpy.ndarray of int, shape (problems,)
        Place of each problem's class in `labels`.
    """

    name: str
    labels: list[str]
    classes: Int[np.ndarray, " problems"]


def class_variables(
    cot_tokens: pa.Table, numbers: Int[np.ndarray, " problems"]
) -> list[ClassVariable]:
    """Sort problems into classes by their calculations, left of each first "=".

    ============== ============================================================================
    operators      ``* +``: which binary operators occur; signs of numbers are none.
    first_operator ``*``: the first calculation's first, where a number is right of it.
    sequence       ``+ * *``: all of them in order, over all calculations.
    value          ``12``: the number right of that first operator, without its sign and as the
                   study's pattern cuts it, so 3 and 3.0 differ.
    operator_value ``* 12``: that operator with that number.
    ============== ============================================================================

    A problem without such a thing belongs to the class ``none``. The two of `PARTS` are there so
    that what is known of one of them alone has a level of its own, and is not taken for both.

    Parameters
    ----------
    cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COT_TOKENS`, sorted by its keys; it may hold other
        problems, too.
    numbers : numpy.ndarray of int, shape (problems,)
        Running numbers of the problems, ascending.

    Returns
    -------
    list of ClassVariable
        In the order of `saeflow.config.hierarchy.VARIABLES`.
    """
    sequences: list[list[str]] = [[] for _ in numbers]
    first: list[tuple[str, str] | None] = [None] * len(numbers)
    for row, step, tokens in calculations(cot_tokens, numbers):
        sequences[row] += operators_in(tokens)
        if step == 1:
            first[row] = first_operation(tokens)
    named = {
        "operators": [" ".join(sorted(set(each))) for each in sequences],
        "first_operator": [pair[0] if pair else "" for pair in first],
        "sequence": [" ".join(each) for each in sequences],
        "value": [pair[1] if pair else "" for pair in first],
        "operator_value": [" ".join(pair) if pair else "" for pair in first],
    }
    return [_variable(name, named[name]) for name in VARIABLES]


def first_operation(tokens: Sequence[str]) -> tuple[str, str] | None:
    """First binary operator of a calculation and the first number right of it.

    Parameters
    ----------
    tokens : sequence of str
        Tokens of one calculation.

    Returns
    -------
    tuple of str and str, or None
        None where it lacks either, left of its first "=".
    """
    for end in range(1, len(tokens) + 1):
        if operators := operators_in(tokens[:end]):
            operands = operands_in(tokens[end:])
            return (operators[0], operands[0]) if operands else None
    return None


def _variable(name: str, labels: list[str]) -> ClassVariable:
    # An array of no strings would be one of numbers.
    texts = np.array([label or NONE for label in labels], np.str_)
    found, classes = np.unique(texts, return_inverse=True)
    return ClassVariable(name, found.tolist(), classes)
