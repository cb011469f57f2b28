"""Where a table comes from, as sorted key-value metadata (design, section 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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
