"""Read every text of the study of specialists and pool the features of its tokens."""

from dataclasses import replace
from pathlib import Path

from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialists import POOLED, SPECIALIST_TEXTS, TEXT_LENGTHS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.specialists import PoolSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import last_block, load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.specialists.pool import pool_features
from saeflow.studies.specialists.texts import read_texts

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    bank = open_bank(Path(wanted.bank)).to(resolve_device())
    last = last_block(bank.recipe.hook, (site.layer for site in bank.sites))
    spec, model = load_from_spec(given["model"], wanted.model, last_layer=last)
    texts = read_table(Path(wanted.texts), SPECIALIST_TEXTS)
    pooled = pool_features(
        model,
        bank,
        read_texts(texts).contents,
        {mode: PoolSettings.model_validate(each) for mode, each in given["pooling"].items()},
        batch_size=spec.model.batch_size,
    )
    provenance = inherit(
        texts,
        config=config_digest(given),
        seed=int(snakemake.wildcards.seed),
        model_revision=model.revision,
        packages=("torch", "transformers"),
    )
    shaped = replace(provenance, extra={**provenance.extra, **pooled.shape.metadata()})
    write_table(pooled.table, Path(snakemake.output.pooled), POOLED, shaped)
    write_table(pooled.lengths, Path(snakemake.output.lengths), TEXT_LENGTHS, provenance)
