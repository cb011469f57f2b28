"""Let a model think about every problem and keep what each site carries."""

from pathlib import Path

from saeflow.artifacts.captures import capture_all
from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table
from saeflow.config.models import ModelSpec
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.capture import capture_chunk
from saeflow.models.loading import load_model

with job(snakemake):
    folder = Path(snakemake.input.model[0]).parent if snakemake.input.model else None
    given = snakemake.params.spec
    located = {**given["model"], "path": str(folder)} if folder else given["model"]
    spec = ModelSpec.model_validate({**given, "model": located})
    set_threads(spec.threads)
    device = resolve_device()
    model = load_model(spec.model, spec.control, folder).to(device)
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
