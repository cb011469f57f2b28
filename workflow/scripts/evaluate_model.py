"""Measure what a model can do on what the training mixture held out."""

from pathlib import Path

from saeflow.artifacts.catalog import EVALUATION, LOGIT_LENS, MIXTURE_TEXTS
from saeflow.artifacts.provenance import config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.mixture import WordProblems
from saeflow.config.reference import ReferenceSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.studies.evaluation.run import evaluate, evaluation_provenance

with job(snakemake):
    given = snakemake.params.spec
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], snakemake.input.model)
    texts = read_table(Path(snakemake.input.texts), MIXTURE_TEXTS)
    found = evaluate(
        model.to(resolve_device()),
        given["seed"],
        WordProblems.model_validate(given["problems"]),
        texts,
        ReferenceSettings.model_validate(given["sizes"]),
        latents=spec.model.thoughts.latents,
        batch_size=spec.model.batch_size,
    )
    provenance = evaluation_provenance(texts, model, config_digest(given))
    write_table(found.measures, Path(snakemake.output.evaluation), EVALUATION, provenance)
    write_table(found.lens, Path(snakemake.output.lens), LOGIT_LENS, provenance)
