"""Train wide SAEs of one model on a stream of its activations, or on from the last checkpoint."""

import shutil
from pathlib import Path

from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import check_schema
from saeflow.config.dictionaries import DictionarySettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import last_block, load_from_spec
from saeflow.saes.wide.streamed import Wanted, train_streamed

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    block = DictionarySettings(**given["banks"][0][2])
    last = last_block(block.hook, block.layers)
    spec, model = load_from_spec(given["model"], wanted.model, last_layer=last)
    texts, targets = Path(wanted.texts), [Path(path) for path in snakemake.output.banks]
    state = targets[0].with_name(f"{targets[0].name}.training")
    banks = train_streamed(
        model.to(resolve_device()),
        texts,
        [Wanted(name, seed, DictionarySettings(**block)) for name, seed, block in given["banks"]],
        batch_size=spec.model.batch_size,
        state=state,
        checkpoint_minutes=float(snakemake.resources.checkpoint_minutes),
        code=snakemake.params.code,
    )
    made = {"model_revision": model.revision, "packages": ("torch", "transformers", "sae-lens")}
    for bank, target, block in zip(banks, targets, given["banks"], strict=True):
        provenance = inherit(
            check_schema(texts, TEXTS), config=config_digest(block), seed=bank.wanted.seed, **made
        )
        with atomic_folder(target) as folder:
            bank.write(folder, provenance)
    shutil.rmtree(state)
