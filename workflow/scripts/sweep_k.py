"""Train SAEs of every k at one site, and count their specialists beside chance."""

from functools import partial
from pathlib import Path

from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.hierarchy import HIERARCHY
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_schema, read_table, read_tables, write_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.shards import own_pieces, shard_files, table_target
from saeflow.studies.hierarchy.sweep import SweepCriteria, sweep_table

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    criteria = SweepCriteria.from_spec(spec)
    if shards := shard_files(snakemake):
        table = read_tables(shards, HIERARCHY)
    else:
        set_threads(spec["threads"])
        names = snakemake.wildcards
        table = sweep_table(
            Path(given.capture),
            read_table(Path(given.problems), PROBLEMS),
            read_table(Path(given.tokens), COT_TOKENS),
            DictionarySettings.model_validate(spec["dictionary"]),
            criteria,
            {"dataset": names.dataset, "dictionary": names.dictionary, "mode": "calibrated"},
            resolve_device(),
            partial(own_pieces, snakemake),
        )
    source = read_schema(Path(given.capture) / "answers.parquet")[1]
    packages = ("scipy", "torch")
    provenance = inherit(
        source, config=config_digest(spec), seed=criteria.sweep.seed, packages=packages
    )
    write_table(table, table_target(snakemake, "sweep"), HIERARCHY, provenance)
