"""Load the texts of the study of specialists: contents in several forms, and plain categories."""

from pathlib import Path

from pydantic import TypeAdapter

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.specialists import SPECIALIST_TEXTS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.specialists import MatchedTexts
from saeflow.datasets.matched.sources import load_pairs
from saeflow.datasets.texts.table import table_to_texts
from saeflow.jobs import job
from saeflow.studies.specialists.texts import StudyTexts, texts_table

with job(snakemake):
    spec = snakemake.params.spec
    files = [Path(path) for path in snakemake.input.source]
    bundled = spec["source"] == "bundled"
    located = {} if bundled else dict(zip(("pairs", "categories"), map(str, files), strict=False))
    settings = TypeAdapter(MatchedTexts).validate_python({**spec, **located})
    mixture = table_to_texts(read_table(files[0], MIXTURE_TEXTS)) if bundled else ()
    found = load_pairs(settings, mixture=mixture, files=files)
    provenance = Provenance(config_digest(spec), dataset_revision=found.revision)
    texts = texts_table(StudyTexts(found.pairs, found.categories))
    write_table(texts, Path(snakemake.output.texts), SPECIALIST_TEXTS, provenance)
