# Helper functions of the first study: parts of its tables, and what its jobs read.

from saeflow.config.calibration import (
    calibrated_models,
    calibrated_runs,
    compared_dictionaries,
    grid_datasets,
    published_only,
)
from saeflow.config.public_tables import (
    DISCOVERY_TABLES,
    RECORD_TABLES,
    SUMMARY_TABLES,
)

PART = "results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}"


def published_parts(model, table):
    run = GSM8K.models.get(model)
    if run is None:
        return []
    return expand(
        f"{PART}/{table}.parquet",
        model=model,
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


def gathered(tables, models, *sources):
    """What each public table is gathered from, by its path."""
    return {
        f"results/gsm8k/{model}/{table}.parquet": {
            "artifact": table,
            "parts": [part for parts in sources for part in parts(model, table)],
        }
        for model in models
        for table in tables
    }


def paths_in(summarised):
    """What the numbers of all models are put together from."""
    found = [paths for tables in summarised.values() for paths in tables.values()]
    return [
        path
        for paths in found
        for path in ([paths] if isinstance(paths, str) else paths)
    ]


def all_parts(tables):
    return [part for spec in tables.values() for part in spec["parts"]]


def summary_parts(model, table):
    return published_parts(model, table) + calibrated_parts(model, "calibrated")


GSM8K_GATHERED = {
    **gathered(RECORD_TABLES, GSM8K.models, published_parts),
    **gathered(SUMMARY_TABLES, STUDIED, summary_parts),
    **gathered(DISCOVERY_TABLES, calibrated_models(CFG), calibrated_parts),
}


PERMUTED = {model: published_parts(model, "permutations") for model in GSM8K.models}


# Models of which several SAE seeds can be matched, and those whose sizes of SAEs are compared.
RESEEDED = [name for name, run in calibrated_models(CFG).items() if len(run.seeds) > 1]
SIZED = [name for name in calibrated_models(CFG) if grid_datasets(CFG, name)]
COMMON_FEATURES = expand(
    "results/gsm8k/{model}/{table}.parquet",
    model=RESEEDED,
    table=["matches", "stability"],
)
CAPACITY = expand("results/gsm8k/{model}/capacity.parquet", model=SIZED)


def calibrated_spec(*names):
    """What a job reads of the calibrated mode's settings, and which problems it may read."""
    settings = plain(CALIBRATED) if CALIBRATED else {}
    chosen = {name: settings.get(name) for name in names}
    return lambda wildcards: {
        **chosen,
        "held_out": held_out(wildcards),
        "layers": layers_of(wildcards.dictionary),
    }


def null_files(wildcards):
    bank = bank_of(wildcards)
    if bank is None or bank.control:
        return []
    starts = range(0, CALIBRATED.permutations.count, CALIBRATED.permutations.per_job)
    return [f"{PART}/nulls/from{first}.parquet".format(**wildcards) for first in starts]


def without_what_only_tables_show(spec):
    shown = ("keep", "carried_p_value")
    tests = {
        key: value for key, value in spec["association"].items() if key not in shown
    }
    return {**spec, "association": tests}


def grid_spec(wildcards):
    settings = {"association": plain(CALIBRATED.association)}
    sizes = plain(CALIBRATED.capacity)
    return {
        **without_what_only_tables_show(settings),
        "datasets": grid_datasets(CFG, wildcards.model),
        "capacity": {
            name: value for name, value in sizes.items() if name != "datasets"
        },
        "published": {
            "association": plain(GSM8K.association),
            "labels": plain(GSM8K.labels),
        },
        "threads": THREADS,
    }


def capacity_inputs(wildcards):
    paths = (
        "results/datasets/{dataset}/problems.parquet",
        "results/datasets/{dataset}/cot_tokens.parquet",
        "results/capture/{model}/{dataset}",
    )
    return [name for path in paths for name in of_datasets(path, in_grid)(wildcards)]


# A job for each size at most.
CAPACITY_SHARDS = shards("training", len(CALIBRATED.capacity.sizes) if SIZED else None)
capacity_shards = shards_of(
    "results/shards/training/{model}/capacity/{origin}/{scatteritem}.parquet",
    "capacity_grid",
    grid_spec,
    capacity_inputs,
    lambda wildcards: CAPACITY_SHARDS,
)


def permute_spec(wildcards):
    # Not how many there are in all: more permutations are more jobs, and none is run again.
    permutations, first = CALIBRATED.permutations, int(wildcards.first)
    last = min(first + permutations.per_job, permutations.count)
    return {
        **without_what_only_tables_show(
            calibrated_spec("association", "targets")(wildcards)
        ),
        "permutations": {"seed": permutations.seed, "numbers": [first, last]},
    }


def calibrate_spec(wildcards):
    settings = ("association", "targets", "halves")
    bank = bank_of(wildcards)
    return {
        **calibrated_spec(*settings)(wildcards),
        # A control's published rates are measured here: its own chain would be five more jobs.
        "published": {
            "association": plain(GSM8K.association),
            "labels": plain(GSM8K.labels),
            "observed": bank is not None and published_only(CFG, bank),
        },
    }


def runs_of(model):
    return calibrated_runs(CFG, model)


def match_spec(wildcards):
    runs = runs_of(wildcards.model)
    return {
        "stability": plain(CALIBRATED.stability),
        "layers": {run["dictionary"]: layers_of(run["dictionary"]) for run in runs},
        "runs": runs,
        "datasets": sorted({run["dataset"] for run in runs}),
        "held_out": {
            run["dictionary"]: {
                dataset: held_out_problems(CFG, run["dictionary"], dataset)
                for dataset in sorted({run["dataset"] for run in runs})
            }
            for run in runs
        },
    }


def of_runs(path):
    """One path for each bank of a model, in the order of `runs_of`."""
    return lambda wildcards: [
        path.format(model=wildcards.model, **run) for run in runs_of(wildcards.model)
    ]


def of_datasets(path, names=None):
    """One path for each data set of a model's banks, or of its grid; sorted."""

    def paths(wildcards):
        found = (names or studied_by)(wildcards)
        return [path.format(model=wildcards.model, dataset=name) for name in found]

    return paths


def studied_by(wildcards):
    return sorted({run["dataset"] for run in runs_of(wildcards.model)})


def in_grid(wildcards):
    return grid_datasets(CFG, wildcards.model)


COMPARISONS = (
    ["results/compare/gsm8k.parquet"]
    + ["results/compare/calibration.parquet"] * bool(CALIBRATED)
    + ["results/compare/capacity.parquet"] * bool(SIZED)
    + ["results/compare/hierarchy.parquet"] * bool(hierarchy_banks(CFG))
)
