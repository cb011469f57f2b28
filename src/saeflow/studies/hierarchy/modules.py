"""Which features of a bank fire together, and whether such groups follow an operator.

Beside every number on firing stands what the same features give when each one's firing is permuted
over the problems by itself (control ``permuted``). How far that is from a top-k SAE without any
structure, see `saeflow.stats.coactivation`. Of groups that follow an operator, it is the problems'
labels that are permuted, all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

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
from saeflow.studies.gsm8k.targets import Target
from saeflow.studies.hierarchy.bins import ALL
from saeflow.studies.hierarchy.module_operators import Followed, OperatorTest, significant_draws
from saeflow.studies.hierarchy.specialist_tests import plain

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
    operators: Target,
    settings: ModuleSettings,
    tests: ExactSettings,
    run: Mapping[str, object],
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Find pairs and groups of features that fire together, SAE by SAE.

    Features that fire on fewer than ``tests.min_active`` problems, or on all, are left out. Every
    pair is tested once, and all pairs of the bank are corrected together; so are all modules.
    `OperatorTest` gives a module its operator. Members that follow it have a discovery of it that no
    other one carries; they describe the module, and are no part of its test.

    Parameters
    ----------
    bank : BankFeatures
        Activations on held-out problems.
    specialists : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SPECIALISTS`; their target ``operators`` is read.
    operators : Target
        Which operators each of the problems has.
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
        (features), and n_operator_modules, whose operator is significant; each of the latter five
        with a row ``permuted`` and an excess. Permuted pairs are held against the p-value up to
        which the measurement discovers; permuted operators are adjusted like measured ones.
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
    test = OperatorTest(_on(measured, len(bank.values)), operators, tests)
    modules = _module_rows(measured, _followers(specialists), test.followed())
    significant = significant_draws(test, settings, tests.q_value)
    rows = list(_summary_rows(measured, modules, limit, significant))
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


def _followers(specialists: pa.Table) -> dict[tuple[int, int], dict[str, set[int]]]:
    """Features that follow each operator, by site."""
    found: dict[tuple[int, int], dict[str, set[int]]] = {}
    names = ("layer", "step", "feature", "target", "label", "carried")
    columns = (specialists[name].to_pylist() for name in names)
    for layer, step, feature, target, label, carried in zip(*columns, strict=True):
        if target == "operators" and not carried:
            found.setdefault((layer, step), {}).setdefault(label, set()).add(feature)
    return found


def _on(measured: Sequence[Measured], n_problems: int) -> Bool[np.ndarray, "problems modules"]:
    """Where at least half of each module's members fire; modules site by site."""
    found = [
        2 * each.site.active[:, members].sum(1) >= len(members)
        for each in measured
        for members in each.modules
    ]
    return np.stack(found, axis=1) if found else np.zeros((n_problems, 0), bool)


def _module_rows(
    measured: Sequence[Measured],
    followers: Mapping[tuple[int, int], Mapping[str, set[int]]],
    found: Followed,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for each in measured:
        site = each.site
        here = followers.get((site.layer, site.step), {})
        for number, members in enumerate(each.modules):
            joint = joint_counts(site.active[:, members])
            inside = correlations(joint, len(site.active))[np.triu_indices(len(members), 1)]
            place = len(rows)
            operator, p_value = found.operator[place], float(found.p_value[place])
            follows = np.isin(site.feature, list(here.get(operator, ())))
            tested = not np.isnan(p_value)
            row: dict[str, Any] = {"layer": site.layer, "step": site.step, "module": number}
            row |= {"features": site.feature[members].tolist()}
            row |= {"mean_correlation": float(inside.mean()), "operator": operator}
            row |= {"n_following": int(follows[members].sum())}
            expected = float(len(members) * follows.mean())
            row |= {"n_following_expected": expected if tested else None}
            row |= {"p_value": p_value if tested else None}
            row |= {"q_value": float(found.q_value[place]) if tested else None}
            rows.append(row)
    return rows


def _summary_rows(
    measured: Sequence[Measured],
    modules: Sequence[Mapping[str, Any]],
    limit: float,
    significant: Bool[np.ndarray, "draws modules"],
) -> Iterator[dict[str, Any]]:
    sites = np.array([(row["layer"], row["step"]) for row in modules], int).reshape(-1, 2)
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
                yield from _beside(key, metric, value, [each[metric] for each in null], n)
        chosen = np.ones(len(sites), bool) if layer is None else (sites == (layer, step)).all(1)
        counts = significant[:, chosen].sum(1).astype(float).tolist()
        n_modules = int(chosen.sum())
        yield {**key, **plain("n_operator_modules", counts[0], n_modules)}
        if n_pairs:
            yield from _beside(key, "n_operator_modules", counts[0], counts[1:], n_modules)


def _beside(
    key: Mapping[str, object], metric: str, value: float, permuted: Sequence[float], n: int
) -> Iterator[dict[str, Any]]:
    yield {**key, "metric": metric, "control": "permuted", **band(permuted)}
    yield {**key, **excess(f"{metric}_excess", value, permuted, n)}


def _numbers(firings: Sequence[Firing], n_pairs: int, limit: float) -> dict[str, float]:
    sizes = [size for each in firings for size in each.sizes]
    below = sum(int(np.count_nonzero(each.p_values <= limit)) for each in firings)
    return {
        "n_coactive_pairs": float(below),
        "mean_lift": sum(each.total_lift for each in firings) / max(n_pairs, 1),
        "n_modules": float(len(sizes)),
        "n_in_modules": float(sum(sizes)),
    }
