"""The profiles of clusters: what each job would ask for. No Slurm is needed; tests/slurm runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.running import ROOT, SMOKE, snakemake

pytestmark = pytest.mark.workflow

CLUSTERS = ("slurm", "slurm-cpu")
DECLARED = re.compile(r"^ *gpu=1,$", re.M)


def asked(folder: Path, profile: str, *arguments: str) -> dict[str, list[dict[str, str]]]:
    """Resources of every job by rule, as a dry run in a folder elsewhere tells them."""
    done = snakemake(ROOT, "-n", *arguments, "--workflow-profile", profile, cwd=folder)
    assert done.returncode == 0, done.stdout[-4000:]
    found: dict[str, list[dict[str, str]]] = {}
    rule = "none"
    for line in done.stdout.splitlines():
        if named := re.match(r"(?:local)?rule (\w+):$", line):
            rule = named[1]
        elif line.startswith("    resources: "):
            pairs = (
                each.split("=", 1) for each in line.removeprefix("    resources: ").split(", ")
            )
            found.setdefault(rule, []).append(dict(pairs))
    return found


def gpu_rules() -> set[str]:
    """Rules that declare a GPU, as their files say; of those in loops the name with an underscore."""
    found = set()
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        text = path.read_text(encoding="utf-8")
        for body in re.split(r"^ *(?=rule\b)", text, flags=re.M)[1:]:
            if DECLARED.search(body):
                named = re.match(r"rule (\w+):", body) or re.search(r'name:\s+f"(\w+_)\{', body)
                assert named, body[:200]
                found.add(named[1])
    return found


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[dict[str, str]]]]:
    overlay = ("--configfile", str(ROOT / SMOKE[1]))
    return {name: asked(tmp_path_factory.mktemp("else where"), name, *overlay) for name in CLUSTERS}


def declares_gpu(rule: str) -> bool:
    return any(rule == name or (name[-1] == "_" and rule.startswith(name)) for name in gpu_rules())


def test_every_job_with_a_gpu_goes_where_the_gpus_are(smoke: dict[str, Any]) -> None:
    jobs = smoke["slurm"]
    loops = {"train_controls", "encode_controls", "calibrate_controls", "train_wide"}
    for name in loops | {"capture_thoughts", "train_bank", "intervene"}:
        assert any(rule.startswith(name) for rule in jobs), name
    for rule, resources in jobs.items():
        for job in resources:
            if rule == "all":
                continue
            assert job["slurm_account"] == "ci", rule
            assert job["slurm_partition"] == ("gpu" if declares_gpu(rule) else "cpu"), rule
            assert job.get("gpu") == ("1" if declares_gpu(rule) else None), rule
            assert not {"gpu_partition", "without_gpu"} & set(job), rule
            assert int(job["mem_mb"]) > 0, rule
            assert int(job["runtime"]) > 0, rule


def test_without_gpus_no_job_asks_for_one(smoke: dict[str, Any]) -> None:
    jobs = smoke["slurm-cpu"]
    assert set(jobs) == set(smoke["slurm"])
    for rule, resources in jobs.items():
        for job in resources:
            assert not {"gpu", "gres", "gpu_model", "without_gpu"} & set(job), rule
            assert rule == "all" or job["slurm_partition"] == "cpu"


def test_model_jobs_are_limited_on_a_workstation_alone() -> None:
    limited = {
        path.parent.name: "model_jobs" in (yaml.safe_load(path.read_text()).get("resources") or {})
        for path in (ROOT / "profiles").glob("*/profile.yaml")
    }
    assert limited["default"]
    assert not limited["slurm"]
    assert not limited["slurm-cpu"]


def test_model_and_constraint_are_said_once_for_all_gpu_jobs(tmp_path: Path) -> None:
    defaults = ("slurm_partition='cpu'", "gpu_partition='gpu'", "gpu_model='h200'")
    overlay = ("--configfile", str(ROOT / SMOKE[1]))
    more = ("--default-resources", *defaults, "gpu_constraint='big&fast'")
    jobs = asked(tmp_path, "slurm", *overlay, *more)
    for rule, resources in jobs.items():
        for job in resources:
            said = (job.get("gpu_model"), job.get("constraint"), job["slurm_partition"])
            expected = ("h200", "big&fast", "gpu") if declares_gpu(rule) else (None, None, "cpu")
            assert said == expected, rule


def test_what_a_job_asks_for_is_capped_as_documented(tmp_path: Path) -> None:
    text = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    documented = re.search(r"^resources: \{runtime: .*\n(set-resource-scopes: .*\n)```", text, re.M)
    assert documented
    profile = tmp_path / "capped"
    profile.mkdir()
    caps = documented[0].removesuffix("```").replace("2880", "7")
    (profile / "profile.yaml").write_text(
        (ROOT / "profiles/slurm/profile.yaml").read_text(encoding="utf-8") + caps, encoding="utf-8"
    )
    assert yaml.safe_load(caps)["set-resource-scopes"] == {"runtime": "local"}
    jobs = asked(tmp_path, str(profile), "--configfile", str(ROOT / SMOKE[1]))
    assert {int(job["runtime"]) for all_of in jobs.values() for job in all_of} == {7}


def values(name: str) -> dict[str, Any]:
    path = ROOT / "profiles" / name / "profile.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_profile_without_gpus_differs_in_nothing_else() -> None:
    with_gpu, without = values("slurm"), values("slurm-cpu")
    assert without.pop("default-resources") == {
        **{k: v for k, v in with_gpu.pop("default-resources").items() if k != "gpu_partition"},
        "without_gpu": 1,
    }
    assert without == with_gpu


def test_the_faults_of_the_plugin_are_steered_round() -> None:
    profile = values("slurm")
    assert profile["slurm-status-command"] == "squeue"
    bridged = profile["slurm-status-attempts"] / profile["max-status-checks-per-second"]
    assert bridged >= 300
    # squeue forgets a finished job after MinJobAge, 300 s by default.
    assert 3 * profile["slurm-init-seconds-before-status-checks"] <= 300
    assert "slurm-array-jobs" not in profile
    assert profile["default-resources"]["slurm_account"]
    assert profile["retries"] >= 1


def entries(text: str) -> list[int]:
    """Numbers of the lines that begin an entry."""
    return [
        number
        for number, line in enumerate(text.splitlines())
        if re.match(r" *[\w-]+:", line) and line.strip() != "default-resources:"
    ]


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_entry_has_its_reason_above_it(name: str) -> None:
    text = (ROOT / "profiles" / name / "profile.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    grouped = {"runtime:"}  # shares the reason of mem_mb
    for number in entries(text):
        if lines[number].split()[0] not in grouped:
            above = lines[number - 1].strip()
            assert re.match(r"# (?!----)", above), lines[number]


def test_the_page_names_what_there_is() -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    for name in CLUSTERS:
        assert f"profiles/{name}/profile.yaml" in page
    for path in re.findall(r"\]\(([\w./-]+?)(?:#[\w-]+)?\)", page):
        assert (ROOT / "docs" / path).exists(), path
    for path in re.findall(r"`((?:profiles|tests|workflow|src)/[\w./-]+)`", page):
        assert (ROOT / path).exists(), path
    assert "docs/cluster.md" in (ROOT / "README.md").read_text(encoding="utf-8")
