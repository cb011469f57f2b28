"""Pages of the study: an overview of all models, and one page per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from saeflow.report.cells import (
    filled,
    number_cell,
    p_text,
    plain_cell,
    share_cell,
    table,
    text_cell,
)
from saeflow.report.shades import legend
from saeflow.report.site import Link, Site
from saeflow.report.specialists import (
    alignment,
    behaviour,
    discovery,
    effects,
    examples,
    geometry,
    retrieval,
)
from saeflow.report.specialists.claims import claims_table
from saeflow.report.specialists.finding import specialist_finding
from saeflow.report.specialists.model import SpecialistModel, bank_titles
from saeflow.report.specialists.numbers import Bank, Figure, Table, pooling_title
from saeflow.report.study import made_with
from saeflow.report.tables import MISSING

SPECIALISTS_PAGE = Link("Specialists", "specialists.html")


def write_specialist_pages(
    site: Site, models: Sequence[SpecialistModel], aligned: pa.Table, spec: Mapping[str, Any]
) -> None:
    """Write the overview and the page of each model.

    Parameters
    ----------
    site : Site
        Where to.
    models : sequence of SpecialistModel
        As `saeflow.report.specialists.model.read_specialist_models` gives them.
    aligned : pyarrow.Table
        Columns of `FEATURE_ALIGNMENT`, of all models.
    spec : mapping
        ``pooling`` whose numbers are told first; ``threshold``, ``candidates``, ``top_means`` and
        ``relabelings`` of the published procedure; ``floor`` and ``q_value`` of a specialist.
    """
    shared = {
        "spec": {**spec, "pooling_title": pooling_title(spec["pooling"])},
        "models": [{"name": each.name, "href": each.href} for each in models],
    }
    found = alignment.alignment_rows(aligned, [each.name for each in models])
    drawn = {"cka": alignment.cka_figure(found)}
    overview = {
        **shared,
        "finding": specialist_finding(models, spec["pooling"]),
        "numbers": overview_table(models, spec["pooling"]),
        "depth": discovery.depth_beside_table(models),
        "alignment": alignment.alignment_table(found),
        "sparsity": alignment.SPARSITY,
        "claims": claims_table(models),
        "made": made_with({each.name: each.weights for each in models}),
        "level": effects.LEVEL,
        "ids": {name: figure is not None for name, figure in drawn.items()},
    }
    site.write_page(SPECIALISTS_PAGE.href, "specialists.html.jinja", overview, drawn)
    for model in models:
        context, figures = _model(model, spec)
        site.write_page(model.href, "specialists_model.html.jinja", {**shared, **context}, figures)


def overview_table(models: Sequence[SpecialistModel], pooling: str) -> Table:
    """A row per model and bank: what its last block read says of form, topic, pair and behaviour."""
    cells = []
    for model in models:
        banks = model.numbers.banks()
        for bank, title in zip(banks, bank_titles(banks), strict=True):
            layers = model.numbers.layers(bank)
            key: dict[str, Any] = {"bank": bank, "layer": layers[-1] if layers else None}
            key |= {"pooling": pooling}
            row = model.numbers.row
            beyond = row("geometry", geometry.TOPICS, "difference_beyond_words", **key)
            name = ", ".join(filter(None, (model.name, title)))
            cells.append(
                [
                    text_cell(name) | {"href": model.href},
                    text_cell(MISSING if not layers else str(layers[-1])),
                    *(
                        number_cell(row("discovery", each, discovery.AREA, **key), "{:.3f}".format)
                        for each in ("pairs", "forms")
                    ),
                    number_cell(row("geometry", geometry.TOPICS, "difference", **key), _signed),
                    number_cell(beyond, _signed),
                    plain_cell(None if beyond is None else beyond["q_value"], p_text),
                    share_cell(row("retrieval", retrieval.ALL, "top_1", **key)),
                    share_cell(row("retrieval", retrieval.ALL, "found_against_words", **key)),
                ]
            )
    chance = [text_cell("Chance"), text_cell(MISSING), *(plain_cell(0.5, _ratio) for _ in range(2))]
    chance += [plain_cell(0.0, _signed), plain_cell(0.0, _signed), plain_cell(None, p_text)]
    chance += [_chance(models, pooling), share_cell(_even())]
    words = [
        text_cell("Words alone"),
        text_cell(MISSING),
        *(plain_cell(None, _ratio) for _ in range(2)),
    ]
    # The same texts, and so the same words, are read by all models.
    alike, top = (
        next(filter(None, (each.numbers.row(*place, "words") for each in models)), None)
        for place in (
            ("geometry", geometry.TOPICS, "difference"),
            ("retrieval", retrieval.ALL, "top_1"),
        )
    )
    words += [number_cell(alike, _signed), plain_cell(None, _signed), plain_cell(None, p_text)]
    words += [share_cell(top), plain_cell(None, _signed)]
    heads = [("Model", False), ("Layer", False), ("Topic and form: area", True)]
    heads += [("Form in its topic: area", True), ("Topics: difference", True)]
    heads += [("Beyond words", True), ("q", True), ("Pairs found first", True)]
    return filled(table([*heads, ("Nearer against words", True)], [*cells, chance, words]))


def _chance(models: Sequence[SpecialistModel], pooling: str) -> dict[str, Any]:
    """Chance of finding a pair first, which is the same for all models that read the same texts."""
    for model in models:
        for bank in model.numbers.banks():
            for layer in model.numbers.layers(bank)[-1:]:
                key: dict[str, Any] = {"bank": bank, "layer": layer, "pooling": pooling}
                row = model.numbers.row("retrieval", retrieval.ALL, "top_1", "chance", **key)
                return share_cell(row)
    return share_cell(None)


def _even() -> dict[str, Any]:
    return {"value": 0.5, "ci_low": None, "ci_high": None}


def _model(
    model: SpecialistModel, spec: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Figure | None]]:
    """What the page of a model reads, and its figures by id."""
    numbers, banks = model.numbers, model.numbers.banks()
    drawn: dict[str, Figure | None] = {}
    sections = []
    for number, (bank, title) in enumerate(zip(banks, bank_titles(banks), strict=True), start=1):
        section, figures = _bank(model, bank, number, spec["pooling"])
        sections.append({**section, "title": title})
        drawn |= figures
    context = {
        "model": model.name,
        "weights": model.weights,
        "control": model.control_name,
        "finding": specialist_finding([model], spec["pooling"]),
        "tasks": behaviour.tasks_table(model),
        "answers": behaviour.answers_table(model),
        "judges": behaviour.judges(numbers),
        "most_tasks": behaviour.MOST,
        "legend": legend(),
        "banks": sections,
        "ids": {name: figure is not None for name, figure in drawn.items()},
    }
    return context, drawn


def _bank(
    model: SpecialistModel, bank: Bank, number: int, pooling: str
) -> tuple[dict[str, Any], dict[str, Figure | None]]:
    """What the page shows of one bank, and its figures by id."""
    numbers = model.numbers
    figures = {
        "counts": discovery.counts_figure(model, bank),
        "areas": discovery.areas_figure(model, bank),
        "needed": discovery.needed_figure(numbers, bank, pooling),
        "similarity": geometry.similarity_figure(numbers, bank, pooling),
        "retrieval": retrieval.retrieval_figure(model, bank),
        "variance": retrieval.variance_figure(model, bank),
        "overlap": retrieval.overlap_figure(model, bank),
        "scatter": behaviour.scatter_figure(numbers, bank),
        "matrix": effects.matrix_figure(numbers, bank),
        "cascade": effects.cascade_figure(numbers, bank),
    }
    section = {
        "number": number,
        "dictionary": bank.dictionary,
        "seed": bank.seed,
        "depth": discovery.depth_table(model, bank),
        "rule": discovery.rule_table(numbers, bank),
        "best": discovery.best_table(numbers, bank, pooling),
        "clustering": geometry.clustering_table(model, bank),
        "published_geometry": geometry.published_table(numbers, bank),
        "mantel": geometry.mantel_table(numbers, bank),
        "retrieval": retrieval.retrieval_table(numbers, bank, pooling),
        "variance": retrieval.variance_table(numbers, bank),
        "overlap": retrieval.overlap_table(numbers, bank, pooling),
        "correlations": behaviour.correlations_table(numbers, bank),
        "point_biserial": behaviour.published_table(numbers, bank),
        "tokens": behaviour.tokens_table(numbers, bank),
        "matrix": effects.matrix_table(numbers, bank),
        "ratios": effects.ratios_table(numbers, bank),
        "published_matrix": effects.published_table(numbers, bank),
        "examples": examples.top_texts(numbers, bank),
    }
    return section, {f"{name}-{number}": figure for name, figure in figures.items()}


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if value else "0"
