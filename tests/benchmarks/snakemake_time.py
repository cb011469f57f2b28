"""What our rules and configuration add to Snakemake's own time, beside a bare workflow of the same jobs.

The bare workflow is generated from our own graph: as many rules, jobs, inputs, outputs, logs, benchmarks and
params, with the values read from a file instead of computed, and no import but Snakemake's. Both are asked
for the same two things in turn, each as a process of its own as users start it: to find that nothing is to
be done where everything is there (the no-op, of the default run), and for a dry run where nothing is (of the
preset of the paper). Ratios are of processor time, which a busy machine changes least; the smaller one counts.
Nothing is computed: files that a finished run would have are empty, and Snakemake is told so by --touch.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"SAEFLOW_DEVICE": "cpu"}
ALLOWED = 2.0
"""Times the processor time of the bare workflow that ours may take."""


def graph(configfiles: list[Path], folder: Path) -> list[dict[str, Any]]:
    """Every job of a run from nothing: its rule, files and params."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.enums import Quietness
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        ResourceSettings,
    )

    settings = OutputSettings(dryrun=True, quiet={Quietness.ALL})
    with SnakemakeApi(settings) as api, contextlib.redirect_stderr(io.StringIO()):
        asked = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=configfiles),
            snakefile=ROOT / "Snakefile",
            workdir=folder,
        )
        asked.dag(dag_settings=DAGSettings())
        workflow = asked._workflow
        workflow._prepare_dag(
            forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True
        )
        workflow._build_dag()
        dag = workflow.dag
        workflow.async_run(dag.postprocess(update_needrun=False, check_initial=True))
        return [
            {
                "rule": re.sub(r"\W", "_", job.rule.name),
                "input": [str(path) for path in job.input],
                "output": [(str(path), bool(path.is_directory)) for path in job.output],
                "log": bool(job.log),
                "benchmark": bool(job.benchmark),
                "params": {name: value for name, value in job.params.items() if name},
                "target": not job.rule.script,
            }
            for job in dag.jobs
        ]


def place(outputs: list[tuple[str, bool]]) -> None:
    """Make files and folders that a job would leave."""
    for name, is_folder in outputs:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            path.mkdir(exist_ok=True)
        else:
            path.touch()


