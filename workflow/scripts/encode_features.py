"""Encode what the studies read of a data set with every SAE of one bank or several."""

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
    capture = Path(snakemake.input.capture)
    problems = read_table(Path(snakemake.input.problems), PROBLEMS)
    answers = read_schema(capture / "answers.parquet")[1]
    banks = zip(snakemake.input.banks, snakemake.output.features, strict=True)
    for spec, (source, target) in zip(snakemake.params.spec.values(), banks, strict=True):
        set_threads(spec["threads"])
        bank = Path(source)
        sources = [read_schema(bank / "quality.parquet")[1], answers]
        numbers = encoded_numbers(problems, spec["held_out"])
        layers = encode_layers(capture, bank, numbers, spec["layer_convention"], resolve_device())
        with atomic_folder(Path(target)) as folder:
            for layer, table, shape in layers:
                provenance = inherit(*sources, config=config_digest(spec), extra=shape)
                write_table(table, folder / f"layer{layer}.parquet", FEATURES, provenance)
