"""Let a model think about every problem, or those of a shard, and keep what each site carries."""

from pathlib import Path

from saeflow.artifacts.capture_shards import gather_chunks
from saeflow.artifacts.captures import CHUNK, capture_all
from saeflow.artifacts.catalog import ANSWERS, PROBLEMS
from saeflow.artifacts.chunks import count_chunks
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.capture import capture_chunk
from saeflow.models.loading import load_from_spec, thinking
from saeflow.shards import capture_shard, shard_files

with job(snakemake):
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    n_chunks = count_chunks(len(problems), CHUNK)
    target, shard = capture_shard(snakemake, n_chunks)
    if shards := shard_files(snakemake):
        gather_chunks(shards, target, ANSWERS, n_chunks)
    elif shard is None or shard.chunks:
        set_threads(snakemake.params.spec["threads"])
        device = resolve_device()
        spec, loaded = load_from_spec(snakemake.params.spec, snakemake.input.model)
        model = thinking(loaded).to(device)
        made = {"model_revision": model.revision, "packages": ("torch", "transformers")}
        provenance = inherit(problems, config=config_digest(snakemake.params.spec), **made)
        capture_all(
            problems,
            target,
            lambda questions: capture_chunk(model, questions, spec.model),
            fingerprint=f"{snakemake.params.code} {device.type} {provenance.metadata()}",
            provenance=provenance,
            shard=shard,
        )
