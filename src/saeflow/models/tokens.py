"""Activations of every token of plain texts, for studies that read texts instead of thoughts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from tokenizers import processors
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from saeflow.errors import SaeflowError
from saeflow.models.capture import cut_batches
from saeflow.models.conventions import BLOCK_HOOKS, check_place
from saeflow.models.hooks import TOKEN_HOOKS, TokenTap
from saeflow.models.language_model import LanguageModel


@dataclass(frozen=True)
class TokenActivations:
    """What a batch of texts left, a row per token; padding has none.

    Attributes
    ----------
    text : Tensor of shape (tokens,)
        Which text a token belongs to, as its index among the texts given.
    position : Tensor of shape (tokens,)
        Place of the token in its text, from 0.
    token : Tensor of shape (tokens,)
        Its id.
    activations : dict of str to Tensor of shape (layers, tokens, d_in)
        By hook, float32, layers in the order asked for; ``embed`` and ``final_norm`` have one.
    """

    text: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    token: Int[Tensor, " tokens"]
    activations: dict[str, Float[Tensor, "layers tokens d_in"]]


def begin_ids(model: LanguageModel, *, prepend_bos: bool = False) -> list[int]:
    """Tokens that stand before every text.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer puts some there, such as Llama's, or none, such as GPT-2's.
    prepend_bos : bool
        Where it puts none, put its begin-of-text token, as TransformerLens does; the end-of-text
        token stands in where there is none. SAEs were trained on such texts if their release says
        so. Id 0 is a token like any other.

    Raises
    ------
    SaeflowError
        If the tokenizer has neither token.
    """
    own = [int(token) for token in model.tokenizer("")["input_ids"]]
    return own if own or not prepend_bos else [_begin_id(model.tokenizer)]


def _begin_id(tokenizer: PreTrainedTokenizerBase) -> int:
    # Not `or`: the id may be 0.
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if first is None:
        raise SaeflowError(
            "the tokenizer has no begin-of-text token, nor one of the end of a text that could stand "
            "in for it; expected one, or prepend_bos=False."
        )
    return int(first)


def put_begin(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Make a tokenizer put a begin token (`begin_ids`) before every text, if it puts none.

    Whatever reads texts through it then reads that token, as it does with Llama's.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Is changed.

    Raises
    ------
    SaeflowError
        If it has neither token, or is not one of the tokenizers library.
    """
    if tokenizer("")["input_ids"]:
        return tokenizer
    begin = str(tokenizer.convert_ids_to_tokens(_begin_id(tokenizer)))
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:
        raise SaeflowError(
            f"{type(tokenizer).__name__} is written in Python and takes no begin token; expected a "
            "tokenizer.json beside the model, or prepend_bos: false."
        )
    tokenizer.bos_token = begin
    put = processors.TemplateProcessing(
        single=[begin, "$A"],
        pair=[begin, "$A", "$B:1"],
        special_tokens=[(begin, tokenizer.bos_token_id)],
    )
    own = inner.post_processor
    inner.post_processor = put if own is None else processors.Sequence([own, put])
    return tokenizer


def text_ids(
    model: LanguageModel, texts: Sequence[str], *, prepend_bos: bool = False
) -> list[list[int]]:
    """Token ids of texts, begin tokens (`begin_ids`) included.

    A token that is put before a text is put there as an id, so it never changes how the text is cut.
    """
    rows = [list(model.tokenizer(text)["input_ids"]) for text in texts]
    if not prepend_bos or begin_ids(model):
        return rows
    first = begin_ids(model, prepend_bos=True)
    return [[*first, *row] for row in rows]


