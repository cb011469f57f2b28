"""What can be said of the workflow without running it: style, types, generated files, pins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from saeflow.generated_files import generated_files
from tests.workflow.running import ROOT, environment

pytestmark = pytest.mark.workflow

BIN = Path(sys.executable).parent
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))


def clean(*command: str) -> None:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment() | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def test_snakemake_lint() -> None:
    clean("snakemake", "--lint")


def test_snakefmt() -> None:
    clean("snakefmt", "--check", "Snakefile", "workflow/rules")


def test_ruff() -> None:
    clean("ruff", "check", ".")
    clean("ruff", "format", "--check", ".")


def test_types() -> None:
    clean("mypy")


@pytest.mark.parametrize("path", generated_files(ROOT), ids=lambda path: path.name)
def test_generated_file_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated_files(ROOT)[path], "run `make schema`"


def test_conda_pins_are_those_of_the_lock() -> None:
    sys.path.insert(0, str(ROOT / "envs"))
    try:
        import lock
    finally:
        sys.path.remove(str(ROOT / "envs"))
    text = (ROOT / "envs/lock.txt").read_text(encoding="utf-8")
    pins = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert (ROOT / "envs/saeflow.yaml").read_text(encoding="utf-8") == lock.conda_file(pins)


def test_lock_fits_the_project() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    text = (ROOT / "envs/lock.txt").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["dev"], *extras["slurm"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text
        assert "<" in str(wanted.specifier), f"{text} has no upper bound"


def test_oldest_snakemake_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = re.findall(r"snakemake>=([\d.]+)", " ".join(project["dependencies"]))
    asked = re.findall(
        r'min_version\("([\d.]+)"\)', (ROOT / "Snakefile").read_text(encoding="utf-8")
    )
    assert asked == bounds
    # Before, resources of rules are plain values, of which saeflow.placement and the manifest ask more.
    assert tuple(map(int, asked[0].split("."))) >= (9, 17)


SINGLE = {
    "associate",
    "summarise",
    "permute_calibrated",
    "calibrate",
    "hierarchy_calibrated",
    "intervene",
    "train_reference",
}
"""Heavy rules whose one thread is enough: exact counts, small passes, or two models trained."""
ADAPTERS = {
    "gather": "gather",
    "train_controls": "train_bank",
    "encode_controls": "encode_features",
    "calibrate_controls": "calibrate",
    "train_wide": "train_wide",
}
"""What rules run that do the same as another, whichever tables or dictionaries, by their first words."""
HEAVY = {
    "capture_thoughts",
    "capture_tokens",
    "train_bank",
    "encode_features",
    "associate",
    "summarise",
    "evaluate_model",
    "train_reference",
    "install_reference",
    "permute_calibrated",
    "calibrate",
    "capacity_grid",
    "hierarchy_published",
    "hierarchy_calibrated",
    "intervene",
    "sweep_k",
    "train_wide",
    "search_scaling",
    "read_scaling",
    "steer_scaling",
    "explain_scaling",
}


def declared(text: str) -> Iterator[tuple[str, str]]:
    """Name and body of each rule; of those in a loop the name ends in an underscore."""
    pattern = r"^( *)rule(?: (\w+))?:\n((?:\1    .*\n|\n)+)"
    for _, name, body in re.findall(pattern, text, re.M):
        yield name or re.findall(r'name:\n +f"(\w+){', body)[0], body


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rules_declare_what_they_must(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name, body in declared(text):
        if "script:" not in body:
            continue
        for directive in ("log:", "benchmark:", "conda:", "resources:", "params:"):
            assert directive in body, f"{name} has no {directive}"
        # Shards, and what gathers them, run the script of the rule whose work they share.
        name = re.sub("_(shard|gather)$", "", name)
        script = ADAPTERS.get(name.rpartition("_")[0], name)
        assert f'code=code_of("{script}")' in body, f"{name} does not carry its modules' digest"
        assert f'"../scripts/{script}.py"' in body, f"{name} runs a script of another name"
        if "model_jobs=" in body:
            assert "gpu=1" in body, f"profiles/gpu would not limit {name}, which holds a model"
        if script in HEAVY and "localrule: True" not in body:
            assert "gpu=1" in body, f"{name} has no GPU tag"
            assert ("threads: 1" if script in SINGLE else "threads: THREADS") in body


def test_rule_files_hold_only_declarations() -> None:
    for path in RULES:
        text = path.read_text(encoding="utf-8")
        if any(declared(text)):
            assert not re.search(r"^def ", text, re.M), path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_adapters_stay_thin(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith('"""')
    # What fetch_model checks with it decides nothing of what it writes.
    assert "snakemake.config" not in text or path.stem == "fetch_model", (
        "Snakemake does not track it"
    )
    assert "with job(snakemake)" in text


@pytest.mark.parametrize("name", ["default", "gpu", "slurm"])
def test_every_profile_entry_has_its_reason(name: str) -> None:
    path = ROOT / "profiles" / name / "profile.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert yaml.safe_load("\n".join(lines))
    assert lines[0].startswith("#")


def test_slurm_profile_plans() -> None:
    clean("snakemake", "-n", "--quiet", "all", "--workflow-profile", "slurm")


def test_no_large_file_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout; nothing is tracked")
    files = [ROOT / name for name in listed.stdout.splitlines()]
    large = [path for path in files if path.exists() and path.stat().st_size > 8_000_000]
    assert not large
