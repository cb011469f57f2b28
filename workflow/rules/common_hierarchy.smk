# Helper functions of the hierarchy study.

from saeflow.config.hierarchy_runs import (
    balanced_dataset,
    compared_models,
    hierarchy_banks,
    hierarchy_models,
    is_untrained,
)
from saeflow.config.public_tables import CAUSAL_TABLES, RANK_TABLES, TAXONOMY_TABLES

HIERARCHY = CFG.studies.hierarchy
TAXONOMY = HIERARCHY and HIERARCHY.calibrated
CAUSAL = TAXONOMY and TAXONOMY.causal
HIERARCHY_MODELS = list(hierarchy_models(CFG))
HIERARCHY_BANKS = hierarchy_banks(CFG)
BALANCED = balanced_dataset(CFG)
HIERARCHY_PART = (
    "results/hierarchy/{model}/parts/{dataset}/{dictionary}/seed{seed}/{table}.parquet"
)
SWEEP_PART = "results/hierarchy/{model}/parts/{dataset}/{dictionary}/sweep.parquet"
# Which parts each public table is gathered from.
PUBLISHED_PARTS = {name: [name] for name in RANK_TABLES}
TAXONOMY_PARTS = {name: [name] for name in TAXONOMY_TABLES}
CAUSAL_PARTS = {name: [name] for name in CAUSAL_TABLES}
SUMMARY_PARTS = (
    ["published"] + ["calibrated"] * bool(TAXONOMY) + ["causal"] * bool(CAUSAL)
)
# Of a control dictionary only what the calibrated mode counts.
CONTROL_PARTS = {**TAXONOMY_PARTS, "summary": ["calibrated"]}


def hierarchy_rules():
    return without(plain(HIERARCHY.published), "models")


def of_hierarchy(wildcards):
    """What every job about a bank reads of its dictionary."""
    recipe = resolve_dictionary(CFG, wildcards.dictionary)
    return {
        "held_out": held_out(wildcards),
        "layer_convention": recipe.layer_convention,
        "threads": THREADS,
    }


def ranking_spec(wildcards):
    return {**of_hierarchy(wildcards), "published": hierarchy_rules()}


def specialist_spec(wildcards):
    settings = plain(TAXONOMY)
    tests = {
        name: settings[name]
        for name in ("balanced", "levels", "specialists", "modules")
    }
    return {
        "held_out": held_out(wildcards),
        "calibrated": {**tests, "sweep": None, "causal": None},
        "threads": THREADS,
    }


def causal_settings(wildcards):
    """Settings of the interventions; an untrained control has a number of problems of its own."""
    settings = plain(CAUSAL)
    few = settings.pop("control_problems")
    if is_untrained(CFG, wildcards.model) and few is not None:
        settings["problems"] = few
    return settings


def intervention_spec(wildcards):
    return {
        **of_hierarchy(wildcards),
        "model": {**model_spec(wildcards), "threads": 1},
        "causal": causal_settings(wildcards),
        "balanced": BALANCED,
        # A control has nothing that single features could be shown to do.
        "sets_only": is_untrained(CFG, wildcards.model),
    }


def effect_spec(wildcards):
    return {
        "held_out": held_out(wildcards),
        "causal": causal_settings(wildcards),
        "balanced": BALANCED,
        "sets_only": is_untrained(CFG, wildcards.model),
        "specialists": plain(TAXONOMY.specialists),
    }


def sweep_spec(wildcards):
    """Of each block only what the sweep reads: its k, site, rows, ranks and targets are its own."""
    recipe, published, tests = (
        plain(block)
        for block in (
            resolve_dictionary(CFG, wildcards.dictionary),
            HIERARCHY.published,
            TAXONOMY.specialists,
        )
    )
    # A recipe is not valid without a k that fits.
    recipe["k"] = min(TAXONOMY.sweep.k)
    return {
        "dictionary": without(recipe, "rows", "layers", "steps"),
        "sweep": plain(TAXONOMY.sweep),
        "published": {
            "samples": published["samples"],
            "specialists": without(published["specialists"], "rank_ranges"),
        },
        "specialists": without(tests, "targets"),
        "threads": THREADS,
    }


SWEEP_SHARDS = shards(
    "training", len({*TAXONOMY.sweep.k}) if TAXONOMY and TAXONOMY.sweep else None
)
sweep_shards = shards_of(
    "results/shards/training/{model}/{dataset}/{dictionary}/sweep/{origin}/{scatteritem}.parquet",
    "sweep_k",
    sweep_spec,
    lambda wildcards: [wildcards.model, wildcards.dataset],
    lambda wildcards: SWEEP_SHARDS,
)


def without(block, *names):
    """A plain block without some keys."""
    return {name: value for name, value in block.items() if name not in names}


def on_both(path):
    """A path for the data set of a bank, and one for the balanced problems."""

    def paths(wildcards):
        names = {**wildcards, "dataset": BALANCED}
        return [path.format(**wildcards), path.format(**names)]

    return paths


def sweeps(model):
    """Parts of the sweep over k: of trained models alone, on data that trains the dictionary."""
    if not (TAXONOMY and TAXONOMY.sweep) or is_untrained(CFG, model):
        return []
    found = {
        SWEEP_PART.format(**bank._asdict())
        for bank in HIERARCHY_BANKS
        if bank.model == model
        and not bank.control
        and resolve_dictionary(CFG, bank.dictionary).dataset == bank.dataset
    }
    return sorted(found)


def hierarchy_tables(model):
    """Public tables of a model, by the names of their parts."""
    tables = {**PUBLISHED_PARTS, "summary": SUMMARY_PARTS}
    return {
        **tables,
        **(TAXONOMY_PARTS if TAXONOMY else {}),
        **(CAUSAL_PARTS if CAUSAL else {}),
    }


def parts_of(bank, table):
    """What a bank has of a public table: the names of its parts."""
    if bank.control:
        return CONTROL_PARTS.get(table, [])
    return hierarchy_tables(bank.model)[table]


def hierarchy_gathered():
    """What each public table is gathered from, by its path."""
    gathered = {}
    for model in HIERARCHY_MODELS:
        for table in hierarchy_tables(model):
            parts = [
                HIERARCHY_PART.format(**bank._asdict(), table=name)
                for bank in HIERARCHY_BANKS
                if bank.model == model
                for name in parts_of(bank, table)
            ]
            summary = table == "summary"
            gathered[f"results/hierarchy/{model}/{table}.parquet"] = {
                "artifact": "hierarchy" if summary else table,
                "parts": [*parts, *sweeps(model)] if summary else parts,
            }
    return gathered


HIERARCHY_GATHERED = hierarchy_gathered()
HIERARCHY_TABLES = list(HIERARCHY_GATHERED)


def shown_of_hierarchy():
    """Tables of the hierarchy study that pages show; the others are for readers of tables."""
    shown = ("summary", "modules", "screen", "effects", "maximal")
    return [path for path in HIERARCHY_TABLES if Path(path).stem in shown]
