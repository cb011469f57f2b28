# The studies' questions, model beside model: reads the other studies' tables only.


# Each calibrated model that is no control, with its dictionaries and what stands beside them.
COMPARED = [
    {
        "model": model,
        "dictionary": dictionary,
        "untrained": [
            name
            for name, other in calibrated_models(CFG).items()
            if getattr(CFG.models[name], "of", None) == model
            and dictionary in other.dictionaries
        ],
        "controls": named_controls(CFG, dictionary),
    }
    for model, run in calibrated_models(CFG).items()
    if resolve_model(CFG, model)[1] is None
    for dictionary in run.dictionaries
]
COMPARISONS = (
    ["results/compare/gsm8k.parquet"]
    + ["results/compare/calibration.parquet"] * bool(CALIBRATED)
    + ["results/compare/capacity.parquet"] * bool(SIZED)
)


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
        summaries=expand("results/gsm8k/{model}/summary.parquet", model=calibrated_models(CFG)),
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
        spec={"models": list(calibrated_models(CFG)), "studied": COMPARED},
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
