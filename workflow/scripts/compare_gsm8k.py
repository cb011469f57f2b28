"""Put the study's rates of all models side by side, each with its chance level."""

from pathlib import Path

from saeflow.artifacts.catalog import COMPARISON, PERMUTATIONS, SUMMARY
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.jobs import job
from saeflow.studies.compare.gsm8k import comparison_table

with job(snakemake):
    spec = snakemake.params.spec
    summaries = [read_table(Path(path), SUMMARY) for path in snakemake.input.summaries]
    permuted = [read_table(Path(path), PERMUTATIONS) for path in snakemake.input.permutations]
    table = comparison_table(
        dict(zip(spec["models"], summaries, strict=True)),
        zip(spec["permuted"], permuted, strict=True),
        spec["dictionaries"],
    )
    provenance = combine(*summaries, *permuted, config=config_digest(spec))
    write_table(table, Path(snakemake.output.comparison), COMPARISON, provenance)
