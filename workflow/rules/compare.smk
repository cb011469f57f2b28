# The studies' questions, model beside model: reads the other studies' tables only.


rule compare:
    input:
        "results/compare/gsm8k.parquet",


rule compare_gsm8k:
    input:
        summaries=expand("results/gsm8k/{model}/summary.parquet", model=GSM8K.models),
        permutations=[path for paths in PERMUTED.values() for path in paths],
    output:
        comparison="results/compare/gsm8k.parquet",
    log:
        "results/logs/compare/gsm8k.log",
    benchmark:
        "results/benchmarks/compare/gsm8k.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("compare_gsm8k"),
        spec={
            "models": list(GSM8K.models),
            "permuted": [model for model, paths in PERMUTED.items() for _ in paths],
        },
    script:
        "../scripts/compare_gsm8k.py"
