"""Whether groups of features that fire together follow an operator.

Members of a group fire on the same problems, so one chance association makes all of them follow an
operator. A group is therefore tested as one unit, on its firing, and not by its number of followers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.config.hierarchy import ModuleSettings
from saeflow.config.runs import ExactSettings
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import TailTable, adjusted
from saeflow.studies.gsm8k.targets import Target

NO_OPERATOR = "none"


class Followed(NamedTuple):
    """Operator that each of the bank's modules goes with most clearly.

    Attributes
    ----------
    operator : list of str
        Its name; none where the module is on always or never, or no operator is tested.
    p_value, q_value : numpy.ndarray of float64, shape (modules,)
        Of the module as one unit, for the choice among operators, and adjusted for all modules that
        are tested; not a number for the others.
    """

    operator: list[str]
    p_value: Float[np.ndarray, " modules"]
    q_value: Float[np.ndarray, " modules"]


class OperatorTest:
    """Test modules, each as one unit, against operators whose rows may move, as in a permutation.

    A module's operator has the smallest p-value of Fisher's exact one-sided tests, which is
    multiplied by the number of operators for the choice among them; of equals, it is the first in
    the order of names. Modules are found without a look at labels, so the problems that they are
    found on will do: under permuted labels a p-value is as small as any level no more often than
    that.

    Parameters
    ----------
    on : numpy.ndarray of bool, shape (problems, modules)
        Where modules are on.
    operators : Target
        Which operators each of the problems has. Those of all problems, or of fewer than
        ``tests.min_support``, are not tested.
    tests : ExactSettings
        Which operators are tested, and how modules are corrected.
    """

    def __init__(
        self, on: Bool[np.ndarray, "problems modules"], operators: Target, tests: ExactSettings
    ) -> None:
        support = operators.present.sum(0)
        kept = (support >= tests.min_support) & (support < len(on))
        named = sorted(np.flatnonzero(kept).tolist(), key=lambda each: operators.labels[each])
        self._labels = [operators.labels[each] for each in named]
        self._present = operators.present[:, named].astype(np.float32)
        self._on, n_on = on.T.astype(np.float32), on.sum(0)
        self._varies = np.flatnonzero((n_on > 0) & (n_on < len(on)) & bool(named))
        self._tails = TailTable(n_on, support[named], len(on))
        self._dependent = tests.correction == "benjamini_yekutieli"

    def followed(self, order: Int[np.ndarray, " problems"] | None = None) -> Followed:
        """Operators of modules; with an order, as if the problems' labels had it."""
        present = self._present if order is None else self._present[order]
        joint = (self._on[self._varies] @ present).astype(np.int64)
        row, column = np.indices(joint.shape).reshape(2, -1)
        p_values = self._tails.p_values(joint.ravel(), self._varies[row], column)
        operator = [NO_OPERATOR] * len(self._on)
        p_value, q_value = np.full((2, len(self._on)), np.nan)
        if len(self._varies):
            table = p_values.reshape(joint.shape)
            for module, best in zip(self._varies.tolist(), table.argmin(1).tolist(), strict=True):
                operator[module] = self._labels[best]
            chosen = np.minimum(table.min(1) * len(self._labels), 1.0)
            p_value[self._varies] = chosen
            q_value[self._varies] = adjusted(chosen, len(chosen), dependent=self._dependent)
        return Followed(operator, p_value, q_value)

    def permuted(self, seed: int, number: int) -> Followed:
        """The same with the problems' labels permuted together."""
        generator = numpy_generator(seed, "hierarchy", "module operators", number)
        return self.followed(generator.permutation(len(self._present)))


def significant_draws(
    test: OperatorTest, settings: ModuleSettings, level: float
) -> Bool[np.ndarray, "draws modules"]:
    """Which modules' operator is significant; first as measured, then by permutation.

    Parameters
    ----------
    test : OperatorTest
        The modules.
    settings : ModuleSettings
        How many permutations, and their seed.
    level : float
        Largest adjusted p-value.
    """
    draws = [test.permuted(settings.seed, number) for number in range(settings.permutations)]
    return np.stack([each.q_value <= level for each in (test.followed(), *draws)])
