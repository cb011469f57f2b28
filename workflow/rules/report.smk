# Pages for people.


rule report:
    input:
        "results/report/index.html",


rule write_report:
    input:
        template="workflow/report/index.html.jinja",
        problems=expand("results/datasets/{dataset}/problems.parquet", dataset=study_datasets(CFG)),
        banks=report_banks,
        labels=expand("results/gsm8k/{model}/labels.parquet", model=GSM8K.models),
        summaries=expand("results/gsm8k/{model}/summary.parquet", model=GSM8K.models),
    output:
        page=report(
            "results/report/index.html",
            caption="../report/gsm8k.rst",
            category="GSM8K",
            labels={"page": "Overview"},
        ),
        plotly="results/report/plotly.min.js",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../envs/saeflow.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_digest("saeflow.report.page"),
        spec={"models": list(GSM8K.models), "published": plain(GSM8K)},
    script:
        "../scripts/write_report.py"
