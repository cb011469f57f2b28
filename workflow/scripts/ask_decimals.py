"""Ask a model which of two numbers is bigger, in every format."""

from pathlib import Path

from saeflow.artifacts.decimal_bug import ALIGNMENT, DECIMAL_ANSWERS, PROMPTS
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.tables import write_table
from saeflow.config.decimal_bug import BehaviourSettings, PairSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.studies.decimal_bug.behaviour import (
    alignment_table,
    ask,
    draw_prompts,
)
from saeflow.studies.decimal_bug.records import prompts_table

with job(snakemake) as log:
    given, found = snakemake.params.spec, snakemake.output
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], snakemake.input.model)
    model.to(resolve_device())
    pairs, numbers = PairSettings.model_validate(given["pairs"]), tuple(given["numbers"])
    asked = draw_prompts(model, given["mixture_seed"], pairs, numbers)
    if asked.note:
        log.info(asked.note)
    settings = BehaviourSettings.model_validate(given["behaviour"])
    answers = ask(model, asked.prompts, settings, batch_size=spec.model.batch_size)
    provenance = Provenance(
        config_digest(given), model_revision=model.revision, packages=("torch", "transformers")
    )
    alignment = alignment_table(model, asked.prompts)
    write_table(prompts_table(asked.prompts), Path(found.prompts), PROMPTS, provenance)
    write_table(alignment, Path(found.alignment), ALIGNMENT, provenance)
    write_table(answers, Path(found.answers), DECIMAL_ANSWERS, provenance)
