# Released SAEs are held against what they should give before any study reads them.


rule check_saes:
    input:
        bank="results/released/{model}/{dictionary}",
        model=model_files,
        texts=training_examples,
    output:
        bank=directory("results/saes/{model}/{dictionary}/seed{seed}"),
    log:
        "results/logs/saes/{model}/{dictionary}/seed{seed}.log",
    benchmark:
        "results/benchmarks/saes/{model}/{dictionary}/seed{seed}.tsv"
    wildcard_constraints:
        dictionary=one_of(RELEASED),
        seed="0",
    conda:
        "../../envs/saeflow.yaml"
    threads: THREADS
    resources:
        gpu=1,
        model_jobs=model_jobs,
        mem_mb=check_mb,
        runtime=runtime,
    params:
        code=code_of("check_saes"),
        spec=check_spec,
    script:
        "../scripts/check_saes.py"
