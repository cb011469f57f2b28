"""A causal language model with its tokenizer: what reads and writes texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saeflow.errors import SaeflowError
from saeflow.models.activations import block_activations
from saeflow.models.logits import unembed
from saeflow.models.reader import Reader
from saeflow.models.sampling import Sampling

# typing.Self is not known to beartype where methods are decorated one by one, as tests do.
ModelT = TypeVar("ModelT", bound="LanguageModel")


class LanguageModel:
    """A causal language model as it comes, without latent thoughts.

    Parameters
    ----------
    language_model : transformers.PreTrainedModel
        Of one of `saeflow.models.families.FAMILIES`.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer, which has an end-of-text token.
    revision : str
        What identifies the weights; it goes into provenance.
    """

    def __init__(
        self,
        language_model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        revision: str,
    ) -> None:
        self.language_model = language_model.eval()
        block_activations(self.language_model)
        self.tokenizer = tokenizer
        self.revision = revision

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.language_model.device
        return device

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.language_model.config.num_hidden_layers)

    @property
    def n_parameters(self) -> int:
        """Number of parameters; tied ones count once."""
        return sum(each.numel() for each in self.language_model.parameters())

    def to(self: ModelT, device: torch.device) -> ModelT:
        """Move the weights and return the model."""
        self.language_model.to(device)
        return self

    @property
    def pad_id(self) -> int:
        """What fills rows up; masks tell it from text, so that any id serves."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @property
    def vocabulary(self) -> int:
        """Columns of logits that may be written; some models have more, to fill up a matrix."""
        return min(len(self.tokenizer), int(self.language_model.config.vocab_size))

    @property
    def text_vocabulary(self) -> int:
        """Ids that stand for text, from 0."""
        return self.vocabulary

    @property
    def ends(self) -> list[int]:
        """Tokens that end what is written: the tokenizer's, then the model's own, often several."""
        generation = getattr(self.language_model, "generation_config", None)
        own = getattr(generation, "eos_token_id", None)
        listed = own if isinstance(own, list) else [] if own is None else [own]
        return list(dict.fromkeys(map(int, [self.tokenizer.eos_token_id, *listed])))

    def logits(self, hidden: Float[Tensor, "... d_in"]) -> Float[Tensor, "... vocabulary"]:
        """Logits of hidden states after the final norm."""
        return unembed(self.language_model, hidden)

    @torch.no_grad()
    def continue_rows(
        self, rows: list[list[int]], *, max_new_tokens: int, sampling: Sampling | None = None
    ) -> list[str]:
        """Write on behind rows of token ids, without latent thoughts.

        Parameters
        ----------
        rows : list of list of int
            Token ids as the tokenizer gives them, none empty.
        max_new_tokens : int
            Longest continuation.
        sampling : Sampling, optional
            How tokens are drawn; None: greedily.

        Returns
        -------
        list of str
            The continuations alone.

        Raises
        ------
        SaeflowError
            If a row and its continuation do not fit the model's positions.
        """
        self._check_length(rows, max_new_tokens)
        ids, mask = self.pad(rows, left_pad=True)
        reader = Reader(self.language_model, mask)
        hidden = last_of(reader, self.language_model.get_input_embeddings()(ids))
        return self.texts(self._go_on(reader, hidden, max_new_tokens, sampling))

    def texts(self, rows: list[list[int]]) -> list[str]:
        """Decode what was written, without special tokens."""
        known = self.text_vocabulary
        return [
            self.tokenizer.decode(
                [token for token in row if token < known], skip_special_tokens=True
            )
            for row in rows
        ]

    def _go_on(
        self,
        reader: Reader,
        hidden: Float[Tensor, "batch d_in"],
        max_new_tokens: int,
        sampling: Sampling | None = None,
    ) -> list[list[int]]:
        """Write on from the hidden state that the first new token is read from."""
        embed = self.language_model.get_input_embeddings()
        ends = torch.tensor(self.ends, device=self.device)
        done = torch.zeros(len(hidden), dtype=torch.bool, device=self.device)
        written: list[Tensor] = []
        while True:
            logits = self.logits(hidden)[:, : self.vocabulary]
            token = logits.argmax(-1) if sampling is None else sampling.draw(logits, len(written))
            token = torch.where(done, ends[0], token)
            written.append(token)
            done = done | torch.isin(token, ends)
            if len(written) == max_new_tokens or bool(done.all()):
                break
            hidden = last_of(reader, embed(token[:, None]))
        stops = set(self.ends)
        return [_until(row, stops) for row in torch.stack(written, dim=1).tolist()]

    def pad(
        self, rows: list[list[int]], *, left_pad: bool
    ) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
        """Token ids of rows of different lengths as one tensor, and its mask."""
        longest = max(map(len, rows))
        # Filled where they are made and moved once: a copy per row would stall a GPU.
        ids = torch.full((len(rows), longest), self.pad_id)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            where = slice(longest - len(row), None) if left_pad else slice(0, len(row))
            ids[index, where] = torch.tensor(row, dtype=torch.long)
            mask[index, where] = 1
        return ids.to(self.device), mask.to(self.device)

    def _check_length(
        self, rows: list[list[int]], further: int, what: str = "a text with its continuation"
    ) -> None:
        limit = int(self.language_model.config.max_position_embeddings)
        longest = max(map(len, rows)) + further
        if longest > limit:
            raise SaeflowError(
                f"{what} takes {longest} positions; the model has {limit}. Shorten max_new_tokens or "
                "leave it out."
            )


def last_of(
    reader: Reader, embeddings: Float[Tensor, "batch new d_in"]
) -> Float[Tensor, "batch d_in"]:
    """Read embeddings; hidden state of the last, after the final norm."""
    hidden: Float[Tensor, "batch d_in"] = reader.read(embeddings).last_hidden_state[:, -1]
    return hidden


def _until(row: list[int], ends: Collection[int]) -> list[int]:
    """Tokens up to the first that ends them, which is included."""
    stop = next((place for place, token in enumerate(row) if token in ends), len(row))
    return row[: stop + 1]
