"""Pages of the study: an overview of all models, and one page per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from saeflow.report.hierarchy import causal, curves, effects, tables
from saeflow.report.hierarchy.cells import p_text, share_cell, table, text_cell
from saeflow.report.hierarchy.finding import Subject, hierarchy_finding
from saeflow.report.hierarchy.numbers import (
    NONE,
    PERMUTED,
    PUBLISHED,
    RANDOM_PROBLEMS,
    HierarchyRun,
    ModelTables,
    read_runs,
    run_titles,
)
from saeflow.report.site import Link, Site
from saeflow.report.study import weights_of

HIERARCHY_PAGE = Link("Hierarchy", "hierarchy.html")


@dataclass(frozen=True)
class HierarchyModel:
    """One model of the study.

    Attributes
    ----------
    name : str
        In the configuration.
    subjects : sequence of Subject
        Its runs.
    weights : mapping
        ``revision``, ``fresh`` and ``versions``, as `saeflow.report.study.weights_of` gives them.
    """

    name: str
    subjects: Sequence[Subject]
    weights: Mapping[str, Any]

    @property
    def href(self) -> str:
        """File name of its page."""
        return f"hierarchy-{self.name}.html"


def read_models(
    found: Mapping[str, ModelTables], comparison: pa.Table, controls: Mapping[str, str]
) -> list[HierarchyModel]:
    """Read every model's tables, and what they come to beside each other.

    Parameters
    ----------
    found : mapping of str to ModelTables
        By model, in the order of the pages.
    comparison : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY_COMPARISON`.
    controls : mapping of str to str
        Untrained model of each trained one that has it.
    """
    weights = {name: weights_of(tables.summary) for name, tables in found.items()}
    runs = {name: read_runs(tables) for name, tables in found.items()}
    verdicts = causal.set_verdicts(comparison, controls)
    return [
        HierarchyModel(
            name,
            [
                Subject(
                    ", ".join(filter(None, (name, title))),
                    run,
                    verdicts.get(_key(name, run)),
                    weights[name]["fresh"],
                    _same_bank(run, runs.get(controls.get(name, ""), [])),
                )
                for run, title in zip(runs[name], run_titles(runs[name]), strict=True)
            ],
            weights[name],
        )
        for name in found
    ]


def finding_of(models: Sequence[HierarchyModel]) -> dict[str, Any] | None:
    """First paragraph over all models: of the trained ones, or of all where none is trained."""
    trained = [each for each in models if not each.weights["fresh"]] or models
    return hierarchy_finding([subject for each in trained for subject in each.subjects])


def write_hierarchy_pages(
    site: Site, models: Sequence[HierarchyModel], spec: Mapping[str, Any]
) -> None:
    """Write the overview and the page of each model.

    Parameters
    ----------
    site : Site
        Where to.
    models : sequence of HierarchyModel
        As `read_models` gives them.
    spec : mapping
        ``published``: thresholds of the rules; ``calibrated``: settings of that mode, or None.
    """
    shared = {
        "published": spec["published"],
        "calibrated": spec["calibrated"],
        "models": [{"name": each.name, "href": each.href} for each in models],
    }
    overview = {
        **shared,
        "finding": finding_of(models),
        "numbers": _overview_table(models),
        "made": [{"models": [each.name], **each.weights} for each in models],
    }
    site.write_page(HIERARCHY_PAGE.href, "hierarchy.html.jinja", overview)
    for model in models:
        sections: list[dict[str, Any]] = []
        figures: dict[str, Any] = {}
        for number, subject in enumerate(model.subjects, start=1):
            section, drawn = _section(subject.run, number, spec)
            named = {"title": subject.name if len(model.subjects) > 1 else ""}
            sections.append({**section, **named})
            figures |= drawn
        context = {
            **shared,
            "model": model.name,
            "weights": model.weights,
            "finding": hierarchy_finding(model.subjects),
            "runs": sections,
        }
        site.write_page(model.href, "hierarchy_model.html.jinja", context, figures)


def _section(
    run: HierarchyRun, number: int, spec: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that the page shows of one run, and its figures by id."""
    level = spec["calibrated"]["specialists"]["tests"]["q_value"] if spec["calibrated"] else 0.05
    drawn = {
        "frequency": curves.frequency_figure(run),
        "followed": curves.followed_figure(run),
        "levels": curves.levels_figure(run),
        "scores": curves.scores_figure(run),
        "sweep": curves.sweep_figure(run),
        "ablation": effects.ablation_figure(run),
        "forest": effects.forest_figure(run, level),
        "doses": effects.dose_figure(run),
        "screen": effects.screen_figure(run),
    }
    figures = {f"{name}-{number}": figure for name, figure in drawn.items() if figure}
    ids = {name: f"{name}-{number}" if figure else None for name, figure in drawn.items()}
    section = {
        "number": number,
        "dictionary": run.dictionary,
        "dataset": run.dataset,
        "ids": ids,
        "types": tables.types_table(run),
        "ranges": tables.ranges_table(run, spec["published"]["specialists"]["rank_ranges"]),
        "impact": tables.impact_table(run),
        "constant": tables.impact_sentence(run),
        "followed": tables.followed_table(run),
        "levels": tables.levels_table(run),
        "sweep": tables.sweep_table(run),
        "together": tables.together_table(run),
        "modules": tables.modules_table(run, level),
        "set": causal.set_cells(run),
        "controls": causal.set_table(run),
        "features": causal.features_table(run),
        "swaps": causal.swaps_table(run),
        "agreement": causal.agreement(run),
        "maximal": causal.maximal_groups(run),
    }
    return section, figures


def _overview_table(models: Sequence[HierarchyModel]) -> dict[str, Any]:
    """A row per run: the published rule, exact tests and ablation, each beside its chance level."""
    cells = []
    for model in models:
        for subject in model.subjects:
            run = subject.run
            rates = [
                run.number("share_specialised", control, mode=PUBLISHED)
                for control in (NONE, RANDOM_PROBLEMS)
            ]
            for target in ("operators", "operands"):
                metric = f"share_specialists.{target}"
                rates += [run.number(metric, control) for control in (NONE, PERMUTED)]
            found = causal.set_cells(run)
            nothing = text_cell("–") | {"numeric": True}
            adjusted = nothing
            if subject.verdict is not None:
                adjusted = text_cell(p_text(subject.verdict.adjusted)) | {"numeric": True}
            effect = found.get("reported", nothing)
            name = text_cell(subject.name) | {"href": model.href}
            place = found.get("site", text_cell("–"))
            cells.append([name, *(share_cell(row) for row in rates), place, effect, adjusted])
    heads = [
        ("Model", False),
        ("Specialised by the published rule", True),
        ("Random problems", True),
        ("Follow an operator", True),
        ("Permuted", True),
        ("Follow an operand", True),
        ("Permuted", True),
        ("Chosen site", False),
        ("Set beyond random features, nats", True),
        ("p, Holm", True),
    ]
    return table(heads, cells)


def _key(model: str, run: HierarchyRun) -> causal.BankKey:
    return model, run.dataset, run.dictionary, run.seed


def _same_bank(run: HierarchyRun, others: Sequence[HierarchyRun]) -> HierarchyRun | None:
    """The run of an untrained model with the same data set and dictionary; None where several fit."""
    same = [
        other
        for other in others
        if (other.dataset, other.dictionary) == (run.dataset, run.dictionary)
    ]
    exact = [other for other in same if other.seed == run.seed]
    found = exact or same
    return found[0] if len(found) == 1 else None
