"""Read every text of the study of specialists and pool the features of its tokens."""

from dataclasses import replace
from pathlib import Path

from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialists import POOLED, SPECIALIST_TEXTS, TEXT_LENGTHS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.specialists import PoolSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.specialists.pool import pool_features
from saeflow.studies.specialists.texts import read_texts

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    device = resolve_device()
    texts = read_table(Path(wanted.texts), SPECIALIST_TEXTS)
    pooled = pool_features(
        model.to(device),
        open_bank(Path(wanted.bank)).to(device),
        read_texts(texts).contents,
        {mode: PoolSettings.model_validate(each) for mode, each in given["pooling"].items()},
        batch_size=spec.model.batch_size,
    )
    packages = ("torch", "transformers")
    provenance = inherit(
        texts,
        config=config_digest(given),
        seed=int(snakemake.wildcards.seed),
        model_revision=model.revision,
        packages=packages,
    )
    shaped = replace(provenance, extra={**provenance.extra, **pooled.shape.metadata()})
    write_table(pooled.table, Path(snakemake.output.pooled), POOLED, shaped)
    write_table(pooled.lengths, Path(snakemake.output.lengths), TEXT_LENGTHS, provenance)
