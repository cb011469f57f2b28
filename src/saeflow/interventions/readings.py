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

LOGITS = 2**24
"""Most logits computed at once, 64 MiB of them."""


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
    logits : torch.Tensor of shape (readings, tokens), optional
        With the edit, float32; None unless asked for.
    """

    texts: Int[Tensor, " readings"]
    positions: Int[Tensor, " readings"]
    log_probability: Float[Tensor, " readings"]
    kl: Float[Tensor, " readings"]
    changed: Bool[Tensor, " readings"]
    logits: Float[Tensor, "readings tokens"] | None


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
    logits : torch.Tensor of shape (readings, tokens)
        Float32.

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
        self._head = model.get_output_embeddings()
        self.step = max(1, LOGITS // int(model.config.vocab_size))
        self.at = at
        self.logits = torch.cat([self.read(part) for part in cut(hidden, self.step)])
        self.targets = self.logits.argmax(-1) if targets is None else targets.to(at.device)
        known = (self.targets >= 0) & (self.targets < self.logits.shape[1])
        if len(known) != len(self.logits) or not bool(known.all()):
            raise SaeflowError(
                f"{len(known)} targets were given, {int(known.sum())} of them tokens of the model; "
                f"expected one token id for each of {len(self.logits)} readings."
            )

    @property
    def log_probability(self) -> Float[Tensor, " readings"]:
        """Of the targets, in nats."""
        found: Tensor = self.logits.log_softmax(-1).gather(1, self.targets[:, None])[:, 0]
        return found

    def read(self, hidden: Float[Tensor, "some d_in"]) -> Float[Tensor, "some tokens"]:
        """Logits, float32."""
        logits: Tensor = self._head(hidden)
        return logits.float()


class ChangedReadings:
    """Readings of rows that are texts, as they are without any edit until changes are filled in.

    Parameters
    ----------
    clean : Readings
        Without any edit.
    texts : torch.Tensor of shape (rows,)
        Which text each row is.
    with_logits : bool
        Whether to keep logits.

    Attributes
    ----------
    slots : torch.Tensor of int, shape (rows, length)
        Number of the reading behind each token; meaningless where nothing is read.
    """

    def __init__(self, clean: Readings, texts: Int[Tensor, " rows"], with_logits: bool) -> None:
        self._clean = clean
        at = clean.at[texts]
        self.slots = _numbered(at)
        self._reading = _numbered(clean.at)[texts][at]
        rows, self._positions = at.nonzero().unbind(1)
        self._texts = texts[rows]
        self._log_probability = clean.logits.new_zeros(len(rows))
        self._kl = torch.zeros_like(self._log_probability)
        self._changed = torch.zeros_like(rows, dtype=torch.bool)
        self._logits = clean.logits[self._reading] if with_logits else None

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
            logits, clean = self._clean.read(new), self._clean.logits[reading]
            if self._logits is not None:
                self._logits[slot] = logits
            self._changed[slot] = logits.argmax(-1) != clean.argmax(-1)
            after, before = logits.log_softmax(-1), clean.log_softmax(-1)
            self._kl[slot] = (before.exp() * (before - after)).sum(-1)
            target = self._clean.targets[reading][:, None]
            gained = after.gather(1, target) - before.gather(1, target)
            self._log_probability[slot] = gained[:, 0]

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
                None if self._logits is None else self._logits[start:end],
            )
            for start, end in pairwise(ends)
        ]


def cut(rows: Tensor, size: int) -> list[Tensor]:
    """Parts of at most so many rows, in order; one empty part if there is no row."""
    return list(torch.split(rows, size))


def _numbered(at: Bool[Tensor, "rows length"]) -> Int[Tensor, "rows length"]:
    """Number of each True, row by row."""
    numbers: Tensor = at.flatten().cumsum(0) - 1
    return numbers.view(at.shape)
