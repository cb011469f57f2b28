"""Train SAEs of every size at the same relative depths, and measure each beside chance."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.calibration import CAPACITY
from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_schema, read_table, write_table
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.studies.gsm8k.capacity import GridCriteria, capacity_table

with job(snakemake):
    spec = snakemake.params.spec
    set_threads(spec["threads"])
    criteria = GridCriteria.from_spec(spec)
    names = {"model": snakemake.wildcards.model, "device": resolve_device()}
    inputs = (snakemake.input.problems, snakemake.input.tokens, snakemake.input.capture)
    tables, sources = [], []
    for dataset, problems, tokens, capture in zip(spec["datasets"], *inputs, strict=True):
        source = read_table(Path(problems), PROBLEMS), read_table(Path(tokens), COT_TOKENS)
        tables.append(capacity_table(Path(capture), *source, criteria, dataset=dataset, **names))
        sources.append(read_schema(Path(capture) / "answers.parquet")[1])
    found = combine(*sources, config=config_digest(spec))
    packages = tuple(sorted({*found.packages, "scipy", "torch"}))
    provenance = replace(found, seed=criteria.grid.seed, packages=packages)
    write_table(pa.concat_tables(tables), Path(snakemake.output.capacity), CAPACITY, provenance)
