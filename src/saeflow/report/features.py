"""The page with every labelled feature, and the data that it loads on demand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from saeflow.report.site import Link, Site

FEATURES = Link("Features", "features.html")
BLOCK = 250
"""Problems per chunk."""

_LABEL_COLUMNS = (
    "layer", "step", "feature", "label", "label_type", "monosemantic", "n_active", "n_kept",
    "top_tokens", "max_enrichment",
)  # fmt: skip
_PAIR_COLUMNS = ("token", "a", "b", "c", "d", "enrichment", "p_value")


class Run(NamedTuple):
    """A bank's features on a data set."""

    model: str
    dataset: str
    dictionary: str
    seed: int
    mode: str


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
        for key in _runs(labels):
            run = Run(model, *key)
            own, pairs, examples = (
                _where(table, key)
                for table in (labels, tables.pairs[model], tables.examples[model])
            )
            _write_run(site, len(runs), own, pairs, examples)
            shown[run.dataset].update(examples["problem"].to_pylist())
            runs.append({**run._asdict(), "rows": len(own), "problems": datasets[run.dataset]})
    for name, number in datasets.items():
        write_problems(site, number, tables.problems[name], tables.tokens[name], shown[name])
    context = {"runs": runs, "total": sum(run["rows"] for run in runs), "block": BLOCK}
    site.write_page(FEATURES.href, "features.html.jinja", context)


def _write_run(
    site: Site, number: int, labels: pa.Table, pairs: pa.Table, examples: pa.Table
) -> None:
    """Write a run's chunks layer by layer, for rows of Python objects take fifty times a table's room."""

    def rows() -> Iterator[list[Any]]:
        for layer in labels["layer"].unique().to_pylist():
            own, of_pairs, of_examples = (
                table.filter(pc.equal(table["layer"], layer)).to_pylist()
                for table in (labels, pairs, examples)
            )
            site.write_chunk(f"details-{number}-{layer}", _details(own, of_pairs, of_examples))
            # The enrichment and the p-value of one and the same token, the one most enriched.
            first = {_key(row): row["p_value"] for row in of_pairs if row["rank"] == 0}
            yield from (_table_row(row, first.get(_key(row))) for row in own)

    site.write_rows(f"features-{number}", rows())


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


def _runs(labels: pa.Table) -> list[tuple[Any, ...]]:
    """Data set, dictionary, seed and mode of each run, in the order of the table."""
    keys = labels.select(Run._fields[1:]).group_by(Run._fields[1:], use_threads=False).aggregate([])
    return [tuple(row.values()) for row in keys.to_pylist()]


def _where(table: pa.Table, key: tuple[Any, ...]) -> pa.Table:
    """Rows of one run."""
    equal = [pc.equal(table[name], value) for name, value in zip(Run._fields[1:], key, strict=True)]
    return table.filter(reduce(pc.and_, equal))


def _table_row(row: Mapping[str, Any], p_value: float | None) -> list[Any]:
    *values, enrichment = (row[name] for name in _LABEL_COLUMNS)
    return [*values, _short(enrichment), _short(p_value)]


def _details(
    labels: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """By ``STEP_FEATURE`` of one layer: why a feature is called so, its tokens, its problems."""
    found: dict[str, Any] = {
        _key(row): {"why": row["explanation"], "tokens": [], "problems": []} for row in labels
    }
    for row in pairs:
        if (feature := found.get(_key(row))) is not None:
            *values, enrichment, p_value = (row[name] for name in _PAIR_COLUMNS)
            feature["tokens"].append([*values, _short(enrichment), _short(p_value)])
    for row in examples:
        found[_key(row)]["problems"].append([row["problem"], _short(row["value"])])
    return found


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['step']}_{row['feature']}"


def _short(value: float | None) -> float | None:
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None
