"""Explained features in the layout that Neuronpedia imports and exports.

Layout, read at docs.neuronpedia.org/api-and-data/exports, in SAEDashboard's neuronpedia_export.py and in
neuronpedia-utils' db_models in November 2026::

    {model}/{layer}-{set}/model.jsonl, release.jsonl, source.jsonl, sourceset.jsonl
    {model}/{layer}-{set}/features/batch-{number}.jsonl.gz
    {model}/{layer}-{set}/activations/batch-{number}.jsonl.gz
    {model}/{layer}-{set}/explanations/batch-{number}.jsonl.gz

Each line is one JSON object with the fields of Neuronpedia's tables. Nothing is uploaded.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saeflow.artifacts.exports.explained import ExplainedFeature, Row, Site, plain_floats
from saeflow.artifacts.files import atomic_folder
from saeflow.errors import SaeflowError

BATCH = 1024
"""Features in one file."""
CREATED = "1970-01-01T00:00:00"
"""In place of a clock, so that the same tables give the same bytes."""
CREATOR = "saeflow"
NEIGHBOURS = (
    "neuron_alignment_indices",
    "neuron_alignment_values",
    "neuron_alignment_l1",
    "correlated_neurons_indices",
    "correlated_neurons_pearson",
    "correlated_neurons_l1",
    "correlated_features_indices",
    "correlated_features_pearson",
    "correlated_features_l1",
)
"""Lists of a feature's neighbours, which the tables do not hold."""


class Logits(NamedTuple):
    """Tokens whose logits a feature's direction raises and lowers most.

    Attributes
    ----------
    raised, lowered : sequence of (str, float)
        Token and change of its logit, the largest first.
    """

    raised: Sequence[tuple[str, float]] = ()
    lowered: Sequence[tuple[str, float]] = ()


def write_neuronpedia(
    sites: Mapping[Site, Sequence[ExplainedFeature]],
    folder: Path,
    *,
    model: str,
    hook: str = "resid_post",
    logits: Mapping[tuple[Site, int], Logits] | None = None,
) -> int:
    """Write explained features for Neuronpedia, one source for each SAE.

    Parameters
    ----------
    sites : mapping of Site to sequence of ExplainedFeature
        As `saeflow.artifacts.exports.explained.read_explained` reads them.
    folder : Path
        Where to write; each ``{model}/{layer}-{dictionary}-seed{seed}`` inside is replaced.
    model : str
        Id of the model on Neuronpedia; it becomes part of a path.
    hook : str
        What the SAEs read, in our words.
    logits : mapping of (Site, int) to Logits, optional
        By site and feature: what goes to pos_str and neg_str; by default nothing.

    Returns
    -------
    int
        Features written.

    Raises
    ------
    SaeflowError
        If the model's id is no name of a folder.
    """
    if not model or "/" in model or "\\" in model or model.startswith("."):
        raise SaeflowError(
            f"{model!r} is no id of a model; expected a name that a folder may have, such as gpt2-small."
        )
    for site, features in sites.items():
        name = f"{site.dictionary}-seed{site.seed}"
        source = f"{site.layer}-{name}"
        with atomic_folder(folder / model / source) as partial:
            for file, row in _heads(model, source, name, hook, features).items():
                (partial / file).write_text(_line(row), encoding="utf-8")
            for start in range(0, len(features), BATCH):
                some = features[start : start + BATCH]
                tables = {
                    "features": [
                        _feature(each, model, source, (logits or {}).get((site, each.feature)))
                        for each in some
                    ],
                    "activations": [
                        row for each in some for row in _activations(each, model, source)
                    ],
                    "explanations": [
                        _explanation(each, model, source)
                        for each in some
                        if each.explanation["explanation"]
                    ],
                }
                for kind, rows in tables.items():
                    _write_lines(partial / kind / f"batch-{start // BATCH}.jsonl.gz", rows)
    return sum(map(len, sites.values()))


