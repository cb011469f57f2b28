"""Who may import whom (design, section 3), and what the Snakefile must not wait for."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "saeflow"
MODULES = sorted(SOURCE.rglob("*.py"))
ROWS = [
    {
        "cli",
        "cli_gpus",
        "cli_manifest",
        "cli_plan",
        "cli_search",
        "failures",
        "faults",
        "generated_files",
        "jobs",
        "manifest",
        "output_cache",
        "paper_preset",
        "placement",
        "plan",
        "preflight",
        "runlock",
        "shard_records",
        "shards",
        "show",
        "yaml_files",
        "sizes",
        "stopping",
        "unit_jobs",
        "__main__",
    },
    {"report"},
    {"studies"},
    {"interventions"},
    {"saes"},
    {"models"},
    {"stats"},
    {"datasets"},
    {"artifacts"},
    {"config"},
    {
        "errors",
        "seeds",
        "device",
        "gpu",
        "gpu_driver",
        "gpu_slots",
        "hub_token",
        "progress",
        "__init__",
    },
]
ROW = {name: number for number, row in enumerate(ROWS) for name in row}
MAX_LINES = 400


def imported(path: Path) -> set[str]:
    """First part below the package of every saeflow module that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "saeflow":
                part = rest[0] if rest else "__init__"
                found.add(part if part in ROW else "__init__")
    return found


def module_id(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_module_imports_only_from_rows_below(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert own in ROW, f"{own} has no row in the design"
    for other in imported(path) - {own}:
        ends = ROW[own] == ROW[other] and ROW[own] in (0, len(ROWS) - 1)
        assert ROW[other] > ROW[own] or ends, f"{own} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_parser_of_imports_sees_all_forms(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "import saeflow\nimport saeflow.models.codi as c\ndef f():\n"
        "    from saeflow import stats\n    from saeflow.saes.bank import Bank\n"
        "from saeflow import __version__\nimport numpy\n"
    )
    assert imported(tmp_path / "x.py") == {"__init__", "models", "stats", "saes"}


HEAVY = ("torch", "transformers", "sae_lens", "pandas", "scipy", "sklearn", "plotly")


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("saeflow.config.root", HEAVY),
        ("saeflow.artifacts.digest", HEAVY),
        ("saeflow.preflight", HEAVY),
        ("saeflow.runlock", HEAVY),
        ("saeflow.cli", HEAVY),
        ("saeflow.gpu", HEAVY),
        ("saeflow.gpu_slots", HEAVY),
        ("saeflow.sizes.requests", HEAVY),
        ("saeflow.jobs", HEAVY),
        # The Snakefile imports it at every start.
        ("saeflow.manifest.hook", HEAVY),
        ("saeflow.output_cache", HEAVY),
        # Jobs that read tables alone: loading what runs models takes them three seconds.
        ("saeflow.report.report", HEAVY[:3]),
        ("saeflow.studies.decimal_bug.summary", HEAVY[:3]),
        ("saeflow.studies.specialists.summarise", HEAVY[:3]),
        ("saeflow.studies.hierarchy.causal", HEAVY[1:3]),
    ],
)
def test_light_module_loads_nothing_heavy(module: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*[m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert found.stdout.split() == []
