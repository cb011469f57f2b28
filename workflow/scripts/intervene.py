"""Intervene on a model's thoughts at every site of a bank, and search inputs for its features."""

from pathlib import Path

from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.hierarchy import MAXIMAL, SCREEN, TRIALS
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.selection import held_out_numbers
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job, run_keys
from saeflow.models.loading import load_from_spec, thinking
from saeflow.saes.encoding import open_bank
from saeflow.studies.hierarchy.intervene import Study, intervene, intervene_shard
from saeflow.studies.hierarchy.screening import Subject
from saeflow.unit_jobs import open_units

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    problems, balanced = (read_table(Path(path), PROBLEMS) for path in wanted.problems)
    numbers = held_out_numbers(problems, given["held_out"])
    bank = open_bank(Path(wanted.bank)).to(device := resolve_device())
    subject = Subject.of(thinking(model).to(device), bank, given["layer_convention"], spec.model)
    features = list(read_features(Path(wanted.features), "all"))
    settings = CausalSettings.model_validate(given["causal"])
    run = run_keys(snakemake, "calibrated")
    more = {"balanced_name": given["balanced"], "sets_only": given["sets_only"]}
    study = Study(subject, problems, balanced, features, numbers, settings, run, **more)
    provenance = combine(features[0].table, balanced, config=config_digest(given))
    units, found = open_units(snakemake, provenance), ()
    if units.portion:
        intervene_shard(study, units, snakemake.wildcards.stage)
    else:
        found = intervene(study, units)
    units.finish(found, (TRIALS, SCREEN, MAXIMAL), snakemake.output)
