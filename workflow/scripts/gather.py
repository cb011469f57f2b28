"""Gather the parts of public tables."""

from pathlib import Path

from saeflow.artifacts.catalog import ARTIFACTS
from saeflow.artifacts.tables import gather_tables
from saeflow.jobs import job

with job(snakemake):
    for path, spec in zip(snakemake.output, snakemake.params.spec, strict=True):
        parts = [Path(part) for part in spec["parts"]]
        gather_tables(parts, Path(path), ARTIFACTS[spec["artifact"]])
