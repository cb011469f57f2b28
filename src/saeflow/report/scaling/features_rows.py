"""Rows of the table of a wide SAE's listed features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from saeflow.errors import SaeflowError
from saeflow.report.details import short

TRAIN, ALL = "train", "all"
NONE, SWAPPED, EMPTY = "none", "swapped", "empty"
CALIBRATED = "calibrated"
SITE = ("dictionary", "seed", "layer")
LISTED = ("examples", "tokens", "neighbours", "map")
"""Tables that hold listed features alone."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class FeatureTables:
    """Tables of one model's main SAE.

    Attributes
    ----------
    tables : mapping of str to pyarrow.Table
        By name; ``search`` is absent where nothing was searched.
    dictionary, seed, layer
        Which SAE.
    level : str
        What the search ranks where one number is told of a feature.
    """

    tables: Mapping[str, pa.Table]
    dictionary: str
    seed: int
    layer: int
    level: str

    @property
    def splits(self) -> list[str]:
        """Documents that were read, those that trained no SAE first."""
        found = self.tables["features"]["split"].unique().to_pylist()
        return sorted(found, key=lambda name: (name == TRAIN, name))

    @property
    def features(self) -> list[int]:
        """Indices of all features that the page lists, sorted."""
        named = [self.tables[name] for name in (*LISTED, "explanations")]
        search = self.tables.get("search")
        if search is not None:
            own = pc.and_(pc.equal(search["control"], NONE), pc.greater_equal(search["feature"], 0))
            named.append(search.filter(own))
        return sorted({each for table in named for each in table["feature"].unique().to_pylist()})


def main_tables(tables: Mapping[str, pa.Table], level: str) -> FeatureTables:
    """Keep what the tables hold of the SAE that is listed feature by feature.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table
        As `saeflow.report.scaling.features.write_features_page` takes them.
    level : str
        As in `FeatureTables`.

    Raises
    ------
    SaeflowError
        If features of several SAEs are listed, or none was read.
    """
    listed = [tables[name].select(SITE) for name in LISTED if len(tables[name])]
    if not listed:
        listed = [tables["features"].select(SITE).slice(0, 1)]
    keys = pa.concat_tables(listed).group_by(SITE, use_threads=False).aggregate([]).to_pylist()
    if len(keys) != 1:
        names = ", ".join(f"{key['dictionary']} seed {key['seed']}" for key in keys)
        raise SaeflowError(
            f"Features of {names or 'no SAE'} are listed; expected those of one SAE per model."
        )
    (site,) = keys
    found = {}
    for name, table in tables.items():
        own = [pc.equal(table[each], site[each]) for each in SITE if each in table.column_names]
        if name in ("features", "densities"):
            # The seed of a control is its own, so the dictionary's name alone would not tell them.
            own.append(pc.equal(table["control"], NONE))
        # How features of other SAEs are distributed is shown beside.
        found[name] = table if name == "densities" else table.filter(reduce(pc.and_, own))
    levels = _levels(found.get("search"))
    return FeatureTables(
        found, **site, level=levels[0] if levels and level not in levels else level
    )


def _levels(search: pa.Table | None) -> list[str]:
    """What calibrated searches rank, in the order of the table."""
    if search is None:
        return []
    found: list[str] = (
        search.filter(pc.equal(search["mode"], CALIBRATED))["level"].unique().to_pylist()
    )
    return found


def visible(text: str) -> str:
    """Make NUL, which no page can hold, a sign that it can."""
    return text.replace("\0", "�")


def topic_titles(search: pa.Table | None) -> dict[str, str]:
    """Short names of sets of prompts: the group alone where all are groups of one set."""
    if search is None:
        return {}
    names = sorted(search["prompts"].unique().to_pylist())
    sets = {name.partition("/")[0] for name in names}
    grouped = all("/" in name for name in names)
    short_names = [name.partition("/")[2] for name in names]
    told = short_names if grouped and len(sets) == 1 else names
    return {name: visible(title) for name, title in zip(names, told, strict=True)}


@dataclass(frozen=True)
class FoundBy:
    """Best place of a feature in the search.

    Attributes
    ----------
    topic : str
        Short name of the prompts.
    place : int
        From 1, on half A.
    area, p_holm : float or None
        On half B.
    control : float or None
        Largest area of a control on half B.
    control_name : str
        That control.
    """

    topic: str
    place: int
    area: float | None
    p_holm: float | None
    control: float | None
    control_name: str


