"""Test every feature against every token in the published way."""

from itertools import chain
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
    features = read_features(Path(snakemake.input.features), spec["layers"])
    # Layer by layer: the long tables take far more memory than what is kept of them.
    first = next(features)
    provenance = inherit(first.table, config=config_digest(spec), packages=("scipy",))
    inputs = association_inputs(problems, tokens, chain([first], features))
    del first
    criteria = AssociationSettings.model_validate(spec["association"])
    tested, pairs = associate(*inputs, criteria, run_keys(snakemake), resolve_device())
    write_table(tested, Path(snakemake.output.tested), TESTED, provenance)
    write_table(pairs, Path(snakemake.output.association), ASSOCIATION, provenance)
