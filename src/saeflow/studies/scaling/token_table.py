"""A table of tokens that explains a feature: where it should fire, for readers and for a matcher."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

PLACES = {"token": 0, "previous": -1, "following": 1}
"""Where what a rule names stands, relative to the token that the feature fires on."""


class Rule(NamedTuple):
    """One entry of the table; None stands for any token.

    Attributes
    ----------
    token, previous, following : str or None
        The token itself, the one before it and the one after it.
    share : float
        Part of the feature's activation in the training half that falls here.
    weight : float
        Mean activation here in units of the mean where the feature fires, with one silent occurrence
        added, so that what was seen once counts half.
    """

    token: str | None
    previous: str | None
    following: str | None
    share: float
    weight: float

    def shown(self) -> str:
        """Return it in words; tokens are quoted as JSON does, so that blanks and breaks are seen."""
        parts = ["any token" if self.token is None else _quoted(self.token)]
        if self.previous is not None:
            parts.append(f"after {_quoted(self.previous)}")
        if self.following is not None:
            parts.append(f"before {_quoted(self.following)}")
        return " ".join(parts)


@dataclass(frozen=True)
class TokenExplanation:
    """Where a feature fires, as a table to look tokens up in.

    Attributes
    ----------
    head : str
        What is looked up first: token, previous or following.
    rules : tuple of Rule
        Of rules with the same head the first that fits counts.
    groups : tuple of (str, float)
        Groups of documents with their share of the activation, largest first.
    words : tuple of str
        Words of the first group that the training half of this feature does not hold.
    word_weight : float
        What they count; 0 where they do not.
    """

    head: str = "token"
    rules: tuple[Rule, ...] = ()
    groups: tuple[tuple[str, float], ...] = ()
    words: tuple[str, ...] = ()
    word_weight: float = 0.0

    @cached_property
    def _of_head(self) -> dict[str | None, list[Rule]]:
        found: dict[str | None, list[Rule]] = defaultdict(list)
        for rule in self.rules:
            found[getattr(rule, self.head)].append(rule)
        return dict(found)

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(self.words)

    def expected(self, tokens: Sequence[str]) -> Float[np.ndarray, " tokens"]:
        """Look up what the feature should do on each token of a context.

        Parameters
        ----------
        tokens : sequence of str
            The context.

        Returns
        -------
        numpy.ndarray of float64, shape (tokens,)
            Weight of the first rule that fits, in units of the feature's mean activation; 0 where none
            does.
        """
        found = np.zeros(len(tokens))
        if not self.rules:
            return found
        shift = PLACES[self.head]
        for place, token in enumerate(tokens):
            rules = self._of_head.get(token_at(tokens, place + shift))
            for rule in rules or ():
                if _fits(rule, tokens, place):
                    found[place] = rule.weight
                    break
            else:
                if token in self._words:
                    found[place] = self.word_weight
        return found

    def text(self) -> str:
        """Return it in words; empty where the feature never fires."""
        if not self.rules:
            return ""
        said = [f"{rule.shown()} ({rule.share:.0%})" for rule in self.rules if rule.weight > 0]
        never = [rule.shown() for rule in self.rules if rule.weight == 0]
        sentence = "fires on " + ", ".join(said)
        if never:
            sentence += "; not on " + ", ".join(never)
        if self.groups:
            named = ", ".join(f"{name} ({share:.0%})" for name, share in self.groups)
            sentence += f"; in documents of {named}"
        if self.word_weight:
            sentence += f" and their words, such as {', '.join(map(_quoted, self.words[:5]))}"
        return sentence

    def to_json(self) -> str:
        """Return it for machines; `from_json` reads it."""
        return json.dumps(
            {
                "head": self.head,
                "rules": [rule._asdict() for rule in self.rules],
                "groups": [list(each) for each in self.groups],
                "words": list(self.words),
                "word_weight": self.word_weight,
            },
            ensure_ascii=False,
        )

    @staticmethod
    def from_json(text: str) -> TokenExplanation:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        return TokenExplanation(
            head=found["head"],
            rules=tuple(Rule(**rule) for rule in found["rules"]),
            groups=tuple((name, share) for name, share in found["groups"]),
            words=tuple(found["words"]),
            word_weight=found["word_weight"],
        )


def _fits(rule: Rule, tokens: Sequence[str], place: int) -> bool:
    return all(
        wanted is None or wanted == token_at(tokens, place + shift)
        for shift, wanted in zip(PLACES.values(), rule[: len(PLACES)], strict=True)
    )


def token_at(tokens: Sequence[str], place: int) -> str | None:
    """Return a token of a context; None beyond its ends."""
    return tokens[place] if 0 <= place < len(tokens) else None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
