"""Whether ablating the set of the chosen site does more than matched random features, over models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from saeflow.stats.exact import holm

LEVEL = 0.05
METRIC = "largest_set_effect"


class SetEffect(NamedTuple):
    """What the set of the chosen site does on the reported half, of one bank.

    Attributes
    ----------
    ci_high : float or None
        Upper end of the interval of its effect minus that of matched random features, in nats.
    p_value : float
        One-sided, of the effect being no lower.
    """

    ci_high: float | None
    p_value: float


class SetVerdict(NamedTuple):
    """What may be said of it beside the others.

    Attributes
    ----------
    adjusted : float
        p-value after Holm over all banks of the family.
    family : int
        How many these are.
    holds : bool
        Whether that p-value is below `LEVEL` and the whole interval is below 0.
    """

    adjusted: float
    family: int
    holds: bool


def set_verdicts(effects: Mapping[str, SetEffect]) -> dict[str, SetVerdict]:
    """Judge the set effects of a family of banks together.

    Parameters
    ----------
    effects : mapping of str to SetEffect
        By name of the bank; those of one family alone, untrained controls being another.

    Returns
    -------
    dict of str to SetVerdict
        In the order of `effects`.
    """
    p_values = np.array([each.p_value for each in effects.values()], np.float64)
    adjusted = dict(zip(effects, holm(p_values).tolist(), strict=True))
    return {
        name: SetVerdict(
            adjusted[name],
            len(effects),
            adjusted[name] < LEVEL and each.ci_high is not None and each.ci_high < 0,
        )
        for name, each in effects.items()
    }
