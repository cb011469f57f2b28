"""Tables of how specialists' activations go with what a model answers, published and calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from scipy.stats import spearmanr

from saeflow.artifacts.specialist_effects import SPECIALIST_ACTIVATIONS, SPECIALIST_BEHAVIOUR
from saeflow.config.specialists import TaskSettings
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.seeds import numpy_generator
from saeflow.stats.association_strength import published_association
from saeflow.stats.resampling import BOOTSTRAP
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED
from saeflow.studies.specialists.behaviour import (
    Behaviour,
    SpecialistFeature,
    behaviour,
    specialist_activations,
)
from saeflow.studies.specialists.chosen import Chosen, published_specialists
from saeflow.studies.specialists.names import CONTAINED, JUDGED
from saeflow.studies.specialists.pooled import PooledFeatures
from saeflow.studies.specialists.texts import StudyTexts, class_name

MARGIN, CORRECT, LOG_PROBABILITY = "margin", "correct", "log_probability"
"""What of a task an activation is held against: ours, and both of the study's."""
_HELD_FIXED = ("prompt_tokens", "target_tokens", "log_frequency")


class Answering(NamedTuple):
    """Tables `SPECIALIST_ACTIVATIONS` and `SPECIALIST_BEHAVIOUR`."""

    activations: pa.Table
    behaviour: pa.Table


def answering(
    model: LanguageModel,
    bank: Bank,
    tasks: pa.Table,
    answers: pa.Table,
    texts: StudyTexts,
    pooled: PooledFeatures,
    records: Sequence[Mapping[str, Any]],
    chosen: Sequence[Chosen],
    settings: TaskSettings,
    run: Mapping[str, Any],
    *,
    batch_size: int,
) -> Answering:
    """Hold specialists against answers.

    Parameters
    ----------
    model, bank
        Model and SAEs of its tokens.
    tasks, answers : pyarrow.Table
        Columns of `SPECIALIST_TASKS` and `SPECIALIST_ANSWERS`: what the model makes of them.
    texts : StudyTexts
        What `answers` and `pooled` are of.
    pooled : PooledFeatures
        Features of these texts.
    records : sequence of mapping
        Columns of `SPECIALIST_FEATURES`: published specialists, held against answers as published.
    chosen : sequence of Chosen
        Calibrated specialists, held against tasks.
    settings : TaskSettings
        Pooling, other features, permutations, seed.
    run : mapping
        Values of the key columns dictionary and seed.
    batch_size : int
        Most prompts per forward pass.
    """
    specialists = [each.specialist for each in chosen]
    prompts = tasks["prompt"].to_pylist()
    others = other_features(bank, specialists, settings)
    listed = [*specialists, *(each for some in others.values() for each in some)]
    found = specialist_activations(
        model, bank, prompts, listed, pooling=settings.pooling, batch_size=batch_size
    )
    signs = [each.sign for each in chosen]
    own, beside = found[:, : len(specialists)], found[:, len(specialists) :]
    own = np.where(np.array(signs) < 0, np.maximum(-own, 0), own)
    starts = np.cumsum([0, *map(len, others.values())])
    by_layer = {
        layer: _active(beside[:, start:end])
        for layer, start, end in zip(others, starts[:-1], starts[1:], strict=True)
    }
    rows = list(published_answer_rows(texts, pooled, answers, records))
    rows += _task_rows(tasks, own, chosen, by_layer, settings)
    table = pa.Table.from_pylist([{**run, **each} for each in rows], SPECIALIST_BEHAVIOUR.schema())
    return Answering(_activations_table(own, chosen, run), table)


def other_features(
    bank: Bank, specialists: Sequence[SpecialistFeature], settings: TaskSettings
) -> dict[int, list[SpecialistFeature]]:
    """Draw other features of the SAE at each specialist's block."""
    found: dict[int, list[SpecialistFeature]] = {}
    for layer in dict.fromkeys(each.layer for each in specialists):
        own = {each.feature for each in specialists if each.layer == layer}
        free = np.array([each for each in range(bank.d_sae) if each not in own], np.int64)
        generator = numpy_generator(settings.seed, "specialists", "others", layer)
        drawn = np.sort(generator.permutation(free)[: settings.others])
        found[layer] = [SpecialistFeature(layer, each, "") for each in drawn.tolist()]
    return found


