"""What published sentences are held against that no table holds: counts and means over topics.

Topics are what is resampled and flipped: their prompts, or continuations, have been averaged before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.resampling import sign_flip_p_value
from saeflow.studies.claims.sentences import Row
from saeflow.studies.claims.verdicts import LEVEL
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED, mean_row, row, share_row
from saeflow.studies.scaling.claim_rows import Rows, Saes, Widths, row_key
from saeflow.studies.scaling.levels import chosen_level
from saeflow.studies.scaling.published_claims import (
    BOOST,
    CHANCE,
    CLASSIFIER,
    CONTROLS,
    DIRECTION,
    LEXICON,
    WORDS,
)

FOUND = 0.9
"""Held-out area under the curve from which a feature counts as that of a topic."""
SEED, PERMUTATIONS = 0, 9999
"""Of resamples, and sign flips drawn at most."""
_SCORES = ("local_min_max", "rank")
_WITHOUT_SAE = (NONE, DIRECTION, WORDS, "length")
"""What the search gives but the best feature of another SAE."""


def search_rows(search: Rows, widths: Widths, saes: Saes) -> Iterator[dict[str, Any]]:
    """What the search finds, over topics.

    Parameters
    ----------
    search : iterable of mapping
        Columns of `saeflow.artifacts.scaling_search.SEARCH`.
    widths : mapping of (str, int) to int
        Latents of each SAE.
    saes : Saes
        The main SAE.

    Yields
    ------
    dict
        Of the feature that half A chose, by control: ``auroc`` on half B, mean over topics, and the
        smallest of them; ``share_found``, of topics in which it is at least `FOUND` with a p-value, Holm
        over topics, of at most 0.05; ``auroc_beyond``, of the feature less the control, topics paired.
        All at the level that half A chooses; ``share_found`` of each other level as well, which is then
        the group, and with the control ``best_control`` that of the SAE, of those that are controls, with
        the largest share.
        Published, by score: ``largest_score``, mean over topics of the score of the first feature;
        ``first_found``, share of topics in which that one is among the listed features that half A chose
        and half B confirms, with what a feature drawn at random gives as control.
    """
    own = [each for each in search if (each["dictionary"], each["seed"]) == saes.main]
    level = chosen_level(own)
    every = [each for each in own if each["mode"] == CALIBRATED and each["value"] is not None]
    held_out = [each for each in every if each["level"] == level]
    firsts = _firsts(held_out)
    shares = []
    for control, by_topic in firsts.items():
        areas = np.array([each["value"] for each in by_topic.values()])
        yield _mean("search", "", "auroc", areas, control)
        yield _plain("search", "", "smallest_auroc", float(areas.min()), len(areas), control)
        found = _share_found(by_topic, control) | {"level": level}
        yield found
        if control not in _WITHOUT_SAE:
            shares.append((found["value"], areas.mean(), found))
        both = [topic for topic in by_topic if topic in firsts.get(NONE, {})]
        if control != NONE and both:
            pairs = [firsts[NONE][topic]["value"] - by_topic[topic]["value"] for topic in both]
            yield _tested("search", "", "auroc_beyond", np.array(pairs), control)
    if shares:
        *_, best = max(shares, key=lambda each: each[:2])
        yield best | {"control": CONTROLS, "named": best["control"]}
    for other in sorted({each["level"] for each in every} - {level}):
        best_there = _firsts(each for each in every if each["level"] == other)
        if NONE in best_there:
            yield _share_found(best_there[NONE], NONE, other)
    yield from _by_score(own, held_out, widths.get(saes.main))


def _firsts(held_out: Rows) -> dict[str, dict[str, Row]]:
    """By control and topic, what is first on half A."""
    found: dict[str, dict[str, Row]] = {}
    for each in held_out:
        if each["place"] == 1:
            found.setdefault(each["control"], {})[each["prompts"]] = each
    return found


def _share_found(by_topic: Mapping[str, Row], control: str, group: str = "") -> dict[str, Any]:
    """Topics with a large area on half B that chance does not give, Holm over topics."""
    areas = np.array([each["value"] for each in by_topic.values()])
    p_values = np.array([each["p_value"] for each in by_topic.values()], np.float64)
    reached = (areas >= FOUND) & (holm(p_values) <= LEVEL)
    return _share("search", group, "share_found", reached, control)


def _by_score(own: Rows, held_out: Rows, width: int | None) -> Iterator[dict[str, Any]]:
    confirmed: dict[str, set[int]] = {}
    for each in held_out:
        if each["control"] == NONE:
            some = confirmed.setdefault(each["prompts"], set())
            if each["value"] >= FOUND and each["p_holm"] is not None and each["p_holm"] <= LEVEL:
                some.add(each["feature"])
    for score in _SCORES:
        wanted = (PUBLISHED, "published", score, 1)
        firsts = [
            each
            for each in own
            if (each["mode"], each["inputs"], each["score"], each["place"]) == wanted
        ]
        if firsts:
            largest = float(np.mean([each["value_chosen"] for each in firsts]))
            yield _plain("search", score, "largest_score", largest, len(firsts), mode=PUBLISHED)
        known = [each for each in firsts if each["prompts"] in confirmed]
        if known and width:
            hits = np.array([each["feature"] in confirmed[each["prompts"]] for each in known])
            yield _share("search", score, "first_found", hits, mode=PUBLISHED)
            drawn = float(np.mean([len(confirmed[each["prompts"]]) / width for each in known]))
            yield _plain("search", score, "first_found", drawn, len(known), CHANCE, PUBLISHED)


def target_rows(targets: Rows, saes: Saes) -> Iterator[dict[str, Any]]:
    """Median place, over sets of prompts, of features that were named before the search, by score."""
    places: dict[str, list[int]] = {}
    for each in targets:
        named = (each["dictionary"], each["seed"], each["mode"], each["inputs"])
        if named == (*saes.main, PUBLISHED, "published") and each["position"] is not None:
            places.setdefault(each["score"], []).append(each["position"])
    for score, some in places.items():
        yield _plain("search", score, "position", float(np.median(some)), len(some), mode=PUBLISHED)


def steering_rows(steering: Rows, saes: Saes) -> Iterator[dict[str, Any]]:
    """How many topics' scores rise with the dose of their feature, and what 30 times it gives.

    Parameters
    ----------
    steering : iterable of mapping
        Columns of `saeflow.artifacts.scaling_steering.SCALING_STEERING`.
    saes : Saes
        The main SAE.

    Yields
    ------
    dict
        By score and control, of slopes less the control's: ``share_rising`` and ``share_falling``, of
        topics whose p-value, Holm over topics, is at most 0.05; ``slope``, mean over topics. Published,
        at `BOOST` times: ``share`` of words on the topic's list, mean over topics, and
        ``beyond_decoder_bias``, less that of b_dec alone, topics paired.
    """
    own = [each for each in steering if (each["dictionary"], each["seed"]) == saes.main]
    for score in (LEXICON, CLASSIFIER):
        slopes: dict[str, list[Row]] = {}
        for each in own:
            named = (each["mode"], each["direction"], each["dose"], each["metric"])
            if named == (CALIBRATED, "feature", None, f"{score}_slope"):
                slopes.setdefault(each["control"], []).append(each)
        for control, every in slopes.items():
            some = [each for each in every if each["value"] is not None]
            if not some:
                continue
            values = np.array([each["value"] for each in some])
            small = np.array(
                [each["p_holm"] is not None and each["p_holm"] <= LEVEL for each in some]
            )
            yield _share("steering", score, "share_rising", small & (values > 0), control)
            yield _share("steering", score, "share_falling", small & (values < 0), control)
            yield _mean("steering", score, "slope", values, control)
    yield from _boosts(own)


def _boosts(own: Rows) -> Iterator[dict[str, Any]]:
    shares: dict[str, dict[str, float]] = {}
    for each in own:
        at = 0.0 if each["direction"] == NONE else BOOST
        named = (each["mode"], each["metric"], each["dose"])
        if named == (PUBLISHED, LEXICON, at) and each["value"] is not None:
            shares.setdefault(each["direction"], {})[each["topic"]] = each["value"]
    shown = {"feature": NONE, "decoder_bias": "decoder_bias", NONE: "unsteered"}
    for direction, control in shown.items():
        if direction in shares:
            values = np.array(list(shares[direction].values()))
            yield _mean("boost", LEXICON, "share", values, control, PUBLISHED)
    feature, bias = shares.get("feature", {}), shares.get("decoder_bias", {})
    pairs = np.array([feature[topic] - bias[topic] for topic in feature if topic in bias])
    if len(pairs):
        yield _tested("boost", LEXICON, "beyond_decoder_bias", pairs, mode=PUBLISHED)


def _plain(
    part: str,
    group: str,
    metric: str,
    value: float,
    n: int,
    control: str = NONE,
    mode: str = CALIBRATED,
) -> dict[str, Any]:
    return row(row_key(part, group, mode), metric, value, n=n, control=control)


def _share(
    part: str,
    group: str,
    metric: str,
    hits: Shaped[np.ndarray, " topics"],
    control: str = NONE,
    mode: str = CALIBRATED,
) -> dict[str, Any]:
    """Share of topics, with Wilson's interval."""
    return share_row(row_key(part, group, mode), metric, hits.astype(np.float64), control)


def _mean(
    part: str,
    group: str,
    metric: str,
    values: Float[np.ndarray, " topics"],
    control: str = NONE,
    mode: str = CALIBRATED,
) -> dict[str, Any]:
    """Mean over topics, with an interval."""
    generator = numpy_generator(SEED, "scaling", "counted", part, group, metric, control)
    return mean_row(row_key(part, group, mode), metric, values, None, generator, control)


def _tested(
    part: str,
    group: str,
    metric: str,
    values: Float[np.ndarray, " topics"],
    control: str = NONE,
    mode: str = CALIBRATED,
) -> dict[str, Any]:
    """Mean of paired differences over topics, with a test of its sign."""
    generator = numpy_generator(SEED, "scaling", "counted", part, metric, control, "flips")
    p_value = sign_flip_p_value(values, None, PERMUTATIONS, generator)
    return _mean(part, group, metric, values, control, mode) | {"p_value": p_value}
