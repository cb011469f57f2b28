"""Presets of the published studies, made small, through the real rules on look-alikes of the hub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.workflow.running import copy_project, run
from tests.workflow.test_presets import TARGETS

pytestmark = pytest.mark.workflow
SLOW = pytest.mark.skipif(
    not os.environ.get("SAEFLOW_SOAK"), reason="minutes each: make soak (SAEFLOW_SOAK=1) runs them"
)
SUMMARIES = {
    "codi": ("gsm8k", "codi_gpt2"),
    "llama_scope": ("decimal_bug", "llama_8b"),
    "gpt2_small": ("specialists", "gpt2_small"),
    "gemma_scope": ("specialists", "gemma2_9b"),
    "pile": ("scaling", "llama_3b"),
}
"""A table that each must give: that of a study and a model."""
RELEASED = {"llama_scope": 1, "gpt2_small": 1, "gemma_scope": 1}
"""Dictionaries of released SAEs, each of which is checked once."""
QUICK = {
    "codi": [
        "results/capture/codi_llama/gsm8k_train",
        "results/capture/codi_gpt2/gsm8k_test",
    ],
    "llama_scope": ["results/saes/llama_8b/llama_scope_mlp/seed0"],
    "gemma_scope": ["results/saes/gemma2_9b/gemma_scope_16k/seed0"],
    "pile": ["results/saes/llama_3b/pile_published/seed0"],
}
"""What `make test` makes for presets that take minutes: all that the form of released files decides."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    # In a process of its own: SAELens's registry comes with imports that warn.
    command = [sys.executable, "-m", "tests.lookalikes.presets", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    "name",
    ["gpt2_small", *(pytest.param(each, marks=SLOW) for each in SUMMARIES if each != "gpt2_small")],
)
def test_the_small_form_of_a_preset_runs(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    project = copy_project(tmp_path / "project")
    files = [f"workflow/presets/{name}.yaml", f"workflow/presets/smoke/{name}.yaml"]
    target = [] if TARGETS[name] == "all" else [TARGETS[name]]
    run(project, *target, "--configfile", *files)
    study, model = SUMMARIES[name]
    table = "quality" if study == "scaling" else "summary"
    assert pq.read_table(project / f"results/{study}/{model}/{table}.parquet").num_rows
    released_saes_pass(project, RELEASED.get(name, 0))


def test_the_paper_in_its_small_form_fetches_reads_checks_and_trains(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(QUICK) | {"gpt2_small"} == set(SUMMARIES)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    project = copy_project(tmp_path / "project")
    files = ["workflow/presets/paper.yaml", "workflow/presets/smoke/paper.yaml"]
    wanted = [path for paths in QUICK.values() for path in paths]
    run(project, *wanted, "--configfile", *files)
    for path in wanted:
        tables = list((project / path).glob("*.parquet"))
        assert tables, path
        assert all(pq.read_table(table).num_rows for table in tables), path
    released_saes_pass(project, sum(RELEASED.get(name, 0) for name in QUICK))


def released_saes_pass(project: Path, count: int) -> None:
    """Released SAEs give on look-alikes what their releases say."""
    checks = list((project / "results/saes").rglob("checks.parquet"))
    assert len(checks) == count
    for check in checks:
        passed = dict.fromkeys(("l0", "explained_variance"), True)
        rows = pq.read_table(check).to_pylist()
        assert {row["metric"]: row["passed"] for row in rows if row["metric"] in passed} == passed
        # null where nothing can be tested: untrained look-alikes lose no loss to splice back.
        assert False not in [row["passed"] for row in rows]
