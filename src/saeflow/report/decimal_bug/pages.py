"""Pages of the study: an overview of all models, and one page per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeflow.report.cells import Cell, filled, share_cell, table, text_cell
from saeflow.report.decimal_bug import behaviour, overlap, patching, subsets
from saeflow.report.decimal_bug.claims import claims_table
from saeflow.report.decimal_bug.finding import decimal_finding, interpretation
from saeflow.report.decimal_bug.model import DecimalModel, bank_titles
from saeflow.report.decimal_bug.numbers import TO_BUGGY, Bank
from saeflow.report.site import Link, Site
from saeflow.report.study import made_with
from saeflow.report.tables import MISSING

DECIMAL_PAGE = Link("Decimal bug", "decimal_bug.html")


def write_decimal_pages(
    site: Site, models: Sequence[DecimalModel], spec: Mapping[str, Any]
) -> None:
    """Write the overview and the page of each model.

    Parameters
    ----------
    site : Site
        Where to.
    models : sequence of DecimalModel
        As `saeflow.report.decimal_bug.model.read_decimal_models` gives them.
    spec : mapping
        ``numbers``, ``top``, ``low`` and ``high`` of the published procedure; ``pairs``, ``samples``,
        ``temperature`` and ``q_value`` of the calibrated one.
    """
    shared = {"spec": spec, "models": [{"name": each.name, "href": each.href} for each in models]}
    overview = {
        **shared,
        "finding": decimal_finding(models),
        "numbers": overview_table(models),
        "claims": claims_table(models),
        "published_sets": subsets.published_sets_table(),
        "made": made_with({each.name: each.weights for each in models}),
    }
    site.write_page(DECIMAL_PAGE.href, "decimal_bug.html.jinja", overview)
    for model in models:
        context, figures = _model(model, spec)
        site.write_page(model.href, "decimal_bug_model.html.jinja", {**shared, **context}, figures)


OVERVIEW_DONORS = [donor for donor in patching.DONORS if not donor.startswith("mean")]
"""Means stand on the models' pages."""


def overview_table(models: Sequence[DecimalModel]) -> dict[str, Any]:
    """A row per model: whether it has the bug, what was chosen, and every donor there.

    Behind another pair's plain prompt stands how often its number is named, which tells what that did.
    """
    cells = []
    for model in models:
        numbers, site = model.numbers, model.numbers.site()
        name = text_cell(model.name) | {"href": model.href}
        where = text_cell(MISSING if site is None else site.title)
        named = share_cell(numbers.at_site("wrote_donor", "other_pair_plain"))
        donors = [share_cell(numbers.at_site("right", donor)) for donor in OVERVIEW_DONORS]
        donors.insert(2, named)
        right = behaviour.right_cells(numbers)
        cells.append([name, *right, _bug_cell(model), where, *donors])
    heads = [("Model", False), ("Right, Q/A formats", True), ("Right, plain formats", True)]
    heads += [("Bug", False), ("Chosen site", False)]
    names = [patching.capital(patching.SHORT[donor]) for donor in OVERVIEW_DONORS]
    names.insert(2, "Names its number")
    heads += [(each, True) for each in names]
    return filled(table(heads, cells))


def _bug_cell(model: DecimalModel) -> Cell:
    """Whether there is a bug on the pairs that are reported, and whether the others agree."""
    rows = [model.numbers.bug(half=half) for half in ("report", "choose")]
    reported, chosen = (None if row is None else row["value"] == 1 for row in rows)
    if reported is None:
        return text_cell(MISSING)
    told = "yes" if reported else "no"
    if chosen is not None and chosen != reported:
        told += ", but not on the other half" if reported else ", but on the other half"
    return text_cell(told)


def _model(
    model: DecimalModel, spec: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What the page of a model reads, and its figures by id."""
    numbers, banks = model.numbers, model.numbers.banks()
    drawn = {
        "behaviour": behaviour.behaviour_figure(model),
        **{name: patching.map_figure(numbers, name) for name in patching.DIRECTIONS},
        "phases": patching.phases_figure(numbers),
        "blends": patching.blend_figure(numbers),
        "sizes": subsets.sizes_figure(numbers),
        "values": subsets.values_figure(numbers),
    }
    sections = []
    for number, (bank, title) in enumerate(zip(banks, bank_titles(banks), strict=True), start=1):
        section, figures = _bank(model, bank, number, spec)
        sections.append({**section, "title": title})
        drawn |= figures
    chosen = [numbers.bug(metric, "choose") for metric in ("right_qa", "right_plain")]
    context = {
        "model": model.name,
        "weights": model.weights,
        "control": model.control_name,
        "finding": decimal_finding([model]),
        "formats": behaviour.formats_table(numbers, spec["numbers"]),
        "prone": behaviour.prone_table(model),
        "own_pair": behaviour.own_pair_table(model),
        "chosen": [share_cell(row) for row in chosen],
        "patched": model.patched,
        "directions": {name: name in drawn and drawn[name] for name in patching.DIRECTIONS},
        "titles": patching.DIRECTIONS,
        "site": None if (site := numbers.site()) is None else site.title,
        "donors": patching.site_table(numbers),
        "beyond": patching.beyond_table(numbers),
        "interpretation": interpretation(numbers),
        "random": patching.random_table(numbers),
        "before": share_cell(patching.baseline(numbers, TO_BUGGY)),
        "parity": subsets.parity_table(numbers),
        "sets": subsets.sets_table(numbers),
        "own_patches": subsets.own_pair_table(numbers),
        "banks": sections,
    }
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    context["ids"] = {name: name in figures for name in drawn}
    return context, figures


def _bank(
    model: DecimalModel, bank: Bank, number: int, spec: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page shows of one bank, and its figures by id."""
    numbers = model.numbers
    figures = {
        f"lists-{number}": overlap.published_figure(numbers, bank, spec["low"], spec["high"]),
        f"likeness-{number}": overlap.likeness_figure(model, bank),
    }
    section = {
        "number": number,
        "dictionary": bank.dictionary,
        "seed": bank.seed,
        "checks": overlap.checks_table(model, bank),
        "published": overlap.published_table(numbers, bank),
        "likeness": overlap.likeness_table(model, bank),
        "features": overlap.features_table(numbers, bank),
        "attribution": subsets.attribution_table(numbers, bank),
        "own_head": subsets.own_head_table(numbers, bank),
    }
    return section, figures
