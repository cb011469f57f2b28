# SAEs that others trained (methods/0): fetched by revision, checked against the model, kept as a bank
# that reads what plain Hugging Face models carry.


rule fetch_saes:
    input:
        model=model_files,
        folder=released_folder,
    output:
        bank=directory("results/released/{model}/{dictionary}"),
    log:
        "results/logs/released/{model}/{dictionary}.log",
    benchmark:
        "results/benchmarks/released/{model}/{dictionary}.tsv"
    wildcard_constraints:
        dictionary=one_of(RELEASED),
    # Compute nodes may have no network.
    localrule: True
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=released_mb,
        runtime=runtime,
    params:
        code=code_of("fetch_saes"),
        spec=released_spec,
    script:
        "../scripts/fetch_saes.py"
