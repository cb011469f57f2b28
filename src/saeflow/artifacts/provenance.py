"""Where a table comes from, as sorted key-value metadata (design, section 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

import saeflow

PREFIX = "saeflow."


@dataclass(frozen=True)
class Provenance:
    """What a table was made from; no clocks, no paths, no git hashes.

    Attributes
    ----------
    config : str
        Digest of the configuration block that the stage read.
    seed : int or None
        Seed of the stage.
    dataset_revision, model_revision : str or None
        Digest or commit of what was read.
    packages : tuple of str
        Distributions whose versions decide the numbers.
    extra : mapping of str to str
        Whatever else belongs to the artifact, such as digests of weights.
    """

    config: str
    seed: int | None = None
    dataset_revision: str | None = None
    model_revision: str | None = None
    packages: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """Return the key-value pairs, sorted by key."""
        pairs = {"config": self.config, **self.extra}
        for key in ("seed", "dataset_revision", "model_revision"):
            value = getattr(self, key)
            if value is not None:
                pairs[key] = str(value)
        for package in self.packages:
            pairs[f"version.{package}"] = package_version(package)
        pairs["version.saeflow"] = saeflow.__version__
        return {PREFIX + key: pairs[key] for key in sorted(pairs)}


def metadata_of(schema: pa.Schema) -> dict[str, str]:
    """Provenance of a file, without the prefix, sorted by key."""
    start = PREFIX.encode()
    return {
        key.removeprefix(start).decode(errors="replace"): value.decode(errors="replace")
        for key, value in sorted((schema.metadata or {}).items())
        if key.startswith(start)
    }


def inherit(
    *sources: pa.Table | pa.Schema,
    config: str | None = None,
    seed: int | None = None,
    model_revision: str | None = None,
    packages: tuple[str, ...] = (),
    extra: Mapping[str, str] | None = None,
) -> Provenance:
    """Provenance of what is made from other tables.

    Parameters
    ----------
    *sources : pyarrow.Table or pyarrow.Schema
        What it is made from; a later one fills what an earlier one lacks.
    config : str, optional
        Digest of the stage's own configuration; without one, the first source's.
    seed, model_revision, packages, extra
        What the stage adds (see `Provenance`).

    Returns
    -------
    Provenance
        Revisions of the sources, and the packages that decided any of them.
    """
    merged: dict[str, str] = {}
    for source in sources:
        schema = source.schema if isinstance(source, pa.Table) else source
        merged = {**metadata_of(schema), **merged}
    inherited = {key.removeprefix("version.") for key in merged if key.startswith("version.")} - {
        saeflow.__name__
    }
    return Provenance(
        config=config or merged.get("config", ""),
        seed=seed if seed is not None else _integer(merged.get("seed")),
        dataset_revision=merged.get("dataset_revision"),
        model_revision=model_revision or merged.get("model_revision"),
        packages=tuple(sorted(inherited | set(packages))),
        extra=extra or {},
    )


def combine(*sources: pa.Table | pa.Schema, config: str | None = None) -> Provenance:
    """Provenance of a table over several runs, which claims of none what is true of another.

    Parameters
    ----------
    *sources : pyarrow.Table or pyarrow.Schema
        What it is made from, in any order.
    config : str, optional
        Digest of the stage's own configuration; without one, the sources'.

    Returns
    -------
    Provenance
        Digests and revisions of all sources, sorted and joined with ``+`` where they differ; a seed
        only where they share it.
    """
    found = [metadata_of(each.schema if isinstance(each, pa.Table) else each) for each in sources]

    def joined(key: str) -> str | None:
        parts = {part for pairs in found for part in pairs.get(key, "").split("+")}
        return "+".join(sorted(parts - {""})) or None

    seeds = {pairs.get("seed") for pairs in found}
    return replace(
        inherit(*sources),
        config=config or joined("config") or "",
        seed=_integer(seeds.pop()) if len(seeds) == 1 else None,
        dataset_revision=joined("dataset_revision"),
        model_revision=joined("model_revision"),
    )


def _integer(text: str | None) -> int | None:
    return None if text is None else int(text)


def package_version(name: str) -> str:
    """Version of an installed distribution; ``absent`` where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def config_digest(block: Any) -> str:
    """Digest of a plain configuration block, insensitive to the order of its keys.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    text = json.dumps(block, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
