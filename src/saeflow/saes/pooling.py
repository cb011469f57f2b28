"""Features of texts from features of their tokens, pooled in several ways side by side.

The published conclusions change with the pooling (methods/3, sections 4.3 and 4.5), so all of it comes
from one reading of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.config.specialists import Masking, Pooling
from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.models.tokens import read_tokens, text_ids
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import TokenSaes

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
"""average_then_encode: the mean activation, encoded (the study's first results);
encode_then_average: mean of the tokens' features (its corrected ones); max: largest value of each
feature; last: features of the last token.

Of a dictionary with negative values, ``max`` is the largest with its sign, so a feature that is
negative somewhere and 0 elsewhere gives 0."""


@dataclass(frozen=True)
class PooledTexts:
    """Features of some texts, a row per text.

    Attributes
    ----------
    text : Tensor of shape (texts,), int64
        Which texts, as their indices among those given.
    tokens : Tensor of shape (texts,), int64
        Tokens that count, at least 1.
    features : dict of int to dict of str to Tensor of shape (texts, d_sae), float32
        By block, then by pooling.
    """

    text: Int[Tensor, " texts"]
    tokens: Int[Tensor, " texts"]
    features: dict[int, dict[Pooling, Float[Tensor, "texts d_sae"]]]


def pool_texts(
    model: LanguageModel,
    bank: Bank,
    texts: Sequence[str],
    *,
    poolings: Sequence[Pooling] = POOLINGS,
    masking: Masking = "begin",
    prepend_bos: bool = False,
    batch_size: int = 32,
) -> Iterator[PooledTexts]:
    """Read texts at the bank's hook and pool what their tokens give, in one pass for all its blocks.

    Memory does not grow with the number of texts: a batch takes, beside its activations, its tokens
    × d_sae values of one block and its texts × d_sae values of every block and pooling.

    The published vectors (methods/3, section 4.3) are those with ``masking="published"`` and
    ``prepend_bos=True``.

    Parameters
    ----------
    model : LanguageModel
        The model that the bank was trained on.
    bank : Bank
        Of tokens, on any device.
    texts : sequence of str
        Plain texts, each with a token that counts.
    poolings : sequence of str
        Some of `POOLINGS`.
    masking : {"begin", "published"}
        Which tokens do not count. ``published`` leaves a begin-of-text token in, unless the
        tokenizer pads with it; a tokenizer without padding pads with its end-of-text token.
    prepend_bos : bool
        Put the begin-of-text token before every text if the tokenizer does not, as TransformerLens
        does; the end-of-text token stands in where there is none. It changes what all tokens carry.
    batch_size : int
        Most texts per forward pass; fewer where they are long.

    Yields
    ------
    PooledTexts
        One per batch of texts of similar length, on the model's device: texts come in another order
        than they were given, all of them.

    Raises
    ------
    SaeflowError
        If a text has no token that counts, such as the empty one, whose mean is not defined; it does
        not fit the model's positions; the bank reads latent thoughts or does not fit the model; or the
        tokenizer lacks the token that `masking` or `prepend_bos` needs. No text has been read then,
        unless the bank has another width than the model.
    """
    _check_poolings(poolings)
    begin = begin_tokens(model, prepend_bos=prepend_bos)
    pad = _pad_id(model) if masking == "published" else None
    for number, ids in enumerate(text_ids(model, texts, prepend_bos=prepend_bos)):
        _check_text(number, texts[number], ids, begin, pad)
    saes = TokenSaes(bank, model.device)
    hook = str(bank.recipe.hook)
    for batch in read_tokens(
        model,
        texts,
        hooks=(hook,),
        layers=list(saes),
        batch_size=batch_size,
        prepend_bos=prepend_bos,
    ):
        activations = dict(zip(saes, batch.activations[hook], strict=True))
        keep = batch.position >= begin if pad is None else batch.token != pad
        yield _pool(saes, activations, batch.text, keep, poolings)


@torch.no_grad()
def _pool(
    saes: Mapping[int, Bank],
    activations: Mapping[int, Float[Tensor, "tokens d_in"]],
    text: Int[Tensor, " tokens"],
    keep: Bool[Tensor, " tokens"],
    poolings: Sequence[Pooling],
) -> PooledTexts:
    numbers, sizes = torch.unique_consecutive(text[keep], return_counts=True)
    lengths = sizes.tolist()
    features: dict[int, dict[Pooling, Float[Tensor, "texts d_sae"]]] = {}
    for layer, sae in saes.items():
        x = activations[layer]
        if x.shape[1] != sae.d_in:
            raise SaeflowError(
                f"the bank reads activations of {sae.d_in} dimensions, but block {layer} gives "
                f"{x.shape[1]}; expected the model and the hook that it was trained on."
            )
        features[layer] = _pooled(sae, x[keep].float(), lengths, poolings)
    return PooledTexts(numbers, sizes, features)


_OF_FEATURES: dict[Pooling, Callable[[Tensor], Tensor]] = {
    "encode_then_average": lambda rows: rows.mean(0),
    "max": lambda rows: rows.amax(0),
    "last": lambda rows: rows[-1],
}


def _pooled(
    sae: Bank, x: Float[Tensor, "tokens d_in"], lengths: list[int], poolings: Sequence[Pooling]
) -> dict[Pooling, Float[Tensor, "texts d_sae"]]:
    """One text after the other: a scattered sum would add in any order on a GPU."""
    rows: tuple[Tensor, ...] = ()
    if set(poolings) & set(_OF_FEATURES):
        rows = torch.split(sae.encode(x[None])[0], lengths)
    pooled: dict[Pooling, Float[Tensor, "texts d_sae"]] = {}
    for pooling in poolings:
        if pooling == "average_then_encode":
            means = torch.stack([each.mean(0) for each in torch.split(x, lengths)])
            pooled[pooling] = sae.encode(means[None])[0]
        else:
            pooled[pooling] = torch.stack([_OF_FEATURES[pooling](each) for each in rows])
    return pooled


def _check_poolings(poolings: Sequence[Pooling]) -> None:
    if not poolings or not set(poolings) <= set(POOLINGS):
        raise SaeflowError(
            f"the poolings {list(poolings)} were asked for; expected some of {', '.join(POOLINGS)}."
        )


def _pad_id(model: LanguageModel) -> int:
    tokenizer = model.tokenizer
    # Not `or`: the id may be 0.
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if pad is None:
        raise SaeflowError(
            "the tokenizer has neither a padding token nor one of the end of a text, which published "
            "masking goes by; expected one of them, or masking: begin."
        )
    return int(pad)


def _check_text(number: int, text: str, ids: Sequence[int], begin: int, pad: int | None) -> None:
    counted = len(ids) - begin if pad is None else sum(token != pad for token in ids)
    if counted < 1:
        what = "is empty" if not text else f"({text[:40]!r}) has no token that counts"
        raise SaeflowError(
            f"text {number} {what}; expected one token at least beside those that are masked. Leave "
            "it out."
        )
