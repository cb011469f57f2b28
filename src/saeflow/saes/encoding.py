"""From a capture and a bank to feature activations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int

from saeflow.artifacts.captures import records_path
from saeflow.artifacts.catalog import ANSWERS, QUALITY
from saeflow.artifacts.damage import damaged
from saeflow.artifacts.features import shape_metadata
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import read_schema, read_table
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
    path = folder / "quality.parquet"
    quality = read_table(path, QUALITY, columns=["dictionary", "seed"])
    named = {"dictionary": folder.parent.name, "seed": folder.name.removeprefix("seed")}
    for key, expected in named.items() if folder.name.startswith("seed") else ():
        found = {str(each) for each in quality[key].unique().to_pylist()} - {expected}
        if found:
            raise damaged(path, f"is of the {key} {sorted(found)[0]}; expected {expected}")
    digests = json.loads(metadata_of(quality.schema).get("files_sha256", "{}"))
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
    _check_model(capture, bank_folder)
    bank = open_bank(bank_folder)
    layers = sorted({site.layer for site in bank.sites})
    for layer in layers:
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
        shape = shape_metadata([site.step for site in sites], bank.d_sae, layers)
        yield layer, pa.concat_tables(parts), shape


def _check_model(capture: Path, bank: Path) -> None:
    """Refuse SAEs of another model than the capture's, which would fit if its width is the same."""
    captured, trained = (
        metadata_of(read_schema(path)[1]).get("model_revision")
        for path in (records_path(capture, ANSWERS), bank / "quality.parquet")
    )
    if captured != trained:
        raise damaged(bank, f"is of the model {trained}, but {capture} of the model {captured}")
