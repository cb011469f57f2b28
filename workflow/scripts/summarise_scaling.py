"""Put together how the wide SAEs of each model were trained, and judge the published sentences."""

from pathlib import Path

from saeflow.artifacts.catalog import ARTIFACTS
from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.scaling_training import SCALING_TRAINING, TRAINING_FILE
from saeflow.artifacts.tables import gather_tables, read_table, write_table
from saeflow.jobs import job
from saeflow.studies.scaling.judged import judged_models

with job(snakemake):
    specs, made = snakemake.params.spec, snakemake.output
    tables = {}
    for (model, spec), path in zip(specs.items(), made.training, strict=True):
        gather_tables(
            [Path(bank, TRAINING_FILE) for bank in spec["banks"]], Path(path), SCALING_TRAINING
        )
        tables[model] = {"training": read_table(Path(path), SCALING_TRAINING)} | {
            name: read_table(Path(each), ARTIFACTS[f"scaling_{name}"])
            for name, each in spec["tables"].items()
        }
    settings = {model: spec["settings"] for model, spec in specs.items()}
    for (model, claims), path in zip(
        judged_models(tables, settings).items(), made.claims, strict=True
    ):
        provenance = inherit(
            tables[model]["quality"], config=config_digest(settings[model]), packages=("numpy",)
        )
        write_table(claims, Path(path), CLAIMS, provenance)
