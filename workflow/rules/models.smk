# Models of the Hugging Face hub. Fetched where Snakemake itself runs, for compute nodes may have no
# network; every job of such a model, and of its untrained controls, reads the folder made here.


localrules:
    fetch_model,


# What the studies of a configuration take from the hub, data sets too: `snakemake --cores 1 fetch` on a
# login node, which without an executor runs every job there.
rule fetch:
    input:
        FETCHED,


rule fetch_model:
    output:
        model=directory("results/models/{model}"),
    log:
        "results/logs/models/{model}.log",
    benchmark:
        "results/benchmarks/models/{model}.tsv"
    wildcard_constraints:
        model=one_of(hub_models(CFG)),
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=fetching_mb,
        runtime=runtime,
    params:
        code=code_of("fetch_model"),
        spec=fetch_spec,
    script:
        "../scripts/fetch_model.py"
