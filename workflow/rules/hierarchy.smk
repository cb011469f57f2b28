# Feature hierarchy and interventions (methods/2): ranks -> types -> specialists; what ablation does.


rule hierarchy:
    input:
        HIERARCHY_TABLES,


rule hierarchy_published:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        capture="results/capture/{model}/{dataset}",
        bank="results/saes/{model}/{dictionary}/seed{seed}",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
    output:
        ranks="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/ranks.parquet",
        pairs="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/swap_pairs.parquet",
        summary="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/published.parquet",
    log:
        "results/logs/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/published.log",
    benchmark:
        "results/benchmarks/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/published.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("hierarchy_published"),
        spec=ranking_spec,
    script:
        "../scripts/hierarchy_published.py"


rule hierarchy_calibrated:
    input:
        problems=on_both("results/datasets/{dataset}/problems.parquet"),
        tokens=on_both("results/datasets/{dataset}/cot_tokens.parquet"),
        features=on_both("results/features/{model}/{dataset}/{dictionary}/seed{seed}"),
    output:
        specialists="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/specialists.parquet",
        coactivation="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/coactivation.parquet",
        modules="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/modules.parquet",
        levels="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/levels.parquet",
        summary="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/calibrated.parquet",
    log:
        "results/logs/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/calibrated.log",
    benchmark:
        "results/benchmarks/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/calibrated.tsv"
    conda:
        "../../envs/saeflow.yaml"
    # Counts are exact whatever the threads, and one is busy: two jobs side by side are faster.
    threads: 1
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("hierarchy_calibrated"),
        spec=specialist_spec,
    script:
        "../scripts/hierarchy_calibrated.py"


rule intervene:
    input:
        model=model_files,
        problems=on_both("results/datasets/{dataset}/problems.parquet"),
        bank="results/saes/{model}/{dictionary}/seed{seed}",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
        shards=shards_of_interventions,
    output:
        trials="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/trials.parquet",
        screening="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/screening.parquet",
        maximal="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/maximal.parquet",
    log:
        "results/logs/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/trials.log",
    benchmark:
        "results/benchmarks/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/trials.tsv"
    # The longest job of the DAG, which everything would otherwise wait for at the end.
    priority: 1
    conda:
        "../../envs/saeflow.yaml"
    # Many small forward passes: threads that wait for one another cost more than they bring.
    threads: 1
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("intervene"),
        spec=intervention_spec,
    script:
        "../scripts/intervene.py"


rule intervene_shard:
    input:
        model=model_files,
        problems=on_both("results/datasets/{dataset}/problems.parquet"),
        bank="results/saes/{model}/{dictionary}/seed{seed}",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
        shards=chosen_by_shards,
    output:
        shard=temp(
            directory(
                "results/shards/ablation/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/{origin}/{stage}/{scatteritem}"
            )
        ),
    log:
        "results/logs/shards/ablation/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/{origin}/{stage}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/ablation/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/{origin}/{stage}/{scatteritem}.tsv"
    wildcard_constraints:
        stage=one_of(INTERVENTION_STAGES),
    priority: 1
    conda:
        "../../envs/saeflow.yaml"
    threads: 1
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=shard_runtime,
    params:
        code=code_of("intervene"),
        spec=intervention_spec,
    script:
        "../scripts/intervene.py"


rule hierarchy_effects:
    input:
        problems=on_both("results/datasets/{dataset}/problems.parquet"),
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
        trials="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/trials.parquet",
        screening="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/screening.parquet",
    output:
        effects="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/effects.parquet",
        screen="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/screen.parquet",
        summary="results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/causal.parquet",
    log:
        "results/logs/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/effects.log",
    benchmark:
        "results/benchmarks/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/effects.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("hierarchy_effects"),
        spec=effect_spec,
    script:
        "../scripts/hierarchy_effects.py"


rule sweep_k:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        capture="results/capture/{model}/{dataset}",
    output:
        sweep="results/hierarchy/{model}/parts/{dataset}/{dictionary}/sweep.parquet",
    log:
        "results/logs/hierarchy/{model}/{dataset}/{dictionary}/sweep.log",
    benchmark:
        "results/benchmarks/hierarchy/{model}/{dataset}/{dictionary}/sweep.tsv"
    wildcard_constraints:
        model=one_of(CFG.models if len(SWEEP_SHARDS) == 1 else []),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("sweep_k"),
        spec=sweep_spec,
    script:
        "../scripts/sweep_k.py"


rule sweep_k_shard:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        capture="results/capture/{model}/{dataset}",
    output:
        shard=temp(
            "results/shards/training/{model}/{dataset}/{dictionary}/sweep/{origin}/{scatteritem}.parquet"
        ),
    log:
        "results/logs/shards/training/{model}/{dataset}/{dictionary}/sweep/{origin}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/training/{model}/{dataset}/{dictionary}/sweep/{origin}/{scatteritem}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("sweep_k"),
        spec=sweep_spec,
    script:
        "../scripts/sweep_k.py"


rule sweep_k_gather:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        capture="results/capture/{model}/{dataset}",
        shards=sweep_shards,
    output:
        sweep="results/hierarchy/{model}/parts/{dataset}/{dictionary}/sweep.parquet",
    log:
        "results/logs/hierarchy/{model}/{dataset}/{dictionary}/sweep.log",
    benchmark:
        "results/benchmarks/hierarchy/{model}/{dataset}/{dictionary}/sweep.tsv"
    wildcard_constraints:
        model=one_of(CFG.models if len(SWEEP_SHARDS) > 1 else []),
    localrule: True
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=gathering_mem_mb,
        runtime=60,
    params:
        code=code_of("sweep_k"),
        spec=sweep_spec,
    script:
        "../scripts/sweep_k.py"


rule gather_hierarchy:
    input:
        all_parts(HIERARCHY_GATHERED),
    output:
        list(HIERARCHY_GATHERED),
    log:
        "results/logs/hierarchy/gathered.log",
    benchmark:
        "results/benchmarks/hierarchy/gathered.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("gather"),
        spec=list(HIERARCHY_GATHERED.values()),
    script:
        "../scripts/gather.py"
