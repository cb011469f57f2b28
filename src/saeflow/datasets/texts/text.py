"""One text of the training mixture and how texts are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

TRAIN, HELD_OUT = "train", "held_out"
_HELD_OUT_ONE_IN = 3


@dataclass(frozen=True)
class Text:
    """A text, or a prompt with the continuation that a model should give.

    Attributes
    ----------
    part : str
        Part of the mixture, such as ``pairs`` or ``decimals``.
    group : str
        What a study compares: a category, a topic, a kind of task.
    form : str
        Form of a matched pair or format of a prompt; empty where there is one only.
    item : int
        Number within the group; texts of one pair share it.
    split : str
        ``train`` or ``held_out``; held-out items are in no training text.
    prompt : str
        What comes first; empty for texts that nobody has to continue.
    target : str
        The text, or the right continuation of the prompt, with its leading blank if it has one.
    distractors : tuple of str
        Wrong continuations matched to the target.
    level : int
        Difficulty, 1 the easiest; 0 where there is none.
    """

    part: str
    group: str
    form: str
    item: int
    split: str
    prompt: str
    target: str
    distractors: tuple[str, ...] = ()
    level: int = 0

    @property
    def text(self) -> str:
        """Prompt and target together."""
        return self.prompt + self.target


def split_of(seed: int, *names: object, one_in: int = _HELD_OUT_ONE_IN) -> str:
    """Split of an item from its name alone, so that it does not depend on how many are drawn.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    *names : object
        What names the item, such as its group and its content.
    one_in : int
        One item in so many is held out.
    """
    key = "/".join(str(name) for name in (seed, *names))
    digest = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return HELD_OUT if digest % one_in == 0 else TRAIN


def without_repeats(texts: Iterable[Text]) -> list[Text]:
    """Keep the first of equal texts of one group and form."""
    seen: set[tuple[str, str, str]] = set()
    kept = []
    for text in texts:
        key = (text.group, text.form, text.text)
        if key not in seen:
            seen.add(key)
            kept.append(text)
    return kept
