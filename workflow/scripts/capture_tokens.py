"""Let a model read every text, or those of a shard, and keep what each token carries at each hook."""

from pathlib import Path

from saeflow.artifacts.capture_shards import gather_chunks
from saeflow.artifacts.catalog import TEXT_TOKENS, TEXTS
from saeflow.artifacts.chunks import count_chunks
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table
from saeflow.artifacts.token_captures import CHUNK, capture_texts
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.models.token_capture import capture_tokens
from saeflow.shards import capture_shard, shard_files

with job(snakemake):
    read = snakemake.params.spec
    texts = read_table(Path(snakemake.input.texts), TEXTS)
    n_chunks = count_chunks(len(texts), CHUNK)
    target, shard = capture_shard(snakemake, n_chunks)
    if shards := shard_files(snakemake):
        gather_chunks(shards, target, TEXT_TOKENS, n_chunks)
    elif shard is None or shard.chunks:
        set_threads(read["model"]["threads"])
        device = resolve_device()
        spec, model = load_from_spec(read["model"], snakemake.input.model)
        model.to(device)
        made = {"model_revision": model.revision, "packages": ("torch", "transformers")}
        provenance = inherit(texts, config=config_digest(read), **made)
        capture_texts(
            texts,
            target,
            lambda rows: capture_tokens(model, rows, spec.model, read["hooks"]),
            fingerprint=f"{snakemake.params.code} {device.type} {provenance.metadata()}",
            provenance=provenance,
            shard=shard,
        )
