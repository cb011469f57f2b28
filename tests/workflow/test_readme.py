"""The README's figures are those of the default run.

SAEFLOW_RESULTS names the results of a finished default run; without it, those of this checkout are
read if they are there. Other processors give other last digits, hence the tolerance.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from saeflow.studies.compare.published import PUBLISHED
from tests.workflow.readme import RESULTS, blocks, line_of, readme, said, said_of, table_of
from tests.workflow.running import ROOT, copy_project, environment, planned

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
HIERARCHY_RULES = {
    *("hierarchy_published", "hierarchy_calibrated", "sweep_k", "intervene", "hierarchy_effects"),
    *("gather_hierarchy", "compare_hierarchy"),
}
DECIMAL_RULES = {
    *("load_texts", "capture_tokens", "ask_decimals", "patch_decimals", "compare_formats"),
    *("summarise_decimals", "gather_decimals"),
}
SPECIALIST_RULES = {
    *("load_texts", "capture_tokens", "match_texts", "pool_texts", "find_specialists"),
    *("ask_specialists", "try_specialists", "compare_specialists", "summarise_specialists"),
    "gather_specialists",
}
SCALING_RULES = {
    *("load_texts", "search_scaling", "read_scaling", "steer_scaling", "explain_scaling"),
    *(
        "summarise_scaling",
        "train_wide_llama_documents_0",
        "train_wide_llama_untrained_documents_0",
    ),
}
POINTS = 1.5
# One flipped answer of some hundred problems is almost one point.
ANSWER_POINTS = 3.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("readme"))


@pytest.mark.parametrize("row", ROWS)
def test_rates_of_the_readme(row: str) -> None:
    table = table_of("compare/gsm8k.parquet")
    table = table[(table.metric == ROWS[row]) & (table.other == "")]
    rates = table.set_index(["model", "control"])
    permuted = rates.loc[("llama", "permuted")]
    found = [rates.loc[("llama", "none"), "value"]]
    found += [permuted.value, permuted.ci_low, permuted.ci_high]
    found.append(rates.loc[("llama_untrained", "none"), "value"])
    assert said_of(row) == pytest.approx([100 * value for value in found], abs=POINTS)


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


@pytest.mark.parametrize("question", ["interpretable", "monosemantic"])
def test_differences_of_the_readme(question: str) -> None:
    table = table_of("compare/gsm8k.parquet")
    table = table[(table.question == question) & (table.model == "llama") & (table.other == "gpt2")]
    found = table[table.metric == "difference"].set_index("control")
    if question == "monosemantic":
        assert found.loc["permuted", "value"] > found.loc["none", "value"]
    ends = [
        value
        for control in ("none", "permuted")
        for value in found.loc[control, ["value", "ci_low", "ci_high"]]
    ]
    assert said_of(f"{question} rate") == pytest.approx([100 * each for each in ends], abs=POINTS)


CONTROLS = {
    "SAEs, mean of two seeds": (None, "none"),
    "permuted tokens, below the same p-value": (None, "permuted"),
    "SAEs of the untrained model": (None, "untrained"),
    "SAEs with a frozen decoder": (None, "frozen_decoder"),
    "layer 2: SAEs, mean of two seeds": (2, "none"),
    "layer 2: SAEs with a frozen encoder": (2, "frozen_encoder"),
    "layer 2: random rotation": (2, "random_rotation"),
    "layer 2: raw neurons": (2, "raw_neurons"),
    "layer 2: principal components": (2, "pca"),
}


def calibrated(metric: str) -> pd.DataFrame:
    """Rows about tokens over all steps, of the first two models."""
    rows = table_of("compare/calibration.parquet")
    return rows[(rows.metric == metric) & (rows.target == "token") & rows.step.isna()]


@pytest.mark.parametrize("row", CONTROLS)
def test_controls_of_the_readme(row: str) -> None:
    layer, control = CONTROLS[row]
    rows = calibrated("discovered_rate")
    rows = rows[
        (rows.control == control) & (rows.layer.isna() if layer is None else rows.layer == layer)
    ]
    found = [100 * rows.set_index("model").value[model] for model in ("llama", "gpt2")]
    assert [float(each) for each in re.findall(r"([\d.]+) %", line_of(row))] == pytest.approx(
        found, abs=POINTS
    )


def test_confirmation_of_the_readme() -> None:
    rows = calibrated("confirmed_rate").set_index(["model", "control"]).value
    told = said(r"far beyond chance: ([\d.]+) % and ([\d.]+) %[\s\S]*?chance gives (\d+) %")
    found = [rows["llama", "none"], rows["gpt2", "none"], rows["llama", "chance"]]
    assert told == pytest.approx([100 * value for value in found], abs=POINTS)


def test_published_rates_of_the_readme() -> None:
    llama = next(each for each in PUBLISHED if "Llama" in each.model)
    found = [llama.interpretable_rate, llama.monosemantic_rate, llama.number_rate]
    told = said(r"The study reported ([\d.]+) %, ([\d.]+) % and ([\d.]+) % for CODI-Llama")
    assert told == pytest.approx([100 * value for value in found], abs=0.05)


COUNTS = {
    "specialised by the published rule": ("n_specialised", "random_problems"),
    "follow an operator, by exact tests": ("n_specialists.operators", "permuted"),
    "follow an operand, by exact tests": ("n_specialists.operands", "permuted"),
    "tell the set of operators best": ("n_level.operators", "permuted"),
    "tell the first operator best": ("n_level.first_operator", "permuted"),
    "tell the sequence of operators best": ("n_level.sequence", "permuted"),
    "tell a value best": ("n_level.value", "permuted"),
    "tell operator and value together best": ("n_level.operator_value", "permuted"),
    "groups of features that fire together and follow an operator": (
        "n_operator_modules",
        "permuted",
    ),
}
SHARE = 0.05
"""Counts may differ by so much, or by `FEW`."""
FEW = 12
FEWER = 3
"""The same of what chance gives for rows where that is next to nothing."""


def hierarchy(metric: str, group: str = "all") -> pd.DataFrame:
    table = table_of("compare/hierarchy.parquet")
    table = table[(table.metric == metric) & (table.group == group)]
    return table.set_index(["model", "control"])


@pytest.mark.parametrize("row", COUNTS)
def test_hierarchy_of_the_readme(row: str) -> None:
    metric, control = COUNTS[row]
    rows, found = hierarchy(metric), []
    for model in ("llama", "gpt2"):
        chance = rows.loc[(model, control)]
        found += [rows.loc[(model, "none"), "value"], chance.value, chance.ci_low, chance.ci_high]
        controls = [(model, name) for name in ("untrained", "frozen_decoder")]
        found += [rows.loc[each, "value"] for each in controls if each in rows.index]
    told = [
        float(each.replace(",", "")) for each in re.findall(r"\d[\d,.]*", line_of(row)[len(row) :])
    ]
    assert told == pytest.approx(found, rel=SHARE, abs=FEW)
    if found[1] < 1:
        for each, value in zip(told, found, strict=True):
            assert each == pytest.approx(value, rel=SHARE, abs=FEW if value > FEW else FEWER)


def beyond(metric: str, control: str) -> list[float]:
    """Whether each trained model's share is beyond that of a control."""
    rows = hierarchy(f"{metric}.beyond_{control}")
    return [rows.loc[(model, "none"), "value"] for model in ("llama", "gpt2")]


