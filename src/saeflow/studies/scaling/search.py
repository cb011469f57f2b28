"""Search of features from prompts: as the study does it, and calibrated (methods/5, 6.4 and 6.8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csc_array

from saeflow.artifacts.scaling_search import SEARCH, SEARCH_PROMPTS, SEARCH_TARGETS
from saeflow.config.scaling_search import Inputs, SearchSettings
from saeflow.datasets.prompt_sets import PromptSides
from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.studies.rows import NONE
from saeflow.studies.scaling.prompt_reading import (
    PromptReading,
    corpus_factor,
    input_factor,
    read_corpus,
    read_prompts,
    unscaled_values,
)
from saeflow.studies.scaling.search_calibrated import (
    Chances,
    Halves,
    calibrated_rows,
    score_key,
    split_halves,
    target_areas,
    too_few,
)
from saeflow.studies.scaling.search_published import (
    OF_CORPUS,
    CorpusStatistics,
    position,
    published_scores,
    top_features,
)

SHOWN = 5
"""Tokens listed of a feature."""


class SearchTables(NamedTuple):
    """What a search gives.

    Attributes
    ----------
    features : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_search.SEARCH`.
    targets : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_search.SEARCH_TARGETS`.
    prompts : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_search.SEARCH_PROMPTS`.
    """

    features: pa.Table
    targets: pa.Table
    prompts: pa.Table


class Read(NamedTuple):
    """Prompts of one set, read with the SAE.

    Attributes
    ----------
    name : str
        Of the set.
    sides : PromptSides
        The prompts.
    reading : PromptReading
        Their tokens.
    unscaled : scipy.sparse.csc_array, shape (tokens, d_sae), or None
        What the SAE gives on activations as the study's search read them, where that is asked for.
    """

    name: str
    sides: PromptSides
    reading: PromptReading
    unscaled: csc_array | None


def search_features(
    model: LanguageModel,
    bank: Bank,
    sets: Mapping[str, PromptSides],
    settings: SearchSettings,
    run: Mapping[str, Any],
    *,
    controls: Mapping[str, tuple[LanguageModel, Bank]] | None = None,
    corpus: Sequence[str] = (),
    batch_size: int = 32,
) -> SearchTables:
    """Search the features of a bank by every set of prompts.

    Sets without enough prompts to hold any out (`saeflow.studies.scaling.search_calibrated.MINIMUM` of
    each side) get the study's scores alone.

    Parameters
    ----------
    model : LanguageModel
        The model that the bank was trained on.
    bank : Bank
        Of tokens and one site.
    sets : mapping of str to PromptSides
        Prompts, by name; see `saeflow.datasets.prompt_sets.load_prompts`.
    settings : SearchSettings
        What is searched and how.
    run : mapping
        Values of the key columns dictionary and seed.
    controls : mapping of str to (LanguageModel, Bank), optional
        Other models or SAEs whose best feature stands beside, such as ``untrained`` and
        ``frozen_decoder``.
    corpus : sequence of str, optional
        Texts of the corpus: for scores of `saeflow.studies.scaling.search_published.OF_CORPUS`, and
        for the factor of inputs where the settings give none.
    batch_size : int
        Most prompts per forward pass.

    Raises
    ------
    SaeflowError
        If a target is no feature of the bank, a score needs the corpus and there is none, or as
        `read_prompts` does.
    """
    beyond = [target for target in settings.targets if not 0 <= target < bank.d_sae]
    if beyond:
        raise SaeflowError(
            f"targets names the feature {beyond[0]}; expected 0 to {bank.d_sae - 1}, for the SAE has "
            f"{bank.d_sae}."
        )
    published, bank = settings.published, bank.to(model.device)
    factor, statistics = _of_corpus(model, bank, settings, corpus, batch_size)
    features: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    prompts: list[dict[str, Any]] = []
    for name, sides in sets.items():
        reading = read_prompts(model, bank, sides.prompts, batch_size=batch_size)
        unscaled = None
        if "published" in published.inputs and published.scores:
            unscaled = unscaled_values(bank, reading, factor or input_factor([reading.activations]))
        read = Read(name, sides, reading, unscaled)
        others = {
            control: read_prompts(other, sae.to(other.device), sides.prompts, batch_size=batch_size)
            for control, (other, sae) in (controls or {}).items()
        }
        found = search_prompts(read, settings, run, controls=others, corpus=statistics)
        for rows, own in zip((features, targets, prompts), found, strict=True):
            rows.extend(own)
    return SearchTables(
        pa.Table.from_pylist(features, SEARCH.schema()),
        pa.Table.from_pylist(targets, SEARCH_TARGETS.schema()),
        pa.Table.from_pylist(prompts, SEARCH_PROMPTS.schema()),
    )


def _of_corpus(
    model: LanguageModel,
    bank: Bank,
    settings: SearchSettings,
    corpus: Sequence[str],
    batch_size: int,
) -> tuple[float | None, dict[Inputs, CorpusStatistics]]:
    """Factor of inputs, None if the prompts' own is to be taken, and what scores scale by."""
    published = settings.published
    factor = published.input_factor
    if not corpus or not published.scores:
        return factor, {}
    if factor is None and "published" in published.inputs:
        factor = corpus_factor(model, bank, corpus, batch_size=batch_size)
    if not set(published.scores) & set(OF_CORPUS):
        return factor, {}
    divided: dict[Inputs, float | None] = {"scaled": None, "published": factor}
    return factor, {
        inputs: read_corpus(model, bank, corpus, factor=divided[inputs], batch_size=batch_size)
        for inputs in published.inputs
    }


def search_prompts(
    read: Read,
    settings: SearchSettings,
    run: Mapping[str, Any],
    *,
    controls: Mapping[str, PromptReading] | None = None,
    corpus: Mapping[Inputs, CorpusStatistics] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Search by one set of prompts that were read: rows of the three tables of `SearchTables`."""
    sides, reading = read.sides, read.reading
    key = {"dictionary": run["dictionary"], "seed": run["seed"], "prompts": read.name}
    positive = np.arange(len(sides.prompts)) < len(sides.positive)
    halves = None
    if too_few(sides) is None:
        halves = split_halves(sides, Chances(settings, read.name).generator("halves"))
    features: list[dict[str, Any]] = []
    targets: list[dict[str, Any]] = []
    if halves is not None:
        for row in calibrated_rows(reading, sides, halves, settings, key, controls or {}):
            features.append({**row, **_shown(reading, reading.values, row)})
    if settings.targets and sides.negative:
        for level, areas in target_areas(reading, positive, settings.levels):
            targets += _target_rows({**key, **score_key(level)}, areas, settings.targets)
    for own, scores, values in _published(read, settings, key, corpus or {}):
        for place, feature in enumerate(top_features(scores, settings.top).tolist()):
            row = {
                **own,
                **_NOT_HELD_OUT,
                "place": place + 1,
                "feature": feature,
                "value_chosen": float(scores[feature]),
                "n_positive": len(sides.positive),
                "n_negative": len(sides.negative),
            }
            features.append({**row, **_shown(reading, values, row)})
        targets += _target_rows(own, scores, settings.targets)
    return features, targets, _prompt_rows(read, halves, key)


_NOT_HELD_OUT = {"control": NONE} | dict.fromkeys(
    ("value", "p_value", "p_holm", "best_p_value", "threshold", "stability")
)


def _published(
    read: Read,
    settings: SearchSettings,
    key: Mapping[str, Any],
    corpus: Mapping[Inputs, CorpusStatistics],
) -> Iterator[tuple[dict[str, Any], np.ndarray, csc_array]]:
    """Key, scores of all features and their values on all tokens, score by score."""
    published, reading = settings.published, read.reading
    kept = np.flatnonzero(reading.position < published.max_tokens)
    positive = reading.prompt[kept] < len(read.sides.positive)
    for inputs in published.inputs:
        values = reading.values if inputs == "scaled" or read.unscaled is None else read.unscaled
        found = published_scores(
            csc_array(values[kept]),
            positive,
            published.scores,
            corpus=corpus.get(inputs),
            top=settings.top,
        )
        for score, scores in found.items():
            own = {"mode": "published", "inputs": inputs, "level": "token", "score": score}
            yield {**key, **own}, scores, values


def _target_rows(
    key: Mapping[str, Any], scores: np.ndarray, targets: Sequence[int]
) -> Iterator[dict[str, Any]]:
    for target in targets:
        value = float(scores[target])
        yield {
            **key,
            "feature": target,
            "value": None if np.isnan(value) else value,
            "position": position(scores, target),
            "n_features": len(scores),
        }


def _prompt_rows(read: Read, halves: Halves | None, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    counts = read.reading.n_tokens.tolist()
    return [
        {
            **key,
            "prompt": number,
            "side": "positive" if number < len(read.sides.positive) else "negative",
            "half": NONE if halves is None else "A" if halves.half_a[number] else "B",
            "n_tokens": counts[number],
            "content": content,
        }
        for number, content in enumerate(read.sides.prompts)
    ]


def _shown(
    reading: PromptReading, values: csc_array, row: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Tokens on which a feature of this SAE is largest; none of a control."""
    tokens: dict[str, float] = {}
    if row["control"] == NONE and row["feature"] >= 0:
        column = values[:, [row["feature"]]].toarray()[:, 0]
        for place in np.argsort(-column, kind="stable").tolist():
            if column[place] <= 0 or len(tokens) == SHOWN:
                break
            tokens.setdefault(reading.shown[place], float(column[place]))
    return {"tokens": list(tokens), "activations": list(tokens.values())}
