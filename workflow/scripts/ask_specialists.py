"""Let a model do the tasks of the study of specialists, and write behind the texts that ask."""

from pathlib import Path

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialist_effects import SPECIALIST_ANSWERS, SPECIALIST_TASKS
from saeflow.artifacts.specialists import SPECIALIST_TEXTS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.judge import judge_name, located_judge
from saeflow.datasets.texts.table import table_to_texts
from saeflow.device import resolve_device, set_threads
from saeflow.jobs import job
from saeflow.models.loading import load_from_spec
from saeflow.studies.specialists.asking import ask
from saeflow.studies.specialists.judge import load_judge
from saeflow.studies.specialists.texts import read_texts

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["model"]["threads"])
    spec, model = load_from_spec(given["model"], wanted.model)
    device = resolve_device()
    texts = read_table(Path(wanted.texts), SPECIALIST_TEXTS)
    folder = Path(wanted.judge[0]).parent if wanted.judge else None
    judge = located_judge(given["judge"], folder and str(folder))
    asked = ask(
        model.to(device),
        read_texts(texts),
        table_to_texts(read_table(Path(wanted.mixture), MIXTURE_TEXTS)),
        load_judge(judge, device, folder),
        judge_name(judge),
        answer_tokens=given["answer_tokens"],
        batch_size=spec.model.batch_size,
    )
    packages = ("torch", "transformers")
    revision, config = model.revision, config_digest(given)
    provenance = inherit(texts, config=config, model_revision=revision, packages=packages)
    write_table(asked.tasks, Path(snakemake.output.tasks), SPECIALIST_TASKS, provenance)
    write_table(asked.answers, Path(snakemake.output.answers), SPECIALIST_ANSWERS, provenance)
