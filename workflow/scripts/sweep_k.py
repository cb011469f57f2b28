"""Train SAEs of every k at one site, and count their specialists beside chance."""

from pathlib import Path

from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.hierarchy import HIERARCHY
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_schema, read_table, write_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.hierarchy import HierarchyRules, SpecialistTests, SweepSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.studies.hierarchy.sweep import SweepCriteria, sweep_table

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    set_threads(spec["threads"])
    names = snakemake.wildcards
    run = {"dataset": names.dataset, "dictionary": names.dictionary, "mode": "calibrated"}
    criteria = SweepCriteria(
        SweepSettings.model_validate(spec["sweep"]),
        HierarchyRules.model_validate(spec["published"]),
        SpecialistTests.model_validate(spec["specialists"]),
    )
    table = sweep_table(
        Path(given.capture),
        read_table(Path(given.problems), PROBLEMS),
        read_table(Path(given.tokens), COT_TOKENS),
        DictionarySettings.model_validate(spec["dictionary"]),
        criteria,
        run,
        resolve_device(),
    )
    source = read_schema(Path(given.capture) / "answers.parquet")[1]
    packages = ("scipy", "torch")
    provenance = inherit(
        source, config=config_digest(spec), seed=criteria.sweep.seed, packages=packages
    )
    write_table(table, Path(snakemake.output.sweep), HIERARCHY, provenance)
