"""Count and divide, each number beside what permuted tokens give; find where features fire hardest."""

from pathlib import Path

from saeflow.artifacts.catalog import EXAMPLES, LABELS, PERMUTATIONS, PROBLEMS, SUMMARY, TESTED
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import LabelSettings
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.examples import example_table
from saeflow.studies.gsm8k.summary import measure, outcome_from_tables, summary_table

with job(snakemake):
    rates, count = snakemake.params.spec["rates"], snakemake.params.spec["examples"]
    tested = read_table(Path(snakemake.input.tested), TESTED)
    labels = read_table(Path(snakemake.input.labels), LABELS)
    permuted = read_table(Path(snakemake.input.permutations), PERMUTATIONS)
    measured = measure(
        outcome_from_tables(tested, labels), LabelSettings.model_validate(rates["labels"])
    )
    drawn = rates["permutations"]["count"]
    summary = summary_table(measured, permuted, run_keys(snakemake), drawn)
    # Layers that are not analysed have no labels.
    layers = labels["layer"].unique().to_pylist()
    features = read_features(Path(snakemake.input.features), layers)
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    analysed = problems["problem"].to_numpy()[problems["analysed"].to_numpy()]
    examples = example_table(features, labels, count, analysed)
    # Each table tells of the settings that decide it.
    counted = inherit(tested, config=config_digest(rates))
    chosen = inherit(labels, config=config_digest({"examples": count}))
    write_table(summary, Path(snakemake.output.summary), SUMMARY, counted)
    write_table(examples, Path(snakemake.output.examples), EXAMPLES, chosen)
