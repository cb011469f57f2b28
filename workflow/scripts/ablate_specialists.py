"""Do a shard's ablations of specialists; the job behind try_specialists makes tables of all shards'."""

from pathlib import Path

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialists import SPECIALIST_FEATURES, SPECIALIST_TEXTS
from saeflow.artifacts.tables import read_table
from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.datasets.texts.table import table_to_texts
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.specialists.texts import read_texts
from saeflow.studies.specialists.trying import PACKAGES, Subject, ablate_shard
from saeflow.unit_jobs import open_units, shard_portion

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    bank = open_bank(Path(wanted.bank)).to(device := resolve_device())
    features = read_table(Path(wanted.features), SPECIALIST_FEATURES)
    units = open_units(snakemake, inherit(features, config=config_digest(given), packages=PACKAGES))
    ablate_shard(
        Subject(model.to(device), bank, spec.model.batch_size),
        read_texts(read_table(Path(wanted.texts), SPECIALIST_TEXTS)),
        table_to_texts(read_table(Path(wanted.mixture), MIXTURE_TEXTS)),
        features,
        SpecialistsCalibrated.model_validate(given["calibrated"]),
        units,
        shard_portion(snakemake),
    )
    units.close()
