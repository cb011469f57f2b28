"""Read a corpus with the wide SAEs of one model: metrics, examples, tokens, neighbours, a map."""

from functools import partial
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
from saeflow.studies.scaling.reading_tables import PACKAGES, ReadingState, WideRun, read_wide
from saeflow.studies.scaling.searched import first_found

with job(snakemake):
    given, wanted, made = snakemake.params.spec, snakemake.input, snakemake.output
    corpus, banks, device = Path(wanted.corpus), list(map(Path, wanted.banks)), resolve_device()
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    texts, cut = TableGroups(corpus, TEXTS), document_cutter(model, given["positions"])
    used = {"config": config_digest(given), "model_revision": model.revision}
    provenance = inherit(check_schema(corpus, TEXTS), packages=PACKAGES, **used)
    by, search = [snakemake.params.code, device.type, provenance.metadata()], wanted.search
    state = ReadingState.of(Path(made[0]), by, [corpus, *map(Path, search), *banks])
    pairs = zip(given["runs"], map(open_bank, banks), strict=True)
    runs = [WideRun(**run, bank=bank) for run, bank in pairs]
    settings = ReadingSettings.model_validate(given["reading"])
    more = {"batch_size": spec.model.batch_size, "state": state}
    more["features"] = first_found([read_table(Path(path), SEARCH) for path in search])
    documents = partial(corpus_documents, texts, cut=cut)
    found = read_wide(model.to(device), runs, documents, settings, **more)
    for table, artifact, path in zip(found, SCALING_READING, made, strict=True):
        write_table(table, Path(path), artifact, provenance)
    state.close()
