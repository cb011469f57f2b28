# The bundled reference models: what they are trained on, what they can do, and how to train them anew.
# The mixture is no input: params carry what a job reads of it, so that other edits rebuild nothing.


rule draw_texts:
    output:
        texts="results/mixture/texts.parquet",
    log:
        "results/logs/mixture/texts.log",
    benchmark:
        "results/benchmarks/mixture/texts.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("draw_texts"),
        spec={"seed": MIXTURE.seed, "parts": plain(MIXTURE.parts)},
    script:
        "../scripts/draw_texts.py"


rule evaluation:
    input:
        expand(
            "results/evaluation/{model}/{table}.parquet",
            model=EVALUATED,
            table=["evaluation", "logit_lens"],
        ),


rule evaluate_model:
    input:
        texts="results/mixture/texts.parquet",
        model=model_files,
    output:
        evaluation="results/evaluation/{model}/evaluation.parquet",
        lens="results/evaluation/{model}/logit_lens.parquet",
    log:
        "results/logs/evaluation/{model}.log",
    benchmark:
        "results/benchmarks/evaluation/{model}.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("evaluate_model"),
        spec=evaluation_spec,
    script:
        "../scripts/evaluate_model.py"


# Only on demand: `snakemake reference_models` trains both from nothing and puts them, each with its
# card, into the folder `models` beside the mixture. A default run reads what lies there and never
# leads here.


rule reference_models:
    input:
        expand("results/reference/{reference}/installed.txt", reference=MIXTURE.models),


rule train_reference:
    output:
        model=directory("results/reference/{reference}/model"),
    log:
        "results/logs/reference/{reference}/training.log",
    benchmark:
        "results/benchmarks/reference/{reference}/training.tsv"
    conda:
        "../../envs/saeflow.yaml"
    # One thread each: two models side by side use two cores better than one after the other.
    threads: 1
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 360 * attempt,
    params:
        code=code_of("train_reference"),
        spec=training_spec,
    script:
        "../scripts/train_reference.py"


rule install_reference:
    input:
        model="results/reference/{reference}/model",
        texts="results/mixture/texts.parquet",
    output:
        # The folder of the model is not an output: a default run must not depend on training.
        done="results/reference/{reference}/installed.txt",
    log:
        "results/logs/reference/{reference}/installation.log",
    benchmark:
        "results/benchmarks/reference/{reference}/installation.tsv"
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=1,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_of("install_reference"),
        spec=installation_spec,
    script:
        "../scripts/install_reference.py"