def _heads(
    model: str, source: str, name: str, hook: str, features: Sequence[ExplainedFeature]
) -> dict[str, dict[str, Any]]:
    """What model, release, set and source are."""
    made = {"creatorId": CREATOR, "createdAt": CREATED}
    lengths = [len(row["tokens"]) for each in features for row in each.contexts]
    return {
        "model.jsonl": {
            "id": model,
            "instruct": False,
            "displayNameShort": model,
            "displayName": model,
            "layers": 0,
            "neuronsPerLayer": 0,
            "inferenceEnabled": False,
            "visibility": "PRIVATE",
            "owner": "",
            "updatedAt": CREATED,
            **made,
        },
        "release.jsonl": {
            "name": name,
            "description": "Features explained by saeflow.",
            "descriptionShort": "Features explained by saeflow.",
            "creatorName": CREATOR,
            "creatorNameShort": CREATOR,
            "urls": [],
            "visibility": "PRIVATE",
            "isNewUi": False,
            "featured": False,
            **made,
        },
        "sourceset.jsonl": {
            "modelId": model,
            "name": name,
            "description": f"SAEs of {hook}.",
            "type": "",
            "creatorName": CREATOR,
            "releaseName": name,
            "urls": [],
            "hasDashboards": True,
            "visibility": "PRIVATE",
            **made,
        },
        "source.jsonl": {
            "id": source,
            "modelId": model,
            "setName": name,
            "hasDashboards": True,
            "inferenceEnabled": False,
            "visibility": "PRIVATE",
            "num_prompts": len(lengths),
            "num_tokens_in_prompt": max(lengths, default=0),
            "dataset": None,
            **made,
        },
    }


def _feature(
    each: ExplainedFeature, model: str, source: str, logits: Logits | None
) -> dict[str, Any]:
    largest = [max(row["activations"]) for row in each.activating()]
    logits = logits or Logits()
    return {
        "modelId": model,
        "layer": source,
        "index": str(each.feature),
        "creatorId": CREATOR,
        "createdAt": CREATED,
        "maxActApprox": plain_floats([max(largest, default=0.0)])[0],
        "hasVector": False,
        "vector": [],
        "vectorLabel": None,
        "hookName": None,
        "topkCosSimIndices": [],
        "topkCosSimValues": [],
        **{name: [] for name in NEIGHBOURS},
        "neg_str": [token for token, _ in logits.lowered],
        "neg_values": [float(value) for _, value in logits.lowered],
        "pos_str": [token for token, _ in logits.raised],
        "pos_values": [float(value) for _, value in logits.raised],
        "frac_nonzero": float(each.explanation["density"] or 0.0),
        "freq_hist_data_bar_heights": [],
        "freq_hist_data_bar_values": [],
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "decoder_weights_dist": [],
    }


def _activations(each: ExplainedFeature, model: str, source: str) -> Iterator[dict[str, Any]]:
    """Activating contexts, strongest first; a quantile's bounds are those of the contexts given."""
    rows = sorted(each.activating(), key=lambda row: -max(row["activations"]))
    bins: dict[int | None, list[float]] = {}
    for row in rows:
        bins.setdefault(row["quantile"], []).append(max(row["activations"]))
    for row in rows:
        values = plain_floats(row["activations"])
        within = bins[row["quantile"]]
        largest = values.index(max(values))
        yield {
            "id": _id(model, source, each.feature, row["set"], row["example"]),
            "tokens": row["tokens"],
            "index": str(each.feature),
            "layer": source,
            "modelId": model,
            "maxValue": values[largest],
            "maxValueTokenIndex": largest,
            "minValue": min(values),
            "values": values,
            "creatorId": CREATOR,
            "dataSource": None,
            "dataIndex": str(row["document"]),
            "dfaValues": [],
            "dfaTargetIndex": None,
            "dfaMaxValue": None,
            "createdAt": CREATED,
            "lossValues": [],
            "logitContributions": None,
            "binMin": plain_floats([min(within)])[0],
            "binMax": plain_floats([max(within)])[0],
            "binContains": len(within) / len(rows),
            "qualifyingTokenIndex": largest,
        }


def _explanation(each: ExplainedFeature, model: str, source: str) -> dict[str, Any]:
    explainer = each.explanation["explainer"]
    counted = explainer == "tokens"
    return {
        "id": _id(model, source, each.feature, "explanation", explainer),
        "modelId": model,
        "layer": source,
        "index": str(each.feature),
        "description": each.explanation["explanation"],
        "authorId": CREATOR,
        "embedding": None,
        "triggeredById": None,
        "typeName": "saeflow_token-statistics" if counted else "saeflow_model",
        "explanationModelName": None if counted else explainer,
        "notes": _notes(each.scores),
        "createdAt": CREATED,
    }


def _notes(scores: Sequence[Row]) -> str | None:
    """Scores in words, since a kind of score of ours has no column of its own."""
    said = [
        f"{row['method']} balanced accuracy {row['balanced_accuracy']:.2f} ({row['scorer']})"
        for row in scores
        if row["kind"] == "all" and row["balanced_accuracy"] is not None
    ]
    return "; ".join(said) or None


def _id(*parts: int | str) -> str:
    """Id of 25 characters in the form of theirs, the same for the same content."""
    text = "\x1f".join(map(str, parts))
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:24]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(map(_line, rows))
    # A time in the file's head would change its bytes from run to run.
    path.write_bytes(gzip.compress(text.encode(), compresslevel=5, mtime=0))
