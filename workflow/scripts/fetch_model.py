"""Fetch a model from the Hugging Face hub, once for all jobs that read it."""

from pathlib import Path

from saeflow.artifacts.files import atomic_folder
from saeflow.config.hub_runs import fetched_layer_contradictions
from saeflow.config.models import HubModel
from saeflow.config.root import parse_config
from saeflow.device import set_threads
from saeflow.errors import SaeflowError
from saeflow.jobs import job
from saeflow.models.fetching import fetch_model

with job(snakemake):
    # Not in the params: layers that are named later must not fetch, and compute, everything anew.
    config, name = parse_config(snakemake.config), snakemake.wildcards.model

    def check(n_layers: int) -> None:
        for sentence in fetched_layer_contradictions(config, name, n_layers):
            raise SaeflowError(sentence)

    set_threads(config.compute.threads)
    settings = HubModel.model_validate(snakemake.params.spec)
    with atomic_folder(Path(snakemake.output.model)) as folder:
        fetch_model(settings, folder, check)
