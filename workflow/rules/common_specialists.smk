# Helper functions of the study of specialists.

from saeflow.config.public_tables import SPECIALIST_TABLES
from saeflow.config.specialist_runs import (
    studied_weights,
    specialist_banks,
    specialist_models,
    trained_pair,
)
from saeflow.preflight import folder_files

SPECIALISTS = CFG.studies.specialists
SPECIALIST_MODELS = list(specialist_models(CFG))
SPECIALIST_PART = "results/specialists/{model}/parts/{dictionary}/seed{seed}"
WORDS = "results/compare/specialist_word_similarities.parquet"
SPECIALIST_SUMMARIES = expand(
    "results/specialists/{model}/{table}.parquet",
    model=SPECIALIST_MODELS,
    table=["summary", "claims"],
)
SPECIALIST_ASKED = expand(
    "results/specialists/{model}/{table}.parquet",
    model=SPECIALIST_MODELS,
    table=["tasks", "answers"],
)
SPECIALIST_SHARED = ["results/compare/specialists.parquet"] * bool(SPECIALISTS)


def specialist_parts(table, model=None):
    return [
        f"{SPECIALIST_PART}/{table}.parquet".format(**bank._asdict())
        for bank in specialist_banks(CFG)
        if model in (None, bank.model)
    ]


# What each public table of banks is gathered from, by its path; words stand beside features.
SPECIALIST_GATHERED = {
    f"results/specialists/{model}/{table}.parquet": {
        "artifact": f"specialist_{table}",
        "parts": specialist_parts(table, model) + [WORDS] * (table == "similarities"),
    }
    for model in SPECIALIST_MODELS
    for table in SPECIALIST_TABLES
}


# What the numbers of each model are put together from, besides what all models share.
SPECIALIST_SUMMARISED = {
    model: {
        "tasks": f"results/specialists/{model}/tasks.parquet",
        "answers": f"results/specialists/{model}/answers.parquet",
        "numbers": [
            path
            for table in ("numbers", "tried")
            for path in specialist_parts(table, model)
        ],
        "behaviour": specialist_parts("behaviour", model),
        "effects": specialist_parts("effects", model),
    }
    for model in SPECIALIST_MODELS
}


def matched_source(wildcards):
    texts = SPECIALISTS.texts
    if texts.source == "bundled":
        return ["results/mixture/texts.parquet"]
    named = [texts.pairs] + [texts.categories] * (texts.categories is not None)
    return [os.path.relpath(ROOT / path) for path in named]


def matched_spec(wildcards):
    # Where a file lies decides nothing; it is an input, and its content is what counts.
    texts = SPECIALISTS.texts
    return plain(texts) if texts.source == "bundled" else {"source": texts.source}


def pooling_spec(wildcards):
    return {
        "model": model_spec(wildcards),
        "pooling": {
            "published": plain(SPECIALISTS.published.pooling),
            "calibrated": plain(SPECIALISTS.calibrated.pooling),
        },
    }


def discovery_settings():
    """What the published criteria read, whatever is analysed of which model."""
    return without(plain(SPECIALISTS.published), "models", "answer_tokens", "judge")


def finding_spec(wildcards):
    return {
        "published": discovery_settings(),
        # The rest is read where the model is.
        "calibrated": without(
            plain(SPECIALISTS.calibrated), "tasks", "ablation", "examples"
        ),
        "threads": THREADS,
    }


def judge_files(wildcards):
    return folder_files(getattr(SPECIALISTS.published.judge, "path", None), ROOT)


def answering_spec(wildcards):
    published = plain(SPECIALISTS.published)
    judge = published["judge"]
    return {
        "model": model_spec(wildcards),
        "answer_tokens": published["answer_tokens"],
        # Of a directory its files are inputs.
        "judge": without(judge, "path") if judge.get("path") else judge,
    }


def trying_spec(wildcards):
    settings = plain(SPECIALISTS.calibrated)
    read = ("seed", "splits", "tasks", "ablation", "examples")
    return {
        "model": model_spec(wildcards),
        "calibrated": {name: settings[name] for name in read},
    }


def asked_tables(wildcards):
    return expand(
        "results/specialists/{{model}}/{table}.parquet", table=["tasks", "answers"]
    )


def compared_banks():
    """The first bank of each model, which is compared with those of the others."""
    first = {}
    for bank in specialist_banks(CFG):
        first.setdefault(bank.model, bank)
    return list(first.values())


def compared_pools(table):
    return [
        f"{SPECIALIST_PART}/{table}.parquet".format(**bank._asdict())
        for bank in compared_banks()
    ]


def shared_spec(wildcards):
    calibrated = plain(SPECIALISTS.calibrated)
    return {
        "words": {name: calibrated[name] for name in ("permutations", "seed")},
        "alignment": plain(SPECIALISTS.alignment),
        "banks": [list(bank) for bank in compared_banks()],
        "threads": THREADS,
    }


def specialists_specs(wildcards):
    return [
        {
            "tables": tables,
            "settings": {
                "seed": SPECIALISTS.calibrated.seed,
                "own_weights": studied_weights(CFG, model),
                "pair": trained_pair(CFG),
            },
        }
        for model, tables in SPECIALIST_SUMMARISED.items()
    ]