def published_answer_rows(
    texts: StudyTexts,
    pooled: PooledFeatures,
    answers: pa.Table,
    records: Iterable[Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Correlation of a class's specialist with right answers to its texts (methods/3, 4.5 E).

    Yields
    ------
    dict
        Columns of `SPECIALIST_BEHAVIOUR` but for dictionary and seed, of the first published pooling.
    """
    if PUBLISHED not in pooled.shape.poolings:
        return
    pooling = pooled.shape.poolings[PUBLISHED][0]
    asked = answers.to_pydict()
    places = np.array(asked["text"], np.int64)
    names = np.array(
        [class_name(texts.pairs[each].topic, texts.pairs[each].form) for each in places.tolist()]
    )
    for name, layer, feature in published_specialists(records, pooling):
        own = np.flatnonzero(names == name)
        if not len(own):
            continue
        values = pooled.matrix(PUBLISHED, layer, pooling)[places[own], feature]
        for outcome in (CONTAINED, JUDGED):
            said = [asked[outcome][each] for each in own.tolist()]
            known = np.array([each is not None for each in said])
            right = np.array([bool(each) for each in said])[known]
            test = published_association(values[known].astype(np.float64), right)
            key = {
                "mode": PUBLISHED,
                "layer": layer,
                "class": name,
                "feature": feature,
                "group": name,
                "outcome": outcome,
            }
            share = float(right.mean()) if len(right) else None
            yield _row(key, "right", share, test.n)
            yield _row(key, "point_biserial", test.r, test.n, p_value=test.p_value)
            yield _row(key, "t", test.t, test.n, p_value=test.t_p_value)


def _task_rows(
    tasks: pa.Table,
    activations: Float[np.ndarray, "tasks specialists"],
    chosen: Sequence[Chosen],
    others: Mapping[int, Float[np.ndarray, "tasks others"]],
    settings: TaskSettings,
) -> Iterator[dict[str, Any]]:
    given = tasks.to_pydict()
    contents = list(zip(given["part"], given["group"], given["item"], strict=True))
    groups = [f"{part} {group}" for part, group, _ in contents]
    covariates = np.column_stack([np.array(given[name], np.float64) for name in _HELD_FIXED])
    found = behaviour(
        activations,
        {MARGIN: np.array(given[MARGIN], np.float64)},
        groups,
        contents,
        covariates=covariates,
        others={place: others[each.specialist.layer] for place, each in enumerate(chosen)},
        permutations=settings.permutations,
        seed=settings.seed,
    )
    for test in found:
        yield _task_row(test, chosen[test.specialist])
    names = np.array(groups)
    for group in dict.fromkeys(groups):
        own = names == group
        outcomes = {name: np.array(given[name])[own] for name in (CORRECT, LOG_PROBABILITY)}
        for place, each in enumerate(chosen):
            key = _key(PUBLISHED, each, group)
            yield from published_task_rows(key, activations[own, place], outcomes)


def published_task_rows(
    key: Mapping[str, Any],
    activations: Float[np.ndarray, " tasks"],
    outcomes: Mapping[str, np.ndarray],
) -> Iterator[dict[str, Any]]:
    """Both of the study's tests of one specialist, every task for itself (methods/3, 4.6).

    Parameters
    ----------
    key : mapping
        Key columns but for outcome and metric.
    activations : numpy.ndarray of float, shape (tasks,)
        Of the specialist.
    outcomes : mapping of str to numpy.ndarray, shape (tasks,)
        `CORRECT` and `LOG_PROBABILITY`.

    Yields
    ------
    dict
        Columns of `SPECIALIST_BEHAVIOUR` but for dictionary and seed.
    """
    binary = published_association(activations, outcomes[CORRECT].astype(bool))
    right = {**key, "outcome": CORRECT}
    yield _row(right, "point_biserial", binary.r, binary.n, p_value=binary.p_value)
    yield _row(right, "t", binary.t, binary.n, p_value=binary.t_p_value)
    n = len(activations)
    value = p_value = float("nan")
    if n > 2 and np.ptp(activations) > 0 and np.ptp(outcomes[LOG_PROBABILITY]) > 0:
        test = spearmanr(activations, outcomes[LOG_PROBABILITY])
        value, p_value = float(test.statistic), float(test.pvalue)
    yield _row({**key, "outcome": LOG_PROBABILITY}, "spearman", value, n, p_value=p_value)


def _key(mode: str, chosen: Chosen, group: str) -> dict[str, Any]:
    return {
        "mode": mode,
        "layer": chosen.specialist.layer,
        "class": chosen.name,
        "feature": chosen.specialist.feature,
        "group": group,
    }


def _task_row(found: Behaviour, chosen: Chosen) -> dict[str, Any]:
    key = {**_key(CALIBRATED, chosen, found.group), "outcome": found.outcome}
    test = found.association
    ends = test.low, test.high
    return _row(
        key,
        "spearman",
        test.value,
        test.n,
        ends=ends if np.isfinite(ends).all() else None,
        p_value=test.p_value,
        holm=found.holm,
        q_value=found.q_value,
        other_features=found.other_features,
    )


def _row(
    key: Mapping[str, Any],
    metric: str,
    value: float | None,
    n: int,
    *,
    ends: tuple[float, float] | None = None,
    **tested: float,
) -> dict[str, Any]:
    names = ("p_value", "holm", "q_value", "other_features")
    given = {name: tested.get(name) for name in names}
    known = {name: None if each is None or np.isnan(each) else each for name, each in given.items()}
    # What was not tested has nothing to adjust.
    if known["p_value"] is None:
        known |= {"holm": None, "q_value": None}
    return {
        **key,
        "metric": metric,
        "value": None if value is None or np.isnan(value) else float(value),
        "ci_low": ends[0] if ends else None,
        "ci_high": ends[1] if ends else None,
        "interval": BOOTSTRAP if ends else NONE,
        "n": n,
        **known,
    }


def _activations_table(
    values: Float[np.ndarray, "tasks specialists"],
    chosen: Sequence[Chosen],
    run: Mapping[str, Any],
) -> pa.Table:
    rows = [
        {
            **run,
            "layer": each.specialist.layer,
            "class": each.name,
            "feature": each.specialist.feature,
            "task": task,
            "value": value,
        }
        for number, each in enumerate(chosen)
        for task, value in enumerate(values[:, number].tolist())
    ]
    return pa.Table.from_pylist(rows, SPECIALIST_ACTIVATIONS.schema())


def _active(values: Float[np.ndarray, "tasks features"]) -> Float[np.ndarray, "tasks active"]:
    """Only features that vary, which alone can go with anything."""
    return values[:, np.ptp(values, axis=0) > 0] if len(values) else values
