"""Evaluate a newly trained reference model, write its card, and put it where runs read it."""

from pathlib import Path

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.files import write_text
from saeflow.artifacts.tables import read_table
from saeflow.config.mixture import parse_mixture
from saeflow.config.reference import ReferenceSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.report.install import install_reference

with job(snakemake):
    spec = snakemake.params.spec
    set_threads(spec["threads"])
    target = Path(spec["folder"]) / snakemake.wildcards.reference
    install_reference(
        Path(snakemake.input.model),
        target,
        parse_mixture(spec["mixture"], "the mixture"),
        read_table(Path(snakemake.input.texts), MIXTURE_TEXTS),
        ReferenceSettings.model_validate(spec["sizes"]),
        resolve_device(),
    )
    write_text(Path(snakemake.output.done), f"{target}\n")
