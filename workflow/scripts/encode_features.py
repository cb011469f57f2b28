"""Encode what the studies read of a data set with every SAE of a bank."""

from pathlib import Path

from saeflow.artifacts.catalog import FEATURES, PROBLEMS
from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_schema, read_table, write_table
from saeflow.datasets.selection import encoded_numbers
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.saes.encoding import encode_layers

with job(snakemake):
    spec = snakemake.params.spec
    set_threads(spec["threads"])
    capture, bank = Path(snakemake.input.capture), Path(snakemake.input.bank)
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    sources = [
        read_schema(bank / "quality.parquet")[1],
        read_schema(capture / "answers.parquet")[1],
    ]
    numbers = encoded_numbers(problems, spec["held_out"])
    layers = encode_layers(capture, bank, numbers, spec["layer_convention"], resolve_device())
    with atomic_folder(Path(snakemake.output.features)) as folder:
        for layer, table, shape in layers:
            provenance = inherit(*sources, config=config_digest(spec), extra=shape)
            write_table(table, folder / f"layer{layer}.parquet", FEATURES, provenance)