def test_verdicts_on_counts_of_the_readme() -> None:
    for target in ("operators", "operands"):
        metric = f"share_specialists.{target}"
        assert beyond(metric, "permuted") == beyond(metric, "untrained") == [1, 1]
        assert beyond(metric, "frozen_decoder") == [0, 0]
    assert beyond("share_level.sequence", "untrained") == [0, 0]
    controls = ("permuted", "untrained", "frozen_decoder")
    found = [beyond("share_level.operators", control) for control in controls]
    assert [all(model) for model in zip(*found, strict=True)] == [False, True]


SIMILAR = 0.03
"""Nats between what the sets of sites do that an untrained model may choose, on any machine."""


def test_ablations_of_the_readme() -> None:
    """The best sites differ by less than their error, so that last bits decide which is chosen."""
    rows = hierarchy("largest_set_effect", "set")
    pattern = r"by (\S+) nats \((\S+) to (\S+)\) in Llama, .*? shows (\S+), and by (\S+) \((\S+) to (\S+)\)"
    (told,) = re.findall(pattern, " ".join(readme().split()))
    numbers = [float(each.replace("−", "-")) for each in told]
    for model, (value, low, high) in (("llama", numbers[:3]), ("gpt2", numbers[4:])):
        found = rows.loc[(model, "none")]
        # Of a sign nothing is said: another site could have the other one.
        assert found.ci_low <= value <= found.ci_high
        assert low <= found.value <= high
        verdicts = (f"largest_set_effect.{name}" for name in ("holds", "beyond_untrained"))
        assert not all(hierarchy(name, "set").loc[(model, "none"), "value"] for name in verdicts)
    assert rows.loc[("llama", "untrained"), "value"] == pytest.approx(numbers[3], abs=SIMILAR)


