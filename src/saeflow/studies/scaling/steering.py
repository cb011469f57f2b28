"""Steering along the features of topics: what is written at each dose, beside controls.

Prompts lead to no topic and are the same for all, so that all topics share the unsteered continuations.
Every control is as long as the topic's feature at its dose and differs in direction alone; what is random
is drawn anew for each prompt, so that no single draw decides (methods/5, section 6.8, "Do instead").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.artifacts.scaling_steering import SCALING_CONTINUATIONS
from saeflow.artifacts.units import Unit, Units
from saeflow.config.scaling_steering import SteeringSettings
from saeflow.errors import SaeflowError
from saeflow.interventions.continuations import (
    Continuations,
    SteeredWriting,
    prompt_tokens,
    uniform_numbers,
)
from saeflow.interventions.steering import (
    GroupMeans,
    bias_direction,
    density_neighbours,
    feature_direction,
    feature_length,
    fitted_place,
    published_place,
    published_vector,
    random_direction,
    unit,
)
from saeflow.models.conventions import HookedLayer
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.seeds import numpy_generator
from saeflow.stats.repetition import distinct_share, repeated_share
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED
from saeflow.studies.scaling.topic_scores import TopicScorer

FEATURE, RANDOM_FEATURE, RANDOM_DIRECTION = "feature", "random_feature", "random_direction"
BIAS, MEANS = "decoder_bias", "difference_of_means"
CONTROLS = (RANDOM_FEATURE, RANDOM_DIRECTION, BIAS, MEANS)
"""random_feature: another one that is active about as often, drawn for each prompt; random_direction:
any, drawn likewise; decoder_bias: what every feature shares in the published form;
difference_of_means: from other documents to those of the topic, which needs no SAE."""


class FeatureUse(NamedTuple):
    """How features are used on texts that chose none of them.

    Attributes
    ----------
    density : numpy.ndarray of float, shape (d_sae,)
        Share of tokens on which each is active.
    maximum : numpy.ndarray of float, shape (d_sae,)
        Its largest activation.
    """

    density: Float[np.ndarray, " d_sae"]
    maximum: Float[np.ndarray, " d_sae"]


class Push(NamedTuple):
    """What is added at one dose, prompt by prompt.

    Attributes
    ----------
    topic, direction, dose
        Key columns of the table.
    features : list of int or None
        Latent of each prompt; None: the direction is of none.
    vectors : torch.Tensor of shape (prompts, d_in)
        What is added, of the lengths wanted.
    """

    topic: str
    direction: str
    dose: float
    features: list[int] | None
    vectors: Float[Tensor, "prompts d_in"]


class Writing(NamedTuple):
    """What is written, and how.

    Attributes
    ----------
    mode : str
        calibrated or published.
    place : HookedLayer
        Where vectors are added.
    prompts : sequence of str
        What is continued.
    begin : bool
        Whether a begin token comes before them, which is not edited.
    uniform : numpy.ndarray of float64, shape (prompts, samples, new), optional
        Numbers that draw the tokens; None: greedily.
    """

    mode: str
    place: HookedLayer
    prompts: Sequence[str]
    begin: bool
    uniform: Float[np.ndarray, "prompts samples new"] | None


def calibrated_continuations(
    model: LanguageModel,
    sae: Bank,
    features: Mapping[str, int],
    use: FeatureUse,
    means: GroupMeans,
    prompts: Sequence[str],
    scorer: TopicScorer,
    settings: SteeringSettings,
    key: Mapping[str, Any],
    units: Units | None = None,
) -> pa.Table:
    """Steer along each topic's feature and its controls where the SAE was fitted.

    Parameters
    ----------
    model : LanguageModel
        The model.
    sae : Bank
        Of one site, of this model.
    features : mapping of str to int
        Latent of each topic, chosen on other prompts.
    use : FeatureUse
        Density and maximum of every latent.
    means : GroupMeans
        Of documents by topic, where the SAE reads (`saeflow.interventions.steering.group_means`).
    prompts : sequence of str
        Different ones that lead to no topic.
    scorer : TopicScorer
        Blind to features.
    settings : SteeringSettings
        Doses, samples and seed.
    key : mapping
        Values of the columns dictionary and seed.
    units : Units, optional
        Where batches of continuations are kept; None: nowhere.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.scaling_steering.SCALING_CONTINUATIONS`.

    Raises
    ------
    SaeflowError
        If a feature does not exist or is never active, a topic has no documents, prompts repeat, or
        one does not fit the model's positions with its continuation.
    """
    if len(set(prompts)) < len(prompts) or not prompts or not features:
        raise SaeflowError(
            f"{len(prompts)} prompts, {len(set(prompts))} of them different, are given for "
            f"{len(features)} topics; expected one topic at least, and different prompts."
        )
    place = fitted_place(sae)
    names = (settings.seed, "scaling", "steering")
    uniform = uniform_numbers(prompts, settings.samples, settings.max_new_tokens, *names)
    none = torch.zeros(len(prompts), sae.d_in)
    pushes = [Push("", NONE, 0.0, None, none)]
    for topic, feature in features.items():
        length = feature_length(sae, feature, float(use.maximum[feature]))
        for direction, latents, toward in _directions(
            sae, topic, features, use, means, prompts, settings
        ):
            pushes += [
                Push(topic, direction, dose, latents, dose * length * toward)
                for dose in settings.doses
                if dose > 0
            ]
    writing = Writing(CALIBRATED, place, prompts, True, uniform)
    return _written(model, writing, pushes, list(features), scorer, settings, key, units)


def published_continuations(
    model: LanguageModel,
    sae: Bank,
    features: Mapping[str, int],
    scorer: TopicScorer,
    settings: SteeringSettings,
    key: Mapping[str, Any],
    units: Units | None = None,
    *,
    scale: float,
) -> pa.Table:
    """Steer as the study does: one prompt, greedily, along decoder row plus bias; and the bias alone.

    Parameters
    ----------
    model, sae, features, scorer, settings, key, units
        As of `calibrated_continuations`; the settings' `published` block is read.
    scale : float
        By what activations were multiplied before the SAE saw them; 1 where they were not.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.scaling_steering.SCALING_CONTINUATIONS`.

    Raises
    ------
    SaeflowError
        If a feature does not exist, or no block has what the SAE reads as its input.
    """
    published = settings.published
    place = published_place(fitted_place(sae), model.n_layers, published.bugs)
    none = torch.zeros(1, sae.d_in)
    pushes = [Push("", NONE, 0.0, None, none)]
    for topic, feature in features.items():
        for direction, latent in ((FEATURE, feature), (BIAS, None)):
            vector = published_vector(sae, latent, scale, published.bugs).cpu()[None]
            latents = None if latent is None else [latent]
            pushes += [
                Push(topic, direction, dose, latents, dose * vector)
                for dose in published.multipliers
                if dose > 0
            ]
    writing = Writing(PUBLISHED, place, [published.prompt], False, None)
    return _written(model, writing, pushes, list(features), scorer, settings, key, units)


def _directions(
    sae: Bank,
    topic: str,
    features: Mapping[str, int],
    use: FeatureUse,
    means: GroupMeans,
    prompts: Sequence[str],
    settings: SteeringSettings,
) -> Iterator[tuple[str, list[int] | None, Float[Tensor, "prompts d_in"]]]:
    """Every direction of a topic, its latent where it has one, and a unit vector for each prompt."""
    feature = features[topic]
    every = len(prompts), -1
    yield FEATURE, [feature] * len(prompts), feature_direction(sae, feature).cpu().expand(*every)
    chosen = set(features.values())
    near = density_neighbours(use.density, feature, chosen, settings.neighbours)
    names = (settings.seed, "scaling", "steering", topic)
    drawn = [
        int(numpy_generator(*names, RANDOM_FEATURE, prompt).choice(near)) for prompt in prompts
    ]
    others = torch.stack([feature_direction(sae, each).cpu() for each in drawn])
    yield RANDOM_FEATURE, drawn, others
    random = [random_direction(sae.d_in, *names, RANDOM_DIRECTION, prompt) for prompt in prompts]
    yield RANDOM_DIRECTION, None, torch.stack(random)
    yield BIAS, None, bias_direction(sae).cpu().expand(*every)
    difference = unit(means.difference(topic), f"the difference of means of {topic!r}")
    yield MEANS, None, difference.expand(*every)


def _written(
    model: LanguageModel,
    writing: Writing,
    pushes: Sequence[Push],
    topics: Sequence[str],
    scorer: TopicScorer,
    settings: SteeringSettings,
    key: Mapping[str, Any],
    units: Units | None,
) -> pa.Table:
    count = len(writing.prompts)
    new = settings.published.max_new_tokens
    if writing.uniform is not None:
        new = writing.uniform.shape[2]
    steered = SteeredWriting(
        model,
        writing.place,
        prompt_tokens(model, writing.prompts, begin=writing.begin),
        np.tile(np.arange(count), len(pushes)),
        torch.cat([push.vectors for push in pushes]),
        max_new_tokens=new,
        uniform=writing.uniform,
        temperature=settings.temperature,
        untouched=None if writing.begin else 0,
        batch_size=settings.batch_size,
    )

    def write(batch: int) -> pa.Table:
        records: list[dict[str, Any]] = []
        part = steered.write(batch)
        for record, topic, score in _scored(model, part, pushes, topics, scorer, count):
            named = {"mode": writing.mode, "topic": topic}
            text = writing.prompts[record["prompt"]]
            records.append({**key, **named, **record, "prompt_text": text, **score})
        return pa.Table.from_pylist(records, SCALING_CONTINUATIONS.schema())

    planned = [
        Unit(f"{writing.mode}{batch}", SCALING_CONTINUATIONS, partial(write, batch))
        for batch in range(len(steered.batches))
    ]
    kept = units or Units()
    return kept.joined(kept.mine(planned), f"writing, {writing.mode}", SCALING_CONTINUATIONS)


def _scored(
    model: LanguageModel,
    part: Continuations,
    pushes: Sequence[Push],
    topics: Sequence[str],
    scorer: TopicScorer,
    prompts: int,
) -> Iterator[tuple[dict[str, Any], str, dict[str, float | None]]]:
    """Each continuation with the score of its topic; the unsteered one with that of every topic."""
    texts = model.texts(part.tokens)
    probabilities = scorer.class_probabilities(texts, topics)
    for row, (job, text) in enumerate(zip(part.job.tolist(), texts, strict=True)):
        push, prompt = pushes[job // prompts], job % prompts
        record = {
            "direction": push.direction,
            "dose": push.dose,
            "prompt": prompt,
            "sample": int(part.sample[row]),
            "feature": None if push.features is None else push.features[prompt],
            "added": float(torch.linalg.vector_norm(push.vectors[prompt])),
            "text": text,
            "kl": float(part.kl[row]),
            "log_perplexity": float(part.surprisal[row]),
            **_repetition(part.tokens[row]),
        }
        for place, topic in enumerate(topics):
            if push.topic in ("", topic):
                found = {
                    "lexicon_share": _known(scorer.lexicon_share(text, topic)),
                    "class_probability": _known(probabilities[row, place]),
                }
                yield record, topic, found


def _repetition(tokens: Sequence[int]) -> dict[str, float | int | None]:
    distinct = {f"distinct_{n}": _known(distinct_share(tokens, n)) for n in (1, 2, 3)}
    return {**distinct, "repeated_2": _known(repeated_share(tokens, 2)), "tokens": len(tokens)}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
