"""What a feature of a wide SAE opens to, in blocks of features whose contexts share their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.report.details import short
from saeflow.report.scaling.features_rows import (
    EMPTY,
    NONE,
    SWAPPED,
    FeatureTables,
    Row,
    by_feature,
    search_controls,
    topic_titles,
    visible,
)

CONTROL_SIGNS = {code: chr(0x2400 + code) for code in range(1, 32)} | {127: "␡"}
"""Signs that stand for characters without a look of their own."""
CONTROL_SIGNS |= {0: "�", ord("\n"): "⏎", ord("\t"): "⇥"}
_SPLIT = ("n_active", "n_documents", "density", "mean", "largest", "cosine", "cosine_with")
_SEARCH = (
    "mode",
    "inputs",
    "level",
    "score",
    "place",
    "value_chosen",
    "value",
    "p_holm",
    "stability",
)
_SCORE = ("balanced_accuracy", "ci_low", "ci_high", "auroc")
_TOKEN = ("count", "total", "occurrences", "expected")


def detail_blocks(main: FeatureTables, features: Sequence[int], size: int) -> Iterator[Any]:
    """Yield what `feature_details` gives of every `size` features."""
    for start in range(0, len(features), size):
        yield feature_details(main, features[start : start + size])


def feature_details(main: FeatureTables, features: Sequence[int]) -> dict[str, Any]:
    """Everything that some features open to.

    Parameters
    ----------
    main : FeatureTables
        Of one SAE.
    features : sequence of int
        Which.

    Returns
    -------
    dict
        ``tokens``: texts, the most frequent first; ``windows``: document, position, group, place of
        the example's own token, and numbers of tokens, each window once; ``features`` by index:
        ``splits``, ``search``, ``explanations``, ``examples``, ``tokens`` and ``neighbours``. An
        example is the number of its window, its activation, and for every token of the window that is
        not 0 its place and activation, one behind the other; null before the text.
    """
    chosen = np.array(features, np.int64)
    own = {name: by_feature(table, chosen) for name, table in main.tables.items() if name in _OF}
    found: dict[int, dict[str, Any]] = {
        feature: {
            "splits": [],
            "search": [],
            "explanations": [],
            "examples": {},
            "tokens": {},
            "neighbours": {},
        }
        for feature in features
    }
    windows = _Windows(own["examples"])
    for row in own["features"].to_pylist():
        found[row["feature"]]["splits"].append([row["split"], *_numbers(row, _SPLIT)])
    for row in windows.rows:
        parts = found[row["feature"]]["examples"].setdefault(row["split"], {})
        example = [windows.number(row), short(row["value"]), windows.activations(row)]
        if row["kind"] == "bin":
            bins = parts.setdefault("bin", {})
            bins.setdefault(row["bin"], [row["bin_tokens"], []])[1].append(example)
        else:
            parts.setdefault(row["kind"], []).append(example)
    for row in sorted(own["tokens"].to_pylist(), key=lambda row: row["rank"]):
        parts = found[row["feature"]]["tokens"].setdefault(row["split"], {})
        values = _numbers(row, _TOKEN)
        parts.setdefault(row["by"], []).append([shown(row["token"]), *values])
    for row in sorted(own["neighbours"].to_pylist(), key=lambda row: row["rank"]):
        alike = [short(row["similarity"]), short(row["other_similarity"])]
        near = found[row["feature"]]["neighbours"]
        near.setdefault(row["by"], []).append([row["other"], *alike])
    for feature, row in _searched(main, own):
        found[feature]["search"].append(row)
    for feature, row in _explained(main, own):
        found[feature]["explanations"].append(row)
    return {
        "tokens": windows.texts,
        "windows": windows.listed,
        "features": {str(feature): each for feature, each in found.items()},
    }


_OF = (
    "features",
    "examples",
    "tokens",
    "neighbours",
    "explanations",
    "explanation_scores",
    "search",
)


def shown(token: str) -> str:
    """Write a token so that every character of it is seen."""
    return token.translate(CONTROL_SIGNS)


class _Windows:
    """Contexts, each once, as numbers of token texts; features share many, above all silent ones."""

    def __init__(self, examples: pa.Table) -> None:
        self.rows = examples.sort_by([(name, "ascending") for name in ("kind", "bin", "rank")])
        self.rows = self.rows.to_pylist()
        counted = Counter(token for row in self.rows for token in row["tokens"])
        texts = sorted(counted, key=lambda token: (-counted[token], token))
        self.texts = [shown(token) for token in texts]
        self.listed: list[list[Any]] = []
        self._token = {token: number for number, token in enumerate(texts)}
        self._number: dict[tuple[int, int], int] = {}

    def number(self, row: Row) -> int:
        """Number of a row's window, which is listed if it is not yet."""
        key = row["document"], row["position"]
        if key not in self._number:
            self._number[key] = len(self.listed)
            tokens = [self._token[token] for token in row["tokens"]]
            self.listed.append([*key, visible(row["group"]), row["centre"], tokens])
        return self._number[key]

    @staticmethod
    def activations(row: Row) -> list[Any]:
        """Places and values of tokens that are not 0."""
        values = enumerate(row["activations"])
        return [each for place, value in values if value != 0 for each in (place, short(value))]


