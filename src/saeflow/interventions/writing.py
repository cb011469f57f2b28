"""Answers of a causal language model, greedy or drawn, token by token, also while it is edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.interventions.readings import cut, most_readings
from saeflow.models.hooks import editing
from saeflow.models.language_model import last_of
from saeflow.models.logits import unembed
from saeflow.models.reader import Reader
from saeflow.models.sampling import Sampling

Edits = Mapping[tuple[str, int], Callable[[Tensor], Tensor]]
"""What `saeflow.models.hooks.editing` takes."""


class Writer:
    """How a model writes.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    ends : sequence of int, optional
        Tokens that end an answer; None: those of the model's generation settings.
    vocabulary : int, optional
        Only tokens before this one are written; None: all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        ends: Sequence[int] | None = None,
        vocabulary: int | None = None,
    ) -> None:
        self._model = model
        self._vocabulary = vocabulary
        if ends is None:
            known = getattr(model.generation_config, "eos_token_id", None)
            ends = [] if known is None else [known] if isinstance(known, int) else known
        self._ends = torch.tensor(list(ends), dtype=torch.long, device=model.device)
        self._step = most_readings(int(model.config.vocab_size))

    def likeliest(self, hidden: Float[Tensor, "some d_in"]) -> Int[Tensor, " some"]:
        """Tokens that are written from hidden states after the final norm."""
        return torch.cat([self._logits(part).argmax(-1) for part in cut(hidden, self._step)])

    def choose(
        self,
        hidden: Float[Tensor, "some d_in"],
        sampling: Sampling | None = None,
        number: int = 0,
    ) -> Int[Tensor, " some"]:
        """Tokens that are written from hidden states after the final norm.

        Parameters
        ----------
        hidden : torch.Tensor of shape (some, d_in)
            A row each.
        sampling : Sampling, optional
            How they are drawn, with the same rows; None: the likeliest are taken.
        number : int
            Number of the new token, from 0.
        """
        if sampling is None:
            return self.likeliest(hidden)
        parts = cut(hidden, self._step)
        uniforms = cut(sampling.uniform, self._step)
        return torch.cat(
            [
                Sampling(sampling.temperature, uniform).draw(self._logits(part), number)
                for part, uniform in zip(parts, uniforms, strict=True)
            ]
        )

    def log_probabilities(self, hidden: Float[Tensor, "some d_in"]) -> Float[Tensor, "some tokens"]:
        """Of all tokens that can be written, in nats, float32 or finer; as many rows as are given."""
        return self._logits(hidden).log_softmax(-1)

    @property
    def step(self) -> int:
        """Most hidden states whose tokens are weighed at once, so that memory stays flat."""
        return self._step

    def difference(
        self, hidden: Float[Tensor, "some d_in"], pairs: Int[Tensor, "some 2"]
    ) -> Float[Tensor, " some"]:
        """Logit of the first token of each pair minus that of the second, float32 or finer."""
        parts = zip(cut(hidden, self._step), cut(pairs, self._step), strict=True)
        both = torch.cat([self._logits(part).gather(1, pair) for part, pair in parts])
        return both[:, 0] - both[:, 1]

    def read(
        self, reader: Reader, tokens: Int[Tensor, "rows new"], lengths: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows new d_in"]:
        """Read given tokens, so many of each row; hidden states after the final norm."""
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        hidden: Tensor = reader.read(self._embed(tokens), mask.long()).last_hidden_state
        return hidden

    def go_on(
        self,
        reader: Reader,
        first: Int[Tensor, " rows"],
        limit: int,
        edits: Callable[[int], Edits] | None = None,
        sampling: Sampling | None = None,
        watch: Callable[[Float[Tensor, "rows d_in"]], None] | None = None,
    ) -> list[list[int]]:
        """Write on.

        Parameters
        ----------
        reader : Reader
            It has read all that comes before.
        first : torch.Tensor of shape (rows,)
            First token of each row, already chosen.
        limit : int
            Most tokens, the first one included.
        edits : callable, optional
            Gets the number of a token, from 0 for the first, and gives what is changed while it is
            read.
        sampling : Sampling, optional
            How tokens are drawn, the first one being its number 0; None: greedily.
        watch : callable, optional
            Gets what each further token is chosen from, after the final norm.

        Returns
        -------
        list of list of int
            Tokens of each row, the end included where one is written in time.
        """
        written = [first]
        done = torch.isin(first, self._ends)
        while len(written) < limit and not bool(done.all()):
            with editing(self._model, {} if edits is None else edits(len(written) - 1)):
                hidden = last_of(reader, self._embed(written[-1][:, None]))
            if watch is not None:
                watch(hidden)
            # A row that has ended repeats its end, which is cut below.
            token = self.choose(hidden, sampling, len(written))
            written.append(torch.where(done, written[-1], token))
            done = done | torch.isin(written[-1], self._ends)
        tokens = torch.stack(written, dim=1)
        ended = torch.isin(tokens, self._ends)
        before = (ended.cumsum(1) - ended.long() == 0).sum(1).tolist()
        return [row[:count] for row, count in zip(tokens.tolist(), before, strict=True)]

    def _embed(self, tokens: Int[Tensor, "rows new"]) -> Float[Tensor, "rows new d_in"]:
        embedded: Tensor = self._model.get_input_embeddings()(tokens)
        return embedded

    def _logits(self, hidden: Float[Tensor, "some d_in"]) -> Float[Tensor, "some tokens"]:
        logits = unembed(self._model, hidden)[:, : self._vocabulary]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def padded(
    rows: Sequence[Sequence[int]], device: torch.device, *, left: bool = False
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, " rows"]]:
    """Token ids as one tensor, filled up with whatever token has the number 0, and their lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        where = slice(longest - len(row), None) if left else slice(0, len(row))
        ids[index, where] = torch.tensor(list(row), dtype=torch.long)
    return ids.to(device), lengths.to(device)
