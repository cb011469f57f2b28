"""Hold specialists against what a model answers, and ablate them."""

from pathlib import Path

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialist_effects import ASKED, TRIED
from saeflow.artifacts.specialists import SPECIALIST_FEATURES, SPECIALIST_TEXTS
from saeflow.artifacts.tables import read_table
from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.datasets.texts.table import table_to_texts
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.specialists.pooled import open_pooled
from saeflow.studies.specialists.texts import read_texts
from saeflow.studies.specialists.trying import PACKAGES, Subject, try_or_share
from saeflow.unit_jobs import open_units

with job(snakemake):
    given, wanted, names = snakemake.params.spec, snakemake.input, snakemake.wildcards
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    device, features = resolve_device(), read_table(Path(wanted.features), SPECIALIST_FEATURES)
    asked = [read_table(Path(path), kind) for path, kind in zip(wanted.asked, ASKED, strict=True)]
    units = open_units(snakemake, inherit(features, config=config_digest(given), packages=PACKAGES))
    tried = try_or_share(
        Subject(model.to(device), open_bank(Path(wanted.bank)).to(device), spec.model.batch_size),
        read_texts(read_table(Path(wanted.texts), SPECIALIST_TEXTS)),
        table_to_texts(read_table(Path(wanted.mixture), MIXTURE_TEXTS)),
        asked,
        open_pooled(Path(wanted.pooled), Path(wanted.lengths)),
        features,
        SpecialistsCalibrated.model_validate(given["calibrated"]),
        {"dictionary": names.dictionary, "seed": int(names.seed)},
        units,
    )
    units.finish(tried, TRIED, snakemake.output)
