"""Features that fire on something known, with contexts of their training and test documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from saeflow.studies.scaling.contexts import Context, FeatureContexts

LENGTH = 16
FILLERS = [f"word{number}" for number in range(40)]
TOPICS = {
    topic: [f"{topic}{number}" for number in range(24)]
    for topic in ("medicine", "law", "music", "banking")
}
"""Words of each topic; a document of a topic has some of them, the rest are fillers."""
Fires = Callable[[Sequence[str], np.random.Generator], np.ndarray]


def document(topic: str, generator: np.random.Generator) -> list[str]:
    tokens = generator.choice(FILLERS, LENGTH).tolist()
    for place in np.flatnonzero(generator.random(LENGTH) < 0.4).tolist():
        tokens[place] = str(generator.choice(TOPICS[topic]))
    return tokens


def on_token(wanted: str) -> Fires:
    return lambda tokens, _: np.array([float(token == wanted) for token in tokens])


def after(previous: str, wanted: str | None) -> Fires:
    """On one token only after another; on any token after it where None is wanted."""

    def fires(tokens: Sequence[str], _: np.random.Generator) -> np.ndarray:
        pairs = zip(["", *tokens[:-1]], tokens, strict=True)
        return np.array([float(a == previous and wanted in (None, b)) for a, b in pairs])

    return fires


def on_topic(topic: str) -> Fires:
    return lambda tokens, _: np.array([float(token in TOPICS[topic]) for token in tokens])


def at_random(tokens: Sequence[str], generator: np.random.Generator) -> np.ndarray:
    """Of no text at all: what an untrained feature would be if it fired by chance."""
    return (generator.random(len(tokens)) < 0.06).astype(float)


def planted(
    feature: int,
    fires: Fires,
    seed: int,
    *,
    held: Sequence[str] = (),
    near: Sequence[str] = (),
    count: int = 24,
    only: str | None = None,
) -> FeatureContexts:
    """Contexts of one feature.

    `held` are tokens put beside one another into every other document, so that something fires; `near`
    are those of near misses. `only` is the topic of activating documents.
    """
    generator = np.random.default_rng([seed, feature])
    sets: dict[str, list[Context]] = {"train": [], "test": []}
    number = 1000 * feature
    wanted = {
        (part, kind): count for part in sets for kind in ("activating", "random", "near_miss")
    }
    while any(wanted.values()):
        number += 1
        topic = str(generator.choice(list(TOPICS)))
        if only and generator.random() < 0.5:
            topic = only
        tokens = document(topic, generator)
        put = [held, near, ()][number % 3]
        place = int(generator.integers(1, LENGTH - len(put)))
        tokens[place : place + len(put)] = put
        value = fires(tokens, generator) * generator.uniform(0.5, 2.0, LENGTH)
        tempting = np.array([token in near for token in tokens])
        kind = "random"
        if value.any():
            kind = "activating"
        elif near and tempting.any():
            kind = "near_miss"
        part = "train" if number % 2 else "test"
        if not near:
            wanted[part, "near_miss"] = 0
        if wanted[part, kind]:
            wanted[part, kind] -= 1
            quantile = int(generator.integers(4)) if kind == "activating" else -1
            sets[part].append(
                Context(
                    kind,
                    wanted[part, kind],
                    number,
                    topic,
                    quantile,
                    tuple(tokens),
                    value.astype(np.float32),
                    tempting if kind == "near_miss" else None,
                )
            )
    return FeatureContexts(feature, tuple(sets["train"]), tuple(sets["test"]))


def planted_features(seed: int = 0) -> dict[str, list[FeatureContexts]]:
    """Some features of each sort."""
    sorts: dict[str, list[FeatureContexts]] = {
        "token": [],
        "after": [],
        "any_after": [],
        "topic": [],
    }
    for number in range(3):
        word, other = f"river{number}", f"full{number}"
        sorts["token"].append(planted(number, on_token(word), seed, held=[word]))
        pair = [other, f"moon{number}"]
        sorts["after"].append(
            planted(10 + number, after(*pair), seed, held=pair, near=["word1", f"moon{number}"])
        )
        sorts["any_after"].append(planted(20 + number, after(other, None), seed, held=[other]))
        topic = list(TOPICS)[number]
        sorts["topic"].append(planted(30 + number, on_topic(topic), seed, only=topic))
    return sorts


def random_features(seed: int = 0, count: int = 8) -> list[FeatureContexts]:
    return [planted(40 + number, at_random, seed) for number in range(count)]
