"""How much of what a model knows about the next token an SAE keeps.

The SAE's reconstruction takes the place of the activation, error and all, and the cross-entropy is held
between that of the model as it is and that with the activation ablated (methods/5, 6.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from saeflow.errors import SaeflowError
from saeflow.interventions.readings import cut, most_readings
from saeflow.models.capture import cut_batches
from saeflow.models.conventions import BLOCK_HOOKS, HookedLayer, same_between_blocks
from saeflow.models.hooks import editing, entering_at, listening
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.saes.bank import EVERY_TOKEN, Bank
from saeflow.saes.wide.encoding import strongest_latents

CLEAN, ZERO, MEAN = "clean", "zero", "mean"
"""Conditions that need no SAE: the model as it is, and activations that are 0 or their mean."""
ABLATIONS = (ZERO, MEAN)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of the tokens of some documents, summed document by document.

    Attributes
    ----------
    document : numpy.ndarray of int64, shape (documents,)
        Which ones, as their index among those given; ascending.
    tokens : numpy.ndarray of int64, shape (documents,)
        Tokens that were predicted.
    sums : dict of str to numpy.ndarray of float64, shape (documents,)
        In nats, by condition: `CLEAN`, `ZERO`, `MEAN` and the names of the SAEs.
    """

    document: Int[np.ndarray, " documents"]
    tokens: Int[np.ndarray, " documents"]
    sums: dict[str, Float[np.ndarray, " documents"]]


def spliced_cross_entropy(
    model: LanguageModel,
    saes: Mapping[str, Bank],
    contents: Sequence[str],
    *,
    mean: Float[Tensor, " d_in"],
    batch_size: int = 32,
) -> Iterator[CrossEntropy]:
    """Read documents as they are, ablated, and with each SAE's reconstruction in place.

    What is put in place is that of every token but of those that the tokenizer puts before a document,
    which no SAE was trained on; what these predict does not change and is not counted.

    Parameters
    ----------
    model : LanguageModel
        The model that the SAEs were trained on; as before behind each document.
    saes : mapping of str to Bank
        Banks of one site each, all of the same site, by names other than those of the conditions.
    contents : sequence of str
        Texts. One without two tokens predicts nothing; it is left out.
    mean : torch.Tensor of shape (d_in,)
        Mean activation, best of other documents.
    batch_size : int
        Most documents per forward pass; fewer where they are long.

    Yields
    ------
    CrossEntropy
        One per batch of documents of similar length.

    Raises
    ------
    SaeflowError
        If the SAEs do not read tokens of one site, are named as a condition is, do not fit the model,
        or a document does not fit the model's positions.
    """
    _site(saes)
    rows: list[list[int]] = [list(model.tokenizer(content)["input_ids"]) for content in contents]
    yield from spliced_rows(
        model, saes, rows, begin=begin_tokens(model), mean=mean, batch_size=batch_size
    )


def spliced_rows(
    model: LanguageModel,
    saes: Mapping[str, Bank],
    rows: Sequence[Sequence[int]],
    *,
    begin: int,
    mean: Float[Tensor, " d_in"],
    place: HookedLayer | None = None,
    batch_size: int = 32,
) -> Iterator[CrossEntropy]:
    """`spliced_cross_entropy` of documents that are cut into tokens already.

    Parameters
    ----------
    rows : sequence of sequence of int
        Token ids of each document, those before it included.
    begin : int
        How many tokens at the beginning of each are neither changed nor counted.
    place : HookedLayer, optional
        Where to put reconstructions, if that is not where the SAEs were trained to read.
    model, saes, mean, batch_size
        As there.

    Yields
    ------
    CrossEntropy
        As there.

    Raises
    ------
    SaeflowError
        As there.
    """
    own = _site(saes)
    site = own if place is None else same_between_blocks(place)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    limit = int(model.language_model.config.max_position_embeddings)
    if len(rows) and lengths.max() > limit:
        raise SaeflowError(
            f"document {int(lengths.argmax())} takes {lengths.max()} positions; the model has {limit}. "
            "Cut the document or leave it out."
        )
    some = (lengths > begin + 1).nonzero()[0]
    edits = {ZERO: torch.zeros_like, MEAN: lambda x: mean.to(x).expand_as(x)}
    edits |= {name: _reconstructed(sae.to(model.device)) for name, sae in saes.items()}
    for batch in cut_batches(lengths[some], batch_size):
        chosen = np.sort(some[batch])
        documents = [list(rows[document]) for document in chosen]
        yield _batch(model, site, edits, documents, chosen, begin)


