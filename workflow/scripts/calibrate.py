"""Discover what follows each half-feature on held-out problems, each rate beside its chance level."""

from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.calibration import DISCOVERIES
from saeflow.artifacts.catalog import ANSWERS, COT_TOKENS, PERMUTATIONS, PROBLEMS, SUMMARY
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import CalibrateSpec
from saeflow.device import resolve_device
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.calibrate import calibrate, held_out_bank, published_rates

with job(snakemake):
    spec, given = CalibrateSpec.model_validate(snakemake.params.spec), snakemake.input
    problems = read_table(Path(given.problems), PROBLEMS)
    tokens = read_table(Path(given.tokens), COT_TOKENS)
    answers = read_table(Path(given.capture, "answers.parquet"), ANSWERS)
    features = list(read_features(Path(given.features), spec.layers))
    bank = held_out_bank(problems, tokens, answers, features, spec.held_out, spec.targets)
    nulls = [read_table(Path(path), PERMUTATIONS) for path in given.nulls]
    device = resolve_device()
    summary, discoveries = calibrate(bank, nulls, spec, run_keys(snakemake, "calibrated"), device)
    published = published_rates(problems, tokens, features, spec, run_keys(snakemake), device)
    config = config_digest(snakemake.params.spec)
    provenance = inherit(features[0].table, config=config, packages=("scipy",))
    rates = pa.concat_tables([summary, published])
    write_table(rates, Path(snakemake.output.calibrated), SUMMARY, provenance)
    write_table(discoveries, Path(snakemake.output.discoveries), DISCOVERIES, provenance)
