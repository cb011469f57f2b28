"""From a capture to a bank, and from a bank to feature activations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.features import shape_metadata
from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.models.conventions import LayerConvention
from saeflow.saes.bank import Bank, Recipe
from saeflow.saes.encode import encode_long
from saeflow.saes.quality import SiteMetric, bank_quality
from saeflow.saes.sites import bank_sites, read_sites
from saeflow.saes.storage import load_bank, save_bank, weight_digests
from saeflow.saes.train import fixed_bank, train_bank


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
        ``none`` for trained SAEs, else the control's name.
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
    """Train one SAE per layer and step on captured activations.

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
    """
    numbers = problems["problem"].to_numpy()
    is_train = np.array(problems["split"].to_pylist()) == "train"
    sites = bank_sites(capture, settings.layer_convention, settings.steps)
    vectors = read_sites(capture, settings.layer_convention, sites, numbers)
    d_in = vectors.shape[2]
    recipe = Recipe.from_settings(settings, d_in)
    if settings.control == "raw_neurons":
        bank = fixed_bank(recipe, sites, d_in)
    else:
        rows = torch.from_numpy(is_train) if settings.rows == "train" else slice(None)
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


def open_bank(folder: Path) -> Bank:
    """Load a bank that the workflow wrote, its weights held against their checksums.

    Raises
    ------
    SaeflowError
        If a file is missing or not what it was when it was written.
    """
    quality = read_table(folder / "quality.parquet", QUALITY, columns=[])
    digests = json.loads(metadata_of(quality.schema).get("weights_sha256", "{}"))
    return load_bank(folder, digests=digests, sites=None)


def encode_layers(
    capture: Path,
    bank_folder: Path,
    problems: pa.Table,
    convention: LayerConvention,
    device: torch.device,
) -> Iterator[tuple[int, pa.Table, dict[str, str]]]:
    """Encode the analysed problems, one layer at a time.

    Yields
    ------
    layer : int
        Layer number.
    table : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.FEATURES`.
    shape : dict of str to str
        Steps and d_sae, for the table's provenance.
    """
    bank = open_bank(bank_folder)
    numbers = problems["problem"].to_numpy()[problems["analysed"].to_numpy()]
    for layer in sorted({site.layer for site in bank.sites}):
        sites = [site for site in bank.sites if site.layer == layer]
        vectors = read_sites(capture, convention, sites, numbers)
        parts = []
        for site, x in zip(sites, vectors, strict=True):
            rows, latents, values = encode_long(bank.select([site]).to(device), x)
            parts.append(
                pa.table(
                    {
                        "problem": numbers[rows].astype(np.int32),
                        "layer": np.full(len(rows), layer, np.int16),
                        "step": np.full(len(rows), site.step, np.int16),
                        "feature": latents,
                        "value": values,
                    }
                )
            )
        shape = shape_metadata([site.step for site in sites], bank.d_sae)
        yield layer, pa.concat_tables(parts), shape
