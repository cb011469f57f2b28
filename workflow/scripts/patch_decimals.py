"""Patch prompts of one format with what other prompts carry, and see what is answered."""

from pathlib import Path

from saeflow.artifacts.decimal_bug import DECIMAL_ANSWERS, PATCHES, PROMPTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table
from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.studies.decimal_bug.patching import patch
from saeflow.studies.decimal_bug.records import read_prompts
from saeflow.unit_jobs import open_units

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    _, model = load_from_spec(given["model"], wanted.model)
    answers = read_table(Path(wanted.answers), DECIMAL_ANSWERS)
    packages = ("torch", "transformers")
    units = open_units(snakemake, inherit(answers, config=config_digest(given), packages=packages))
    patches = patch(
        model.to(resolve_device()),
        read_prompts(read_table(Path(wanted.prompts), PROMPTS)),
        answers,
        PatchSettings.model_validate(given["patching"]),
        SubsetSettings.model_validate(given["subsets"]),
        weights=given["weights"],
        max_new_tokens=given["max_new_tokens"],
        units=units,
    )
    units.finish([patches], [PATCHES], snakemake.output)
