"""Which features of a bank fire together, and whether such groups follow an operator.

Beside every number stands what the same features give when each one's firing is permuted over the
problems by itself (control ``permuted``). How far that is from a top-k SAE without any structure, see
`saeflow.stats.coactivation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from scipy.stats import hypergeom

from saeflow.artifacts.hierarchy import COACTIVATION, HIERARCHY, MODULES
from saeflow.config.hierarchy import ModuleSettings
from saeflow.config.runs import ExactSettings
from saeflow.progress import progress
from saeflow.seeds import numpy_generator
from saeflow.stats.coactivation import (
    Pairs,
    PairTest,
    correlations,
    groups,
    joint_counts,
    shuffled,
    total_lift,
)
from saeflow.stats.exact import adjusted, harmonic_number
from saeflow.studies.chance import band, excess
from saeflow.studies.gsm8k.bank_test import BankFeatures
from saeflow.studies.hierarchy.bins import ALL
from saeflow.studies.hierarchy.specialist_tests import plain

NO_OPERATOR = "none"
PAIR_METRICS = ("n_coactive_pairs", "mean_lift")


class Site(NamedTuple):
    """Features of one SAE that fire often enough, and not always.

    Attributes
    ----------
    layer, step : int
        Where it is.
    feature : numpy.ndarray of int, shape (features,)
        Their indices in the SAE, ascending.
    active : numpy.ndarray of bool, shape (problems, features)
        Where they are not zero, either sign.
    """

    layer: int
    step: int
    feature: Int[np.ndarray, " features"]
    active: Bool[np.ndarray, "problems features"]


class Firing(NamedTuple):
    """What one firing of a site's features gives, permuted or not.

    Attributes
    ----------
    p_values : numpy.ndarray of float64, shape (pairs,)
        Those of pairs that are small enough to be listed.
    total_lift : float
        Sum over all pairs.
    sizes : list of int
        Members of each module.
    """

    p_values: Float[np.ndarray, " pairs"]
    total_lift: float
    sizes: list[int]


class Measured(NamedTuple):
    """A site and what its features give.

    Attributes
    ----------
    site : Site
        The features.
    n_tests : int
        Pairs of them.
    pairs : Pairs
        Those with a small p-value.
    modules : list of numpy.ndarray of int
        Columns of each group.
    own : Firing
        As measured.
    permuted : list of Firing
        By permutation.
    """

    site: Site
    n_tests: int
    pairs: Pairs
    modules: list[Int[np.ndarray, " members"]]
    own: Firing
    permuted: list[Firing]


def module_tables(
    bank: BankFeatures,
    specialists: pa.Table,
    settings: ModuleSettings,
    tests: ExactSettings,
    run: Mapping[str, object],
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Find pairs and groups of features that fire together, SAE by SAE.

    Features that fire on fewer than ``tests.min_active`` problems, or on all, are left out. Every
    pair is tested once, and all pairs of the bank are corrected together. The operator of a module
    is the one that most of its members follow, with a discovery that no other one carries; of
    several, the one that fewer features of the SAE follow. Its p-value is hypergeometric, times the
    number of operators that the SAE's features follow at all, for the choice among them.

    Parameters
    ----------
    bank : BankFeatures
        Activations on held-out problems.
    specialists : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SPECIALISTS`; their target ``operators`` is read.
    settings : ModuleSettings
        Thresholds and permutations.
    tests : ExactSettings
        What is tested, and what is significant.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.

    Returns
    -------
    coactivation : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.COACTIVATION`: the significant pairs, per site the
        ``settings.keep`` least probable.
    modules : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.MODULES`.
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`, for every site and for all: n_pairs
        (tested), n_coactive_pairs, mean_lift (over tested pairs), n_modules, n_in_modules
        (features), each of the latter four with a row ``permuted`` and an excess, and
        n_operator_modules, whose operator is significant. Permuted pairs are held against the
        p-value up to which the measurement discovers.
    """
    sites = list(_sites(bank, tests))
    measured = [
        _measured(site, settings, tests.q_value)
        for site in progress(sites, description="sites", total=len(sites), unit="sites")
    ]
    n_tests = sum(each.n_tests for each in measured)
    own = [each.pairs.p_value for each in measured]
    p_values = np.concatenate([np.zeros(0), *own])
    factor = harmonic_number(n_tests) if tests.correction == "benjamini_yekutieli" else 1.0
    q_values = np.minimum(adjusted(p_values, max(n_tests, 1)) * factor, 1.0)
    limit = float(p_values[q_values <= tests.q_value].max(initial=-1.0))
    parts = np.split(q_values, np.cumsum([len(each) for each in own])[:-1])
    pairs = [
        row
        for each, q_value in zip(measured, parts, strict=True)
        for row in _pair_rows(each, q_value, settings.keep, tests.q_value)
    ]
    modules = _module_rows(measured, _followed(specialists))
    rows = list(_summary_rows(measured, modules, limit, tests.q_value))
    return (
        _table(pairs, COACTIVATION.schema(), run),
        _table(modules, MODULES.schema(), run),
        _table(rows, HIERARCHY.schema(), run),
    )


