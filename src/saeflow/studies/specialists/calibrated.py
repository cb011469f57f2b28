"""Specialists chosen on one half of the pairs and scored on the other, beside chance.

Every class is told from the texts of other subjects, and, apart from that, from the other forms of its
own topic: a feature of the topic does the former, only one of the form does the latter. Both topics of
maths are one subject, since they share their words. What the study's own rule is worth on texts that it
has not seen stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Num

from saeflow.config.specialists import DiscoverySettings, SpecialistsCalibrated
from saeflow.stats.selectivity import nested_scores, published_specialist
from saeflow.stats.selectivity_null import specialist_tests
from saeflow.studies.rows import row
from saeflow.studies.specialists.draws import Draws
from saeflow.studies.specialists.rows import CHANCE, RELABELED, Key, adjust, record, spread_row
from saeflow.studies.specialists.texts import Classes

BEST = "best"
KEY = ("dictionary", "seed", "mode", "layer", "pooling")


def calibrated_records(
    values: Num[np.ndarray, "texts features"],
    draws: Draws,
    settings: SpecialistsCalibrated,
    key: Key,
    *,
    d_sae: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Best feature of each class, by split and on all texts, of one block and pooling.

    Parameters
    ----------
    values : numpy.ndarray, shape (texts, features)
        Features of all texts, as `StudyTexts` orders them. Large values stand for a class: of a signed
        dictionary give both halves of each feature (`saeflow.stats.signed.halves`) to find those that
        are negative on it. Column c of these is feature c where it is positive, and column d_sae + c is
        feature c where it is negative.
    draws : Draws
        Classes, with halves and relabelings.
    settings : SpecialistsCalibrated
        Levels.
    key : mapping
        Values of the columns dictionary, seed, mode, layer and pooling.
    d_sae : int, optional
        Features of the dictionary, to tell halves; as many as columns where None.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALIST_FEATURES`, without q-values, which
        `adjust_records` adds. Those of a split have what half B says of the choice on half A; those of
        split 0 have the test, as the best of all features, and no area: they were chosen on all texts.
    """
    d_sae = values.shape[1] if d_sae is None else d_sae
    for classes, splits, designs in draws.tested:
        part = values[classes.rows]
        nested = nested_scores(part, classes.classes, splits, classes.groups)
        tests = specialist_tests(part, designs)
        for number, name in enumerate(classes.names):
            inside, outside = class_masks(classes, number)
            shared = {"set": classes.name, "class": name, "criterion": BEST}
            yield record(
                key,
                **shared,
                split=0,
                **_own(int(tests.feature[number]), d_sae),
                score=float(tests.statistic[number]),
                chance_score=float(tests.threshold[number]),
                p_value=float(tests.p_value[number]),
                n_inside=int(inside.sum()),
                n_outside=int(outside.sum()),
                found=False,
            )
            for split, half in enumerate(splits):
                auroc = float(nested.auroc[split, number])
                yield record(
                    key,
                    **shared,
                    split=1 + split,
                    **_own(int(nested.feature[split, number]), d_sae),
                    score=float(nested.chosen_auroc[split, number]),
                    auroc=auroc,
                    d_prime=float(nested.d_prime[split, number]),
                    n_inside=int((inside & ~half).sum()),
                    n_outside=int((outside & ~half).sum()),
                    found=auroc >= settings.floor,
                )


