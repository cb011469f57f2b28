"""What the features of two models share on the same texts, beside what exchanged texts give.

Tokenizers differ, so models meet at texts. Two nulls: contents exchanged for any others,
which asks whether anything is shared, topics included; and within their topic only, which asks for more
than topics and forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Num
from scipy.stats import spearmanr

from saeflow.artifacts.specialists import FEATURE_ALIGNMENT
from saeflow.config.specialists import AlignmentSettings
from saeflow.errors import SaeflowError
from saeflow.progress import progress
from saeflow.seeds import numpy_generator
from saeflow.stats.association_strength import spearman_association
from saeflow.stats.feature_alignment import RULES, held_out_partners, neighbours_again
from saeflow.stats.lexical import class_means
from saeflow.stats.resampling import BOOTSTRAP
from saeflow.stats.shared_subspaces import cka_test, svcca_test
from saeflow.stats.text_clusters import NullTest, TextClusters
from saeflow.studies.rows import CALIBRATED, PUBLISHED, row
from saeflow.studies.specialists.pooled import PooledFeatures
from saeflow.studies.specialists.published import class_l0
from saeflow.studies.specialists.rows import PERMUTED, adjust
from saeflow.studies.specialists.texts import Classes, StudyTexts, pair_classes

EXCHANGED = "exchanged"
ANY, TOPIC = "any contents", "contents of one topic"
"""What is exchanged for what."""


class Side(NamedTuple):
    """Pooled features of one model, and the key columns that name them.

    Attributes
    ----------
    model, dictionary : str
        By their names in the configuration.
    seed : int
        Of the SAEs.
    pooled : PooledFeatures
        Of the same texts as the other side's.
    """

    model: str
    dictionary: str
    seed: int
    pooled: PooledFeatures


def align_models(
    first: Side, second: Side, texts: StudyTexts, settings: AlignmentSettings
) -> pa.Table:
    """Align the features of two models, block by block.

    Features and subspaces of blocks at the same relative depth are matched; CKA is of all pairs of
    blocks. Mean numbers of active features by class are correlated in both modes (methods/3, 4.6).

    Parameters
    ----------
    first, second : Side
        The models.
    texts : StudyTexts
        What both read; matched texts are compared.
    settings : AlignmentSettings
        Poolings, permutations and seed.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.specialists.FEATURE_ALIGNMENT`.

    Raises
    ------
    SaeflowError
        If the sides have other texts, or lack a pooling.
    """
    counts = {first.pooled.shape.n_texts, second.pooled.shape.n_texts, len(texts.contents)}
    if len(counts) > 1:
        raise SaeflowError(
            f"{first.model} and {second.model} read {first.pooled.shape.n_texts} and "
            f"{second.pooled.shape.n_texts} of {len(texts.contents)} texts; expected all of both."
        )
    rows = list(_calibrated(first, second, texts, settings))
    rows += _sparsity(first, second, texts, settings)
    found = adjust(rows, ("mode", "pooling", "group", "metric"))
    sides = {
        "model": first.model,
        "dictionary": first.dictionary,
        "seed": first.seed,
        "other_model": second.model,
        "other_dictionary": second.dictionary,
        "other_seed": second.seed,
    }
    return pa.Table.from_pylist([{**each, **sides} for each in found], FEATURE_ALIGNMENT.schema())


def align_pairs(sides: Sequence[Side], texts: StudyTexts, settings: AlignmentSettings) -> pa.Table:
    """Align every two models.

    Parameters
    ----------
    sides : sequence of Side
        The models; with fewer than two the table is empty.
    texts, settings
        As of `align_models`.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.specialists.FEATURE_ALIGNMENT`.
    """
    pairs = list(combinations(sides, 2))
    shown = progress(pairs, description="pairs of models", total=len(pairs))
    found = [align_models(first, second, texts, settings) for first, second in shown]
    return pa.concat_tables([FEATURE_ALIGNMENT.schema().empty_table(), *found])


def same_depths(first: Sequence[int], second: Sequence[int]) -> list[tuple[int, int]]:
    """Blocks of two models at the same relative place among those that were read, ascending.

    Each block of the model with fewer has one partner; first goes with first and last with last.
    """
    fewer = min(len(first), len(second))
    places = [
        [0]
        if fewer == 1
        else [round(each * (len(some) - 1) / (fewer - 1)) for each in range(fewer)]
        for some in (first, second)
    ]
    if fewer == 1:
        places = [[len(first) - 1], [len(second) - 1]]
    return [(first[one], second[two]) for one, two in zip(*places, strict=True)]


def alignment_rows(
    first: Num[np.ndarray, "texts features"],
    second: Num[np.ndarray, "texts others"],
    classes: Classes,
    settings: AlignmentSettings,
    key: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Match features and subspaces on one half of the pairs, and test them on the other.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (texts, features), (texts, others)
        The same matched texts.
    classes : Classes
        Their topics, forms and pairs.
    settings : AlignmentSettings
        Permutations, share of variance, and seed.
    key : dict
        Values of the columns mode, layer, other_layer and pooling.

    Yields
    ------
    dict
        ``correlation_<rule>``: mean correlation on half B of partners that were chosen on half A, as many
        as ``n``; ``mutual_again``: share of mutual nearest neighbours that are such on half B, too;
        ``svcca``: mean correlation on half B along directions of half A. Each with the control
        ``exchanged``.
    """
    one, two = (each.astype(np.float64) for each in (first, second))
    for group, clusters in exchanges(classes).items():
        place = {**key, "group": group}
        parts = ("specialists", "alignment", group)
        half = clusters.half(numpy_generator(settings.seed, *parts, "half"))
        for rule in RULES:
            metric = f"correlation_{rule}"
            found = held_out_partners(
                one,
                two,
                rule,
                clusters=clusters,
                half=half,
                generator=numpy_generator(settings.seed, *parts, metric),
                permutations=settings.permutations,
            )
            yield from _tested(place, metric, found.mean, len(found.first))
        again = neighbours_again(
            one,
            two,
            clusters=clusters,
            half=half,
            generator=numpy_generator(settings.seed, *parts, "mutual_again"),
            permutations=settings.neighbour_permutations,
        )
        yield from _tested(place, "mutual_again", again, int((~half).sum()))
        along = svcca_test(
            one,
            two,
            clusters=clusters,
            half=half,
            generator=numpy_generator(settings.seed, *parts, "svcca"),
            share=settings.share,
            permutations=settings.permutations,
        )
        yield from _tested(place, "svcca", along.mean, len(along.first))


