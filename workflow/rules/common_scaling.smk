# Helper functions of the study of wide SAEs, and which of them one job trains.

from saeflow.config.scaling_runs import (
    main_bank,
    prompt_datasets,
    prompt_files,
    scaling_banks,
    scaling_models,
    search_controls,
    studied_weights as scaling_weights,
    trained_models as scaling_trained,
    wide_groups,
)

SCALING = CFG.studies.scaling
SCALED = SCALING and SCALING.calibrated
SCALING_MODELS = list(scaling_models(CFG))
SCALING_TRAINED = scaling_trained(CFG)
WIDE_GROUPS = wide_groups(CFG)
WIDE_BANKS = {name: group.banks for name, group in WIDE_GROUPS.items()}
SCALING_TABLE = "results/scaling/{model}/{table}.parquet"
SEARCHED = ["search", "search_targets", "search_prompts"] * bool(
    SCALED and SCALED.search.sets
)
READ = ["quality", "features", "densities", "examples", "tokens", "neighbours", "map"]
STEERED = ["continuations", "steering"] * bool(SCALED and SCALED.steering)
EXPLAINED = [
    "explanation_examples",
    "explanations",
    "explanation_verdicts",
    "explanation_scores",
    "explanation_summary",
] * bool(SCALED and SCALED.explanations)
JUDGED = ["training", "claims"]
# What the claims rest on.
JUDGING = ["quality", "features", "search", "search_targets", "steering"]
JUDGING += ["explanation_summary"]


def scaling_tables(model):
    """Names of the public tables of a model; an untrained control is neither searched nor steered with."""
    trained = [*SEARCHED, *STEERED] if model in SCALING_TRAINED else []
    return [*READ, *trained, *EXPLAINED, *JUDGED]


SCALING_SHOWN = [
    SCALING_TABLE.format(model=model, table=table)
    for model in SCALING_MODELS
    for table in scaling_tables(model)
]


def wide_spec(group):
    """What a job reads that trains the SAEs of a group: the model and each recipe with its seed."""
    return lambda wildcards: {
        "model": model_spec(group.banks[0]),
        "banks": [
            [bank.dictionary, bank.seed, wide_recipe(bank.dictionary)]
            for bank in group.banks
        ],
    }


def wide_recipe(dictionary):
    """A recipe without what says how it is trained but not what comes of it."""
    recipe = trained_recipe(dictionary)
    stream = without(recipe["stream"], "checkpoint_minutes", "saes_per_job")
    return {**recipe, "stream": stream}


def wide_minutes(group):
    """Minutes between checkpoints; a resource, since those rebuild nothing."""
    recipes = [resolve_dictionary(CFG, bank.dictionary) for bank in group.banks]
    return str(min(recipe.stream.checkpoint_minutes for recipe in recipes))


def wide_model_jobs(group):
    return lambda wildcards, input: model_jobs(group.banks[0], input)


def wide_banks(group, wildcards):
    """Banks that a job trains: those of its shard, or all of the group."""
    own = shard_range(wildcards.get("scatteritem"), len(group.banks))
    return [group.banks[number] for number in own]


def wide_paths(group):
    return lambda wildcards: of_group(BANK, wide_banks(group, wildcards))


def wide_mem_mb(group):
    def megabytes(wildcards, input, attempt):
        banks = wide_banks(group, wildcards)
        saes = training_mb(SIZES, [(bank.model, bank.dictionary) for bank in banks])
        return mem_mb(banks[0], input, attempt) + saes * attempt

    return megabytes


def wide_runtime(group):
    """A minute more for each million tokens, all of which each shard reads."""
    stream = resolve_dictionary(CFG, group.banks[0].dictionary).stream
    extra = stream.tokens // 1_000_000
    return lambda wildcards, input, attempt: (
        runtime(group.banks[0], input, attempt) + extra * attempt
    )


def wide_inputs(group):
    return {
        "texts": f"results/datasets/{group.dataset}/texts.parquet",
        "model": model_files(group.banks[0]),
    }


def wide_shards(name, group):
    """What the shards of a group left, for the job that gathers."""
    read = wide_inputs(group)
    return shards_of(
        f"results/shards/training/wide/{name}/{{origin}}/{{scatteritem}}",
        "train_wide",
        wide_spec(group),
        lambda wildcards: [read["texts"], *read["model"]],
        lambda wildcards: shards("training", len(group.banks)),
    )


def wide_groups_in(shared):
    """Groups whose SAEs are trained by several jobs, or by one."""
    return {
        name: group
        for name, group in WIDE_GROUPS.items()
        if (len(shards("training", len(group.banks))) > 1) == shared
    }


def scaling_corpus(wildcards):
    main = resolve_dictionary(CFG, main_bank(CFG, wildcards.model).dictionary)
    return f"results/datasets/{main.dataset}/texts.parquet"


