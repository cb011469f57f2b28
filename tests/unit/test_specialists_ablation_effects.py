"""Cells, ratios and correlations of ablations, on made-up effects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from scipy.stats import t as student

from saeflow.errors import SaeflowError
from saeflow.studies.specialists.ablated import METRICS, AblationTrials, Effects
from saeflow.studies.specialists.ablation_effects import (
    NONE,
    Cell,
    ablation_matrix,
    cascade_ratio,
    effect_to_random,
    published_matrix,
    resilience_ratio,
    selectivity_causality,
)
from saeflow.studies.specialists.behaviour import SpecialistFeature
from saeflow.studies.specialists.names import CONTROLS, RANDOM_FEATURE, ZERO
from tests.sentences import check_sentence


def cell(cells: list[Cell], specialist: int, control: str, metric: str) -> Cell:
    (found,) = (
        each
        for each in cells
        if (each.specialist, each.control, each.metric) == (specialist, control, metric)
        and each.condition == ZERO
    )
    return found


def trials_of(
    zero: np.ndarray, control: np.ndarray, active: np.ndarray | None = None
) -> AblationTrials:
    """The same values for all metrics and controls."""
    n_specialists, n_prompts = zero.shape
    specialists = tuple(SpecialistFeature(n, n, f"T{n}") for n in range(n_specialists))
    effects = {name: Effects(*[control] * len(METRICS)) for name in CONTROLS}
    mass = np.ones(zero.shape) if active is None else active.astype(float)
    baseline = np.full(n_prompts, -2.0)
    return AblationTrials(
        specialists, effects | {ZERO: Effects(*[zero] * len(METRICS))}, mass, baseline, baseline + 1
    )


def test_cells_are_means_and_paired_differences() -> None:
    rng = np.random.default_rng(0)
    zero, control = rng.normal(size=(2, 3, 12))
    control[1, :4] = np.nan
    groups, contents = ["a"] * 8 + ["b"] * 4, [*"aabbccdd", *"eeff"]
    cells = ablation_matrix(trials_of(zero, control), groups, contents, permutations=200)
    assert len(cells) == len(METRICS) * 3 * 2 * (len(CONTROLS) + 1 + len(CONTROLS))
    found = [each for each in cells if each.condition == ZERO and each.metric == "kl"]
    for each in found:
        members = np.array(groups) == each.group
        own, other = zero[each.specialist, members], control[each.specialist, members]
        expected = own if each.control == NONE else own - other
        assert each.value == pytest.approx(np.nanmean(expected))
        assert np.isnan(each.p_value) == (each.control == NONE), "kl cannot be below 0"
        missing = each.control != NONE and (each.specialist, each.group) == (1, "a")
        assert each.n == (2 if missing else 4 if each.group == "a" else 2)
    family = [each for each in found if each.control == RANDOM_FEATURE]
    p_values = sorted(each.p_value for each in family)
    smallest = min(family, key=lambda each: each.p_value)
    assert smallest.holm == pytest.approx(min(1, len(family) * p_values[0]))
    by_rate = min(len(family) * p / (n + 1) for n, p in enumerate(p_values))
    assert smallest.q_value == pytest.approx(min(1, by_rate))


def test_contents_are_flipped_as_one() -> None:
    """Twelve forms of one content are one sign: no cell of random contents is far from chance."""
    rejected = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        contents = np.repeat(np.arange(8), 12)
        zero = rng.normal(size=(1, 8))[:, contents]
        trials = trials_of(zero, np.zeros_like(zero))
        found = cell(
            ablation_matrix(trials, ["g"] * 96, contents.tolist(), permutations=256, seed=seed),
            0,
            RANDOM_FEATURE,
            "log_probability",
        )
        rejected += found.p_value <= 0.05
    assert rejected <= 5


def test_published_matrix_counts_every_prompt() -> None:
    rng = np.random.default_rng(1)
    zero = rng.normal(size=(2, 10)) - 0.5
    zero[1] = 0.0
    random = zero / 2
    random[0, 0] = np.nan
    every = published_matrix(trials_of(zero, random), ["a"] * 6 + ["b"] * 4)
    found = [each for each in every if each.condition == ZERO]
    assert [(each.specialist, each.group, each.n) for each in found] == [
        (0, "a", 6), (1, "a", 6), (0, "b", 4), (1, "b", 4),
    ]  # fmt: skip
    own = zero[0, :6]
    assert found[0].effect == pytest.approx(own.mean())
    assert found[0].size == pytest.approx(np.abs(own).mean())
    t = own.mean() / (own.std(ddof=1) / np.sqrt(6))
    assert found[0].p_value == pytest.approx(2 * student.sf(abs(t), 5))
    assert np.isnan(found[1].p_value)
    assert {each.condition for each in every} == {ZERO, *CONTROLS}
    beside = next(each for each in every if each.condition == RANDOM_FEATURE)
    assert beside.n == 5, "a prompt without the control does not count"
    assert beside.effect == pytest.approx(own[1:].mean() / 2)


def test_both_ratios() -> None:
    rng = np.random.default_rng(2)
    baseline, effect, random = rng.normal(size=(3, 60))
    contents = np.repeat(np.arange(20), 3).tolist()
    found = resilience_ratio(baseline, effect, contents)
    assert found.value == pytest.approx(np.abs(baseline).mean() / np.abs(effect).mean())
    assert found.low < found.value < found.high
    louder = resilience_ratio(baseline, 3 * effect, contents)
    assert louder.value == pytest.approx(found.value / 3), "larger is more resilient"
    random[:3] = np.nan
    by_sd, by_mean = effect_to_random(effect, random, contents)
    kept = ~np.isnan(random)
    assert by_sd.value == pytest.approx(abs(effect[kept].mean()) / random[kept].std())
    assert by_mean.value == pytest.approx(abs(effect[kept].mean()) / np.abs(random[kept]).mean())
    assert by_sd.low <= by_sd.value <= by_sd.high
    assert {found.name, by_sd.name, by_mean.name} == {
        "resilience_ratio", "effect_to_random_sd", "effect_to_random_mean",
    }  # fmt: skip
    uneven = ["a"] * 2 + ["b"] * 8 + ["c"] * 50
    steady, _ = effect_to_random(np.full(60, 2.0), np.tile([1.0, -1.0], 30), uneven)
    assert steady[1:] == pytest.approx((2.0, 2.0, 2.0)), "contents of any size"
    nothing = resilience_ratio(baseline, np.zeros(60), contents)
    assert np.isnan(nothing.value)
    constant, _ = effect_to_random(effect, np.full(60, 0.1), contents)
    assert np.isnan(constant.value), "equal effects have no spread"
    assert np.isnan(resilience_ratio(baseline, np.full(60, np.nan), contents).value)


def test_an_interval_covers_what_is_true() -> None:
    """Contents whose forms agree: of 60 intervals few miss."""
    missed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        contents = np.repeat(np.arange(40), 3)
        baseline, effect = np.abs(rng.normal(size=(2, 40)))[:, contents] + 0.5
        found = resilience_ratio(baseline, effect, contents.tolist(), seed)
        missed += not found.low <= 1.0 <= found.high
    assert missed <= 9


def test_cascade_compares_the_earliest_block_with_the_latest() -> None:
    rng = np.random.default_rng(3)
    effects = rng.normal(size=(4, 30))
    found = cascade_ratio(effects, [6, 11, 8, 6], range(30))
    early = np.abs(effects[[0, 3]]).mean()
    assert found.value == pytest.approx(early / np.abs(effects[1]).mean())
    assert found.low < found.value < found.high
    with pytest.raises(SaeflowError) as error:
        cascade_ratio(effects, [6, 6, 6, 6], range(30))
    check_sentence(error.value, "block 6", "two blocks")


def test_selectivity_and_causality() -> None:
    rng = np.random.default_rng(4)
    classes = np.repeat(np.arange(12), 4)
    selectivity = rng.normal(size=12)[classes] + 0.1 * rng.normal(size=48)
    causality = -selectivity + 0.1 * rng.normal(size=48)
    found = selectivity_causality(selectivity, causality, classes.tolist(), permutations=300)
    assert found.value == pytest.approx(spearmanr(selectivity, causality).statistic)
    assert found.p_value < 0.01
    assert found.high < 0
    assert found.n_clusters == 12


def test_blocks_of_one_class_are_not_independent() -> None:
    """Permuting single specialists would reject three times as often here."""
    rejected = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        classes = np.repeat(np.arange(10), 4)
        selectivity, causality = rng.normal(size=(2, 10))[:, classes]
        found = selectivity_causality(
            selectivity, causality, classes.tolist(), permutations=99, seed=seed
        )
        rejected += found.p_value <= 0.05
    assert rejected <= 5
