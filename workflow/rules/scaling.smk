# Wide SAEs (methods/5): trained on a stream of a corpus, read, searched, steered with, explained.


rule scaling:
    input:
        SCALING_SHOWN,


# One job trains all SAEs that read the same stream, so that every token goes through the model once; where
# jobs share them (docs/sharding.md), each reads the stream by itself.
for name, group in wide_groups_in(shared=False).items():

    rule:
        name:
            f"train_wide_{name}"
        input:
            **wide_inputs(group),
        output:
            banks=list(map(directory, of_group(BANK, group.banks))),
        log:
            f"results/logs/saes/{group.model}/wide/{name}.log",
        benchmark:
            f"results/benchmarks/saes/{group.model}/wide/{name}.tsv"
        conda:
            "../../envs/saeflow.yaml"
        threads: THREADS
        resources:
            gpu=1,
            model_jobs=wide_model_jobs(group),
            mem_mb=wide_mem_mb(group),
            runtime=wide_runtime(group),
            checkpoint_minutes=wide_minutes(group),
        params:
            code=code_of("train_wide"),
            spec=wide_spec(group),
        script:
            "../scripts/train_wide.py"


for name, group in wide_groups_in(shared=True).items():

    rule:
        name:
            f"train_wide_{name}_shard"
        input:
            **wide_inputs(group),
        output:
            shard=temp(
                directory(
                    f"results/shards/training/wide/{name}/{{origin}}/{{scatteritem}}"
                )
            ),
        log:
            f"results/logs/shards/training/wide/{name}/{{origin}}/{{scatteritem}}.log",
        benchmark:
            f"results/benchmarks/shards/training/wide/{name}/{{origin}}/{{scatteritem}}.tsv"
        conda:
            "../../envs/saeflow.yaml"
        threads: THREADS
        resources:
            gpu=1,
            model_jobs=wide_model_jobs(group),
            mem_mb=wide_mem_mb(group),
            runtime=wide_runtime(group),
            checkpoint_minutes=wide_minutes(group),
        params:
            code=code_of("train_wide"),
            spec=wide_spec(group),
            banks=wide_paths(group),
        script:
            "../scripts/train_wide.py"

    rule:
        name:
            f"train_wide_{name}_gather"
        input:
            **wide_inputs(group),
            shards=wide_shards(name, group),
        output:
            banks=list(map(directory, of_group(BANK, group.banks))),
        log:
            f"results/logs/saes/{group.model}/wide/{name}.log",
        benchmark:
            f"results/benchmarks/saes/{group.model}/wide/{name}.tsv"
        localrule: True
        conda:
            "../../envs/saeflow.yaml"
        resources:
            mem_mb=gathering_mem_mb,
            runtime=60,
        params:
            code=code_of("train_wide"),
            spec=wide_spec(group),
        script:
            "../scripts/train_wide.py"


rule search_scaling:
    input:
        model=model_files,
        corpus=scaling_corpus,
        banks=searched_saes,
        texts=expand(
            "results/datasets/{dataset}/texts.parquet", dataset=prompt_datasets(CFG)
        ),
        prompts=searched_prompts,
    output:
        search="results/scaling/{model}/search.parquet",
        targets="results/scaling/{model}/search_targets.parquet",
        prompts="results/scaling/{model}/search_prompts.parquet",
    log:
        "results/logs/scaling/{model}/search.log",
    benchmark:
        "results/benchmarks/scaling/{model}/search.tsv"
    wildcard_constraints:
        model=one_of(SCALING_TRAINED),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("search_scaling"),
        spec=searching_spec,
    script:
        "../scripts/search_scaling.py"


