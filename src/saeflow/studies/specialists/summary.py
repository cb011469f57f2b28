"""All numbers of one bank on the texts of the study, published and calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from saeflow.artifacts.specialists import SIMILARITIES
from saeflow.config.specialists import DiscoverySettings, SpecialistsCalibrated
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
from saeflow.studies.specialists.rows import (
    CALIBRATED,
    PUBLISHED,
    adjust,
    bank_key,
    features_table,
    numbers_table,
)
from saeflow.studies.specialists.texts import StudyTexts

FAMILY = ("part", "mode", "pooling", "metric", "control")
"""Rows that are adjusted together: of all blocks and groups."""
KEY = ("dictionary", "seed", "mode", "layer", "pooling")


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
    records: list[dict[str, Any]] = []
    similarities: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for layer, pooling, values in pooled.matrices(PUBLISHED):
        key = bank_key(run, PUBLISHED, layer, pooling)
        found = list(published_records(values, texts, published, key))
        records += found
        rows += published_rows(found, key)
        rows += _published(values, texts, words, draws, published, key)
        similarities += similarity_records(published_similarity(values, words), words.classes, key)
    for layer, pooling, values in pooled.matrices(CALIBRATED):
        key = bank_key(run, CALIBRATED, layer, pooling)
        records += calibrated_records(values, draws, calibrated, key)
        rows += held_out_rows(values, draws, published, calibrated, key)
        rows += texts_needed_rows(values, draws, key)
        rows += calibrated_overlap_rows(values, texts, published, calibrated, key)
        rows += calibrated_geometry_rows(values, words, of_pairs, calibrated, key)
        rows += sparsity_rows(values, texts, key)
        similarities += similarity_records(calibrated_similarity(values, words), words.classes, key)
    records = adjust_records(records, calibrated)
    rows += _found(records)
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


def _found(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Numbers of calibrated specialists, block by block."""
    by_key: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in records:
        if each["mode"] == CALIBRATED:
            by_key.setdefault(tuple(each[name] for name in KEY), []).append(each)
    for place, some in by_key.items():
        yield from calibrated_rows(some, dict(zip(KEY, place, strict=True)))


def _adjusted(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adjust what is calibrated; the study's own p-values stand as they are."""
    found = list(rows)
    published = [each for each in found if each["mode"] == PUBLISHED]
    return published + adjust((each for each in found if each["mode"] == CALIBRATED), FAMILY)


def _similarities(records: Iterable[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(records), SIMILARITIES.schema())
