"""From a capture and a bank to feature activations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.features import shape_metadata
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import read_table
from saeflow.models.conventions import LayerConvention
from saeflow.saes.bank import Bank
from saeflow.saes.encode import encode_long
from saeflow.saes.sites import read_sites
from saeflow.saes.storage import load_bank


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
    numbers: Int[np.ndarray, " problems"],
    convention: LayerConvention,
    device: torch.device,
) -> Iterator[tuple[int, pa.Table, dict[str, str]]]:
    """Encode problems, given by their running numbers in ascending order, one layer at a time.

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
