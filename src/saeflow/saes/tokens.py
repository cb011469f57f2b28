"""Tokens of texts through a bank that reads them: what a study of prompts asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
        Whether the tokenizer put it before the text. No SAE was trained on such a token.
    activations : dict of int to Tensor of shape (tokens, d_in), float32
        By block: what the SAEs read.
    features : dict of int to Tensor of shape (tokens, d_sae), float32
        By block: what they give, of which at most k per row differ from 0.
    """

    text: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    token: Int[Tensor, " tokens"]
    begin: Bool[Tensor, " tokens"]
    activations: dict[int, Float[Tensor, "tokens d_in"]]
    features: dict[int, Float[Tensor, "tokens d_sae"]]


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
    model: LanguageModel, bank: Bank, texts: Sequence[str], *, batch_size: int = 32
) -> Iterator[EncodedTokens]:
    """Read texts at the bank's hook and encode every token, in one pass for all its blocks.

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
    saes = {layer: token_sae(bank, layer).to(model.device) for layer in layers}
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
            features={
                layer: saes[layer].encode(x.unsqueeze(0))[0] for layer, x in activations.items()
            },
        )


def _check_reads_tokens(bank: Bank) -> str:
    if bank.recipe.hook is None or any(site.step != EVERY_TOKEN for site in bank.sites):
        raise SaeflowError(
            f"the bank's SAEs read latent thoughts, such as at {bank.sites[0].name}; expected a bank "
            "of a dictionary with a hook."
        )
    return bank.recipe.hook
