"""Measure the study again after permuting the problems' token rows jointly."""

from pathlib import Path

from saeflow.artifacts.catalog import COT_TOKENS, PERMUTATIONS, PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import Gsm8kCriteria
from saeflow.device import resolve_device
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.association import association_inputs
from saeflow.studies.gsm8k.permutations import permutation_table

with job(snakemake):
    spec = snakemake.params.spec
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    tokens = read_table(Path(snakemake.input.tokens), COT_TOKENS)
    features = list(read_features(Path(snakemake.input.features), spec["layers"]))
    inputs = association_inputs(problems, tokens, features)
    criteria = Gsm8kCriteria.model_validate(spec["criteria"])
    table = permutation_table(*inputs, criteria, run_keys(snakemake), resolve_device())
    provenance = inherit(features[0].table, config=config_digest(spec), packages=("scipy",))
    write_table(table, Path(snakemake.output.permutations), PERMUTATIONS, provenance)