def exchanges(classes: Classes) -> dict[str, TextClusters]:
    """Contents as clusters, exchanged for any others with as many texts, or within their topic."""
    pairs = classes.clusters.tolist()
    return {ANY: TextClusters(pairs), TOPIC: TextClusters(pairs, classes.classes.tolist())}


def _calibrated(
    first: Side, second: Side, texts: StudyTexts, settings: AlignmentSettings
) -> Iterator[dict[str, Any]]:
    classes = pair_classes(texts)
    layers = (first.pooled.shape.layers, second.pooled.shape.layers)
    matched = same_depths(*layers)
    for pooling in settings.poolings:
        # One model's blocks are held at a time, and the other's one by one.
        held = {
            layer: second.pooled.matrix(CALIBRATED, layer, pooling)[classes.rows]
            for layer in layers[1]
        }
        for layer in layers[0]:
            one = first.pooled.matrix(CALIBRATED, layer, pooling)[classes.rows]
            for other, two in held.items():
                key = _key(CALIBRATED, layer, other, pooling)
                for group, clusters in exchanges(classes).items():
                    generator = numpy_generator(settings.seed, "specialists", "cka", group)
                    test = cka_test(
                        one,
                        two,
                        clusters=clusters,
                        generator=generator,
                        permutations=settings.permutations,
                    )
                    yield from _tested({**key, "group": group}, "cka", test, len(one))
                if (layer, other) in matched:
                    yield from alignment_rows(one, two, classes, settings, key)


def _sparsity(
    first: Side, second: Side, texts: StudyTexts, settings: AlignmentSettings
) -> Iterator[dict[str, Any]]:
    """Rank correlation of mean numbers of active features by class; with lengths fixed, calibrated."""
    classes = pair_classes(texts)
    group = {"group": "classes"}
    matched = same_depths(first.pooled.shape.layers, second.pooled.shape.layers)
    for mode in (PUBLISHED, CALIBRATED):
        shared = set(second.pooled.shape.poolings.get(mode, ()))
        for pooling in first.pooled.shape.poolings.get(mode, ()):
            for layer, other in matched if pooling in shared else ():
                key = {**_key(mode, layer, other, pooling), **group}
                one, two = (
                    class_l0(side.pooled.matrix(mode, block, pooling), classes)
                    for side, block in ((first, layer), (second, other))
                )
                if mode == PUBLISHED:
                    yield _published_sparsity(key, one, two)
                else:
                    lengths = _class_lengths(first, second, classes)
                    yield _partial_sparsity(key, one, two, lengths, settings)


def _published_sparsity(key: dict[str, Any], one: np.ndarray, two: np.ndarray) -> dict[str, Any]:
    """A dictionary with a fixed number of active features has nothing to correlate."""
    if not np.ptp(one) or not np.ptp(two):
        return row(key, "l0_spearman", None, n=len(one))
    found = spearmanr(one, two)
    return row(key, "l0_spearman", float(found.statistic), n=len(one), p_value=float(found.pvalue))


def _partial_sparsity(
    key: dict[str, Any],
    one: np.ndarray,
    two: np.ndarray,
    lengths: np.ndarray,
    settings: AlignmentSettings,
) -> dict[str, Any]:
    generator = numpy_generator(settings.seed, "specialists", "l0")
    found = spearman_association(
        one, two, None, generator, covariates=lengths, permutations=settings.permutations
    )
    return row(
        key,
        "l0_spearman_beyond_length",
        found.value,
        n=found.n,
        ends=(found.low, found.high),
        interval=BOOTSTRAP,
        p_value=None if np.isnan(found.p_value) else found.p_value,
    )


def _class_lengths(first: Side, second: Side, classes: Classes) -> np.ndarray:
    """Mean log length of a class's texts in tokens of each model."""
    lengths = np.stack(
        [np.log(side.pooled.n_tokens(CALIBRATED)[classes.rows]) for side in (first, second)], axis=1
    )
    return class_means(lengths, classes.classes)


def _tested(group: dict[str, Any], metric: str, test: NullTest, n: int) -> Iterator[dict[str, Any]]:
    yield row(group, metric, test.value, n=n, p_value=test.p_value)
    yield row(
        group,
        metric,
        test.expected,
        n=n,
        ends=(test.low, test.high),
        interval=PERMUTED,
        control=EXCHANGED,
    )


def _key(mode: str, layer: int, other: int, pooling: str) -> dict[str, Any]:
    return {"mode": mode, "layer": layer, "other_layer": other, "pooling": pooling}
