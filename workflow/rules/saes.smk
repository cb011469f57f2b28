# Banks of SAEs, one per site of a model, and what they say about the analysed problems.


rule train_bank:
    input:
        examples=training_examples,
        capture=training_capture,
    output:
        banks=[directory("results/saes/{model}/{dictionary}/seed{seed}")],
    log:
        "results/logs/saes/{model}/{dictionary}/seed{seed}.log",
    benchmark:
        "results/benchmarks/saes/{model}/{dictionary}/seed{seed}.tsv"
    wildcard_constraints:
        model=in_no_group(BANK, {**TRAINED_GROUPS, **WIDE_BANKS}),
        dictionary=one_of(TRAINED),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("train_bank"),
        spec=bank_specs,
    script:
        "../scripts/train_bank.py"


rule encode_features:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        capture="results/capture/{model}/{dataset}",
        banks=["results/saes/{model}/{dictionary}/seed{seed}"],
    output:
        features=[
            directory("results/features/{model}/{dataset}/{dictionary}/seed{seed}")
        ],
    log:
        "results/logs/features/{model}/{dataset}/{dictionary}/seed{seed}.log",
    benchmark:
        "results/benchmarks/features/{model}/{dataset}/{dictionary}/seed{seed}.tsv"
    wildcard_constraints:
        model=in_no_group(FEATURES, ENCODED_GROUPS),
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("encode_features"),
        spec=encode_specs,
    script:
        "../scripts/encode_features.py"


# Most controls take less time than the imports of a job, so those of a dictionary share one.
for name, group in TRAINED_GROUPS.items():

    rule:
        name:
            f"train_controls_{name}"
        input:
            examples=training_examples(group[0]),
            capture=training_capture(group[0]),
        output:
            banks=list(map(directory, of_group(BANK, group))),
        log:
            shared_by(group, "results/logs/saes/{model}/{of}/controls/seed{seed}.log"),
        benchmark:
            shared_by(
                group, "results/benchmarks/saes/{model}/{of}/controls/seed{seed}.tsv"
            )
        conda:
            "../../envs/saeflow.yaml"
        threads: THREADS
        resources:
            gpu=1,
            mem_mb=mem_mb,
            runtime=runtime_of(group),
        params:
            code=code_of("train_bank"),
            spec=bank_specs(*group),
        script:
            "../scripts/train_bank.py"


for name, group in ENCODED_GROUPS.items():

    rule:
        name:
            f"encode_controls_{name}"
        input:
            problems=shared_by(group, "results/datasets/{dataset}/problems.parquet"),
            capture=shared_by(group, "results/capture/{model}/{dataset}"),
            banks=of_group(BANK, group),
        output:
            features=list(map(directory, of_group(FEATURES, group))),
        log:
            shared_by(
                group,
                "results/logs/features/{model}/{dataset}/{of}/controls/seed{seed}.log",
            ),
        benchmark:
            shared_by(
                group,
                "results/benchmarks/features/{model}/{dataset}/{of}/controls/seed{seed}.tsv",
            )
        conda:
            "../../envs/saeflow.yaml"
        threads: THREADS
        resources:
            gpu=1,
            mem_mb=mem_mb,
            runtime=runtime_of(group),
        params:
            code=code_of("encode_features"),
            spec=encode_specs(*group),
        script:
            "../scripts/encode_features.py"
