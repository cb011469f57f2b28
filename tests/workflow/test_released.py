"""Released SAEs in the DAG: fetched, never trained, and read by what reads any bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from saeflow.artifacts.checks import CHECKS, CHECKS_FILE
from saeflow.artifacts.released import RELEASED
from saeflow.artifacts.tables import read_table
from saeflow.saes.storage import load_bank
from tests.lookalikes.saes import random_weights, saelens_files
from tests.workflow.running import SMOKE, copy_project, planned, run, snakemake

pytestmark = pytest.mark.workflow

BANK = "results/released/llama/{}"
JB: dict[str, Any] = {
    "dataset": "read_texts",
    "hook": "mlp_out",
    "layers": [0, 1],
    "released": {"path": "saes", "sae_id": "layer{layer}"},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("released") / "project")
    for layer in (0, 1):
        told = {"hook_name": f"blocks.{layer}.hook_mlp_out", "model_name": "llama"}
        weights = random_weights(32, 48, layer, threshold=0.5)
        files = saelens_files(weights, f"layer{layer}", "jumprelu", told)
        for name, content in files.items():
            place = folder / "saes" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    return folder


def arguments(project: Path, target: str, **changes: Any) -> list[str]:
    overlay = {"dictionaries": {"jb": {**JB, **changes}}}
    (project / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return [target, *SMOKE, "overlay.yaml"]


def test_released_saes_are_fetched_once_and_again_for_what_they_are(project: Path) -> None:
    target = BANK.format("jb")
    assert planned(project, *arguments(project, target)) == {"fetch_saes": 1}
    run(project, *arguments(project, target))
    bank = load_bank(project / target)
    assert torch.equal(bank.W_dec[1], random_weights(32, 48, 1).W_dec)
    rows = read_table(project / target / "released.parquet", RELEASED).to_pylist()
    assert [(row["layer"], row["release"]) for row in rows] == [(0, "saes"), (1, "saes")]
    assert planned(project, *arguments(project, target)) == {}
    assert planned(project, *arguments(project, target, layers=[1])) == {"fetch_saes": 1}


def test_no_rule_trains_them(project: Path) -> None:
    wanted = planned(project, *arguments(project, "results/saes/llama/jb/seed0"))
    assert wanted["check_saes"] == 1
    assert "train_bank" not in wanted
    told = snakemake(project, "-n", *arguments(project, "results/saes/llama/jb/seed1"))
    assert told.returncode


def test_what_fails_its_check_stops_in_one_sentence_and_leaves_nothing(project: Path) -> None:
    told = snakemake(project, *arguments(project, "results/saes/llama/jb/seed0"))
    assert told.returncode
    log = (project / "results/logs/saes/llama/jb/seed0.log").read_text(encoding="utf-8")
    (line,) = (each for each in log.splitlines() if "error" in each)
    assert (
        "the SAE of layer 0 of dictionary 'jb' (saes/layer0) does not give what it should" in line
    )
    assert "expected at least 0.5 (a bound of our own)" in line
    assert not list((project / "results/saes").glob("llama/jb/*"))


def test_what_fails_its_check_can_be_read_all_the_same(project: Path) -> None:
    given = {"must_pass": False, **JB["released"]}
    wanted = arguments(project, "results/saes/llama/jb/seed0", released=given)
    assert planned(project, *wanted) == {"check_saes": 1}
    run(project, *wanted)
    checks = read_table(project / "results/saes/llama/jb/seed0" / CHECKS_FILE, CHECKS).to_pylist()
    explained = [each for each in checks if each["metric"] == "explained_variance"]
    assert [each["passed"] for each in explained] == [False, False]
    log = (project / "results/logs/saes/llama/jb/seed0.log").read_text(encoding="utf-8")
    assert log.count("warning: the SAE of layer") == 2


def test_what_does_not_fit_stops_in_one_sentence_and_leaves_nothing(project: Path) -> None:
    told = snakemake(project, *arguments(project, BANK.format("jb"), hook="resid_post"))
    assert told.returncode
    log = (project / "results/logs/released/llama/jb.log").read_text(encoding="utf-8")
    assert "reads blocks.0.hook_mlp_out, which is mlp_out of layer 0; found hook resid_post" in log
    assert "Traceback" not in log
    assert not (project / "results/released/llama/jb.partial").exists()
