"""Put the numbers of each model together, words beside features, and judge the published sentences."""

from pathlib import Path

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialist_effects import (
    SPECIALIST_ANSWERS,
    SPECIALIST_BEHAVIOUR,
    SPECIALIST_EFFECTS,
    SPECIALIST_TASKS,
)
from saeflow.artifacts.specialists import FEATURE_ALIGNMENT, SPECIALIST_TEXTS, SPECIALISTS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.jobs import job
from saeflow.studies.specialists.summarise import ModelTables, summarise
from saeflow.studies.specialists.texts import read_texts

with job(snakemake):
    shared, made, specs = snakemake.input, snakemake.output, snakemake.params.spec
    texts = read_texts(read_table(Path(shared.texts), SPECIALIST_TEXTS))
    words = read_table(Path(shared.words), SPECIALISTS)
    alignment = read_table(Path(shared.alignment), FEATURE_ALIGNMENT)
    for spec, summary, claims in zip(specs, made.summaries, made.claims, strict=True):
        given, settings = spec["tables"], spec["settings"]
        answers = read_table(Path(given["answers"]), SPECIALIST_ANSWERS)
        measured = ModelTables(
            read_table(Path(given["tasks"]), SPECIALIST_TASKS),
            answers,
            [read_table(Path(path), SPECIALISTS) for path in given["numbers"]],
            [read_table(Path(path), SPECIALIST_BEHAVIOUR) for path in given["behaviour"]],
            [read_table(Path(path), SPECIALIST_EFFECTS) for path in given["effects"]],
        )
        found = summarise(texts, measured, words, alignment, **settings)
        provenance = inherit(answers, config=config_digest(settings), packages=("numpy", "scipy"))
        write_table(found.numbers, Path(summary), SPECIALISTS, provenance)
        write_table(found.claims, Path(claims), CLAIMS, provenance)
