"""Find a bank's specialists and modules on held-out problems, and levels on balanced ones."""

from pathlib import Path

from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.hierarchy import COACTIVATION, HIERARCHY, LEVELS, MODULES, SPECIALISTS
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.hierarchy import HierarchyCalibrated
from saeflow.datasets.balanced import story_numbers
from saeflow.datasets.selection import held_out_numbers
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job, run_keys
from saeflow.studies.hierarchy.calibrated import Problems, calibrated_hierarchy

ARTIFACTS = (SPECIALISTS, COACTIVATION, MODULES, LEVELS, HIERARCHY)

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    set_threads(spec["threads"])
    parts, sources = [], []
    for place, held_out in enumerate((spec["held_out"], "analysed")):
        problems = read_table(Path(given.problems[place]), PROBLEMS)
        tokens = read_table(Path(given.tokens[place]), COT_TOKENS)
        features = list(read_features(Path(given.features[place]), "all"))
        numbers = held_out_numbers(problems, held_out)
        stories = story_numbers(problems["problem_id"].to_pylist()) if place else None
        parts.append(Problems(features, tokens, numbers, stories))
        sources.append(features[0].table)
    settings = HierarchyCalibrated.model_validate(spec["calibrated"])
    run = run_keys(snakemake, "calibrated")
    found = calibrated_hierarchy(*parts, settings, run, resolve_device())
    provenance = combine(*sources, config=config_digest(spec))
    for table, artifact, path in zip(found, ARTIFACTS, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
