"""Explain features of a model's main wide SAE, and score what is said on other documents."""

from pathlib import Path

from saeflow.artifacts.batches import TableGroups
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.scaling_examples import SCALING_FEATURES
from saeflow.artifacts.scaling_explanations import EXPLANATION_ARTIFACTS as ARTIFACTS
from saeflow.artifacts.scaling_search import SEARCH
from saeflow.artifacts.tables import read_table, write_table
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.scaling.corpus import document_cutter, unread_documents
from saeflow.studies.scaling.explained import explain_bank, load_tellers
from saeflow.studies.scaling.reading import WideRun
from saeflow.studies.scaling.searched import EXPLAINED, first_found

with job(snakemake):
    given, wanted, device = snakemake.params.spec, snakemake.input, resolve_device()
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    known = read_table(Path(wanted.features), SCALING_FEATURES)
    cut = document_cutter(model, given["positions"])
    settings, tellers = load_tellers(given["explanations"], device, vars(wanted))
    found = explain_bank(
        model.to(device),
        WideRun(**given["run"], bank=open_bank(Path(wanted.bank))),
        lambda: unread_documents(TableGroups(Path(wanted.corpus), TEXTS), cut=cut),
        known,
        settings,
        features=first_found([read_table(Path(each), SEARCH) for each in wanted.search], EXPLAINED),
        **tellers,
        batch_size=spec.model.batch_size,
    )
    provenance = inherit(known, config=config_digest(given), packages=("torch", "transformers"))
    for table, kind, path in zip(found.written, ARTIFACTS, snakemake.output, strict=True):
        write_table(table, Path(path), kind, provenance)