def read_tokens(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    hooks: Sequence[str] = ("resid_post",),
    layers: Sequence[int] | None = None,
    batch_size: int = 32,
    prepend_bos: bool = False,
) -> Iterator[TokenActivations]:
    """Read texts, without thoughts, and keep what every token carries.

    Batches hold texts of similar length, so texts come in another order than they were given; what
    a text gives does not depend on its batch. Blocks behind the last one asked for are not run, nor
    is the output embedding.

    Parameters
    ----------
    model : LanguageModel
        The model; its tokenizer decides whether a begin-of-text token comes first.
    texts : sequence of str
        Plain texts. A text without tokens is left out.
    hooks : sequence of str
        Some of `saeflow.models.hooks.TOKEN_HOOKS`.
    layers : sequence of int, optional
        Blocks whose activations are kept; all by default.
    batch_size : int
        Most texts per forward pass; fewer where they are long.
    prepend_bos : bool
        Whether a begin-of-text token comes first even if the tokenizer puts none (`begin_ids`). It
        changes what all tokens carry.

    Yields
    ------
    TokenActivations
        One per batch, on the model's device.

    Raises
    ------
    SaeflowError
        If a hook, its module or a layer does not exist, or a text does not fit the model's
        positions.
    """
    sites = _sites(model, hooks, layers)
    rows = text_ids(model, texts, prepend_bos=prepend_bos)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    limit = int(model.language_model.config.max_position_embeddings)
    if len(rows) and lengths.max() > limit:
        raise SaeflowError(
            f"text {int(lengths.argmax())} takes {lengths.max()} positions; the model has {limit}. "
            "Cut the text or leave it out."
        )
    some = lengths.nonzero()[0]
    for batch in cut_batches(lengths[some], batch_size):
        chosen = some[batch]
        yield _read_batch(model, [rows[text] for text in chosen], torch.from_numpy(chosen), sites)


@torch.no_grad()
def _read_batch(
    model: LanguageModel,
    rows: list[list[int]],
    numbers: Int[Tensor, " batch"],
    sites: dict[str, list[int]],
) -> TokenActivations:
    lengths = torch.tensor([len(row) for row in rows])
    positions = torch.arange(int(lengths.max())).expand(len(rows), -1)
    mask = positions < lengths[:, None]
    ids = torch.full(mask.shape, model.pad_id)
    ids[mask] = torch.tensor([token for row in rows for token in row])
    kept = mask.flatten().nonzero()[:, 0].to(model.device)
    tap = TokenTap(model.language_model, sites, kept)
    with tap.until_enough():
        model.language_model.base_model(
            input_ids=ids.to(model.device),
            attention_mask=mask.long().to(model.device),
            position_ids=positions.to(model.device),
            use_cache=False,
        )
    text = numbers[:, None].expand_as(positions)
    return TokenActivations(
        text=text[mask].to(model.device),
        position=positions[mask].to(model.device),
        token=ids[mask].to(model.device),
        activations=tap.kept,
    )


@torch.no_grad()
def read_contexts(
    model: LanguageModel,
    ids: Int[Tensor, "contexts positions"],
    wanted: Bool[Tensor, "contexts positions"],
    *,
    hook: str,
    layer: int,
) -> Float[Tensor, "tokens d_in"]:
    """Read contexts that are padded on the right and keep what chosen tokens carry at one place.

    No mask is needed: a causal model's tokens never see what is on their right.

    Parameters
    ----------
    model : LanguageModel
        The model; blocks behind `layer` are not run.
    ids : torch.Tensor of shape (contexts, positions)
        Token ids.
    wanted : torch.Tensor of shape (contexts, positions)
        Which tokens to keep.
    hook : str
        One of `saeflow.models.hooks.TOKEN_HOOKS`.
    layer : int
        Block index; 0 for ``embed`` and ``final_norm``.

    Returns
    -------
    torch.Tensor of shape (tokens, d_in), float32
        Context by context, in order of position; on the model's device.

    Raises
    ------
    SaeflowError
        If the hook, its module or the layer does not exist.
    """
    check_place(hook, layer, model.n_layers, inside=True)
    kept = wanted.flatten().nonzero()[:, 0].to(model.device)
    tap = TokenTap(model.language_model, {hook: [layer]}, kept)
    with tap.until_enough():
        model.language_model.base_model(input_ids=ids.to(model.device), use_cache=False)
    return tap.kept[hook][0]


def _sites(
    model: LanguageModel, hooks: Sequence[str], layers: Sequence[int] | None
) -> dict[str, list[int]]:
    blocks = list(range(model.n_layers) if layers is None else layers)
    if not set(hooks) <= set(TOKEN_HOOKS) or not hooks:
        raise SaeflowError(
            f"the hooks {list(hooks)} were asked for; expected some of {TOKEN_HOOKS}."
        )
    if (
        len(set(blocks)) < len(blocks)
        or not set(blocks) <= set(range(model.n_layers))
        or not blocks
    ):
        raise SaeflowError(
            f"the layers {blocks} were asked for; expected different ones of 0 to "
            f"{model.n_layers - 1}."
        )
    return {hook: blocks if hook in BLOCK_HOOKS else [0] for hook in hooks}
