"""Fetch the released SAEs of one dictionary and keep them as a bank that reads a model."""

from pathlib import Path

from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.models import FreshModel
from saeflow.errors import SaeflowError
from saeflow.jobs import job
from saeflow.models.shape import fresh_shape, model_shape
from saeflow.saes.released.fetch import fetch_bank

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    block = given["dictionary"]
    if wanted.folder:
        block = {**block, "released": {**block["released"], "path": wanted.folder}}
    dictionary = DictionarySettings.model_validate(block)
    shape = (
        fresh_shape(FreshModel.model_validate(given["fresh"]))
        if given["fresh"]
        else model_shape(wanted.model, given["repo"], trusted=given["trusted"])
    )
    provenance = Provenance(config_digest(given), seed=0, packages=("torch", "sae-lens"))
    with atomic_folder(Path(snakemake.output.bank)) as folder:
        try:
            fetch_bank(dictionary, shape, folder, provenance=provenance)
        except SaeflowError as error:
            raise SaeflowError(f"dictionaries.{snakemake.wildcards.dictionary}: {error}") from None
