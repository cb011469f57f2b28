"""What ablations of specialists did, specialist by specialist and prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float

from saeflow.artifacts.unit_tables import ABLATED
from saeflow.studies.specialists.behaviour import SpecialistFeature

METRICS = ("log_probability", "kl", "flip", "rank")


class Effects(NamedTuple):
    """What one condition did, specialist by specialist and prompt by prompt.

    NaN where a control has nothing to take away; 0 where the specialist is silent and so nothing was
    done.

    Attributes
    ----------
    log_probability : numpy.ndarray of float64, shape (specialists, prompts)
        Change of the target's log-probability, mean over its tokens, in nats.
    kl : numpy.ndarray of float64, shape (specialists, prompts)
        Kullback-Leibler divergence of the next token behind the prompt, in nats.
    flip : numpy.ndarray of float64, shape (specialists, prompts)
        Whether another token is the likeliest there; of several draws, the share.
    rank : numpy.ndarray of float64, shape (specialists, prompts)
        Change of the number of tokens that are likelier there than the target's first.
    """

    log_probability: Float[np.ndarray, "specialists prompts"]
    kl: Float[np.ndarray, "specialists prompts"]
    flip: Float[np.ndarray, "specialists prompts"]
    rank: Float[np.ndarray, "specialists prompts"]


@dataclass(frozen=True)
class AblationTrials:
    """What ablations of specialists did.

    Attributes
    ----------
    specialists : tuple of SpecialistFeature
        First axis.
    effects : dict of str to Effects
        By condition: `ZERO`, those of `CONTROLS`, and `MEAN` if means were given.
    mass : numpy.ndarray of float64, shape (specialists, prompts)
        Length of what each specialist adds, summed over tokens; 0 where it is silent.
    log_probability : numpy.ndarray of float64, shape (prompts,)
        Of the target without any edit, mean over its tokens, in nats.
    margin : numpy.ndarray of float64, shape (prompts,)
        Log-probability of the target's first token less that of the likeliest other, without an edit.
    """

    specialists: tuple[SpecialistFeature, ...]
    effects: dict[str, Effects]
    mass: Float[np.ndarray, "specialists prompts"]
    log_probability: Float[np.ndarray, " prompts"]
    margin: Float[np.ndarray, " prompts"]

    @property
    def active(self) -> Bool[np.ndarray, "specialists prompts"]:
        """Where a specialist has something to take away."""
        found: Bool[np.ndarray, "specialists prompts"] = self.mass > 0
        return found


def read_trials(
    specialists: Sequence[SpecialistFeature],
    n_prompts: int,
    names: Sequence[str],
    tables: Sequence[pa.Table],
) -> AblationTrials:
    """Put what was done to batches of prompts together.

    Parameters
    ----------
    specialists : sequence of SpecialistFeature
        All of them.
    n_prompts : int
        Prompts of all batches.
    names : sequence of str
        Conditions.
    tables : sequence of pyarrow.Table
        Columns of `saeflow.artifacts.unit_tables.ABLATED`, one for each batch.

    Returns
    -------
    AblationTrials
        Means over draws.
    """
    found = pa.concat_tables([ABLATED.schema().empty_table(), *tables])
    shape = len(specialists), n_prompts
    mass, (clean, margin) = np.zeros(shape), np.zeros((2, n_prompts))
    effects = {}
    for name in names:
        own = found.filter(pc.equal(found["condition"], name))
        columns = {each: own[each].to_numpy() for each in own.column_names if each != "condition"}
        place = columns["specialist"], columns["prompt"]
        sums, draws = np.zeros((len(METRICS), *shape)), np.zeros(shape, np.int64)
        for each, metric in zip(sums, METRICS, strict=True):
            each[place] = columns[metric]
        draws[place], mass[place] = columns["draws"], columns["mass"]
        clean[place[1]], margin[place[1]] = columns["clean"], columns["margin"]
        # Nothing was done where the specialist is silent; elsewhere there is no such control.
        missing = np.where(mass > 0, np.nan, 0.0)
        effects[name] = Effects(*np.where(draws > 0, sums / np.maximum(draws, 1), missing))
    return AblationTrials(tuple(specialists), effects, mass, clean, margin)
