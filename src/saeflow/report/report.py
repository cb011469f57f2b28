"""The whole report, from the workflow's tables to a folder that opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.calibration import (
    CALIBRATION,
    CAPACITY,
    DISCOVERIES,
    MATCHED,
    MATCHES,
    STABILITY,
)
from saeflow.artifacts.catalog import (
    ASSOCIATION,
    COMPARISON,
    COT_TOKENS,
    EVALUATION,
    EXAMPLES,
    LABELS,
    PROBLEMS,
    QUALITY,
    SUMMARY,
    TRAINING,
)
from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.decimal_bug import DECIMAL_BUG, LAYER_FEATURES
from saeflow.artifacts.hierarchy import (
    EFFECTS,
    HIERARCHY,
    HIERARCHY_COMPARISON,
    MAXIMAL,
    MODULES,
    SCREEN,
)
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.specialist_effects import (
    SPECIALIST_ACTIVATIONS,
    SPECIALIST_ANSWERS,
    SPECIALIST_BEHAVIOUR,
    SPECIALIST_EFFECTS,
    SPECIALIST_TASKS,
)
from saeflow.artifacts.specialists import (
    FEATURE_ALIGNMENT,
    SIMILARITIES,
    SPECIALIST_EXAMPLES,
    SPECIALIST_FEATURES,
    SPECIALISTS,
)
from saeflow.artifacts.tables import read_table
from saeflow.report.calibrated import CalibratedTables
from saeflow.report.comparison import COMPARISON_PAGE, answers, write_comparison_page
from saeflow.report.controls import read_calibration
from saeflow.report.decimal_bug.finding import decimal_finding
from saeflow.report.decimal_bug.model import DecimalModel, read_decimal_models
from saeflow.report.decimal_bug.numbers import DecimalTables
from saeflow.report.decimal_bug.pages import DECIMAL_PAGE, write_decimal_pages
from saeflow.report.features import FEATURES, FeatureTables, write_features_page
from saeflow.report.hierarchy.numbers import ModelTables
from saeflow.report.hierarchy.pages import (
    HIERARCHY_PAGE,
    HierarchyModel,
    finding_of,
    read_models,
    write_hierarchy_pages,
)
from saeflow.report.models import MODELS, write_models_page
from saeflow.report.run import RUN, write_run_page
from saeflow.report.scaling.finding import scaling_finding
from saeflow.report.scaling.model import ScalingModel, read_scaling_models
from saeflow.report.scaling.pages import SCALING_PAGE, write_scaling_pages
from saeflow.report.site import Link, Site
from saeflow.report.sizes import SIZES, write_sizes_page
from saeflow.report.specialists.finding import specialist_finding
from saeflow.report.specialists.model import SpecialistModel, read_specialist_models
from saeflow.report.specialists.numbers import SpecialistTables
from saeflow.report.specialists.pages import SPECIALISTS_PAGE, write_specialist_pages
from saeflow.report.study import (
    OVERVIEW,
    StudyTables,
    model_link,
    weights_of,
    write_model_page,
    write_overview,
)

SPECIALIST_TABLES = (
    SPECIALISTS,
    CLAIMS,
    SPECIALIST_FEATURES,
    SIMILARITIES,
    SPECIALIST_ACTIVATIONS,
    SPECIALIST_BEHAVIOUR,
    SPECIALIST_EFFECTS,
    SPECIALIST_EXAMPLES,
    SPECIALIST_TASKS,
    SPECIALIST_ANSWERS,
)
"""Of what `SpecialistTables` holds, in its order."""


@dataclass(frozen=True)
class ReportFiles:
    """Files that the report is made of.

    Attributes
    ----------
    datasets : sequence of Path
        Folders ``results/datasets/{dataset}``.
    studied : sequence of Path
        Folders ``results/gsm8k/{model}``.
    banks : sequence of Path
        Folders ``{model}/{dictionary}/seed{seed}``.
    comparison : Path
        ``results/compare/gsm8k.parquet``.
    evaluations : sequence of Path
        ``{model}/evaluation.parquet``.
    curves : mapping of str to Path
        Curves of the training, of those models that bring them.
    calibration, matched : Path or None
        ``results/compare/calibration.parquet`` and ``capacity.parquet``, where they are made.
    hierarchy : sequence of Path
        Folders ``results/hierarchy/{model}``, where that study runs.
    hierarchies : Path or None
        ``results/compare/hierarchy.parquet``, likewise.
    decimal_bug : sequence of Path
        Folders ``results/decimal_bug/{model}``, where that study runs.
    specialists : sequence of Path
        Folders ``results/specialists/{model}``, where that study runs.
    alignment : Path or None
        ``results/compare/specialists.parquet``, likewise.
    scaling : sequence of Path
        Tables ``results/scaling/{model}/{table}.parquet``, where that study runs; those that no page
        shows are passed over.
    """

    datasets: Sequence[Path]
    studied: Sequence[Path]
    banks: Sequence[Path]
    comparison: Path
    evaluations: Sequence[Path]
    curves: Mapping[str, Path]
    calibration: Path | None = None
    matched: Path | None = None
    hierarchy: Sequence[Path] = ()
    hierarchies: Path | None = None
    decimal_bug: Sequence[Path] = ()
    specialists: Sequence[Path] = ()
    alignment: Path | None = None
    scaling: Sequence[Path] = ()


def write_report(
    files: ReportFiles, *, templates: Path, spec: Mapping[str, Any], folder: Path
) -> None:
    """Write every page and what they load; the same tables give the same bytes.

    Parameters
    ----------
    files : ReportFiles
        What to show.
    templates : Path
        Folder of the Jinja templates.
    spec : mapping
        ``models``: names in order; ``published``: the study's settings; ``evaluated``: what the
        page about the models' abilities shows; ``calibrated``: None, or ``settings`` of that mode,
        ``models`` with their runs, and names of models ``reseeded`` and ``sized``; ``hierarchy``:
        None, or ``models`` in order, and the settings ``published`` and ``calibrated`` of that
        study; ``decimal_bug``: None, or ``models`` in order, names of ``untrained`` ones by that of
        the model whose shape they have, and what
        `saeflow.report.decimal_bug.pages.write_decimal_pages` reads; ``specialists``: the same of
        `saeflow.report.specialists.pages.write_specialist_pages`; ``scaling``: the same of
        `saeflow.report.scaling.pages.write_scaling_pages`.
    folder : Path
        Where to.
    """
    models, latents = spec["models"], spec["evaluated"]["latents"]
    pages = [Link("Overview", OVERVIEW), *map(model_link, models), COMPARISON_PAGE]
    pages += [SIZES] * (files.matched is not None)
    pages += [HIERARCHY_PAGE] * (spec["hierarchy"] is not None)
    pages += [DECIMAL_PAGE] * (spec["decimal_bug"] is not None)
    pages += [SPECIALISTS_PAGE] * (spec["specialists"] is not None)
    pages += [SCALING_PAGE] * (spec["scaling"] is not None)
    site = Site(templates, folder, [*pages, FEATURES, *([MODELS] if latents else []), RUN])
    site.write_assets()
    write_run_page(site)

    problems = {
        path.name: read_table(path / "problems.parquet", PROBLEMS) for path in files.datasets
    }
    calibrated = _calibrated(files, spec)
    summaries = _of_models(files, models, SUMMARY)
    study = StudyTables(problems, summaries, _banks(files, models), calibrated)
    compared = answers(read_table(files.comparison, COMPARISON), models)
    hierarchy = _hierarchy(files, spec)
    decimals = _decimals(files, spec)
    specialists = _specialists(files, spec)
    scaling = _scaling(files, spec)
    cards = {
        "hierarchy": _card(hierarchy),
        "decimal_bug": _decimal_card(decimals),
        "specialists": _specialist_card(specialists, spec),
        "scaling": _scaling_card(scaling, spec),
    }
    write_overview(site, study, compared, spec["published"], cards)
    for model in models:
        write_model_page(site, model, study, spec["published"])
    write_comparison_page(site, compared)
    if files.matched is not None:
        trained = [
            name for name in spec["calibrated"]["sized"] if not weights_of(summaries[name])["fresh"]
        ]
        grids = _of_models(files, spec["calibrated"]["sized"], CAPACITY)
        capacity = next(each for each in compared if each["name"] == "capacity")
        write_sizes_page(site, grids, read_table(files.matched, MATCHED), trained, capacity)
    if hierarchy:
        write_hierarchy_pages(site, hierarchy, spec["hierarchy"])
    if decimals:
        write_decimal_pages(site, decimals, spec["decimal_bug"])
    if specialists:
        assert files.alignment is not None, "the study's models are compared wherever it runs"
        aligned = read_table(files.alignment, FEATURE_ALIGNMENT)
        write_specialist_pages(site, specialists, aligned, spec["specialists"])
    if scaling:
        write_scaling_pages(site, scaling, spec["scaling"])
    write_features_page(site, _features(files, spec, problems), calibrated.settings or None)
    if latents:
        evaluations = {path.parent.name: read_table(path, EVALUATION) for path in files.evaluations}
        curves = {name: read_table(path, TRAINING) for name, path in files.curves.items()}
        write_models_page(site, evaluations, curves, latents)


def _calibrated(files: ReportFiles, spec: Mapping[str, Any]) -> CalibratedTables:
    chosen = spec["calibrated"]
    if chosen is None:
        return CalibratedTables()
    beside = []
    if files.calibration is not None:
        beside = read_calibration(read_table(files.calibration, CALIBRATION), spec["models"])
    stability = _of_models(files, chosen["reseeded"], STABILITY)
    return CalibratedTables(chosen["settings"], _own_dictionaries(spec), beside, stability)


def _hierarchy(files: ReportFiles, spec: Mapping[str, Any]) -> list[HierarchyModel]:
    chosen = spec["hierarchy"]
    if chosen is None:
        return []
    folders = {path.name: path for path in files.hierarchy}
    artifacts = [MODULES] if chosen["calibrated"] else []
    if chosen["calibrated"] and chosen["calibrated"]["causal"]:
        artifacts += [SCREEN, EFFECTS, MAXIMAL]
    found = {}
    for name in chosen["models"]:
        folder = folders[name]
        further = {
            each.name: read_table(folder / f"{each.name}.parquet", each) for each in artifacts
        }
        summary = read_table(folder / "summary.parquet", HIERARCHY)
        found[name] = ModelTables(summary, **further)
    assert files.hierarchies is not None, "the study's models are compared wherever it runs"
    comparison = read_table(files.hierarchies, HIERARCHY_COMPARISON)
    return read_models(found, comparison)


def _decimals(files: ReportFiles, spec: Mapping[str, Any]) -> list[DecimalModel]:
    chosen = spec["decimal_bug"]
    if chosen is None:
        return []
    folders = {path.name: path for path in files.decimal_bug}
    found = {
        name: DecimalTables(
            read_table(folders[name] / "summary.parquet", DECIMAL_BUG),
            read_table(folders[name] / "claims.parquet", CLAIMS),
            read_table(folders[name] / "layer_features.parquet", LAYER_FEATURES),
        )
        for name in chosen["models"]
    }
    return read_decimal_models(found, chosen["untrained"])


def _specialists(files: ReportFiles, spec: Mapping[str, Any]) -> list[SpecialistModel]:
    chosen = spec["specialists"]
    if chosen is None:
        return []
    folders = {path.name: path for path in files.specialists}
    named = SpecialistTables(*SPECIALIST_TABLES)._asdict()
    found = {
        name: SpecialistTables(
            *(read_table(folders[name] / f"{file}.parquet", each) for file, each in named.items())
        )
        for name in chosen["models"]
    }
    return read_specialist_models(found, chosen["untrained"])


def _scaling(files: ReportFiles, spec: Mapping[str, Any]) -> list[ScalingModel]:
    chosen = spec["scaling"]
    if chosen is None:
        return []
    return read_scaling_models(files.scaling, chosen["models"], chosen["untrained"])


def _card(hierarchy: Sequence[HierarchyModel]) -> dict[str, Any] | None:
    """What the overview tells of the hierarchy study: where it is, and how its finding begins."""
    return _told(HIERARCHY_PAGE, hierarchy, finding_of(hierarchy)) if hierarchy else None


def _decimal_card(models: Sequence[DecimalModel]) -> dict[str, Any] | None:
    """The same of the study of the decimal bug."""
    return _told(DECIMAL_PAGE, models, decimal_finding(models)) if models else None


def _specialist_card(
    models: Sequence[SpecialistModel], spec: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The same of the study of specialists."""
    if not models:
        return None
    said = specialist_finding(models, spec["specialists"]["pooling"])
    return _told(SPECIALISTS_PAGE, models, said)


