"""Steer along every topic's feature and its controls, score what is written, and summarise."""

from pathlib import Path

from saeflow.artifacts.batches import TableGroups
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.scaling_examples import SCALING_FEATURES
from saeflow.artifacts.scaling_search import SEARCH
from saeflow.artifacts.scaling_steering import STEERING_ARTIFACTS
from saeflow.artifacts.tables import read_table
from saeflow.config.scaling_steering import SteeringSettings
from saeflow.datasets.prompt_sets import prompt_file
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.scaling.corpus import document_cutter
from saeflow.studies.scaling.steered import steer_bank
from saeflow.unit_jobs import open_units

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    model, bank = model.to(resolve_device()), open_bank(Path(wanted.bank))
    corpus, *tables = [TableGroups(Path(path), TEXTS) for path in [wanted.corpus, *wanted.topics]]
    topics = dict(zip(given["topics"], tables, strict=True))
    search = read_table(Path(wanted.search), SEARCH)
    features = read_table(Path(wanted.features), SCALING_FEATURES)
    settings = SteeringSettings.model_validate(given["steering"])
    prompts = prompt_file(Path(wanted.prompts[0])) if wanted.prompts else None
    cut, size = document_cutter(model, given["positions"]), spec.model.batch_size
    used = {"config": config_digest(given), "packages": ("torch", "transformers", "scikit-learn")}
    units = open_units(snakemake, inherit(features, **used))
    more = {"prompts": prompts, "cut": cut, "batch_size": size, "units": units}
    both = steer_bank(model, bank, topics, corpus, search, features, settings, given["run"], **more)
    units.finish(both, STEERING_ARTIFACTS, snakemake.output)
