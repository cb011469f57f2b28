"""Train the SAEs of one model and seed, recipe by recipe, and measure how well they reconstruct."""

from pathlib import Path

from saeflow.artifacts.captures import records_path
from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_schema, read_table
from saeflow.config.dictionaries import DictionarySpec
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.saes.training import sources_of, train_from_capture, write_bank

with job(snakemake):
    seed, banks = snakemake.params.spec["seed"], snakemake.params.spec["banks"]
    capture = Path(snakemake.input.capture)
    for (name, block), target in zip(banks.items(), snakemake.output.banks, strict=True):
        spec = DictionarySpec.model_validate(block)
        set_threads(spec.threads)
        sources = sources_of(spec.dictionary)
        examples = read_table(Path(snakemake.input.examples), sources.examples)
        trained = train_from_capture(capture, examples, spec.dictionary, seed, resolve_device())
        provenance = inherit(
            read_schema(records_path(capture, sources.records))[1],
            config=config_digest(block),
            seed=seed,
            packages=("torch", "sae-lens"),
        )
        with atomic_folder(Path(target)) as folder:
            write_bank(trained, folder, name, seed, provenance)
