"""What the README says, and the tables of the default run that it says it of."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.workflow.running import ROOT

RESULTS = Path(os.environ.get("SAEFLOW_RESULTS", ROOT / "results"))


def table_of(name: str) -> pd.DataFrame:
    path = RESULTS / name
    if not path.is_file():
        pytest.skip(f"{path} is absent; the README's figures are not checked without a default run")
    return pq.read_table(path).to_pandas()


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def line_of(row: str) -> str:
    return next(line for line in readme().splitlines() if line.startswith(f"| {row} "))


def said_of(row: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+", line_of(row))]


def said(pattern: str) -> list[float]:
    """Numbers in the one place that a pattern finds, across line breaks."""
    (found,) = re.findall(pattern, " ".join(readme().split()))
    return [float(each.replace(",", "")) for each in ([found] if isinstance(found, str) else found)]


def blocks(kind: str) -> list[str]:
    """Code blocks of the README in one language, in order."""
    return re.findall(rf"```{kind}\n(.*?)```", readme(), re.S)
