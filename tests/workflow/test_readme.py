"""The README's figures are those of the default run.

SAEFLOW_RESULTS names the results of a finished default run; without it, those of this checkout are
read if they are there. Other processors give other last digits, hence the tolerance.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.workflow.running import ROOT

RESULTS = Path(os.environ.get("SAEFLOW_RESULTS", ROOT / "results"))
ROWS = {
    "interpretable features": "interpretable_rate",
    "of these, monosemantic": "monosemantic_rate",
    "of these, called numbers": "number_rate",
}
POINTS = 1.5


@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_readme(row: str) -> None:
    path = RESULTS / "gsm8k/llama/summary.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is absent; the README's figures are not checked without a default run")
    summary = pq.read_table(path).to_pandas()
    chosen = summary[
        summary.layer.isna()
        & summary.step.isna()
        & (summary.seed == 0)
        & (summary.dataset == "generated")
        & (summary.metric == ROWS[row])
    ].set_index("control")
    line = next(
        line
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith(f"| {row} ")
    )
    said = [float(number) for number in re.findall(r"\d+\.\d+", line)]
    permuted = chosen.loc["permuted"]
    found = [chosen.loc["none", "value"], permuted.value, permuted.ci_low, permuted.ci_high]
    assert said == pytest.approx([100 * value for value in found], abs=POINTS)
