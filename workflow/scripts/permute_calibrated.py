"""Test half-features again after permuting the held-out problems' labels jointly."""

from pathlib import Path

from saeflow.artifacts.catalog import ANSWERS, COT_TOKENS, PERMUTATIONS, PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_schema, read_table, write_table
from saeflow.config.runs import ExactSettings
from saeflow.device import resolve_device
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.calibrate import held_out_bank
from saeflow.studies.gsm8k.calibrated_rates import calibrated_permutations

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    problems = read_table(Path(given.problems), PROBLEMS)
    tokens = read_table(Path(given.tokens), COT_TOKENS)
    answers = read_table(Path(given.capture, "answers.parquet"), ANSWERS)
    features = read_features(Path(given.features), spec["layers"])
    bank = held_out_bank(problems, tokens, answers, features, spec["held_out"], spec["targets"])
    test = bank.test(ExactSettings.model_validate(spec["association"]), resolve_device())
    numbers = range(*spec["permutations"]["numbers"])
    run = run_keys(snakemake, "calibrated")
    table = calibrated_permutations(test, numbers, spec["permutations"]["seed"], run)
    source = read_schema(next(Path(given.features).glob("*.parquet")))[1]
    provenance = inherit(source, config=config_digest(spec), packages=("scipy",))
    write_table(table, Path(snakemake.output.nulls), PERMUTATIONS, provenance)
