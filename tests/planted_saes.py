"""SAEs that are known to fit a model at one place, written as fetched releases are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.released import RELEASED, RELEASED_FILE
from saeflow.artifacts.tables import write_table
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.storage import bank_digests, save_bank


def principal_sae(x: Tensor, hook: Any, layer: int, rank: int) -> Bank:
    """Both halves of each principal direction: whatever lies in those directions comes back exactly.

    Every token has one latent of each pair, so L0 is the rank.
    """
    mean = x.mean(0)
    directions = torch.linalg.svd(x - mean, full_matrices=False)[2][:rank].T
    W_enc = torch.cat([directions, -directions], 1)
    recipe = Recipe("standard", 2 * rank, 2 * rank, hook=hook)
    weights = W_enc, -(mean @ W_enc), W_enc.T.contiguous(), mean
    return Bank(recipe, (Site(layer),), *(each[None] for each in weights))


def thresholded(bank: Bank, x: Tensor, share: float) -> Bank:
    """The same, but with a threshold that a share of what was active passes; so it knows its unit."""
    pre = bank.encode(x[None])[0]
    threshold = pre[pre > 0].quantile(1 - share).repeat(1, bank.d_sae)
    recipe = replace(bank.recipe, architecture="jumprelu")
    return Bank(recipe, bank.sites, *bank.weights.values(), threshold)


def changed(bank: Bank, **weights: Tensor) -> Bank:
    return Bank(bank.recipe, bank.sites, **{**bank.weights, **weights})


def write_released(bank: Bank, folder: Path, **told: Any) -> Path:
    """A folder as `saeflow.saes.released.fetch` leaves it; `told` is what the release says."""
    save_bank(bank, folder)
    rows = [_row(bank, site, told) for site in bank.sites]
    digests = {"files_sha256": json.dumps(bank_digests(folder), sort_keys=True)}
    table = pa.Table.from_pylist(rows, RELEASED.schema())
    write_table(table, folder / RELEASED_FILE, RELEASED, Provenance("c", seed=0, extra=digests))
    return folder


def _row(bank: Bank, site: Site, told: Mapping[str, Any]) -> dict[str, Any]:
    row = dict.fromkeys(RELEASED.column_names())
    row |= {"layer": site.layer, "hook": bank.recipe.hook, "release": "planted", "path": site.name}
    row |= {"sae_id": f"blocks.{site.layer}", "architecture": bank.recipe.architecture}
    row |= {"d_in": bank.d_in, "d_sae": bank.d_sae, "centred": False, "prepend_bos": True}
    return row | {"context_size": 128} | dict(told)
