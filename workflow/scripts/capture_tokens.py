"""Let a model read every text and keep what each token carries at each hook that SAEs read."""

from pathlib import Path

from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table
from saeflow.artifacts.token_captures import capture_texts
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.models.token_capture import capture_tokens

with job(snakemake):
    read = snakemake.params.spec
    set_threads(read["model"]["threads"])
    device = resolve_device()
    spec, model = load_from_spec(read["model"], snakemake.input.model)
    model.to(device)
    texts = read_table(Path(snakemake.input.texts), TEXTS)
    provenance = inherit(
        texts,
        config=config_digest(read),
        model_revision=model.revision,
        packages=("torch", "transformers"),
    )
    capture_texts(
        texts,
        Path(snakemake.output.capture),
        lambda rows: capture_tokens(model, rows, spec.model, read["hooks"]),
        fingerprint=f"{snakemake.params.code} {device.type} {provenance.metadata()}",
        provenance=provenance,
    )