def _table(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, run: Mapping[str, object]
) -> pa.Table:
    return pa.Table.from_pylist([{**run, **row} for row in rows], schema)


def _sites(bank: BankFeatures, tests: ExactSettings) -> Iterator[Site]:
    for layer, step in sorted({*zip(bank.layer.tolist(), bank.step.tolist(), strict=True)}):
        here = np.flatnonzero((bank.layer == layer) & (bank.step == step))
        active = bank.values[:, here] != 0
        n_active = active.sum(0)
        kept = (n_active >= tests.min_active) & (n_active < len(active))
        yield Site(layer, step, bank.index[here[kept]], active[:, kept])


def _measured(site: Site, settings: ModuleSettings, level: float) -> Measured:
    test = PairTest(site.active.sum(0), len(site.active), level)
    permuted = []
    for number in range(settings.permutations):
        place = (site.layer, site.step, number)
        generator = numpy_generator(settings.seed, "hierarchy", "firing", *place)
        permuted.append(_fired(shuffled(site.active, generator), test, settings)[-1])
    return Measured(site, test.n_tests, *_fired(site.active, test, settings), permuted)


def _fired(
    active: Bool[np.ndarray, "problems features"], test: PairTest, settings: ModuleSettings
) -> tuple[Pairs, list[Int[np.ndarray, " members"]], Firing]:
    joint = joint_counts(active)
    pairs, lift = test.pairs(joint), total_lift(joint, len(active))
    correlation = correlations(joint, len(active))
    modules = groups(correlation, settings.min_correlation, settings.min_size)
    return pairs, modules, Firing(pairs.p_value, lift, [len(members) for members in modules])


def _pair_rows(
    measured: Measured, q_values: Float[np.ndarray, " pairs"], keep: int, level: float
) -> Iterator[dict[str, Any]]:
    site, pairs = measured.site, measured.pairs
    n_active = site.active.sum(0)
    kept = np.flatnonzero(q_values <= level)
    for place in kept[np.argsort(pairs.p_value[kept], kind="stable")][:keep].tolist():
        feature, other, both = (int(column[place]) for column in pairs[:3])
        own, others = int(n_active[feature]), int(n_active[other])
        yield {
            "layer": site.layer,
            "step": site.step,
            "feature": int(site.feature[feature]),
            "other_feature": int(site.feature[other]),
            "n_active": own,
            "other_n_active": others,
            "n_both": both,
            "lift": both * len(site.active) / (own * others),
            "p_value": float(pairs.p_value[place]),
            "q_value": float(q_values[place]),
        }


def _followed(specialists: pa.Table) -> dict[tuple[int, int], dict[str, set[int]]]:
    """Features that follow each operator, by site."""
    found: dict[tuple[int, int], dict[str, set[int]]] = {}
    names = ("layer", "step", "feature", "target", "label", "carried")
    columns = (specialists[name].to_pylist() for name in names)
    for layer, step, feature, target, label, carried in zip(*columns, strict=True):
        if target == "operators" and not carried:
            found.setdefault((layer, step), {}).setdefault(label, set()).add(feature)
    return found


