"""Pages of the study: an overview of all models, and one page per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from saeflow.report.cells import filled, p_text, share_cell, table, text_cell
from saeflow.report.hierarchy import causal, curves, effects, tables
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
from saeflow.report.hierarchy.reported import reported_table
from saeflow.report.hierarchy.verdicts import (
    BankKey,
    controls_of,
    count_verdicts,
    dictionaries_of,
    set_verdicts,
)
from saeflow.report.site import Link, Site
from saeflow.report.study import made_with, weights_of
from saeflow.studies.compare.published_hierarchy import (
    PUBLISHED_ACTIVE,
    PUBLISHED_PROBLEMS,
    PUBLISHED_SAE,
    VERDICT,
)

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


def read_models(found: Mapping[str, ModelTables], comparison: pa.Table) -> list[HierarchyModel]:
    """Read every model's tables, and what they come to beside each other.

    Parameters
    ----------
    found : mapping of str to ModelTables
        By model, in the order of the pages.
    comparison : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY_COMPARISON`.
    """
    weights = {name: weights_of(tables.summary) for name, tables in found.items()}
    measured = {name: read_runs(tables) for name, tables in found.items()}
    banks = {_key(name, run): run for name in measured for run in measured[name]}
    verdicts, controls = set_verdicts(comparison), controls_of(comparison)
    dictionaries = dictionaries_of(comparison)
    runs = {name: _studied(name, each, comparison) for name, each in measured.items()}
    counts = count_verdicts(comparison)

    def subject(name: str, run: HierarchyRun, title: str) -> Subject:
        key = _key(name, run)
        return Subject(
            ", ".join(filter(None, (name, title))),
            run,
            verdicts.get(key),
            weights[name]["fresh"],
            banks.get((controls.get(key, ""), *key[1:])),
            controls.get(key, ""),
            counts.get(key, {}),
            {
                control: banks[name, run.dataset, dictionary, run.seed]
                for control, dictionary in dictionaries.get(key, {}).items()
            },
        )

    return [
        HierarchyModel(
            name,
            [
                subject(name, run, title)
                for run, title in zip(runs[name], run_titles(runs[name]), strict=True)
            ],
            weights[name],
        )
        for name in found
    ]


def _studied(model: str, runs: Sequence[HierarchyRun], comparison: pa.Table) -> list[HierarchyRun]:
    """Runs that are told by themselves: all but those that only stand beside another."""
    rows = comparison.select(["model", "dataset", "dictionary", "seed", "other"]).to_pylist()
    own = {tuple(row.values())[:-1] for row in rows if not row["other"]}
    beside = {
        (name, dataset, dictionary, seed)
        for (name, dataset, _, seed), controls in dictionaries_of(comparison).items()
        for dictionary in controls.values()
    }
    keys = [_key(model, run) for run in runs]
    return [run for run, key in zip(runs, keys, strict=True) if key not in beside or key in own]


def finding_of(models: Sequence[HierarchyModel]) -> dict[str, Any] | None:
    """First paragraph over all models: of the trained ones, or of all where none is trained."""
    return hierarchy_finding(_trained(models))


def _trained(models: Sequence[HierarchyModel]) -> list[Subject]:
    trained = [each for each in models if not each.weights["fresh"]] or models
    return [subject for each in trained for subject in each.subjects]


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
        "controls": [tables.control_title(name) for name in _dictionary_controls(models)],
        "reported": reported_table(_trained(models)),
        "study": {
            "sae": PUBLISHED_SAE,
            "problems": PUBLISHED_PROBLEMS,
            "verdict": VERDICT,
            "active": PUBLISHED_ACTIVE,
        },
        "made": made_with({each.name: each.weights for each in models}),
    }
    site.write_page(HIERARCHY_PAGE.href, "hierarchy.html.jinja", overview)
    for model in models:
        sections: list[dict[str, Any]] = []
        figures: dict[str, Any] = {}
        for number, subject in enumerate(model.subjects, start=1):
            section, drawn = _section(subject, number, spec)
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
    subject: Subject, number: int, spec: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that the page shows of one run, and its figures by id."""
    run, control = subject.run, subject.control
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
    ranges = spec["published"]["specialists"]["rank_ranges"]
    figures = {f"{name}-{number}": figure for name, figure in drawn.items() if figure}
    ids = {name: f"{name}-{number}" if figure else None for name, figure in drawn.items()}
    section = {
        "number": number,
        "dictionary": run.dictionary,
        "dataset": run.dataset,
        "ids": ids,
        "types": tables.types_table(run, control),
        "ranges": tables.ranges_table(run, ranges, control),
        "sanity": tables.sanity_sentence(run),
        "untrained": subject.control_name if control is not None else "",
        "dictionaries": [
            {"title": tables.control_title(name), "dictionary": each.dictionary}
            for name, each in subject.dictionaries.items()
        ],
        "untrained_problems": None if control is None else causal.problems_of(control)["reported"],
        "impact": tables.impact_table(run, control),
        "constant": tables.impact_sentence(run),
        "followed": tables.followed_table(run, subject.controls),
        "levels": tables.levels_table(run, subject.controls),
        "sweep": tables.sweep_table(run),
        "together": tables.together_table(run, subject.controls),
        "modules": tables.modules_table(run, level),
        "problems": causal.problems_of(run),
        "swapped": causal.swapped(run),
        "set": causal.set_cells(run, control),
        "controls": causal.set_table(run),
        "features": causal.features_table(run),
        "swaps": causal.swaps_table(run),
        "agreement": causal.agreement(run),
        "maximal": causal.maximal_groups(run),
    }
    return section, figures


def _overview_table(models: Sequence[HierarchyModel]) -> dict[str, Any]:
    """A row per run: the published rule, exact tests and ablation, each beside its chance level."""
    controls = _dictionary_controls(models)
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
                others = [subject.dictionaries.get(name) for name in controls]
                rates += [None if each is None else each.number(metric) for each in others]
            found = causal.set_cells(run)
            nothing = text_cell("–") | {"numeric": True}
            adjusted = nothing
            if subject.verdict is not None:
                adjusted = text_cell(p_text(subject.verdict.adjusted)) | {"numeric": True}
            effect = found.get("reported", nothing)
            name = text_cell(subject.name) | {"href": model.href}
            place = found.get("site", text_cell("–"))
            cells.append([name, *(share_cell(row) for row in rates), place, effect, adjusted])
    beside = [("Permuted", True), *((tables.control_title(name), True) for name in controls)]
    heads = [
        ("Model", False),
        ("Specialised by the published rule", True),
        ("Random problems", True),
        ("Follow an operator", True),
        *beside,
        ("Follow an operand", True),
        *beside,
        ("Chosen site", False),
        ("Set beyond random features, nats", True),
        ("p, Holm", True),
    ]
    return filled(table(heads, cells))


def _dictionary_controls(models: Sequence[HierarchyModel]) -> list[str]:
    """What the control dictionaries of all runs control for."""
    subjects = [subject for model in models for subject in model.subjects]
    return list(dict.fromkeys(name for subject in subjects for name in subject.dictionaries))


def _key(model: str, run: HierarchyRun) -> BankKey:
    return model, run.dataset, run.dictionary, run.seed
