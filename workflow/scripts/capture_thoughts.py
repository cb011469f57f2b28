"""Let a model think about every problem and keep what each site carries."""

from pathlib import Path

from saeflow.artifacts.captures import capture_all
from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.capture import capture_chunk
from saeflow.models.loading import load_from_spec, thinking

with job(snakemake):
    set_threads(snakemake.params.spec["threads"])
    device = resolve_device()
    spec, loaded = load_from_spec(snakemake.params.spec, snakemake.input.model)
    model = thinking(loaded).to(device)
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    provenance = inherit(
        problems,
        config=config_digest(snakemake.params.spec),
        model_revision=model.revision,
        packages=("torch", "transformers"),
    )
    capture_all(
        problems,
        Path(snakemake.output.capture),
        lambda questions: capture_chunk(model, questions, spec.model),
        fingerprint=f"{snakemake.params.code} {device.type} {provenance.metadata()}",
        provenance=provenance,
    )
