"""The configuration as rows, and the models and data sets that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from saeflow.config.root import Config

MODEL_FOLDERS = ("capture", "evaluation", "saes", "gsm8k", "hierarchy", "decimal_bug")
"""Below results/, those whose next folder is a model; what lies there carries its revision."""


def configuration_rows(config: Config) -> list[dict[str, str]]:
    """Every key of the configuration with its value, defaults included.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.run.RUN_CONFIGURATION`, sorted by key.
    """
    found = _leaves(config.model_dump(mode="json"), "")
    rows = [{"key": key, "value": json.dumps(value, ensure_ascii=False)} for key, value in found]
    return sorted(rows, key=lambda row: row["key"])


def source_rows(config: Config, artifacts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Models and data sets of the configuration, with the revisions that results carry.

    Parameters
    ----------
    config : Config
        The validated configuration.
    artifacts : sequence of mapping
        Columns of `saeflow.artifacts.run.RUN_ARTIFACTS`.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.run.RUN_SOURCES`.
    """
    models = dict(_revisions(artifacts, MODEL_FOLDERS, "model_revision"))
    datasets = dict(_revisions(artifacts, ("datasets",), "dataset_revision"))
    rows = []
    for kind, blocks, found in (
        ("data set", config.datasets, datasets),
        ("model", config.models, models),
    ):
        for name, block in sorted(blocks.items()):
            settings = block.model_dump(mode="json")
            rows.append(
                {
                    "kind": kind,
                    "name": name,
                    "origin": _origin(settings),
                    "revision": found.get(name),
                    "seed": _seed(settings),
                }
            )
    return rows


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _revisions(
    artifacts: Sequence[Mapping[str, Any]], folders: Sequence[str], column: str
) -> Iterator[tuple[str, str]]:
    """Name and revision of each thing that a folder of results is about; one of several is none."""
    found: dict[str, set[str]] = {}
    for row in artifacts:
        parts = row["path"].split("/")
        told = row[column]
        if len(parts) > 3 and parts[1] in folders and told and row["rule"] is not None:
            found.setdefault(parts[2], set()).add(told)
    for name, told in found.items():
        if len(told) == 1:
            yield name, next(iter(told))


def _origin(settings: Mapping[str, Any]) -> str:
    kind = settings.get("source") or settings.get("weights")
    told = [str(kind)]
    for key in ("of", "path", "repo", "revision", "file"):
        used = key != "path" or kind != "fresh"
        if used and settings.get(key):
            told.append(f"{key} {settings[key]}")
    return ", ".join(told)


def _seed(settings: Mapping[str, Any]) -> int | None:
    """Seed of generated content or fresh weights; what is read from elsewhere has none."""
    read = {settings.get("source"), settings.get("weights")} & {"path", "hub"}
    seed = settings.get("seed")
    return None if read or seed is None else int(seed)