def adjust_records(
    records: Iterable[Mapping[str, Any]], settings: SpecialistsCalibrated
) -> list[dict[str, Any]]:
    """Adjust over all classes and blocks of a set and pooling, and say what is a specialist.

    It is one if its adjusted p-value is small and the mean area on half B reaches the floor; either by
    itself would let through what is certain but weak, or strong by luck.

    Parameters
    ----------
    records : iterable of mapping
        Columns of `SPECIALIST_FEATURES`, of one bank and all of its blocks; published ones stay as
        they are.
    settings : SpecialistsCalibrated
        Levels.
    """
    found = adjust(records, ("mode", "pooling", "set"))
    places = ("mode", "layer", "pooling", "set", "class")
    areas: dict[tuple[Any, ...], list[float]] = {}
    for each in found:
        if each["auroc"] is not None:
            areas.setdefault(tuple(each[name] for name in places), []).append(each["auroc"])
    for each in found:
        if each["q_value"] is not None:
            mean = np.mean(areas[tuple(each[name] for name in places)])
            each["found"] = bool(each["q_value"] <= settings.q_value and mean >= settings.floor)
    return found


def calibrated_rows(
    records: Iterable[Mapping[str, Any]], settings: SpecialistsCalibrated
) -> Iterator[dict[str, Any]]:
    """Areas and d' on half B, beside chance, and how many classes have a specialist.

    Beside the latter stands how many would be expected of classes drawn anew at the p-value where the
    line is drawn. That share of relabelings reaches it, whatever features have in common, and expected
    numbers add up, whatever classes have in common. What half B must reach is left out, so it is rather
    too many.

    Parameters
    ----------
    records : iterable of mapping
        As `adjust_records` gives them, of one bank and all of its blocks and poolings, and of this mode
        alone.
    settings : SpecialistsCalibrated
        Level and permutations.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`.
    """
    by_matrix: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    families: dict[tuple[str, str], list[float]] = {}
    for each in records:
        by_matrix.setdefault(tuple(each[name] for name in (*KEY, "set")), []).append(each)
        if not each["split"]:
            families.setdefault((each["pooling"], each["set"]), []).append(each["q_value"])
    for place, some in by_matrix.items():
        key = dict(zip(KEY, place, strict=False))
        passing = passing_share(families[key["pooling"], place[-1]], settings)
        yield from _set_rows(some, key, place[-1], passing)


def passing_share(q_values: Sequence[float], settings: SpecialistsCalibrated) -> float:
    """Share of relabelings whose p-value passes where some classes were adjusted together.

    Where none passes, the line is where the first would.

    Parameters
    ----------
    q_values : sequence of float
        Of all classes and blocks that were adjusted together (Benjamini and Hochberg).
    settings : SpecialistsCalibrated
        Level and permutations.
    """
    passed = sum(each <= settings.q_value for each in q_values)
    line = settings.q_value * max(passed, 1) / len(q_values)
    # P-values are multiples of one over the number of relabelings.
    return float(np.floor(line * (1 + settings.permutations) + 1e-9) / (1 + settings.permutations))


def _set_rows(
    records: Iterable[Mapping[str, Any]], key: Key, name: str, passing: float
) -> Iterator[dict[str, Any]]:
    """Rows of one set of classes, of one block and pooling."""
    by_class: dict[str, list[Mapping[str, Any]]] = {}
    for each in records:
        by_class.setdefault(each["class"], []).append(each)
    tested, areas = [], []
    for some in by_class.values():
        (whole,) = (each for each in some if not each["split"])
        halves = [each for each in some if each["split"]]
        tested.append(whole["found"])
        areas.append(_column(halves, "auroc"))
        group = {"part": "discovery", **key, "group": f"{name}, {whole['class']}"}
        test = {"p_value": whole["p_value"], "q_value": whole["q_value"]}
        n = whole["n_inside"]
        yield row(group, "best_score", whole["score"], n=n, **test)
        yield row(group, "best_score", whole["chance_score"], n=n, control=RELABELED)
        yield spread_row(group, "auroc", areas[-1])
        yield row(group, "auroc", 0.5, n=n, control=CHANCE)
        yield spread_row(group, "auroc_on_half_a", _column(halves, "score"))
        yield spread_row(group, "d_prime", _column(halves, "d_prime"))
        yield row(group, "d_prime", 0.0, n=n, control=CHANCE)
    group = {"part": "discovery", **key, "group": name}
    n = len(tested)
    yield row(group, "n_specialists", sum(tested), n=n)
    yield row(group, "n_specialists", n * passing, n=n, control=RELABELED)
    yield spread_row(group, "mean_auroc", np.array(areas).mean(0))
    yield row(group, "mean_auroc", 0.5, n=n, control=CHANCE)