def _scaling_card(models: Sequence[ScalingModel], spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same of the study of wide SAEs."""
    if not models:
        return None
    said = scaling_finding(models, spec["scaling"]["published"])
    return _told(SCALING_PAGE, models, said)


def _told(
    page: Link,
    models: Sequence[HierarchyModel | DecimalModel | SpecialistModel | ScalingModel],
    said: Mapping[str, Any] | None,
) -> dict[str, Any]:
    pages = [{"name": each.name, "href": each.href} for each in models]
    return {"href": page.href, "lead": said["lead"] if said else "", "models": pages}


def _own_dictionaries(spec: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    chosen = spec["calibrated"]
    return {name: run["dictionaries"] for name, run in chosen["models"].items()} if chosen else {}


def _features(
    files: ReportFiles, spec: Mapping[str, Any], problems: Mapping[str, pa.Table]
) -> FeatureTables:
    tokens = {
        path.name: read_table(path / "cot_tokens.parquet", COT_TOKENS) for path in files.datasets
    }
    published = [name for name in spec["models"] if name in spec["published"]["models"]]
    dictionaries = _own_dictionaries(spec)
    reseeded = spec["calibrated"]["reseeded"] if spec["calibrated"] else []
    return FeatureTables(
        labels=_of_models(files, published, LABELS),
        pairs=_of_models(files, published, ASSOCIATION),
        examples=_of_models(files, published, EXAMPLES),
        problems=problems,
        tokens=tokens,
        discoveries=_of_models(files, list(dictionaries), DISCOVERIES),
        matches=_of_models(files, reseeded, MATCHES),
        dictionaries=dictionaries,
    )


def _of_models(files: ReportFiles, models: Sequence[str], table: Artifact) -> dict[str, pa.Table]:
    folders = {path.name: path for path in files.studied}
    return {name: read_table(folders[name] / f"{table.name}.parquet", table) for name in models}


def _banks(files: ReportFiles, models: Sequence[str]) -> dict[str, list[pa.Table]]:
    return {
        name: [
            read_table(bank / "quality.parquet", QUALITY)
            for bank in files.banks
            if bank.parent.parent.name == name
        ]
        for name in models
    }
