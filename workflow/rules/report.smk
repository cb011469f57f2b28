# Pages for people.

# Relative, so that a moved clone does not count as a change, and right under snakemake -d, too.
PAGES = os.path.relpath(ROOT / "workflow/report")
TEMPLATES = [
    "base.html.jinja",
    "calibrated.html.jinja",
    "compare.html.jinja",
    "features.html.jinja",
    "features.js",
    "gsm8k.html.jinja",
    "index.html.jinja",
    "macros.html.jinja",
    "models.html.jinja",
    "page.css",
    "page.js",
    "sizes.html.jinja",
]


def calibrated_runs():
    """What the calibrated mode ran, and which of its models have seeds matched and sizes compared."""
    if not CALIBRATED:
        return None
    runs = {name: plain(run) for name, run in calibrated_models(CFG).items()}
    # What the pages tell, and no more: another number of permutations per job is no other report.
    settings = {
        name: plain(CALIBRATED)[name] for name in ("association", "targets", "stability")
    }
    settings["permutations"] = {"count": CALIBRATED.permutations.count}
    settings["halves"] = {"count": CALIBRATED.halves.count}
    return {"settings": settings, "models": runs, "reseeded": RESEEDED, "sized": SIZED}


rule report:
    input:
        "results/report",


rule write_report:
    input:
        templates=[f"{PAGES}/{name}" for name in TEMPLATES],
        datasets=expand(
            "results/datasets/{dataset}/{table}.parquet",
            dataset=study_datasets(CFG),
            table=["problems", "cot_tokens"],
        ),
        studied=public_tables() + COMMON_FEATURES + CAPACITY,
        banks=report_banks,
        comparisons=COMPARISONS,
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
        archive="results/report.zip",
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
            "models": STUDIED,
            "published": plain(GSM8K),
            "calibrated": calibrated_runs(),
            "evaluated": evaluated(),
        },
    script:
        "../scripts/write_report.py"
