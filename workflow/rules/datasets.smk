# Problems and the tokens of their calculations.


rule load_problems:
    input:
        source=dataset_file,
    output:
        problems="results/datasets/{dataset}/problems.parquet",
    log:
        "results/logs/datasets/{dataset}/problems.log",
    benchmark:
        "results/benchmarks/datasets/{dataset}/problems.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("load_problems"),
        spec=dataset_spec,
    script:
        "../scripts/load_problems.py"


rule cut_tokens:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
    output:
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
    log:
        "results/logs/datasets/{dataset}/cot_tokens.log",
    benchmark:
        "results/benchmarks/datasets/{dataset}/cot_tokens.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("cut_tokens"),
    script:
        "../scripts/cut_tokens.py"
