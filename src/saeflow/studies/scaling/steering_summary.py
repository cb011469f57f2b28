"""Dose and response: how a topic's score rises with the dose of its feature and of every control.

The slope of a prompt is that of a straight line through its mean scores over log2(1 + dose), decided
before anything was seen: doses are far apart at the upper end, where a model only stammers, and over the
doses themselves the largest one would decide alone. Prompts are what is resampled and flipped; the
continuations of a prompt are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float

from saeflow.artifacts.scaling_steering import SCALING_STEERING
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.resampling import (
    BOOTSTRAP,
    cluster_averages,
    resample_counts,
    resampled_means,
    staged_sign_flip_p_value,
)
from saeflow.studies.rows import CALIBRATED, NONE, row, share_row
from saeflow.studies.scaling.steering import CONTROLS, FEATURE

SCORES = ("lexicon_share", "class_probability")
"""How much a continuation is on the topic."""
COSTS = ("kl", "log_perplexity", "distinct_1", "distinct_2", "distinct_3", "repeated_2", "tokens")
"""What steering does to a continuation whatever it is about."""
EVERY = "every"
"""In place of a control: the one that the feature beats by least, with the largest p-value of all.

A feature beats every control only if it beats each, so that p-value needs no adjustment for their
number (intersection-union test). It falls short of some control where it falls short of one, chosen by
its difference, so that the p-value is then that control's own times their number (Bonferroni)."""


@dataclass(frozen=True)
class Responses:
    """Continuations of one mode, averaged over the samples of each prompt.

    Attributes
    ----------
    doses : dict of (str, str) to list of float
        By topic and direction, ascending, none of them 0 but for the direction none.
    values : dict of (str, str) to numpy.ndarray of shape (doses, metrics, prompts)
        Of `SCORES` and `COSTS`; NaN where a prompt has none.
    """

    doses: dict[tuple[str, str], list[float]]
    values: dict[tuple[str, str], Float[np.ndarray, "doses metrics prompts"]]

    def slopes(self, topic: str, direction: str) -> Float[np.ndarray, "scores prompts"]:
        """Rise of each score per unit of log2(1 + dose), prompt by prompt, from dose 0 on."""
        steered = self.values[topic, direction][:, : len(SCORES)]
        scores = np.concatenate([self.values[topic, NONE][:, : len(SCORES)], steered])
        doses = [*self.doses[topic, NONE], *self.doses[topic, direction]]
        found: Float[np.ndarray, "scores prompts"] = np.einsum(
            "d,dsp->sp", slope_weights(np.array(doses)), scores
        )
        return found


def slope_weights(doses: Float[np.ndarray, " doses"]) -> Float[np.ndarray, " doses"]:
    """What each dose's score is multiplied by in the least-squares slope over log2(1 + dose)."""
    centred = np.log2(1 + doses)
    centred = centred - centred.mean()
    found: Float[np.ndarray, " doses"] = centred / (centred**2).sum()
    return found


def steering_summary(
    continuations: pa.Table,
    key: Mapping[str, Any],
    *,
    permutations: int,
    seed: int,
    classified: Bool[np.ndarray, " documents"] | None = None,
) -> pa.Table:
    """Summarise one bank's continuations: scores and costs by dose, slopes, and tests against controls.

    Parameters
    ----------
    continuations : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_steering.SCALING_CONTINUATIONS`; rows of one dictionary
        and seed.
    key : mapping
        Values of the columns dictionary and seed.
    permutations : int
        Sign flips of each test, at most.
    seed : int
        Seed of resamples and flips.
    classified : numpy.ndarray of bool, shape (documents,), optional
        Which documents that did not make the classifier it puts into their topic
        (`saeflow.studies.scaling.topic_scores.TopicScorer.hits`).

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.scaling_steering.SCALING_STEERING`. By dose: means of scores and
        costs. Without a dose, in the calibrated mode: ``..._slope`` with its interval; of the feature
        with the control none, tested against 0; with a control, the feature's slope less the
        control's, prompts paired; with the control ``every`` the smallest of these differences.
    """
    rows: list[dict[str, Any]] = []
    modes = sorted(set(continuations["mode"].to_pylist()))
    for mode in modes:
        named = {**key, "mode": mode}
        responses = _responses(continuations.filter(pc.equal(continuations["mode"], mode)))
        rows += _by_dose(responses, named, seed)
        if mode == CALIBRATED:
            tested = list(_slopes(responses, named, permutations, seed))
            rows += _adjusted([*tested, *_every(tested)])
    if classified is not None and modes:
        named = {**key, "mode": CALIBRATED, "topic": "", "direction": NONE, "dose": None}
        rows.append(share_row(named, "classifier_accuracy", classified.astype(np.float64)))
    return pa.Table.from_pylist(
        [{**each, "p_holm": each.get("p_holm")} for each in rows], SCALING_STEERING.schema()
    )


