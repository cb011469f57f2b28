"""GSM8K's own format: one JSON object or Parquet row per problem, question and worked answer."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from saeflow.datasets.rows import read_rows
from saeflow.errors import SaeflowError

CALCULATION = re.compile(r"<<(.*?)>>", re.DOTALL)
FINAL = re.compile(r"####\s*(\S.*?)\s*$")


@dataclass(frozen=True)
class Problem:
    """One word problem.

    Attributes
    ----------
    question, answer : str
        As in the source.
    """

    question: str
    answer: str

    @property
    def calculations(self) -> list[str]:
        """What stands inside ``<<...>>``, in order (methods/1, section 2.1)."""
        return CALCULATION.findall(self.answer)

    @property
    def gold(self) -> float:
        """Number after ``####``, thousands separators removed (methods/0, section 1.2)."""
        match = FINAL.search(self.answer)
        if match is None:
            raise ValueError("the answer holds no '####' line")
        try:
            value = float(match[1].replace(",", ""))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{match[1]!r} after '####' is no number")
        return value


def read_problems(path: Path, limit: int | None = None) -> list[Problem]:
    """Read problems from JSON Lines or Parquet.

    Parameters
    ----------
    path : Path
        The file; ``.parquet`` is read as Parquet, anything else as JSON Lines.
    limit : int, optional
        Read only the first so many.

    Returns
    -------
    list of Problem
        In file order.

    Raises
    ------
    SaeflowError
        If the file is missing, empty or malformed, naming the line or row.
    """
    if not path.is_file():
        raise SaeflowError(
            f"{path} does not exist; expected a file of problems (JSONL or Parquet)."
        )
    rows = read_rows(path, ("question", "answer"))
    problems: list[Problem] = []
    for where, (question, answer) in itertools.islice(rows, limit):
        problem = Problem(question, answer)
        try:
            problem.gold  # noqa: B018 - parsed for its error
        except ValueError as error:
            raise SaeflowError(f"{path}, {where}: {error}; expected '#### NUMBER'.") from None
        problems.append(problem)
    if not problems:
        raise SaeflowError(f"{path} holds no problem; expected at least one.")
    if limit is not None and len(problems) < limit:
        raise SaeflowError(f"{path} holds {len(problems)} problems; limit asks for {limit}.")
    return problems


def content_digest(problems: Iterable[Problem]) -> str:
    """SHA-256 over questions and answers, the same whatever file held them."""
    total = hashlib.sha256()
    for problem in problems:
        total.update(f"{problem.question}\x1f{problem.answer}\x1e".encode())
    return total.hexdigest()
