"""Compare formats through the features of a bank, and ask which units change them."""

from pathlib import Path

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.decimal_bug import BANK_ARTIFACTS, DECIMAL_ANSWERS, PROMPTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.decimal_bug import DecimalCalibrated, ListSettings
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.saes.encoding import open_bank
from saeflow.studies.decimal_bug.features import compare_formats
from saeflow.studies.decimal_bug.records import read_prompts

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    model.to(resolve_device())
    answers = read_table(Path(wanted.answers), DECIMAL_ANSWERS)
    bank, names = Path(wanted.bank), snakemake.wildcards
    found = compare_formats(
        model,
        open_bank(bank),
        read_table(bank / "quality.parquet", QUALITY),
        read_prompts(read_table(Path(wanted.prompts), PROMPTS)),
        answers,
        ListSettings.model_validate(given["published"]),
        DecimalCalibrated.model_validate(given["calibrated"]),
        {"dictionary": names.dictionary, "seed": int(names.seed)},
        batch_size=spec.model.batch_size,
    )
    packages = ("torch", "transformers", "scipy")
    provenance = inherit(answers, config=config_digest(given), packages=packages)
    for table, artifact, path in zip(found, BANK_ARTIFACTS, snakemake.output, strict=True):
        write_table(table, Path(path), artifact, provenance)
