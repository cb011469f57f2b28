"""Intervene on a model's thoughts at every site of a bank, and search inputs for its features."""

from pathlib import Path

from saeflow.artifacts.catalog import PROBLEMS
from saeflow.artifacts.features import read_features
from saeflow.artifacts.hierarchy import MAXIMAL, SCREEN, TRIALS
from saeflow.artifacts.provenance import combine, config_digest
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.selection import held_out_numbers
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job, run_keys
from saeflow.models.loading import load_from_spec, thinking
from saeflow.saes.encoding import open_bank
from saeflow.studies.hierarchy.intervene import intervene, search_inputs
from saeflow.studies.hierarchy.screening import Subject

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    problems, balanced = (read_table(Path(path), PROBLEMS) for path in wanted.problems)
    numbers = held_out_numbers(problems, given["held_out"])
    bank = open_bank(Path(wanted.bank)).to(resolve_device())
    convention = given["layer_convention"]
    subject = Subject.of(thinking(model).to(resolve_device()), bank, convention, spec.model)
    settings = CausalSettings.model_validate(given["causal"])
    run, names = run_keys(snakemake, "calibrated"), (snakemake.wildcards.dataset, given["balanced"])
    sets_only = given["sets_only"]
    found = intervene(subject, problems, balanced, settings, run, names, numbers, sets_only)
    features = list(read_features(Path(wanted.features), "all"))
    searched = [] if sets_only else found.strongest
    maximal = search_inputs(subject, problems, features, numbers, searched, settings, run)
    provenance = combine(features[0].table, balanced, config=config_digest(given))
    tables = (found.trials, TRIALS), (found.screen, SCREEN), (maximal, MAXIMAL)
    for (table, artifact), path in zip(tables, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
