"""The four questions of the study's comparison: published answers beside this run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.report.bands import Banded
from saeflow.report.dotplot import Panel, dotplot
from saeflow.report.site import Link, Site
from saeflow.report.tables import cell_text, number_text, percent, points
from saeflow.studies.compare.published import PUBLISHED

COMPARISON_PAGE = Link("Comparison", "compare.html")
OBSERVED, PERMUTED = "none", "permuted"


class Question(NamedTuple):
    """One of the four: its name in the table, the metric, what is asked."""

    name: str
    metric: str
    title: str
    about: str


QUESTIONS = (
    Question(
        "interpretable",
        "interpretable_rate",
        "How many features follow a token?",
        "Interpretable features among all latents.",
    ),
    Question(
        "monosemantic",
        "monosemantic_rate",
        "How many of those have one meaning?",
        "Monosemantic features, by the published rule, among interpretable ones.",
    ),
    Question(
        "number",
        "number_rate",
        "Are they about numbers?",
        "Features with “number” in their label among interpretable ones. Most tokens of a calculation are "
        "numbers, so nearly every label holds the word.",
    ),
    Question(
        "capacity",
        "monosemantic_rate",
        "Does the smaller model mix more meanings?",
        "The published verdict is a bare comparison of two monosemantic rates, of models with different k, "
        "layers and problems. Here the difference stands beside what permuted tokens give for it.",
    ),
)


def write_comparison_page(site: Site, found: Sequence[Mapping[str, Any]]) -> None:
    """Write the page with the four questions, as `answers` lays them out."""
    figures = {f"{each['name']}-figure": each["figure"] for each in found}
    site.write_page(COMPARISON_PAGE.href, "compare.html.jinja", {"answers": found}, figures)


def answers(comparison: pa.Table, models: Sequence[str]) -> list[dict[str, Any]]:
    """Lay out the comparison by question.

    Parameters
    ----------
    comparison : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COMPARISON`.
    models : sequence of str
        Names in the order of the pages.

    Returns
    -------
    list of dict
        ``name``, ``title``, ``about``; ``published``: rate of each published model; ``models``: one
        row per model and bank; ``differences``: one row per pair; ``figure``.
    """
    place = {name: number for number, name in enumerate([*models, ""])}
    rows = sorted(
        comparison.to_pylist(), key=lambda row: (place[row["model"]], place[row["other"]])
    )
    found: list[dict[str, Any]] = []
    for question in QUESTIONS:
        own = [row for row in rows if row["question"] == question.name]
        singles = list(_rows(own, question.metric, "excess", paired=False))
        published = [
            {"name": each.model, "rate": getattr(each, question.metric)} for each in PUBLISHED
        ]
        found.append(
            {
                **question._asdict(),
                "published": [
                    {**each, "value": number_text(each["rate"], "rate")} for each in published
                ],
                "models": singles,
                "differences": list(_rows(own, "difference", "excess_difference", paired=True)),
                "figure": dotplot([Panel("", singles, published)]) if singles else None,
            }
        )
    return found


def _rows(
    rows: Sequence[Mapping[str, Any]], metric: str, excess: str, *, paired: bool
) -> Iterator[dict[str, Any]]:
    keys = ("model", "dataset", "dictionary", "other", "other_dataset", "other_dictionary", "mode")
    cells: dict[tuple[Any, ...], dict[tuple[str, str], Mapping[str, Any]]] = {}
    for row in rows:
        if bool(row["other"]) == paired:
            key = tuple(row[key] for key in keys)
            cells.setdefault(key, {})[row["metric"], row["control"]] = row
    text, unit = (points, "") if paired else (percent, " %")
    for key, found in cells.items():
        observed = found.get((metric, OBSERVED))
        permuted = found.get((metric, PERMUTED))
        yield {
            **dict(zip(keys, key, strict=True)),
            "observed": cell_text(observed, text, unit),
            "permuted": cell_text(permuted, text, unit),
            "excess": cell_text(found.get((excess, OBSERVED)), points),
            "word": _banded(observed, permuted).word,
            "numbers": (observed, permuted),
        }


def _banded(observed: Mapping[str, Any] | None, permuted: Mapping[str, Any] | None) -> Banded:
    value = observed["value"] if observed else None
    if permuted is None:
        return Banded(value)
    ends = (permuted["ci_low"], permuted["ci_high"])
    return Banded(value, None, permuted["value"], *ends, permuted["n"] or 0)
