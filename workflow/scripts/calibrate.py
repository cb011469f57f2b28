"""Discover what follows each half-feature of banks on held-out problems, each rate beside chance."""

from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.calibration import DISCOVERIES
from saeflow.artifacts.catalog import ANSWERS, COT_TOKENS, PERMUTATIONS, PROBLEMS, SUMMARY
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import CalibrateSpec
from saeflow.device import resolve_device
from saeflow.jobs import job
from saeflow.studies.gsm8k.calibrate import calibrate, held_out_bank, published_rates

with job(snakemake):
    shared, given, device = snakemake.params.spec, snakemake.input, resolve_device()
    problems = read_table(Path(given.problems), PROBLEMS)
    tokens = read_table(Path(given.tokens), COT_TOKENS)
    answers = read_table(Path(given.capture, "answers.parquet"), ANSWERS)
    nulls = [read_table(Path(path), PERMUTATIONS) for path in given.nulls]
    targets = zip(snakemake.output.calibrated, snakemake.output.discoveries, strict=True)
    banks = zip(shared["banks"].items(), given.features, targets, strict=True)
    for (name, block), source, (rates_path, discoveries_path) in banks:
        spec = CalibrateSpec.model_validate(block)
        run = {"dataset": shared["dataset"], "dictionary": name, "seed": shared["seed"]}
        published, calibrated = {**run, "mode": "published"}, {**run, "mode": "calibrated"}
        features = list(read_features(Path(source), spec.layers))
        bank = held_out_bank(problems, tokens, answers, features, spec.held_out, spec.targets)
        summary, discoveries = calibrate(bank, nulls, spec, calibrated, device)
        beside = published_rates(problems, tokens, features, spec, published, device)
        provenance = inherit(features[0].table, config=config_digest(block), packages=("scipy",))
        rates = pa.concat_tables([summary, beside])
        write_table(rates, Path(rates_path), SUMMARY, provenance)
        write_table(discoveries, Path(discoveries_path), DISCOVERIES, provenance)
