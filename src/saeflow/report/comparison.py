"""The four questions of the study's comparison: published answers beside this run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.report.bands import Banded
from saeflow.report.dotplot import dotplot
from saeflow.report.site import Link, Site, model_page
from saeflow.report.tables import cell_text, number_text, percent, points
from saeflow.studies.compare.gsm8k import BETWEEN_MODELS
from saeflow.studies.compare.gsm8k import QUESTIONS as METRICS
from saeflow.studies.compare.published import CAPACITY_VERDICT, PUBLISHED

COMPARISON_PAGE = Link("Comparison", "compare.html")
OBSERVED, PERMUTED = "none", "permuted"


class Question(NamedTuple):
    """One of the four: its name in the table, what is asked, of what."""

    name: str
    title: str
    about: str


QUESTIONS = (
    Question(
        "interpretable",
        "How many features follow a token?",
        "Interpretable features among all latents.",
    ),
    Question(
        "monosemantic",
        "How many of those have one meaning?",
        "Monosemantic features, by the published rule, among interpretable ones.",
    ),
    Question(
        "number",
        "Are they about numbers?",
        "Features with “number” in their label among interpretable ones. Most tokens of a calculation are "
        "numbers, so nearly every label holds the word.",
    ),
    Question(
        "capacity",
        "Is the larger model less monosemantic?",
        "The published answer is a bare comparison of two monosemantic rates, of models with different k, "
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
        ``name``, ``title``, ``about``; ``published``: rate of each published model; ``verdict``:
        what the study concluded from them, where it did; ``models``: one row per model and bank;
        ``differences``: one row per pair; ``figure``.
    """
    place = {name: number for number, name in enumerate([*models, ""])}
    rows = sorted(
        comparison.to_pylist(), key=lambda row: (place[row["model"]], place[row["other"]])
    )
    found: list[dict[str, Any]] = []
    for question in QUESTIONS:
        own = [row for row in rows if row["question"] == question.name]
        metric = METRICS[question.name]
        singles = list(_rows(own, metric, "excess", paired=False))
        published = [{"name": each.model, "rate": getattr(each, metric)} for each in PUBLISHED]
        found.append(
            {
                **question._asdict(),
                "published": [
                    {**each, "value": number_text(each["rate"], "rate")} for each in published
                ],
                "verdict": _published_verdict() if question.name in BETWEEN_MODELS else "",
                "models": singles,
                "differences": list(_rows(own, "difference", "excess_difference", paired=True)),
                "figure": dotplot(singles, published) if singles else None,
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
            "href": model_page(key[0]),
            "observed": cell_text(observed, text, unit),
            "permuted": cell_text(permuted, text, unit),
            "excess": cell_text(found.get((excess, OBSERVED)), points),
            "word": _banded(observed, permuted).word,
            "numbers": (observed, permuted),
        }


def _published_verdict() -> str:
    llama, gpt2 = PUBLISHED
    difference = llama.monosemantic_rate - gpt2.monosemantic_rate
    word = "is" if difference < 0 else "is not"
    return (
        f"{llama.model} minus {gpt2.model}: {points(difference)} points. {llama.model}’s rate {word} "
        f"the lower one, from which the study concluded: “{CAPACITY_VERDICT}”."
    )


def _banded(observed: Mapping[str, Any] | None, permuted: Mapping[str, Any] | None) -> Banded:
    value = observed["value"] if observed else None
    if permuted is None:
        return Banded(value)
    ends = (permuted["ci_low"], permuted["ci_high"])
    return Banded(value, None, permuted["value"], *ends, permuted["n"] or 0)