rule read_scaling:
    input:
        model=model_files,
        corpus=scaling_corpus,
        banks=scaling_saes,
        search=of_scaling("search"),
    output:
        quality="results/scaling/{model}/quality.parquet",
        features="results/scaling/{model}/features.parquet",
        densities="results/scaling/{model}/densities.parquet",
        examples="results/scaling/{model}/examples.parquet",
        tokens="results/scaling/{model}/tokens.parquet",
        neighbours="results/scaling/{model}/neighbours.parquet",
        map="results/scaling/{model}/map.parquet",
    log:
        "results/logs/scaling/{model}/reading.log",
    benchmark:
        "results/benchmarks/scaling/{model}/reading.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("read_scaling"),
        spec=reading_spec,
    script:
        "../scripts/read_scaling.py"


rule steer_scaling:
    input:
        model=model_files,
        corpus=scaling_corpus,
        topics=expand(
            "results/datasets/{dataset}/texts.parquet", dataset=prompt_datasets(CFG)
        ),
        bank=scaling_main,
        search="results/scaling/{model}/search.parquet",
        features="results/scaling/{model}/features.parquet",
        prompts=continued_prompts,
        shards=shards_of_steering,
    output:
        continuations="results/scaling/{model}/continuations.parquet",
        steering="results/scaling/{model}/steering.parquet",
    log:
        "results/logs/scaling/{model}/steering.log",
    benchmark:
        "results/benchmarks/scaling/{model}/steering.tsv"
    wildcard_constraints:
        model=one_of(SCALING_TRAINED),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("steer_scaling"),
        spec=steering_spec,
    script:
        "../scripts/steer_scaling.py"


rule steer_scaling_shard:
    input:
        model=model_files,
        corpus=scaling_corpus,
        topics=expand(
            "results/datasets/{dataset}/texts.parquet", dataset=prompt_datasets(CFG)
        ),
        bank=scaling_main,
        search="results/scaling/{model}/search.parquet",
        features="results/scaling/{model}/features.parquet",
        prompts=continued_prompts,
    output:
        shard=temp(
            directory("results/shards/ablation/scaling/{model}/{origin}/{scatteritem}")
        ),
    log:
        "results/logs/shards/ablation/scaling/{model}/{origin}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/ablation/scaling/{model}/{origin}/{scatteritem}.tsv"
    wildcard_constraints:
        model=one_of(SCALING_TRAINED),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=shard_runtime,
    params:
        code=code_of("steer_scaling"),
        spec=steering_spec,
    script:
        "../scripts/steer_scaling.py"


rule explain_scaling:
    input:
        model=model_files,
        corpus=scaling_corpus,
        bank=scaling_main,
        features="results/scaling/{model}/features.parquet",
        search=of_scaling("search"),
        explainer=teller_files("explainer"),
        scorer=teller_files("scorer"),
    output:
        examples="results/scaling/{model}/explanation_examples.parquet",
        explanations="results/scaling/{model}/explanations.parquet",
        verdicts="results/scaling/{model}/explanation_verdicts.parquet",
        scores="results/scaling/{model}/explanation_scores.parquet",
        summary="results/scaling/{model}/explanation_summary.parquet",
    log:
        "results/logs/scaling/{model}/explanations.log",
    benchmark:
        "results/benchmarks/scaling/{model}/explanations.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("explain_scaling"),
        spec=explaining_spec,
    script:
        "../scripts/explain_scaling.py"


rule summarise_scaling:
    input:
        [path for each in JUDGEMENTS.values() for path in each["tables"].values()],
        [path for each in JUDGEMENTS.values() for path in each["banks"]],
    output:
        training=expand(
            "results/scaling/{model}/training.parquet", model=SCALING_MODELS
        ),
        claims=expand("results/scaling/{model}/claims.parquet", model=SCALING_MODELS),
    log:
        "results/logs/scaling/summary.log",
    benchmark:
        "results/benchmarks/scaling/summary.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=tables_mem_mb,
        runtime=runtime,
    params:
        code=code_of("summarise_scaling"),
        spec=JUDGEMENTS,
    script:
        "../scripts/summarise_scaling.py"
