"""The page with every labelled feature, and the data that it loads on demand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.report.site import Link, Site

FEATURES = Link("Features", "features.html")
BLOCK = 250
"""Problems per chunk."""
SHOWN = 10
"""Tokens shown of a feature."""

_LABEL_COLUMNS = (
    "layer", "step", "feature", "label", "label_type", "monosemantic", "n_active", "n_kept",
    "top_tokens", "max_enrichment", "min_p_value",
)  # fmt: skip
_PAIR_COLUMNS = ("token", "a", "b", "c", "d", "enrichment", "p_value")


class Run(NamedTuple):
    """A bank's features on a data set."""

    model: str
    dataset: str
    dictionary: str
    seed: int


@dataclass(frozen=True)
class FeatureTables:
    """What the page shows, by model where not told otherwise.

    Attributes
    ----------
    labels, pairs, examples : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.catalog.LABELS`, `ASSOCIATION` and `EXAMPLES`.
    problems, tokens : mapping of str to pyarrow.Table
        Columns of `PROBLEMS` and `COT_TOKENS`, by data set.
    """

    labels: Mapping[str, pa.Table]
    pairs: Mapping[str, pa.Table]
    examples: Mapping[str, pa.Table]
    problems: Mapping[str, pa.Table]
    tokens: Mapping[str, pa.Table]


def write_features_page(site: Site, tables: FeatureTables) -> None:
    """Write the page and its chunks.

    ``data/features-RUN.js`` holds the rows of the table, ``details-RUN-LAYER.js`` the tokens and
    problems of each feature, ``problems-DATASET-BLOCK.js`` the problems that features point at.
    """
    datasets = {name: number for number, name in enumerate(tables.problems)}
    runs: list[dict[str, Any]] = []
    shown: dict[str, set[int]] = {name: set() for name in datasets}
    for model, labels in tables.labels.items():
        pairs = dict(_by_run(tables.pairs[model]))
        examples = dict(_by_run(tables.examples[model]))
        for key, rows in _by_run(labels):
            number = len(runs)
            run = Run(model, *key)
            runs.append({**run._asdict(), "rows": len(rows), "problems": datasets[run.dataset]})
            site.write_chunk(f"features-{number}", [_table_row(row) for row in rows])
            found = _details(rows, pairs.get(key, []), examples.get(key, []))
            for layer, features in found.items():
                site.write_chunk(f"details-{number}-{layer}", features)
            shown[run.dataset] |= {row["problem"] for row in examples.get(key, [])}
    for name, number in datasets.items():
        write_problems(site, number, tables.problems[name], tables.tokens[name], shown[name])
    context = {"runs": runs, "total": sum(run["rows"] for run in runs), "block": BLOCK}
    site.write_page(FEATURES.href, "features.html.jinja", context)


def write_problems(
    site: Site, number: int, problems: pa.Table, tokens: pa.Table, shown: Iterable[int]
) -> None:
    """Write the problems that features point at, in blocks of consecutive numbers.

    Parameters
    ----------
    site : Site
        Where to.
    number : int
        Number of the data set.
    problems, tokens : pyarrow.Table
        As in `FeatureTables`, of one data set.
    shown : iterable of int
        Numbers of the problems to write.
    """
    calculations: dict[int, list[list[str]]] = {}
    for row in tokens.to_pylist():
        steps = calculations.setdefault(row["problem"], [])
        while len(steps) <= row["calculation"]:
            steps.append([])
        steps[row["calculation"]].append(row["token"])
    wanted = set(shown)
    blocks: dict[int, dict[str, Any]] = {}
    columns = [
        problems[name].to_pylist() for name in ("problem", "problem_id", "question", "split")
    ]
    for problem, name, question, split in zip(*columns, strict=True):
        if problem in wanted:
            told = [name, question, calculations.get(problem, []), split]
            blocks.setdefault(problem // BLOCK, {})[str(problem)] = told
    for block, found in blocks.items():
        site.write_chunk(f"problems-{number}-{block}", found)


def _by_run(table: pa.Table) -> Iterator[tuple[tuple[str, str, int], list[dict[str, Any]]]]:
    """Rows of each data set, dictionary and seed; tables are sorted by these."""
    rows = table.to_pylist()
    for key, found in groupby(
        rows, key=lambda row: (row["dataset"], row["dictionary"], row["seed"])
    ):
        yield key, list(found)


def _table_row(row: Mapping[str, Any]) -> list[Any]:
    *values, enrichment, p_value = (row[name] for name in _LABEL_COLUMNS)
    return [*values, _short(enrichment), _short(p_value)]


def _details(
    labels: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
) -> dict[int, dict[str, Any]]:
    """By layer and ``STEP_FEATURE``: why it is called so, its tokens, its problems."""
    found: dict[int, dict[str, Any]] = {}
    for row in labels:
        told = {"why": row["explanation"], "rate": _short(row["activation_rate"])}
        found.setdefault(row["layer"], {})[_key(row)] = {**told, "tokens": [], "problems": []}
    for row in pairs:
        feature = found.get(row["layer"], {}).get(_key(row))
        if feature is not None and row["rank"] < SHOWN:
            *values, enrichment, p_value = (row[name] for name in _PAIR_COLUMNS)
            feature["tokens"].append([*values, _short(enrichment), _short(p_value)])
    for row in examples:
        feature = found[row["layer"]][_key(row)]
        feature["problems"].append([row["problem"], _short(row["value"])])
    return found


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['step']}_{row['feature']}"


def _short(value: float | None) -> float | None:
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
