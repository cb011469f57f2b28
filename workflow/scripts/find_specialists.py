"""Find the specialists of a bank, and say what its features make of forms, topics and pairs."""

from pathlib import Path

from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialists import BANK_TABLES, SPECIALIST_TEXTS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.specialists import DiscoverySettings, SpecialistsCalibrated
from saeflow.device import set_threads
from saeflow.jobs import job
from saeflow.studies.specialists.pooled import open_pooled
from saeflow.studies.specialists.summary import analyse_bank
from saeflow.studies.specialists.texts import read_texts

with job(snakemake):
    given, wanted, names = snakemake.params.spec, snakemake.input, snakemake.wildcards
    set_threads(given["threads"])
    pooled = open_pooled(Path(wanted.pooled), Path(wanted.lengths))
    found = analyse_bank(
        read_texts(read_table(Path(wanted.texts), SPECIALIST_TEXTS)),
        pooled,
        DiscoverySettings.model_validate(given["published"]),
        SpecialistsCalibrated.model_validate(given["calibrated"]),
        {"dictionary": names.dictionary, "seed": int(names.seed)},
    )
    provenance = inherit(
        pooled.table, config=config_digest(given), packages=("numpy", "scipy", "statsmodels")
    )
    for table, artifact, path in zip(found, BANK_TABLES, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
