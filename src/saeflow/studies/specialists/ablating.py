"""Tables of what changes without a specialist: the ablation matrix, published and beside controls."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from saeflow.artifacts.specialist_effects import SPECIALIST_EFFECTS
from saeflow.artifacts.units import Unit, Units
from saeflow.config.specialists import AblationSettings
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.stats.resampling import BOOTSTRAP
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED, row
from saeflow.studies.specialists.ablated import AblationTrials
from saeflow.studies.specialists.ablation import ablation_trials, ablation_units
from saeflow.studies.specialists.ablation_effects import (
    Cell,
    PublishedCell,
    Ratio,
    ablation_matrix,
    cascade_ratio,
    effect_to_random,
    published_matrix,
    resilience_ratio,
    selectivity_causality,
)
from saeflow.studies.specialists.ablation_prompts import Prompt, mean_features
from saeflow.studies.specialists.chosen import Chosen
from saeflow.studies.specialists.names import RANDOM_FEATURE, ZERO

TEXTS, TASKS = "texts", "tasks"
"""What is read: texts, behind which the likeliest token is followed, and tasks with a right ending."""


class Ablated(NamedTuple):
    """Rows of `SPECIALIST_EFFECTS` and of `SPECIALISTS`, both without dictionary and seed."""

    effects: list[dict[str, Any]]
    numbers: list[dict[str, Any]]


def ablate_specialists(
    model: LanguageModel,
    bank: Bank,
    prompts: Mapping[str, Sequence[Prompt]],
    chosen: Sequence[Chosen],
    reference: Sequence[str],
    settings: AblationSettings,
    *,
    batch_size: int,
    units: Units | None = None,
) -> Ablated:
    """Ablate every specialist on texts and on tasks.

    Parameters
    ----------
    model, bank
        Model and SAEs of its tokens, behind blocks.
    prompts : mapping of str to sequence of Prompt
        By `TEXTS` and `TASKS`; neither chose a specialist.
    chosen : sequence of Chosen
        The specialists.
    reference : sequence of str
        Other texts, over which features are averaged.
    settings : AblationSettings
        Draws, permutations, seed.
    batch_size : int
        Prompts read at once.
    units : Units, optional
        Where batches of prompts are kept; None: nowhere.
    """
    specialists = [each.specialist for each in chosen]
    means = _reference_means(model, bank, reference, settings, batch_size)
    effects: list[dict[str, Any]] = []
    numbers: list[dict[str, Any]] = []
    for kind, some in prompts.items():
        if not some or not specialists:
            continue
        trials = ablation_trials(
            model,
            bank,
            some,
            specialists,
            means=means,
            draws=settings.draws,
            batch_size=batch_size,
            seed=settings.seed,
            units=units,
            name=kind,
        )
        groups = [prompt.group for prompt in some]
        contents = [prompt.content for prompt in some]
        for cell in published_matrix(trials, groups):
            effects += _published_rows(cell, chosen)
        cells = ablation_matrix(
            trials, groups, contents, permutations=settings.permutations, seed=settings.seed
        )
        effects += (_row(cell, chosen) for cell in cells)
        numbers += noise_rows(trials, contents, kind, settings.seed)
        numbers += causality_rows(trials, some, chosen, kind, settings)
    return Ablated(effects, numbers)


def specialist_units(
    model: LanguageModel,
    bank: Bank,
    prompts: Mapping[str, Sequence[Prompt]],
    chosen: Sequence[Chosen],
    reference: Sequence[str],
    settings: AblationSettings,
    *,
    batch_size: int,
) -> list[list[Unit]]:
    """Units of `ablate_specialists`, with the same parameters, by what is read."""
    specialists = [each.specialist for each in chosen]
    means = _reference_means(model, bank, reference, settings, batch_size)
    return [
        ablation_units(
            model,
            bank,
            some,
            specialists,
            means=means,
            draws=settings.draws,
            batch_size=batch_size,
            seed=settings.seed,
            name=kind,
        )
        for kind, some in prompts.items()
        if some and specialists
    ]


def noise_rows(
    trials: AblationTrials, contents: Sequence[Hashable], kind: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Both candidates for the study's signal-to-noise, and how effects fade by block (methods/3, 4.6).

    Parameters
    ----------
    trials : AblationTrials
        What ablations did.
    contents : sequence of hashable
        Content of each prompt, resampled as one.
    kind : str
        What was read.
    seed : int
        Seed of the resamples.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS` but for dictionary and seed:
        ``resilience_ratio`` (of log-probabilities) and ``resilience_ratio_margin``, larger for what is
        more resilient; ``effect_to_random_sd`` and ``effect_to_random_mean``, larger for effects beyond
        those of random features; ``cascade``, mean size of effects at the first block over the last.
    """
    group = {"part": "ablation", "mode": CALIBRATED, "layer": None, "pooling": "", "group": kind}
    changes = np.where(trials.active, trials.effects[ZERO].log_probability, np.nan)
    random = np.where(trials.active, trials.effects[RANDOM_FEATURE].log_probability, np.nan)
    some = np.asarray(trials.active.any(0))
    size = np.full(len(some), np.nan)
    size[some] = np.nanmean(np.abs(changes[:, some]), axis=0)
    n = int(some.sum())
    resilience = resilience_ratio(trials.log_probability, size, contents, seed)
    yield _ratio_row(group, resilience, n)
    margins = resilience_ratio(trials.margin, size, contents, seed)
    yield _ratio_row(group, margins._replace(name="resilience_ratio_margin"), n)
    repeated = list(contents) * len(changes)
    kept = int((~np.isnan(changes) & ~np.isnan(random)).sum())
    for ratio in effect_to_random(changes.ravel(), random.ravel(), repeated, seed):
        yield _ratio_row(group, ratio, kept)
    layers = [each.layer for each in trials.specialists]
    if len(set(layers)) > 1:
        yield _ratio_row(
            group, cascade_ratio(trials.effects[ZERO].log_probability, layers, contents, seed), n
        )


