# GSM8K feature interpretability (methods/1): tokens -> association and labels -> examples, summary.


rule gsm8k:
    input:
        list(GSM8K_GATHERED),
        COMMON_FEATURES,
        CAPACITY,


rule associate:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
    output:
        tested="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/tested.parquet",
        association="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/association.parquet",
        labels="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/labels.parquet",
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/association.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/association.tsv"
    conda:
        "../../envs/saeflow.yaml"
    # Counts are exact whatever the threads, and one is busy: two jobs side by side are faster.
    threads: 1
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("associate"),
        spec={
            "tests": {
                "association": plain(GSM8K.association),
                "layers": plain(GSM8K)["layers"],
            },
            "labels": plain(GSM8K.labels),
        },
    script:
        "../scripts/associate.py"


rule summarise:
    input:
        tested="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/tested.parquet",
        labels="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/labels.parquet",
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
    output:
        permutations="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/permutations.parquet",
        summary="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/summary.parquet",
        examples="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/examples.parquet",
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/summary.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/summary.tsv"
    conda:
        "../../envs/saeflow.yaml"
    # Counts are exact whatever the threads, and one is busy: two jobs side by side are faster.
    threads: 1
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("summarise"),
        spec={
            "permuted": {
                "criteria": {
                    "association": plain(GSM8K.association),
                    "labels": plain(GSM8K.labels),
                    "permutations": plain(GSM8K.permutations),
                },
                "layers": plain(GSM8K)["layers"],
            },
            "examples": plain(GSM8K)["examples"],
        },
    script:
        "../scripts/summarise.py"


rule gather_gsm8k:
    input:
        all_parts(GSM8K_GATHERED),
    output:
        list(GSM8K_GATHERED),
    log:
        "results/logs/gsm8k/gathered.log",
    benchmark:
        "results/benchmarks/gsm8k/gathered.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("gather"),
        spec=list(GSM8K_GATHERED.values()),
    script:
        "../scripts/gather.py"
