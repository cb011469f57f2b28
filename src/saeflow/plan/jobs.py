"""Jobs that Snakemake would run, with what they ask for; nothing is run and nothing is left behind."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from saeflow.config.root import Config
from saeflow.errors import SaeflowError, first_line, nearest
from saeflow.yaml_files import check_configuration

CHECKSUM_BYTES = 1_000_000_000
"""As in profiles/default: what is rebuilt depends on it."""
STATE = ".snakemake"
Read = TypeVar("Read")


@dataclass(frozen=True)
class Job:
    """One job, as the scheduler sees it.

    Attributes
    ----------
    number : int
        Of this plan.
    rule : str
        Name of the rule.
    cores, gpu, model_jobs, mem_mb, minutes : int
        What it asks for; `minutes` is the limit of its rule, not a forecast.
    inputs, outputs : list of str
        Paths, relative to the folder of the run.
    banks : list of (str, str)
        Model and dictionary of each bank that it trains, or whose shards it gathers.
    model : str or None
        Name of the model that it loads.
    benchmark : str or None
        Where its time is kept.
    needs : tuple of int
        Jobs of the plan that must be done before.
    """

    number: int
    rule: str
    cores: int
    gpu: int
    model_jobs: int
    mem_mb: int
    minutes: int
    inputs: list[str]
    outputs: list[str]
    banks: list[tuple[str, str]]
    model: str | None
    benchmark: str | None
    needs: tuple[int, ...]


@dataclass(frozen=True)
class Planned:
    """What a run of some targets is.

    Attributes
    ----------
    config : Config
        The merged configuration.
    jobs : list of Job
        Those that would run; rules that only gather are left out.
    done : int
        Jobs whose results are there and fit.
    """

    config: Config
    jobs: list[Job]
    done: int


def planned_jobs(
    root: Path,
    targets: Sequence[str],
    configfiles: Sequence[Path],
    folder: Path,
    scatter: Mapping[str, int] | None = None,
) -> Planned:
    """Let Snakemake build the graph of jobs.

    Parameters
    ----------
    root : Path
        The repository.
    targets : sequence of str
        Rules or files; empty for the default.
    configfiles : sequence of Path
        Presets and overlays on ``config.yaml``, as `snakemake --configfile` takes them.
    folder : Path
        Where the workflow would run; it need not exist.
    scatter : mapping of str to int, optional
        Shards by kind of work, as `snakemake --set-scatter` takes them.

    Returns
    -------
    Planned
        The jobs.

    Raises
    ------
    SaeflowError
        In one sentence, whatever Snakemake or the configuration refuses.
    """
    return read_workflow(root, targets, configfiles, folder, _planned, scatter)


def read_workflow(
    root: Path,
    targets: Sequence[str],
    configfiles: Sequence[Path],
    folder: Path,
    read: Callable[[Any], Read],
    scatter: Mapping[str, int] | None = None,
) -> Read:
    """Let Snakemake build the graph of jobs, and read what is wanted of it.

    Parameters
    ----------
    root, targets, configfiles, folder
        As for `planned_jobs`.
    read : callable
        Takes Snakemake's workflow, in the folder of the run.
    scatter : mapping of str to int, optional
        As for `planned_jobs`.

    Raises
    ------
    SaeflowError
        In one sentence, whatever Snakemake or the configuration refuses.
    """
    for path in configfiles:
        if not path.is_file():
            raise SaeflowError(f"{path} does not exist; expected a configuration file.")
        check_configuration(path)
    paths = [path.resolve() for path in configfiles]
    with _unchanged(folder) as place, _in(place):
        return _built(root, targets, paths, place, read, scatter or {})


def _built(
    root: Path,
    targets: Sequence[str],
    paths: list[Path],
    place: Path,
    read: Callable[[Any], Read],
    scatter: Mapping[str, int],
) -> Read:
    from snakemake.api import SnakemakeApi
    from snakemake.logging import logger
    from snakemake.settings.enums import Quietness
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        ResourceSettings,
    )

    workflow = None
    settings = OutputSettings(dryrun=True, quiet={Quietness.ALL})
    try:
        with SnakemakeApi(settings) as api, contextlib.redirect_stderr(io.StringIO()):
            workflow_api = api.workflow(
                resource_settings=ResourceSettings(
                    cores=os.cpu_count() or 1, overwrite_scatter=dict(scatter)
                ),
                config_settings=ConfigSettings(configfiles=paths),
                snakefile=root / "Snakefile",
                workdir=place,
            )
            logger.setLevel("CRITICAL")
            dag_settings = DAGSettings(
                targets=set(targets), force_incomplete=True, max_checksum_file_size=CHECKSUM_BYTES
            )
            workflow_api.dag(dag_settings=dag_settings)
            # The public calls print what they find; these are the ones behind `snakemake --dag`.
            workflow = workflow_api._workflow
            workflow._prepare_dag(
                forceall=False, ignore_incomplete=False, lock_warn_only=True, nolock=True
            )
            workflow._build_dag()
            workflow.async_run(workflow.dag.postprocess(update_needrun=False, check_initial=True))
            return read(workflow)
    except (SystemExit, Exception) as error:
        if isinstance(error, SaeflowError):
            raise
        raise SaeflowError(_sentence(error, workflow)) from None


def _planned(workflow: Any) -> Planned:
    dag = workflow.dag
    running = [job for job in dag.needrun_jobs() if job.rule.script or job.is_run or job.is_shell]
    numbers = {job: number for number, job in enumerate(running)}
    everything = [job for job in dag.jobs if job.rule.script]
    config = workflow.globals["CFG"]
    assert isinstance(config, Config)
    jobs = [_described(job, numbers, dag) for job in running]
    return Planned(config, jobs, sum(job not in numbers for job in everything))


def _described(job: Any, numbers: dict[Any, int], dag: Any) -> Job:
    asked = job.resources
    outputs = [str(path) for path in job.output]
    # What the job that gathered shards took says nothing of the one that does all by itself.
    before = dag.workflow.persistence.rule(job.output[0]) if job.output else None
    known = job.benchmark and before in (None, job.rule.name)
    benchmark = str(job.benchmark) if known else None
    # A shard tells which of them it trains.
    made = [*outputs, *(getattr(job.params, "banks", None) or [])]
    banks = [path.split("/") for path in made if path.startswith("results/saes/")]
    reads = getattr(job.input, "model", None)
    return Job(
        number=numbers[job],
        rule=job.rule.name,
        cores=int(asked.get("_cores", 1)),
        gpu=int(asked.get("gpu", 0)),
        model_jobs=int(asked.get("model_jobs", 0)),
        mem_mb=int(asked.get("mem_mb", 0)),
        minutes=int(asked.get("runtime", 0)),
        inputs=[str(path) for path in job.input],
        outputs=outputs,
        banks=[(parts[2], parts[3]) for parts in banks],
        model=_model_of(job, banks) if reads else None,
        benchmark=benchmark,
        needs=tuple(sorted(_before(job, numbers, dag))),
    )


def _model_of(job: Any, banks: list[list[str]]) -> str | None:
    named = job.wildcards_dict.get("model")
    return str(named) if named else (banks[0][2] if banks else None)


def _before(job: Any, numbers: dict[Any, int], dag: Any) -> set[int]:
    """Jobs of the plan that a job waits for, also through rules that only gather."""
    found, seen, waiting = set(), set(), list(dag.dependencies[job])
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        if each in numbers:
            found.add(numbers[each])
        elif dag.needrun(each):
            waiting += dag.dependencies[each]
    return found


def _sentence(error: BaseException, workflow: Any) -> str:
    """What Snakemake refuses, in one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if type(error).__name__ == "MissingRuleException" and workflow is not None:
        asked = re.search(r"No rule to produce (\S+)", str(error))
        name = asked[1] if asked else ""
        known = [rule.name for rule in workflow.rules if not rule.script]
        return (
            f"{name!r} is neither a target nor a result of this configuration{nearest(name, known)}"
        )
    if type(error).__name__ == "MissingInputException" and len(lines) > 1:
        rule = lines[0].removeprefix("Missing input files for rule ").rstrip(":")
        return f"{lines[-1]} does not exist and no rule makes it, but {rule} reads it."
    told = first_line(error) if isinstance(error, Exception) else "Snakemake stopped"
    told = re.sub(r"^configuration: ", "", re.sub(r"^WorkflowError in .*?: *", "", told))
    return told if told.endswith((".", "?", "!")) else f"{told}."


@contextlib.contextmanager
def _unchanged(folder: Path) -> Iterator[Path]:
    """A folder to plan in: the one of the run, or an empty one in its place where there is none."""
    if not folder.is_dir():
        if folder.exists():
            raise SaeflowError(f"{folder} is a file; expected a folder for the run.")
        with tempfile.TemporaryDirectory() as empty:
            yield Path(empty)
        return
    state = folder / STATE
    before = _entries(state)
    try:
        yield folder.resolve()
    finally:
        made = sorted(_entries(state) - before, reverse=True)
        # Planning makes folders alone, for what Snakemake would remember. A file is of a run that
        # started meanwhile, and a lock of one that goes on: then those folders are its own.
        if not any(path.is_file() for path in (*made, *state.glob("locks/*"))):
            for path in made:
                with contextlib.suppress(OSError):
                    path.rmdir()


def _entries(state: Path) -> set[Path]:
    """The folder of what Snakemake remembers, what is in it and what is in its folders."""
    return {state, *state.glob("*"), *state.glob("*/*")} if state.is_dir() else set()


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    """Snakemake changes the folder, the path of imports and variables of the environment."""
    import sys

    here, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    try:
        yield
    finally:
        os.chdir(here)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
