# Problems, the tokens of their calculations, and texts.


rule load_problems:
    input:
        source=dataset_file,
    output:
        problems="results/datasets/{dataset}/problems.parquet",
    log:
        "results/logs/datasets/{dataset}/problems.log",
    benchmark:
        "results/benchmarks/datasets/{dataset}/problems.tsv"
    wildcard_constraints:
        dataset=one_of(PROBLEM_SETS),
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


rule load_texts:
    input:
        source=text_source,
    output:
        texts="results/datasets/{dataset}/texts.parquet",
    log:
        "results/logs/datasets/{dataset}/texts.log",
    benchmark:
        "results/benchmarks/datasets/{dataset}/texts.tsv"
    wildcard_constraints:
        dataset=one_of(TEXT_SETS),
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("load_texts"),
        spec=dataset_spec,
    script:
        "../scripts/load_texts.py"