def held_out_rows(
    values: Num[np.ndarray, "texts features"],
    draws: Draws,
    published: DiscoverySettings,
    settings: SpecialistsCalibrated,
    key: Key,
) -> Iterator[dict[str, Any]]:
    """The study's rule on half A, and what its choices score on half B.

    Beside the fixed threshold there is one that grows with the block: a percentile of the values above
    0 on half A.

    Parameters
    ----------
    values, draws, settings, key
        As of `calibrated_records`.
    published : DiscoverySettings
        Threshold and number of candidates of the study's rule.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`: ``rule_half_a`` and ``rule_half_b`` count
        classes with a score above 0, under the fixed threshold; ``percentile_half_…`` under the other.
    """
    for classes, splits, _ in draws.studied:
        part = values[classes.rows]
        group = {"part": "discovery", **key, "group": classes.name}
        for rule in ("rule", "percentile"):
            counted = np.zeros((2, len(splits)))
            for split, half in enumerate(splits):
                threshold = published.threshold
                if rule == "percentile":
                    threshold = layer_threshold(part[half], settings.percentile)
                counted[:, split] = _scored(part, classes, half, threshold, published.candidates)
            yield spread_row(group, f"{rule}_half_a", counted[0])
            yield spread_row(group, f"{rule}_half_b", counted[1])


def layer_threshold(values: Num[np.ndarray, "texts features"], percentile: float) -> float:
    """Percentile of the values above 0; 0 where there is none."""
    above = values[values > 0]
    return float(np.percentile(above, percentile)) if len(above) else 0.0


def texts_needed_rows(
    values: Num[np.ndarray, "texts features"],
    draws: Draws,
    key: Key,
) -> Iterator[dict[str, Any]]:
    """How the area on other texts grows with the pairs that a feature is chosen on.

    Parameters
    ----------
    values, draws, key
        As of `calibrated_records`.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`: ``auroc_by_size``, mean over classes,
        with the range over splits.
    """
    for classes, size, splits in draws.sized:
        nested = nested_scores(values[classes.rows], classes.classes, splits, classes.groups)
        group = {"part": "discovery", **key, "group": f"{classes.name}, {size} of each"}
        yield spread_row(group, "auroc_by_size", nested.auroc.mean(1))
        yield row(group, "auroc_by_size", 0.5, n=len(splits), control=CHANCE)


def class_masks(
    classes: Classes, number: int
) -> tuple[Bool[np.ndarray, " texts"], Bool[np.ndarray, " texts"]]:
    """Texts of a class, and those of other groups: what `nested_scores` compares."""
    inside = classes.classes == number
    outside = classes.groups != classes.group_of[number]
    return inside, outside


def _own(column: int, d_sae: int) -> dict[str, int]:
    """Feature of a column of halves, and which half it is."""
    return {"feature": column % d_sae, "sign": 1 if column < d_sae else -1}


def _scored(
    part: Num[np.ndarray, "texts features"],
    classes: Classes,
    half: Bool[np.ndarray, " texts"],
    threshold: float,
    candidates: int,
) -> tuple[int, int]:
    """Classes whose specialist scores above 0 on half A, and on half B."""
    counted = [0, 0]
    for number in range(len(classes.names)):
        inside, outside = classes.masks(number)
        found = published_specialist(
            part, inside & half, outside & half, threshold=threshold, candidates=candidates
        )
        counted[0] += found.found
        if found.found:
            above = part[:, found.feature] > threshold
            counted[1] += int(above[inside & ~half].sum()) > int(above[outside & ~half].sum())
    return counted[0], counted[1]


def _column(records: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if each[name] is None else each[name] for each in records], np.float64)
