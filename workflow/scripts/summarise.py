"""Count and divide, each number beside what permuted tokens give."""

from pathlib import Path

from saeflow.artifacts.catalog import LABELS, PERMUTATIONS, SUMMARY, TESTED
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import LabelSettings
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.summary import measure, outcome_from_tables, summary_table

with job(snakemake):
    spec = snakemake.params.spec
    tested = read_table(Path(snakemake.input.tested), TESTED)
    labels = read_table(Path(snakemake.input.labels), LABELS)
    permuted = read_table(Path(snakemake.input.permutations), PERMUTATIONS)
    outcome = outcome_from_tables(tested, labels)
    measured = measure(outcome, LabelSettings.model_validate(spec["labels"]))
    count = spec["permutations"]["count"]
    summary = summary_table(measured, permuted, run_keys(snakemake), count)
    provenance = inherit(tested, config=config_digest(spec))
    write_table(summary, Path(snakemake.output.summary), SUMMARY, provenance)
