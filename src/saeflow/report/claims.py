"""Published sentences, each beside what every model of this run shows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from saeflow.report.tables import MISSING
from saeflow.studies.claims.sentences import Published

Row = Mapping[str, Any]
Claims = Mapping[str, Mapping[str, Row]]
"""Rows of `CLAIMS` by model, then by claim."""
REPEATED = 2
"""A rule that more sentences than this have in common is told once: the commonest of each verdict, so
that a verdict without a reason has one meaning."""


class Metrics(NamedTuple):
    """What the three numbers of a claim measure; empty where there is none, or the claim is unheard of."""

    found: str = ""
    procedure: str = ""
    null: str = ""


def metrics_of(published: Published | None) -> Metrics:
    """Metrics of a claim: of the calibrated number, of the procedure's, and of the control's.

    A control that is a fixed number measures what is held against it.
    """
    if published is None:
        return Metrics()
    found, procedure, null = (
        "" if each is None else each.metric
        for each in (published.found, published.by_procedure, published.null)
    )
    return Metrics(found, procedure, null if published.fixed is None else found or procedure)


def claims_table(
    found: Claims, cell: Callable[[str, Row], dict[str, str]], order: Sequence[str] = ()
) -> dict[str, Any] | None:
    """A row per published sentence, a column per model.

    Parameters
    ----------
    found : mapping of str to mapping of str to mapping
        Rows by model, in the order of the columns, then by claim.
    cell : callable
        Writes what one model shows of a claim, as `claim_cell` lays it out.
    order : sequence of str
        Claims that come first.

    Returns
    -------
    dict or None
        ``models``: names; ``rows``: each with ``statement``, ``source``, ``published``, ``cells`` of
        the models, and ``verdicts``, which models that agree share; ``rules`` that many sentences
        have in common, which their rows leave out. None where nothing was judged.
    """
    there = list(dict.fromkeys(name for rows in found.values() for name in rows))
    names = [*(each for each in order if each in there), *(x for x in there if x not in order)]
    often = _told_once(found)
    rows = []
    for name in names:
        own = {model: some[name] for model, some in found.items() if name in some}
        first = next(iter(own.values()))
        rows.append(
            {
                **{key: first[key] for key in ("statement", "source", "scope", "published")},
                "cells": [
                    cell(name, own[model]) if model in own else claim_cell(MISSING)
                    for model in found
                ],
                "verdicts": _verdicts(own, often),
            }
        )
    shown = [{"verdict": verdict, "rule": rule} for verdict, rule in often]
    return {"models": list(found), "rows": rows, "rules": shown} if rows else None


def claim_cell(
    value: str,
    ends: Sequence[str] = (),
    *,
    procedure: str = "",
    null: str = "",
    layer: int | None = None,
) -> dict[str, str]:
    """Lay out a number, its interval, what the published procedure and the control give, and where."""
    return {
        "value": value,
        "interval": "[{}, {}]".format(*ends) if ends else "",
        "procedure": procedure,
        "null": null,
        "layer": "" if layer is None else f"layer {layer}",
    }


def _told_once(found: Claims) -> list[tuple[str, str]]:
    """Verdicts with rules that more sentences have than a reader wants to read them for."""
    claims: dict[tuple[str, str], set[str]] = {}
    for some in found.values():
        for name, row in some.items():
            claims.setdefault((row["verdict"], row["rule"]), set()).add(name)
    commonest: dict[str, tuple[str, str]] = {}
    for key, names in sorted(claims.items(), key=lambda item: -len(item[1])):
        if len(names) > REPEATED:
            commonest.setdefault(key[0], key)
    return list(commonest.values())


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
