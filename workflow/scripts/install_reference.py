"""Evaluate a newly trained reference model, write its card, and put it where runs read it."""

from pathlib import Path

from saeflow.artifacts.catalog import EVALUATION, MIXTURE_TEXTS
from saeflow.artifacts.files import atomic_folder, write_text
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.mixture import parse_mixture
from saeflow.config.reference import ReferenceSettings
from saeflow.datasets.texts.table import table_to_texts
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import copy_directory, load_directory
from saeflow.report.card import write_card
from saeflow.studies.evaluation.run import evaluate

with job(snakemake):
    spec = snakemake.params.spec
    name, source = snakemake.wildcards.reference, Path(snakemake.input.model)
    target = Path(snakemake.params.folder) / name
    mixture = parse_mixture(spec["mixture"], "the mixture")
    set_threads(spec["threads"])
    model = load_directory(source, "float32", config_digest(spec)).to(resolve_device())
    texts = read_table(Path(snakemake.input.texts), MIXTURE_TEXTS)
    found = evaluate(
        model,
        mixture,
        table_to_texts(texts),
        ReferenceSettings.model_validate(spec["sizes"]),
        latents=mixture.models[name].thoughts.latents,
        batch_size=spec["batch_size"],
    )
    with atomic_folder(target) as folder:
        copy_directory(source, folder)
        provenance = inherit(texts, config=config_digest(spec), packages=("torch", "transformers"))
        write_table(found.measures, folder / "evaluation.parquet", EVALUATION, provenance)
        write_card(name, mixture, model.n_parameters, found.measures, folder / "README.md")
    write_text(Path(snakemake.output.done), f"{target}\n")
