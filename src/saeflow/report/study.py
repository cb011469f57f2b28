"""Overview of the GSM8K study and one page per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from saeflow.artifacts.provenance import metadata_of
from saeflow.report.bands import ModelBands, read_bands
from saeflow.report.beside import control_figure, control_table
from saeflow.report.calibrated import CalibratedTables, calibrated_section, discovered_figure
from saeflow.report.controls import HEADLINES, titles_of
from saeflow.report.distribution import enrichment_figure
from saeflow.report.dotplot import dotplot
from saeflow.report.figures import RATES, rates_figure, units
from saeflow.report.finding import finding
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
    calibrated : CalibratedTables
        What the calibrated mode made; empty where it did not run.
    """

    problems: Mapping[str, pa.Table]
    summaries: Mapping[str, pa.Table]
    banks: Mapping[str, Sequence[pa.Table]]
    calibrated: CalibratedTables = field(default_factory=CalibratedTables)


def model_link(model: str) -> Link:
    """Name and place of a model's page."""
    return Link(model, model_page(model))


def write_overview(
    site: Site,
    tables: StudyTables,
    answers: Sequence[Mapping[str, Any]],
    spec: Mapping[str, Any],
    cards: Mapping[str, Mapping[str, Any] | None],
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
    cards : mapping of str to mapping or None
        ``href``, ``lead`` and ``models`` of the pages of ``hierarchy``, ``decimal_bug``,
        ``specialists`` and ``scaling``, where these studies run.
    """
    beside = tables.calibrated.beside
    context = {
        "published": spec,
        "permutations": spec["permutations"]["count"],
        "calibrated": tables.calibrated.settings,
        "finding": finding(beside),
        "controls": [
            {**control_table(each, HEADLINES), "title": title, "id": f"controls-{number}"}
            for number, (each, title) in enumerate(zip(beside, titles_of(beside), strict=True))
        ],
        "models": [
            {"name": name, "href": model_link(name).href, **_what_ran(name, tables, spec)}
            | weights_of(summary)
            for name, summary in tables.summaries.items()
        ],
        "datasets": dataset_rows(tables.problems),
        "made": made_with({name: weights_of(each) for name, each in tables.summaries.items()}),
        "answers": answers,
        "rates": [each["name"] for each in answers if _has_dots(each)],
        "hierarchy": cards["hierarchy"],
        "decimal_bug": cards["decimal_bug"],
        "specialists": cards["specialists"],
        "scaling": cards["scaling"],
    }
    figures = {
        f"{each['name']}-rate": dotplot(
            each["models"], each["published"], f"{each['name']} rate".capitalize()
        )
        for each in answers
        if _has_dots(each)
    }
    drawn = {f"controls-{n}": control_figure(each, HEADLINES) for n, each in enumerate(beside)}
    site.write_page(OVERVIEW, "index.html.jinja", context, {**figures, **drawn})


def write_model_page(site: Site, model: str, tables: StudyTables, spec: Mapping[str, Any]) -> None:
    """Write the page of one model: its summary, rates, enrichments, sites and banks."""
    summary, banks = tables.summaries[model], tables.banks[model]
    bands = read_bands(model, summary, _published_dictionaries(model, spec))
    context = {
        "model": model,
        **_what_ran(model, tables, spec),
        **weights_of(summary),
        "published": spec,
        "permutations": spec["permutations"]["count"],
        "summary": summary_blocks(bands, spec),
        "units": _units(bands),
        "calibrated": calibrated_section(model, summary, tables.calibrated),
        "quality": quality_rows(banks),
    }
    held_out = SPLITS[-1]
    figures = {
        "rates": rates_figure(bands) if bands.runs else None,
        "enrichments": enrichment_figure(bands),
        "counts": counts_figure(bands),
        "discovered": discovered_figure(model, summary, tables.calibrated),
        "quality": quality_figure([each for each in banks if not _is_control(each)], held_out),
    }
    site.write_page(model_link(model).href, "gsm8k.html.jinja", context, figures)


def _has_dots(answer: Mapping[str, Any]) -> bool:
    return answer["name"] in RATES.values() and bool(answer["models"])


def _is_control(bank: pa.Table) -> bool:
    return bool(len(bank)) and bank["control"][0].as_py() != "none"


def _published_dictionaries(model: str, spec: Mapping[str, Any]) -> Sequence[str]:
    run = spec["models"].get(model)
    return run["dictionaries"] if run else ()


def _what_ran(model: str, tables: StudyTables, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Data sets, dictionaries and seeds of a model's own banks, in both modes."""
    summary = tables.summaries[model]
    named = {
        "published": _published_dictionaries(model, spec),
        "calibrated": tables.calibrated.dictionaries.get(model, ()),
    }
    runs = [
        run
        for mode, dictionaries in named.items()
        for run in read_bands(model, summary, dictionaries, mode).runs
    ]
    return {
        "datasets": list(dict.fromkeys(run.dataset for run in runs)),
        "dictionaries": list(dict.fromkeys(run.dictionary for run in runs)),
        "seeds": sorted({run.seed for run in runs}),
        "modes": list(dict.fromkeys(run.mode for run in runs)),
    }


def weights_of(summary: pa.Table) -> dict[str, Any]:
    """Which weights a summary was made with, whether they are fresh, and the packages' versions."""
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


def made_with(weights: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put models that were made with the same package versions together.

    Parameters
    ----------
    weights : mapping of str to mapping
        As `weights_of` gives them, by model.

    Returns
    -------
    list of dict
        ``models`` and their ``versions``.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, each in weights.items():
        versions = each["versions"]
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
