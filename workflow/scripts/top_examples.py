"""Find the problems on which each labelled feature fires hardest."""

from pathlib import Path

from saeflow.artifacts.catalog import EXAMPLES, LABELS, PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.jobs import job
from saeflow.studies.gsm8k.examples import example_table

with job(snakemake):
    spec = snakemake.params.spec
    labels = read_table(Path(snakemake.input.labels), LABELS)
    # Layers that are not analysed have no labels.
    layers = labels["layer"].unique().to_pylist()
    features = read_features(Path(snakemake.input.features), layers)
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    analysed = problems["problem"].to_numpy()[problems["analysed"].to_numpy()]
    examples = example_table(features, labels, spec["examples"], analysed)
    provenance = inherit(labels, config=config_digest(spec))
    write_table(examples, Path(snakemake.output.examples), EXAMPLES, provenance)
