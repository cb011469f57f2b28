"""Patterns that the published rules look for in a problem, as substrings of its calculations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from saeflow.datasets.gsm8k import Problem

OPERATIONS = {
    "addition": ("+", "sum"),
    "subtraction": ("-", "difference"),
    "multiplication": ("*", "multiply", "\N{MULTIPLICATION SIGN}"),
    "division": ("/", "divide", "\N{DIVISION SIGN}"),
}
"""Signs and words of each operation (methods/2, section 3.2), in the order in which ties are named."""
VALUES = (12, 20, 30, 50, 100)
"""Numbers that are looked for, wherever their digits stand: 50 is found in 1500."""
ROUND_NUMBERS = (100, 200, 500, 1000)
"""Any of these makes a round number, in the same way."""


@dataclass(frozen=True)
class Patterns:
    """Which problem shows which pattern.

    Attributes
    ----------
    operations : numpy.ndarray of bool, shape (problems, 4)
        In the order of `OPERATIONS`.
    values : numpy.ndarray of bool, shape (problems, 5)
        In the order of `VALUES`.
    round_numbers : numpy.ndarray of bool, shape (problems,)
        Whether any of `ROUND_NUMBERS` is there.
    """

    operations: Bool[np.ndarray, "problems operations"]
    values: Bool[np.ndarray, "problems values"]
    round_numbers: Bool[np.ndarray, " problems"]

    @property
    def specialists(self) -> Bool[np.ndarray, "problems patterns"]:
        """Operations, then values: what the rule for specialists counts."""
        return np.concatenate([self.operations, self.values], axis=1)

    @property
    def taxonomy(self) -> Bool[np.ndarray, "problems patterns"]:
        """Operations, round numbers, values: what the rule for types counts."""
        parts = [self.operations, self.round_numbers[:, None], self.values]
        return np.concatenate(parts, axis=1)


def calculation_text(problem: Problem) -> str:
    """Text of a problem in which patterns are looked for: its calculations, joined by " | "."""
    return " | ".join(problem.calculations)


def substring_patterns(texts: Sequence[str]) -> Patterns:
    """Look for every pattern as a substring.

    Parameters
    ----------
    texts : sequence of str
        As `calculation_text` gives them.

    Returns
    -------
    Patterns
        In the order of `texts`.
    """

    def shown(groups: Sequence[Sequence[str]]) -> Bool[np.ndarray, "problems groups"]:
        cells = [[any(each in text for each in group) for group in groups] for text in texts]
        return np.array(cells, bool).reshape(len(texts), len(groups))

    return Patterns(
        operations=shown(list(OPERATIONS.values())),
        values=shown([[str(value)] for value in VALUES]),
        round_numbers=shown([[str(number) for number in ROUND_NUMBERS]])[:, 0],
    )


def problem_patterns(problems: pa.Table, numbers: Int[np.ndarray, " problems"]) -> Patterns:
    """Patterns of chosen problems.

    Parameters
    ----------
    problems : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    numbers : numpy.ndarray of int, shape (problems,)
        Running numbers, ascending.
    """
    chosen = problems.filter(pa.array(np.isin(problems["problem"].to_numpy(), numbers)))
    worked = zip(chosen["question"].to_pylist(), chosen["answer"].to_pylist(), strict=True)
    return substring_patterns([calculation_text(Problem(*each)) for each in worked])
