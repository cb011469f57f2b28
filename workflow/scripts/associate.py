"""Test every feature against every token in the published way."""

from pathlib import Path

from saeflow.artifacts.catalog import ASSOCIATION, COT_TOKENS, PROBLEMS, TESTED
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import AssociationSettings
from saeflow.device import resolve_device
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.association import associate, association_inputs

with job(snakemake):
    spec = snakemake.params.spec
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    tokens = read_table(Path(snakemake.input.tokens), COT_TOKENS)
    features = list(read_features(Path(snakemake.input.features), spec["layers"]))
    inputs = association_inputs(problems, tokens, features)
    criteria = AssociationSettings.model_validate(spec["association"])
    tested, pairs = associate(*inputs, criteria, run_keys(snakemake), resolve_device())
    provenance = inherit(features[0].table, config=config_digest(spec), packages=("scipy",))
    write_table(tested, Path(snakemake.output.tested), TESTED, provenance)
    write_table(pairs, Path(snakemake.output.association), ASSOCIATION, provenance)
