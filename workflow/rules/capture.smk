# One pass of a model over a data set, whatever a study analyses later: of problems every hook, layer
# and thought step; of texts every layer and token at the hooks that SAEs read.


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
        dataset=one_of(PROBLEM_SETS),
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
        dataset=one_of(TEXT_SETS),
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


# With --cache, other runs with the same model and data set find what one has captured (docs/cache.md).
share("capture_thoughts", "capture_tokens")
