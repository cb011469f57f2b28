"""Effects from trials, against slow versions and planted truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import false_discovery_control, ttest_ind, wilcoxon

from saeflow.artifacts.hierarchy import TRIALS
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Site
from saeflow.stats.resampling import percentile_ends
from saeflow.studies.hierarchy.effects import (
    BOOTSTRAP,
    FeatureLabel,
    _drawn,
    _resamples,
    effect_table,
)
from saeflow.studies.hierarchy.trials import (
    CHOSEN,
    REPORTED,
    choose_site,
    problem_parts,
    set_effects,
)
from tests.sentences import check_sentence

KEYS = {"dictionary": "d", "seed": 0, "mode": "calibrated"}
PROBLEMS = np.arange(0, 120, 2)


def trial(problem: int, effect: float, **changes: Any) -> dict[str, Any]:
    row = {
        **KEYS,
        "dataset": "made",
        "layer": 1,
        "step": 2,
        "unit": "F7",
        "edit": "zero",
        "dose": 0.0,
        "control": "none",
        "half": REPORTED,
        "problem": problem,
        "log_probability": effect,
        "kl": abs(effect) / 2,
        "cosine": 1 - abs(effect) / 10,
        "changed": effect < -1,
        "correct": -int(effect < -1),
        "right_before": problem % 4 == 0,
        "toward": None,
    }
    return {**row, **changes}


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, TRIALS.schema())


def effects_of(
    rows: list[dict[str, Any]], labels: dict[tuple[Site, int], FeatureLabel] | None = None
) -> dict[tuple[str, ...], dict[str, Any]]:
    halves = {("made", REPORTED): PROBLEMS, ("made", CHOSEN): PROBLEMS + 1}
    table = effect_table(table_of(rows), halves, labels or {}, KEYS, 0)
    names = ("unit", "edit", "control", "group", "metric")
    found = {tuple(row[name] for name in names): row for row in table.to_pylist()}
    assert len(found) == len(table)
    return found


def drawn(seed: int, mean: float, problems: np.ndarray) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.5, len(problems)).astype(np.float32)


def test_means_count_untouched_problems_as_unchanged() -> None:
    touched = PROBLEMS[:15]
    values = drawn(0, -1.0, touched)
    rows = [trial(int(p), float(v)) for p, v in zip(touched, values, strict=True)]
    found = effects_of(rows)
    own = found["F7", "zero", "none", "all", "log_probability"]
    assert own["value"] == pytest.approx(values.sum() / len(PROBLEMS))
    assert own["n"] == len(PROBLEMS)
    assert own["interval"] == BOOTSTRAP
    assert own["ci_low"] < own["value"] < own["ci_high"]
    assert found["F7", "zero", "none", "all", "n_active"]["value"] == 15
    accuracy = found["F7", "zero", "none", "all", "accuracy"]
    assert accuracy["value"] == pytest.approx(-(values < -1).sum() / len(PROBLEMS))
    cosine = found["F7", "zero", "none", "all", "cosine"]
    assert cosine["value"] == pytest.approx(1 - np.abs(values).sum() / 10 / len(PROBLEMS))
    assert ("F7", "zero", "none", "all", "toward") not in found


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        values = np.random.default_rng(seed).exponential(1.0, len(PROBLEMS)) - 1.5
        rows = [trial(int(p), float(v)) for p, v in zip(PROBLEMS, values, strict=True)]
        own = effects_of(rows)["F7", "zero", "none", "all", "log_probability"]
        hits += own["ci_low"] <= -0.5 <= own["ci_high"]
    assert 60 * 0.95 - 3 * np.sqrt(60 * 0.95 * 0.05) <= hits


def test_excess_is_paired_by_problem_and_tested_by_signed_ranks() -> None:
    own, other = drawn(1, -1.0, PROBLEMS), drawn(2, -0.2, PROBLEMS)
    rows = [trial(int(p), float(v)) for p, v in zip(PROBLEMS, own, strict=True)]
    rows += [
        trial(int(p), float(v), control="random_feature")
        for p, v in zip(PROBLEMS, other, strict=True)
    ]
    found = effects_of(rows)
    row = found["F7", "zero", "random_feature", "all", "log_probability_excess"]
    assert row["value"] == pytest.approx(float((own - other).mean()), abs=1e-6)
    expected = wilcoxon(own.astype(float) - other.astype(float)).pvalue
    assert row["p_value"] == pytest.approx(expected)
    control = found["F7", "zero", "random_feature", "all", "log_probability"]
    assert control["value"] == pytest.approx(float(other.mean()))
    assert control["p_value"] is None
    # An effect far larger than its spread is resampled apart from 0.
    assert row["ci_high"] < 0


def beside(seed: int, mean: float, **changes: Any) -> list[dict[str, Any]]:
    """Trials of an intervention with a mean effect, and of two controls without any."""
    return [
        trial(int(p), float(v), control=control, **changes)
        for number, control in enumerate(("none", "random_feature", "random_direction"))
        for p, v in zip(
            PROBLEMS, drawn(3 * seed + number, mean * (number == 0), PROBLEMS), strict=True
        )
    ]


def test_q_values_are_adjusted_over_what_is_asked_of_every_feature_or_of_every_set() -> None:
    rows = [row for f in range(6) for row in beside(f, -0.1 * f, unit=f"F{f}")]
    rows += [row for f in range(4) for row in beside(10 + f, -0.1, unit=f"F{f}", dose=2.0)]
    for layer in range(3):
        rows += beside(20 + layer, -0.1 * layer, unit="set", layer=layer)
    halves = {("made", REPORTED): PROBLEMS}
    table = effect_table(table_of(rows), halves, {}, KEYS, 0).to_pandas()
    tested = table[table["p_value"].notna()]
    assert len(tested) == 2 * (6 + 4 + 3) * 5
    assert table["q_value"].notna().equals(table["p_value"].notna())
    tested = tested.assign(set=tested["unit"] == "set")
    families = tested.groupby(["set", "dose", "control", "metric"])
    assert sorted({len(family) for _, family in families}) == [3, 4, 6]
    for _, family in families:
        expected = false_discovery_control(family["p_value"])
        assert family["q_value"].to_numpy() == pytest.approx(expected)
    assert not np.allclose(tested["p_value"], tested["q_value"])


def test_difference_between_problems_with_and_without_the_label() -> None:
    label = FeatureLabel("operators: *", PROBLEMS[::3])
    has = np.isin(PROBLEMS, label.present)
    values = np.where(has, drawn(4, -2.0, PROBLEMS), drawn(5, -0.5, PROBLEMS))
    rows = [trial(int(p), float(v)) for p, v in zip(PROBLEMS, values, strict=True)]
    found = effects_of(rows, {(Site(1, 2), 7): label})
    row = found["F7", "zero", "none", "difference", "log_probability"]
    assert row["label"] == "operators: *"
    assert row["value"] == pytest.approx(values[has].mean() - values[~has].mean(), abs=1e-6)
    assert row["ci_low"] < row["value"] < row["ci_high"] < 0
    assert found["F7", "zero", "none", "with", "log_probability"]["n"] == has.sum()
    assert found["F7", "zero", "none", "without", "log_probability"]["n"] == (~has).sum()
    assert found["F7", "zero", "none", "all", "log_probability"]["label"] == ""


def test_the_label_counts_only_beyond_what_random_features_do_there() -> None:
    """A feature that fires with its label only does more there; so do those that stand beside it."""
    label = FeatureLabel("operators: *", PROBLEMS[::3])
    has = np.isin(PROBLEMS, label.present)
    p_values = {}
    for name, special in (("alike", 0.0), ("special", -1.0)):
        rows = []
        for number, (control, more) in enumerate((("none", special), ("random_feature", 0.0))):
            values = np.where(has, drawn(number, -2.0 + more, PROBLEMS), 0.0)
            rows += [
                trial(int(p), float(v), control=control)
                for p, v in zip(PROBLEMS, values, strict=True)
            ]
        found = effects_of(rows, {(Site(1, 2), 7): label})
        raw = found["F7", "zero", "none", "difference", "log_probability"]
        assert raw["ci_high"] < -1
        assert raw["p_value"] is None
        own, other = (
            np.array([row["log_probability"] for row in rows if row["control"] == control])
            for control in ("none", "random_feature")
        )
        excess = {
            group: found["F7", "zero", "random_feature", group, "log_probability_excess"]
            for group in ("with", "without", "difference")
        }
        assert excess["with"]["value"] == pytest.approx((own - other)[has].mean(), abs=1e-6)
        assert excess["without"]["value"] == 0
        row = excess["difference"]
        assert row["value"] == pytest.approx(excess["with"]["value"], abs=1e-6)
        expected = ttest_ind((own - other)[has], (own - other)[~has], equal_var=False)
        assert row["p_value"] == row["q_value"] == pytest.approx(float(expected.pvalue))
        p_values[name] = row["p_value"]
    assert p_values["special"] < 1e-4
    assert p_values["alike"] > 0.05


@pytest.mark.parametrize(("labelled", "told"), [(1, False), (9, False), (10, True), (51, False)])
def test_labels_of_a_few_problems_are_held_against_nothing(labelled: int, told: bool) -> None:
    label = FeatureLabel("step_value: step 3: 26", PROBLEMS[:labelled])
    rows = [*beside(1, -1.0), *beside(2, -1.0, unit="F8")]
    found = effects_of(rows, {(Site(1, 2), 7): label})
    assert ({name[3] for name in found} == {"all", "with", "without", "difference"}) == told
    tested = [row for row in found.values() if row["group"] == "difference" and row["p_value"]]
    assert len(tested) == told * 2 * 5


def test_resamples_without_a_problem_of_a_group_do_not_count_as_no_effect() -> None:
    values, of = np.full(40, -1.0), np.arange(40) < 2
    resamples = _resamples(40, 0)
    drawn = _drawn(values, of, resamples)
    empty = (resamples[:, of] == 0).all(1)
    assert 0.05 < empty.mean() < 0.3
    assert np.isnan(drawn[empty]).all()
    assert drawn[~empty] == pytest.approx(-1.0)
    assert percentile_ends(drawn) == (-1.0, -1.0)


def test_problems_that_have_no_control_are_left_out_of_the_excess() -> None:
    own, other = drawn(1, -1.0, PROBLEMS), drawn(2, -0.2, PROBLEMS)
    active, without = 50, 12
    rows = [trial(int(p), float(v)) for p, v in zip(PROBLEMS[:active], own, strict=False)]
    rows += [
        trial(int(p), float(v), control="random_feature")
        for p, v in zip(PROBLEMS[without:active], other[without:active], strict=True)
    ]
    label = FeatureLabel("operators: *", PROBLEMS[: without + 20])
    found = effects_of(rows, {(Site(1, 2), 7): label})
    row = found["F7", "zero", "random_feature", "all", "log_probability_excess"]
    # Problems on which the feature is silent count as unchanged, those without a control not at all.
    differences = np.zeros(len(PROBLEMS) - without)
    differences[: active - without] = (own - other)[without:active]
    assert row["n"] == len(differences)
    assert row["value"] == pytest.approx(differences.mean(), abs=1e-6)
    assert row["p_value"] == pytest.approx(wilcoxon(differences).pvalue)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert found["F7", "zero", "none", "all", "log_probability"]["n"] == len(PROBLEMS)
    groups = {
        group: found["F7", "zero", "random_feature", group, "log_probability_excess"]
        for group in ("with", "without", "difference")
    }
    sizes = {name: each["n"] for name, each in groups.items()}
    assert sizes == {"with": 20, "without": 28, "difference": 48}
    assert groups["with"]["value"] == pytest.approx(differences[:20].mean(), abs=1e-6)
    welch = ttest_ind(differences[:20], differences[20:], equal_var=False).pvalue
    assert groups["difference"]["p_value"] == pytest.approx(float(welch))


def test_a_set_without_any_control_is_neither_chosen_nor_compared() -> None:
    rows = set_rows({Site(0, 0): (-1.0, 0.0), Site(1, 1): (-9.0, 0.0)}, CHOSEN)
    rows = [row for row in rows if (row["layer"], row["control"]) != (1, "random_feature")]
    assert choose_site(table_of(rows)) == Site(0, 0)
    alone = [row for row in rows if row["control"] == "none" and row["layer"] == 1]
    with pytest.raises(SaeflowError) as caught:
        choose_site(table_of(alone))
    check_sentence(str(caught.value))
    found = effects_of(alone)
    assert not any(name[4].endswith("_excess") for name in found)


def test_of_swaps_no_test_is_made() -> None:
    """Their problems tell a few stories over and over, and are not independent."""
    rows = [*beside(1, -1.0, unit="F7", edit="swap.value", dose=None, toward=0.5), *beside(1, -1.0)]
    found = effects_of(rows)
    excess = {name: row for name, row in found.items() if name[4].endswith("_excess")}
    assert {name[1] for name in excess} == {"zero", "swap.value"}
    for name, row in excess.items():
        swapped = name[1] == "swap.value"
        assert (row["p_value"] is None) == (row["q_value"] is None) == swapped
        assert row["n"] == len(PROBLEMS)


def test_parts_are_disjoint_and_random() -> None:
    parts = problem_parts(np.arange(100, 200), None, 0)
    assert sorted(np.concatenate(parts)) == list(range(100, 200))
    assert [len(part) for part in parts] == [25, 25, 50]
    assert all((np.diff(part) > 0).all() and part.max() > 150 for part in parts)
    assert list(parts.unreported) == sorted([*parts.screened, *parts.chosen])
    few = problem_parts(np.arange(100, 200), 30, 0)
    assert sorted(np.concatenate(few)) == list(range(100, 200))
    assert [len(part) for part in few] == [70, 10, 20]
    assert list(problem_parts(np.arange(100, 200), None, 1)[0]) != list(parts[0])


def set_rows(effects: dict[Site, tuple[float, float]], half: str) -> list[dict[str, Any]]:
    rows = []
    for site, means in effects.items():
        for control, mean in zip(("none", "random_feature"), means, strict=True):
            place = {"layer": site.layer, "step": site.step, "unit": "set", "half": half}
            values = drawn(site.layer + 7 * len(control), mean, PROBLEMS)
            rows += [
                trial(int(p), float(v), control=control, **place)
                for p, v in zip(PROBLEMS, values, strict=True)
            ]
    return rows


def test_the_site_is_chosen_by_what_is_beyond_its_control_on_its_own_half() -> None:
    first, second, third = Site(0, 0), Site(1, 1), Site(2, 2)
    chosen = {first: (-3.0, -3.0), second: (-2.0, 0.0), third: (2.0, 0.0)}
    reported = {first: (-9.0, 0.0), second: (-0.5, 0.0), third: (0.0, 0.0)}
    trials = table_of(set_rows(chosen, CHOSEN) + set_rows(reported, REPORTED))
    assert choose_site(trials) == second
    effects = set_effects(trials, REPORTED)
    assert effects[second].mean() == pytest.approx(-0.5, abs=0.3)
    assert effects[first].mean() == pytest.approx(-9.0, abs=0.3)
