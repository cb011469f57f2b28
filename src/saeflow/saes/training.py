"""From a capture to a trained bank with its quality."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.dictionaries import FIXED_CONTROLS, DictionarySettings
from saeflow.saes.bank import Bank, Recipe
from saeflow.saes.fixed import fixed_bank
from saeflow.saes.quality import SiteMetric, bank_quality
from saeflow.saes.sites import bank_sites, read_sites
from saeflow.saes.storage import save_bank, weight_digests
from saeflow.saes.train import train_bank


@dataclass(frozen=True)
class TrainedBank:
    """A bank with the quality of its SAEs.

    Attributes
    ----------
    bank : Bank
        The SAEs.
    quality : list of (split, SiteMetric)
        How well each reconstructs, on train, validation and all problems.
    control : str
        ``none`` for the measurement itself, else the control's name.
    """

    bank: Bank
    quality: list[tuple[str, SiteMetric]]
    control: str


def train_from_capture(
    capture: Path,
    problems: pa.Table,
    settings: DictionarySettings,
    seed: int,
    device: torch.device,
) -> TrainedBank:
    """Train one SAE per layer and step of the recipe on captured activations.

    SAEs of controls that are not trained are made from the same activations.

    Parameters
    ----------
    capture : Path
        Folder of the capture.
    problems : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
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
    numbers = problems["problem"].to_numpy()
    is_train = np.array(problems["split"].to_pylist()) == "train"
    sites = bank_sites(capture, settings.layer_convention, settings.steps, settings.layers)
    vectors = read_sites(capture, settings.layer_convention, sites, numbers)
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
    rows = [
        {
            "dictionary": dictionary,
            "seed": seed,
            "control": trained.control,
            "layer": metric.site.layer,
            "step": metric.site.step,
            "split": split,
            "metric": metric.metric,
            "value": metric.value if np.isfinite(metric.value) else None,
            "ci_low": None,
            "ci_high": None,
            "interval": "none",
            "n": metric.n,
        }
        for split, metric in trained.quality
    ]
    digests = json.dumps(weight_digests(folder), sort_keys=True)
    provenance = replace(provenance, extra={**provenance.extra, "weights_sha256": digests})
    write_table(pa.Table.from_pylist(rows), folder / "quality.parquet", QUALITY, provenance)
