"""Whether a specialist's activation tells what a model answers, and on which tokens it falls.

Published: correlation with right answers over all prompts (methods/3, section 4.5, E). Calibrated:
rank correlation with the margin, length and token frequency held fixed, contents resampled and
permuted as one, corrected for the number of tests, and beside what other features of the same SAE
give (section 4.7).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.linalg import orth
from scipy.stats import rankdata

from saeflow.config.specialists import Pooling
from saeflow.datasets.matched.token_classes import CLASSES, SYNTACTIC, token_classes
from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.saes.pooling import pool_texts
from saeflow.saes.tokens import encode_texts
from saeflow.seeds import numpy_generator
from saeflow.stats.association_strength import (
    Association,
    PublishedAssociation,
    published_association,
    spearman_association,
)
from saeflow.stats.exact import adjusted, holm
from saeflow.stats.resampling import cluster_sums, percentile_ends, resample_counts
from saeflow.studies.specialists.texts import class_name


class SpecialistFeature(NamedTuple):
    """A feature that a class of texts has for a specialist.

    Attributes
    ----------
    layer, feature : int
        Block and index in its SAE.
    topic, form : str
        The class; a category has no form.
    """

    layer: int
    feature: int
    topic: str
    form: str = ""

    @property
    def name(self) -> str:
        """Name of the class in tables."""
        return class_name(self.topic, self.form) if self.form else self.topic


@dataclass(frozen=True)
class Behaviour:
    """How one specialist's activation goes with one outcome on one group of items.

    Attributes
    ----------
    specialist : int
        Place among the specialists.
    group, outcome : str
        Which items, and what of them.
    published : PublishedAssociation or None
        With right and wrong answers; None of an outcome that is not one of two.
    association : Association
        Rank correlation with covariates held fixed, intervals and p-value over contents.
    holm, q_value : float
        The p-value adjusted by Holm, and by Benjamini and Hochberg, over all specialists and groups of
        the same outcome; a test without a p-value counts as one that found nothing.
    other_features : float
        Share of other active features, this one included, whose correlation is as far from 0; NaN
        where none was given.
    """

    specialist: int
    group: str
    outcome: str
    published: PublishedAssociation | None
    association: Association
    holm: float
    q_value: float
    other_features: float


@dataclass(frozen=True)
class TokenMass:
    """Where specialists' activation falls, by class of token.

    Attributes
    ----------
    specialists : numpy.ndarray of float64, shape (texts, specialists, classes)
        Sum of the activation's absolute value over a text's tokens of each of `CLASSES`.
    features : numpy.ndarray of float64, shape (texts, layers, classes)
        The same summed over all features of each SAE, in the order of `layers`.
    tokens : numpy.ndarray of int64, shape (texts, classes)
        How many tokens there are.
    layers : tuple of int
        Blocks of the bank.
    """

    specialists: Float[np.ndarray, "texts specialists classes"]
    features: Float[np.ndarray, "texts layers classes"]
    tokens: Int[np.ndarray, "texts classes"]
    layers: tuple[int, ...]


class Share(NamedTuple):
    """Share of a mass on syntactic tokens, with a bootstrap interval over contents.

    Attributes
    ----------
    value, low, high : float
        NaN where there is no mass, or nothing to resample.
    n : int
        Contents with a mass.
    """

    value: float
    low: float
    high: float
    n: int


def specialist_activations(
    model: LanguageModel,
    bank: Bank,
    texts: Sequence[str],
    specialists: Sequence[SpecialistFeature],
    *,
    pooling: Pooling = "encode_then_average",
    batch_size: int = 32,
) -> Float[np.ndarray, "texts specialists"]:
    """Pooled activation of each specialist on each text, begin-of-text tokens left out.

    Raises
    ------
    SaeflowError
        If the bank lacks a specialist's block or feature, or as `pool_texts` does.
    """
    check_specialists(bank, specialists)
    found = np.zeros((len(texts), len(specialists)))
    for batch in pool_texts(model, bank, texts, poolings=[pooling], batch_size=batch_size):
        columns = [batch.features[each.layer][pooling][:, each.feature] for each in specialists]
        if columns:
            found[batch.text.cpu().numpy()] = torch.stack(columns, dim=1).double().cpu().numpy()
    return found


def check_specialists(bank: Bank, specialists: Sequence[SpecialistFeature]) -> None:
    """Refuse specialists that a bank does not have."""
    layers = [site.layer for site in bank.sites]
    for each in specialists:
        if each.layer not in layers or not 0 <= each.feature < bank.d_sae:
            raise SaeflowError(
                f"The specialist of {each.topic} is feature {each.feature} of block {each.layer}; "
                f"expected one of {bank.d_sae} features of the blocks {layers}."
            )


def behaviour(
    activations: Float[np.ndarray, "items specialists"],
    outcomes: Mapping[str, Float[np.ndarray, " items"]],
    groups: Sequence[str],
    contents: Sequence[Hashable],
    *,
    covariates: Float[np.ndarray, "items covariates"] | None = None,
    others: Mapping[int, Float[np.ndarray, "items others"]] | None = None,
    permutations: int = 1000,
    seed: int = 0,
) -> list[Behaviour]:
    """Correlate specialists' activations with outcomes, group by group.

    Specialists must have been chosen on other texts.

    Parameters
    ----------
    activations : numpy.ndarray of float, shape (items, specialists)
        As `specialist_activations` gives them for prompts.
    outcomes : mapping of str to numpy.ndarray of float, shape (items,)
        Such as a margin, or 1 for a right answer and 0 for a wrong one; of the latter the published
        tests are made, too. NaN where an item has none.
    groups : sequence of str
        Group of each item, within which correlations are taken.
    contents : sequence of hashable
        Content of each item; its forms are resampled and permuted as one.
    covariates : numpy.ndarray of float, shape (items, covariates), optional
        Held fixed by their ranks, as `saeflow.studies.specialists.cloze.ending_covariates` gives them.
    others : mapping of int to numpy.ndarray of float, shape (items, others), optional
        By place of a specialist, activations of features of the same SAE to hold it against.
    permutations : int
        How many to draw for each test.
    seed : int
        Seed of resamples and permutations.

    Returns
    -------
    list of Behaviour
        By outcome, then group in order of appearance, then specialist.
    """
    places = {name: np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)}
    fixed = np.zeros((len(groups), 0)) if covariates is None else covariates
    found = []
    for outcome, values in outcomes.items():
        rows = []
        for group, items in places.items():
            for number, column in enumerate(activations[items].T):
                association = spearman_association(
                    column,
                    values[items],
                    [contents[item] for item in items.tolist()],
                    numpy_generator(seed, "specialists", "behaviour", outcome, group, number),
                    covariates=fixed[items],
                    permutations=permutations,
                )
                published = _published(column, values[items])
                beside = None if others is None else others[number][items]
                share = _as_far(association.value, beside, values[items], fixed[items])
                rows.append((number, group, outcome, published, association, share))
        found += _adjusted(rows)
    return found


def partial_rank_correlations(
    activations: Float[np.ndarray, "items features"],
    outcome: Float[np.ndarray, " items"],
    covariates: Float[np.ndarray, "items covariates"],
) -> Float[np.ndarray, " features"]:
    """Spearman's partial correlation of many features at once; NaN of one with nothing beyond covariates."""
    kept = ~np.isnan(np.column_stack([outcome, covariates])).any(1)
    if kept.sum() < 3:
        return np.full(activations.shape[1], np.nan)
    ranks = rankdata(np.column_stack([outcome, activations])[kept], axis=0)
    ranks -= ranks.mean(0)
    span = orth(np.column_stack([np.ones(int(kept.sum())), rankdata(covariates[kept], axis=0)]))
    left = ranks - span @ (span.T @ ranks)
    before, after = np.linalg.norm(ranks, axis=0), np.linalg.norm(left, axis=0)
    some = (after**2 > 1e-9 * before**2) & (before > 0)
    unit = left / np.where(some, after, 1.0)
    found: Float[np.ndarray, " features"] = unit[:, 1:].T @ unit[:, 0]
    return np.where(some[1:] & some[0], found, np.nan)


