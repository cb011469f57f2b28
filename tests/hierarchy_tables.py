"""Small tables of the hierarchy study, and the report over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.hierarchy import (
    EFFECTS,
    HIERARCHY,
    HIERARCHY_COMPARISON,
    MAXIMAL,
    MODULES,
    SCREEN,
)
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.tables import write_table
from saeflow.config.hierarchy import HierarchyCalibrated, HierarchyRules
from saeflow.report.hierarchy.numbers import ModelTables
from saeflow.report.report import write_report
from saeflow.studies.compare.hierarchy import Compared, compare_hierarchy
from tests.report_tables import EVIL, FRESH, SPEC, TEMPLATES, write_tables

TRAINED = Provenance("x", model_revision="sha256:1", packages=("pyarrow",))
BANK = {"dataset": "small", "dictionary": "tiny_k4", "seed": 0}
FROZEN = "tiny_frozen"
"""Control dictionary of the one above."""
OVERALL = {"layer": None, "step": None, "group": "all", "control": "none"}
SITES = ((0, 1), (0, 2), (1, 1), (1, 2))
RULES = HierarchyRules.model_validate(
    {"samples": 90, "specialists": {"rank_ranges": [[3, 8], [9, 16]]}, "impact": {"top": 9}}
).model_dump(mode="json")
CALIBRATED = HierarchyCalibrated.model_validate(
    {
        "balanced": "balanced",
        "specialists": {"tests": {"min_active": 21, "q_value": 0.07}, "permutations": 99},
        "levels": {"min_active": 23},
        "causal": {"set_size": 17},
    }
).model_dump(mode="json")
SPEC_OF = {
    "models": ["toy", "toy_untrained"],
    "published": RULES,
    "calibrated": CALIBRATED,
}

Row = dict[str, Any]
Numbers = Sequence[float | None]
"""Value, and the ends of its interval where it has one."""


FOLLOWERS: Mapping[str, Numbers] = {"operators": (41.0, 0.0, 9.0), "operands": (22.0, 0.0, 25.0)}
LEVELS: Mapping[str, Numbers] = {
    "operators": (31.0, 0.0, 4.0),
    "first_operator": (2.0, 0.0, 1.0),
    "sequence": (3.0, 0.0, 5.0),
    "value": (0.0, 0.0, 0.0),
    "operator_value": (7.0, 0.0, 1.0),
    "none": (17.0, 50.0, 60.0),
}


@dataclass(frozen=True)
class Told:
    """What tables tell; the defaults hold against chance.

    Attributes
    ----------
    specialised, expected : float
        Features that the published rule calls specialised, and that random problems give.
    reach : float or None
        Of the range around that which holds 95 % of counts; None where it is not told.
    followers : dict of str to Numbers
        Features that follow each target, and the ends of what permutations give.
    levels : dict of str to Numbers
        Features of each level, likewise.
    largest : Numbers or None
        Effect of the chosen site's set with its interval; None without the causal part.
    p_value : float
        Of that.
    reported : int or None
        Problems that are reported; None where that is not told.
    calibrated : bool
        Whether anything but the published rules ran.
    frozen : Told or None
        What is counted of a control dictionary with a frozen decoder; None without one.
    """

    specialised: float = 12.0
    expected: float = 13.5
    reach: float | None = None
    followers: Mapping[str, Numbers] = field(default_factory=lambda: FOLLOWERS)
    levels: Mapping[str, Numbers] = field(default_factory=lambda: LEVELS)
    largest: Numbers | None = (-0.4321, -0.6, -0.2)
    p_value: float = 0.012
    reported: int | None = 31
    calibrated: bool = True
    frozen: Told | None = None


GOOD = Told()


def number(metric: str, value: float | None, n: int = 200, **more: Any) -> Row:
    ends = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {**BANK, **OVERALL, **ends, "metric": metric, "value": value, "n": n, **more}


def banded(metric: str, numbers: Numbers, n: int = 200, **more: Any) -> Iterator[Row]:
    """Observed, permuted and excess, as the study writes them."""
    value, low, high = numbers
    yield number(metric, value, n, **more)
    if value is None or low is None or high is None:
        return
    band = {"ci_low": low, "ci_high": high, "interval": "permutation_range"}
    yield number(metric, (low + high) / 2, 99, **{**more, "control": "permuted", **band})
    name, _, ending = metric.partition(".")
    excess = {"ci_low": value - high, "ci_high": value - low, "interval": "permutation_95"}
    full = f"{name}_excess.{ending}" if ending else f"{name}_excess"
    yield number(full, value - (low + high) / 2, n, **{**more, **excess})


def published_rows(told: Told) -> Iterator[Row]:
    fixed = {"mode": "published"}
    yield number("n_features", 200.0, **fixed)
    for ending, part in (("", 1.0), ("_untied", 0.5)):
        for control, value in (("none", told.specialised), ("random_problems", told.expected)):
            key = {**fixed, "control": control}
            band: Row = {}
            if control != "none" and told.reach is not None:
                low, high = part * (value - told.reach), part * (value + told.reach)
                band = {"ci_low": low, "ci_high": high, "interval": "independent_95"}
            yield number(f"n_specialised{ending}", part * value, **key, **band)
            yield number(f"share_specialised{ending}", part * value / 200, **key)
            for place, (group, share) in enumerate((("1", 1.0), ("6-7", 0.25), ("200+", 0.0))):
                shown = share - 0.125 * place * (control == "none") * bool(share)
                key_of = {**key, "group": group}
                yield number(f"share_specialised{ending}", part * shown, 8, **key_of)
                yield number(f"n_specialised{ending}", part * shown * 8, 8, **key_of)
    for name, count in (("mixed", 38.0), ("operation-level", 2.0), ("unknown", 0.0)):
        yield number(f"n_type.{name}", count, 40, **fixed, group="top")
        key_of = {**fixed, "group": "top", "control": "random_problems"}
        yield number(f"n_type.{name}", 40 - count, 40, **key_of)
    yield number("sanity.swap_with_itself", 0.0, 4, **fixed)
    yield number("sanity.never_active", None, 0, **fixed)
    yield number("sanity.reconstruction_mse", 0.0123, 400, **fixed)
    yield number("sanity.reconstruction_mse", 0.456, 400, **{**fixed, "control": "mean"})
    yield number("sanity.passes", 1.0, 4, **fixed)
    for metric in ("n_live", "n_specialised", "n_operation", "n_measurable"):
        yield number(metric, 5.0, 77, **fixed, group="3-8")
    for layer, step in ((None, None), *SITES):
        place = {**fixed, "group": "top", "layer": layer, "step": step}
        for control, passing in (("none", (1, 1)), ("closed_form", (0, 2))):
            passed = 0.25 if layer is None else float((layer, step) == passing)
            key_of = {**place, "control": control}
            yield number("n_high", 9.0, 36, **key_of)
            yield number("share_high", 0.25, 36, **key_of)
            yield number("passes", passed, 4, **key_of)
            for end, ratio in (("min", 0.0711), ("max", 0.0822)):
                metric = f"impact_over_magnitude.{end}"
                yield number(metric, ratio, 36, **{**place, "control": control})


def calibrated_rows(told: Told) -> Iterator[Row]:
    fixed = {"mode": "calibrated"}
    yield number("n_features", 200.0, **fixed)
    for target, numbers in told.followers.items():
        yield number(f"n_tested.{target}", 150.0, **fixed)
        yield from banded(f"n_specialists.{target}", numbers, **fixed)
        shares = [value and value / 200 for value in numbers]
        yield from banded(f"share_specialists.{target}", shares, **fixed)
        for group in ("20-49", "200+"):
            yield from banded(f"share_specialists.{target}", shares, 50, **fixed, group=group)
    yield number("n_tested", 60.0, **fixed)
    for level, numbers in told.levels.items():
        yield from banded(f"n_level.{level}", numbers, 60, **fixed)
        shares = [value and value / 60 for value in numbers]
        yield from banded(f"share_level.{level}", shares, 60, **fixed)
    for edge, count in (("-0.01", 0.0), ("0", 40.0), ("0.1", 20.0)):
        yield from banded(f"n_score.{edge}", (count, 0.0, 4.0), 60, **fixed)
    for metric, value in (("n_coactive_pairs", 99.0), ("mean_lift", 1.01), ("n_modules", 4.0)):
        yield from banded(metric, (value, 1.0, 1.5), **fixed)
    yield from banded("n_operator_modules", (1.0, 0.0, 3.0), 4, **fixed)
    for k in (2, 4):
        place = {**fixed, "group": f"k={k}", "layer": 1, "step": 2}
        yield number("n_live", 16.0 - k, 16, **place)
        band = {"ci_low": 1.0, "ci_high": 6.0, "interval": "independent_95"}
        for ending in ("", "_untied"):
            yield number(f"n_specialised{ending}", 9.0 - k, 14, **place)
            chance = {**place, **band, "control": "random_problems"}
            yield number(f"n_specialised{ending}", 3.5, 14, **chance)
        yield number("n_tested.operators", 9.0, 14, **place)
        yield from banded("n_specialists.operators", (k + 3.0, 0.0, 2.0), 14, **place)


def causal_rows(told: Told) -> Iterator[Row]:
    if told.largest is None:
        return
    value, low, high = told.largest
    place = {"mode": "calibrated", "group": "set", "layer": 1, "step": 2}
    ends = {"ci_low": low, "ci_high": high, "interval": "cluster bootstrap 95 %"}
    yield number("largest_set_effect.chosen", -0.7654, 30, **place)
    yield number("largest_set_effect", value, 31, **{**place, **ends})
    yield number("largest_set_effect.p_value", told.p_value, 31, **place)
    if told.reported is not None:
        everywhere = {"mode": "calibrated", "group": "causal"}
        for part, count in (("screened", 45), ("chosen", 30), ("reported", told.reported)):
            yield number(f"n_problems.{part}", float(count), count, **everywhere)
        ends = {"ci_low": 0.4, "ci_high": 0.77, "interval": "cluster bootstrap 95 %"}
        yield number("accuracy_before", 0.58, told.reported, **{**everywhere, **ends})
    shortlist = {"mode": "calibrated", "group": "shortlist"}
    yield number("screen_rank_correlation", 0.4449, 3, **shortlist)
    yield number("screen_rank_correlation.same_problems", 0.8812, 3, **shortlist)
    yield number("screen_same_sign", 2 / 3, 3, **shortlist)


def summary(told: Told = GOOD) -> pa.Table:
    rows = list(published_rows(told))
    if told.calibrated:
        rows += [*calibrated_rows(told), *causal_rows(told)]
    if told.frozen is not None:
        beside = calibrated_rows(told.frozen)
        rows += [{**row, "dictionary": FROZEN} for row in beside if "=" not in row["group"]]
    return pa.Table.from_pylist(rows, HIERARCHY.schema())


def modules() -> pa.Table:
    fixed = {**BANK, "mode": "calibrated", "layer": 1, "step": 2, "mean_correlation": 0.456}
    return pa.Table.from_pylist(
        [
            {**fixed, "module": 0, "features": list(range(11)), "operator": "*", "n_following": 9}
            | {"n_following_expected": 1.75, "p_value": 1e-7, "q_value": 2e-7},
            {**fixed, "module": 1, "features": [12, 13, 14], "operator": EVIL, "n_following": 3}
            | {"n_following_expected": 0.5, "p_value": 0.001, "q_value": 0.0012},
            {**fixed, "module": 2, "features": [1, 2, 3, 4], "operator": "+", "n_following": 1}
            | {"n_following_expected": 0.5, "p_value": 0.4, "q_value": 0.9},
        ],
        MODULES.schema(),
    )


SHORTLIST = {(0, 1, 5): -0.0501, (1, 1, 3): 0.0123, (1, 2, 7): -0.2002}
"""Effects of single features beyond matched ones."""


def screen(*, sets_only: bool = False) -> pa.Table:
    found = [
        {**BANK, "mode": "calibrated", "layer": layer, "step": step, "feature": feature}
        | {"n_active": 12, "attribution": 2 * effect, "attribution_reported": effect}
        | {"in_set": True, "rank": 1, "n_exact": None if sets_only else 11}
        | {"exact": None if sets_only else effect}
        for (layer, step, feature), effect in SHORTLIST.items()
    ]
    found.append({**found[0], "feature": 15, "rank": 2, "exact": None, "n_exact": None})
    return pa.Table.from_pylist(found, SCREEN.schema())


def effect_rows(*, sets_only: bool = False) -> Iterator[Row]:
    for number_of, (layer, step) in enumerate(SITES):
        zero = {"unit": "set", "edit": "zero", "dose": 0.0, "layer": layer, "step": step}
        effect = -0.1 * (1 + number_of)
        yield from _effect(zero, "none", log_probability=effect, kl=0.2, changed=0.125, cosine=0.9)
        yield from _effect(zero, "random_feature", log_probability=-0.05)
        yield from _over(zero, effect + 0.05, None)
    if sets_only:
        return
    chosen = {"layer": 1, "step": 2}
    mean = {**chosen, "unit": "set", "edit": "mean", "dose": None}
    yield from _effect(mean, "none", log_probability=-0.31)
    everything = {**chosen, "unit": "all", "edit": "none", "dose": None}
    yield from _effect(everything, "reconstruction", log_probability=-0.0042)
    for place, ((layer, step, feature), effect) in enumerate(SHORTLIST.items()):
        zero = {"unit": f"F{feature}", "edit": "zero", "dose": 0.0, "layer": layer, "step": step}
        yield from _effect(zero, "none", log_probability=effect - 0.01, n_active=11.0)
        yield from _effect(zero, "random_feature", log_probability=-0.01)
        yield from _over(zero, effect, (0.001, 0.3, 0.05)[place])
        if not place:
            label = {"label": f"operands: {EVIL}", "group": "difference"}
            yield from _effect({**zero, **label}, "none", log_probability=-0.0777)
            (row,) = _effect({**zero, **label}, "random_feature", log_probability_excess=-0.0666)
            yield {**row, "q_value": 0.0043}
    for unit in ("F7", "set"):
        for dose in (0.0, 1.0, 10.0):
            scaled = {**chosen, "unit": unit, "edit": "scale", "dose": dose}
            outcome = {
                "log_probability": 0.1 * (1 - dose),
                "kl": abs(dose - 1),
                "changed": dose / 20,
            }
            yield from _effect(scaled, "none", **outcome)
            turned = {metric: value / 2 for metric, value in outcome.items()}
            yield from _effect(scaled, "random_direction", **turned)
        for kind in ("operator", "value"):
            swap = {**chosen, "unit": unit, "edit": f"swap.{kind}", "dose": None}
            swap["dataset"] = "balanced"
            yield from _effect(swap, "none", toward=0.2344, changed=0.0625, n_active=14.0)
            yield from _effect(swap, "random_feature", toward=0.0345, changed=0.03)
            yield from _effect(swap, "random_feature", toward_excess=0.2)


def _effect(
    key: Row, control: str, p_value: float | None = None, **metrics: float
) -> Iterator[Row]:
    for metric, value in metrics.items():
        ends: Row = {"ci_low": value - 0.02, "ci_high": value + 0.03, "interval": "bootstrap"}
        if metric == "n_active":
            ends = {"ci_low": None, "ci_high": None, "interval": "none"}
        tested = {"p_value": p_value, "q_value": None, "n": 31}
        named = {**BANK, "mode": "calibrated", "half": "reported", "label": "", "group": "all"}
        yield {**named, **key, **ends, **tested} | {
            "control": control,
            "metric": metric,
            "value": value,
        }


def _over(key: Row, value: float, q_value: float | None) -> Iterator[Row]:
    (row,) = _effect(key, "random_feature", 0.0321, log_probability_excess=value)
    yield {**row, "q_value": q_value}


def effects(*, sets_only: bool = False) -> pa.Table:
    return pa.Table.from_pylist(list(effect_rows(sets_only=sets_only)), EFFECTS.schema())


def maximal() -> pa.Table:
    fixed = {**BANK, "mode": "calibrated", "layer": 1, "step": 2, "feature": 7}
    values = {"search": -9.876, "start": -6.5, "random": -8.1, "corpus": -7.2}
    return pa.Table.from_pylist(
        [
            {**fixed, "source": source, "value": value, "evaluations": 1234}
            | {"question": EVIL, "calculations": "2+3=5 | 5*4=20"}
            for source, value in values.items()
        ],
        MAXIMAL.schema(),
    )


def model_tables(told: Told = GOOD, *, fresh: bool = False) -> ModelTables:
    """Tables of one model; those of untrained weights hold sets alone."""
    provenance = FRESH if fresh else TRAINED
    found = ModelTables(summary(told).replace_schema_metadata(provenance.metadata()))
    if not told.calibrated:
        return found
    found = replace(found, modules=modules())
    if told.largest is None:
        return found
    nothing = maximal()[:0] if fresh else maximal()
    return replace(
        found, screen=screen(sets_only=fresh), effects=effects(sets_only=fresh), maximal=nothing
    )


def comparison_of(summaries: Mapping[str, pa.Table]) -> pa.Table:
    """Comparison of models, of which the untrained are named so."""
    trained = [name for name in summaries if not name.endswith("untrained")] or list(summaries)
    controls = {BANK["dictionary"]: {"frozen_decoder": FROZEN}}
    subjects = [
        Compared(name, [other for other in summaries if other == f"{name}_untrained"], controls)
        for name in trained
    ]
    return compare_hierarchy(summaries, subjects)


def make_hierarchy(root: Path, models: Mapping[str, Told], spec: Mapping[str, Any]) -> Path:
    """Write tables of models, the untrained named so, and the report; returns its folder."""
    folders, summaries = [], {}
    for name, told in models.items():
        fresh = name.endswith("untrained")
        tables, folder = model_tables(told, fresh=fresh), root / "hierarchy" / name
        summaries[name] = tables.summary
        written: list[tuple[Artifact, pa.Table | None]] = [(HIERARCHY, tables.summary)]
        written += [(MODULES, tables.modules), (SCREEN, tables.screen)]
        written += [(EFFECTS, tables.effects), (MAXIMAL, tables.maximal)]
        for artifact, table in written:
            if table is not None:
                file = "summary" if artifact is HIERARCHY else artifact.name
                provenance = FRESH if fresh else TRAINED
                write_table(table, folder / f"{file}.parquet", artifact, provenance)
        folders.append(folder)
    compared = root / "compare" / "hierarchy.parquet"
    comparison = comparison_of(summaries)
    write_table(comparison, compared, HIERARCHY_COMPARISON, TRAINED)
    written_files = write_tables(root, 24, FRESH, calibrated=False)
    files = replace(written_files, hierarchy=folders, hierarchies=compared)
    chosen = {**SPEC, "hierarchy": {**SPEC_OF, **spec, "models": list(models)}}
    write_report(files, templates=TEMPLATES, spec=chosen, folder=root / "report")
    return root / "report"
