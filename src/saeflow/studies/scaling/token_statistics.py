"""What a feature fires on, counted: an explanation without a language model (issue 9, item 8).

A baseline that any language model has to beat: Bills et al. (2023, "Language models can explain neurons in
language models") found a table of tokens with their mean activations hard to beat as an explanation of
neurons. Here the table is made from the training half alone, may depend on one neighbouring token where a
test says so, and says for each entry how much of the feature's activation it accounts for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.config.scaling_explanations import TokenRules
from saeflow.stats.effects import auroc
from saeflow.stats.exact import upper_tail
from saeflow.studies.scaling.contexts import ACTIVATING, Context, FeatureContexts
from saeflow.studies.scaling.token_table import PLACES, Rule, TokenExplanation, token_at

MARGIN = 0.02
"""By how much a neighbouring token must tell better where the feature fires than the token itself."""
FEW_WORDS = 3
"""Words of a group that a feature must fire on before the group's other words count."""


def explain_by_tokens(
    contexts: Sequence[Context],
    settings: TokenRules,
    words: Mapping[str, Sequence[str]] | None = None,
) -> TokenExplanation:
    """Explain a feature by what it fires on.

    Parameters
    ----------
    contexts : sequence of Context
        Of the training half, silent ones as well: they tell where the feature might have fired.
    settings : TokenRules
        How much is listed, and how strict the test of neighbouring tokens is.
    words : mapping of str to sequence of str, optional
        Typical words of groups of documents (`group_words`).

    Returns
    -------
    TokenExplanation
        The same for the same contexts in any order; empty where the feature never fires.
    """
    seen = _Seen.of(contexts)
    if not seen.fires.any():
        return TokenExplanation()
    head = _best_head(seen)
    scale = float(seen.value[seen.fires].mean())
    total = float(seen.value.sum())
    places: dict[str | None, list[int]] = defaultdict(list)
    for place, key in enumerate(seen.around[head]):
        places[key].append(place)
    masses = {key: float(seen.value[some].sum()) for key, some in places.items() if key is not None}
    rules, covered = list[Rule](), 0.0
    for key in sorted(masses, key=lambda each: (-masses[each], each))[: settings.patterns]:
        if masses[key] <= 0 or covered >= settings.coverage * total:
            break
        covered += masses[key]
        rules += _rules(seen, head, key, np.array(places[key], np.int64), settings, (scale, total))
    groups = _groups(contexts)
    found = TokenExplanation(head, tuple(rules), groups)
    return _with_words(found, seen, words or {}, scale) if head == "token" else found


def group_words(
    features: Iterable[FeatureContexts], settings: TokenRules
) -> dict[str, tuple[str, ...]]:
    """Find the words that are typical of each group of documents, in the training half.

    Parameters
    ----------
    features : iterable of FeatureContexts
        Contexts of all features; what they say of a document is counted once.
    settings : TokenRules
        How many words, and the largest p-value (Fisher's one-sided test over documents).

    Returns
    -------
    dict of str to tuple of str
        Most typical first; a group whose words are not told from chance has none.
    """
    documents: dict[int, tuple[str, set[str]]] = {}
    for each in features:
        for context in each.train:
            if context.group:
                _, held = documents.setdefault(context.document, (context.group, set()))
                held.update(token for token in context.tokens if token.strip())
    counts: dict[str, int] = defaultdict(int)
    inside: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    sizes: dict[str, int] = defaultdict(int)
    for group, held in documents.values():
        sizes[group] += 1
        for word in held:
            counts[word] += 1
            inside[group][word] += 1
    found = {}
    for group in sorted(sizes):
        words = sorted(inside[group])
        tails = upper_tail(
            np.array([inside[group][word] for word in words], np.int64),
            np.array([counts[word] for word in words], np.int64),
            np.full(len(words), sizes[group], np.int64),
            len(documents),
        )
        typical = sorted(zip(tails.tolist(), words, strict=True))
        kept = [word for tail, word in typical if tail <= settings.level]
        found[group] = tuple(kept[: settings.group_words])
    return found


@dataclass(frozen=True)
class _Seen:
    """All tokens of some contexts, one after the other.

    Attributes
    ----------
    around : dict of str to list
        Token, previous and following token of each; None beyond the ends of its context.
    value : numpy.ndarray of float64, shape (tokens,)
        Activation, 0 where the feature is silent.
    document : numpy.ndarray of int64, shape (tokens,)
        What each is of.
    """

    around: dict[str, list[str | None]]
    value: Float[np.ndarray, " tokens"]
    document: Int[np.ndarray, " tokens"]

    @property
    def fires(self) -> Bool[np.ndarray, " tokens"]:
        return self.value > 0

    @staticmethod
    def of(contexts: Sequence[Context]) -> _Seen:
        around: dict[str, list[str | None]] = {name: [] for name in PLACES}
        values, documents = [np.zeros(0)], [np.zeros(0, np.int64)]
        for each in sorted(contexts, key=lambda one: (one.kind, one.document, one.example)):
            for name, shift in PLACES.items():
                around[name] += [
                    token_at(each.tokens, place + shift) for place in range(len(each.tokens))
                ]
            values.append(np.maximum(each.activations, 0).astype(np.float64))
            documents.append(np.full(len(each.tokens), each.document, np.int64))
        return _Seen(around, np.concatenate(values), np.concatenate(documents))


