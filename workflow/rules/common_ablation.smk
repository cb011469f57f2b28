# Shards of the jobs that intervene on a model. Each keeps what its units give, and the job whose work
# they share reads that and makes its tables, as if it had been killed behind the last unit.

ABLATION_SHARDS = shards("ablation")
SHARES_ABLATION = len(ABLATION_SHARDS) > 1


def ablation_shards_of(paths, rule_name, spec, inputs):
    """Input function: what the shards of a job left; nothing where it does its work alone."""
    return shards_of(
        paths,
        rule_name,
        spec,
        inputs,
        lambda wildcards: ABLATION_SHARDS if SHARES_ABLATION else [],
    )


INTERVENTION_SHARD = "results/shards/ablation/hierarchy/{model}/{dataset}/{dictionary}/seed{seed}/{origin}/{stage}/{scatteritem}"
INTERVENTION_STAGES = ["choosing", "reporting"]


def intervention_inputs(wildcards):
    return [
        *model_files(wildcards),
        *on_both("results/datasets/{dataset}/problems.parquet")(wildcards),
        "results/saes/{model}/{dictionary}/seed{seed}".format(**wildcards),
        "results/features/{model}/{dataset}/{dictionary}/seed{seed}".format(
            **wildcards
        ),
    ]


def chosen_by_shards(wildcards):
    """What is reported goes by the site that the first stage chooses."""
    if wildcards.stage == "choosing":
        return []
    names = {**wildcards, "stage": "choosing"}
    del names["scatteritem"]
    return expand(INTERVENTION_SHARD, **names, scatteritem=ABLATION_SHARDS)


shards_of_interventions = ablation_shards_of(
    [INTERVENTION_SHARD.replace("{stage}", stage) for stage in INTERVENTION_STAGES],
    "intervene",
    intervention_spec,
    intervention_inputs,
)


SPECIALIST_SHARD = "results/shards/ablation/specialists/{model}/{dictionary}/seed{seed}/{origin}/{scatteritem}"


def specialist_inputs(wildcards):
    return [
        *model_files(wildcards),
        "results/saes/{model}/{dictionary}/seed{seed}".format(**wildcards),
        *expand(
            f"{SPECIALIST_PART}/features.parquet",
            **wildcards,
        ),
    ]


shards_of_specialists = ablation_shards_of(
    SPECIALIST_SHARD, "try_specialists", trying_spec, specialist_inputs
)


PATCH_SHARD = "results/shards/ablation/decimal_bug/{model}/{origin}/{scatteritem}"


def patch_inputs(wildcards):
    return [
        *model_files(wildcards),
        *expand(
            "results/decimal_bug/{model}/{table}.parquet",
            model=wildcards.model,
            table=["prompts", "answers"],
        ),
    ]


shards_of_patches = ablation_shards_of(
    PATCH_SHARD, "patch_decimals", patching_spec, patch_inputs
)


STEERING_SHARD = "results/shards/ablation/scaling/{model}/{origin}/{scatteritem}"


def steering_inputs(wildcards):
    return [
        *model_files(wildcards),
        scaling_main(wildcards),
        *expand(
            "results/scaling/{model}/{table}.parquet",
            model=wildcards.model,
            table=["search", "features"],
        ),
        *continued_prompts(wildcards),
    ]


shards_of_steering = ablation_shards_of(
    STEERING_SHARD, "steer_scaling", steering_spec, steering_inputs
)
