"""Measure what a model can do on what the training mixture held out."""

from pathlib import Path

from saeflow.artifacts.catalog import EVALUATION, LOGIT_LENS, MIXTURE_TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.mixture import parse_mixture
from saeflow.config.models import ModelSpec
from saeflow.config.reference import ReferenceSettings
from saeflow.datasets.texts.table import table_to_texts
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_model
from saeflow.studies.evaluation.run import evaluate

with job(snakemake):
    folder = Path(snakemake.input.model[0]).parent if snakemake.input.model else None
    given = snakemake.params.spec["model"]
    located = {**given["model"], "path": str(folder)} if folder else given["model"]
    spec = ModelSpec.model_validate({**given, "model": located})
    set_threads(spec.threads)
    model = load_model(spec.model, spec.control, folder).to(resolve_device())
    texts = read_table(Path(snakemake.input.texts), MIXTURE_TEXTS)
    found = evaluate(
        model,
        parse_mixture(snakemake.params.spec["mixture"], "the mixture"),
        table_to_texts(texts),
        ReferenceSettings.model_validate(snakemake.params.spec["sizes"]),
        latents=spec.model.thoughts.latents,
        batch_size=spec.model.batch_size,
    )
    provenance = inherit(
        texts,
        config=config_digest(snakemake.params.spec),
        model_revision=model.revision,
        packages=("torch", "transformers", "scipy"),
    )
    write_table(found.measures, Path(snakemake.output.evaluation), EVALUATION, provenance)
    write_table(found.lens, Path(snakemake.output.lens), LOGIT_LENS, provenance)