def _numbers(row: Row, names: Sequence[str]) -> list[Any]:
    return [value if not isinstance(value := row[name], float) else short(value) for name in names]


def _searched(main: FeatureTables, own: Mapping[str, pa.Table]) -> Iterator[tuple[int, list[Any]]]:
    """Places of features in every search, with areas of controls and tokens of prompts."""
    search = main.tables.get("search")
    if search is None:
        return
    titles, controls = topic_titles(search), search_controls(search)
    for row in own["search"].to_pylist():
        if row["control"] != NONE:
            continue
        beside = controls.get((row["prompts"], row["level"]), {})
        beside = beside if row["value"] is not None else {}
        told = [[name, short(value)] for name, value in beside.items()]
        tokens = [shown(token) for token in row["tokens"]]
        yield row["feature"], [titles[row["prompts"]], *_numbers(row, _SEARCH), told, tokens]


def _explained(
    main: FeatureTables, own: Mapping[str, pa.Table]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Explanations with their scores beside those of a swapped and of no explanation."""
    whole = main.tables["explanations"]
    texts = {
        key: text
        for *key_parts, text in zip(
            *(whole[name].to_pylist() for name in ("explainer", "feature", "explanation")),
            strict=True,
        )
        for key in [tuple(key_parts)]
    }
    scores: dict[tuple[str, int], dict[tuple[str, str, str], dict[str, Row]]] = {}
    for row in own["explanation_scores"].to_pylist():
        of = scores.setdefault((row["explainer"], row["feature"]), {})
        of.setdefault((row["scorer"], row["method"], row["kind"]), {})[row["control"]] = row
    for row in own["explanations"].to_pylist():
        swapped = row["swapped_with"]
        yield (
            row["feature"],
            {
                "explainer": visible(row["explainer"]),
                "explanation": visible(row["explanation"]),
                "parsed": row["parsed"],
                "contexts": row["n_activating"],
                "swapped": [swapped, visible(texts.get((row["explainer"], swapped), ""))],
                "scores": [
                    [visible(scorer), method, kind, *_scored(by_control)]
                    for (scorer, method, kind), by_control in scores.get(
                        (row["explainer"], row["feature"]), {}
                    ).items()
                ],
            },
        )


def _scored(by_control: Mapping[str, Row]) -> list[Any]:
    """Contexts that were judged, then score, interval and area of each kind of explanation."""
    own = by_control.get(NONE)
    counts = [None] * 3
    if own is not None:
        counts = [own["n_positive"], own["n_negative"], own["n_unread"]]
    told = [
        None if (row := by_control.get(control)) is None else _numbers(row, _SCORE)
        for control in (NONE, SWAPPED, EMPTY)
    ]
    return [*counts, *told]
