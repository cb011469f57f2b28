"""The discovered pairs of a bank, with the size of each effect and what is merely carried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from saeflow.artifacts.calibration import DISCOVERIES
from saeflow.stats.discovery import Candidates, Discoveries, carried, conditional_p_values
from saeflow.stats.effects import auroc, detection, log_odds_ratio, point_biserial
from saeflow.studies.gsm8k.association import rank_within
from saeflow.studies.gsm8k.bank_test import BankTest


def discovery_table(
    test: BankTest, candidates: Mapping[str, Candidates], run: Mapping[str, object]
) -> pa.Table:
    """Every pair whose p-value, adjusted for all tests of its target in the bank, is small.

    Parameters
    ----------
    test : BankTest
        The bank's tests.
    candidates : mapping of str to Candidates
        Pairs with a small p-value, by target.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.calibration.DISCOVERIES`; of each half-feature at most
        ``settings.keep`` per target, its smallest p-values.
    """
    parts = [
        _target_table(test, target, found, run)
        for target, pairs in candidates.items()
        for found in [_kept(test, target, pairs)]
    ]
    return pa.concat_tables(parts)


def single_label_rates(
    test: BankTest, discoveries: pa.Table, run: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    """How many features with a discovered token follow one token only, carried ones set aside.

    Both halves of a feature count. It is the calibrated counterpart of the published
    "monosemantic", over the whole bank and per layer. Read it beside the controls: a second token
    must be discovered to count, and a carried one does not, so fewer problems make it larger.

    Yields
    ------
    dict
        Rows of `saeflow.artifacts.catalog.SUMMARY` with the metric ``single_token_rate``.
    """
    rows = discoveries.to_pandas()
    rows = rows[rows["target"] == "token"]
    own = rows[~rows["carried"]].groupby(["layer", "step", "feature"])["label"].nunique()
    layers = [None, *np.unique(test.bank.layer).tolist()]
    for layer in layers:
        chosen = own if layer is None else own[own.index.get_level_values("layer") == layer]
        yield {
            **run,
            "target": "token",
            "layer": layer,
            "step": None,
            "metric": "single_token_rate",
            "control": "none",
            "value": float((chosen == 1).mean()) if len(chosen) else None,
            "ci_low": None,
            "ci_high": None,
            "interval": "none",
            "n": len(chosen),
        }


def _kept(test: BankTest, target: str, pairs: Candidates) -> Discoveries:
    """Discoveries of one target, at most `keep` per half-feature."""
    found = test.exact.adjust(pairs, test.n_tests(target))
    kept = rank_within(found.feature) < test.settings.keep
    columns = (getattr(found, each.name) for each in fields(found))
    return Discoveries(*(each[kept] if np.ndim(each) else each for each in columns))


def _target_table(
    test: BankTest, target: str, found: Discoveries, run: Mapping[str, object]
) -> pa.Table:
    bank, count = test.bank, len(found.feature)
    feature = found.feature % test.n_features
    odds = log_odds_ratio(found.a, found.b, found.c, found.d)
    quality = detection(found.a, found.b, found.c)
    area, correlation = _activation_effects(test, found)
    given_best = conditional_p_values(test.active, test.present, found)
    sign = np.where(found.feature < test.n_features, "+", "-")
    labels = np.array(test.labels, dtype=object)[found.label]
    columns = {
        **{name: [value] * count for name, value in run.items()},
        "layer": bank.layer[feature],
        "step": bank.step[feature],
        "feature": bank.index[feature],
        "sign": sign.tolist(),
        "target": [target] * count,
        "rank": rank_within(found.feature),
        "label": labels.tolist(),
        "a": found.a,
        "b": found.b,
        "c": found.c,
        "d": found.d,
        "p_value": found.p_value,
        "q_value": found.q_value,
        "log_odds": odds.value,
        "log_odds_low": odds.low,
        "log_odds_high": odds.high,
        "precision": quality.precision,
        "recall": quality.recall,
        "f1": quality.f1,
        "auroc": area,
        "point_biserial": correlation,
        "conditional_p_value": given_best,
        "carried": carried(found, given_best, test.settings.carried_p_value),
    }
    arrays = [pa.array(columns[each.name], each.type) for each in DISCOVERIES.columns]
    return pa.table(arrays, schema=DISCOVERIES.schema())


def _activation_effects(
    test: BankTest, found: Discoveries
) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """AUROC of the absolute activation and correlation of the signed one, for features that need it."""
    area, correlation = np.empty(len(found.feature)), np.empty(len(found.feature))
    feature = found.feature % test.n_features
    for layer in np.unique(test.bank.layer[feature]).tolist():
        chosen = np.flatnonzero(test.bank.layer[feature] == layer)
        used, column = np.unique(feature[chosen], return_inverse=True)
        values, label = test.bank.values[:, used], found.label[chosen]
        area[chosen] = auroc(np.abs(values), test.present, column, label)
        correlation[chosen] = point_biserial(values, test.present, column, label)
    return area, correlation