def search_controls(search: pa.Table | None) -> dict[tuple[str, str], dict[str, float | None]]:
    """Areas of controls on half B, by prompts and level."""
    found: dict[tuple[str, str], dict[str, float | None]] = {}
    for row in [] if search is None else search.to_pylist():
        if row["mode"] == CALIBRATED and row["control"] != NONE:
            controls = found.setdefault((row["prompts"], row["level"]), {})
            controls.setdefault(row["control"], row["value"])
    return found


def found_features(main: FeatureTables) -> dict[int, FoundBy]:
    """Features that the search lists at the level that is told; of several topics the best place.

    Places are of half A and areas of half B, so that no area is chosen by its size.
    """
    search = main.tables.get("search")
    titles, controls = topic_titles(search), search_controls(search)
    best: dict[int, Row] = {}
    for row in [] if search is None else search.to_pylist():
        if (row["mode"], row["control"], row["level"]) != (CALIBRATED, NONE, main.level):
            continue
        other = best.get(row["feature"])
        if other is None or _order(row) < _order(other):
            best[row["feature"]] = row
    found = {}
    for feature, row in best.items():
        beside = controls.get((row["prompts"], row["level"]), {})
        known = [(value, name) for name, value in beside.items() if value is not None]
        value, name = max(known, default=(None, ""))
        title = titles[row["prompts"]]
        found[feature] = FoundBy(title, row["place"], row["value"], row["p_holm"], value, name)
    return found


def _order(row: Row) -> tuple[int, float]:
    return row["place"], -row["value_chosen"]


def first_explanations(main: FeatureTables) -> dict[int, str]:
    """Explanation of each feature by the explainer that is told first."""
    rows = main.tables["explanations"].to_pylist()
    found: dict[int, str] = {}
    for row in rows:
        if row["explainer"] == rows[0]["explainer"]:
            found[row["feature"]] = visible(row["explanation"])
    return found


def first_scores(main: FeatureTables) -> dict[tuple[int, str, str], float | None]:
    """Balanced accuracy of those explanations, by feature, method and control."""
    told, scores = main.tables["explanations"], main.tables["explanation_scores"]
    if not len(told) or not len(scores):
        return {}
    rows = scores.filter(pc.equal(scores["explainer"], told["explainer"][0])).to_pylist()
    return {
        (row["feature"], row["method"], row["control"]): row["balanced_accuracy"]
        for row in rows
        if row["kind"] == ALL and row["scorer"] == rows[0]["scorer"]
    }


def largest_values(main: FeatureTables) -> dict[int, float]:
    """Size of each feature's largest activation, over all documents."""
    most = main.tables["features"].group_by("feature").aggregate([("largest", "max")])
    return dict(zip(most["feature"].to_pylist(), most["largest_max"].to_pylist(), strict=True))


def densities_of(main: FeatureTables) -> dict[int, float]:
    """Density of each feature on documents that trained no SAE, where there are any."""
    table = main.tables["features"]
    table = table.filter(pc.equal(table["split"], main.splits[0])) if len(table) else table
    return dict(zip(table["feature"].to_pylist(), table["density"].to_pylist(), strict=True))


def feature_rows(main: FeatureTables, features: Iterable[int]) -> list[list[Any]]:
    """Rows of the table.

    Parameters
    ----------
    main : FeatureTables
        Of one SAE.
    features : iterable of int
        Which, in order.

    Returns
    -------
    list of list
        Feature, density, largest activation; topic, place, area, its adjusted p-value, area and name
        of the best control; explanation; detection, the same of a swapped explanation, fuzzing, the
        same. None where something was not measured.
    """
    density, largest = densities_of(main), largest_values(main)
    found, explained, scores = found_features(main), first_explanations(main), first_scores(main)
    rows = []
    for feature in features:
        by = found.get(feature)
        searched: list[Any] = [None] * 6
        if by is not None:
            areas = short(by.area), short(by.p_holm), short(by.control)
            searched = [by.topic, by.place, *areas, by.control_name]
        told = [
            short(scores.get((feature, method, control)))
            for method in ("detection", "fuzzing")
            for control in (NONE, SWAPPED)
        ]
        measured = [short(density.get(feature)), short(largest.get(feature))]
        rows.append([feature, *measured, *searched, explained.get(feature), *told])
    return rows


def by_feature(table: pa.Table, features: np.ndarray) -> pa.Table:
    """Rows of some features, in the order of the table."""
    return table.filter(pc.is_in(table["feature"], pa.array(features, table["feature"].type)))
