"""From windows of a corpus to the contexts of features: halves by document, random ones and near misses.

A near miss is a window on which a feature is silent although it holds the token that the feature fires on
most, or although one of the feature's nearest neighbours fires there. Delphi (Paulo et al. 2024, arXiv
2410.13928) takes the contexts of neighbours; the feature's own token is ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.errors import SaeflowError
from saeflow.seeds import derive_seed, numpy_generator
from saeflow.studies.scaling.contexts import ACTIVATING, Context, FeatureContexts

PARTS = ("train", "test")


@dataclass(frozen=True)
class Window:
    """Some tokens of one document that count.

    Attributes
    ----------
    document : int
        Running number in the corpus.
    tokens : tuple of str
        What each token shows.
    activations : numpy.ndarray of float32, shape (tokens,)
        Of the feature that it was kept for; 0 where it was kept for none.
    quantile : int
        Part of the feature's activations, from 0, the weakest; -1 where it is silent.
    """

    document: int
    tokens: tuple[str, ...]
    activations: Float[np.ndarray, " tokens"]
    quantile: int = -1


@dataclass(frozen=True)
class Pool:
    """Windows drawn from the corpus whatever fires there, for all features.

    Attributes
    ----------
    windows : sequence of Window
        The windows.
    fires : numpy.ndarray of bool, shape (windows, features)
        Whether each feature fires on a token of each; columns are latents of the SAE, or those of them
        that `latents` names.
    latents : numpy.ndarray of int64, shape (features,)
        Index of each column's latent in its SAE.
    """

    windows: Sequence[Window]
    fires: Bool[np.ndarray, "windows features"]
    latents: Int[np.ndarray, " features"]


def read_windows(
    document: Int[np.ndarray, " windows"],
    ids: Int[np.ndarray, "windows window"],
    activations: Float[np.ndarray, "windows window"],
    quantile: Int[np.ndarray, " windows"],
    show: Callable[[int], str],
) -> list[Window]:
    """Cut windows to the tokens that count.

    Parameters
    ----------
    document : numpy.ndarray of int, shape (windows,)
        Of each window.
    ids : numpy.ndarray of int, shape (windows, window)
        Token ids; whatever stands beyond the ends of a document.
    activations : numpy.ndarray of float, shape (windows, window)
        Of the window's feature; NaN beyond the ends of a document, and on tokens that the tokenizer puts
        before it.
    quantile : numpy.ndarray of int, shape (windows,)
        Part of the feature's activations; -1 where it is silent.
    show : callable
        Gives what a token shows.

    Returns
    -------
    list of Window
        In the same order; one without a token that counts is empty.
    """
    shown: dict[int, str] = {}
    found = []
    for row, value, of, part in zip(
        ids.tolist(), activations, document.tolist(), quantile.tolist(), strict=True
    ):
        kept = ~np.isnan(value)
        tokens = [token for token, counts in zip(row, kept.tolist(), strict=True) if counts]
        for token in tokens:
            if token not in shown:
                shown[token] = show(token)
        texts = tuple(shown[token] for token in tokens)
        found.append(Window(of, texts, value[kept].astype(np.float32), part))
    return found


def half_of(document: int, seed: int) -> str:
    """Return the half of a document, train or test; it depends on nothing but its number and the seed."""
    return PARTS[derive_seed(seed, "scaling", "explanations", "half", document) % 2]


def gather_contexts(
    activating: Mapping[int, Sequence[Window]],
    pool: Pool,
    neighbours: Mapping[int, Sequence[int]],
    groups: Mapping[int, str],
    *,
    count: int,
    seed: int,
) -> list[FeatureContexts]:
    """Gather what explanations are made from and scored on.

    Parameters
    ----------
    activating : mapping of int to sequence of Window
        Of each feature to explain, windows on which it fires.
    pool : Pool
        Where silent windows come from; every feature to explain must be one of its columns.
    neighbours : mapping of int to sequence of int
        Of each feature, its nearest neighbours among the pool's latents; those that the pool lacks are
        passed over.
    groups : mapping of int to str
        Group of each document, where known.
    count : int
        Random windows, and near misses, of each feature and half, at most.
    seed : int
        Seed of the halves and of the draw.

    Returns
    -------
    list of FeatureContexts
        In ascending order of features. No window is both a random one and a near miss of the same
        feature. The token of a near miss is the one with the most activation in the training half.

    Raises
    ------
    SaeflowError
        If the pool does not tell where a feature fires.
    """
    columns = {int(latent): place for place, latent in enumerate(pool.latents.tolist())}
    halves = np.array([half_of(each.document, seed) for each in pool.windows], object)
    holding: dict[str, set[int]] = defaultdict(set)
    for number, window in enumerate(pool.windows):
        for each in window.tokens:
            holding[each].add(number)
    found = []
    for feature in sorted(activating):
        if feature not in columns:
            raise SaeflowError(
                f"The pool of windows does not tell where feature {feature} fires; expected a column "
                "for every feature that is explained."
            )
        parts: dict[str, list[Context]] = {part: [] for part in PARTS}
        for window in activating[feature]:
            _append(parts[half_of(window.document, seed)], ACTIVATING, window, groups, None)
        silent = ~pool.fires[:, columns[feature]]
        token = _strongest_token(parts["train"])
        places = [columns[each] for each in neighbours.get(feature, ()) if each in columns]
        beside = pool.fires[:, places].any(1)
        held = np.zeros(len(silent), bool)
        held[sorted(set() if token is None else holding.get(token, set()))] = True
        for part, contexts in parts.items():
            generator = numpy_generator(seed, "scaling", "explanations", "gathered", part, feature)
            mine = silent & (halves == part)
            near = _alternately(mine & held, mine & beside, count, generator)
            rest = mine.copy()
            rest[near] = False
            for number in near:
                _append(contexts, "near_miss", pool.windows[number], groups, token)
            for number in generator.permutation(np.flatnonzero(rest))[:count].tolist():
                _append(contexts, "random", pool.windows[number], groups, None)
        found.append(FeatureContexts(feature, tuple(parts["train"]), tuple(parts["test"])))
    return found


def _append(
    contexts: list[Context], kind: str, window: Window, groups: Mapping[int, str], token: str | None
) -> None:
    """Add a window that has a token; of a near miss, mark where the feature's own token stands."""
    if not window.tokens:
        return
    held = np.array([each == token for each in window.tokens], bool)
    activations = window.activations
    if kind != ACTIVATING:
        activations = np.zeros(len(window.tokens))
    contexts.append(
        Context(
            kind,
            sum(each.kind == kind for each in contexts),
            window.document,
            groups.get(window.document, ""),
            window.quantile if kind == ACTIVATING else -1,
            window.tokens,
            activations.astype(np.float32),
            held if kind == "near_miss" and held.any() else None,
        )
    )


def _strongest_token(contexts: Sequence[Context]) -> str | None:
    """The token with the most activation; None where nothing fires."""
    masses: dict[str, float] = defaultdict(float)
    for each in contexts:
        for token, value in zip(each.tokens, each.activations.tolist(), strict=True):
            masses[token] += max(value, 0.0)
    best = min(masses, key=lambda token: (-masses[token], token), default=None)
    return best if best is not None and masses[best] > 0 else None


def _alternately(
    first: Bool[np.ndarray, " windows"],
    second: Bool[np.ndarray, " windows"],
    count: int,
    generator: np.random.Generator,
) -> list[int]:
    """Draw from two sets by turns, as long as there are any, each window once."""
    queues = [generator.permutation(np.flatnonzero(each)).tolist() for each in (first, second)]
    found = dict[int, None]()
    while len(found) < count and any(queues):
        for queue in queues:
            if queue and len(found) < count:
                found.setdefault(queue.pop())
    return list(found)
