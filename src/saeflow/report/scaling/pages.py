"""Pages of the study: an overview of all models, and one page per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeflow.config.scaling_search import LEVELS
from saeflow.report.cells import (
    filled,
    number_cell,
    plain_cell,
    share_cell,
    table,
    text_cell,
    whole_cell,
)
from saeflow.report.scaling import explanations, quality, search, steering, training
from saeflow.report.scaling.claims import claims_table
from saeflow.report.scaling.features import features_page, write_features_page
from saeflow.report.scaling.finding import FROZEN, scaling_finding
from saeflow.report.scaling.model import ScalingModel
from saeflow.report.scaling.numbers import ALL, CALIBRATED, NONE, PUBLISHED, Figure, Row, Table
from saeflow.report.scaling.verdicts import AREA, LEVEL, topics_found
from saeflow.report.site import Link, Site
from saeflow.report.study import made_with
from saeflow.report.tables import MISSING

SCALING_PAGE = Link("Scaling", "scaling.html")


def write_scaling_pages(
    site: Site, models: Sequence[ScalingModel], spec: Mapping[str, Any]
) -> None:
    """Write the overview and the page of each model.

    Parameters
    ----------
    site : Site
        Where to.
    models : sequence of ScalingModel
        As `saeflow.report.scaling.model.read_scaling_models` gives them.
    spec : mapping
        ``published``: names of dictionaries in the study's published form; ``top``: features that a
        search lists; ``prompts`` and ``samples`` of steering, None where nothing was steered.
    """
    shared = {
        "spec": {**spec, "area": AREA, "level": LEVEL},
        "models": [{"name": each.name, "href": each.href} for each in models],
    }
    overview = {
        **shared,
        "finding": scaling_finding(models, spec["published"]),
        "numbers": overview_table(models),
        "claims": claims_table(models),
        "made": made_with({each.name: each.weights for each in models}),
    }
    site.write_page(SCALING_PAGE.href, "scaling.html.jinja", overview)
    for model in models:
        context, figures = model_page(model, spec, _write_features(site, model))
        site.write_page(model.href, "scaling_model.html.jinja", {**shared, **context}, figures)


def overview_table(models: Sequence[ScalingModel]) -> Table:
    """A row per model: what its main SAE keeps, finds, writes and is explained by, beside chance."""
    cells = []
    for model in models:
        numbers, main = model.numbers, model.numbers.main
        frozen = numbers.of_control(FROZEN)
        found = search.searches(numbers, search.first_level(numbers))
        steered = steering.passing(numbers, next(iter(steering.SCORES)))
        rows = explanations.summary_rows(numbers)
        line = [text_cell(model.name) | {"href": model.href}]
        line += [text_cell(MISSING if main is None else main.title)]
        line += [whole_cell(None if main is None else numbers.latents(main))]
        line += [number_cell(numbers.quality(main, "l0_mean"), "{:,.1f}".format)]
        line += [share_cell(numbers.quality(main, quality.BY_MEAN))]
        line += [share_cell(numbers.quality(frozen, quality.BY_MEAN))]
        line += [share_cell(numbers.quality(main, "dead_share", split=ALL))]
        line += [_of(len(topics_found(found)), len(found)), _mean_area(found, NONE)]
        line += [_mean_area(found, "words"), _of(len(steered.topics), len(steered.tested))]
        for control in (NONE, explanations.SWAPPED):
            place = ("detection", explanations.EVERY, explanations.ACCURACY, control)
            line += [share_cell(rows.get(place))]
        cells.append(line)
    chance = [text_cell("Chance"), text_cell(MISSING), *(whole_cell(None) for _ in range(6))]
    chance += [plain_cell(0.5, _ratio), plain_cell(0.5, _ratio), whole_cell(None)]
    chance += [share_cell(_fixed(0.5)), share_cell(_fixed(0.5))]
    heads = [("Model", False), ("Main SAE", False), ("Features", True), ("Active per token", True)]
    heads += [("Cross-entropy recovered", True), ("The same, frozen decoder", True)]
    heads += [("Dead features", True), ("Topics found", True), ("Mean area", True)]
    heads += [("Mean area, words alone", True), ("Topics steered beyond every control", True)]
    heads += [("Explanations right", True), ("Another feature’s right", True)]
    return filled(table(heads, [*cells, chance]))


def model_page(
    model: ScalingModel, spec: Mapping[str, Any], features: str | None = None
) -> tuple[dict[str, Any], dict[str, Figure | None]]:
    """What the page of a model reads, and its figures by id.

    Parameters
    ----------
    model : ScalingModel
        Whose page it is.
    spec : mapping
        As of `write_scaling_pages`.
    features : str, optional
        File name of the page of its features; None: there is none.
    """
    numbers = model.numbers
    drawn = {
        "recovered": quality.recovered_figure(model),
        "densities": quality.densities_figure(model),
        "curves": training.training_figure(model),
        "areas": search.search_figure(numbers),
        "scores": steering.doses_figure(numbers, steering.SCORES),
        "costs": steering.doses_figure(numbers, steering.COSTS),
        "accuracies": explanations.explanations_figure(model),
    }
    context = {
        "model": model.name,
        "weights": model.weights,
        "control": model.control_name,
        "main": None if numbers.main is None else numbers.main.title,
        "layer": numbers.layer,
        "held_out": numbers.held_out,
        "features_page": features,
        "finding": scaling_finding([model], spec["published"]),
        "quality": quality.quality_table(model),
        "alike": quality.alike_table(model),
        "searched": search.search_table(numbers),
        "listed": search.listed_table(numbers),
        "published_search": search.published_table(numbers),
        "targets": search.targets_table(numbers),
        "slopes": steering.slopes_table(numbers),
        "costs": steering.costs_table(numbers),
        "accuracy": share_cell(steering.accuracy(numbers)),
        "written": steering.written(numbers, CALIBRATED),
        "published_written": steering.written(numbers, PUBLISHED),
        "explained": explanations.explanations_table(model),
        "tellers": explanations.tellers(numbers),
        "ids": {name: figure is not None for name, figure in drawn.items()},
    }
    return context, drawn


def _write_features(site: Site, model: ScalingModel) -> str | None:
    """Write the page of a model's features and return its file name; None where none is listed."""
    numbers = model.numbers
    tables = {name: table for name, table in numbers.tables.items() if len(table)}
    if not {"features", "examples"} <= set(tables):
        return None
    back = [SCALING_PAGE, Link(model.name, model.href)]
    level = search.first_level(numbers) or LEVELS[0]
    write_features_page(site, model.name, tables, back=back, level=level)
    return features_page(model.name)


def _mean_area(found: Sequence[search.Found], control: str) -> dict[str, Any]:
    areas = [
        row["value"]
        for each in found
        if (row := each.row(control)) is not None and row["value"] is not None
    ]
    return plain_cell(sum(areas) / len(areas) if areas else None, _ratio)


def _of(passed: int, tested: int) -> dict[str, Any]:
    return whole_cell(passed) | {"value": f"{passed} of {tested}"} if tested else whole_cell(None)


def _fixed(value: float) -> Row:
    return {"value": value, "ci_low": None, "ci_high": None}


def _ratio(value: float) -> str:
    return f"{value:.3f}"
