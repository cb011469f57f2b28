# The calibrated mode of the GSM8K study: exact tests on held-out problems, nulls, controls.


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
        mem_mb=tables_mem_mb,
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
        features=["results/features/{model}/{dataset}/{dictionary}/seed{seed}"],
        nulls=null_files,
    output:
        calibrated=[
            "results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/calibrated.parquet"
        ],
        discoveries=[
            "results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/discoveries.parquet"
        ],
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/calibrated.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/calibrated.tsv"
    wildcard_constraints:
        model=in_no_group(PART, CALIBRATED_GROUPS),
    conda:
        "../../envs/saeflow.yaml"
    # Counts are exact whatever the threads, and one is busy: two jobs side by side are faster.
    threads: 1
    resources:
        gpu=1,
        mem_mb=tables_mem_mb,
        runtime=runtime,
    params:
        code=code_of("calibrate"),
        spec=calibrate_specs,
    script:
        "../scripts/calibrate.py"


for name, group in CALIBRATED_GROUPS.items():

    rule:
        name:
            f"calibrate_controls_{name}"
        input:
            problems=shared_by(group, "results/datasets/{dataset}/problems.parquet"),
            tokens=shared_by(group, "results/datasets/{dataset}/cot_tokens.parquet"),
            capture=shared_by(group, "results/capture/{model}/{dataset}"),
            features=of_group(FEATURES, group),
            # A control stands beside its dictionary, not beside permutations of its own.
            nulls=[],
        output:
            calibrated=of_group(f"{PART}/calibrated.parquet", group),
            discoveries=of_group(f"{PART}/discoveries.parquet", group),
        log:
            shared_by(
                group,
                "results/logs/gsm8k/{model}/{dataset}/{of}/controls/seed{seed}/calibrated.log",
            ),
        benchmark:
            shared_by(
                group,
                "results/benchmarks/gsm8k/{model}/{dataset}/{of}/controls/seed{seed}/calibrated.tsv",
            )
        conda:
            "../../envs/saeflow.yaml"
        threads: 1
        resources:
            gpu=1,
            mem_mb=tables_mem_mb,
            runtime=runtime_of(group),
        params:
            code=code_of("calibrate"),
            spec=calibrate_specs(*group),
        script:
            "../scripts/calibrate.py"


rule match_seeds:
    input:
        problems=of_datasets("results/datasets/{dataset}/problems.parquet"),
        banks=of_runs("results/saes/{model}/{dictionary}/seed{seed}"),
        features=of_runs("results/features/{model}/{dataset}/{dictionary}/seed{seed}"),
        discoveries=of_runs(f"{PART}/discoveries.parquet"),
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
        problems=of_datasets("results/datasets/{dataset}/problems.parquet", in_grid),
        tokens=of_datasets("results/datasets/{dataset}/cot_tokens.parquet", in_grid),
        capture=of_datasets("results/capture/{model}/{dataset}", in_grid),
    output:
        capacity="results/gsm8k/{model}/capacity.parquet",
    log:
        "results/logs/gsm8k/{model}/capacity.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/capacity.tsv"
    wildcard_constraints:
        model=one_of(CFG.models if len(CAPACITY_SHARDS) == 1 else []),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("capacity_grid"),
        spec=grid_spec,
    script:
        "../scripts/capacity_grid.py"


rule capacity_grid_shard:
    input:
        problems=of_datasets("results/datasets/{dataset}/problems.parquet", in_grid),
        tokens=of_datasets("results/datasets/{dataset}/cot_tokens.parquet", in_grid),
        capture=of_datasets("results/capture/{model}/{dataset}", in_grid),
    output:
        shard=temp(
            "results/shards/training/{model}/capacity/{origin}/{scatteritem}.parquet"
        ),
    log:
        "results/logs/shards/training/{model}/capacity/{origin}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/training/{model}/capacity/{origin}/{scatteritem}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("capacity_grid"),
        spec=grid_spec,
    script:
        "../scripts/capacity_grid.py"


rule capacity_grid_gather:
    input:
        problems=of_datasets("results/datasets/{dataset}/problems.parquet", in_grid),
        tokens=of_datasets("results/datasets/{dataset}/cot_tokens.parquet", in_grid),
        capture=of_datasets("results/capture/{model}/{dataset}", in_grid),
        shards=capacity_shards,
    output:
        capacity="results/gsm8k/{model}/capacity.parquet",
    log:
        "results/logs/gsm8k/{model}/capacity.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/capacity.tsv"
    wildcard_constraints:
        model=one_of(CFG.models if len(CAPACITY_SHARDS) > 1 else []),
    localrule: True
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=gathering_mem_mb,
        runtime=60,
    params:
        code=code_of("capacity_grid"),
        spec=grid_spec,
    script:
        "../scripts/capacity_grid.py"
