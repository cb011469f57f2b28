"""The manifest of a run: its tables and its page in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.run import RUN_FOLDER, RUN_TABLES
from saeflow.artifacts.tables import write_table
from saeflow.config.root import Config
from saeflow.manifest.environment import environment_rows
from saeflow.manifest.files import described_files
from saeflow.manifest.jobs import measured_jobs, rule_totals
from saeflow.manifest.rules import Makers
from saeflow.manifest.sources import configuration_rows, source_rows
from saeflow.report.run import fill_run_page

STARTED = Path(".snakemake") / "saeflow-owner"
"""Written when a run starts (`saeflow.runlock.record_owner`)."""


@dataclass(frozen=True)
class Run:
    """What a manifest is made from.

    Attributes
    ----------
    root : Path
        The repository.
    folder : Path
        Folder of the run.
    config : Config
        The validated configuration.
    rules : sequence
        Snakemake's rules.
    about : mapping of str to str
        What is known of the run: how it ended, in how many seconds, on how many cores.
    """

    root: Path
    folder: Path
    config: Config
    rules: Sequence[Any]
    about: Mapping[str, str]


def write_manifest(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Write the tables below `saeflow.artifacts.run.RUN_FOLDER`, and the page where there is a report.

    Parameters
    ----------
    run : Run
        What to tell of.

    Returns
    -------
    dict of str to list of dict
        Rows of each table, by the name of its file.
    """
    makers = Makers(run.rules)
    artifacts = described_files(run.folder, makers)
    jobs = measured_jobs(run.folder, makers, _start(run.folder))
    tables = {
        "configuration": configuration_rows(run.config),
        "environment": environment_rows(run.root, run.about),
        "sources": source_rows(run.config, artifacts),
        "artifacts": artifacts,
        "jobs": jobs,
        "rules": list(rule_totals(jobs)),
    }
    digest = config_digest(run.config.model_dump(mode="json"))
    for name, artifact in RUN_TABLES.items():
        columns = {
            column.name: [row[column.name] for row in tables[name]] for column in artifact.columns
        }
        path = run.folder / RUN_FOLDER / f"{name}.parquet"
        write_table(columns, path, artifact, Provenance(digest))
    fill_run_page(
        run.root / "workflow" / "report", run.folder / "results" / "report", tables, digest
    )
    return tables


def _start(folder: Path) -> float | None:
    try:
        return (folder / STARTED).stat().st_mtime
    except OSError:
        return None