def _site(saes: Mapping[str, Bank]) -> HookedLayer:
    places = {(sae.recipe.hook, site) for sae in saes.values() for site in sae.sites}
    hooks = [(hook, site.layer) for hook, site in places if hook and site.step == EVERY_TOKEN]
    if len(places) != 1 or len(hooks) != 1 or any(len(sae.sites) != 1 for sae in saes.values()):
        names = sorted(f"{hook} {site.name}" for hook, site in places)
        raise SaeflowError(
            f"the SAEs to splice are of {', '.join(names) or 'no site'}; expected SAEs of tokens, all "
            "of one site."
        )
    taken = sorted({CLEAN, *ABLATIONS} & set(saes))
    if taken:
        raise SaeflowError(f"an SAE to splice is named {taken[0]!r}; expected another name.")
    return same_between_blocks(HookedLayer(*hooks[0]))


def _reconstructed(sae: Bank) -> Callable[[Tensor], Tensor]:
    def put(x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_in"]:
        if x.shape[1] != sae.d_in:
            raise SaeflowError(
                f"the SAE reads activations of {sae.d_in} dimensions, but the model has {x.shape[1]}; "
                "expected the model that it was trained on."
            )
        if sae.recipe.architecture != "topk":
            return sae.decode(sae.encode(x.float()[None]))[0].to(x.dtype)
        values, latents = strongest_latents(sae, x)
        sums = embedding_bag(latents, sae.W_dec[0], mode="sum", per_sample_weights=values)
        found: Tensor = (sums + sae.b_dec[0]).to(x.dtype)
        return found

    return put


@torch.no_grad()
def _batch(
    model: LanguageModel,
    site: tuple[str, int],
    edits: Mapping[str, Callable[[Tensor], Tensor]],
    rows: list[list[int]],
    numbers: Int[np.ndarray, " batch"],
    first: int,
) -> CrossEntropy:
    ids, mask = model.pad(rows, left_pad=False)
    edited = mask.bool()
    edited[:, :first] = False
    # The last token of a document predicts nothing.
    predicts = edited[:, :-1] & edited[:, 1:]
    entry, inputs = _entry(model, site), list[Tensor]()
    before = {"resid_post": [entry - 1]} if entry else {}
    with listening(model.language_model, before, lambda *kept: inputs.append(kept[2])):
        sums = {CLEAN: _losses(model, ids, mask, predicts)}
    for name, edit in edits.items():

        def change(hidden: Tensor, edit: Callable[[Tensor], Tensor] = edit) -> Tensor:
            changed = hidden.clone()
            changed[edited] = edit(hidden[edited])
            return changed

        with ExitStack() as changes:
            if site == ("resid_post", entry - 1):
                changes.enter_context(entering_at(model.language_model, entry, change(inputs[0])))
            else:
                changes.enter_context(editing(model.language_model, {site: change}))
                if entry:
                    changes.enter_context(entering_at(model.language_model, entry, inputs[0]))
            sums[name] = _losses(model, ids, mask, predicts)
    return CrossEntropy(numbers, predicts.sum(1).cpu().numpy(), sums)


def _entry(model: LanguageModel, site: tuple[str, int]) -> int:
    """First block that an edit changes; those before it are run once for all of them."""
    hook, layer = site
    if hook == "resid_post":
        return min(layer + 1, model.n_layers - 1)
    return layer if hook in BLOCK_HOOKS else 0


def _losses(
    model: LanguageModel,
    ids: Int[Tensor, "batch length"],
    mask: Int[Tensor, "batch length"],
    predicts: Bool[Tensor, "batch rest"],
) -> Float[np.ndarray, " batch"]:
    hidden = model.language_model.base_model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=torch.arange(ids.shape[1], device=ids.device).expand_as(ids),
        use_cache=False,
    ).last_hidden_state[:, :-1][predicts]
    step = most_readings(int(model.language_model.config.vocab_size))
    losses = [
        torch.nn.functional.cross_entropy(model.logits(part).float(), wanted, reduction="none")
        for part, wanted in zip(cut(hidden, step), cut(ids[:, 1:][predicts], step), strict=True)
    ]
    sums = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    sums.index_add_(0, predicts.nonzero()[:, 0], torch.cat(losses).double())
    found: Float[np.ndarray, " batch"] = sums.cpu().numpy()
    return found


def recovered(
    ablated: Float[np.ndarray, "*some"],
    spliced: Float[np.ndarray, "*some"],
    clean: Float[np.ndarray, "*some"],
) -> Float[np.ndarray, "*some"]:
    """Share of the cross-entropy that an ablation costs which the reconstruction does not.

    Parameters
    ----------
    ablated, spliced, clean : numpy.ndarray of float64
        Sums or means over the same tokens, such as one per resample.

    Returns
    -------
    numpy.ndarray of float64
        (ablated - spliced) / (ablated - clean): 1 if the reconstruction costs nothing, 0 if it is as
        bad as the ablation. NaN where the ablation costs nothing.
    """
    lost = ablated - clean
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lost != 0, (ablated - spliced) / lost, np.nan)
