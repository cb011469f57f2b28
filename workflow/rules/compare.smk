# The studies' questions, model beside model: reads the other studies' tables only.


rule compare:
    input:
        COMPARISONS,


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
            "dictionaries": sorted(
                {name for run in GSM8K.models.values() for name in run.dictionaries}
            ),
            "permuted": [model for model, paths in PERMUTED.items() for _ in paths],
        },
    script:
        "../scripts/compare_gsm8k.py"


rule compare_calibration:
    input:
        summaries=expand(
            "results/gsm8k/{model}/summary.parquet", model=calibrated_models(CFG)
        ),
    output:
        calibration="results/compare/calibration.parquet",
    log:
        "results/logs/compare/calibration.log",
    benchmark:
        "results/benchmarks/compare/calibration.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("compare_calibration"),
        spec={
            "models": list(calibrated_models(CFG)),
            "studied": compared_dictionaries(CFG),
        },
    script:
        "../scripts/compare_calibration.py"


rule compare_capacity:
    input:
        capacity=CAPACITY,
    output:
        matched="results/compare/capacity.parquet",
    log:
        "results/logs/compare/capacity.log",
    benchmark:
        "results/benchmarks/compare/capacity.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("compare_capacity"),
        spec={"models": SIZED},
    script:
        "../scripts/compare_capacity.py"


rule compare_hierarchy:
    input:
        summaries=expand(
            "results/hierarchy/{model}/summary.parquet", model=HIERARCHY_MODELS
        ),
    output:
        comparison="results/compare/hierarchy.parquet",
    log:
        "results/logs/compare/hierarchy.log",
    benchmark:
        "results/benchmarks/compare/hierarchy.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("compare_hierarchy"),
        spec={"models": HIERARCHY_MODELS, "trained": compared_models(CFG)},
    script:
        "../scripts/compare_hierarchy.py"