def within_error(one: float, other: float, n: int) -> bool:
    """Whether two rank correlations lie in each other's 95 % interval, by Fisher's transformation."""
    return abs(math.atanh(one) - math.atanh(other)) <= 1.96 / math.sqrt(n - 3)


def test_attribution_of_the_readme() -> None:
    *told, n, first, second = said(
        r"rank correlation ([\d.]+) and ([\d.]+) over (\d+) .*?\), and hardly on others "
        r"\(([\d.]+) and ([\d.]+)\)"
    )
    for ending, numbers in ((".same_problems", told), ("", [first, second])):
        rows = hierarchy(f"screen_rank_correlation{ending}", "shortlist")
        for model, number in zip(("llama", "gpt2"), numbers, strict=True):
            row = rows.loc[(model, "none")]
            assert row.n == n
            assert within_error(row.value, number, int(n))
            # "Agrees", or "hardly".
            assert (row.value > 0.5) == (number > 0.5) == (ending == ".same_problems")


def test_types_of_the_readme() -> None:
    (told,) = said(r"all (\d+) of the most frequent features")
    for model in ("llama", "gpt2"):
        rows = table_of(f"hierarchy/{model}/summary.parquet")
        rows = rows[(rows.metric == "n_type.mixed") & rows.layer.isna() & rows.step.isna()]
        assert set(rows.control) == {"none", "random_problems"}
        assert (rows.value == told).all()


def test_every_metric_of_the_hierarchy_is_told() -> None:
    told = (ROOT / "docs/hierarchy.md").read_text(encoding="utf-8").split("## Metrics")[1]
    rows = [
        re.findall(r"`([^`]*)`", line.split("|")[1]) for line in told.splitlines() if "| `" in line
    ]
    names = set()
    for row in rows:
        for name in row:
            # ".p_holm" goes on from the name before it.
            names.add(row[0].rsplit(".", 1)[0] + name if name.startswith(".") else name)
    tables = (f"hierarchy/{model}/summary.parquet" for model in ("llama", "gpt2"))
    for table in (*tables, "compare/hierarchy.parquet"):
        for metric in set(table_of(table).metric):
            plain = re.sub("_excess|_untied", "", metric)
            both = (plain, plain.replace("share_", "n_", 1))
            patterns = (re.sub(r"\\{\w+\\}", ".+", re.escape(name)) for name in names)
            assert any(re.fullmatch(each, one) for each in patterns for one in both), metric


def test_what_the_readme_says_of_the_default_run(project: Path) -> None:
    (jobs,) = said(r"the default run about \w+: (\d+) jobs")
    assert sum(planned(project).values()) + len({"all"}) == jobs


def test_what_the_readme_says_of_the_results() -> None:
    problems = table_of("datasets/generated/problems.parquet")
    weights = list((RESULTS / "saes").rglob("*.safetensors"))
    size = sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file())
    saes, analysed = said(r"It makes (\d+) SAEs, .*? of the calculations in ([\d,]+) word problems")
    (megabytes,) = said(r"jobs, some ([\d,]+) MB")
    assert len(weights) == saes
    assert problems.analysed.sum() == analysed
    assert size / 1e6 == pytest.approx(megabytes, rel=0.1)


def test_query_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    table_of("gsm8k/llama/labels.parquet")
    monkeypatch.chdir(RESULTS.parent)
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    rows = names["duckdb"].sql(names["query"]).fetchall()
    assert len(rows) == 5
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)


def test_configurations_of_the_readme_can_be_planned(project: Path) -> None:
    (told,) = re.findall(r"`python -m (saeflow problems [^`]*)`", readme())
    command = [sys.executable, "-m", *told.split()]
    paths = environment() | {"PYTHONPATH": str(project / "src")}
    subprocess.run(command, cwd=project, env=paths, check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(project / "resources/models/llama", project / "models/mine")
    # Rules of controls are named for models and dictionaries, which these leave out.
    default = {name for name in planned(project) if "_controls_" not in name}
    for number, block in enumerate(blocks("yaml")):
        overlay = project / f"mine{number}.yaml"
        overlay.write_text(block, encoding="utf-8")
        left_out = HIERARCHY_RULES if "hierarchy: null" in block else set()
        left_out |= DECIMAL_RULES if "decimal_bug: null" in block else set()
        left_out |= SPECIALIST_RULES if "specialists: null" in block else set()
        left_out |= SCALING_RULES if "scaling: null" in block else set()
        assert planned(project, "--configfile", overlay.name).keys() >= default - left_out
