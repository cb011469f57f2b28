"""The README's figures are those of the default run.

SAEFLOW_RESULTS names the results of a finished default run; without it, those of this checkout are
read if they are there. Other processors give other last digits, hence the tolerance.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.workflow.running import ROOT

RESULTS = Path(os.environ.get("SAEFLOW_RESULTS", ROOT / "results"))
ROWS = {
    "interpretable features": "interpretable_rate",
    "of these, monosemantic": "monosemantic_rate",
    "of these, called numbers": "number_rate",
}
ABILITIES = {
    f"{title}, {number} step{'s' * (number != 'one')}": (model, f"{count} step{'s' * (count > 1)}")
    for title, model in (("Llama", "llama"), ("GPT-2", "gpt2"))
    for count, number in ((1, "one"), (2, "two"), (3, "three"))
}
POINTS = 1.5
# One flipped answer of some hundred problems is almost one point.
ANSWER_POINTS = 3.0


def table_of(name: str) -> pd.DataFrame:
    path = RESULTS / name
    if not path.is_file():
        pytest.skip(f"{path} is absent; the README's figures are not checked without a default run")
    return pq.read_table(path).to_pandas()


def said_of(row: str) -> list[float]:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"| {row} "))
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def rates_of(model: str, row: str) -> pd.DataFrame:
    summary = table_of(f"gsm8k/{model}/summary.parquet")
    return summary[
        summary.layer.isna()
        & summary.step.isna()
        & (summary.seed == 0)
        & (summary.dataset == "generated")
        & (summary.metric == ROWS[row])
    ].set_index("control")


@pytest.mark.parametrize("row", ROWS)
def test_rates_of_the_readme(row: str) -> None:
    chosen = rates_of("llama", row)
    permuted = chosen.loc["permuted"]
    untrained = rates_of("llama_untrained", row).loc["none", "value"]
    found = [chosen.loc["none", "value"], permuted.value, permuted.ci_low, permuted.ci_high]
    assert said_of(row) == pytest.approx([100 * value for value in (*found, untrained)], abs=POINTS)


@pytest.mark.parametrize("row", ABILITIES)
def test_abilities_of_the_readme(row: str) -> None:
    model, group = ABILITIES[row]

    def exact(name: str, condition: str) -> float:
        table = table_of(f"evaluation/{name}/evaluation.parquet")
        keys = ("problems", condition, group, "exact", "none")
        columns = ["part", "condition", "group", "metric", "control"]
        return float(table.set_index(columns).loc[keys, "value"])

    found = [exact(model, condition) for condition in ("thoughts", "written steps", "neither")]
    found.append(exact(f"{model}_untrained", "thoughts"))
    assert said_of(row) == pytest.approx([100 * value for value in found], abs=ANSWER_POINTS)
