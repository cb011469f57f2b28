"""Train wide SAEs of one model on a stream of its activations, or on from the last checkpoint."""

import shutil
from pathlib import Path

from saeflow.artifacts.files import link_folder
from saeflow.config.dictionaries import DictionarySettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import last_block, load_from_spec
from saeflow.saes.wide.streamed import Wanted, train_streamed, training_state, write_streamed
from saeflow.shards import bank_of_shards, bank_targets, own_pieces, shard_files

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    own = own_pieces(snakemake, len(given["banks"]))
    banks, targets, blocks = *bank_targets(snakemake, own), [given["banks"][each] for each in own]
    if shards := shard_files(snakemake):
        for number, target in enumerate(targets):
            link_folder(bank_of_shards(shards, number), target)
    else:
        set_threads(given["model"]["threads"])
        block = DictionarySettings(**blocks[0][2])
        last = last_block(block.hook, block.layers)
        spec, model = load_from_spec(given["model"], wanted.model, last_layer=last)
        trained = train_streamed(
            model.to(resolve_device()),
            Path(wanted.texts),
            [Wanted(name, seed, DictionarySettings(**block)) for name, seed, block in blocks],
            batch_size=spec.model.batch_size,
            state=training_state(banks[0]),
            checkpoint_minutes=float(snakemake.resources.checkpoint_minutes),
            code=snakemake.params.code,
        )
        write_streamed(trained, targets, blocks, Path(wanted.texts), model.revision)
    for bank in banks:
        shutil.rmtree(training_state(bank), ignore_errors=True)
