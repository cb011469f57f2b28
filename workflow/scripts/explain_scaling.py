"""Explain features of a model's main wide SAE, and score what is said on other documents."""

from pathlib import Path

from saeflow.artifacts.batches import TableGroups
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.scaling_examples import SCALING_FEATURES
from saeflow.artifacts.scaling_explanations import EXPLANATION_ARTIFACTS
from saeflow.artifacts.scaling_search import SEARCH
from saeflow.artifacts.tables import read_table, write_table
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.scaling.corpus import unread_documents
from saeflow.studies.scaling.explained import explain_bank, load_tellers, located_settings
from saeflow.studies.scaling.reading import WideRun
from saeflow.studies.scaling.searched import first_found

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    files = {"explainer": wanted.explainer, "scorer": wanted.scorer}
    folders = {name: Path(some[0]).parent if some else None for name, some in files.items()}
    settings = located_settings(given["explanations"], folders)
    spec, model = load_from_spec(given["model"], wanted.model)
    known = read_table(Path(wanted.features), SCALING_FEATURES)
    explainer, scorer = load_tellers(settings, resolve_device(), *folders.values())
    examples, tables = explain_bank(
        model.to(resolve_device()),
        WideRun(**given["run"], bank=open_bank(Path(wanted.bank))),
        lambda: unread_documents(TableGroups(Path(wanted.corpus), TEXTS)),
        known,
        settings,
        features=first_found([read_table(Path(path), SEARCH) for path in wanted.search]),
        explainer=explainer,
        scorer=scorer,
        batch_size=spec.model.batch_size,
    )
    provenance = inherit(known, config=config_digest(given), packages=("torch", "transformers"))
    written = zip([examples, *tables], EXPLANATION_ARTIFACTS, snakemake.output, strict=True)
    for found, kind, path in written:
        write_table(found, Path(path), kind, provenance)
