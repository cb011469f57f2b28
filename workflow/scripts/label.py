"""Name the features by the published rule."""

from pathlib import Path

from saeflow.artifacts.catalog import ASSOCIATION, LABELS, TESTED
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import LabelSettings
from saeflow.jobs import job
from saeflow.studies.gsm8k.labels import label_table

with job(snakemake):
    spec = snakemake.params.spec
    tested = read_table(Path(snakemake.input.tested), TESTED)
    pairs = read_table(Path(snakemake.input.association), ASSOCIATION)
    labels = label_table(pairs, tested, LabelSettings.model_validate(spec))
    provenance = inherit(pairs, config=config_digest(spec))
    write_table(labels, Path(snakemake.output.labels), LABELS, provenance)
