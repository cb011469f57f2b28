"""What a model expects to come next behind chosen tokens of texts, and how edits change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.models.logits import unembed

EXPECTED = 2**22
"""Most log-probabilities computed at once: 16 MiB of them."""


@dataclass(frozen=True)
class TextOutcome:
    """What an intervention did to the token expected next, reading by reading.

    Attributes
    ----------
    texts, positions : torch.Tensor of int, shape (readings,)
        Numbers of the texts in the run, and behind which of their tokens the next is read.
    log_probability : torch.Tensor of shape (readings,)
        Change of the target's log-probability, in nats.
    kl : torch.Tensor of shape (readings,)
        Kullback-Leibler divergence of the next token, from without to with, in nats.
    changed : torch.Tensor of bool, shape (readings,)
        Whether another token is the likeliest.
    rank : torch.Tensor of int, shape (readings,)
        Change of the number of tokens that are likelier than the target.
    expected : torch.Tensor of shape (readings, tokens), optional
        Log-probabilities of all tokens with the edit, in nats; None unless asked for.
    """

    texts: Int[Tensor, " readings"]
    positions: Int[Tensor, " readings"]
    log_probability: Float[Tensor, " readings"]
    kl: Float[Tensor, " readings"]
    changed: Bool[Tensor, " readings"]
    rank: Int[Tensor, " readings"]
    expected: Float[Tensor, "readings tokens"] | None


class Readings:
    """What is expected without any edit.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    at : torch.Tensor of bool, shape (texts, length)
        Behind which tokens the next is read.
    hidden : torch.Tensor of shape (readings, d_in)
        There, text by text, after the final norm.
    targets : torch.Tensor of int, shape (readings,), optional
        Token whose log-probability is followed; None: the likeliest.

    Attributes
    ----------
    at, targets : torch.Tensor
        As given or chosen.
    expected : torch.Tensor of shape (readings, tokens)
        Log-probabilities of all tokens, in nats, float32.
    likeliest : torch.Tensor of int, shape (readings,)
        Token with the largest.

    Raises
    ------
    SaeflowError
        If there is not one target per reading, or a target is no token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        at: Bool[Tensor, "texts length"],
        hidden: Float[Tensor, "readings d_in"],
        targets: Int[Tensor, " _"] | None,
    ) -> None:
        self._model = model
        self.step = most_readings(int(model.config.vocab_size))
        self.at = at
        self.expected = torch.cat([self.read(part) for part in cut(hidden, self.step)])
        self.likeliest = self.expected.argmax(-1)
        self.targets = self.likeliest if targets is None else targets.to(at.device)
        known = (self.targets >= 0) & (self.targets < self.expected.shape[1])
        if len(known) != len(self.expected) or not bool(known.all()):
            raise SaeflowError(
                f"{len(known)} targets were given, {int(known.sum())} of them tokens of the model; "
                f"expected one token id for each of {len(self.expected)} readings."
            )

    @property
    def log_probability(self) -> Float[Tensor, " readings"]:
        """Of the targets, in nats."""
        found: Tensor = self.expected.gather(1, self.targets[:, None])[:, 0]
        return found

    def read(self, hidden: Float[Tensor, "some d_in"]) -> Float[Tensor, "some tokens"]:
        """Log-probabilities of all tokens, float32."""
        return unembed(self._model, hidden).float().log_softmax(-1)


class ChangedReadings:
    """Readings of rows that are texts, as they are without any edit until changes are filled in.

    Parameters
    ----------
    clean : Readings
        Without any edit.
    texts : torch.Tensor of shape (rows,)
        Which text each row is.
    with_expected : bool
        Whether to keep the log-probabilities of all tokens.

    Attributes
    ----------
    slots : torch.Tensor of int, shape (rows, length)
        Number of the reading behind each token; meaningless where nothing is read.
    """

    def __init__(self, clean: Readings, texts: Int[Tensor, " rows"], with_expected: bool) -> None:
        self._clean = clean
        at = clean.at[texts]
        self.slots = _numbered(at)
        self._reading = _numbered(clean.at)[texts][at]
        rows, self._positions = at.nonzero().unbind(1)
        self._texts = texts[rows]
        self._log_probability = clean.expected.new_zeros(len(rows))
        self._kl = torch.zeros_like(self._log_probability)
        self._changed = torch.zeros_like(rows, dtype=torch.bool)
        self._rank = torch.zeros_like(rows)
        self._expected = clean.expected[self._reading] if with_expected else None

    def fill(self, hidden: Float[Tensor, "some d_in"], slots: Int[Tensor, " some"]) -> None:
        """Put in what some readings have become.

        Parameters
        ----------
        hidden : torch.Tensor of shape (some, d_in)
            After the final norm.
        slots : torch.Tensor of shape (some,)
            Numbers of the readings.
        """
        step = self._clean.step
        for new, slot in zip(cut(hidden, step), cut(slots, step), strict=True):
            reading = self._reading[slot]
            after, before = self._clean.read(new), self._clean.expected[reading]
            if self._expected is not None:
                self._expected[slot] = after
            self._changed[slot] = after.argmax(-1) != self._clean.likeliest[reading]
            self._kl[slot] = (before.exp() * (before - after)).sum(-1)
            target = self._clean.targets[reading][:, None]
            now, then = after.gather(1, target), before.gather(1, target)
            self._log_probability[slot] = (now - then)[:, 0]
            self._rank[slot] = (after > now).sum(-1) - (before > then).sum(-1)

    def outcomes(self, sizes: Sequence[int]) -> list[TextOutcome]:
        """Cut them into outcomes of so many readings each."""
        ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
        return [
            TextOutcome(
                self._texts[start:end],
                self._positions[start:end],
                self._log_probability[start:end],
                self._kl[start:end],
                self._changed[start:end],
                self._rank[start:end],
                None if self._expected is None else self._expected[start:end],
            )
            for start, end in pairwise(ends)
        ]


def most_readings(vocabulary: int) -> int:
    """How many readings are computed at once, so that a large vocabulary takes no more memory."""
    return max(1, EXPECTED // vocabulary)


def cut(rows: Tensor, size: int) -> list[Tensor]:
    """Parts of at most so many rows, in order; one empty part if there is no row."""
    return list(torch.split(rows, size))


def _numbered(at: Bool[Tensor, "rows length"]) -> Int[Tensor, "rows length"]:
    """Number of each True, row by row."""
    numbers: Tensor = at.flatten().cumsum(0) - 1
    return numbers.view(at.shape)