def _module_rows(
    measured: Sequence[Measured], followed: Mapping[tuple[int, int], Mapping[str, set[int]]]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in measured:
        site = each.site
        follows = {
            label: np.isin(site.feature, list(features))
            for label, features in sorted(followed.get((site.layer, site.step), {}).items())
        }
        for number, members in enumerate(each.modules):
            joint = joint_counts(site.active[:, members])
            inside = correlations(joint, len(site.active))[np.triu_indices(len(members), 1)]
            row: dict[str, Any] = {"layer": site.layer, "step": site.step, "module": number}
            row |= {"features": site.feature[members].tolist()}
            row |= {"mean_correlation": float(inside.mean())}
            rows.append(row | operator_of(members, follows))
    tested = [row for row in rows if row["p_value"] is not None]
    p_values = np.array([row["p_value"] for row in tested], float)
    for row, q_value in zip(tested, adjusted(p_values, max(len(tested), 1)), strict=True):
        row["q_value"] = float(q_value)
    return rows


def operator_of(
    members: Int[np.ndarray, " members"],
    follows: Mapping[str, Bool[np.ndarray, " features"]],
) -> dict[str, Any]:
    """Operator of a module, and the chance of as many followers among random features.

    Parameters
    ----------
    members : numpy.ndarray of int, shape (members,)
        Columns of the module's features.
    follows : mapping of str to numpy.ndarray of bool, shape (features,)
        Which features of the SAE, of those that can be members, follow each operator.

    Returns
    -------
    dict
        Columns operator, n_following, p_value and q_value (null) of
        `saeflow.artifacts.hierarchy.MODULES`.
    """
    among = {name: int(flags.sum()) for name, flags in follows.items() if flags.any()}
    counts = {name: int(follows[name][members].sum()) for name in among}
    best = max(counts, key=lambda name: (counts[name], -among[name]), default=NO_OPERATOR)
    if not counts.get(best):
        return {"operator": NO_OPERATOR, "n_following": 0, "p_value": None, "q_value": None}
    chance = hypergeom.sf(counts[best] - 1, len(follows[best]), among[best], len(members))
    p_value = min(1.0, float(chance) * len(among))
    return {"operator": best, "n_following": counts[best], "p_value": p_value, "q_value": None}


def _summary_rows(
    measured: Sequence[Measured], modules: Sequence[Mapping[str, Any]], limit: float, level: float
) -> Iterator[dict[str, Any]]:
    places: list[tuple[int | None, int | None, Sequence[Measured]]] = [(None, None, measured)]
    places += [(each.site.layer, each.site.step, [each]) for each in measured]
    for layer, step, here in places:
        key = {"group": ALL, "layer": layer, "step": step}
        n_pairs = sum(each.n_tests for each in here)
        n_features = sum(len(each.site.feature) for each in here)
        yield {**key, **plain("n_pairs", float(n_pairs), n_features)}
        own = _numbers([each.own for each in here], n_pairs, limit)
        draws = zip(*(each.permuted for each in here), strict=True)
        null = [_numbers(draw, n_pairs, limit) for draw in draws]
        for metric, value in own.items():
            n = n_pairs if metric in PAIR_METRICS else n_features
            yield {**key, **plain(metric, value if n_pairs else None, n)}
            if n_pairs:
                permuted = [each[metric] for each in null]
                yield {**key, "metric": metric, "control": "permuted", **band(permuted)}
                yield {**key, **excess(f"{metric}_excess", value, permuted, n)}
        found = [
            row for row in modules if layer in (None, row["layer"]) and step in (None, row["step"])
        ]
        q_values = [row["q_value"] for row in found if row["q_value"] is not None]
        significant = float(sum(q_value <= level for q_value in q_values))
        yield {**key, **plain("n_operator_modules", significant, len(found))}


def _numbers(firings: Sequence[Firing], n_pairs: int, limit: float) -> dict[str, float]:
    sizes = [size for each in firings for size in each.sizes]
    below = sum(int(np.count_nonzero(each.p_values <= limit)) for each in firings)
    return {
        "n_coactive_pairs": float(below),
        "mean_lift": sum(each.total_lift for each in firings) / max(n_pairs, 1),
        "n_modules": float(len(sizes)),
        "n_in_modules": float(sum(sizes)),
    }