def _responses(table: pa.Table) -> Responses:
    columns = {name: table[name].to_pylist() for name in ("topic", "direction", "dose", "prompt")}
    metrics = np.array(
        [table[name].to_numpy(zero_copy_only=False) for name in (*SCORES, *COSTS)], np.float64
    )
    places: dict[tuple[str, str], dict[float, list[int]]] = {}
    named = zip(columns["topic"], columns["direction"], columns["dose"], strict=True)
    for place, (topic, direction, dose) in enumerate(named):
        places.setdefault((topic, direction), {}).setdefault(dose, []).append(place)
    prompt = np.array(columns["prompt"], np.int64)
    doses, values = {}, {}
    for name, by_dose in places.items():
        doses[name] = sorted(by_dose)
        averages = []
        for dose in doses[name]:
            # Sorted, so that every dose has its prompts in the same order.
            order = np.array(by_dose[dose])[np.argsort(prompt[by_dose[dose]], kind="stable")]
            averages.append(cluster_averages(metrics[:, order].T, prompt[order].tolist()).T)
        values[name] = np.stack(averages)
    return Responses(doses, values)


def _by_dose(responses: Responses, key: Mapping[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    counts: dict[int, Any] = {}
    for (topic, direction), values in responses.values.items():
        for dose, found in zip(responses.doses[topic, direction], values, strict=True):
            prompts = found.shape[1]
            if prompts not in counts:
                generator = numpy_generator(seed, "scaling", "steering", "doses", prompts)
                counts[prompts] = resample_counts(prompts, generator)
            means = resampled_means(found, None, counts[prompts])
            named = {**key, "topic": topic, "direction": direction, "dose": dose}
            for place, metric in enumerate((*SCORES, *COSTS)):
                yield row(
                    named,
                    metric,
                    float(means.value[place]),
                    n=int(means.n[place]),
                    ends=(float(means.low[place]), float(means.high[place])),
                    interval=BOOTSTRAP,
                )


def _slopes(
    responses: Responses, key: Mapping[str, Any], permutations: int, seed: int
) -> Iterator[dict[str, Any]]:
    for topic, direction in responses.values:
        if direction == NONE:
            continue
        own = responses.slopes(topic, direction)
        named = {**key, "topic": topic, "direction": direction, "dose": None}
        if direction != FEATURE:
            yield from _tested(named, own, NONE, None, seed)
            continue
        yield from _tested(named, own, NONE, permutations, seed)
        for control in CONTROLS:
            if (topic, control) in responses.values:
                beyond = own - responses.slopes(topic, control)
                yield from _tested(named, beyond, control, permutations, seed)


def _tested(
    key: Mapping[str, Any],
    slopes: Float[np.ndarray, "scores prompts"],
    control: str,
    permutations: int | None,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Mean slopes over prompts, with intervals, and tests where flips are asked for."""
    names = (seed, "scaling", "steering", key["topic"], key["direction"], control)
    counts = resample_counts(slopes.shape[1], numpy_generator(*names, "resamples"))
    means = resampled_means(slopes, None, counts)
    for place, score in enumerate(SCORES):
        p_value = None
        if permutations is not None and not np.isnan(slopes[place]).all():
            generator = numpy_generator(*names, score)
            p_value = staged_sign_flip_p_value(slopes[place], None, permutations, generator)
        yield row(
            key,
            f"{score}_slope",
            float(means.value[place]),
            n=int(means.n[place]),
            ends=(float(means.low[place]), float(means.high[place])),
            interval=BOOTSTRAP,
            control=control,
            p_value=p_value,
        )


def _every(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each topic and score, what the feature has beyond the control that comes nearest."""
    compared: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in rows:
        if each["control"] != NONE and each["value"] is not None:
            compared.setdefault((each["topic"], each["metric"]), []).append(each)
    for found in compared.values():
        least = min(found, key=lambda each: each["value"])
        p_value = max(each["p_value"] for each in found)
        if least["value"] < 0:
            p_value = min(1.0, least["p_value"] * len(found))
        yield {**least, "control": EVERY, "p_value": p_value}


def _adjusted(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Adjust over topics, each score and control for itself."""
    found = [dict(each) for each in rows]
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in found:
        if each["p_value"] is not None:
            families.setdefault((each["metric"], each["control"]), []).append(each)
    for family in families.values():
        p_values = holm(np.array([each["p_value"] for each in family], np.float64))
        for each, p_value in zip(family, p_values.tolist(), strict=True):
            each["p_holm"] = p_value
    return found
