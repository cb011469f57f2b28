# Pages for people.

# Relative, so that a moved clone does not count as a change, and right under snakemake -d, too.
PAGES = os.path.relpath(ROOT / "workflow/report")
TEMPLATES = [
    "base.html.jinja",
    "calibrated.html.jinja",
    "compare.html.jinja",
    "decimal_bug.html.jinja",
    "decimal_bug_model.html.jinja",
    "feature_parts.js",
    "features.html.jinja",
    "features.js",
    "gsm8k.html.jinja",
    "hierarchy.html.jinja",
    "hierarchy_causal.html.jinja",
    "hierarchy_model.html.jinja",
    "index.html.jinja",
    "macros.html.jinja",
    "models.html.jinja",
    "page.css",
    "page.js",
    "run.html.jinja",
    "scaling.html.jinja",
    "scaling_features.html.jinja",
    "scaling_features.js",
    "scaling_model.html.jinja",
    "sizes.html.jinja",
    "specialists.html.jinja",
    "specialists_model.html.jinja",
    "tables.js",
]
# What the pages tell of the calibrated mode, and no more: another number of permutations per job is
# no other report.
CALIBRATED_RUNS = CALIBRATED and {
    "settings": {
        "association": plain(CALIBRATED.association),
        "targets": list(CALIBRATED.targets),
        "stability": plain(CALIBRATED.stability),
        "permutations": {"count": CALIBRATED.permutations.count},
        "halves": {"count": CALIBRATED.halves.count},
    },
    "models": {name: plain(run) for name, run in calibrated_models(CFG).items()},
    "reseeded": RESEEDED,
    "sized": SIZED,
}
# Likewise of the hierarchy study.
HIERARCHY_RUNS = HIERARCHY and {
    "models": HIERARCHY_MODELS,
    "published": hierarchy_rules(),
    "calibrated": TAXONOMY
    and {
        "specialists": plain(TAXONOMY.specialists),
        "levels": plain(TAXONOMY.levels),
        "modules": plain(TAXONOMY.modules),
        "causal": CAUSAL and {"set_size": CAUSAL.set_size, "stories": CAUSAL.stories},
    },
}
# Likewise of the study of the decimal bug.
DECIMAL_RUNS = DECIMALS and {
    "models": DECIMAL_MODELS,
    "untrained": {
        shape: name
        for name in DECIMAL_MODELS
        if (shape := getattr(CFG.models[name], "of", None))
    },
    "numbers": list(DECIMALS.published.numbers),
    "top": DECIMALS.published.top,
    "low": DECIMALS.published.low,
    "high": DECIMALS.published.high,
    "samples": DECIMALS.calibrated.behaviour.samples,
    "temperature": DECIMALS.calibrated.behaviour.temperature,
    "q_value": DECIMALS.calibrated.attribution.q_value,
}

# Likewise of the study of specialists.
SPECIALIST_RUNS = SPECIALISTS and {
    "models": SPECIALIST_MODELS,
    "untrained": {
        shape: name
        for name in SPECIALIST_MODELS
        if (shape := getattr(CFG.models[name], "of", None))
    },
    "pooling": SPECIALISTS.calibrated.tasks.pooling,
    "threshold": SPECIALISTS.published.threshold,
    "candidates": SPECIALISTS.published.candidates,
    "top_means": SPECIALISTS.published.top_means,
    "relabelings": SPECIALISTS.calibrated.relabelings,
    "q_value": SPECIALISTS.calibrated.q_value,
    "floor": SPECIALISTS.calibrated.floor,
}

# Likewise of the study of wide SAEs.
SCALING_RUNS = SCALING and {
    "models": SCALING_MODELS,
    "untrained": {
        shape: name
        for name in SCALING_MODELS
        if (shape := getattr(CFG.models[name], "of", None))
    },
    "published": [
        name
        for name, dictionary in CFG.dictionaries.items()
        if getattr(getattr(dictionary, "stream", None), "l1", None) == "published"
    ],
    "same": SCALED.reading.same,
    "top": SCALED.search.top,
    "prompts": SCALED.steering and SCALED.steering.prompts,
    "samples": SCALED.steering and SCALED.steering.samples,
}


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
        studied=[*GSM8K_GATHERED, *COMMON_FEATURES, *CAPACITY],
        hierarchy=shown_of_hierarchy(),
        decimal_bug=expand(
            "results/decimal_bug/{model}/{table}.parquet",
            model=DECIMAL_MODELS,
            table=["summary", "claims", "layer_features"],
        ),
        specialists=[*SPECIALIST_GATHERED, *SPECIALIST_SUMMARIES, *SPECIALIST_ASKED],
        alignment=SPECIALIST_SHARED,
        scaling=SCALING_SHOWN,
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
        mem_mb=tables_mem_mb,
        runtime=runtime,
    params:
        code=code_of("write_report"),
        spec={
            "models": STUDIED,
            "published": plain(GSM8K),
            "calibrated": CALIBRATED_RUNS,
            "hierarchy": HIERARCHY_RUNS,
            "decimal_bug": DECIMAL_RUNS,
            "specialists": SPECIALIST_RUNS,
            "scaling": SCALING_RUNS,
            "evaluated": evaluated(),
        },
    script:
        "../scripts/write_report.py"
