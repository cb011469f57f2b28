# Pages for people.

# Relative, so that a moved clone does not count as a change, and right under snakemake -d, too.
PAGES = os.path.relpath(ROOT / "workflow/report")


rule report:
    input:
        "results/report",


rule write_report:
    input:
        template=f"{PAGES}/index.html.jinja",
        included=[f"{PAGES}/{name}" for name in ("page.css", "figures.js", "page.js")],
        abilities=f"{PAGES}/models.html.jinja",
        problems=expand(
            "results/datasets/{dataset}/problems.parquet", dataset=study_datasets(CFG)
        ),
        banks=report_banks,
        labels=expand("results/gsm8k/{model}/labels.parquet", model=GSM8K.models),
        summaries=expand("results/gsm8k/{model}/summary.parquet", model=GSM8K.models),
        evaluations=expand(
            "results/evaluation/{model}/evaluation.parquet",
            model=EVALUATED,
        ),
        curves=list(CURVES.values()),
    output:
        folder=report(
            directory("results/report"),
            htmlindex="index.html",
            caption="../report/gsm8k.rst",
            category="GSM8K",
            labels={"page": "Overview"},
        ),
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
        code=code_of("write_report"),
        spec={
            "models": list(GSM8K.models),
            "published": plain(GSM8K),
            "evaluated": evaluated(),
        },
    script:
        "../scripts/write_report.py"
