# Specialist features (methods/3): do they detect form or meaning, and do they matter?


rule specialists:
    input:
        list(SPECIALIST_GATHERED),
        SPECIALIST_SUMMARIES,
        SPECIALIST_SHARED,


rule match_texts:
    input:
        source=matched_source,
    output:
        texts="results/specialists/texts.parquet",
    log:
        "results/logs/specialists/texts.log",
    benchmark:
        "results/benchmarks/specialists/texts.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("match_texts"),
        spec=matched_spec,
    script:
        "../scripts/match_texts.py"


rule pool_texts:
    input:
        model=model_files,
        bank="results/saes/{model}/{dictionary}/seed{seed}",
        texts="results/specialists/texts.parquet",
    output:
        pooled="results/specialists/{model}/parts/{dictionary}/seed{seed}/pooled.parquet",
        lengths="results/specialists/{model}/parts/{dictionary}/seed{seed}/lengths.parquet",
    log:
        "results/logs/specialists/{model}/{dictionary}/seed{seed}/pooled.log",
    benchmark:
        "results/benchmarks/specialists/{model}/{dictionary}/seed{seed}/pooled.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("pool_texts"),
        spec=pooling_spec,
    script:
        "../scripts/pool_texts.py"


rule find_specialists:
    input:
        texts="results/specialists/texts.parquet",
        pooled="results/specialists/{model}/parts/{dictionary}/seed{seed}/pooled.parquet",
        lengths="results/specialists/{model}/parts/{dictionary}/seed{seed}/lengths.parquet",
    output:
        features="results/specialists/{model}/parts/{dictionary}/seed{seed}/features.parquet",
        similarities="results/specialists/{model}/parts/{dictionary}/seed{seed}/similarities.parquet",
        numbers="results/specialists/{model}/parts/{dictionary}/seed{seed}/numbers.parquet",
    log:
        "results/logs/specialists/{model}/{dictionary}/seed{seed}/found.log",
    benchmark:
        "results/benchmarks/specialists/{model}/{dictionary}/seed{seed}/found.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("find_specialists"),
        spec=finding_spec,
    script:
        "../scripts/find_specialists.py"


rule ask_specialists:
    input:
        model=model_files,
        texts="results/specialists/texts.parquet",
        mixture="results/mixture/texts.parquet",
        judge=judge_files,
    output:
        tasks="results/specialists/{model}/tasks.parquet",
        answers="results/specialists/{model}/answers.parquet",
    log:
        "results/logs/specialists/{model}/answers.log",
    benchmark:
        "results/benchmarks/specialists/{model}/answers.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("ask_specialists"),
        spec=answering_spec,
    script:
        "../scripts/ask_specialists.py"


rule try_specialists:
    input:
        model=model_files,
        bank="results/saes/{model}/{dictionary}/seed{seed}",
        texts="results/specialists/texts.parquet",
        mixture="results/mixture/texts.parquet",
        asked=asked_tables,
        pooled="results/specialists/{model}/parts/{dictionary}/seed{seed}/pooled.parquet",
        lengths="results/specialists/{model}/parts/{dictionary}/seed{seed}/lengths.parquet",
        features="results/specialists/{model}/parts/{dictionary}/seed{seed}/features.parquet",
        shards=shards_of_specialists,
    output:
        activations="results/specialists/{model}/parts/{dictionary}/seed{seed}/activations.parquet",
        behaviour="results/specialists/{model}/parts/{dictionary}/seed{seed}/behaviour.parquet",
        effects="results/specialists/{model}/parts/{dictionary}/seed{seed}/effects.parquet",
        examples="results/specialists/{model}/parts/{dictionary}/seed{seed}/examples.parquet",
        tried="results/specialists/{model}/parts/{dictionary}/seed{seed}/tried.parquet",
    log:
        "results/logs/specialists/{model}/{dictionary}/seed{seed}/tried.log",
    benchmark:
        "results/benchmarks/specialists/{model}/{dictionary}/seed{seed}/tried.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("try_specialists"),
        spec=trying_spec,
    script:
        "../scripts/try_specialists.py"


rule try_specialists_shard:
    input:
        model=model_files,
        bank="results/saes/{model}/{dictionary}/seed{seed}",
        texts="results/specialists/texts.parquet",
        mixture="results/mixture/texts.parquet",
        asked=asked_tables,
        pooled="results/specialists/{model}/parts/{dictionary}/seed{seed}/pooled.parquet",
        lengths="results/specialists/{model}/parts/{dictionary}/seed{seed}/lengths.parquet",
        features="results/specialists/{model}/parts/{dictionary}/seed{seed}/features.parquet",
    output:
        shard=temp(
            directory(
                "results/shards/ablation/specialists/{model}/{dictionary}/seed{seed}/{origin}/{scatteritem}"
            )
        ),
    log:
        "results/logs/shards/ablation/specialists/{model}/{dictionary}/seed{seed}/{origin}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/ablation/specialists/{model}/{dictionary}/seed{seed}/{origin}/{scatteritem}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=shard_runtime,
    params:
        code=code_of("try_specialists"),
        spec=trying_spec,
    script:
        "../scripts/try_specialists.py"


rule compare_specialists:
    input:
        texts="results/specialists/texts.parquet",
        pooled=compared_pools("pooled"),
        lengths=compared_pools("lengths"),
    output:
        similarities="results/compare/specialist_word_similarities.parquet",
        numbers="results/compare/specialist_words.parquet",
        alignment="results/compare/specialists.parquet",
    log:
        "results/logs/compare/specialists.log",
    benchmark:
        "results/benchmarks/compare/specialists.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("compare_specialists"),
        spec=shared_spec,
    script:
        "../scripts/compare_specialists.py"


# Models take less time than the imports of a job, so they share one.
rule summarise_specialists:
    input:
        paths_in(SPECIALIST_SUMMARISED),
        texts="results/specialists/texts.parquet",
        words="results/compare/specialist_words.parquet",
        alignment="results/compare/specialists.parquet",
    output:
        summaries=expand(
            "results/specialists/{model}/summary.parquet", model=SPECIALIST_MODELS
        ),
        claims=expand(
            "results/specialists/{model}/claims.parquet", model=SPECIALIST_MODELS
        ),
    log:
        "results/logs/specialists/summary.log",
    benchmark:
        "results/benchmarks/specialists/summary.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("summarise_specialists"),
        spec=specialists_specs,
    script:
        "../scripts/summarise_specialists.py"


rule gather_specialists:
    input:
        all_parts(SPECIALIST_GATHERED),
    output:
        list(SPECIALIST_GATHERED),
    log:
        "results/logs/specialists/gathered.log",
    benchmark:
        "results/benchmarks/specialists/gathered.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("gather"),
        spec=list(SPECIALIST_GATHERED.values()),
    script:
        "../scripts/gather.py"
