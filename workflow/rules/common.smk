# Path set-up, the validated configuration, wildcard constraints, and every helper function.

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
SOURCES = str(ROOT / "src")
# Nothing needs to be installed, and what is installed, perhaps from another clone, must not win:
# neither here nor in the scripts, which see PYTHONPATH before their site-packages.
sys.path.insert(0, SOURCES)
os.environ.update(
    PYTHONPATH=os.pathsep.join([SOURCES, os.environ.get("PYTHONPATH", "")]).rstrip(
        os.pathsep
    )
)

# Snakemake 9.27 puts the interpreter's path unquoted into the shell line of a script (snakemake/script,
# PythonScript.execute_script), which breaks where a folder above the environment has a space.
if sys.executable != shlex.quote(sys.executable) and not sys.executable.startswith("'"):
    sys.executable = shlex.quote(sys.executable)

from saeflow.artifacts.digest import script_digest
from saeflow.config.calibration import (
    analysed_layers,
    calibrated_banks,
    calibrated_models,
    held_out_problems,
    named_controls,
)
from saeflow.config.reference import card_sizes
from saeflow.config.root import (
    evaluated_models,
    parse_config,
    resolve_dictionary,
    resolve_model,
)
from saeflow.errors import SaeflowError
from saeflow.preflight import (
    check_environment,
    check_paths,
    curve_files,
    input_files,
    read_mixture,
    study_datasets,
    study_dictionaries,
    studied_models,
    total_mb,
)
from saeflow.runlock import record_owner

try:
    CFG = parse_config(config)
    check_paths(CFG, ROOT)
    MIXTURE = read_mixture(ROOT / CFG.reference_models.mixture)
    check_environment(Path.cwd())
except SaeflowError as error:
    raise WorkflowError(f"configuration: {error}") from None

GSM8K = CFG.studies.gsm8k.published
CALIBRATED = CFG.studies.gsm8k.calibrated
BANKS = list(calibrated_banks(CFG))
STUDIED = studied_models(CFG)
EVALUATED = evaluated_models(CFG)
THREADS = CFG.compute.threads


onstart:
    record_owner(Path.cwd())


wildcard_constraints:
    model="|".join(map(re.escape, CFG.models)),
    dataset="|".join(map(re.escape, CFG.datasets)),
    dictionary="|".join(map(re.escape, CFG.dictionaries)),
    seed=r"\d+",
    table="association|discoveries|examples|labels|summary",
    first=r"\d+",
    reference="|".join(map(re.escape, MIXTURE.models)),


# Each *_spec is what a job reads of the configuration, as one plain dict. Snakemake compares params
# by value only when they are builtins, and only as a set when they are several.


def code_of(rule_name):
    """Digest of the modules that a rule's script imports, directly or not."""
    return script_digest(ROOT / "workflow" / "scripts" / f"{rule_name}.py")


def plain(block):
    return block.model_dump(mode="json")


def located_elsewhere(block):
    # Where a file lies decides nothing; it is an input, and its content is what counts.
    block = plain(block)
    if block.get("weights") == "fresh":
        return {k: v for k, v in block.items() if k != "path"}
    if "path" in (block.get("source"), block.get("weights")):
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


def model_spec(wildcards):
    settings, control = resolve_model(CFG, wildcards.model)
    return {
        "model": located_elsewhere(settings),
        "control": control and plain(control),
        "threads": THREADS,
    }


def model_files(wildcards):
    return input_files(resolve_model(CFG, wildcards.model)[0], ROOT)


def evaluation_sizes():
    sizes = plain(CFG.reference_models)
    return {name: sizes[name] for name in ("n_problems", "n_texts", "n_lens")}


def evaluation_spec(wildcards):
    # Of the mixture, what gives the held-out word problems; the texts are an input.
    return {
        "model": model_spec(wildcards),
        "seed": MIXTURE.seed,
        "problems": plain(MIXTURE.parts.problems),
        "sizes": evaluation_sizes(),
    }


