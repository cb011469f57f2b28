"""Analyse the words of the texts alone, and compare what the features of two models share on them."""

from pathlib import Path

from saeflow.artifacts.provenance import config_digest, inherit
from saeflow.artifacts.specialists import SHARED_TABLES, SPECIALIST_TEXTS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.specialists import AlignmentSettings, SpecialistsCalibrated
from saeflow.device import set_threads
from saeflow.jobs import job
from saeflow.studies.specialists.alignment import Side, align_pairs
from saeflow.studies.specialists.pooled import open_pooled
from saeflow.studies.specialists.summary import analyse_words
from saeflow.studies.specialists.texts import read_texts

with job(snakemake):
    given, wanted = snakemake.params.spec, snakemake.input
    set_threads(given["threads"])
    table = read_table(Path(wanted.texts), SPECIALIST_TEXTS)
    texts = read_texts(table)
    words = analyse_words(texts, SpecialistsCalibrated.model_validate(given["words"]))
    paths = zip(given["banks"], wanted.pooled, wanted.lengths, strict=True)
    sides = [Side(*bank, open_pooled(Path(one), Path(two))) for bank, one, two in paths]
    settings = AlignmentSettings.model_validate(given["alignment"])
    alignment = align_pairs(sides, texts, settings)
    provenance = inherit(table, config=config_digest(given), packages=("numpy", "scipy"))
    found = zip((*words, alignment), SHARED_TABLES, snakemake.output, strict=True)
    for each, artifact, path in found:
        write_table(each, Path(path), artifact, provenance)
