"""Which half-features follow an operator, a number, a sequence of operators, or a step's value.

Exact tests on problems that no SAE saw, and the number of such features by how often they fire,
beside what permuted problems give: the published rule finds specialists among rare features because
few problems agree by chance (methods/2, section 3.7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Int

from saeflow.artifacts.hierarchy import HIERARCHY, SPECIALISTS
from saeflow.config.hierarchy import SpecialistTarget, SpecialistTests
from saeflow.datasets.tokens import OPERATORS
from saeflow.progress import progress
from saeflow.seeds import numpy_generator
from saeflow.stats.discovery import Candidates
from saeflow.studies.chance import band, excess
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest
from saeflow.studies.gsm8k.discoveries import discovery_table
from saeflow.studies.gsm8k.targets import (
    Target,
    calculations,
    operands_in,
    operators_in,
    target_of,
)
from saeflow.studies.hierarchy.bins import ALL, bin_groups

LENGTHS = (2, 3)
"""Operators of a sequence."""
_SIGNS = frozenset("+-")
_Calculation = tuple[int, int, list[str]]
"""Row of the problem, step from 1, tokens."""


class Group(NamedTuple):
    """Features that are counted together.

    Attributes
    ----------
    label : str
        "all" or the bin's name.
    layer, step : int or None
        The site; None where the group spans all of them.
    chosen : numpy.ndarray of bool, shape (features,)
        Which features belong to it.
    """

    label: str
    layer: int | None
    step: int | None
    chosen: Bool[np.ndarray, " features"]


class Counted(NamedTuple):
    """Features that follow a label of each target, as measured and by chance.

    Attributes
    ----------
    targets : list of str
        Names.
    tested : numpy.ndarray of bool, shape (targets, features)
        Of which a half and a label are frequent enough.
    observed : numpy.ndarray of bool, shape (targets, features)
        Of which a half has a discovery.
    permuted : numpy.ndarray of bool, shape (permutations, targets, features)
        Of which a half has a permuted label whose p-value is as small as that of a discovery.
    """

    targets: list[str]
    tested: Bool[np.ndarray, "targets features"]
    observed: Bool[np.ndarray, "targets features"]
    permuted: Bool[np.ndarray, "permutations targets features"]


def specialist_targets(
    wanted: Sequence[SpecialistTarget], cot_tokens: pa.Table, numbers: Int[np.ndarray, " problems"]
) -> list[Target]:
    """Label the evaluated problems by their calculations, token by token.

    ========== ================================================================================
    operators  ``+``: a binary operator of any calculation, read as
               `saeflow.studies.gsm8k.targets.target_labels` reads them.
    operands   ``12``: a number left of the first "=" of any calculation.
    sequence   ``* -`` or ``* - +``: two or three operators that follow each other in the
               problem, from one calculation to the next, too.
    step_value ``step 1: 12``, an operand of a step, and ``step 1 = 24``, its result, where
               nothing but one number is right of its first "=". Numbers have no sign.
    ========== ================================================================================

    Parameters
    ----------
    wanted : sequence of str
        Which of them.
    cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COT_TOKENS`; may hold other problems, too.
    numbers : numpy.ndarray of int, shape (problems,)
        Running numbers of the evaluated problems, ascending.

    Returns
    -------
    list of Target
        In the order of `wanted`.
    """
    found = list(calculations(cot_tokens, numbers))
    return [target_of(name, _LABELS[name](found), len(numbers)) for name in wanted]


def specialist_tables(
    bank: BankFeatures,
    targets: Sequence[Target],
    settings: SpecialistTests,
    run: Mapping[str, object],
    device: torch.device,
) -> tuple[pa.Table, pa.Table]:
    """Test all half-features of a bank, and count those that follow something.

    Parameters
    ----------
    bank : BankFeatures
        Activations on held-out problems.
    targets : sequence of Target
        Labels of the same problems, as `specialist_targets` makes them.
    settings : SpecialistTests
        Thresholds and permutations.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    device : torch.device
        Where to multiply.

    Returns
    -------
    specialists : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SPECIALISTS`.
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`, as `specialist_rows` makes them, by bin
        of active problems and by site.
    """
    test = BankTest(bank, targets, settings.tests, device)
    candidates = test.candidates()
    table = discovery_table(test, candidates, run).cast(SPECIALISTS.schema())
    counted = count_specialists(test, candidates, settings)
    rows = specialist_rows(counted, feature_groups(bank))
    summary = pa.Table.from_pylist([{**run, **row} for row in rows], HIERARCHY.schema())
    return table, summary


def feature_groups(bank: BankFeatures, prefix: str | None = None) -> Iterator[Group]:
    """Features that fire, by how often they do, and by site.

    Parameters
    ----------
    bank : BankFeatures
        Activations.
    prefix : str, optional
        What to name all of them; bins are then called "{prefix} n={bin}", and sites left out.
    """
    n_active = np.count_nonzero(bank.values, axis=0)
    for label, chosen in bin_groups(n_active):
        name = label if prefix is None else prefix if label == ALL else f"{prefix} n={label}"
        yield Group(name, None, None, chosen)
    sites = sorted({*zip(bank.layer.tolist(), bank.step.tolist(), strict=True)})
    for layer, step in sites if prefix is None else ():
        here = (bank.layer == layer) & (bank.step == step)
        yield Group(ALL, layer, step, here & (n_active > 0))


def count_specialists(
    test: BankTest, candidates: Mapping[str, Candidates], settings: SpecialistTests
) -> Counted:
    """Mark features with a discovery, and those that chance puts below the same p-value.

    Parameters
    ----------
    test : BankTest
        The tests; no target has a step.
    candidates : mapping of str to Candidates
        As `BankTest.candidates` gives them.
    settings : SpecialistTests
        How many joint permutations of the problems' labels, and their seed.
    """
    limits = np.array(
        [test.threshold(candidates[name].p_value, test.n_tests(name)) for name in test.names]
    )
    observed = [
        test.best(candidates[name]) <= limit for name, limit in zip(test.names, limits, strict=True)
    ]
    permuted = np.zeros((settings.permutations, len(test.names), test.n_features), bool)
    highest = float(limits.max())
    numbers = range(settings.permutations) if highest >= 0 else range(0)
    for number in progress(numbers, description="permutations", total=len(numbers)):
        order = permuted_order(len(test.present), settings.seed, number)
        # Pairs above every limit count nowhere, and most are.
        found = test.exact.candidates(test.present[order], highest)
        owner = test.owner[found.label]
        kept = found.p_value <= limits[owner]
        permuted[number, owner[kept], found.feature[kept] % test.n_features] = True
    halves = np.zeros(2 * test.n_features, bool)
    halves[test.exact.features] = True
    frequent = halves.reshape(2, -1).any(0)
    possible = np.array([test.n_tests(name) > 0 for name in test.names])
    return Counted(test.names, possible[:, None] & frequent, np.array(observed), permuted)


def permuted_order(n_problems: int, seed: int, permutation: int) -> Int[np.ndarray, " problems"]:
    """Order of the problems' labels in one joint permutation; features stay where they are."""
    return numpy_generator(seed, "hierarchy", "permutation", permutation).permutation(n_problems)


def specialist_rows(counted: Counted, groups: Iterable[Group]) -> Iterator[dict[str, Any]]:
    """Count features that follow something, group by group and target by target.

    The p-value of a discovery is that of the whole bank, so that bins, and sites, add up. Numbers
    of groups in which no feature is frequent enough for a test are null.

    Parameters
    ----------
    counted : Counted
        Which features follow something.
    groups : iterable of Group
        Features that are counted together.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY` without those of the run: n_features and,
        per target, n_tested, n_specialists and share_specialists (of the group's features), the
        latter two with a row ``permuted`` and an excess.
    """
    for group in groups:
        key = {"group": group.label, "layer": group.layer, "step": group.step}
        size = int(np.count_nonzero(group.chosen))
        yield {**key, **plain("n_features", float(size), size)}
        for place, target in enumerate(counted.targets):
            n_tested = int(np.count_nonzero(counted.tested[place, group.chosen]))
            yield {**key, **plain(f"n_tested.{target}", float(n_tested), size)}
            observed = int(np.count_nonzero(counted.observed[place, group.chosen]))
            chance = np.count_nonzero(counted.permuted[:, place, group.chosen], axis=1)
            for name, whole in (("n_specialists", 1), ("share_specialists", size)):
                value = observed / whole if n_tested else None
                null = (chance / max(whole, 1)).tolist()
                for row in beside_null(name, target, value, null, size):
                    yield {**key, **row}


def beside_null(
    name: str, target: str, value: float | None, null: Sequence[float], n: int
) -> Iterator[dict[str, Any]]:
    """Rows of one number: as measured, permuted, and its excess; only the first where it is null."""
    yield plain(f"{name}.{target}", value, n)
    if value is not None and null:
        yield {"metric": f"{name}.{target}", "control": "permuted", **band(null)}
        yield excess(f"{name}_excess.{target}", value, null, n)


def plain(metric: str, value: float | None, n: int, control: str = "none") -> dict[str, Any]:
    """A number without an interval, as columns of a table."""
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {"metric": metric, "control": control, "value": value, **nothing, "n": n}


def _operators(found: Sequence[_Calculation]) -> Iterator[tuple[int, str]]:
    return ((row, sign) for row, _, tokens in found for sign in operators_in(tokens))


def _operands(found: Sequence[_Calculation]) -> Iterator[tuple[int, str]]:
    return ((row, number) for row, _, tokens in found for number in operands_in(tokens))


def _sequences(found: Sequence[_Calculation]) -> Iterator[tuple[int, str]]:
    for row, part in groupby(found, key=lambda each: each[0]):
        signs = [sign for _, _, tokens in part for sign in operators_in(tokens)]
        for length in LENGTHS:
            for start in range(len(signs) - length + 1):
                yield row, " ".join(signs[start : start + length])


def _step_values(found: Sequence[_Calculation]) -> Iterator[tuple[int, str]]:
    for row, step, tokens in found:
        for number in operands_in(tokens):
            yield row, f"step {step}: {number}"
        result = tokens[tokens.index("=") + 1 :] if "=" in tokens else []
        unsigned = result[1:] if result and result[0] in _SIGNS else result
        if len(unsigned) == 1 and unsigned[0] not in OPERATORS:
            yield row, f"step {step} = {unsigned[0]}"


_LABELS: dict[str, Callable[[Sequence[_Calculation]], Iterator[tuple[int, str]]]] = {
    "operators": _operators,
    "operands": _operands,
    "sequence": _sequences,
    "step_value": _step_values,
}
