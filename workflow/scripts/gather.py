"""Gather the parts of a public table."""

from pathlib import Path

from saeflow.artifacts.catalog import ARTIFACTS
from saeflow.artifacts.tables import gather_tables
from saeflow.jobs import job

with job(snakemake):
    parts = [Path(part) for part in snakemake.input.parts]
    gather_tables(parts, Path(snakemake.output.table), ARTIFACTS[snakemake.wildcards.table])