def write_bare(jobs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Write the bare workflow; its jobs, in the form of `graph`."""
    folder.mkdir(parents=True)
    numbered: dict[str, list[dict[str, Any]]] = defaultdict(list)
    renamed: dict[str, str] = {}
    for job in jobs:
        job["job"] = len(numbered[job["rule"]])
        numbered[job["rule"]].append(job)
        for number, (path, _) in enumerate(job["output"]):
            renamed[path] = f"bare/{job['rule']}/{job['job']}/{number}"
    for job in jobs:
        job["input"] = [_renamed(path, renamed, folder) for path in job["input"]]
        job["output"] = [(renamed[path], is_folder) for path, is_folder in job["output"]]
    rules = ["import json\nfrom pathlib import Path\n"]
    rules.append('JOBS = json.loads(Path(workflow.basedir, "jobs.json").read_text())\n')
    for name, some in numbered.items():
        rules.append(_rule(name, some[0]))
    wanted = [path for job in jobs if job["target"] for path in job["input"]]
    table = {name: [{**job, "log": ""} for job in some] for name, some in numbered.items()}
    (folder / "jobs.json").write_text(json.dumps({**table, "": wanted}), encoding="utf-8")
    (folder / "nothing.py").write_text("", encoding="utf-8")
    whole = 'rule everything:\n    default_target: True\n    input: JOBS[""]\n'
    (folder / "Snakefile").write_text("\n".join([*rules, whole]), encoding="utf-8")
    return jobs


def _renamed(path: str, renamed: dict[str, str], folder: Path) -> str:
    if path in renamed:
        return renamed[path]
    # A file of the repository, or one below a folder that a job makes.
    above = next((each for each in map(str, Path(path).parents) if each in renamed), None)
    if above is not None:
        return renamed[above]
    source = folder / "sources" / re.sub(r"\W", "_", path)
    source.parent.mkdir(exist_ok=True)
    source.touch()
    return str(source)


def _rule(name: str, job: dict[str, Any]) -> str:
    if job["target"]:
        return f'rule {name}_:\n    input: JOBS["{name}"][0]["input"]\n'
    outputs = [
        f'directory("bare/{name}/{{job}}/{number}")'
        if is_folder
        else f'"bare/{name}/{{job}}/{number}"'
        for number, (_, is_folder) in enumerate(job["output"])
    ]
    lines = [
        f"rule {name}_:",
        f'    input: lambda wildcards: JOBS["{name}"][int(wildcards.job)]["input"]',
        f"    output: {', '.join(outputs)}",
        *([f'    log: "logs/{name}/{{job}}.log"'] if job["log"] else []),
        *([f'    benchmark: "benchmarks/{name}/{{job}}.tsv"'] if job["benchmark"] else []),
        r'    wildcard_constraints: job=r"\d+"',
        "    resources: mem_mb=2000, runtime=60",
        f'    params: all=lambda wildcards: JOBS["{name}"][int(wildcards.job)]["params"]',
        '    script: "nothing.py"',
    ]
    return "\n".join(lines) + "\n"


def ask(snakefile: Path, folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Processor and wall seconds of a Snakemake, and what it says."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(snakefile)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), os.times().elapsed
    done = subprocess.run(
        [*command, "--directory", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
        env=ENVIRONMENT,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout[-3000:]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, os.times().elapsed - start, done.stdout


def compare(
    title: str, folder: Path, configfiles: list[Path], finished: bool, repeats: int
) -> dict[str, float]:
    """Ratio of the bare workflow's time to ours, with both times."""
    ours, bare = folder / "ours", folder / "bare"
    ours.mkdir(parents=True)
    given = ["--configfile", *map(str, configfiles)] if configfiles else []
    here = Path.cwd()
    # Snakemake changes the folder; inputs of the repository are told as seen from there.
    jobs = graph(configfiles, ours)
    os.chdir(here)
    count = sum(not job["target"] for job in jobs)
    sides = {"ours": (ROOT / "Snakefile", ours, given)}
    for job in jobs if finished else []:
        place([(str(ours / path), is_folder) for path, is_folder in job["output"]])
    write_bare(jobs, bare)
    sides["bare"] = (bare / "Snakefile", bare, [])
    for job in jobs if finished else []:
        place([(str(bare / path), is_folder) for path, is_folder in job["output"]])
    arguments = ["--nolock"] if finished else ["--dry-run"]
    # Of the rules that only name others' files, the one that is asked for is a job, too.
    expected = "Nothing to be done" if finished else rf"(?m)^total\s+{count + 1}$"
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    walls: dict[str, list[float]] = {"ours": [], "bare": []}
    for repeat in range(-1, repeats):
        for name, (snakefile, place_, options) in sides.items():
            if repeat < 0 and finished:
                ask(snakefile, place_, "--touch", "--quiet", "all", *options)
            spent, wall, said = ask(snakefile, place_, *arguments, *options)
            assert re.search(expected, said), f"{name}: {said[-2000:]}"
            if repeat >= 0:
                times[name].append(spent)
                walls[name].append(wall)
    found = {name: statistics.median(each) for name, each in times.items()}
    took = {name: statistics.median(each) for name, each in walls.items()}
    ratio = found["bare"] / found["ours"]
    print(
        f"{title}, {count} jobs: ours {found['ours']:.2f} s of processor time ({took['ours']:.2f} s), "
        f"bare {found['bare']:.2f} s ({took['bare']:.2f} s), ratio {ratio:.2f}"
    )
    return {"ratio": ratio, "ours_s": found["ours"], "bare_s": found["bare"], "jobs": count}


def main() -> int:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        paper = [ROOT / "workflow/presets/paper.yaml"]
        rows = {
            "noop": compare("no-op of the default run", folder / "default", [], True, repeats),
            "dry": compare("dry run of the paper preset", folder / "paper", paper, False, repeats),
        }
    ratio = min(row["ratio"] for row in rows.values())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    told = {f"{name}_{key}": round(row[key], 2) for name, row in rows.items() for key in row}
    row = {"name": "snakemake_time", "ratio": round(ratio, 2), "peer": "a bare workflow"}
    print(json.dumps({**row, "peak_mib": peak, **told}))
    return int(ratio < 1 / ALLOWED)


if __name__ == "__main__":
    raise SystemExit(main())
