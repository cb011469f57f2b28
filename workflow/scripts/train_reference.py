"""Train a reference model from nothing, or on from its last checkpoint."""

from pathlib import Path

from saeflow.config.mixture import parse_mixture
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.reference.run import run_training

with job(snakemake):
    spec = snakemake.params.spec
    mixture = parse_mixture(spec["mixture"], "the mixture")
    set_threads(spec["threads"])
    device = resolve_device()
    run_training(
        mixture,
        snakemake.wildcards.reference,
        Path(snakemake.output.model),
        device,
        fingerprint=f"{snakemake.params.code} {device.type} {spec}",
    )