def scaling_main(wildcards):
    return BANK.format(**main_bank(CFG, wildcards.model)._asdict())


def scaling_positions(wildcards):
    """Tokens of a document that are read, as many as of a context that trains."""
    main = resolve_dictionary(CFG, main_bank(CFG, wildcards.model).dictionary)
    return main.stream.contexts.length


def scaling_run(wildcards):
    """The main SAE of a model, as key columns name it."""
    bank = main_bank(CFG, wildcards.model)
    return {"dictionary": bank.dictionary, "seed": bank.seed}


def scaling_saes(wildcards):
    """All SAEs of a model, the main one first."""
    return [
        BANK.format(**bank._asdict())
        for bank in scaling_banks(CFG)
        if bank.model == wildcards.model
    ]


def searched_saes(wildcards):
    controls = search_controls(CFG, wildcards.model).values()
    return [
        scaling_main(wildcards),
        *(BANK.format(**bank._asdict()) for bank in controls),
    ]


def searching_spec(wildcards):
    controls = search_controls(CFG, wildcards.model)
    return {
        "model": model_spec(wildcards),
        "positions": scaling_positions(wildcards),
        "run": scaling_run(wildcards),
        "search": without_places(plain(SCALED.search)),
        "controls": {
            name: model_spec(bank) if bank.model != wildcards.model else None
            for name, bank in controls.items()
        },
    }


def without_places(search):
    """Settings of a search without the places of its files, which are inputs."""
    sets = {
        name: {
            key: (
                "file"
                if block["source"] == "files" and value and key != "source"
                else value
            )
            for key, value in block.items()
        }
        for name, block in search["sets"].items()
    }
    return {**search, "sets": sets}


def searched_prompts(wildcards):
    return [
        os.path.relpath(ROOT / path)
        for key, path in prompt_files(CFG).items()
        if ".search." in key
    ]


def continued_prompts(wildcards):
    return [
        os.path.relpath(ROOT / path)
        for key, path in prompt_files(CFG).items()
        if ".steering." in key
    ]


def of_scaling(*tables):
    """Public tables of the model, those that it has."""
    return lambda wildcards: [
        SCALING_TABLE.format(model=wildcards.model, table=table)
        for table in tables
        if table in scaling_tables(wildcards.model)
    ]


def reading_spec(wildcards):
    return {
        "model": model_spec(wildcards),
        "positions": scaling_positions(wildcards),
        "runs": [
            {"dictionary": bank.dictionary, "seed": bank.seed}
            for bank in scaling_banks(CFG)
            if bank.model == wildcards.model
        ],
        "reading": plain(SCALED.reading),
    }


def steering_spec(wildcards):
    return {
        "model": model_spec(wildcards),
        "positions": scaling_positions(wildcards),
        "run": scaling_run(wildcards),
        "topics": prompt_datasets(CFG),
        "steering": without(plain(SCALED.steering), "prompt_file"),
    }


def teller_files(who):
    """Files of the local model that explains or scores; of a directory its files are inputs."""
    block = SCALED and getattr(SCALED.explanations, who, None)
    return folder_files(getattr(block, "path", None), ROOT)


def explaining_spec(wildcards):
    settings = plain(SCALED.explanations)
    tellers = {
        who: (
            without(settings[who], "path")
            if settings[who].get("path")
            else settings[who]
        )
        for who in ("explainer", "scorer")
    }
    return {
        "model": model_spec(wildcards),
        "positions": scaling_positions(wildcards),
        "run": scaling_run(wildcards),
        "explanations": {**settings, **tellers},
    }


def untrained_of(model):
    """The model's untrained control in the study, if there is one."""
    found = (
        name
        for name in SCALING_MODELS
        if getattr(CFG.models[name], "of", None) == model
    )
    return next(found, None)


def published_form(model):
    """The dictionary that is trained as the study's SAE was, if there is one."""
    found = (
        name
        for name in scaling_models(CFG)[model].dictionaries
        if resolve_dictionary(CFG, name).stream.architecture == "relu"
        and resolve_dictionary(CFG, name).stream.l1 == "published"
    )
    return next(found, None)


def judging_spec(model):
    main = main_bank(CFG, model)
    return {
        "tables": {
            table: SCALING_TABLE.format(model=model, table=table)
            for table in JUDGING
            if table in scaling_tables(model)
        },
        "banks": [
            BANK.format(**bank._asdict())
            for bank in scaling_banks(CFG)
            if bank.model == model
        ],
        "settings": {
            "main": [main.dictionary, main.seed],
            "published_form": published_form(model),
            "controls": [
                name
                for name in scaling_models(CFG)[model].dictionaries
                if resolve_dictionary(CFG, name).control
            ],
            "own_weights": scaling_weights(CFG, model),
            "untrained": untrained_of(model),
        },
    }


JUDGEMENTS = {model: judging_spec(model) for model in SCALING_MODELS}
