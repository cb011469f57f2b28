# One pass of a model over a data set: every hook, layer and step, whatever a study analyses later.


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
