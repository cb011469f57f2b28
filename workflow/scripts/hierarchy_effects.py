"""Turn the trials of a bank into effects beside their controls."""

from pathlib import Path

from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.hierarchy import EFFECTS, HIERARCHY, SCREEN, TRIALS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.hierarchy import CausalSettings, SpecialistTests
from saeflow.datasets.balanced import whole_stories
from saeflow.datasets.selection import held_out_numbers
from saeflow.jobs import job, run_keys
from saeflow.studies.hierarchy.causal import causal_tables

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    problems, balanced = (read_table(Path(path), PROBLEMS) for path in given.problems)
    causal = CausalSettings.model_validate(spec["causal"])
    stories = whole_stories(balanced["problem_id"].to_pylist(), causal.stories)
    swapped = (
        {} if spec["sets_only"] else {spec["balanced"]: balanced["problem"].to_numpy()[stories]}
    )
    trials = read_table(Path(given.trials), TRIALS)
    found = causal_tables(
        trials,
        read_table(Path(given.screening), SCREEN),
        read_table(Path(given.tokens), COT_TOKENS),
        read_features(Path(given.features), "all"),
        held_out_numbers(problems, spec["held_out"]),
        swapped,
        causal,
        SpecialistTests.model_validate(spec["specialists"]),
        run_keys(snakemake, "calibrated"),
    )
    provenance = inherit(trials, config=config_digest(spec), packages=("scipy",))
    artifacts = (EFFECTS, SCREEN, HIERARCHY)
    for table, artifact, path in zip(found, artifacts, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
