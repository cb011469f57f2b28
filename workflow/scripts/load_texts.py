"""Load and split the texts of a data set."""

from pathlib import Path

from pydantic import TypeAdapter

from saeflow.artifacts.catalog import MIXTURE_TEXTS, TEXTS
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.datasets import TextSettings
from saeflow.datasets.texts.sources import load_texts
from saeflow.datasets.texts.table import table_to_texts
from saeflow.jobs import job

with job(snakemake):
    spec = snakemake.params.spec
    source = Path(snakemake.input.source[0])
    from_mixture = spec["source"] == "mixture"
    located = spec if from_mixture else {**spec, "path": str(source)}
    settings = TypeAdapter(TextSettings).validate_python(located)
    mixture = table_to_texts(read_table(source, MIXTURE_TEXTS)) if from_mixture else ()
    texts = load_texts(settings, mixture=mixture, file=source)
    provenance = Provenance(config_digest(spec), dataset_revision=texts.revision)
    write_table(texts.table, Path(snakemake.output.texts), TEXTS, provenance)
