"""Split-half confirmation: what is found on one half of the problems is tested once on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Int

from saeflow.config.runs import ExactSettings
from saeflow.config.studies import HalvesSettings
from saeflow.progress import progress
from saeflow.seeds import numpy_generator
from saeflow.stats.discovery import Candidates
from saeflow.stats.exact import TailTable
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest
from saeflow.studies.gsm8k.targets import Target

LEVEL = 0.05
"""Of the one test on the other half."""


@dataclass
class Confirmation:
    """What became of the features found on one half, split by split.

    Attributes
    ----------
    n_found : list of int
        Features with a discovery on the first half.
    confirmed : list of float or None
        Share of them whose best label passes one exact test on the other half; None where none
        was found.
    chance : list of float or None
        Chance of passing that test without an association, exact, averaged over the same pairs.
    """

    n_found: list[int] = field(default_factory=list)
    confirmed: list[float | None] = field(default_factory=list)
    chance: list[float | None] = field(default_factory=list)


def split_half(
    bank: BankFeatures,
    targets: Sequence[Target],
    settings: ExactSettings,
    splits: HalvesSettings,
    device: torch.device,
) -> dict[str, Confirmation]:
    """Find on one half, test on the other, over random splits.

    On the first half a feature counts as found if the procedure discovers a label of it there,
    with the settings' smallest counts halved; on the other half its best label alone is tested.

    Parameters
    ----------
    bank : BankFeatures
        Activations on all evaluated problems.
    targets : sequence of Target
        Labels of the same problems.
    settings : ExactSettings
        Thresholds.
    splits : HalvesSettings
        Number and seed of the splits.
    device : torch.device
        Where to multiply.

    Returns
    -------
    dict of str to Confirmation
        By target.
    """
    total = len(bank.values)
    found: dict[str, Confirmation] = {}
    for number in progress(range(splits.count), description="halves", total=splits.count):
        order = numpy_generator(splits.seed, "gsm8k", "halves", number).permutation(total)
        first, second = np.sort(order[: total // 2]), np.sort(order[total // 2 :])
        test = _half(bank, targets, settings, device, first)
        other = _half(bank, targets, settings, device, second)
        for target, candidates in test.candidates().items():
            best = _best_pairs(test, candidates, target)
            _confirm(other, best, found.setdefault(target, Confirmation()))
    return found


def _half(
    bank: BankFeatures,
    targets: Sequence[Target],
    settings: ExactSettings,
    device: torch.device,
    rows: Int[np.ndarray, " half"],
) -> BankTest:
    part = BankFeatures(bank.layer, bank.step, bank.index, bank.values[rows])
    labels = [
        Target(each.name, each.labels, np.ascontiguousarray(each.present[rows]), each.step)
        for each in targets
    ]
    return BankTest(part, labels, settings, device, least=0.5)


def _best_pairs(test: BankTest, candidates: Candidates, target: str) -> Candidates:
    """Pair of smallest p-value of each feature with a discovery."""
    limit = test.threshold(candidates.p_value, test.n_tests(target))
    _, first = np.unique(candidates.feature % test.n_features, return_index=True)
    first = first[candidates.p_value[first] <= limit]
    return Candidates(*(column[first] for column in candidates))


def _confirm(test: BankTest, pairs: Candidates, into: Confirmation) -> None:
    """Test the pairs on the other half, each once."""
    into.n_found.append(len(pairs.feature))
    if not len(pairs.feature):
        into.confirmed.append(None)
        into.chance.append(None)
        return
    n_active = test.exact.n_active[pairs.feature]
    support = test.exact.support[pairs.label]
    joint = _joint(test.active, test.present, pairs)
    table = TailTable(n_active, support, len(test.present))
    places = np.arange(len(pairs.feature))
    critical = table.lowest(LEVEL)[table.row, table.column]
    possible = critical <= np.minimum(n_active, support)
    passes = possible & (joint >= critical)
    chance = np.zeros(len(places))
    chance[possible] = table.p_values(critical[possible], places[possible], places[possible])
    into.confirmed.append(float(passes.mean()))
    into.chance.append(float(chance.mean()))


def _joint(
    active: Bool[np.ndarray, "problems halves"],
    present: Bool[np.ndarray, "problems labels"],
    pairs: Candidates,
) -> Int[np.ndarray, " pairs"]:
    counts: Int[np.ndarray, " pairs"] = (active[:, pairs.feature] & present[:, pairs.label]).sum(0)
    return counts
