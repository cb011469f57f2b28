"""The page with every labelled or discovered feature, and the data that it loads on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from saeflow.report.details import (
    RunTables,
    layer_details,
    layer_rows,
    matches_of_run,
    of_run,
    runs_in,
)
from saeflow.report.site import Link, Site

FEATURES = Link("Features", "features.html")
BLOCK = 250
"""Problems per chunk."""


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
    discoveries, matches : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.calibration.DISCOVERIES` and `MATCHES`, of calibrated models.
    dictionaries : mapping of str to sequence of str
        Names of each calibrated model's own dictionaries: those of controls are not listed.
    """

    labels: Mapping[str, pa.Table]
    pairs: Mapping[str, pa.Table]
    examples: Mapping[str, pa.Table]
    problems: Mapping[str, pa.Table]
    tokens: Mapping[str, pa.Table]
    discoveries: Mapping[str, pa.Table] = field(default_factory=dict)
    matches: Mapping[str, pa.Table] = field(default_factory=dict)
    dictionaries: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_features_page(
    site: Site, tables: FeatureTables, calibrated: Mapping[str, Any] | None = None
) -> None:
    """Write the page and its chunks.

    ``data/features-RUN.js`` holds the rows of the table, ``details-RUN-LAYER.js`` what each feature
    opens to, ``problems-DATASET-BLOCK.js`` the problems that features point at.

    Parameters
    ----------
    site : Site
        Where to.
    tables : FeatureTables
        What to show.
    calibrated : mapping, optional
        Settings of the calibrated mode; None where it did not run.
    """
    datasets = {name: number for number, name in enumerate(tables.problems)}
    runs: list[dict[str, Any]] = []
    shown: dict[str, set[int]] = {name: set() for name in datasets}
    for run, parts in _runs(tables):
        count = _write_run(site, len(runs), parts)
        if parts.examples is not None:
            shown[run.dataset].update(parts.examples["problem"].to_pylist())
        runs.append({**run._asdict(), "rows": count, "problems": datasets[run.dataset]})
    for name, number in datasets.items():
        write_problems(site, number, tables.problems[name], tables.tokens[name], shown[name])
    total = sum(run["rows"] for run in runs)
    context = {"runs": runs, "total": total, "block": BLOCK, "calibrated": calibrated}
    site.write_page(FEATURES.href, "features.html.jinja", context)


def _runs(tables: FeatureTables) -> Iterator[tuple[Run, RunTables]]:
    for model in dict.fromkeys([*tables.labels, *tables.discoveries]):
        labels, pairs, examples = (
            each.get(model) for each in (tables.labels, tables.pairs, tables.examples)
        )
        discoveries = tables.discoveries.get(model)
        if discoveries is not None:
            own = pa.array(tables.dictionaries[model], pa.string())
            discoveries = discoveries.filter(pc.is_in(discoveries["dictionary"], own))
        found = [runs_in(each) for each in (labels, discoveries) if each is not None]
        for key in dict.fromkeys(key for keys in found for key in keys):
            parts = RunTables(
                of_run(labels, key),
                of_run(pairs, key),
                of_run(examples, key),
                of_run(discoveries, key),
                matches_of_run(tables.matches.get(model), key),
            )
            yield Run(model, *key), parts


def _write_run(site: Site, number: int, parts: RunTables) -> int:
    """Write a run's chunks layer by layer, for rows of Python objects take fifty times a table's room."""
    count = 0

    def rows() -> Iterator[list[Any]]:
        nonlocal count
        for layer in parts.layers():
            of_layer = parts.at(layer)
            site.write_chunk(f"details-{number}-{layer}", layer_details(of_layer))
            found = layer_rows(of_layer)
            count += len(found)
            yield from found

    site.write_rows(f"features-{number}", rows())
    return count


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
