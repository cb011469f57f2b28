"""Train SAEs of every size at the same relative depths, and measure each beside chance."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.calibration import CAPACITY
from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_schema, read_table, read_tables, write_table
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.shards import own_pieces, shard_files, table_target
from saeflow.studies.gsm8k.capacity import GridCriteria, capacity_table, grid_sizes, join_sizes

with job(snakemake):
    spec = snakemake.params.spec
    criteria = GridCriteria.from_spec(spec)
    inputs = (snakemake.input.problems, snakemake.input.tokens, snakemake.input.capture)
    if shards := shard_files(snakemake):
        table = join_sizes(read_tables(shards, CAPACITY))
    else:
        set_threads(spec["threads"])
        names = {"model": snakemake.wildcards.model, "device": resolve_device()}
        sizes = grid_sizes(criteria.grid)
        names["sizes"] = [sizes[number] for number in own_pieces(snakemake, len(sizes))]
        tables = []
        for dataset, problems, tokens, capture in zip(spec["datasets"], *inputs, strict=True):
            source = read_table(Path(problems), PROBLEMS), read_table(Path(tokens), COT_TOKENS)
            own = {"dataset": dataset, **names}
            tables.append(capacity_table(Path(capture), *source, criteria, **own))
        table = pa.concat_tables(tables)
    sources = [read_schema(Path(capture) / "answers.parquet")[1] for capture in inputs[2]]
    found = combine(*sources, config=config_digest(spec))
    packages = tuple(sorted({*found.packages, "scipy", "torch"}))
    provenance = replace(found, seed=criteria.grid.seed, packages=packages)
    write_table(table, table_target(snakemake, "capacity"), CAPACITY, provenance)
