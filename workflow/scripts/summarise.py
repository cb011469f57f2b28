"""Count and divide, each number beside what permuted tokens give; find where features fire hardest."""

from pathlib import Path

from saeflow.artifacts import catalog
from saeflow.artifacts.features import read_features
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import Gsm8kCriteria
from saeflow.device import resolve_device
from saeflow.jobs import job, run_keys
from saeflow.studies.gsm8k.association import association_inputs
from saeflow.studies.gsm8k.examples import example_table
from saeflow.studies.gsm8k.permutations import permutation_table
from saeflow.studies.gsm8k.summary import measure, outcome_from_tables, summary_table

with job(snakemake):
    spec, given, run = snakemake.params.spec, snakemake.input, run_keys(snakemake)
    tested = read_table(Path(given.tested), catalog.TESTED)
    labels = read_table(Path(given.labels), catalog.LABELS)
    problems = read_table(Path(given.problems), catalog.PROBLEMS)
    tokens = read_table(Path(given.tokens), catalog.COT_TOKENS)
    # Layer by layer, twice: the long tables take far more memory than what is kept of them.
    features = read_features(Path(given.features), spec["permuted"]["layers"])
    inputs = association_inputs(problems, tokens, features)
    criteria = Gsm8kCriteria.model_validate(spec["permuted"]["criteria"])
    permuted = permutation_table(*inputs, criteria, run, resolve_device())
    measured = measure(outcome_from_tables(tested, labels), criteria.labels)
    summary = summary_table(measured, permuted, run, criteria.permutations.count)
    analysed = problems["problem"].to_numpy()[problems["analysed"].to_numpy()]
    # Layers that are not analysed have no labels.
    features = read_features(Path(given.features), labels["layer"].unique().to_pylist())
    examples = example_table(features, labels, spec["examples"], analysed)
    # Each table tells of the settings that decide it.
    counted = inherit(tested, config=config_digest(spec["permuted"]), packages=("scipy",))
    chosen = inherit(labels, config=config_digest({"examples": spec["examples"]}))
    write_table(permuted, Path(snakemake.output.permutations), catalog.PERMUTATIONS, counted)
    write_table(summary, Path(snakemake.output.summary), catalog.SUMMARY, counted)
    write_table(examples, Path(snakemake.output.examples), catalog.EXAMPLES, chosen)
