"""Test every feature against every token in the published way, and name it by what follows it."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

from saeflow.artifacts.catalog import ASSOCIATION, COT_TOKENS, LABELS, PROBLEMS, TESTED
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import AssociationSettings, LabelSettings
from saeflow.device import resolve_device
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.association import associate, association_inputs
from saeflow.studies.gsm8k.labels import label_table

with job(snakemake):
    tests, rule = snakemake.params.spec["tests"], snakemake.params.spec["labels"]
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    tokens = read_table(Path(snakemake.input.tokens), COT_TOKENS)
    features = read_features(Path(snakemake.input.features), tests["layers"])
    # Layer by layer: the long tables take far more memory than what is kept of them.
    first = next(features)
    provenance = inherit(first.table, config=config_digest(tests), packages=("scipy",))
    inputs = association_inputs(problems, tokens, chain([first], features))
    del first
    criteria = AssociationSettings.model_validate(tests["association"])
    tested, pairs = associate(*inputs, criteria, run_keys(snakemake), resolve_device())
    labels = label_table(pairs, tested, LabelSettings.model_validate(rule))
    named = replace(provenance, config=config_digest(rule))
    write_table(tested, Path(snakemake.output.tested), TESTED, provenance)
    write_table(pairs, Path(snakemake.output.association), ASSOCIATION, provenance)
    write_table(labels, Path(snakemake.output.labels), LABELS, named)
