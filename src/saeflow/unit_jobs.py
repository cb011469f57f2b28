"""What scripts need whose work is done in units, by one job or by several that share it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from saeflow.artifacts.digest import content_digest
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
    made = [Path(path) for path in getattr(snakemake.input, "shards", [])]
    # Numbers differ in their last bits between kinds of devices.
    fingerprint = " ".join(
        (
            snakemake.params.code,
            resolve_device().type,
            content_digest(_tables(snakemake.input)),
            str(provenance.metadata()),
        )
    )
    target = Path(snakemake.output[0]).with_suffix("")
    return Units(target, fingerprint, provenance, made, portion)


def _tables(given: Any) -> Iterator[Path]:
    """Inputs that decide what units give; what they say they were made from does not tell it all.

    The model is left out: it made the SAEs and tables.
    """
    for name, paths in sorted(given.items()):
        if name not in ("model", "shards"):
            yield from map(Path, [paths] if isinstance(paths, str) else paths)
