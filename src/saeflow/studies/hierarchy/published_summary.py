"""Counts and rates of the published hierarchy study, each beside what chance or arithmetic gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from saeflow.artifacts.hierarchy import HIERARCHY
from saeflow.config.hierarchy import HierarchyRules, ImpactSettings
from saeflow.saes.bank import Site
from saeflow.studies.chance import places
from saeflow.studies.hierarchy.bins import bin_groups
from saeflow.studies.hierarchy.impact import HIGH, impact_level
from saeflow.studies.hierarchy.rule_counts import Number, expected_count, specialist_numbers
from saeflow.studies.hierarchy.sanity import Sanity, sanity_numbers
from saeflow.studies.hierarchy.specialised import HIGHLY, OPERATION, VALUE
from saeflow.studies.hierarchy.taxonomy import TYPES

TOP = "top"
"""Group of the most frequent features: those that get a type, or those that are validated."""
CLOSED_FORM = "closed_form"
"""Control: impact is the mean activation times the mean absolute entry of the decoder row."""
_COLUMNS = (
    "layer", "step", "rank", "n_active", "mean_magnitude", "type", "rank_range", "specialisation",
    "specialised", "specialised_untied", "mean_impact", "impact_level"
)  # fmt: skip
_NAMES = {OPERATION: "n_operation", VALUE: "n_value", HIGHLY: "n_highly"}


@dataclass(frozen=True)
class Beside:
    """What the summary holds the ranks against.

    Attributes
    ----------
    chance : dict of str to numpy.ndarray of float64, shape (features,)
        As `random_sets` gives it for the features of the ranks.
    types : numpy.ndarray of float64, shape (features, 4)
        As `random_types` gives it for those that have a type.
    decoder : numpy.ndarray of float64, shape (features,)
        Mean absolute entry of each feature's decoder row.
    sanity : dict of Site to Sanity
        What the checks of each site measure.
    """

    chance: dict[str, Float[np.ndarray, " features"]]
    types: Float[np.ndarray, "features types"]
    decoder: Float[np.ndarray, " features"]
    sanity: dict[Site, Sanity]


@dataclass(frozen=True)
class _Features:
    """Columns of the ranks, with what is measured beside them."""

    layer: Int[np.ndarray, " features"]
    step: Int[np.ndarray, " features"]
    rank: Int[np.ndarray, " features"]
    n_active: Int[np.ndarray, " features"]
    magnitude: Float[np.ndarray, " features"]
    type: np.ndarray
    rank_range: np.ndarray
    specialisation: np.ndarray
    specialised: Bool[np.ndarray, " features"]
    untied: Bool[np.ndarray, " features"]
    impact: Float[np.ndarray, " features"]
    level: np.ndarray
    chance: Float[np.ndarray, " features"]
    chance_untied: Float[np.ndarray, " features"]
    types: Float[np.ndarray, "features types"]
    decoder: Float[np.ndarray, " features"]

    def at(self, chosen: Bool[np.ndarray, " features"]) -> _Features:
        return _Features(*(column[chosen] for column in vars(self).values()))

    def __len__(self) -> int:
        return len(self.rank)


def published_summary(
    ranks: pa.Table,
    beside: Beside,
    settings: HierarchyRules,
    run: Mapping[str, object],
) -> pa.Table:
    """Summarise a bank everywhere, by layer, by step, and at each site.

    ================== ==========================================================================
    group top          n_features and n_live of the features with a type, n_type.{type}; n_validated,
                       and with control ``closed_form``, the mean activation times the decoder row's
                       mean absolute entry: n_high, share_high of those that are validated; passes:
                       1 where enough are HIGH, and over several sites the share of them at which it
                       is; impact_over_magnitude.min and .max.
    a rank range       n_features; n_live, the features that fire; n_specialised, n_operation,
                       n_value, n_highly, share_specialised of those that fire; n_measurable and
                       share_measurable of the specialised ones, whose impact is above ``medium``.
    all, bins          n_features that fire, n_specialised, share_specialised; ..._untied for the
                       same with ties counted.
    all                sanity.{check} of `saeflow.studies.hierarchy.sanity.sanity_numbers`.
    ================== ==========================================================================

    Numbers of types, and of specialists and their shares, have a control ``random_problems``: their
    expectation if each feature's samples were as many random problems. The interval
    ``independent_95`` of a number holds 95 % of those of independent features.

    Parameters
    ----------
    ranks : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.RANKS`.
    beside : Beside
        Chance, arithmetic and checks.
    settings : HierarchyRules
        Thresholds.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`.
    """
    against = (*beside.chance.values(), beside.types, beside.decoder)
    columns = [*(ranks[name].to_numpy() for name in _COLUMNS), *against]
    bank = _Features(*columns)
    rows = []
    for layer, step, chosen in places(bank.layer, bank.step):
        sanity = [
            checks
            for site, checks in beside.sanity.items()
            if layer in (None, site.layer) and step in (None, site.step)
        ]
        for number in (*_numbers(bank.at(chosen), settings), *sanity_numbers(sanity)):
            rows.append({**run, "layer": layer, "step": step, **number._asdict()})
    return pa.Table.from_pylist(rows, schema=HIERARCHY.schema())


def _numbers(here: _Features, settings: HierarchyRules) -> Iterator[Number]:
    yield from _types(here.at(here.rank <= settings.taxonomy.top))
    yield from _validation(here.at(here.rank <= settings.impact.top), settings.impact)
    for first, last in settings.specialists.rank_ranges:
        name = f"{first}-{last}"
        yield from _range(name, here.at(here.rank_range == name), settings.impact)
    for name, chosen in bin_groups(here.n_active):
        members = here.at(chosen)
        yield Number(name, "n_features", len(members), len(members))
        yield from _specialists(name, members)


def _types(top: _Features) -> Iterator[Number]:
    yield from _sizes(TOP, top)
    for place, name in enumerate(TYPES):
        metric = f"n_type.{name}"
        yield Number(TOP, metric, _count(top.type == name), len(top))
        yield expected_count(TOP, metric, top.types[:, place])


def _sizes(group: str, members: _Features) -> Iterator[Number]:
    yield Number(group, "n_features", len(members), len(members))
    yield Number(group, "n_live", _count(members.n_active > 0), len(members))


def _validation(top: _Features, settings: ImpactSettings) -> Iterator[Number]:
    yield Number(TOP, "n_validated", len(top), len(top))
    closed = [impact_level(each, settings) for each in (top.magnitude * top.decoder).tolist()]
    yield from _verdict(top, top.level == HIGH, "none", settings)
    yield from _verdict(top, np.array(closed, str) == HIGH, CLOSED_FORM, settings)
    firing = top.at(top.magnitude > 0)
    ratio = firing.impact / firing.magnitude
    for control, values in (("none", ratio), (CLOSED_FORM, firing.decoder)):
        for end, value in (("min", values.min), ("max", values.max)):
            metric = f"impact_over_magnitude.{end}"
            yield Number(TOP, metric, float(value()) if len(firing) else None, len(firing), control)


def _verdict(
    top: _Features, high: Bool[np.ndarray, " features"], control: str, settings: ImpactSettings
) -> Iterator[Number]:
    yield Number(TOP, "n_high", _count(high), len(top), control)
    yield Number(TOP, "share_high", _mean(high), len(top), control)
    verdicts = [
        float(high[chosen].mean() >= settings.pass_share)
        for layer, step, chosen in places(top.layer, top.step)
        if layer is not None and step is not None and chosen.any()
    ]
    yield Number(TOP, "passes", _mean(np.array(verdicts)), len(verdicts), control)


def _range(name: str, members: _Features, settings: ImpactSettings) -> Iterator[Number]:
    yield from _sizes(name, members)
    live = members.at(members.n_active > 0)
    yield from _specialists(name, live)
    for kind, metric in _NAMES.items():
        yield Number(name, metric, _count(live.specialisation == kind), len(live))
    measurable = live.impact[live.specialised] > settings.medium
    count = len(measurable)
    yield Number(name, "n_measurable", _count(measurable), count)
    yield Number(name, "share_measurable", _mean(measurable), count)


def _specialists(group: str, members: _Features) -> Iterator[Number]:
    found = {"": members.specialised, "_untied": members.untied}
    chance = {"": members.chance, "_untied": members.chance_untied}
    yield from specialist_numbers(group, found, chance)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _count(found: np.ndarray) -> int:
    return int(np.count_nonzero(found))
