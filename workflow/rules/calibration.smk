# The calibrated mode of the GSM8K study: exact tests on held-out problems, nulls, controls.

# Models of which several SAE seeds can be matched, and those whose sizes of SAEs are compared.
RESEEDED = [name for name, run in calibrated_models(CFG).items() if len(run.seeds) > 1]
SIZED = list(calibrated_models(CFG)) if CALIBRATED and CALIBRATED.capacity else []
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
    bank = next(
        each
        for each in BANKS
        if all(str(value) == wildcards.get(key, str(value)) for key, value in each._asdict().items())
    )
    if bank.control:
        return []
    starts = range(0, CALIBRATED.permutations.count, CALIBRATED.permutations.per_job)
    return [f"{PART}/nulls/from{first}.parquet".format(**wildcards) for first in starts]


def permute_spec(wildcards):
    # Not how many there are in all: more permutations are more jobs, and none is run again.
    permutations, first = CALIBRATED.permutations, int(wildcards.first)
    last = min(first + permutations.per_job, permutations.count)
    return {
        **calibrated_spec("association", "targets")(wildcards),
        "permutations": {"seed": permutations.seed, "numbers": [first, last]},
    }


def calibrate_spec(wildcards):
    settings = ("association", "targets", "halves")
    control = wildcards.dictionary not in {bank.of for bank in BANKS}
    return {
        **calibrated_spec(*settings)(wildcards),
        # A control's published rates are measured here: its own chain would be five more jobs.
        "published": {
            "association": plain(GSM8K.association),
            "labels": plain(GSM8K.labels),
            "observed": control,
        },
    }


def runs_of(model):
    """Data set, dictionary and seed of a model's banks, controls left out."""
    names = ("dataset", "dictionary", "seed")
    return [
        {name: getattr(bank, name) for name in names}
        for bank in BANKS
        if bank.model == model and not bank.control
    ]


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


def of_datasets(path):
    """One path for each data set of a model, sorted."""
    return lambda wildcards: [
        path.format(model=wildcards.model, dataset=dataset)
        for dataset in sorted({run["dataset"] for run in runs_of(wildcards.model)})
    ]


rule permute_calibrated:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        capture="results/capture/{model}/{dataset}",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
    output:
        nulls="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/nulls/from{first}.parquet",
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/nulls/from{first}.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/nulls/from{first}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    # Counts are exact whatever the threads, and one is busy: two jobs side by side are faster.
    threads: 1
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("permute_calibrated"),
        spec=permute_spec,
    script:
        "../scripts/permute_calibrated.py"


rule calibrate:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        capture="results/capture/{model}/{dataset}",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
        nulls=null_files,
    output:
        calibrated="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/calibrated.parquet",
        discoveries="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/discoveries.parquet",
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/calibrated.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/calibrated.tsv"
    conda:
        "../../envs/saeflow.yaml"
    # Counts are exact whatever the threads, and one is busy: two jobs side by side are faster.
    threads: 1
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("calibrate"),
        spec=calibrate_spec,
    script:
        "../scripts/calibrate.py"


rule match_seeds:
    input:
        problems=of_datasets("results/datasets/{dataset}/problems.parquet"),
        banks=of_runs("results/saes/{model}/{dictionary}/seed{seed}"),
        features=of_runs("results/features/{model}/{dataset}/{dictionary}/seed{seed}"),
        discoveries=of_runs(PART + "/discoveries.parquet"),
    output:
        matches="results/gsm8k/{model}/matches.parquet",
        stability="results/gsm8k/{model}/stability.parquet",
    log:
        "results/logs/gsm8k/{model}/stability.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/stability.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("match_seeds"),
        spec=match_spec,
    script:
        "../scripts/match_seeds.py"


rule capacity_grid:
    input:
        problems=of_datasets("results/datasets/{dataset}/problems.parquet"),
        tokens=of_datasets("results/datasets/{dataset}/cot_tokens.parquet"),
        capture=of_datasets("results/capture/{model}/{dataset}"),
    output:
        capacity="results/gsm8k/{model}/capacity.parquet",
    log:
        "results/logs/gsm8k/{model}/capacity.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/capacity.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("capacity_grid"),
        spec=lambda wildcards: {
            "datasets": sorted({run["dataset"] for run in runs_of(wildcards.model)}),
            "capacity": plain(CALIBRATED.capacity),
            "association": plain(CALIBRATED.association),
            "published": {
                "association": plain(GSM8K.association),
                "labels": plain(GSM8K.labels),
            },
            "threads": THREADS,
        },
    script:
        "../scripts/capacity_grid.py"
