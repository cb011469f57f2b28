# The decimal bug (methods/4): what is answered in which format, and which layers, heads and features carry it.


rule decimal_bug:
    input:
        list(DECIMAL_GATHERED),
        DECIMAL_SUMMARIES,


rule ask_decimals:
    input:
        model=model_files,
    output:
        prompts="results/decimal_bug/{model}/prompts.parquet",
        alignment="results/decimal_bug/{model}/alignment.parquet",
        answers="results/decimal_bug/{model}/answers.parquet",
    log:
        "results/logs/decimal_bug/{model}/answers.log",
    benchmark:
        "results/benchmarks/decimal_bug/{model}/answers.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("ask_decimals"),
        spec=asking_spec,
    script:
        "../scripts/ask_decimals.py"


rule patch_decimals:
    input:
        model=model_files,
        prompts="results/decimal_bug/{model}/prompts.parquet",
        answers="results/decimal_bug/{model}/answers.parquet",
        shards=shards_of_patches,
    output:
        patches="results/decimal_bug/{model}/patches.parquet",
    log:
        "results/logs/decimal_bug/{model}/patches.log",
    benchmark:
        "results/benchmarks/decimal_bug/{model}/patches.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("patch_decimals"),
        spec=patching_spec,
    script:
        "../scripts/patch_decimals.py"


rule patch_decimals_shard:
    input:
        model=model_files,
        prompts="results/decimal_bug/{model}/prompts.parquet",
        answers="results/decimal_bug/{model}/answers.parquet",
    output:
        shard=temp(
            directory(
                "results/shards/ablation/decimal_bug/{model}/{origin}/{scatteritem}"
            )
        ),
    log:
        "results/logs/shards/ablation/decimal_bug/{model}/{origin}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/ablation/decimal_bug/{model}/{origin}/{scatteritem}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=shard_runtime,
    params:
        code=code_of("patch_decimals"),
        spec=patching_spec,
    script:
        "../scripts/patch_decimals.py"


rule compare_formats:
    input:
        model=model_files,
        bank="results/saes/{model}/{dictionary}/seed{seed}",
        prompts="results/decimal_bug/{model}/prompts.parquet",
        answers="results/decimal_bug/{model}/answers.parquet",
    output:
        overlap="results/decimal_bug/{model}/parts/{dictionary}/seed{seed}/overlap.parquet",
        lists="results/decimal_bug/{model}/parts/{dictionary}/seed{seed}/layer_features.parquet",
        attribution="results/decimal_bug/{model}/parts/{dictionary}/seed{seed}/attribution.parquet",
        numbers="results/decimal_bug/{model}/parts/{dictionary}/seed{seed}/numbers.parquet",
    log:
        "results/logs/decimal_bug/{model}/{dictionary}/seed{seed}.log",
    benchmark:
        "results/benchmarks/decimal_bug/{model}/{dictionary}/seed{seed}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("compare_formats"),
        spec=formats_spec,
    script:
        "../scripts/compare_formats.py"


# Models take less time than the imports of a job, so they share one.
rule summarise_decimals:
    input:
        paths_in(DECIMAL_SUMMARISED),
    output:
        summaries=expand(
            "results/decimal_bug/{model}/summary.parquet", model=DECIMAL_MODELS
        ),
        claims=expand(
            "results/decimal_bug/{model}/claims.parquet", model=DECIMAL_MODELS
        ),
    log:
        "results/logs/decimal_bug/summary.log",
    benchmark:
        "results/benchmarks/decimal_bug/summary.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("summarise_decimals"),
        spec=decimals_specs,
    script:
        "../scripts/summarise_decimals.py"


rule gather_decimals:
    input:
        all_parts(DECIMAL_GATHERED),
    output:
        list(DECIMAL_GATHERED),
    log:
        "results/logs/decimal_bug/gathered.log",
    benchmark:
        "results/benchmarks/decimal_bug/gathered.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("gather"),
        spec=list(DECIMAL_GATHERED.values()),
    script:
        "../scripts/gather.py"
