"""What scripts need whose work is done in units, by one job or by several that share it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.units import Units
from saeflow.device import resolve_device
from saeflow.shards import shard_range


def open_units(snakemake: Any, provenance: Provenance) -> Units:
    """Units that a job of this rule has kept before, or that its shards have made.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake gives to a script.
    provenance : Provenance
        Of what is made.
    """
    item = getattr(snakemake.wildcards, "scatteritem", None)
    portion = None if item is None else partial(shard_range, item)
    bank = getattr(snakemake.input, "bank", None)
    made = [Path(path) for path in getattr(snakemake.input, "shards", [])]
    # Tables say what they were made from, and SAEs carry the checksums of their weights; numbers
    # differ in their last bits between kinds of devices.
    weights = "" if bank is None else file_digest(Path(bank, "quality.parquet"))
    fingerprint = (
        f"{snakemake.params.code} {resolve_device().type} {weights} {provenance.metadata()}"
    )
    target = Path(snakemake.output[0]).with_suffix("")
    return Units(target, fingerprint, provenance, made, portion)
