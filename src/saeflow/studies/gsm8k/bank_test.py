"""Exact tests of all half-features of a bank against all labels, on problems that no SAE saw.

A signed feature is two half-features: where it is above 0, and where it is below. All labels are
tested at once; each target's tests are corrected for by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int

from saeflow.artifacts.features import LayerTable
from saeflow.config.runs import ExactSettings
from saeflow.stats.discovery import Candidates, ExactTest
from saeflow.stats.exact import harmonic_number
from saeflow.stats.signed import halves
from saeflow.studies.chance import places
from saeflow.studies.gsm8k.targets import Target


@dataclass(frozen=True)
class BankFeatures:
    """Activations of all features of a bank on the evaluated problems.

    Attributes
    ----------
    layer, step, index : numpy.ndarray of int, shape (features,)
        Which feature each column is.
    values : numpy.ndarray of float32, shape (problems, features)
        Signed activations.
    """

    layer: Int[np.ndarray, " features"]
    step: Int[np.ndarray, " features"]
    index: Int[np.ndarray, " features"]
    values: Float32[np.ndarray, "problems features"]


class PlaceCount(NamedTuple):
    """What tests of one target found at one place.

    Attributes
    ----------
    target : str
        Name of the target.
    layer, step : int or None
        The place; None where it spans all of them.
    n_features : int
        Features of the place, tested or not.
    n_discovered : int
        Features of which a half has a discovery, corrected for the tests of this place and target.
    n_tests : int
        Tests of this place and target.
    smallest : float
        Smallest p-value among them; 1 where none is small enough to be kept.
    limit : float
        Largest p-value of a discovery; -1 where there is none.
    """

    target: str
    layer: int | None
    step: int | None
    n_features: int
    n_discovered: int
    n_tests: int
    smallest: float
    limit: float


def bank_features(
    sources: Iterable[LayerTable], problems: Int[np.ndarray, " problems"]
) -> BankFeatures:
    """Dense activations from long tables, in which zeros are not stored.

    Parameters
    ----------
    sources : iterable of LayerTable
        Layer by layer; may hold other problems, too.
    problems : numpy.ndarray of shape (problems,)
        Running numbers of the evaluated problems, ascending.

    Returns
    -------
    BankFeatures
        Rows in the order of `problems`; columns by layer, step and feature.
    """
    parts = []
    for source in sources:
        values = np.zeros((len(problems), len(source.steps) * source.d_sae), np.float32)
        row, column, value = source.cells(problems)
        values[row, column] = value
        steps = np.array(source.steps)
        count = values.shape[1]
        index = np.arange(count)
        parts.append(
            BankFeatures(
                np.full(count, source.layer),
                steps[index // source.d_sae],
                index % source.d_sae,
                values,
            )
        )
    return BankFeatures(
        np.concatenate([part.layer for part in parts]),
        np.concatenate([part.step for part in parts]),
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.values for part in parts], axis=1),
    )


class BankTest:
    """Test all half-features of a bank against the labels of all targets.

    Parameters
    ----------
    bank : BankFeatures
        Activations.
    targets : sequence of Target
        Labels of the same problems; one with a step is tested against that step's features only.
    settings : ExactSettings
        Thresholds.
    device : torch.device
        Where to multiply.
    least : float
        Share of the settings' smallest counts to ask for, where only part of the problems is given.

    Attributes
    ----------
    present : numpy.ndarray of bool, shape (problems, labels)
        All targets' labels side by side.
    owner : numpy.ndarray of int, shape (labels,)
        Which target each label belongs to, by its place in `names`.
    labels : list of str
        What the labels are called.
    names : list of str
        Names of the targets, in their order.
    """

    def __init__(
        self,
        bank: BankFeatures,
        targets: Sequence[Target],
        settings: ExactSettings,
        device: torch.device,
        least: float = 1.0,
    ) -> None:
        self.bank, self.settings = bank, settings
        self.names = list(dict.fromkeys(target.name for target in targets))
        self.labels = [label for target in targets for label in target.labels]
        self.owner = np.concatenate(
            [np.full(len(each.labels), self.names.index(each.name)) for each in targets]
        )
        self._step = np.concatenate(
            [np.full(len(each.labels), -1 if each.step is None else each.step) for each in targets]
        )
        self.present = np.concatenate([target.present for target in targets], axis=1)
        self.active = halves(bank.values) > 0
        self.exact = ExactTest(
            self.active,
            self.present.sum(0),
            device,
            level=settings.q_value,
            min_active=max(1, round(settings.min_active * least)),
            min_support=max(1, round(settings.min_support * least)),
            dependent=settings.correction == "benjamini_yekutieli",
        )
        self._places = list(places(bank.layer, bank.step))
        self._tests = self._tests_by_place()

    @property
    def n_features(self) -> int:
        """Signed features; a half-feature's number is the feature's, or this much more."""
        return len(self.bank.layer)

    def candidates(
        self, present: Bool[np.ndarray, "problems labels"] | None = None
    ) -> dict[str, Candidates]:
        """Pairs with a small p-value, smallest first, by target.

        Parameters
        ----------
        present : numpy.ndarray of bool, shape (problems, labels), optional
            `present` of this test with its rows permuted.
        """
        found = self.exact.candidates(self.present if present is None else present)
        own_step = self._step[found.label]
        fits = (own_step < 0) | (own_step == self.bank.step[found.feature % self.n_features])
        order = np.argsort(found.p_value, kind="stable")
        order = order[fits[order]]
        owner = self.owner[found.label[order]]
        return {
            name: Candidates(*(column[order[owner == number]] for column in found))
            for number, name in enumerate(self.names)
        }

    def n_tests(self, target: str) -> int:
        """Tests of a target in the whole bank."""
        return self._tests[target][0]

    def threshold(self, p_values: Float[np.ndarray, " tests"], n_tests: int) -> float:
        """Largest p-value that is a discovery among ascending ones, of so many tests; -1 for none."""
        if not len(p_values):
            return -1.0
        level = self.settings.q_value
        if self.settings.correction == "benjamini_yekutieli":
            level /= harmonic_number(n_tests)
        passing = np.flatnonzero(p_values <= level * np.arange(1, len(p_values) + 1) / n_tests)
        return float(p_values[passing[-1]]) if len(passing) else -1.0

    def counts(
        self, candidates: dict[str, Candidates], observed: Sequence[PlaceCount] | None = None
    ) -> list[PlaceCount]:
        """Count features with a discovery at every place, corrected for the tests that it spans.

        Parameters
        ----------
        candidates : dict of str to Candidates
            As `candidates` gives them.
        observed : sequence of PlaceCount, optional
            What was found without permuting: then those features count that have a label below the
            same limits, which is how many chance alone puts there.
        """
        rows = []
        limits = {(each.target, each.layer, each.step): each.limit for each in observed or ()}
        for target, found in candidates.items():
            feature = found.feature % self.n_features
            best = self.best(found)
            for (layer, step, chosen), n_tests in zip(
                self._places, self._tests[target], strict=True
            ):
                p_values = found.p_value[chosen[feature]]
                limit = limits.get((target, layer, step))
                limit = self.threshold(p_values, n_tests) if limit is None else limit
                rows.append(
                    PlaceCount(
                        target,
                        layer,
                        step,
                        n_features=int(np.count_nonzero(chosen)),
                        n_discovered=int(np.count_nonzero(best[chosen] <= limit)),
                        n_tests=n_tests,
                        smallest=float(p_values[0]) if len(p_values) else 1.0,
                        limit=limit,
                    )
                )
        return rows

    def at(self, layer: int | None, step: int | None) -> Bool[np.ndarray, " features"]:
        """Which features belong to a place; None spans all layers or all steps."""
        chosen = np.ones(self.n_features, bool)
        if layer is not None:
            chosen &= self.bank.layer == layer
        if step is not None:
            chosen &= self.bank.step == step
        return chosen

    def best(self, candidates: Candidates) -> Float[np.ndarray, " features"]:
        """Smallest p-value of each feature, either half; 2 where it is not among the candidates."""
        # Ascending p-values, so a feature's first is its smallest.
        feature, first = np.unique(candidates.feature % self.n_features, return_index=True)
        best = np.full(self.n_features, 2.0)
        best[feature] = candidates.p_value[first]
        return best

    def _tests_by_place(self) -> dict[str, list[int]]:
        tested_label = np.zeros(len(self.labels), bool)
        tested_label[self.exact.labels] = True
        feature = self.exact.features % self.n_features
        found: dict[str, list[int]] = {name: [] for name in self.names}
        for number, name in enumerate(self.names):
            steps = self._step[tested_label & (self.owner == number)]
            labels_of_step = {
                step: int(np.count_nonzero((steps < 0) | (steps == step)))
                for step in np.unique(self.bank.step).tolist()
            }
            weight = np.array([labels_of_step[step] for step in self.bank.step[feature].tolist()])
            for _, _, chosen in self._places:
                found[name].append(int(weight[chosen[feature]].sum()) if len(feature) else 0)
        return found
