"""Prompts and answers as their tables hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from saeflow.artifacts.decimal_bug import PROMPTS
from saeflow.datasets.comparisons.prompts import Prompt

GREEDY = 0
"""Number of the greedy answer; samples are counted from 1."""


def prompts_table(prompts: Sequence[Prompt]) -> pa.Table:
    """Return the prompts as a table with the columns of `PROMPTS`."""
    return pa.Table.from_pylist([asdict(each) for each in prompts], PROMPTS.schema())


def read_prompts(table: pa.Table) -> list[Prompt]:
    """Return the prompts of a table, in its order."""
    return [Prompt(**row) for row in table.to_pylist()]


def greedy(answers: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of the greedy answers."""
    return (row for row in answers.to_pylist() if row["sample"] == GREEDY)
