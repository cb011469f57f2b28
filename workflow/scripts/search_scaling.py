"""Search the features of a model's main wide SAE by every set of prompts."""

from pathlib import Path

from saeflow.artifacts.batches import TableGroups
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.scaling_search import SEARCH_ARTIFACTS
from saeflow.artifacts.tables import read_schema, read_table, write_table
from saeflow.config.scaling_search import SearchSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_beside, load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.scaling.corpus import document_cutter, training_texts
from saeflow.studies.scaling.search import search_features
from saeflow.studies.scaling.searched import sets_of

with job(snakemake):
    given, wanted, corpus = snakemake.params.spec, snakemake.input, Path(snakemake.input.corpus)
    set_threads(given["model"]["threads"])
    settings = SearchSettings.model_validate(given["search"])
    model = load_from_spec(given["model"], wanted.model)[1].to(resolve_device())
    models = load_beside(model, given["controls"].values(), wanted.model)
    cut = document_cutter(model, given["positions"])
    main, *others = [open_bank(Path(path)) for path in wanted.banks]
    texts = [read_table(Path(path), TEXTS) for path in wanted.texts]
    found = search_features(
        model,
        main,
        sets_of(settings, model, files=list(map(Path, wanted.prompts)), texts=texts, cut=cut),
        settings,
        given["run"],
        controls=dict(zip(given["controls"], zip(models, others, strict=True), strict=True)),
        corpus=training_texts(TableGroups(corpus, TEXTS), settings.documents, cut=cut),
    )
    made = {"config": config_digest(given), "packages": ("torch", "transformers", "scipy")}
    provenance = inherit(read_schema(corpus)[1], model_revision=model.revision, **made)
    for table, artifact, path in zip(found, SEARCH_ARTIFACTS, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
