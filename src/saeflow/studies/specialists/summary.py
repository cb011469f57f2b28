"""All numbers of one bank on the texts of the study, published and calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from saeflow.artifacts.specialists import SIMILARITIES
from saeflow.config.specialists import DiscoverySettings, SpecialistsCalibrated
from saeflow.stats.signed import halves
from saeflow.studies.rows import CALIBRATED, PUBLISHED
from saeflow.studies.specialists.baselines import Baselines, lexical_baselines
from saeflow.studies.specialists.calibrated import (
    adjust_records,
    calibrated_records,
    calibrated_rows,
    held_out_rows,
    texts_needed_rows,
)
from saeflow.studies.specialists.draws import Draws, draw
from saeflow.studies.specialists.geometry import (
    calibrated_geometry_rows,
    calibrated_similarity,
    lexical_records,
    lexical_rows,
    published_geometry_rows,
    published_similarity,
    similarity_records,
)
from saeflow.studies.specialists.overlap import calibrated_overlap_rows, published_overlap_rows
from saeflow.studies.specialists.pooled import PooledFeatures
from saeflow.studies.specialists.published import (
    chance_rows,
    published_records,
    published_rows,
    sparsity_rows,
)
from saeflow.studies.specialists.retrieval import pair_draws
from saeflow.studies.specialists.rows import adjust, bank_key, features_table, numbers_table
from saeflow.studies.specialists.texts import StudyTexts

FAMILY = ("part", "mode", "pooling", "metric", "control")
"""Rows that are adjusted together: of all blocks and groups."""


class BankTables(NamedTuple):
    """Tables of one bank: `SPECIALIST_FEATURES`, `SIMILARITIES` and `SPECIALISTS`."""

    features: pa.Table
    similarities: pa.Table
    numbers: pa.Table


class WordTables(NamedTuple):
    """What words alone give, once for all banks: `SIMILARITIES` and `SPECIALISTS`."""

    similarities: pa.Table
    numbers: pa.Table


def analyse_bank(
    texts: StudyTexts,
    pooled: PooledFeatures,
    published: DiscoverySettings,
    calibrated: SpecialistsCalibrated,
    run: Mapping[str, Any],
) -> BankTables:
    """Analyse the pooled features of one bank in both modes, one matrix at a time.

    Where features are signed, calibrated specialists and overlaps are of both halves of each
    (`saeflow.stats.signed.halves`): a feature may stand for a class by being negative. Records have
    the feature's own index, and its sign. Similarities are of the signed values, and the study's own
    rule sees values above 0 only. 16 calibrated and 8 published matrices of 760 texts and 512 features
    take about 13 s on one core, or 17 s where they are signed, and 110 MB.

    Parameters
    ----------
    texts : StudyTexts
        What was read.
    pooled : PooledFeatures
        Features of all of these texts.
    published, calibrated : DiscoverySettings, SpecialistsCalibrated
        Both modes.
    run : mapping
        Values of the key columns dictionary and seed.
    """
    words = lexical_baselines(texts, calibrated.seed)
    draws, of_pairs = draw(texts, calibrated), pair_draws(words.classes, calibrated)
    signed = pooled.signed
    records: list[dict[str, Any]] = []
    similarities: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for layer, pooling, values in pooled.matrices(PUBLISHED):
        key = bank_key(run, PUBLISHED, layer, pooling)
        found = list(published_records(values, texts, published, key))
        records += found
        rows += published_rows(found, key)
        rows += _published(values, texts, words, draws, published, key)
        rows += held_out_rows(values, draws, published, calibrated, key)
        similarities += similarity_records(published_similarity(values, words), words.classes, key)
    for layer, pooling, values in pooled.matrices(CALIBRATED):
        key = bank_key(run, CALIBRATED, layer, pooling)
        parts = halves(values) if signed else values
        records += calibrated_records(parts, draws, calibrated, key, d_sae=values.shape[1])
        rows += held_out_rows(values, draws, published, calibrated, key)
        rows += texts_needed_rows(parts, draws, key)
        rows += calibrated_overlap_rows(parts, texts, published, calibrated, key)
        rows += calibrated_geometry_rows(values, words, of_pairs, calibrated, key)
        rows += sparsity_rows(values, texts, key)
        similarities += similarity_records(calibrated_similarity(values, words), words.classes, key)
    records = adjust_records(records, calibrated)
    own = (each for each in records if each["mode"] == CALIBRATED)
    rows += calibrated_rows(own, calibrated)
    return BankTables(
        features_table(records), _similarities(similarities), numbers_table(_adjusted(rows))
    )


def analyse_words(texts: StudyTexts, calibrated: SpecialistsCalibrated) -> WordTables:
    """Analyse the words of the texts as the features are analysed.

    Parameters
    ----------
    texts : StudyTexts
        The texts.
    calibrated : SpecialistsCalibrated
        Permutations and seed.
    """
    words = lexical_baselines(texts, calibrated.seed)
    rows = _adjusted(lexical_rows(words, calibrated))
    return WordTables(_similarities(lexical_records(words)), numbers_table(rows))


def _published(
    values: Float32[np.ndarray, "texts features"],
    texts: StudyTexts,
    words: Baselines,
    draws: Draws,
    published: DiscoverySettings,
    key: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    yield from chance_rows(values, draws, published, key)
    yield from published_overlap_rows(values, texts, published, key)
    yield from published_geometry_rows(values, texts, words, key)
    yield from sparsity_rows(values, texts, key)


def _adjusted(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adjust what is calibrated; the study's own p-values stand as they are."""
    found = list(rows)
    published = [each for each in found if each["mode"] == PUBLISHED]
    return published + adjust((each for each in found if each["mode"] == CALIBRATED), FAMILY)


def _similarities(records: Iterable[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(records), SIMILARITIES.schema())