def training_spec(wildcards):
    # Each model by itself: a change to one must not throw away hours of the other.
    mixture = plain(MIXTURE)
    name = wildcards.reference
    return {
        "mixture": {**mixture, "models": {name: mixture["models"][name]}},
        "threads": 1,
    }


CURVES = curve_files(CFG, ROOT)


def evaluated():
    """Latent thoughts of every evaluated model, and which of them bring their training's curves."""
    latents = {name: resolve_model(CFG, name)[0].thoughts.latents for name in EVALUATED}
    return {"latents": latents, "curves": list(CURVES)}


def installation_spec(wildcards):
    return {
        "mixture": plain(MIXTURE),
        "sizes": card_sizes(CFG.reference_models, MIXTURE.parts.problems.n_held_out),
        "folder": os.path.relpath(
            (ROOT / CFG.reference_models.mixture).parent / "models"
        ),
        "threads": THREADS,
    }


def dictionary_spec(wildcards):
    return {
        "dictionary": plain(resolve_dictionary(CFG, wildcards.dictionary)),
        "threads": THREADS,
    }


def held_out(wildcards):
    return held_out_problems(CFG, wildcards.dictionary, wildcards.dataset)


def layers_of(dictionary):
    layers = analysed_layers(CFG, dictionary)
    return layers if isinstance(layers, str) else list(layers)


def encode_spec(wildcards):
    # How the SAEs were trained reaches the features through the bank's files.
    dictionary = plain(resolve_dictionary(CFG, wildcards.dictionary))
    names = ("architecture", "control", "k", "d_sae", "layer_convention", "layers", "steps")
    return {
        **{name: dictionary[name] for name in names},
        "held_out": held_out(wildcards) if CALIBRATED else None,
        "threads": THREADS,
    }


def training_problems(wildcards):
    dataset = resolve_dictionary(CFG, wildcards.dictionary).dataset
    return f"results/datasets/{dataset}/problems.parquet"


def training_capture(wildcards):
    dataset = resolve_dictionary(CFG, wildcards.dictionary).dataset
    return f"results/capture/{wildcards.model}/{dataset}"


PART = "results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}"


def published_parts(model, table):
    run = GSM8K.models.get(model)
    if run is None:
        return []
    return expand(
        PART + "/{table}.parquet",
        model=model,
        table=table,
        dataset=run.datasets,
        dictionary=run.dictionaries,
        seed=run.seeds,
    )


def calibrated_parts(model, table):
    return [
        f"{PART}/{table}.parquet".format(**bank._asdict())
        for bank in BANKS
        if bank.model == model
    ]


def gsm8k_parts(wildcards):
    model, table = wildcards.model, wildcards.table
    if table == "discoveries":
        return calibrated_parts(model, table)
    calibrated = calibrated_parts(model, "calibrated") if table == "summary" else []
    return published_parts(model, table) + calibrated


def public_tables():
    """Tables that are gathered for each model."""
    published = expand(
        "results/gsm8k/{model}/{table}.parquet",
        model=GSM8K.models,
        table=["association", "examples", "labels"],
    )
    summaries = expand("results/gsm8k/{model}/summary.parquet", model=STUDIED)
    discoveries = expand(
        "results/gsm8k/{model}/discoveries.parquet", model=calibrated_models(CFG)
    )
    return published + summaries + discoveries


PERMUTED = {model: published_parts(model, "permutations") for model in GSM8K.models}


def report_banks(wildcards):
    return [
        f"results/saes/{model}/{dictionary}/seed{seed}"
        for model, dictionary, seed in study_dictionaries(CFG)
    ]


# Memory and time are asked for by what a job reads, doubled on every attempt.


def mem_mb(wildcards, input, attempt):
    return max(2000, int(6 * total_mb(input))) * attempt


def runtime(wildcards, attempt):
    return 60 * attempt
