"""What ablations of specialists come to: cells of a matrix, each beside its controls, and four numbers.

Contents (pairs, calculations) are resampled and flipped as one, and p-values adjusted over all cells of
which the same is asked (methods/3, sections 4.6 and 4.7).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import ttest_1samp

from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator
from saeflow.stats.association_strength import Association, spearman_association
from saeflow.stats.exact import adjusted, holm
from saeflow.stats.resampling import (
    Clusters,
    cluster_means,
    cluster_sums,
    resample_counts,
    staged_sign_flip_p_value,
)
from saeflow.studies.specialists.ablated import METRICS, AblationTrials
from saeflow.studies.specialists.names import CONTROLS, ZERO

NONE = "none"
"""In place of a control: the effect itself."""


@dataclass(frozen=True)
class Cell:
    """One cell of the ablation matrix: a specialist on a group of prompts.

    Attributes
    ----------
    specialist : int
        Place among the specialists.
    group : str
        Class of texts or kind of task.
    condition : str
        Condition of the trials.
    control : str
        ``none``: the mean effect over all prompts of the group, 0 where the specialist is silent; else
        the mean difference from a control, over prompts that have one or on which nothing was done.
    metric : str
        Some of `saeflow.studies.specialists.ablation.METRICS`.
    value, low, high : float
        Mean and 95 % interval over contents; NaN where there is nothing to average or resample.
    n, n_active : int
        Contents, and prompts on which the specialist is active.
    p_value : float
        Two-sided, of differences and of changes of log-probability, by sign flips of contents; NaN of
        the others, which cannot be below 0 (nor can a rank where the likeliest token is followed), and
        where the specialist is silent throughout.
    holm, q_value : float
        Adjusted over all tested cells of the same condition, control and metric by Holm, and by
        Benjamini and Hochberg.
    """

    specialist: int
    group: str
    condition: str
    control: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    n_active: int
    p_value: float
    holm: float = float("nan")
    q_value: float = float("nan")


class PublishedCell(NamedTuple):
    """A cell of the matrix, as the study seems to have counted (methods/3, 4.6).

    Attributes
    ----------
    specialist : int
        Place among the specialists.
    group : str
        Class of texts or kind of task.
    condition : str
        What is done: the specialist's ablation, or one of the controls by itself.
    effect, size : float
        Mean change of log-probability, and mean of its absolute value, in nats.
    flip_rate : float
        Share of prompts behind which another token is the likeliest.
    p_value : float
        Of Student's test of the changes against 0: ours, the study's test cannot be reached. NaN where
        changes do not vary.
    n, n_active : int
        Prompts, and those on which the specialist is active.
    """

    specialist: int
    group: str
    condition: str
    effect: float
    size: float
    flip_rate: float
    p_value: float
    n: int
    n_active: int


class Ratio(NamedTuple):
    """A ratio of two means, with a bootstrap 95 % interval over contents.

    Attributes
    ----------
    name : str
        Which ratio.
    value, low, high : float
        NaN where the lower mean is 0.
    """

    name: str
    value: float
    low: float
    high: float


def ablation_matrix(
    trials: AblationTrials,
    groups: Sequence[str],
    contents: Sequence[Hashable],
    *,
    permutations: int = 2000,
    seed: int = 0,
) -> list[Cell]:
    """Mean effects and differences from controls, specialist by group of prompts.

    Parameters
    ----------
    trials : AblationTrials
        What ablations did.
    groups : sequence of str
        Group of each prompt; off a specialist's own class a cell is the study's cross-domain control.
    contents : sequence of hashable
        Content of each prompt.
    permutations : int
        Sign flips drawn at most.
    seed : int
        Seed of resamples and flips.
    """
    cells: list[Cell] = []
    for condition in trials.effects:
        # The other conditions are controls of this one.
        controls = (NONE, *CONTROLS) if condition == ZERO else (NONE,)
        for control in controls:
            for metric in METRICS:
                found = _cells(
                    trials, condition, control, metric, groups, contents, permutations, seed
                )
                cells += _adjusted(list(found))
    return cells


def published_matrix(trials: AblationTrials, groups: Sequence[str]) -> list[PublishedCell]:
    """The matrix as the study counts it, beside its controls: every prompt for itself, no difference."""
    cells = []
    for condition in (ZERO, *CONTROLS):
        effects = trials.effects[condition]
        for group, members in _members(groups).items():
            for number in range(len(trials.specialists)):
                known = members & ~np.isnan(effects.log_probability[number])
                changes = effects.log_probability[number, known]
                some, varies = len(changes) > 0, len(changes) > 1 and np.ptp(changes) > 0
                cells.append(
                    PublishedCell(
                        number,
                        group,
                        condition,
                        float(changes.mean()) if some else float("nan"),
                        float(np.abs(changes).mean()) if some else float("nan"),
                        float(effects.flip[number, known].mean()) if some else float("nan"),
                        float(ttest_1samp(changes, 0.0).pvalue) if varies else float("nan"),
                        len(changes),
                        int(trials.active[number, known].sum()),
                    )
                )
    return cells


def resilience_ratio(
    baseline: Float[np.ndarray, " prompts"],
    effect: Float[np.ndarray, " prompts"],
    contents: Clusters,
    seed: int = 0,
) -> Ratio:
    """First candidate for the study's signal-to-noise: larger is more resilient (methods/3, 4.6).

    Parameters
    ----------
    baseline : numpy.ndarray of float, shape (prompts,)
        Log-probability of the target, or its margin, without any edit.
    effect : numpy.ndarray of float, shape (prompts,)
        Change of log-probability by the ablation; NaN where there is none.

    Returns
    -------
    Ratio
        Mean |baseline| / mean |effect|.
    """
    sizes = np.column_stack([np.abs(baseline), np.abs(effect)])
    return _ratio(
        "resilience_ratio", sizes, contents, seed, lambda means: (means[..., 0], means[..., 1])
    )


def effect_to_random(
    effect: Float[np.ndarray, " prompts"],
    random: Float[np.ndarray, " prompts"],
    contents: Clusters,
    seed: int = 0,
) -> tuple[Ratio, Ratio]:
    """Second candidate: larger is a larger effect beside that of random features (methods/3, 4.6).

    Parameters
    ----------
    effect, random : numpy.ndarray of float, shape (prompts,)
        Change of log-probability by the specialist and by a matched random feature; prompts of which
        one is NaN are left out. A mean over several draws varies less than one draw does.

    Returns
    -------
    Ratio
        |mean effect| / standard deviation of the random features' effects over prompts.
    Ratio
        |mean effect| / mean |random features' effects|.
    """
    moments = np.column_stack([effect, random, random**2, np.abs(random)])

    def by_spread(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spread = np.sqrt(np.maximum(means[..., 2] - means[..., 1] ** 2, 0.0))
        # Rounding leaves a spread of equal numbers.
        some = spread > 1e-7 * np.sqrt(means[..., 2])
        return np.abs(means[..., 0]), np.where(some, spread, 0.0)

    return (
        _ratio("effect_to_random_sd", moments, contents, seed, by_spread),
        _ratio(
            "effect_to_random_mean",
            moments,
            contents,
            seed,
            lambda means: (np.abs(means[..., 0]), means[..., 3]),
        ),
    )


def cascade_ratio(
    effects: Float[np.ndarray, "specialists prompts"],
    layers: Sequence[int],
    contents: Clusters,
    seed: int = 0,
) -> Ratio:
    """How much more ablations at the earliest block do than at the latest (methods/3, section 4.6).

    Parameters
    ----------
    effects : numpy.ndarray of float, shape (specialists, prompts)
        Changes of log-probability; NaN where there is none.
    layers : sequence of int
        Block of each specialist.

    Returns
    -------
    Ratio
        Mean |effect| of all specialists at the earliest block / the same at the latest.

    Raises
    ------
    SaeflowError
        If all specialists are at one block.
    """
    blocks = np.array(layers)
    first, last = int(blocks.min()), int(blocks.max())
    if first == last:
        raise SaeflowError(
            f"All specialists are at block {first}; expected two blocks at least, to compare the "
            "earliest with the latest."
        )
    means = np.column_stack([np.abs(effects[blocks == each]).mean(0) for each in (first, last)])
    return _ratio("cascade", means, contents, seed, lambda each: (each[..., 0], each[..., 1]))


def selectivity_causality(
    selectivity: Float[np.ndarray, " specialists"],
    causality: Float[np.ndarray, " specialists"],
    classes: Sequence[Hashable],
    *,
    permutations: int = 2000,
    seed: int = 0,
) -> Association:
    """Spearman's correlation of selectivity and causal effect over specialists and blocks.

    Specialists of one class at several blocks are resampled and permuted as one, since they read the
    same texts; the study counts each for itself (methods/3, section 4.6).

    Parameters
    ----------
    selectivity, causality : numpy.ndarray of float, shape (specialists,)
        Such as a held-out AUROC, and a cell's mean effect beyond its controls; NaN is left out.
    classes : sequence of hashable
        Class of each specialist, blocks in the same order in all.
    """
    generator = numpy_generator(seed, "specialists", "selectivity", len(selectivity))
    return spearman_association(
        selectivity, causality, classes, generator, permutations=permutations
    )


def _cells(
    trials: AblationTrials,
    condition: str,
    control: str,
    metric: str,
    groups: Sequence[str],
    contents: Sequence[Hashable],
    permutations: int,
    seed: int,
) -> Iterator[Cell]:
    values = getattr(trials.effects[condition], metric)
    if control != NONE:
        values = values - getattr(trials.effects[control], metric)
    signed = control != NONE or metric == "log_probability"
    for group, members in _members(groups).items():
        named = [content for content, member in zip(contents, members, strict=True) if member]
        where = (seed, "specialists", "cells", condition, control, metric, group)
        means = cluster_means(values[:, members], named, numpy_generator(*where))
        for number in range(len(trials.specialists)):
            n_active = int(trials.active[number, members].sum())
            own = values[number, members]
            tested = signed and (n_active or condition != ZERO) and not np.isnan(own).all()
            p_value = float("nan")
            if tested:
                generator = numpy_generator(*where, number)
                p_value = staged_sign_flip_p_value(own, named, permutations, generator)
            ends = float(means.low[number]), float(means.high[number])
            value, n = float(means.value[number]), int(means.n[number])
            yield Cell(
                number, group, condition, control, metric, value, *ends, n, n_active, p_value
            )


def _ratio(
    name: str,
    values: Float[np.ndarray, "prompts columns"],
    contents: Clusters,
    seed: int,
    both: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Ratio:
    """Ratio of two numbers that come from means of columns, contents resampled."""
    kept = ~np.isnan(values).any(1)
    named = list(range(len(values))) if contents is None else list(contents)
    left = [content for content, keep in zip(named, kept, strict=True) if keep]
    sums, sizes = cluster_sums(values[kept].astype(np.float64), left)
    if not len(sums):
        return Ratio(name, np.nan, np.nan, np.nan)
    upper, lower = both((sums.sum(0) / sizes.sum(0))[None])
    value = float(upper[0] / lower[0]) if lower[0] > 0 else float("nan")
    if len(sums) < 2 or np.isnan(value):
        return Ratio(name, value, np.nan, np.nan)
    counts = resample_counts(len(sums), numpy_generator(seed, "specialists", name, len(sums)))
    uppers, lowers = both((counts @ sums) / (counts @ sizes))
    # A resample without any lower mean is infinitely large, not one to skip.
    drawn = np.divide(uppers, lowers, out=np.full(len(uppers), np.inf), where=lowers > 0)
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return Ratio(name, value, float(low), float(high))


def _adjusted(cells: Sequence[Cell]) -> list[Cell]:
    tested = [place for place, cell in enumerate(cells) if not np.isnan(cell.p_value)]
    p_values = np.array([cells[place].p_value for place in tested])
    by_holm, by_rate = holm(p_values), adjusted(p_values, len(p_values))
    found = list(cells)
    for place, first, second in zip(tested, by_holm, by_rate, strict=True):
        found[place] = replace(cells[place], holm=float(first), q_value=float(second))
    return found


def _members(groups: Sequence[str]) -> dict[str, Bool[np.ndarray, " prompts"]]:
    names = np.array(groups)
    return {name: names == name for name in dict.fromkeys(groups)}
