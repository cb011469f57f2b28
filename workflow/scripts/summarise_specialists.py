"""Put the numbers of a model together, words beside features, and judge the published sentences."""

from pathlib import Path

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialist_effects import ASKED, SPECIALIST_BEHAVIOUR, SPECIALIST_EFFECTS
from saeflow.artifacts.specialists import FEATURE_ALIGNMENT, SPECIALIST_TEXTS, SPECIALISTS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.jobs import job
from saeflow.studies.specialists.summarise import ModelTables, summarise
from saeflow.studies.specialists.texts import read_texts

with job(snakemake):
    spec, given = snakemake.params.spec, snakemake.input
    tasks, answers = (
        read_table(Path(path), kind) for path, kind in zip(given.asked, ASKED, strict=True)
    )
    found = summarise(
        read_texts(read_table(Path(given.texts), SPECIALIST_TEXTS)),
        ModelTables(
            tasks,
            answers,
            [read_table(Path(path), SPECIALISTS) for path in [*given.numbers, *given.tried]],
            [read_table(Path(path), SPECIALIST_BEHAVIOUR) for path in given.behaviour],
            [read_table(Path(path), SPECIALIST_EFFECTS) for path in given.effects],
        ),
        read_table(Path(given.words), SPECIALISTS),
        read_table(Path(given.alignment), FEATURE_ALIGNMENT),
        own_weights=spec["own_weights"],
        pair=spec["pair"],
        seed=spec["seed"],
    )
    provenance = inherit(answers, config=config_digest(spec), packages=("numpy", "scipy"))
    write_table(found.numbers, Path(snakemake.output.summary), SPECIALISTS, provenance)
    write_table(found.claims, Path(snakemake.output.claims), CLAIMS, provenance)
