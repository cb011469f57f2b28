"""Overview of the GSM8K study and one page per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from saeflow.artifacts.provenance import metadata_of
from saeflow.report.bands import ModelBands, read_bands
from saeflow.report.distribution import enrichment_figure
from saeflow.report.dotplot import dotplot
from saeflow.report.figures import RATES, rates_figure, units
from saeflow.report.heatmaps import counts_figure, quality_figure
from saeflow.report.site import Link, Site, model_page
from saeflow.report.tables import SPLITS, dataset_rows, quality_rows, summary_blocks

OVERVIEW = "index.html"
FRESH = "fresh:"
"""How the revision of a model with untrained weights begins."""


@dataclass(frozen=True)
class StudyTables:
    """What the pages of the study show.

    Attributes
    ----------
    problems : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`, by data set.
    summaries : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.catalog.SUMMARY`, by model, in the order of the pages.
    banks : mapping of str to sequence of pyarrow.Table
        Columns of `saeflow.artifacts.catalog.QUALITY`, by model.
    """

    problems: Mapping[str, pa.Table]
    summaries: Mapping[str, pa.Table]
    banks: Mapping[str, Sequence[pa.Table]]


def model_link(model: str) -> Link:
    """Name and place of a model's page."""
    return Link(model, model_page(model))


def write_overview(
    site: Site, tables: StudyTables, answers: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]
) -> None:
    """Write the front page: what was run, how to read it, and the main rates.

    Parameters
    ----------
    site : Site
        Where to.
    tables : StudyTables
        What was measured.
    answers : sequence of mapping
        One per question of the comparison, as `saeflow.report.comparison.answers` gives them.
    spec : mapping
        The study's settings.
    """
    context = {
        "published": spec,
        "permutations": spec["permutations"]["count"],
        "models": [
            {"name": name, "href": model_link(name).href, **_what_ran(read_bands(name, summary))}
            | _weights(summary)
            for name, summary in tables.summaries.items()
        ],
        "datasets": dataset_rows(tables.problems),
        "made": _made_with(tables.summaries),
        "answers": answers,
    }
    figures = {
        f"{each['name']}-rate": dotplot(
            each["models"], each["published"], f"{each['name']} rate".capitalize()
        )
        for each in answers
        if each["name"] in RATES.values() and each["models"]
    }
    site.write_page(OVERVIEW, "index.html.jinja", context, figures)


def write_model_page(site: Site, model: str, tables: StudyTables, spec: Mapping[str, Any]) -> None:
    """Write the page of one model: its summary, rates, enrichments, sites and banks."""
    summary, banks = tables.summaries[model], tables.banks[model]
    bands = read_bands(model, summary)
    context = {
        "model": model,
        **_what_ran(bands),
        **_weights(summary),
        "published": spec,
        "permutations": spec["permutations"]["count"],
        "summary": summary_blocks(bands, spec),
        "units": _units(bands),
        "quality": quality_rows(banks),
    }
    held_out = SPLITS[-1]
    figures = {
        "rates": rates_figure(bands),
        "enrichments": enrichment_figure(bands),
        "counts": counts_figure(bands),
        "quality": quality_figure(banks, held_out),
    }
    site.write_page(model_link(model).href, "gsm8k.html.jinja", context, figures)


def _what_ran(bands: ModelBands) -> dict[str, Any]:
    return {
        "datasets": list(dict.fromkeys(run.dataset for run in bands.runs)),
        "dictionaries": list(dict.fromkeys(run.dictionary for run in bands.runs)),
        "seeds": sorted({run.seed for run in bands.runs}),
        "modes": list(dict.fromkeys(run.mode for run in bands.runs)),
    }


def _weights(summary: pa.Table) -> dict[str, Any]:
    metadata = metadata_of(summary.schema)
    revision = metadata.get("model_revision", "")
    return {
        "revision": revision,
        "fresh": revision.startswith(FRESH),
        "versions": {
            key.removeprefix("version."): value
            for key, value in metadata.items()
            if key.startswith("version.")
        },
    }


def _made_with(summaries: Mapping[str, pa.Table]) -> list[dict[str, Any]]:
    """Models that were made with the same package versions, together."""
    found: dict[str, dict[str, Any]] = {}
    for name, summary in summaries.items():
        versions = _weights(summary)["versions"]
        same = found.setdefault(
            repr(sorted(versions.items())), {"models": [], "versions": versions}
        )
        same["models"].append(name)
    return list(found.values())


def _units(bands: ModelBands) -> dict[str, str]:
    """Over how many units the numbers of each panel are taken, for the caption."""
    found = {}
    for metric in RATES:
        for axis in ("layer", "step"):
            numbers = units(bands, axis, metric)
            ends = list(dict.fromkeys(numbers[:1] + numbers[-1:]))
            found[f"{metric}_{axis}"] = " to ".join(f"{n:,}" for n in ends) or "no"
    return found
