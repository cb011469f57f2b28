"""A small folder of results, and what a manifest of it tells."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.root import Config, parse_config
from saeflow.manifest.write import Run, write_manifest
from tests.conftest import ROOT
from tests.report_tables import EVIL

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
PROBLEM = {
    "problem": [0],
    "problem_id": ["a"],
    "question": ["?"],
    "answer": ["#### 1"],
    "gold": [1.0],
    "n_steps": [0],
    "split": ["train"],
    "analysed": [True],
    "held_out_pair": [None],
}


class Pattern(str):
    """As Snakemake's paths of rules: tells whether a path fits, and the wildcards in it."""

    def match(self, path: str) -> re.Match[str] | None:
        return re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self), path)


class Threads:
    value = 3

    def is_evaluable(self) -> bool:
        return False


def rule(name: str, output: str, benchmark: str | None = None) -> Any:
    told = Pattern(benchmark) if benchmark else None
    resources = {"_cores": Threads()}
    return SimpleNamespace(name=name, output=[Pattern(output)], benchmark=told, resources=resources)


RULES = [
    rule(
        "load",
        "results/datasets/{dataset}/problems.parquet",
        "results/benchmarks/datasets/{dataset}.tsv",
    ),
    rule(
        "capture",
        "results/capture/{model}/{dataset}",
        "results/benchmarks/capture/{model}/{dataset}.tsv",
    ),
]


def problems(path: Path, **more: Any) -> None:
    provenance = Provenance("c0ffee", seed=7, dataset_revision="d1", packages=("pyarrow",))
    write_table({**PROBLEM, **more}, path, PROBLEMS, provenance)


def write_results(folder: Path) -> Path:
    """Write a table, a damaged one, what is not finished or left over, logs and benchmarks."""
    results = folder / "results"
    problems(results / "datasets/small/problems.parquet")
    for name, text in (
        ("capture/toy/small/resid_post/layer0/chunk0.parquet", "damaged"),
        ("capture/toy/small/.snakemake_timestamp", ""),
        ("capture/toy/next.partial/layer0/chunk0.parquet", "not finished"),
        ("gsm8k/toy/.summary.parquet.partial", "not finished"),
        ("gsm8k/toy/notes.txt", "left over"),
        ("logs/capture/toy/small.log", "12:00:01 read\n12:00:02 device: cuda, H200, 140 GB\n"),
        ("run/old.parquet", "of the run before"),
        ("benchmarks/capture/toy/small.tsv", f"{HEAD}1\t0\t5\t6\t7\t8\t9\t1\t100\t2\n"),
        ("benchmarks/datasets/small.tsv", f"{HEAD}0.4\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA\n"),
        ("benchmarks/other/gone.tsv", f"{HEAD}9\t0\t5\t6\t7\t8\t9\t1\t100\t2\n"),
    ):
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def config() -> Config:
    return parse_config(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))


def manifest(folder: Path) -> dict[str, list[dict[str, Any]]]:
    about = {"status": EVIL, "seconds": "12"}
    return write_manifest(Run(ROOT, folder, config(), RULES, about))