def causality_rows(
    trials: AblationTrials,
    prompts: Sequence[Prompt],
    chosen: Sequence[Chosen],
    kind: str,
    settings: AblationSettings,
) -> Iterator[dict[str, Any]]:
    """Whether the more selective specialist matters more (methods/3, section 4.6).

    Parameters
    ----------
    trials : AblationTrials
        What ablations did.
    prompts : sequence of Prompt
        What was read.
    chosen : sequence of Chosen
        Specialists, with their areas under the curve.
    kind : str
        What was read; of texts a specialist's own topic counts.
    settings : AblationSettings
        Permutations and seed.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS` but for dictionary and seed. Published:
        mean size of effects, every specialist for itself. Calibrated: what the target's log-probability
        loses beyond the random feature's ablation, blocks of one topic together.
    """
    key = {"part": "ablation", "layer": None, "pooling": "", "group": kind}
    selectivity = np.array([each.auroc for each in chosen])
    topics = [each.specialist.topic for each in chosen]
    own = np.array([[kind != TEXTS or topic == each.group for each in prompts] for topic in topics])
    changes = np.where(own, trials.effects[ZERO].log_probability, np.nan)
    # Large is harmful in both modes: an ablation makes the target less likely.
    lost = trials.effects[RANDOM_FEATURE].log_probability - changes
    sizes, lost = _means(np.abs(changes)), _means(np.where(trials.active, lost, np.nan))
    kept = ~np.isnan(selectivity) & ~np.isnan(sizes)
    metric = "selectivity_causality"
    published = {**key, "mode": PUBLISHED}
    if kept.sum() > 2 and np.ptp(selectivity[kept]) > 0 and np.ptp(sizes[kept]) > 0:
        test = spearmanr(selectivity[kept], sizes[kept])
        yield row(
            published, metric, float(test.statistic), n=int(kept.sum()), p_value=float(test.pvalue)
        )
    else:
        yield row(published, metric, None, n=int(kept.sum()))
    found = selectivity_causality(
        selectivity, lost, topics, permutations=settings.permutations, seed=settings.seed
    )
    yield row(
        {**key, "mode": CALIBRATED},
        metric,
        found.value,
        n=found.n,
        ends=(found.low, found.high),
        interval=BOOTSTRAP,
        p_value=None if np.isnan(found.p_value) else found.p_value,
    )


def effects_table(effects: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> pa.Table:
    """Return effects as a table with the columns of `SPECIALIST_EFFECTS`."""
    rows = [{**run, **each} for each in effects]
    return pa.Table.from_pylist(rows, SPECIALIST_EFFECTS.schema())


def _reference_means(
    model: LanguageModel,
    bank: Bank,
    reference: Sequence[str],
    settings: AblationSettings,
    batch_size: int,
) -> dict[int, Tensor] | None:
    if not settings.to_mean:
        return None
    return mean_features(model, bank, reference, batch_size=batch_size)


def _row(cell: Cell, chosen: Sequence[Chosen]) -> dict[str, Any]:
    tested = {"p_value": cell.p_value, "holm": cell.holm, "q_value": cell.q_value}
    return {
        **_key(CALIBRATED, chosen[cell.specialist], cell.group, cell.condition),
        **_values(cell.control, cell.metric, cell.value, cell.n, (cell.low, cell.high)),
        "n_active": cell.n_active,
        **{name: None if np.isnan(value) else value for name, value in tested.items()},
    }


def _published_rows(cell: PublishedCell, chosen: Sequence[Chosen]) -> Iterator[dict[str, Any]]:
    for metric, value in (
        ("log_probability", cell.effect),
        ("size_of_log_probability", cell.size),
        ("flip", cell.flip_rate),
    ):
        tested = metric == "log_probability" and not np.isnan(cell.p_value)
        yield {
            **_key(PUBLISHED, chosen[cell.specialist], cell.group, cell.condition),
            **_values(NONE, metric, value, cell.n, None),
            "n_active": cell.n_active,
            "p_value": cell.p_value if tested else None,
            "holm": None,
            "q_value": None,
        }


def _key(mode: str, chosen: Chosen, group: str, condition: str) -> dict[str, Any]:
    return {
        "mode": mode,
        "layer": chosen.specialist.layer,
        "class": chosen.name,
        "feature": chosen.specialist.feature,
        "group": group,
        "condition": condition,
    }


def _values(
    control: str, metric: str, value: float, n: int, ends: tuple[float, float] | None
) -> dict[str, Any]:
    return {
        name: given
        for name, given in row(
            {}, metric, value, n=n, ends=ends, interval=BOOTSTRAP, control=control
        ).items()
        if name not in ("p_value", "q_value")
    }


def _ratio_row(group: Mapping[str, Any], ratio: Ratio, n: int) -> dict[str, Any]:
    ends = ratio.low, ratio.high
    return row(group, ratio.name, ratio.value, n=n, ends=ends, interval=BOOTSTRAP)


def _means(values: Float[np.ndarray, "specialists prompts"]) -> Float[np.ndarray, " specialists"]:
    """Mean over prompts that have a value; NaN where none has."""
    some = ~np.isnan(values)
    total = np.where(some, values, 0.0).sum(1)
    found: Float[np.ndarray, " specialists"] = np.where(
        some.any(1), total / np.maximum(some.sum(1), 1), np.nan
    )
    return found
