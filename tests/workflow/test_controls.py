"""Banks of control dictionaries: which job makes them, where it is logged, what it asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.workflow.running import SMOKE, planned, run, snakemake

pytestmark = pytest.mark.workflow

BANK = "results/saes/llama/{}/seed{}"
TRAINED = "train_controls_llama_llama_k100_seed0"
ENCODED = "encode_controls_llama_generated_llama_k100_seed0"
CALIBRATED = "calibrate_controls_llama_generated_llama_k100_seed0"
PART = "results/gsm8k/llama/parts/generated/{}/seed0"


def test_logs_and_benchmarks_are_beside_those_of_the_dictionary(finished: Path) -> None:
    for kind, suffix in (("logs", "log"), ("benchmarks", "tsv")):
        folder = finished / "results" / kind
        assert (folder / f"saes/llama/llama_k100/controls/seed0.{suffix}").is_file()
        assert (folder / f"features/llama/generated/llama_k100/controls/seed0.{suffix}").is_file()
        calibrated = f"gsm8k/llama/generated/llama_k100/controls/seed0/calibrated.{suffix}"
        assert (folder / calibrated).is_file()
        assert not (folder / "saes/llama/llama_pca").exists()
        assert not (folder / "gsm8k/llama/generated/llama_pca").exists()


def test_a_bank_that_no_study_reads_is_trained_by_itself(finished: Path) -> None:
    wanted = [BANK.format("llama_pca", seed) for seed in (0, 5)]
    assert planned(finished, *SMOKE, "--", *wanted) == {"train_bank": 1}
    features = "results/features/gpt2/generated/llama_pca/seed0"
    alone = {"train_bank": 1, "encode_features": 1}
    assert planned(finished, *SMOKE, "--", features) == alone


def test_a_bank_of_a_group_is_made_by_no_other_rule(finished: Path) -> None:
    alone = ["--force", "--allowed-rules", "train_bank", "--"]
    assert planned(finished, *SMOKE, *alone, BANK.format("llama_k100", 0)) == {"train_bank": 1}
    refused = snakemake(finished, "-n", *SMOKE, *alone, BANK.format("llama_pca", 0))
    assert "No rule to produce results/saes/llama/llama_pca/seed0" in refused.stdout
    alone[2] = "calibrate"
    table = f"{PART}/discoveries.parquet"
    assert planned(finished, *SMOKE, *alone, table.format("llama_k100")) == {"calibrate": 1}
    refused = snakemake(finished, "-n", *SMOKE, *alone, table.format("llama_pca"))
    assert f"No rule to produce {table.format('llama_pca')}" in refused.stdout


def test_a_group_is_one_job_with_the_time_of_its_banks(finished: Path) -> None:
    wanted = f"{PART}/calibrated.parquet".format("llama_pca")
    told = run(finished, "-n", *SMOKE, "--forcerun", TRAINED, "--", wanted)
    tables = [f"{PART}/{table}.parquet" for table in ("calibrated", "discoveries")]
    for rule, paths in (
        (TRAINED, ["results/saes/llama/{}/seed0"]),
        (ENCODED, ["results/features/llama/generated/{}/seed0"]),
        (CALIBRATED, tables),
    ):
        job = re.search(rf"^rule {rule}:\n((?:    .*\n)+)", told, re.M)
        assert job is not None, told
        names = ("llama_pca", "llama_soft_frozen_decoder")
        made = [path.format(name) for path in paths for name in names]
        assert f"output: {', '.join(made)}\n" in job[1]
        assert re.search(r"resources: .*\bgpu=1\b", job[1])
        assert re.search(r"resources: .*\bruntime=120\b", job[1])


def test_names_of_blocks_need_not_be_identifiers(finished: Path, tmp_path: Path) -> None:
    recipe = {"dataset": "generated", "d_sae": 64, "k": 8}
    controls = {
        "a.pca": {"of": "my-own.1", "control": "pca"},
        "b-pca": {"of": "my-own.1", "control": "pca"},
    }
    runs = {"gpt2": {"dictionaries": ["gpt2_k150", "my-own.1"]}}
    overlay = tmp_path / "named.yaml"
    blocks = {
        "dictionaries": {"my-own.1": recipe, **controls},
        "studies": {"gsm8k": {"published": {"models": runs}}},
    }
    overlay.write_text(yaml.safe_dump(blocks), encoding="utf-8")
    wanted = [f"results/saes/gpt2/{name}/seed0" for name in controls]
    jobs = planned(finished, *SMOKE, str(overlay), "--", *wanted)
    assert jobs == {"train_controls_gpt2_my_own_1_seed0": 1}
