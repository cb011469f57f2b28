"""Tokens of texts through a bank that reads them: what a study of prompts asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.models.tokens import read_tokens
from saeflow.saes.bank import EVERY_TOKEN, Bank, Site


@dataclass(frozen=True)
class EncodedTokens:
    """Activations and features of a batch of texts, a row per token; padding has none.

    Attributes
    ----------
    text : Tensor of shape (tokens,)
        Which text a token belongs to, as its index among the texts given.
    position : Tensor of shape (tokens,)
        Place of the token in its text, from 0.
    token : Tensor of shape (tokens,)
        Its id.
    begin : Tensor of shape (tokens,)
        Whether it was put before the text. No SAE was trained on such a token.
    activations : dict of int to Tensor of shape (tokens, d_in), float32
        By block: what the SAEs read.
    features : mapping of int to Tensor of shape (tokens, d_sae), float32
        By block: what they give, of which at most k per row differ from 0. Those of a block are
        computed when they are looked up, and kept until another's are: all blocks' of wide SAEs at
        once would not fit on a device.
    """

    text: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    token: Int[Tensor, " tokens"]
    begin: Bool[Tensor, " tokens"]
    activations: dict[int, Float[Tensor, "tokens d_in"]]
    features: Mapping[int, Float[Tensor, "tokens d_sae"]]


RESIDENT = 0.6
"""Share of a GPU's free memory that the SAEs of a bank may fill for good."""


class TokenSaes(Mapping[int, Bank]):
    """SAEs of a bank of tokens by block, each a bank of one site, on a device.

    All of them stay there if they fill no more than `RESIDENT` of the free memory; else only the one
    that was looked up last, so that 32 SAEs of 1 GB do not keep a model off its card.

    Parameters
    ----------
    bank : Bank
        Of tokens, on any device.
    device : torch.device
        Where the SAEs shall be.

    Raises
    ------
    SaeflowError
        If the bank reads latent thoughts.
    """

    def __init__(self, bank: Bank, device: torch.device) -> None:
        _check_reads_tokens(bank)
        self._bank, self._device = bank, device
        self._resident = bank.device == device or _fits(bank, device)
        self._there: dict[int, Bank] = {}

    def __getitem__(self, layer: int) -> Bank:
        if Site(layer) not in self._bank.sites:
            raise KeyError(layer)
        if layer not in self._there:
            if not self._resident:
                self._there.clear()
            self._there[layer] = token_sae(self._bank, layer).to(self._device)
        return self._there[layer]

    def __iter__(self) -> Iterator[int]:
        return (site.layer for site in self._bank.sites)

    def __len__(self) -> int:
        return len(self._bank.sites)


def _fits(bank: Bank, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    size = sum(each.numel() * each.element_size() for each in bank.weights.values())
    free, _ = torch.cuda.mem_get_info(device)
    return size <= RESIDENT * free


class _Features(Mapping[int, Tensor]):
    """What SAEs give of a batch, one block in memory at a time."""

    def __init__(self, saes: Mapping[int, Bank], activations: Mapping[int, Tensor]) -> None:
        self._saes, self._activations = saes, activations
        self._last: tuple[int, Tensor] | None = None

    def __getitem__(self, layer: int) -> Float[Tensor, "tokens d_sae"]:
        if self._last is None or self._last[0] != layer:
            self._last = None  # before the next are made
            x = self._activations[layer]
            self._last = layer, self._saes[layer].encode(x.unsqueeze(0))[0]
        return self._last[1]

    def __iter__(self) -> Iterator[int]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)


def token_sae(bank: Bank, layer: int) -> Bank:
    """SAE of the tokens at one block, as a bank of one site.

    `saeflow.saes.quality.site_quality` measures it on any activations.

    Raises
    ------
    SaeflowError
        If the bank reads latent thoughts or has no SAE for the block.
    """
    _check_reads_tokens(bank)
    return bank.select([Site(layer)])


def encode_texts(
    model: LanguageModel,
    bank: Bank,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
) -> Iterator[EncodedTokens]:
    """Read texts at the bank's hook and encode every token, in one pass of the model for all blocks.

    Parameters
    ----------
    model : LanguageModel
        The model that the bank was trained on.
    bank : Bank
        Of tokens, on any device.
    texts : sequence of str
        Plain texts, such as prompts.
    batch_size : int
        Most texts per forward pass; fewer where they are long.

    Yields
    ------
    EncodedTokens
        One per batch of texts of similar length, on the model's device.

    Raises
    ------
    SaeflowError
        If the bank reads latent thoughts, does not fit the model, or a text does not fit the
        model's positions.
    """
    hook = _check_reads_tokens(bank)
    layers = [site.layer for site in bank.sites]
    saes = TokenSaes(bank, model.device)
    first = begin_tokens(model)
    for batch in read_tokens(model, texts, hooks=(hook,), layers=layers, batch_size=batch_size):
        activations = dict(zip(layers, batch.activations[hook], strict=True))
        if batch.activations[hook].shape[2] != bank.d_in:
            raise SaeflowError(
                f"the bank reads activations of {bank.d_in} dimensions, but the model has "
                f"{batch.activations[hook].shape[2]}; expected the model that it was trained on."
            )
        yield EncodedTokens(
            text=batch.text,
            position=batch.position,
            token=batch.token,
            begin=batch.position < first,
            activations=activations,
            features=_Features(saes, activations),
        )


def _check_reads_tokens(bank: Bank) -> str:
    if bank.recipe.hook is None or any(site.step != EVERY_TOKEN for site in bank.sites):
        raise SaeflowError(
            f"the bank's SAEs read latent thoughts, such as at {bank.sites[0].name}; expected a bank "
            "of a dictionary with a hook."
        )
    return bank.recipe.hook
