"""Whatever is wrong with the input: one plain sentence, a non-zero exit, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.workflow.running import SMOKE, artifact_digests, copy_project, run, snakemake

pytestmark = pytest.mark.workflow

GOOD = {"question": "Ann has 2 pens and gets 3. How many?", "answer": "2+3=<<2+3=5>>5\n#### 5"}
LOAD = "results/datasets/broken/problems.parquet"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("bad") / "project")


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


PROBLEM_FILES: dict[str, tuple[str, str | bytes, dict[str, object], str]] = {
    "a truncated file": (
        "x.jsonl",
        lines(GOOD, GOOD) + '{"question": "Ann ha',
        {},
        "x.jsonl, line 3: the line is no JSON",
    ),
    "not JSON Lines": (
        "x.jsonl",
        "question,answer\n1,2\n",
        {},
        "x.jsonl, line 1: the line is no JSON",
    ),
    "not UTF-8": ("x.jsonl", b"\xff\xfe\x00", {}, "x.jsonl, line 1: the line is not UTF-8"),
    "no ####": (
        "x.jsonl",
        lines(GOOD, {**GOOD, "answer": "5"}),
        {},
        "x.jsonl, line 2: the answer holds no '####' line",
    ),
    "an empty file": ("x.jsonl", "", {}, "x.jsonl holds no problem"),
    "an empty subset": (
        "x.jsonl",
        lines(GOOD),
        {"subset": {"kind": "first", "n": 5}},
        "subset asks for 5 problems (first), but the data set holds 1",
    ),
    "too high a limit": (
        "x.jsonl",
        lines(GOOD),
        {"limit": 9},
        "holds 1 problems; limit asks for 9",
    ),
    "another checksum": (
        "x.jsonl",
        lines(GOOD),
        {"content_sha256": "0" * 64},
        "content_sha256 expects 0000",
    ),
    "a foreign Parquet": (
        "x.parquet",
        b"PAR1 is not enough",
        {},
        "x.parquet cannot be read as Parquet",
    ),
}


def overlay(folder: Path, values: dict[str, object]) -> str:
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)


def refused(project: Path, *arguments: str, sentence: str) -> str:
    done = snakemake(project, *arguments)
    assert done.returncode != 0, done.stdout
    assert sentence in done.stdout, done.stdout[-3000:]
    assert "Traceback" not in done.stdout, done.stdout[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", PROBLEM_FILES)
def test_problem_file(project: Path, tmp_path: Path, name: str) -> None:
    file, content, settings, sentence = PROBLEM_FILES[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    block = {"source": "path", "path": str(path), **settings}
    given = overlay(tmp_path, {"datasets": {"broken": block}})
    refused(project, LOAD, *SMOKE, given, sentence=sentence)
    folder = project / "results/datasets/broken"
    assert not folder.exists() or not list(folder.iterdir())


CONFIGURATIONS: dict[str, tuple[dict[str, object], str]] = {
    "k > d_sae": ({"dictionaries": {"llama_k100": {"k": 65}}}, "k is 65, but only 64 latents"),
    "k > d_in of principal components": (
        {"dictionaries": {"llama_pca": {"k": 33}}},
        "dictionaries.llama_pca.k is 33, but pca has one latent per dimension and model "
        "'llama' has 32",
    ),
    "a control of a control": (
        {"dictionaries": {"llama_k100": {"control": "raw_neurons", "d_sae": None, "k": 3}}},
        "of is 'llama_k100', which is the control raw_neurons itself",
    ),
    "an unknown layer": (
        {"studies": {"gsm8k": {"published": {"layers": [2]}}}},
        "layers holds 2, but model 'llama' has the layers 0 to 1",
    ),
    "an unknown key": ({"dictionaries": {"llama_k100": {"dsae": 4}}}, "did you mean 'd_sae'?"),
    "a missing path": (
        {
            "datasets": {"mine": {"source": "path", "path": "no/such.jsonl"}},
            "studies": {"gsm8k": {"published": {"models": {"llama": {"datasets": ["mine"]}}}}},
        },
        "datasets.mine.path is 'no/such.jsonl', which does not exist",
    ),
    "a study without its block": (
        {"studies": {"gsm8k": None}},
        "studies.gsm8k is null: expected a block of settings",
    ),
    "too few problems for interventions": (
        {"datasets": {"generated": {"n_validation": 39}}},
        "datasets.generated.n_validation is 39, so 39 problems are held out, too few",
    ),
    "a stream of two layers": (
        {"dictionaries": {"llama_wide": {"layers": [0, 1]}}},
        "dictionaries.llama_wide: layers is [0, 1], but stream trains one SAE; expected one layer.",
    ),
    "the published steering behind the last block": (
        {"dictionaries": {"llama_wide": {"layers": [1]}}},
        "steering.published.bugs holds 'block_output', which adds behind the next block",
    ),
    "prompts that are not there": (
        {
            "studies": {
                "scaling": {
                    "calibrated": {
                        "search": {"sets": {"mine": {"source": "files", "positive": "no/such.txt"}}}
                    }
                }
            }
        },
        "studies.scaling.calibrated.search.sets.mine.positive is 'no/such.txt', which does not exist",
    ),
    "balanced problems as those that are studied": (
        {
            "studies": {
                "hierarchy": {"published": {"models": {"llama": {"datasets": ["balanced"]}}}}
            }
        },
        "models.llama.datasets holds 'balanced', whose problems are balanced",
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configuration(project: Path, tmp_path: Path, name: str) -> None:
    values, sentence = CONFIGURATIONS[name]
    # A configuration is read before anything is planned, so that a dry run says the same.
    refused(project, "-n", *SMOKE, overlay(tmp_path, values), sentence=sentence)


def test_model_directory_without_weights(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 2}')
    models = {"mine": {"weights": "path", "path": str(folder)}, "llama": None}
    runs = {"mine": {"datasets": ["generated"], "dictionaries": ["llama_k100"]}, "llama": None}
    studies = {
        "hierarchy": None,
        "decimal_bug": None,
        "specialists": None,
        "scaling": None,
        "gsm8k": {"published": {"models": runs}},
    }
    values = {"models": models, "studies": studies}
    output = refused(project, *SMOKE, overlay(tmp_path, values), sentence="models.mine.path is")
    assert "holds no weights; expected model.safetensors or pytorch_model.bin" in output


def test_unreachable_hub_names_the_way_round(project: Path, tmp_path: Path) -> None:
    given = overlay(tmp_path, {"datasets": {"broken": {"source": "hub"}}})
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        output = refused(
            project, LOAD, *SMOKE, given, sentence="cannot be had from the Hugging Face hub"
        )
    finally:
        del os.environ["HF_HUB_OFFLINE"]
    assert "use source: path with path: FILE" in output


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


DAMAGE: dict[str, tuple[str, Callable[[Path], None], str, str]] = {
    "a truncated table": (
        "results/datasets/generated/problems.parquet",
        truncate,
        "cut_tokens",
        "problems.parquet cannot be read as Parquet",
    ),
    "a foreign table": (
        "results/datasets/generated/problems.parquet",
        foreign,
        "cut_tokens",
        "carries no checksum, so it is damaged or saeflow did not write it; rebuild it with: rm -r",
    ),
    "a truncated capture": (
        "results/capture/llama/generated/resid_post/layer0/chunk0.parquet",
        truncate,
        "train_bank",
        "chunk0.parquet cannot be read as Parquet",
    ),
    "a damaged capture": (
        "results/capture/llama/generated/resid_post/layer0/chunk0.parquet",
        flip,
        "train_bank",
        "chunk0.parquet cannot be read as Parquet",
    ),
    "damaged weights of a wide SAE": (
        "results/saes/llama/llama_wide/seed0/layer0/sae_weights.safetensors",
        flip,
        "read_scaling",
        "sae_weights.safetensors",
    ),
    "a truncated corpus": (
        "results/datasets/documents/texts.parquet",
        truncate,
        "read_scaling",
        "texts.parquet",
    ),
    "damaged weights": (
        "results/saes/llama/llama_k100/seed0/layer0_step0/sae_weights.safetensors",
        flip,
        "encode_features",
        "sae_weights.safetensors",
    ),
}


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> Path:
    target = tmp_path / "project"
    shutil.copytree(finished, target, symlinks=True)
    return target


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_artifact(damaged: Path, name: str) -> None:
    file, damage, rule, sentence = DAMAGE[name]
    damage(damaged / file)
    told = refused(damaged, *SMOKE, "--forcerun", rule, "--until", rule, sentence=sentence)
    table = told[told.rindex("Exiting because") :]
    # Whichever reads it first: of what has changed, another job may be made anew before.
    assert re.search(r"^  \w+.*: DAMAGED FILE$", table, re.M), table
    assert sentence in table


TARGET = "results/features/llama/generated/llama_k100/seed0"
REBUILT = {
    "a truncated table": "results/datasets/generated/problems.parquet",
    "a damaged capture": "results/capture/llama/generated",
    "damaged weights": "results/saes/llama/llama_k100/seed0",
}
"""What the command names: the output of a rule, whatever file in it is damaged."""


def test_the_command_that_is_named_rebuilds_the_same_bytes(project: Path, tmp_path: Path) -> None:
    # In a folder of its own, with a space: the command must be right where the user is.
    folder = tmp_path / "a run"
    folder.mkdir()
    given = (TARGET, "-d", str(folder), *SMOKE)
    run(project, *given)
    before = inputs_of(folder)
    for name, output in REBUILT.items():
        file, damage, *_ = DAMAGE[name]
        damage(folder / file)
        told = refused(project, *given, "--forcerun", TARGET, sentence="rebuild it with: ")
        command = re.search(r"rebuild it with: (rm -r .+), then run the same snakemake", told)
        assert command is not None
        assert shlex.split(command[1])[2:] == [str(folder / output)]
        subprocess.run(shlex.split(command[1]), check=True)
        run(project, output, *given)
        # A job that died took its results with it; Snakemake makes again what the target needs.
        found = inputs_of(folder)
        assert found.items() <= before.items()
        assert {key for key in before if key.startswith("features/")} <= found.keys()
        assert file.removeprefix("results/") in found


def inputs_of(folder: Path) -> dict[str, str]:
    """Digests of what the target is made from, and its own."""
    made = ("datasets/", "capture/", "saes/", "features/")
    found = artifact_digests(folder / "results")
    return {name: each for name, each in found.items() if name.startswith(made)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; needs the right to mount."""
    folder = tmp_path / "run/results/saes"
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root; the full disk is not tested here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(project: Path, small_disk: Path) -> None:
    # Of SAEs alone, so that it is a job that finds it full, and not Snakemake with a file of its own.
    given = str(project / "tests/config/smoke.yaml")
    bank = "results/saes/llama/llama_k100/seed0"
    done = snakemake(project, bank, "--configfile", given, cwd=small_disk.parents[1])
    assert done.returncode != 0
    assert "the disk is full" in done.stdout, done.stdout[-3000:]
    assert re.search(r"^  train_bank .*: FULL DISK$", done.stdout, re.M), done.stdout[-3000:]


def test_read_only_results(project: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    given = str(project / "tests/config/smoke.yaml")
    done = snakemake(project, "--configfile", given, cwd=small_disk)
    assert done.returncode != 0
    assert "read-only" in done.stdout.lower()
    assert len(done.stdout.splitlines()) < 12, done.stdout