def token_mass(
    model: LanguageModel,
    bank: Bank,
    texts: Sequence[str],
    forms: Sequence[str],
    specialists: Sequence[SpecialistFeature],
    *,
    batch_size: int = 32,
) -> TokenMass:
    """Sum specialists' activation over tokens of each class, text by text (methods/3, section 4.5, D).

    Parameters
    ----------
    model, bank
        Model and SAEs of its tokens.
    texts, forms : sequence of str
        Texts, and their forms, which choose the lists of words (`token_classes`).
    specialists : sequence of SpecialistFeature
        Features of the bank.
    batch_size : int
        Most texts per forward pass.

    Raises
    ------
    SaeflowError
        If the tokenizer does not tell where its tokens are in a text, or as `encode_texts` does.
    """
    check_specialists(bank, specialists)
    classes = [_classes_of(model, text, form) for text, form in zip(texts, forms, strict=True)]
    layers = tuple(site.layer for site in bank.sites)
    mass = np.zeros((len(texts), len(specialists), len(CLASSES)))
    features = np.zeros((len(texts), len(layers), len(CLASSES)))
    tokens = np.zeros((len(texts), len(CLASSES)), np.int64)
    for batch in encode_texts(model, bank, texts, batch_size=batch_size):
        keep = ~batch.begin
        text, position = (each[keep].cpu().numpy() for each in (batch.text, batch.position))
        kind = np.array([classes[a][b] for a, b in zip(text, position, strict=True)], np.int64)
        np.add.at(tokens, (text, kind), 1)
        for place, layer in enumerate(layers):
            values = batch.features[layer][keep].abs().double()
            np.add.at(features[:, place], (text, kind), values.sum(1).cpu().numpy())
            for number, each in enumerate(specialists):
                if each.layer == layer:
                    column = values[:, each.feature].cpu().numpy()
                    np.add.at(mass[:, number], (text, kind), column)
    return TokenMass(mass, features, tokens, layers)


