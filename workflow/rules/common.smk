# The validated configuration, wildcard constraints, and every helper function.

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Snakemake 9.27 puts the interpreter's path unquoted into the shell line of a script (snakemake/script,
# PythonScript.execute_script), which breaks where a folder above the environment has a space.
if sys.executable != shlex.quote(sys.executable) and not sys.executable.startswith("'"):
    sys.executable = shlex.quote(sys.executable)

from saeflow.artifacts.digest import script_digest
from saeflow.config.calibration import analysed_layers, calibrated_banks
from saeflow.config.held_out import held_out_problems
from saeflow.config.hierarchy_runs import hierarchy_banks
from saeflow.config.hub_runs import fetched_as, hub_models
from saeflow.config.models import is_small
from saeflow.config.reference import card_sizes
from saeflow.config.root import (
    evaluated_models,
    holds_texts,
    parse_config,
    resolve_dictionary,
    resolve_model,
)
from saeflow.config.token_banks import captured_hooks
from saeflow.errors import SaeflowError
from saeflow.gpu import NEEDED
from saeflow.output_cache import share_outputs
from saeflow.preflight import (
    check_environment,
    check_paths,
    curve_files,
    input_files,
    read_datasets,
    read_mixture,
    read_models,
    study_datasets,
    study_dictionaries,
    studied_models,
    total_mb,
)
from saeflow.sizes.requests import memory_mb, minutes, training_mb
from saeflow.sizes.results import Results

try:
    CFG = parse_config(config)
    check_paths(CFG, ROOT)
    MIXTURE = read_mixture(ROOT / CFG.reference_models.mixture)
    check_environment(Path.cwd())
except SaeflowError as error:
    raise WorkflowError(f"configuration: {error}") from None

GSM8K = CFG.studies.gsm8k.published
CALIBRATED = CFG.studies.gsm8k.calibrated
BANKS = calibrated_banks(CFG)
STUDIED = studied_models(CFG)
EVALUATED = evaluated_models(CFG)
THREADS = CFG.compute.threads
TEXT_SETS = [name for name in CFG.datasets if holds_texts(CFG, name)]
PROBLEM_SETS = [name for name in CFG.datasets if name not in TEXT_SETS]


def one_of(names):
    """Wildcard constraint: one of these names; without any, nothing fits."""
    return "|".join(map(re.escape, names)) or "(?!)"


# What a job needs of a GPU, for the process that Snakemake starts on whatever node runs it. No param:
# it changes no number.
if CFG.compute.gpu_memory_gb is not None:
    os.environ[NEEDED] = str(CFG.compute.gpu_memory_gb)
else:
    os.environ.pop(NEEDED, None)


wildcard_constraints:
    model=one_of(CFG.models),
    dataset=one_of(CFG.datasets),
    dictionary=one_of(CFG.dictionaries),
    seed=r"\d+",
    first=r"\d+",
    reference=one_of(MIXTURE.models),


# Each *_spec is what a job reads of the configuration, as one plain dict. Snakemake compares params
# by value only when they are builtins, and only as a set when they are several.


def code_of(rule_name):
    """Digest of the modules that a rule's script imports, directly or not."""
    return script_digest(ROOT / "workflow" / "scripts" / f"{rule_name}.py")


def plain(block):
    return block.model_dump(mode="json")


def located_elsewhere(block):
    # Where a file lies decides nothing; it is an input, and its content is what counts.
    block = {k: v for k, v in plain(block).items() if k != "weights_gb"}
    if block.get("weights") == "fresh":
        return {k: v for k, v in block.items() if k != "path"}
    if {"path", "text_file"} & {block.get("source"), block.get("weights")}:
        block = {
            k: v
            for k, v in block.items()
            if k not in ("path", "repo", "revision", "file")
        }
    return block


def dataset_spec(wildcards):
    return located_elsewhere(CFG.datasets[wildcards.dataset])


def dataset_file(wildcards):
    return input_files(CFG.datasets[wildcards.dataset], ROOT)


def trained_recipe(dictionary):
    """A recipe that trains, without the block of those that do not."""
    recipe = plain(resolve_dictionary(CFG, dictionary))
    return {key: value for key, value in recipe.items() if key != "released"}


def dictionary_spec(wildcards):
    return {"dictionary": trained_recipe(wildcards.dictionary), "threads": THREADS}


def held_out(wildcards):
    return held_out_problems(CFG, wildcards.dictionary, wildcards.dataset)


def layers_of(dictionary):
    layers = analysed_layers(CFG, dictionary)
    return layers if isinstance(layers, str) else list(layers)


def bank_of(wildcards, banks=BANKS):
    """The bank that a path names; None if it is not among them, by default the calibrated ones."""
    keys = ("model", "dataset", "dictionary", "seed")
    named = [str(getattr(wildcards, key)) for key in keys]
    found = (
        bank for bank in banks if named == [str(getattr(bank, key)) for key in keys]
    )
    return next(found, None)


def reads_held_out(wildcards):
    """Whether a study reads the problems of a bank's data set that trained no SAE."""
    return bank_of(wildcards, [*BANKS, *hierarchy_banks(CFG)]) is not None


def encode_spec(wildcards):
    # How the SAEs were trained reaches the features through the bank's files.
    dictionary = plain(resolve_dictionary(CFG, wildcards.dictionary))
    names = (
        "architecture",
        "control",
        "k",
        "d_sae",
        "layer_convention",
        "layers",
        "steps",
    )
    return {
        **{name: dictionary[name] for name in names},
        "held_out": held_out(wildcards) if reads_held_out(wildcards) else None,
        "threads": THREADS,
    }


def report_banks(wildcards):
    return [
        f"results/saes/{model}/{dictionary}/seed{seed}"
        for model, dictionary, seed in study_dictionaries(CFG)
    ]


# Memory and time are asked for by what a job reads and the model that it loads; of what is not made yet
# the configuration tells how large it will be. Times the attempt.
SIZES = Results(CFG, ROOT)


def loads(wildcards, input):
    """Name of the model that a job loads; None if it loads none."""
    return getattr(wildcards, "model", None) if input.get("model") else None


def mem_mb(wildcards, input, attempt):
    model = input.get("model") or []
    weights = [model] if isinstance(model, str) else model
    read = (
        [path for path in input if path not in weights]
        if loads(wildcards, input)
        else input
    )
    return memory_mb(SIZES, read, loads(wildcards, input)) * attempt


def tables_mem_mb(wildcards, input, attempt):
    """The same for jobs that read only the tables in folders of activations and SAEs."""
    return memory_mb(SIZES, input, None, vectors=False) * attempt


def runtime(wildcards, input, attempt):
    return minutes(SIZES, loads(wildcards, input)) * attempt
