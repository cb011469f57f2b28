"""From a capture to a trained bank with its quality."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saeflow.artifacts.catalog import ANSWERS, PROBLEMS, QUALITY, TEXT_TOKENS, TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.tables import write_table
from saeflow.artifacts.token_captures import read_text_tokens, read_token_layer
from saeflow.config.dictionaries import FIXED_CONTROLS, DictionarySettings
from saeflow.saes.bank import EVERY_TOKEN, Bank, Recipe, Site
from saeflow.saes.fixed import fixed_bank
from saeflow.saes.quality import SiteMetric, bank_quality
from saeflow.saes.sites import bank_sites, read_sites, token_sites
from saeflow.saes.storage import bank_digests, save_bank
from saeflow.saes.train import train_bank


@dataclass(frozen=True)
class TrainedBank:
    """A bank with the quality of its SAEs.

    Attributes
    ----------
    bank : Bank
        The SAEs.
    quality : list of (split, SiteMetric)
        How well each reconstructs, on train, validation and all examples.
    control : str
        ``none`` for the measurement itself, else the control's name.
    """

    bank: Bank
    quality: list[tuple[str, SiteMetric]]
    control: str


class Sources(NamedTuple):
    """What a recipe's SAEs are trained on.

    Attributes
    ----------
    examples : Artifact
        Table of the examples with their split: problems or texts.
    records : Artifact
        Table of what the model left beside its activations: answers or tokens.
    """

    examples: Artifact
    records: Artifact


def sources_of(settings: DictionarySettings) -> Sources:
    """Tables beside the activations that a recipe reads."""
    return Sources(PROBLEMS, ANSWERS) if settings.hook is None else Sources(TEXTS, TEXT_TOKENS)


def train_from_capture(
    capture: Path,
    examples: pa.Table,
    settings: DictionarySettings,
    seed: int,
    device: torch.device,
) -> TrainedBank:
    """Train one SAE per site of the recipe on captured activations.

    Sites are each layer and thought step, all in memory at a time, or of tokens of texts each
    block, one in memory at a time; tokens that a tokenizer puts before a text are left out. SAEs of
    controls that are not trained are made from the same activations.

    Parameters
    ----------
    capture : Path
        Folder of the capture.
    examples : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`, or of `TEXTS` where the recipe has a hook.
    settings : DictionarySettings
        The recipe.
    seed : int
        Seed of the SAEs.
    device : torch.device
        Where to train.

    Returns
    -------
    TrainedBank
        SAEs and their quality.

    Raises
    ------
    SaeflowError
        If the model lacks a layer of the recipe, has fewer dimensions than k asks for, or the
        training fails.
    """
    train = _of_thoughts if settings.hook is None else _of_tokens
    return train(capture, examples, settings, seed, device)


def _of_thoughts(
    capture: Path,
    problems: pa.Table,
    settings: DictionarySettings,
    seed: int,
    device: torch.device,
) -> TrainedBank:
    numbers = problems["problem"].to_numpy()
    is_train = np.array(problems["split"].to_pylist()) == "train"
    sites = bank_sites(capture, settings.layer_convention, settings.steps, settings.layers)
    vectors = read_sites(capture, settings.layer_convention, sites, numbers)
    return _train_sites(vectors, sites, is_train, settings, seed, device)


def _of_tokens(
    capture: Path,
    texts: pa.Table,
    settings: DictionarySettings,
    seed: int,
    device: torch.device,
) -> TrainedBank:
    assert settings.hook is not None
    tokens = read_text_tokens(capture)
    wanted = ~tokens["begin"].to_numpy()
    in_train = texts.filter(pc.equal(texts["split"], "train"))["text"].to_numpy()
    is_train = np.isin(tokens["text"].to_numpy()[wanted], in_train)
    parts = []
    for site in token_sites(capture, settings.hook, settings.layers):
        rows = read_token_layer(capture, settings.hook, site.layer, tokens, wanted)
        vectors = torch.from_numpy(rows).unsqueeze(0)
        parts.append(_train_sites(vectors, [site], is_train, settings, seed, device))
    banks = [part.bank for part in parts]
    weights = {name: torch.cat([each.weights[name] for each in banks]) for name in banks[0].weights}
    sites = tuple(site for each in banks for site in each.sites)
    quality = [measured for part in parts for measured in part.quality]
    return TrainedBank(Bank(banks[0].recipe, sites, **weights), quality, parts[0].control)


def _train_sites(
    vectors: Float[Tensor, "sites rows d_in"],
    sites: Sequence[Site],
    is_train: Bool[np.ndarray, " rows"],
    settings: DictionarySettings,
    seed: int,
    device: torch.device,
) -> TrainedBank:
    recipe = Recipe.from_settings(settings, vectors.shape[2])
    rows = torch.from_numpy(is_train) if settings.rows == "train" else slice(None)
    if settings.control in FIXED_CONTROLS:
        bank = fixed_bank(vectors[:, rows], sites, recipe, seed=seed)
    else:
        bank = train_bank(vectors[:, rows], sites, recipe, seed=seed, device=device)
    quality = []
    for split, mask in (("train", is_train), ("validation", ~is_train), ("all", is_train | True)):
        if mask.any():
            chosen = vectors[:, torch.from_numpy(mask)]
            quality += [(split, metric) for metric in bank_quality(bank, chosen, device=device)]
    return TrainedBank(bank, quality, settings.control or "none")


def write_bank(
    trained: TrainedBank, folder: Path, dictionary: str, seed: int, provenance: Provenance
) -> None:
    """Write SAELens folders and their quality table, which carries the weights' checksums."""
    save_bank(trained.bank, folder)
    keys: dict[str, str | int] = {"dictionary": dictionary, "seed": seed}
    keys["control"] = trained.control
    write_quality(trained.quality, folder, keys, provenance)


def write_quality(
    quality: Sequence[tuple[str, SiteMetric]],
    folder: Path,
    keys: Mapping[str, str | int],
    provenance: Provenance,
) -> None:
    """Write the quality table of the SAEs that a folder holds, with their checksums.

    Parameters
    ----------
    quality : sequence of (split, SiteMetric)
        How well each reconstructs.
    folder : Path
        Of the bank.
    keys : mapping
        Values of the columns dictionary, seed and control.
    provenance : Provenance
        Where it comes from.
    """
    rows = [
        {
            **keys,
            "layer": metric.site.layer,
            "step": None if metric.site.step == EVERY_TOKEN else metric.site.step,
            "split": split,
            "metric": metric.metric,
            "value": metric.value if np.isfinite(metric.value) else None,
            "ci_low": None,
            "ci_high": None,
            "interval": "none",
            "n": metric.n,
        }
        for split, metric in quality
    ]
    digests = json.dumps(bank_digests(folder), sort_keys=True)
    provenance = replace(provenance, extra={**provenance.extra, "files_sha256": digests})
    write_table(pa.Table.from_pylist(rows), folder / "quality.parquet", QUALITY, provenance)