def _best_head(seen: _Seen) -> str:
    """Whether the token or a neighbour tells best where the feature fires, document by document.

    Each document is predicted from the others: a table of neighbours would fit by heart what it saw.
    """
    predicted = np.stack([_from_others(seen, name) for name in PLACES], axis=1)
    pairs = np.arange(len(PLACES))
    areas = auroc(predicted, seen.fires[:, None], pairs, np.zeros(len(PLACES), np.int64))
    best = dict(zip(PLACES, np.nan_to_num(areas, nan=0.5).tolist(), strict=True))
    other = max(("previous", "following"), key=lambda name: best[name])
    return other if best[other] > best["token"] + MARGIN else "token"


def _from_others(seen: _Seen, name: str) -> Float[np.ndarray, " tokens"]:
    """Mean activation beside the same token in other documents."""
    keys = seen.around[name]
    total, own = (
        defaultdict[str | None, float](float),
        defaultdict[tuple[object, int], float](float),
    )
    count, of_own = defaultdict[str | None, int](int), defaultdict[tuple[object, int], int](int)
    places = list(zip(keys, seen.document.tolist(), seen.value.tolist(), strict=True))
    for key, document, value in places:
        total[key] += value
        own[key, document] += value
        count[key] += 1
        of_own[key, document] += 1
    return np.array(
        [
            (total[key] - own[key, document]) / (count[key] - of_own[key, document] + 1)
            for key, document, _ in places
        ],
        np.float64,
    )


def _rules(
    seen: _Seen,
    head: str,
    key: str,
    places: Int[np.ndarray, " places"],
    settings: TokenRules,
    scales: tuple[float, float],
) -> list[Rule]:
    """Rules of one head: first its neighbours on which it depends, then what is left."""
    rules, left = list[Rule](), places
    for _ in range(settings.refinements):
        found = _neighbour(seen, head, left, settings.level)
        if found is None:
            break
        side, value = found
        there = np.array([seen.around[side][place] == value for place in left.tolist()], bool)
        rules.append(_rule(seen, {head: key, side: value}, left[there], scales))
        left = left[~there]
    if len(left) and (seen.fires[left].any() or not rules):
        rules.append(_rule(seen, {head: key}, left, scales))
    return rules


def _neighbour(
    seen: _Seen, head: str, places: Int[np.ndarray, " places"], level: float
) -> tuple[str, str] | None:
    """The neighbouring token on which firing depends most, by Fisher's test; None where on none."""
    fires = seen.fires[places]
    if fires.all() or not fires.any():
        return None
    tables: dict[tuple[str, str], list[int]] = {}
    for side in (name for name in PLACES if name != head):
        for place, fired in zip(places.tolist(), fires.tolist(), strict=True):
            value = seen.around[side][place]
            if value is not None:
                table = tables.setdefault((side, value), [0, 0])
                table[0] += fired
                table[1] += 1
    tried = [each for each, (_, count) in tables.items() if 2 <= count < len(places)]
    if not tried:
        return None
    joint, count = np.array([tables[each] for each in tried], np.int64).T
    active = np.full(len(tried), fires.sum(), np.int64)
    more = upper_tail(joint, count, active, len(places))
    fewer = upper_tail(count - joint, count, len(places) - active, len(places))
    tails = np.minimum(2 * np.minimum(more, fewer), 1.0)
    # Tails of two tables that say the same differ in their last bits. The one after which it fires is
    # listed then: elsewhere the feature is held to be silent.
    sizes = np.round(np.log(np.maximum(tails, np.finfo(float).tiny)), 9)
    ranked = zip(sizes.tolist(), (more > fewer).tolist(), (-count).tolist(), tried, strict=True)
    best = min(range(len(tried)), key=list(ranked).__getitem__)
    return tried[best] if tails[best] * len(tried) <= level else None


def _rule(
    seen: _Seen,
    named: Mapping[str, str],
    places: Int[np.ndarray, " places"],
    scales: tuple[float, float],
) -> Rule:
    scale, total = scales
    mass = float(seen.value[places].sum())
    return Rule(
        named.get("token"),
        named.get("previous"),
        named.get("following"),
        mass / total,
        mass / (len(places) + 1) / scale,
    )


def _groups(contexts: Sequence[Context]) -> tuple[tuple[str, float], ...]:
    """Groups of documents that hold a tenth of the activation or more, three at most."""
    masses: dict[str, float] = defaultdict(float)
    for each in sorted(contexts, key=lambda one: (one.document, one.example)):
        if each.kind == ACTIVATING:
            masses[each.group] += float(each.activations.clip(0).sum())
    total = sum(masses.values())
    shares = [(name, mass / total) for name, mass in masses.items() if name]
    ordered = sorted(shares, key=lambda one: (-one[1], one[0]))
    return tuple(each for each in ordered[:3] if each[1] >= 0.1)


def _with_words(
    found: TokenExplanation, seen: _Seen, words: Mapping[str, Sequence[str]], scale: float
) -> TokenExplanation:
    """Add the group's words that were not seen, where the feature fires on those that were."""
    if not found.groups or found.groups[0][1] < 0.5:
        return found
    typical = words.get(found.groups[0][0], ())
    sums, counts = defaultdict[str, float](float), defaultdict[str, int](int)
    for token, value in zip(seen.around["token"], seen.value.tolist(), strict=True):
        if token is not None:
            sums[token] += value
            counts[token] += 1
    known = [word for word in typical if word in counts]
    unknown = tuple(word for word in typical if word not in counts)
    if sum(sums[word] > 0 for word in known) < FEW_WORDS or not unknown:
        return found
    weight = float(np.mean([sums[word] / (counts[word] + 1) for word in known])) / scale
    return TokenExplanation(found.head, found.rules, found.groups, unknown, weight)
