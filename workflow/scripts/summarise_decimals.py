"""Put each model's numbers about the decimal bug together, and judge the published sentences."""

from pathlib import Path

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.decimal_bug import DECIMAL_ANSWERS, DECIMAL_BUG, PATCHES, PROMPTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.decimal_bug import DecimalCalibrated
from saeflow.jobs import job
from saeflow.studies.decimal_bug.summary import summarise

with job(snakemake):
    made, specs = snakemake.output, snakemake.params.spec
    for spec, summary, claims in zip(specs, made.summaries, made.claims, strict=True):
        given, settings = spec["tables"], spec["settings"]
        answers = read_table(Path(given["answers"]), DECIMAL_ANSWERS)
        found = summarise(
            read_table(Path(given["prompts"]), PROMPTS),
            answers,
            read_table(Path(given["patches"]), PATCHES),
            [read_table(Path(path), DECIMAL_BUG) for path in given["banks"]],
            DecimalCalibrated.model_validate(settings["calibrated"]),
            own_weights=settings["own_weights"],
        )
        provenance = inherit(answers, config=config_digest(settings), packages=("scipy", "numpy"))
        write_table(found.numbers, Path(summary), DECIMAL_BUG, provenance)
        write_table(found.claims, Path(claims), CLAIMS, provenance)
