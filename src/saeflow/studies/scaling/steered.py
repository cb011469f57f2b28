"""Steering along what a search found: which features, how strong, and who says what is on a topic."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from saeflow.artifacts.batches import TableGroups
from saeflow.artifacts.scaling_steering import SCALING_CONTINUATIONS, SCALING_STEERING
from saeflow.artifacts.units import Units
from saeflow.config.scaling_steering import SteeringSettings
from saeflow.datasets.texts.documents import TOPIC_WORDS, neutral_prompts
from saeflow.errors import SaeflowError
from saeflow.interventions.steering import fitted_place, group_means
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.studies.rows import CALIBRATED, NONE
from saeflow.studies.scaling.corpus import (
    TRAIN,
    Cut,
    corpus_documents,
    training_groups,
    training_texts,
)
from saeflow.studies.scaling.levels import chosen_level
from saeflow.studies.scaling.prompt_reading import corpus_factor
from saeflow.studies.scaling.reading import Document
from saeflow.studies.scaling.steering import (
    FeatureUse,
    calibrated_continuations,
    published_continuations,
)
from saeflow.studies.scaling.steering_summary import steering_summary
from saeflow.studies.scaling.topic_scores import TopicScorer, topic_scorer

CLASSIFIED = 50
"""Documents of each topic that made nothing, on which the classifier is tried."""


class Steered(NamedTuple):
    """What steering gives.

    Attributes
    ----------
    continuations : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_steering.SCALING_CONTINUATIONS`.
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_steering.SCALING_STEERING`.
    """

    continuations: pa.Table
    summary: pa.Table


def chosen_features(search: pa.Table, key: Mapping[str, Any]) -> dict[str, int]:
    """Feature of every topic: the first that the search lists, chosen on half A of its prompts.

    Parameters
    ----------
    search : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_search.SEARCH`.
    key : mapping
        Values of the columns dictionary and seed.

    Returns
    -------
    dict of str to int
        By topic: what stands behind the name of a set of groups. The level is the one that half A
        chooses (`saeflow.studies.scaling.levels.chosen_level`).
    """
    rows = [
        row
        for row in search.to_pylist()
        if all(row[name] == value for name, value in key.items())
        and (row["mode"], row["control"], row["place"]) == (CALIBRATED, NONE, 1)
        and "/" in row["prompts"]
    ]
    level = chosen_level(rows)
    return {
        row["prompts"].split("/", 1)[1]: row["feature"] for row in rows if row["level"] == level
    }


def feature_use(features: pa.Table, key: Mapping[str, Any]) -> FeatureUse:
    """Density and largest activation on the documents that train SAEs, which no search reads.

    Parameters
    ----------
    features : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_examples.SCALING_FEATURES`.
    key : mapping
        Values of the columns dictionary and seed.

    Raises
    ------
    SaeflowError
        If the SAE's features are not among them.
    """
    chosen = pc.equal(features["split"], TRAIN)
    for name, value in {**key, "control": NONE}.items():
        chosen = pc.and_(chosen, pc.equal(features[name], value))
    own = features.filter(chosen).sort_by("feature")
    if not len(own):
        raise SaeflowError(
            f"the reading of the corpus holds no features of {key['dictionary']} seed {key['seed']} "
            "on documents that train SAEs; expected every feature."
        )
    return FeatureUse(own["density"].to_numpy(), np.abs(own["largest"].to_numpy()))


def steer_bank(
    model: LanguageModel,
    bank: Bank,
    topics: Mapping[str, TableGroups],
    corpus: TableGroups,
    search: pa.Table,
    features: pa.Table,
    settings: SteeringSettings,
    key: Mapping[str, Any],
    *,
    prompts: Sequence[str] | None = None,
    cut: Cut = str,
    batch_size: int = 32,
    units: Units | None = None,
) -> Steered:
    """Steer along every topic's feature, in both modes, and summarise.

    Parameters
    ----------
    model : LanguageModel
        The model.
    bank : Bank
        Of one site, of this model.
    topics : mapping of str to TableGroups
        The data sets whose groups were searched, by name; of their documents those of split train
        make the classifier and the differences of means.
    corpus : TableGroups
        What trained the SAEs; the published form multiplies by the factor of its first documents.
    search, features : pyarrow.Table
        What was found (`SEARCH`) and how features fire (`SCALING_FEATURES`).
    settings : SteeringSettings
        How.
    key : mapping
        Values of the columns dictionary and seed.
    prompts : sequence of str, optional
        What is continued; by default sentences of our own that lead to no topic.
    cut : callable
        What becomes of each document before the model reads it.
    batch_size : int
        Documents per forward pass.
    units : Units, optional
        Where batches of continuations are kept; None: nowhere. Of a shard's there is no summary.

    Raises
    ------
    SaeflowError
        If the search found no topic's feature, a topic has no documents, prompts are too few, or as
        `saeflow.studies.scaling.steering.calibrated_continuations` does.
    """
    chosen = chosen_features(search, key)
    if not chosen:
        raise SaeflowError(
            "the search lists no feature of a topic; expected a set of prompts with source: groups "
            "that has texts enough to hold some out."
        )
    use = feature_use(features, key)
    chosen = _firing(chosen, use)
    documents = _topical(topics, chosen, settings.documents, cut)
    contents, groups = [each.content for each in documents], [each.group for each in documents]
    scorer = topic_scorer(contents, groups, TOPIC_WORDS, list(chosen))
    means = group_means(model, fitted_place(bank), contents, groups, batch_size=batch_size)
    read = training_texts(corpus, settings.documents, cut=cut)
    scale = corpus_factor(model, bank, read, batch_size=batch_size)
    continued = _continued(prompts, settings)
    written = [
        calibrated_continuations(
            model, bank, chosen, use, means, continued, scorer, settings, key, units
        ),
        published_continuations(model, bank, chosen, scorer, settings, key, units, scale=scale),
    ]
    table = pa.concat_tables(written).cast(SCALING_CONTINUATIONS.schema())
    if units is not None and units.portion is not None:
        return Steered(table, SCALING_STEERING.schema().empty_table())
    summary = steering_summary(
        table,
        key,
        permutations=settings.permutations,
        seed=settings.seed,
        classified=_classified(topics.values(), scorer),
    )
    return Steered(table, summary)


def _firing(chosen: Mapping[str, int], use: FeatureUse) -> dict[str, int]:
    """Topics whose feature fires on documents that train SAEs: only its maximum there is a dose."""
    kept = {topic: feature for topic, feature in chosen.items() if use.maximum[feature] > 0}
    left = [topic for topic in chosen if topic not in kept]
    if not kept:
        raise SaeflowError(
            f"no feature of the topics {', '.join(left)} fires on documents that train SAEs, so that "
            "none has a dose; expected one at least. Train on more tokens."
        )
    if left:
        logging.getLogger("saeflow").warning(
            "not steered: %s, whose features fire on no document that trains SAEs.", ", ".join(left)
        )
    return kept


def _topical(
    topics: Mapping[str, TableGroups], chosen: Iterable[str], per_group: int, cut: Cut
) -> list[Document]:
    documents = training_groups(topics.values(), per_group, cut=cut)
    groups = {each.group for each in documents}
    absent = [topic for topic in chosen if topic not in groups]
    if absent:
        raise SaeflowError(
            f"the data set {' or '.join(topics)} has no document of split train of the topics that the "
            f"search found: {', '.join(absent)}; expected some of each, beside those of the groups: "
            f"{', '.join(sorted(groups)) or 'none'}."
        )
    return documents


def _continued(prompts: Sequence[str] | None, settings: SteeringSettings) -> list[str]:
    if prompts is None:
        return neutral_prompts(seed=settings.seed, n=settings.prompts)
    found = list(dict.fromkeys(prompts))
    if len(found) < settings.prompts:
        raise SaeflowError(
            f"steering.prompt_file holds {len(found)} different prompts; expected {settings.prompts} "
            "(steering.prompts) or more."
        )
    return found[: settings.prompts]


def _classified(topics: Iterable[TableGroups], scorer: TopicScorer) -> np.ndarray | None:
    """Whether documents that train nothing are put into their group; None where there are none."""
    seen: dict[str, int] = {}
    held_out: list[Document] = []
    for document in (each for table in topics for each in corpus_documents(table)):
        if document.split != TRAIN and document.group in scorer.classes:
            seen[document.group] = seen.get(document.group, 0) + 1
            if seen[document.group] <= CLASSIFIED:
                held_out.append(document)
    if not held_out:
        return None
    return scorer.hits([each.content for each in held_out], [each.group for each in held_out])
