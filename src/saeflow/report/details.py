"""Rows and details of features, layer by layer, as the page on features asks for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

UNLABELLED = "no label"
"""In place of a label's type where the published procedure has no pair."""
_RUN = ("dataset", "dictionary", "seed")
_LABEL_COLUMNS = (
    "layer", "step", "feature", "label", "label_type", "monosemantic", "n_active", "n_kept",
    "top_tokens", "max_enrichment",
)  # fmt: skip
_PAIR_COLUMNS = ("token", "a", "b", "c", "d", "enrichment", "p_value")
_FOUND_COLUMNS = ("sign", "target", "label", "a", "b", "c", "d")
_FOUND_NUMBERS = (
    "p_value", "q_value", "log_odds", "log_odds_low", "log_odds_high", "precision", "recall",
    "auroc",
)  # fmt: skip

Row = Mapping[str, Any]


class RunTables(NamedTuple):
    """Everything about the features of one run; None where there is no such table."""

    labels: pa.Table | None = None
    pairs: pa.Table | None = None
    examples: pa.Table | None = None
    discoveries: pa.Table | None = None
    matches: pa.Table | None = None

    def layers(self) -> list[int]:
        """Layers with a feature to list."""
        tables = [each for each in (self.labels, self.discoveries) if each is not None]
        return sorted({layer for each in tables for layer in each["layer"].unique().to_pylist()})

    def at(self, layer: int) -> list[list[dict[str, Any]]]:
        """Rows of one layer, of each table."""
        return [
            [] if each is None else each.filter(pc.equal(each["layer"], layer)).to_pylist()
            for each in self
        ]


def runs_in(table: pa.Table) -> list[tuple[Any, ...]]:
    """Data set, dictionary and seed of each run, in the order of the table."""
    keys = table.select(_RUN).group_by(_RUN, use_threads=False).aggregate([])
    return [tuple(row.values()) for row in keys.to_pylist()]


def of_run(table: pa.Table | None, key: Sequence[Any]) -> pa.Table | None:
    """Rows of one run."""
    return None if table is None else _where(table, dict(zip(_RUN, key, strict=True)))


def matches_of_run(matches: pa.Table | None, key: Sequence[Any]) -> pa.Table | None:
    """Partners of a run's features under every other seed, whichever of the two is told first."""
    if matches is None:
        return None
    dataset, dictionary, seed = key
    same = {"dataset": dataset, "dictionary": dictionary}
    swapped = {"seed": "other_seed", "other_seed": "seed"}
    swapped |= {"feature": "other_feature", "other_feature": "feature"}
    names = [swapped.get(name, name) for name in matches.column_names]
    turned = matches.rename_columns(names).select(matches.column_names)
    return pa.concat_tables([_where(each, {**same, "seed": seed}) for each in (matches, turned)])


def layer_rows(parts: Sequence[Sequence[Row]]) -> list[list[Any]]:
    """Rows of the table, of one layer.

    Parameters
    ----------
    parts : sequence of sequence of mapping
        As `RunTables.at` gives them.

    Returns
    -------
    list of list
        The published label's columns, its first token's p-value, and the token with the smallest
        exact p-value with its q-value: None where none is discovered.
    """
    labels, pairs, _, discoveries, _ = parts
    # The enrichment and the p-value of one and the same token, the one most enriched.
    first = {_key(row): row["p_value"] for row in pairs if row["rank"] == 0}
    best: dict[str, Row] = {}
    for row in discoveries:
        key = _key(row)
        if row["target"] == "token" and _order(row) < _order(best.get(key)):
            best[key] = row
    labelled = {_key(row) for row in labels}
    rows = [_labelled_row(row, first.get(_key(row)), best.get(_key(row))) for row in labels]
    others = {_key(row): row for row in discoveries if _key(row) not in labelled}
    for key, row in others.items():
        place = [row[name] for name in ("layer", "step", "feature")]
        unlabelled = ["", UNLABELLED, False, None, 0, [], None, None]
        rows.append([*place, *unlabelled, *_best(best.get(key))])
    return rows


def layer_details(parts: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """By ``STEP_FEATURE`` of one layer, everything that a feature opens to.

    ``why`` it is called so; ``tokens`` of the published procedure; ``problems`` where it fires
    hardest; ``found``: its discoveries; ``matches`` under other seeds.
    """
    labels, pairs, examples, discoveries, matches = parts
    found = {_key(row): _nothing(row["explanation"]) for row in labels}
    for row in discoveries:
        found.setdefault(_key(row), _nothing(""))
    for row in pairs:
        if (feature := found.get(_key(row))) is not None:
            *values, enrichment, p_value = (row[name] for name in _PAIR_COLUMNS)
            feature["tokens"].append([*values, short(enrichment), short(p_value)])
    for row in examples:
        found[_key(row)]["problems"].append([row["problem"], short(row["value"])])
    for row in sorted(discoveries, key=lambda row: (row["target"] != "token", row["target"])):
        values = [row[name] for name in _FOUND_COLUMNS]
        numbers = [short(row[name]) for name in _FOUND_NUMBERS]
        found[_key(row)]["found"].append([*values, *numbers, row["carried"]])
    for row in matches:
        if (feature := found.get(_key(row))) is not None:
            alike = [short(row["cosine"]), short(row["correlation"])]
            partner = [row["other_seed"], row["other_feature"]]
            feature["matches"].append([*partner, *alike, row["recurs"], row["same_label"]])
    return found


def short(value: float | None) -> float | None:
    """Round to four significant digits; None for what is no number."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


def _nothing(why: str) -> dict[str, Any]:
    return {"why": why, "tokens": [], "problems": [], "found": [], "matches": []}


def _labelled_row(row: Row, p_value: float | None, best: Row | None) -> list[Any]:
    *values, enrichment = (row[name] for name in _LABEL_COLUMNS)
    return [*values, short(enrichment), short(p_value), *_best(best)]


def _best(row: Row | None) -> list[Any]:
    return [None, None] if row is None else [row["label"], short(row["q_value"])]


def _order(row: Row | None) -> tuple[float, str]:
    return (math.inf, "") if row is None else (row["p_value"], row["label"])


def _key(row: Row) -> str:
    return f"{row['step']}_{row['feature']}"


def _where(table: pa.Table, values: Mapping[str, Any]) -> pa.Table:
    equal = [pc.equal(table[name], value) for name, value in values.items()]
    return table.filter(reduce(pc.and_, equal))
