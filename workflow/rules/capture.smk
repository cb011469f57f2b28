# One pass of a model over a data set, whatever a study analyses later: of problems every hook, layer
# and thought step; of texts every layer and token at the hooks that SAEs read. Where jobs share a
# capture (docs/sharding.md), each writes its chunks, and a last one links them together.


rule capture_thoughts:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        model=model_files,
    output:
        capture=directory("results/capture/{model}/{dataset}"),
    log:
        "results/logs/capture/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/capture/{model}/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(whole_sets(PROBLEM_SETS)),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("capture_thoughts"),
        spec=model_spec,
    script:
        "../scripts/capture_thoughts.py"


rule capture_thoughts_shard:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        model=model_files,
    output:
        shard=temp(
            directory(
                "results/shards/capture/{model}/{dataset}/{origin}/{scatteritem}"
            )
        ),
    log:
        "results/logs/shards/capture/{model}/{dataset}/{origin}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/capture/{model}/{dataset}/{origin}/{scatteritem}.tsv"
    wildcard_constraints:
        dataset=one_of(shared_sets(PROBLEM_SETS)),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=shard_runtime,
    params:
        code=code_of("capture_thoughts"),
        spec=model_spec,
    script:
        "../scripts/capture_thoughts.py"


rule capture_thoughts_gather:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        model=model_files,
        shards=shards_of_capture("capture_thoughts", model_spec),
    output:
        capture=directory("results/capture/{model}/{dataset}"),
    log:
        "results/logs/capture/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/capture/{model}/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(shared_sets(PROBLEM_SETS)),
    localrule: True
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=gathering_mem_mb,
        runtime=60,
    params:
        code=code_of("capture_thoughts"),
        spec=model_spec,
    script:
        "../scripts/capture_thoughts.py"


rule capture_tokens:
    input:
        texts="results/datasets/{dataset}/texts.parquet",
        model=model_files,
    output:
        capture=directory("results/capture/{model}/{dataset}"),
    log:
        "results/logs/capture/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/capture/{model}/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(whole_sets(TEXT_SETS)),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("capture_tokens"),
        spec=token_spec,
    script:
        "../scripts/capture_tokens.py"


rule capture_tokens_shard:
    input:
        texts="results/datasets/{dataset}/texts.parquet",
        model=model_files,
    output:
        shard=temp(
            directory(
                "results/shards/capture/{model}/{dataset}/{origin}/{scatteritem}"
            )
        ),
    log:
        "results/logs/shards/capture/{model}/{dataset}/{origin}/{scatteritem}.log",
    benchmark:
        "results/benchmarks/shards/capture/{model}/{dataset}/{origin}/{scatteritem}.tsv"
    wildcard_constraints:
        dataset=one_of(shared_sets(TEXT_SETS)),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=shard_runtime,
    params:
        code=code_of("capture_tokens"),
        spec=token_spec,
    script:
        "../scripts/capture_tokens.py"


rule capture_tokens_gather:
    input:
        texts="results/datasets/{dataset}/texts.parquet",
        model=model_files,
        shards=shards_of_capture("capture_tokens", token_spec),
    output:
        capture=directory("results/capture/{model}/{dataset}"),
    log:
        "results/logs/capture/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/capture/{model}/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(shared_sets(TEXT_SETS)),
    localrule: True
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=gathering_mem_mb,
        runtime=60,
    params:
        code=code_of("capture_tokens"),
        spec=token_spec,
    script:
        "../scripts/capture_tokens.py"


# With --cache, other runs with the same model and data set find what one has captured (docs/cache.md).
share("capture_thoughts", "capture_tokens")
