"""What a wide SAE gives on the tokens of prompts, and what that makes of whole prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int
from scipy.sparse import csc_array, csr_array

from saeflow.config.scaling_search import Level
from saeflow.errors import SaeflowError
from saeflow.models.capture import token_texts
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.saes.encode import encode_long
from saeflow.saes.tokens import encode_texts
from saeflow.studies.scaling.search_published import CorpusStatistics, corpus_statistics


@dataclass(frozen=True)
class PromptReading:
    """Tokens of some prompts, prompt by prompt, without those that were put before them.

    Attributes
    ----------
    values : scipy.sparse.csc_array of float32, shape (tokens, d_sae)
        What the SAE gives.
    prompt, position : numpy.ndarray of int64, shape (tokens,)
        Number of the prompt, and place of the token in it, those before it included.
    shown : list of str
        Each token decoded by itself.
    activations : numpy.ndarray of float32, shape (tokens, d_in)
        What the SAE reads.
    """

    values: csc_array
    prompt: Int[np.ndarray, " tokens"]
    position: Int[np.ndarray, " tokens"]
    shown: list[str]
    activations: Float32[np.ndarray, "tokens d_in"]

    @property
    def n_tokens(self) -> Int[np.ndarray, " prompts"]:
        """Tokens of each prompt."""
        counts: Int[np.ndarray, " prompts"] = np.bincount(self.prompt)
        return counts


class Observations(NamedTuple):
    """What is ranked: tokens, or prompts as a whole.

    Attributes
    ----------
    values : scipy.sparse.csc_array, shape (observations, features)
        What features give.
    prompt : numpy.ndarray of int64, shape (observations,)
        Prompt of each.
    """

    values: csc_array
    prompt: Int[np.ndarray, " observations"]

    def of(self, chosen: Bool[np.ndarray, " prompts"]) -> Observations:
        """Those of some prompts, which are numbered anew."""
        rows = np.flatnonzero(chosen[self.prompt])
        numbers = np.cumsum(chosen) - 1
        return Observations(csc_array(self.values[rows]), numbers[self.prompt[rows]])

    def by(self, features: Int[np.ndarray, " some"]) -> Observations:
        """The same with some features alone, in this order."""
        return Observations(csc_array(self.values[:, features]), self.prompt)


def read_prompts(
    model: LanguageModel, bank: Bank, prompts: Sequence[str], *, batch_size: int = 32
) -> PromptReading:
    """Read prompts at the site of a bank.

    Memory holds the activations of all tokens and the values that are not 0.

    Parameters
    ----------
    model : LanguageModel
        The model that the bank was trained on.
    bank : Bank
        Of tokens and one site, on any device.
    prompts : sequence of str
        Each with a token of its own.
    batch_size : int
        Most prompts per forward pass; fewer where they are long.

    Raises
    ------
    SaeflowError
        If the bank has several sites, a prompt has no token, or as `encode_texts` does.
    """
    if not len(prompts):
        raise SaeflowError("There is no prompt to read; expected one at least.")
    if len(bank.sites) != 1:
        raise SaeflowError(
            f"the bank has the sites {', '.join(site.name for site in bank.sites)}; expected one."
        )
    layer = bank.sites[0].layer
    parts = []
    for batch in encode_texts(model, bank, prompts, batch_size=batch_size):
        kept = ~batch.begin
        features = batch.features[layer][kept]
        row, latent = features.nonzero(as_tuple=True)
        parts.append(
            [
                each.cpu().numpy()
                for each in (
                    batch.text[kept],
                    batch.position[kept],
                    batch.token[kept],
                    batch.activations[layer][kept].float(),
                    row,
                    latent,
                    features[row, latent].float(),
                )
            ]
        )
    prompt = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, np.int64)
    _check_every(prompts, prompt)
    position, token, activations = (
        np.concatenate([part[number] for part in parts]) for number in (1, 2, 3)
    )
    # Batches hold prompts of similar length, in another order than they were given.
    order = np.lexsort((position, prompt))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    starts = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
    token_of = np.concatenate([part[4] + start for part, start in zip(parts, starts, strict=True)])
    latents, values = (np.concatenate([part[number] for part in parts]) for number in (5, 6))
    return PromptReading(
        csc_array((values, (place[token_of], latents)), shape=(len(order), bank.d_sae)),
        prompt[order],
        position[order],
        token_texts(model, token[order]),
        activations[order],
    )


def _check_every(prompts: Sequence[str], prompt: Int[np.ndarray, " tokens"]) -> None:
    absent = np.setdiff1d(np.arange(len(prompts)), prompt)
    if len(absent):
        raise SaeflowError(
            f"the prompt {prompts[absent[0]]!r} has no token of its own; expected one at least."
        )


def input_factor(blocks: Iterable[Float32[np.ndarray, "tokens d_in"]]) -> float:
    """What gives activations a mean square of 1: the study's 4.662 on its corpus (methods/5, 6.1)."""
    total, count = 0.0, 0
    for block in blocks:
        total += float(np.square(block, dtype=np.float64).sum())
        count += block.size
    return float((count / total) ** 0.5) if total else 1.0


