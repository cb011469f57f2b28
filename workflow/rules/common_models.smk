# What the jobs read that run a model or train SAEs on what it carries, and how many run side by side.


def model_spec(wildcards):
    settings, control = resolve_model(CFG, wildcards.model)
    return {
        "model": located_elsewhere(settings),
        "control": control and plain(control),
        "threads": THREADS,
    }


def fetch_spec(wildcards):
    # What decides the weights; how a model is run reaches the jobs that run it.
    block = plain(CFG.models[wildcards.model])
    keys = ("weights", "repo", "revision", "checkpoint", "base", "trust_remote_code")
    return {key: block[key] for key in keys}


def fetching_mb(wildcards, attempt):
    """A checkpoint is merged in memory, in float32; a model as it is passes through to the disk."""
    merged = CFG.models[wildcards.model].checkpoint is not None
    gigabytes = 3 * (CFG.models[wildcards.model].weights_gb or 2) if merged else 0
    return (2000 + int(1000 * gigabytes)) * attempt


def fetched_folder(name):
    return f"results/models/{name}"


def examples_of(dataset):
    """The table of a data set that everything else is made from."""
    table = "texts" if holds_texts(CFG, dataset) else "problems"
    return f"results/datasets/{dataset}/{table}.parquet"


# What the studies take from the hub, and the target `fetch` with it.
FETCHED = sorted(
    {
        fetched_folder(fetched_as(CFG, name))
        for name in {*read_models(CFG), *EVALUATED}
        if fetched_as(CFG, name)
    }
)
FETCHED += [
    examples_of(name)
    for name in read_datasets(CFG)
    if CFG.datasets[name].source in ("hub", "text_hub")
]


def model_files(wildcards):
    if fetched_as(CFG, wildcards.model):
        return [fetched_folder(fetched_as(CFG, wildcards.model))]
    return input_files(resolve_model(CFG, wildcards.model)[0], ROOT)


def model_jobs(wildcards, input):
    """Slots among the jobs that hold a model: none for a small one, which any machine holds twice."""
    settings = resolve_model(CFG, wildcards.model)[0]
    return int(not is_small(settings, total_mb(input.model)))


def text_source(wildcards):
    if CFG.datasets[wildcards.dataset].source == "mixture":
        return ["results/mixture/texts.parquet"]
    return dataset_file(wildcards)


def training_examples(wildcards):
    return examples_of(resolve_dictionary(CFG, wildcards.dictionary).dataset)


def training_capture(wildcards):
    dataset = resolve_dictionary(CFG, wildcards.dictionary).dataset
    return f"results/capture/{wildcards.model}/{dataset}"


def token_spec(wildcards):
    return {
        "model": model_spec(wildcards),
        "hooks": captured_hooks(CFG, wildcards.dataset),
    }


def evaluation_sizes():
    sizes = plain(CFG.reference_models)
    return {name: sizes[name] for name in ("n_problems", "n_texts", "n_lens")}


def evaluation_spec(wildcards):
    # Of the mixture, what gives the held-out word problems; the texts are an input.
    return {
        "model": model_spec(wildcards),
        "seed": MIXTURE.seed,
        "problems": plain(MIXTURE.parts.problems),
        "sizes": evaluation_sizes(),
    }


def training_spec(wildcards):
    # Each model by itself: a change to one must not throw away hours of the other.
    mixture = plain(MIXTURE)
    name = wildcards.reference
    return {
        "mixture": {**mixture, "models": {name: mixture["models"][name]}},
        "threads": 1,
    }


def share(*names):
    """Let rules take their outputs from Snakemake's between-workflow cache, where it is asked for."""
    try:
        share_outputs(workflow, CFG, names)
    except SaeflowError as error:
        raise WorkflowError(f"cache: {error}") from None


CURVES = curve_files(CFG, ROOT)


def evaluated():
    """Latent thoughts of every evaluated model, and which of them bring their training's curves."""
    latents = {name: resolve_model(CFG, name)[0].thoughts.latents for name in EVALUATED}
    return {"latents": latents, "curves": list(CURVES)}


def installation_spec(wildcards):
    return {
        "mixture": plain(MIXTURE),
        "sizes": card_sizes(CFG.reference_models, MIXTURE.parts.problems.n_held_out),
        "folder": os.path.relpath(
            (ROOT / CFG.reference_models.mixture).parent / "models"
        ),
        "threads": THREADS,
    }
