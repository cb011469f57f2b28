# Helper functions of the study of the decimal bug.

from saeflow.config.decimal_runs import decimal_banks, decimal_models, is_the_studys
from saeflow.config.public_tables import DECIMAL_TABLES

DECIMALS = CFG.studies.decimal_bug
DECIMAL_MODELS = list(decimal_models(CFG))
DECIMAL_PART = "results/decimal_bug/{model}/parts/{dictionary}/seed{seed}"


def decimal_parts(table, model):
    return [
        f"{DECIMAL_PART}/{table}.parquet".format(**bank._asdict())
        for bank in decimal_banks(CFG)
        if bank.model == model
    ]


# What each public table of banks is gathered from, by its path.
DECIMAL_GATHERED = {
    f"results/decimal_bug/{model}/{table}.parquet": {
        "artifact": f"decimal_{table}",
        "parts": decimal_parts(table, model),
    }
    for model in DECIMAL_MODELS
    for table in DECIMAL_TABLES
}
# What the numbers of each model are put together from.
DECIMAL_SUMMARISED = {
    model: {
        "prompts": f"results/decimal_bug/{model}/prompts.parquet",
        "answers": f"results/decimal_bug/{model}/answers.parquet",
        "patches": f"results/decimal_bug/{model}/patches.parquet",
        "banks": decimal_parts("numbers", model),
    }
    for model in DECIMAL_MODELS
}
DECIMAL_SUMMARIES = expand(
    "results/decimal_bug/{model}/{table}.parquet",
    model=DECIMAL_MODELS,
    table=["summary", "claims"],
)


def asking_spec(wildcards):
    # Pairs that the mixture holds out are those that its seed decides on.
    return {
        "model": model_spec(wildcards),
        "mixture_seed": MIXTURE.seed,
        "numbers": list(DECIMALS.published.numbers),
        "pairs": plain(DECIMALS.calibrated.pairs),
        "behaviour": plain(DECIMALS.calibrated.behaviour),
    }


def patching_spec(wildcards):
    settings = plain(DECIMALS.calibrated)
    return {
        "model": model_spec(wildcards),
        "patching": settings["patching"],
        "subsets": settings["subsets"],
        "weights": list(DECIMALS.published.blends),
        "max_new_tokens": settings["behaviour"]["max_new_tokens"],
    }


def formats_spec(wildcards):
    published = without(plain(DECIMALS.published), "models", "blends", "numbers")
    settings = plain(DECIMALS.calibrated)
    return {
        "model": model_spec(wildcards),
        "published": published,
        "calibrated": {name: settings[name] for name in ("overlap", "attribution")},
    }


def decimals_specs(wildcards):
    settings = plain(DECIMALS.calibrated)
    calibrated = {name: settings[name] for name in ("overlap", "patching", "subsets")}
    return [
        {
            "tables": tables,
            "settings": {
                "calibrated": calibrated,
                "own_weights": is_the_studys(CFG, model),
            },
        }
        for model, tables in DECIMAL_SUMMARISED.items()
    ]
