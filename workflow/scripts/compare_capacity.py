"""Subtract models from each other where their SAEs are equally sparse, or explain equally much."""

from pathlib import Path

from saeflow.artifacts.calibration import CAPACITY, MATCHED
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.jobs import job
from saeflow.studies.compare.capacity import matched_table

with job(snakemake):
    spec = snakemake.params.spec
    tables = [read_table(Path(path), CAPACITY) for path in snakemake.input.capacity]
    matched = matched_table(dict(zip(spec["models"], tables, strict=True)))
    provenance = combine(*tables, config=config_digest(spec))
    write_table(matched, Path(snakemake.output.matched), MATCHED, provenance)
