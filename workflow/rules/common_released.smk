# Helper functions of SAEs that others trained.

from saeflow.config.decimal_runs import decimal_banks
from saeflow.config.models import FreshModel, HubModel, runs_own_code
from saeflow.config.specialist_runs import specialist_banks
from saeflow.config.token_banks import released_dictionaries

RELEASED = released_dictionaries(CFG)
TRAINED = [name for name in CFG.dictionaries if name not in RELEASED]
# What the target `fetch` takes from the hub, beside models and data sets.
FETCHED += sorted(
    {
        f"results/released/{bank.model}/{bank.dictionary}"
        for bank in [*decimal_banks(CFG), *specialist_banks(CFG)]
        if bank.dictionary in RELEASED
    }
)


def released_folder(wildcards):
    """The directory that the SAEs are in, if they are in one."""
    path = resolve_dictionary(CFG, wildcards.dictionary).released.path
    return [] if path is None else os.path.relpath(ROOT / path)


def released_spec(wildcards):
    """What the SAEs are and what they must fit: of the model its shape and its name."""
    model, _ = resolve_model(CFG, wildcards.model)
    recipe = plain(resolve_dictionary(CFG, wildcards.dictionary))
    return {
        "fresh": plain(model) if isinstance(model, FreshModel) else None,
        "repo": model.repo if isinstance(model, HubModel) else None,
        "trusted": runs_own_code(model),
        "dictionary": {
            **{key: recipe[key] for key in ("dataset", "hook", "layers")},
            # Where a directory lies decides nothing; it is an input.
            "released": without(recipe["released"], "path", "must_pass"),
        },
    }


def check_spec(wildcards):
    recipe = resolve_dictionary(CFG, wildcards.dictionary)
    return {"model": model_spec(wildcards), "must_pass": recipe.released.must_pass}


def released_mb(wildcards, attempt):
    """One SAE at a time, as it was released and as it is kept."""
    return (2000 + copies_mb(wildcards)) * attempt


def check_mb(wildcards, input, attempt):
    """The model as other jobs hold it, and some copies of one SAE: layers are checked one by one."""
    read = memory_mb(SIZES, [input.texts], loads(wildcards, input))
    return (read + copies_mb(wildcards)) * attempt


def copies_mb(wildcards):
    """Four copies of one SAE of a dictionary."""
    recipe = resolve_dictionary(CFG, wildcards.dictionary)
    return int(4 * SIZES.sae_bytes(wildcards.model, recipe) / 1e6)
