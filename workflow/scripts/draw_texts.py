"""Draw the texts of the training mixture, with the truth as their right continuations."""

from pathlib import Path

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.tables import write_table
from saeflow.config.mixture import Parts
from saeflow.datasets.mixture import mixture_texts
from saeflow.datasets.texts.table import texts_to_table
from saeflow.jobs import job

with job(snakemake):
    seed, parts = snakemake.params.spec["seed"], snakemake.params.spec["parts"]
    table = texts_to_table(mixture_texts(seed, Parts.model_validate(parts), buggy=False))
    provenance = Provenance(config_digest(snakemake.params.spec), seed=seed)
    write_table(table, Path(snakemake.output.texts), MIXTURE_TEXTS, provenance)
