"""Train the SAEs of one model, recipe and seed, and measure how well they reconstruct."""

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
    spec = DictionarySpec.model_validate(snakemake.params.spec)
    set_threads(spec.threads)
    seed = int(snakemake.wildcards.seed)
    capture = Path(snakemake.input.capture)
    sources = sources_of(spec.dictionary)
    examples = read_table(Path(snakemake.input.examples), sources.examples)
    trained = train_from_capture(capture, examples, spec.dictionary, seed, resolve_device())
    provenance = inherit(
        read_schema(records_path(capture, sources.records))[1],
        config=config_digest(snakemake.params.spec),
        seed=seed,
        packages=("torch", "sae-lens"),
    )
    with atomic_folder(Path(snakemake.output.bank)) as folder:
        write_bank(trained, folder, snakemake.wildcards.dictionary, seed, provenance)
