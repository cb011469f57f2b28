"""The chance level: the study again, after permuting the problems' token rows jointly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int

from saeflow.config.studies import Gsm8kCriteria
from saeflow.progress import progress
from saeflow.seeds import numpy_generator
from saeflow.stats.contingency import Pairs, PublishedTest
from saeflow.studies.gsm8k.association import LayerFeatures, TokenMatrix, rank_within
from saeflow.studies.gsm8k.labels import TOP, Label, label_feature
from saeflow.studies.gsm8k.summary import Outcome, measure


def permutation_table(
    layers: list[LayerFeatures],
    tokens: TokenMatrix,
    criteria: Gsm8kCriteria,
    run: Mapping[str, object],
    device: torch.device,
) -> pa.Table:
    """Measure again after each joint permutation of the problems' token rows.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PERMUTATIONS`.
    """
    rows = []
    tests = published_tests(layers, tokens, criteria, device)
    count, seed = criteria.permutations.count, criteria.permutations.seed
    for index in progress(range(count), description="permutations", total=count):
        order = permuted_rows(len(tokens.present), seed, index)
        permuted = TokenMatrix(tokens.tokens, tokens.present[order])
        outcome = outcome_of_layers(layers, tests, permuted, criteria)
        measured = measure(outcome, criteria.labels)
        key = {**run, "target": "token", "permutation": index}
        rows += [{**key, **row._asdict()} for row in measured]
    return pa.Table.from_pylist(rows)


def permuted_rows(n_problems: int, seed: int, permutation: int) -> Int[np.ndarray, " problems"]:
    """Order of the token rows in one joint permutation.

    Whole rows move, so tokens keep occurring together; the features stay where they are.
    """
    generator = numpy_generator(seed, "gsm8k", "permutation", permutation)
    return generator.permutation(n_problems)


def published_tests(
    layers: list[LayerFeatures],
    tokens: TokenMatrix,
    criteria: Gsm8kCriteria,
    device: torch.device,
) -> list[PublishedTest]:
    """Prepare the test of each layer's features, whichever way the token rows are permuted."""
    support = tokens.present.sum(0)
    return [PublishedTest(each.active, support, criteria.association, device) for each in layers]


def outcome_of_layers(
    layers: list[LayerFeatures],
    tests: list[PublishedTest],
    tokens: TokenMatrix,
    criteria: Gsm8kCriteria,
) -> Outcome:
    """Associate and label in one go, keeping only what the summary reads.

    Parameters
    ----------
    layers : list of LayerFeatures
        Features to test.
    tests : list of PublishedTest
        Their tests, as `published_tests` prepares them.
    tokens : TokenMatrix
        Tokens, permuted or not.
    criteria : Gsm8kCriteria
        Thresholds.

    Returns
    -------
    Outcome
        Features in the order of `layers`, steps and index.
    """
    parts = [
        _outcome_of_layer(each, test.pairs(tokens.present), tokens, criteria)
        for each, test in zip(layers, tests, strict=True)
    ]
    return Outcome(
        layer=np.concatenate([part.layer for part in parts]),
        step=np.concatenate([part.step for part in parts]),
        tested=np.concatenate([part.tested for part in parts]),
        n_kept=np.concatenate([part.n_kept for part in parts]),
        enrichment=np.concatenate([part.enrichment for part in parts]),
        labels=[label for part in parts for label in part.labels],
    )


def _outcome_of_layer(
    features: LayerFeatures, pairs: Pairs, tokens: TokenMatrix, criteria: Gsm8kCriteria
) -> Outcome:
    count = features.active.shape[1]
    first = rank_within(pairs.feature) == 0
    enrichment = np.zeros(count)
    enrichment[pairs.feature[first]] = pairs.enrichment[first]
    labels: list[Label | None] = [None] * count
    starts = np.flatnonzero(first)
    # The measurement itself is labelled from the stored pairs only.
    seen = min(TOP, criteria.association.keep)
    ends = np.r_[starts, len(pairs.feature)][1:]
    for start, end in zip(starts, ends, strict=True):
        top = [tokens.tokens[token] for token in pairs.label[start : min(end, start + seen)]]
        labels[pairs.feature[start]] = label_feature(
            top, float(pairs.enrichment[start]), criteria.labels
        )
    return Outcome(
        layer=np.full(count, features.layer),
        step=np.repeat(features.steps, features.d_sae),
        tested=features.active.sum(0) >= criteria.association.min_active,
        n_kept=np.bincount(pairs.feature, minlength=count),
        enrichment=enrichment,
        labels=labels,
    )
