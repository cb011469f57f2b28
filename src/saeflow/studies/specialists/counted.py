"""What published sentences are held against that no table holds: means and counts over specialists.

Sentences such as "6 of 6 tests are significant" speak of all specialists together. Tests are counted by
sign after Benjamini and Hochberg's correction: for Holm's, 100 tests would need more permutations than are
drawn, however strong they are. Intervals resample topics: specialists of one topic at several blocks read
the same texts, in whatever form each was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from saeflow.seeds import numpy_generator
from saeflow.stats.resampling import sign_flip_p_value
from saeflow.studies.claims.sentences import Row
from saeflow.studies.claims.verdicts import LEVEL
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED, mean_row, row
from saeflow.studies.specialists.names import CONTAINED, JUDGED, RANDOM_FEATURE, ZERO
from saeflow.studies.specialists.overlap import CEILING
from saeflow.studies.specialists.rows import Key, bank_key, clustered_share_row
from saeflow.studies.specialists.texts import ALL, CATEGORIES, PAIRS

ANY_SIGN, POSITIVE, NEGATIVE = "significant", "significant_positive", "significant_negative"
"""Shares of tests with a small p-value: of both signs, and of either."""
LARGEST_FLIP = "largest_flip"
BEYOND_OTHERS = "beyond_other_features"
SEED, PERMUTATIONS = 0, 999
"""Of resamples, and sign flips drawn at most."""
_TESTS, _OF_ANSWERS = ("spearman", "point_biserial"), (CONTAINED, JUDGED)
_SIGNS = {ANY_SIGN: (-1, 1), POSITIVE: (1,), NEGATIVE: (-1,)}


def growth_rows(numbers: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """How much more selective the best features of classes are at the last block than at the first.

    Parameters
    ----------
    numbers : iterable of mapping
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, of one bank.

    Yields
    ------
    dict
        The same columns: ``auroc_growth`` of pairs and categories, mean over classes of the area on half
        B at the last block less that at the first, by pooling, topics resampled; nothing where one block
        is read.
    """
    areas: dict[tuple[str, str], dict[str, dict[int, Row]]] = {}
    for each in numbers:
        name, _, of_class = each["group"].partition(", ")
        wanted = ("discovery", "auroc", CALIBRATED, NONE)
        found = tuple(each[column] for column in ("part", "metric", "mode", "control"))
        if found == wanted and name in (PAIRS, CATEGORIES) and each["value"] is not None:
            by_class = areas.setdefault((name, each["pooling"]), {})
            by_class.setdefault(of_class, {})[each["layer"]] = each
    for (name, pooling), by_class in areas.items():
        layers = sorted({layer for some in by_class.values() for layer in some})
        first, last = layers[0], layers[-1]
        pairs = {name: some for name, some in by_class.items() if {first, last} <= set(some)}
        if first == last or not pairs:
            continue
        values = np.array([some[last]["value"] - some[first]["value"] for some in pairs.values()])
        key = _key("discovery", name, next(iter(pairs.values()))[last], layer=last, pooling=pooling)
        yield _tested_mean(key, "auroc_growth", values, pairs)


def overlap_rows(numbers: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """How far the overlap of two forms stays below half of what two halves of one form share.

    Parameters
    ----------
    numbers : iterable of mapping
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, of one bank.

    Yields
    ------
    dict
        The same columns: ``jaccard_less_half_ceiling``, mean over pairs of forms of the overlap less half
        of the ceiling, and ``jaccard_ceiling``, the ceiling itself; topics are resampled.
    """
    found: dict[tuple[int, str], dict[str, dict[str, Row]]] = {}
    for each in numbers:
        is_pair = each["part"] == "overlap" and " ~ " in each["group"]
        if is_pair and each["metric"] == "jaccard_halves" and each["value"] is not None:
            place = found.setdefault((each["layer"], each["pooling"]), {})
            place.setdefault(each["group"], {})[each["control"]] = each
    for (layer, pooling), groups in found.items():
        whole = {name: some for name, some in groups.items() if {NONE, CEILING} <= set(some)}
        if not whole:
            continue
        between, ceiling = (
            np.array([some[control]["value"] for some in whole.values()])
            for control in (NONE, CEILING)
        )
        first = next(iter(whole.values()))[NONE]
        key = _key("overlap", ALL, first, layer=layer, pooling=pooling)
        yield _tested_mean(key, "jaccard_less_half_ceiling", between - ceiling / 2, whole)
        yield _tested_mean(key, "jaccard_ceiling", ceiling, whole)


def token_rows(numbers: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Mean share on syntactic tokens over specialists, of theirs and of the controls'.

    Parameters
    ----------
    numbers : iterable of mapping
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, of one bank.

    Yields
    ------
    dict
        The same columns: ``syntactic_share`` of all specialists by mode and control, topics resampled.
    """
    shares: dict[tuple[str, str], list[Row]] = {}
    for each in numbers:
        if each["metric"] == "syntactic_share" and each["value"] is not None:
            shares.setdefault((each["mode"], each["control"]), []).append(each)
    for (mode, control), some in shares.items():
        key = _key("tokens", ALL, some[0], mode=mode)
        values = np.array([each["value"] for each in some])
        classes = [each["group"] for each in some]
        yield _tested_mean(key, "syntactic_share", values, classes, control)


