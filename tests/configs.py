"""The default configuration as plain values, and small changes to it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

GONE = object()
"""As a value: delete the key."""


def read_yaml(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def merged(under: Any, over: Any) -> Any:
    """What Snakemake makes of two configuration files: blocks merged, the rest replaced."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return copy.deepcopy(over)
    keys = [*under, *(key for key in over if key not in under)]
    return {
        key: merged(under.get(key), over[key]) if key in over else copy.deepcopy(under[key])
        for key in keys
    }


def default_values() -> dict[str, Any]:
    return read_yaml(ROOT / "config.yaml")


def fresh_values() -> dict[str, Any]:
    """The default configuration with fresh weights and nothing else, as most tests need it."""
    values = default_values()
    values["models"] = {name: {"weights": "fresh", "family": name} for name in ("llama", "gpt2")}
    for study in ("gsm8k", "hierarchy", "decimal_bug", "specialists", "scaling"):
        runs = values["studies"][study]["published"]["models"]
        for name in set(runs) - set(values["models"]):
            del runs[name]
    del values["reference_models"]
    return values


def changed(changes: dict[str, Any], values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Set, add or delete values by their dotted keys, in a copy; without values, of fresh ones."""
    values = fresh_values() if values is None else copy.deepcopy(values)
    for key, value in changes.items():
        *parents, last = key.split("/" if "/" in key else ".")
        block = values
        for parent in parents:
            block = block.setdefault(parent, {})
        if value is GONE:
            del block[last]
        else:
            block[last] = value
    return values