def syntactic_share(
    mass: Float[np.ndarray, "texts classes"], contents: Sequence[Hashable], seed: int = 0
) -> Share:
    """Share of a mass that falls on syntactic tokens.

    Parameters
    ----------
    mass : numpy.ndarray of float, shape (texts, classes)
        Of one specialist, of all features of its SAE, or counts of tokens: what a feature would have
        that does not look at classes.
    contents : sequence of hashable
        Content of each text.
    seed : int
        Seed of the resamples.
    """
    syntactic = mass[:, [CLASSES.index(name) for name in SYNTACTIC]].sum(1)
    sums, _ = cluster_sums(np.column_stack([syntactic, mass.sum(1)]).astype(np.float64), contents)
    sums = sums[sums[:, 1] > 0]
    if not len(sums):
        return Share(np.nan, np.nan, np.nan, 0)
    value = float(sums[:, 0].sum() / sums[:, 1].sum())
    if len(sums) < 2 or np.ptp(sums[:, 0] / sums[:, 1]) == 0:
        return Share(value, np.nan, np.nan, len(sums))
    generator = numpy_generator(seed, "specialists", "syntactic", len(sums))
    drawn = resample_counts(len(sums), generator) @ sums
    return Share(value, *percentile_ends(drawn[:, 0] / drawn[:, 1]), len(sums))


def _published(
    activation: Float[np.ndarray, " items"], outcome: Float[np.ndarray, " items"]
) -> PublishedAssociation | None:
    kept = ~np.isnan(outcome)
    answers: Bool[np.ndarray, " kept"] = outcome[kept] == 1
    if not bool((answers | (outcome[kept] == 0)).all()):
        return None
    return published_association(activation[kept], answers)


def _as_far(
    value: float,
    others: Float[np.ndarray, "items others"] | None,
    outcome: Float[np.ndarray, " items"],
    covariates: Float[np.ndarray, "items covariates"],
) -> float:
    if others is None or np.isnan(value):
        return float("nan")
    found = partial_rank_correlations(others, outcome, covariates)
    found = np.abs(found[~np.isnan(found)])
    # The specialist counts as one of them, as the observed order does in a permutation test.
    return float((1 + int((found >= abs(value) - 1e-9).sum())) / (1 + len(found)))


_Row = tuple[int, str, str, PublishedAssociation | None, Association, float]


def _adjusted(rows: Sequence[_Row]) -> list[Behaviour]:
    p_values = np.nan_to_num(np.array([row[4].p_value for row in rows], np.float64), nan=1.0)
    by_holm, by_rate = holm(p_values), adjusted(p_values, len(p_values))
    return [
        Behaviour(*row[:5], float(first), float(second), row[5])
        for row, first, second in zip(rows, by_holm, by_rate, strict=True)
    ]


def token_spans(model: LanguageModel, text: str) -> list[tuple[int, int]]:
    """Where each token begins and ends in a text, in characters; nowhere is (0, 0).

    Raises
    ------
    SaeflowError
        If the tokenizer does not tell.
    """
    if not getattr(model.tokenizer, "is_fast", False):
        raise SaeflowError(
            f"{type(model.tokenizer).__name__} does not tell where its tokens are in a text; expected "
            "a fast tokenizer."
        )
    places = model.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    return [(int(start), int(end)) for start, end in places]


def _classes_of(model: LanguageModel, text: str, form: str) -> list[int]:
    return [CLASSES.index(name) for name in token_classes(text, token_spans(model, text), form)]
