# Banks of SAEs, one per site of a model, and what they say about the analysed problems.


rule train_bank:
    input:
        examples=training_examples,
        capture=training_capture,
    output:
        bank=directory("results/saes/{model}/{dictionary}/seed{seed}"),
    log:
        "results/logs/saes/{model}/{dictionary}/seed{seed}.log",
    benchmark:
        "results/benchmarks/saes/{model}/{dictionary}/seed{seed}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("train_bank"),
        spec=dictionary_spec,
    script:
        "../scripts/train_bank.py"


rule encode_features:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        capture="results/capture/{model}/{dataset}",
        bank="results/saes/{model}/{dictionary}/seed{seed}",
    output:
        features=directory("results/features/{model}/{dataset}/{dictionary}/seed{seed}"),
    log:
        "results/logs/features/{model}/{dataset}/{dictionary}/seed{seed}.log",
    benchmark:
        "results/benchmarks/features/{model}/{dataset}/{dictionary}/seed{seed}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("encode_features"),
        spec=encode_spec,
    script:
        "../scripts/encode_features.py"
