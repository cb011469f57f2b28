# GSM8K feature interpretability (methods/1): tokens -> association and labels -> examples, summary.


rule gsm8k:
    input:
        PUBLIC_TABLES,
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


rule permute:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        tokens="results/datasets/{dataset}/cot_tokens.parquet",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
    output:
        permutations="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/permutations.parquet",
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/permutations.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/permutations.tsv"
    conda:
        "../../envs/saeflow.yaml"
    # Counts are exact whatever the threads, and one is busy: two jobs side by side are faster.
    threads: 1
    resources:
        gpu=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("permute"),
        spec={
            "criteria": {
                "association": plain(GSM8K.association),
                "labels": plain(GSM8K.labels),
                "permutations": plain(GSM8K.permutations),
            },
            "layers": plain(GSM8K)["layers"],
        },
    script:
        "../scripts/permute.py"


rule top_examples:
    input:
        problems="results/datasets/{dataset}/problems.parquet",
        labels="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/labels.parquet",
        features="results/features/{model}/{dataset}/{dictionary}/seed{seed}",
    output:
        examples="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/examples.parquet",
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/examples.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/examples.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("top_examples"),
        spec={"examples": plain(GSM8K)["examples"]},
    script:
        "../scripts/top_examples.py"


rule summarise:
    input:
        tested="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/tested.parquet",
        labels="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/labels.parquet",
        permutations="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/permutations.parquet",
    output:
        summary="results/gsm8k/{model}/parts/{dataset}/{dictionary}/seed{seed}/summary.parquet",
    log:
        "results/logs/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/summary.log",
    benchmark:
        "results/benchmarks/gsm8k/{model}/{dataset}/{dictionary}/seed{seed}/summary.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("summarise"),
        spec={"labels": plain(GSM8K.labels), "permutations": plain(GSM8K.permutations)},
    script:
        "../scripts/summarise.py"


rule gather_records:
    input:
        all_parts(RECORDS),
    output:
        list(RECORDS),
    log:
        "results/logs/gsm8k/records.log",
    benchmark:
        "results/benchmarks/gsm8k/records.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("gather"),
        spec=list(RECORDS.values()),
    script:
        "../scripts/gather.py"


rule gather_summaries:
    input:
        all_parts(SUMMARIES),
    output:
        list(SUMMARIES),
    log:
        "results/logs/gsm8k/summaries.log",
    benchmark:
        "results/benchmarks/gsm8k/summaries.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("gather"),
        spec=list(SUMMARIES.values()),
    script:
        "../scripts/gather.py"


rule gather_discoveries:
    input:
        all_parts(DISCOVERIES),
    output:
        list(DISCOVERIES),
    log:
        "results/logs/gsm8k/discoveries.log",
    benchmark:
        "results/benchmarks/gsm8k/discoveries.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("gather"),
        spec=list(DISCOVERIES.values()),
    script:
        "../scripts/gather.py"
