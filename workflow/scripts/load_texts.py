"""Load and split the texts of a data set."""

from pathlib import Path

from pydantic import TypeAdapter

from saeflow.artifacts.batches import write_batches
from saeflow.artifacts.catalog import MIXTURE_TEXTS, TEXTS
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.tables import read_table
from saeflow.config.datasets import TextSettings
from saeflow.datasets.texts.sources import load_texts
from saeflow.datasets.texts.table import table_to_texts
from saeflow.jobs import job

with job(snakemake):
    spec = snakemake.params.spec
    files = [Path(each) for each in snakemake.input.source]
    target = Path(snakemake.output.texts)
    located = {**spec, "path": list(map(str, files))} if spec["source"] == "text_file" else spec
    settings = TypeAdapter(TextSettings).validate_python(located)
    bundled = spec["source"] == "mixture"
    mixture = table_to_texts(read_table(files[0], MIXTURE_TEXTS)) if bundled else ()
    texts = load_texts(settings, mixture=mixture, files=files, spool=target.parent)
    config = config_digest(spec)
    write_batches(
        texts.tables, target, TEXTS, lambda: Provenance(config, dataset_revision=texts.revision)
    )
