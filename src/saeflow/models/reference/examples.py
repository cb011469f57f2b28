"""Training examples as token ids (methods/0, section 1.5)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from saeflow.datasets.texts.text import Text
from saeflow.models.codi import clean_question

ANSWER = "The answer is: "
CALCULATION = re.compile(r"<<[^<>]*>>")
IGNORED = -100
"""Label of positions without a loss, as in PyTorch."""


@dataclass(frozen=True)
class ThoughtExample:
    """A problem whose answer is reached through written or through latent steps.

    Attributes
    ----------
    question : list of int
        Question, with the tokenizer's own begin token if it has one.
    rationale : list of int
        The written steps but the last; empty where the teacher answers directly.
    answer : list of int
        ``The answer is: N`` and the end-of-text token.
    anchor : int
        Position in `answer` just before the number, where the student is distilled.
    distilled : bool
        Whether the teacher is worth following: it has written steps, or needs none.
    """

    question: list[int]
    rationale: list[int]
    answer: list[int]
    anchor: int
    distilled: bool


@dataclass(frozen=True)
class TextExample:
    """A row of tokens and which of them are to be predicted."""

    ids: list[int]
    labels: list[int]


class Encoder:
    """Turns texts and problems into examples.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._answer = self._ids(ANSWER)
        self._end = int(tokenizer.eos_token_id)

    def thought(self, question: str, answer: str, *, direct: bool = False) -> ThoughtExample:
        """Encode a problem in GSM8K's format.

        Parameters
        ----------
        question, answer : str
            As in the data set; the answer ends in a ``####`` line.
        direct : bool
            Leave the written steps out.

        Returns
        -------
        ThoughtExample
            The last written step is dropped, so that the answer is not in the rationale.
        """
        steps = CALCULATION.findall(answer)[:-1]
        gold = answer.rsplit("####", 1)[1].strip()
        return ThoughtExample(
            question=self.tokenizer(clean_question(question))["input_ids"],
            rationale=[] if direct else self._ids(" ".join(steps)),
            answer=[*self._answer, *self._ids(gold), self._end],
            anchor=len(self._answer) - 1,
            distilled=not (direct and steps),
        )

    def text(self, text: Text) -> TextExample:
        """Encode a text; where it has a prompt, only what follows is to be predicted."""
        return self._continued(text.prompt, [*self._ids(text.target), self._end])

    def continuation(self, prompt: str, target: str) -> TextExample:
        """Encode a prompt and a continuation that the text need not end with."""
        return self._continued(prompt, self._ids(target))

    def drill(self, row: str) -> TextExample:
        """Encode a row of calculations, of which only results are to be predicted."""
        ids: list[int] = self.tokenizer("")["input_ids"]
        labels = [IGNORED] * len(ids)
        for piece in re.split(r"(?<==)(\d+)", row):
            tokens = self._ids(piece)
            ids += tokens
            labels += tokens if piece.isdigit() else [IGNORED] * len(tokens)
        return TextExample(ids, labels)

    def _continued(self, prompt: str, target: list[int]) -> TextExample:
        given: list[int] = self.tokenizer(prompt)["input_ids"]
        return TextExample([*given, *target], [IGNORED] * len(given) + target)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def with_direct(
    encoder: Encoder, problems: Iterable[tuple[str, str]], share: float, seed: int
) -> list[ThoughtExample]:
    """Encode problems, a random share of them without written steps.

    Parameters
    ----------
    encoder : Encoder
        The model's encoder.
    problems : iterable of (str, str)
        Questions and answers.
    share : float
        Share of problems that the teacher answers directly.
    seed : int
        Seed of the choice.
    """
    rng = random.Random(f"{seed}/direct")
    return [encoder.thought(q, a, direct=rng.random() < share) for q, a in problems]
