"""Published sentences, each beside what every model of this run shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeflow.datasets.texts.judge import RIGHT, UNCLEAR, WRONG
from saeflow.report.decimal_bug.model import DecimalModel
from saeflow.report.decimal_bug.numbers import Row
from saeflow.report.decimal_bug.subsets import VALUES
from saeflow.report.finding import NO_BREAK
from saeflow.report.tables import MISSING, percent
from saeflow.studies.decimal_bug.published_claims import PUBLISHED

REPEATED = 2
"""Rules that more sentences than this have in common are told once."""
SHARES = frozenset(
    {
        *(RIGHT, WRONG, UNCLEAR, *VALUES),
        *("share_of_own_head", "mixed_share"),
    }
)
"""Measures that are shares; others are as they are, but for those that are in per cent already."""
_WANTED = {each.claim: each for each in PUBLISHED}


def claims_table(models: Sequence[DecimalModel]) -> dict[str, Any] | None:
    """A row per published sentence, a column per model.

    Parameters
    ----------
    models : sequence of DecimalModel
        In the order of the columns.

    Returns
    -------
    dict or None
        ``models``: names; ``rows``: each with ``statement``, ``source``, ``published``, ``cells`` of
        the models, and ``verdicts``, which models that agree share; ``rules`` that many sentences
        have in common, which their rows leave out. None where nothing was judged.
    """
    there = {name: row for model in models for name, row in model.numbers.claims.items()}
    told = [each.claim for each in PUBLISHED]
    names = [
        *(each for each in told if each in there),
        *(each for each in there if each not in told),
    ]
    often = _told_once(models)
    rows = []
    for name in names:
        found = {
            model.name: model.numbers.claims[name]
            for model in models
            if name in model.numbers.claims
        }
        first = next(iter(found.values()))
        rows.append(
            {
                "statement": first["statement"],
                "source": first["source"],
                "scope": first["scope"],
                "published": first["published"],
                "cells": [_cell(name, found.get(model.name)) for model in models],
                "verdicts": _verdicts(found, often),
            }
        )
    shown = [{"verdict": verdict, "rule": rule} for verdict, rule in often]
    return (
        {"models": [each.name for each in models], "rows": rows, "rules": shown} if rows else None
    )


def _cell(claim: str, row: Row | None) -> dict[str, str]:
    """What one model shows: its number, and by the published procedure and the control below it."""
    if row is None:
        return dict.fromkeys(("interval", "procedure", "null", "layer"), "") | {"value": MISSING}
    told = _WANTED.get(claim)
    wanted = (None, None, None) if told is None else (told.found, told.by_procedure, told.null)
    own, procedure, null = ("" if each is None else each.metric for each in wanted)
    value = row["value"] if row["value"] is not None else row["analogue_value"]
    ends = (row["ci_low"], row["ci_high"])
    return {
        "value": _named(own, value) or MISSING,
        "interval": "" if None in ends else "[{}, {}]".format(*(_text(own, end) for end in ends)),
        "procedure": _named(procedure, row["published_value"]),
        "null": _named(null, row["null"]),
        "layer": "" if row["layer"] is None else f"layer {row['layer']}",
    }


def _named(metric: str, value: float | None) -> str:
    """Write a number; a share of answers says of which."""
    text = _text(metric, value)
    return f"{text} {metric}" if text and metric in (RIGHT, WRONG, UNCLEAR) else text


def _text(metric: str, value: float | None) -> str:
    """Write a number as its measure wants it; nothing where there is none."""
    if value is None:
        return ""
    if metric == "overlap_percent":
        return f"{value:.1f}{NO_BREAK}%"
    text = f"{percent(value)}{NO_BREAK}%" if metric in SHARES else f"{value:.3f}"
    return text.replace("-", "−")


def _told_once(models: Sequence[DecimalModel]) -> list[tuple[str, str]]:
    """Verdicts with rules that more sentences have than a reader wants to read them for."""
    claims: dict[tuple[str, str], set[str]] = {}
    for model in models:
        for name, row in model.numbers.claims.items():
            claims.setdefault((row["verdict"], row["rule"]), set()).add(name)
    return [key for key, names in claims.items() if len(names) > REPEATED]


def _verdicts(found: Mapping[str, Row], often: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    same: dict[tuple[str, str], list[str]] = {}
    for model, row in found.items():
        same.setdefault((row["verdict"], row["rule"]), []).append(model)
    return [
        {
            "verdict": verdict,
            "rule": "" if (verdict, rule) in often else rule,
            "models": names if len(same) > 1 else [],
        }
        for (verdict, rule), names in same.items()
    ]
