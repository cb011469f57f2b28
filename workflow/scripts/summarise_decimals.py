"""Put a model's numbers about the decimal bug together, and judge the published sentences."""

from pathlib import Path

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.decimal_bug import DECIMAL_ANSWERS, DECIMAL_BUG, PATCHES, PROMPTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.decimal_bug import DecimalCalibrated
from saeflow.jobs import job
from saeflow.studies.decimal_bug.summary import summarise

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    answers = read_table(Path(given.answers), DECIMAL_ANSWERS)
    found = summarise(
        read_table(Path(given.prompts), PROMPTS),
        answers,
        read_table(Path(given.patches), PATCHES),
        [read_table(Path(path), DECIMAL_BUG) for path in given.banks],
        DecimalCalibrated.model_validate(spec["calibrated"]),
        own_weights=spec["own_weights"],
    )
    provenance = inherit(answers, config=config_digest(spec), packages=("scipy", "numpy"))
    write_table(found.numbers, Path(snakemake.output.summary), DECIMAL_BUG, provenance)
    write_table(found.claims, Path(snakemake.output.claims), CLAIMS, provenance)
