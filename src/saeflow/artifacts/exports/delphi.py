"""Explained features as Delphi (github.com/EleutherAI/delphi) stores them.

Layout, read in delphi/latents/cache.py, delphi/latents/loader.py and delphi/__main__.py in November 2026::

    latents/{module}/{first}_{last}.safetensors   locations [n, 3]: context, position, latent - first;
                                                  activations [n]; tokens [contexts, length]
    latents/{module}/config.json                  fields of CacheConfig, and model_name
    explanations/{module}_latent{index}.txt       a JSON string
    scores/{detection,fuzz}/{module}_latent{index}.txt   a JSON list, one object per context shown
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from safetensors.numpy import save_file

from saeflow.artifacts.exports.explained import ExplainedFeature, Row, Site, plain_floats
from saeflow.artifacts.files import atomic_folder

SCORERS = {"detection": "detection", "fuzzing": "fuzz"}
"""Delphi's names of folders, by ours of methods."""
NOT_A_NEIGHBOUR = -1.0
"""Delphi's distance of a silent context that no neighbour was asked for."""
README = """\
Features explained by saeflow, in the layout of Delphi (github.com/EleutherAI/delphi).

latents/ holds the contexts that the features were explained from and scored on, and nothing else of the
corpus. What a feature does on another one's contexts was not stored: that it has no entry there does not
mean that it is silent. Non-activating examples are those of scores/, not what Delphi would draw here.
"""


def write_delphi(
    sites: Mapping[Site, Sequence[ExplainedFeature]], folder: Path, *, model: str
) -> int:
    """Write explained features for Delphi, one folder for each dictionary and seed.

    Parameters
    ----------
    sites : mapping of Site to sequence of ExplainedFeature
        As `saeflow.artifacts.exports.explained.read_explained` reads them.
    folder : Path
        Where to write; each ``{dictionary}-seed{seed}`` inside is replaced.
    model : str
        Name or folder of the model; Delphi loads its tokenizer.

    Returns
    -------
    int
        Features written.
    """
    runs: dict[str, list[Site]] = {}
    for site in sites:
        runs.setdefault(f"{site.dictionary}-seed{site.seed}", []).append(site)
    for name, some in runs.items():
        with atomic_folder(folder / name) as partial:
            _write(partial / "README.md", README)
            for site in some:
                _write_module(partial, f"layers.{site.layer}", sites[site], model)
    return sum(map(len, sites.values()))


def _write_module(
    folder: Path, module: str, features: Sequence[ExplainedFeature], model: str
) -> None:
    latents = folder / "latents" / module
    latents.mkdir(parents=True)
    first, last = features[0].feature, features[-1].feature
    tensors = _latents(features)
    save_file(tensors, latents / f"{first}_{last}.safetensors")
    length = max((len(row["tokens"]) for each in features for row in each.contexts), default=0)
    contexts = sum(len(each.contexts) for each in features)
    _write_json(latents / "config.json", _config(model, length, contexts))
    for each in features:
        name = f"{module}_latent{each.feature}.txt"
        _write_json(folder / "explanations" / name, each.explanation["explanation"])
        for method, scorer in SCORERS.items():
            shown = list(_outputs(each, method))
            if shown:
                _write_json(folder / "scores" / scorer / name, shown)


def _latents(features: Sequence[ExplainedFeature]) -> dict[str, Shaped[np.ndarray, ...]]:
    """Where features fire in their own contexts, one row of tokens for each context."""
    first = features[0].feature
    places, values, ids = [np.zeros((0, 3), np.int64)], [np.zeros(0, np.float32)], list[Any]()
    for each in features:
        for row in each.contexts:
            activations = np.array(row["activations"], np.float32)
            position = np.flatnonzero(activations)
            where = [np.full(len(position), len(ids)), position]
            places.append(np.stack([*where, np.full(len(position), each.feature - first)], 1))
            values.append(activations[position])
            ids.append(row["token_ids"])
    locations, activations = np.concatenate(places), np.concatenate(values)
    largest = int(locations[:, [0, 2]].max(initial=0))
    found: dict[str, Shaped[np.ndarray, ...]] = {
        "locations": locations.astype(np.uint16 if largest < 2**16 else np.uint32),
        "activations": _halved(activations),
    }
    if ids and all(each is not None for each in ids):
        found["tokens"] = _padded(ids)
    return found


def _halved(values: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """float16, as Delphi stores, unless a value would become 0 or infinite."""
    with np.errstate(over="ignore", under="ignore"):
        halved = values.astype(np.float16)
    return halved if (np.isfinite(halved) & (halved != 0)).all() else values


def _padded(ids: Sequence[Sequence[int]]) -> Int[np.ndarray, "contexts length"]:
    """One row for each context; shorter ones end in zeros, on which nothing fires."""
    found = np.zeros((len(ids), max(map(len, ids))), np.int64)
    for number, row in enumerate(ids):
        found[number, : len(row)] = row
    return found


def _config(model: str, length: int, contexts: int) -> dict[str, Any]:
    return {
        "dataset_repo": "",
        "dataset_split": "",
        "dataset_name": "",
        "dataset_column": "text",
        "batch_size": max(contexts, 1),
        "cache_ctx_len": length,
        "n_tokens": length * contexts,
        "n_splits": 1,
        "model_name": model,
    }


def _outputs(each: ExplainedFeature, method: str) -> Iterator[dict[str, Any]]:
    """What was said of each context, in the fields of Delphi's ClassifierOutput."""
    shown: dict[tuple[str, int], Row] = {
        (row["kind"], row["example"]): row for row in each.contexts if row["set"] == "test"
    }
    for verdict in each.verdicts:
        if verdict["method"] != method:
            continue
        row = shown[verdict["of_kind"], verdict["example"]]
        said, right = verdict["verdict"], verdict["kind"] == "activating"
        silent = row["quantile"] is None
        yield {
            "str_tokens": row["tokens"],
            "activations": plain_floats(row["activations"]),
            "distance": NOT_A_NEIGHBOUR if silent else row["quantile"],
            "activating": right,
            "prediction": said,
            "probability": None,
            "correct": None if said is None else said == right,
        }


def _write_json(path: Path, content: Any) -> None:
    _write(path, json.dumps(content, ensure_ascii=False))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
