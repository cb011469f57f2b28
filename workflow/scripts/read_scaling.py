"""Read a corpus with the wide SAEs of one model: metrics, examples, tokens, neighbours, a map."""

from pathlib import Path

from saeflow.artifacts.batches import TableGroups
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.scaling_examples import SCALING_READING
from saeflow.artifacts.scaling_search import SEARCH
from saeflow.artifacts.tables import check_schema, read_table, write_table
from saeflow.config.scaling_reading import ReadingSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.scaling.corpus import corpus_documents, document_cutter
from saeflow.studies.scaling.reading import WideRun
from saeflow.studies.scaling.reading_tables import read_wide
from saeflow.studies.scaling.searched import first_found

with job(snakemake):
    given, wanted, corpus = snakemake.params.spec, snakemake.input, Path(snakemake.input.corpus)
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    texts, cut = TableGroups(corpus, TEXTS), document_cutter(model, given["positions"])
    runs = zip(given["runs"], wanted.banks, strict=True)
    found = read_wide(
        model.to(resolve_device()),
        [WideRun(**run, bank=open_bank(Path(path))) for run, path in runs],
        lambda: corpus_documents(texts, cut=cut),
        ReadingSettings.model_validate(given["reading"]),
        features=first_found([read_table(Path(path), SEARCH) for path in wanted.search]),
        batch_size=spec.model.batch_size,
    )
    revision, packages = model.revision, ("torch", "transformers", "scipy", "scikit-learn")
    made = {"config": config_digest(given), "model_revision": revision, "packages": packages}
    provenance = inherit(check_schema(corpus, TEXTS), **made)
    for table, artifact, path in zip(found, SCALING_READING, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