def corpus_factor(
    model: LanguageModel, bank: Bank, texts: Sequence[str], *, batch_size: int = 32
) -> float:
    """`input_factor` of a corpus, whose activations are not kept."""
    (site,) = bank.sites
    batches = encode_texts(model, bank, texts, batch_size=batch_size)
    return input_factor(
        batch.activations[site.layer][~batch.begin].float().cpu().numpy() for batch in batches
    )


def unscaled_values(bank: Bank, reading: PromptReading, factor: float) -> csc_array:
    """What the SAE gives on activations without the factor that its training put on them.

    The study trained on scaled activations and searched with raw ones (methods/5, 6.8, item 2). A bank
    that the workflow saves reads raw ones, with the factor in its weights; so the study's mistake is
    to divide by it.

    Parameters
    ----------
    bank : Bank
        As of `read_prompts`.
    reading : PromptReading
        Of some prompts.
    factor : float
        The factor, such as `input_factor` gives it.

    Returns
    -------
    scipy.sparse.csc_array of float32, shape (tokens, d_sae)
    """
    row, latent, value = encode_long(bank, torch.from_numpy(reading.activations) / factor)
    return csc_array((value, (row, latent)), shape=reading.values.shape)


def observations(
    values: csc_array, prompt: Int[np.ndarray, " tokens"], level: Level
) -> Observations:
    """What a level ranks.

    Parameters
    ----------
    values : scipy.sparse.csc_array, shape (tokens, features)
        What features give.
    prompt : numpy.ndarray of int64, shape (tokens,)
        Prompt of each token, ascending from 0 without a gap.
    level : {"document_max", "document_mean", "token"}
        Prompts by a feature's maximum or mean over their tokens, or tokens. The maximum is one with
        its sign, so that a feature that is negative somewhere and 0 elsewhere gives 0.
    """
    if level == "token":
        return Observations(values, prompt)
    sizes = np.bincount(prompt)
    tokens = csr_array(values).tocoo()
    # Tokens of a prompt follow one another, so its cells do in a stable order.
    cell = prompt[tokens.row].astype(np.int64) * values.shape[1] + tokens.col
    order = np.argsort(cell, kind="stable")
    cells, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    owner = cells // values.shape[1]
    if level == "document_max":
        pooled = np.maximum.reduceat(tokens.data[order], starts) if len(cells) else tokens.data
        pooled = np.where(counts < sizes[owner], np.maximum(pooled, 0), pooled)
    else:
        data = tokens.data[order].astype(np.float64)
        pooled = np.add.reduceat(data, starts) / sizes[owner] if len(cells) else data
    made = csc_array(
        (pooled.astype(np.float32), (owner, cells % values.shape[1])),
        shape=(len(sizes), values.shape[1]),
    )
    made.eliminate_zeros()
    return Observations(made, np.arange(len(sizes)))


def read_corpus(
    model: LanguageModel,
    bank: Bank,
    texts: Sequence[str],
    *,
    factor: float | None = None,
    batch_size: int = 32,
) -> CorpusStatistics:
    """What features give on a corpus, for scores that scale by it; the corpus is read twice.

    Parameters
    ----------
    model, bank
        As of `read_prompts`.
    texts : sequence of str
        Texts of the corpus.
    factor : float, optional
        Divides activations, as `unscaled_values` does; they are read as they are if not given.
    batch_size : int
        Most texts per forward pass.
    """
    (site,) = bank.sites
    sae = bank.to(model.device)

    def batches() -> Iterable[csc_array]:
        for batch in encode_texts(model, bank, texts, batch_size=batch_size):
            x = batch.activations[site.layer][~batch.begin].float()
            row, latent, value = encode_long(sae, x / (1.0 if factor is None else factor))
            yield csc_array((value, (row, latent)), shape=(len(x), bank.d_sae))

    return corpus_statistics(batches)
