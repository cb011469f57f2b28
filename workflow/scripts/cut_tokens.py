"""Cut the calculations of the problems into tokens."""

from pathlib import Path

from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.provenance import inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.datasets.sources import cot_token_table
from saeflow.jobs import job

with job(snakemake):
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    tokens = cot_token_table(problems)
    write_table(tokens, Path(snakemake.output.tokens), COT_TOKENS, inherit(problems))
