"""Calibrated rates of a bank: exact discoveries, each rate beside its chance level (design, 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from saeflow.progress import progress
from saeflow.studies.chance import band, excess
from saeflow.studies.gsm8k.bank_test import BankTest, PlaceCount
from saeflow.studies.gsm8k.halves import Confirmation
from saeflow.studies.gsm8k.permutations import permuted_rows

DISCOVERED, SMALLEST = "discovered_rate", "smallest_p_value"
Place = tuple[str, int | None, int | None]
"""Target, layer and step."""


class Null(NamedTuple):
    """What permutations gave for one target at one place.

    Attributes
    ----------
    rates : list of float
        Share of features with a discovery, by permutation.
    smallest : list of float
        Smallest p-value, by permutation.
    """

    rates: list[float]
    smallest: list[float]


def calibrated_permutations(
    test: BankTest, numbers: range, seed: int, run: Mapping[str, object]
) -> pa.Table:
    """Test again after each joint permutation of the problems' labels.

    ``discovered_rate`` is then the share of features with a label below the p-value up to which the
    measurement itself discovers: what chance puts among its discoveries. (Corrected anew, permuted
    labels give next to nothing, which says nothing of how many discoveries are false.) A
    permutation depends on its number alone, so ranges of numbers merge exactly.

    Parameters
    ----------
    test : BankTest
        The bank's tests.
    numbers : range
        Which permutations.
    seed : int
        Seed of the permutations.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PERMUTATIONS`, with the metrics ``discovered_rate``
        and ``smallest_p_value``.
    """
    rows: list[dict[str, Any]] = []
    observed = test.counts(test.candidates())
    for number in progress(numbers, description="permutations", total=len(numbers)):
        order = permuted_rows(len(test.present), seed, number)
        for count in test.counts(test.candidates(test.present[order]), observed):
            key = {**run, **_place(count), "permutation": number}
            rate = count.n_discovered / count.n_features
            rows.append({**key, "metric": DISCOVERED, "value": rate, "n": count.n_features})
            rows.append({**key, "metric": SMALLEST, "value": count.smallest, "n": count.n_tests})
    return pa.Table.from_pylist(rows)


def calibrated_summary(
    test: BankTest,
    counts: Sequence[PlaceCount],
    best: Mapping[str, Float[np.ndarray, " features"]],
    permuted: Sequence[pa.Table],
    confirmed: Mapping[str, Confirmation],
    run: Mapping[str, object],
) -> pa.Table:
    """Rates of a bank, each beside what permutations give where there are any.

    ``discovered_rate`` is the share of all features of a place of which a half has a label whose
    adjusted p-value is small, corrected for the tests which that place spans, so that places with
    as many sites compare; null where nothing can be tested. The correction holds down the share of
    false pairs, not of false features; ``permuted`` is the share of features that chance puts below
    the same p-value, and ``discovered_excess`` what remains above its mean, with an interval made
    of its quantiles. ``family_wise_rate`` is the share of features below the max-statistic
    threshold: with no association at all, a place and target has any of them in no larger a share
    of runs than the settings' ``q_value``; chance gives 0 in all others.
    ``confirmed_rate`` is the share of what is found on one half of the problems that a single test
    on the other half confirms at 0.05, over random halves; control ``chance`` is the exact
    probability of that without an association.

    Parameters
    ----------
    test : BankTest
        The bank's tests.
    counts : sequence of PlaceCount
        What they found.
    best : mapping of str to numpy.ndarray of shape (features,)
        Smallest p-value of each feature, by target.
    permuted : sequence of pyarrow.Table
        As `calibrated_permutations` gives them; none for a control.
    confirmed : mapping of str to Confirmation
        By target.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.SUMMARY`.
    """
    nulls = _nulls(permuted)
    rows: list[dict[str, Any]] = []
    for count in counts:
        key = {**run, **_place(count)}
        tested = count.n_tests > 0
        rate = count.n_discovered / count.n_features if tested else None
        rows.append(_row(key, "n_tests", "none", float(count.n_tests), count.n_features))
        rows.append(_row(key, DISCOVERED, "none", rate, count.n_features))
        null = nulls.get((count.target, count.layer, count.step))
        if null is None or rate is None:
            continue
        rows.append({**key, "metric": DISCOVERED, "control": "permuted", **band(null.rates)})
        rows.append({**key, **excess("discovered_excess", rate, null.rates, count.n_features)})
        chosen = test.at(count.layer, count.step)
        limit = family_wise_limit(null.smallest, test.settings.q_value)
        share = float(np.mean(best[count.target][chosen] < limit))
        rows.append(_row(key, "family_wise_rate", "none", share, count.n_features))
    for target, found in confirmed.items():
        rows += _confirmed_rows({**run, "target": target, "layer": None, "step": None}, found)
    return pa.Table.from_pylist(rows)


def family_wise_limit(smallest: Sequence[float], level: float) -> float:
    """P-value below which a discovery is significant among all tests (Westfall and Young's max-T).

    With the smallest p-values of B permutations, fewer than ``level * (B + 1)`` of them and the
    observed one may be as small.

    Parameters
    ----------
    smallest : sequence of float
        Smallest p-value of all tests under each permutation.
    level : float
        Chance of any false discovery.

    Returns
    -------
    float
        0, below which nothing is, where there are too few permutations.
    """
    rank = int(np.floor(level * (len(smallest) + 1) + 1e-9))
    return float(np.sort(smallest)[rank - 1]) if rank >= 1 else 0.0


def _nulls(permuted: Sequence[pa.Table]) -> dict[Place, Null]:
    found: dict[Place, Null] = {}
    names = ("target", "layer", "step", "metric", "value")
    for table in permuted:
        columns = (table[name].to_pylist() for name in names)
        for target, layer, step, metric, value in zip(*columns, strict=True):
            null = found.setdefault((target, layer, step), Null([], []))
            (null.rates if metric == DISCOVERED else null.smallest).append(value)
    return found


def _confirmed_rows(key: Mapping[str, Any], found: Confirmation) -> Iterator[dict[str, Any]]:
    shares = [share for share in found.confirmed if share is not None]
    attained = [share for share in found.chance if share is not None]
    n = round(float(np.mean(found.n_found)))
    for control, values in (("none", shares), ("chance", attained)):
        row = _row(key, "confirmed_rate", control, float(np.mean(values)) if values else None, n)
        if values:
            row |= {"ci_low": min(values), "ci_high": max(values), "interval": "split_range"}
        yield row


def _place(count: PlaceCount) -> dict[str, Any]:
    return {"target": count.target, "layer": count.layer, "step": count.step}


def _row(
    key: Mapping[str, Any], metric: str, control: str, value: float | None, n: int
) -> dict[str, Any]:
    interval = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {**key, "metric": metric, "control": control, "value": value, **interval, "n": n}