def behaviour_rows(behaviour: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Counts of tests of specialists' activations against what a model answers.

    Parameters
    ----------
    behaviour : iterable of mapping
        Columns of `saeflow.artifacts.specialist_effects.SPECIALIST_BEHAVIOUR`, of one bank.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, by kind of task and outcome: shares of
        tests with a small q-value, or p-value where published, and mean rank correlation. Calibrated,
        also the share of specialists whose correlation few of the other features reach. A test that
        could not be made found nothing.
    """
    by_group: dict[tuple[str, str, str], list[Row]] = {}
    for each in behaviour:
        if each["metric"] in _TESTS:
            kind = "answers" if each["outcome"] in _OF_ANSWERS else each["group"].split(" ", 1)[0]
            place = each["mode"], f"{kind}, {each['outcome']}", each["metric"]
            by_group.setdefault(place, []).append(each)
    for (mode, group, metric), some in by_group.items():
        key = _key("behaviour", group, some[0], mode=mode)
        yield from _signs(key, some, "q_value" if mode == CALIBRATED else "p_value")
        known = [each for each in some if each["value"] is not None]
        values = np.array([each["value"] for each in known], np.float64)
        if known and mode == PUBLISHED:
            yield row(key, metric, float(values.mean()), n=len(known))
        elif known:
            yield _tested_mean(key, metric, values, [each["class"] for each in known])
        if mode == CALIBRATED:
            few = [_small(each["other_features"]) for each in some]
            yield _share(key, BEYOND_OTHERS, few, some)


def effect_rows(effects: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Counts of cells of the ablation matrix, of each specialist on texts of its own topic.

    Parameters
    ----------
    effects : iterable of mapping
        Columns of `saeflow.artifacts.specialist_effects.SPECIALIST_EFFECTS`, of one bank.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`: shares of cells that are significant,
        calibrated beyond the random feature and by q-values, published without either; mean rate of flips,
        with the random feature's as control, and the largest rate of a cell, whose ends are the largest
        ends of all cells.
    """
    own = [
        each
        for each in effects
        if each["group"] == _topic(each["class"]) and each["condition"] in _CONDITIONS
    ]
    for mode, control, adjusted in (
        (CALIBRATED, RANDOM_FEATURE, "q_value"),
        (PUBLISHED, NONE, "p_value"),
    ):
        wanted = (mode, ZERO, control, "log_probability")
        some = [each for each in own if _place(each) == wanted]
        if some:
            yield from _signs(_key("ablation", "texts", some[0], mode=mode), some, adjusted)
    for condition, control in _CONDITIONS.items():
        some = [
            each
            for each in own
            if _place(each) == (CALIBRATED, condition, NONE, "flip") and each["value"] is not None
        ]
        if some:
            key = _key("ablation", "texts", some[0])
            values = np.array([each["value"] for each in some], np.float64)
            yield _tested_mean(key, "flip", values, [each["class"] for each in some], control)
            yield _largest(key, some, control)
    published = [each for each in own if _place(each) == (PUBLISHED, ZERO, NONE, "flip")]
    if published:
        key = _key("ablation", "texts", published[0], mode=PUBLISHED)
        largest = max(each["value"] for each in published)
        yield row(key, LARGEST_FLIP, largest, n=len(published))


_CONDITIONS = {ZERO: NONE, RANDOM_FEATURE: RANDOM_FEATURE}
"""Conditions of the matrix, and what they are controls as."""


def _place(each: Row) -> tuple[str, ...]:
    return tuple(each[name] for name in ("mode", "condition", "control", "metric"))


def _largest(key: Key, some: Sequence[Row], control: str) -> dict[str, Any]:
    # A rate that is the same in every resample has no interval.
    ends = tuple(
        max(each["value"] if each[end] is None else each[end] for each in some)
        for end in ("ci_low", "ci_high")
    )
    return row(
        key,
        LARGEST_FLIP,
        max(each["value"] for each in some),
        n=len(some),
        ends=(ends[0], ends[1]),
        interval="largest ends",
        control=control,
    )


def _key(
    part: str,
    group: str,
    bank: Mapping[str, Any],
    *,
    mode: str = CALIBRATED,
    layer: int | None = None,
    pooling: str = "",
) -> dict[str, Any]:
    return {"part": part, **bank_key(bank, mode, layer, pooling), "group": group}


def _signs(key: Key, tests: Sequence[Row], adjusted: str) -> Iterator[dict[str, Any]]:
    for metric, signs in _SIGNS.items():
        counted = [_small(each[adjusted]) and np.sign(each["value"]) in signs for each in tests]
        yield _share(key, metric, counted, tests)


def _small(p_value: float | None) -> bool:
    return p_value is not None and p_value <= LEVEL


def _share(key: Key, metric: str, counted: Sequence[bool], tests: Sequence[Row]) -> dict[str, Any]:
    """Share of tests with an interval over the topics of their specialists."""
    topics = [_topic(each["class"]) for each in tests]
    return clustered_share_row(
        key, metric, np.array(counted, np.float64), topics, _generator(key, metric)
    )


def _tested_mean(
    key: Key, metric: str, values: np.ndarray, names: Iterable[str], control: str = NONE
) -> dict[str, Any]:
    """Mean with an interval over the topics of classes, and a test of its sign."""
    topics, generator = [_topic(each) for each in names], _generator(key, metric)
    found = mean_row(key, metric, values, topics, generator, control)
    p_value = sign_flip_p_value(values, topics, PERMUTATIONS, generator)
    return {**found, "p_value": p_value if found["n"] else None}


def _topic(name: str) -> str:
    """Topic of a class of topic and form, or of two of its forms; a category is its own."""
    return name.split(": ", 1)[0]


def _generator(key: Key, metric: str) -> np.random.Generator:
    return numpy_generator(SEED, "specialists", "counted", metric, key["group"])
