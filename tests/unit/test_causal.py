"""Exact effects, the screening's agreement and the chosen site, against planted truth."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binom, rankdata, spearmanr, wilcoxon

from saeflow.artifacts.hierarchy import EFFECTS, HIERARCHY, SCREEN
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.hierarchy import CausalSettings
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.causal import (
    _agreement,
    _exact,
    _largest_set,
    _with_exact,
    causal_tables,
)
from saeflow.studies.hierarchy.effects import effect_table
from saeflow.studies.hierarchy.trials import (
    CHOSEN,
    REPORTED,
    choose_site,
    problem_parts,
    set_effects,
)
from tests.unit.test_causal_labels import LAYER_TABLES, TESTS, TOKENS, N, having
from tests.unit.test_hierarchy_effects import KEYS, table_of, trial

RUN = {**KEYS, "dataset": "made"}


def screen_table(attributions: dict[tuple[Site, int], tuple[float, float]]) -> pa.Table:
    rows = [
        {
            **RUN,
            "layer": site.layer,
            "step": site.step,
            "feature": feature,
            "n_active": 40,
            "attribution": first,
            "attribution_reported": second,
            "in_set": True,
            "rank": 1,
            "exact": None,
            "n_exact": None,
        }
        for (site, feature), (first, second) in attributions.items()
    ]
    return pa.Table.from_pylist(rows, SCREEN.schema())


ABLATED = {(Site(1, 2), 7): 12, (Site(1, 2), 70): 3, (Site(3, 0), 7): 20}
"""Features, and on how many reported problems each is active."""


def single_trials() -> tuple[list[dict[str, Any]], dict[tuple[Site, int], float]]:
    """Ablations of these features beside much else, and the sum of their effects."""
    rng, rows, sums = np.random.default_rng(1), [], {}
    for (site, feature), count in ABLATED.items():
        effects = rng.normal(-0.5, 0.3, count).astype(np.float32)
        sums[site, feature] = float(effects.astype(np.float64).sum())
        place = {"layer": site.layer, "step": site.step, "unit": f"F{feature}"}
        rows += [trial(number, float(each), **place) for number, each in enumerate(effects)]
        for other in (
            {"control": "random_feature"},
            {"edit": "mean", "dose": None},
            {"edit": "scale"},
            {"half": CHOSEN},
            {"dataset": "balanced"},
            {"unit": "set"},
            {"unit": "all", "edit": "none", "dose": None, "control": "reconstruction"},
        ):
            rows += [trial(number, 9.0, **{**place, **other}) for number in range(count)]
    return rows, sums


def test_exact_effects_are_means_over_all_reported_problems() -> None:
    rows, sums = single_trials()
    exact = _exact(table_of(rows), "made", 50)
    assert set(exact) == set(ABLATED)
    for feature, count in ABLATED.items():
        assert exact[feature] == (pytest.approx(sums[feature] / 50), count)
    others = {(Site(1, 2), 8): (0.3, 0.2), (Site(3, 2), 7): (0.1, 0.1)}
    listed = {**dict.fromkeys(ABLATED, (-0.2, -0.1)), **others}
    screen = screen_table(dict(reversed(listed.items())))
    filled = _with_exact(screen, exact)
    assert filled.schema == SCREEN.schema()
    kept = [name for name in screen.column_names if not name.endswith("exact")]
    assert filled.select(kept).equals(screen.select(kept))
    for row in filled.to_pylist():
        own = exact.get((Site(row["layer"], row["step"]), row["feature"]), (None, None))
        assert (row["exact"], row["n_exact"]) == own


def hand_made_screen() -> tuple[pa.Table, dict[tuple[Site, int], tuple[float, int]]]:
    """Two layers of two steps with four ablated features each, one with but one, and unlisted ones."""
    rng = np.random.default_rng(6)
    sites = {Site(layer, step): 4 for layer in (0, 2) for step in (1, 3)} | {Site(5, 4): 1}
    listed = {(site, n): tuple(rng.normal(size=2)) for site in sites for n in range(10)}
    exact = {
        (site, n): (0.6 * listed[site, n][0] + float(rng.normal()) / 2, 5)
        for site, count in sites.items()
        for n in range(count)
    }
    return _with_exact(screen_table(listed), exact), exact


def rank_correlation(one: pd.Series, other: pd.Series) -> float:
    """Spearman's, without ties, from the definition."""
    difference = rankdata(one) - rankdata(other)
    return float(1 - 6 * (difference**2).sum() / (len(one) ** 3 - len(one)))


def test_agreement_is_the_rank_correlation_of_ablated_features_place_by_place() -> None:
    screen, exact = hand_made_screen()
    listed = screen.to_pandas().dropna(subset="exact")
    assert len(listed) == len(exact) == 17
    rows = list(_agreement(screen, RUN))
    found = {(row["layer"], row["step"], row["metric"]): row for row in rows}
    assert len(found) == len(rows)
    whole: list[tuple[int | None, int | None]] = [(None, None)]
    places = whole + [(layer, None) for layer in (0, 2, 5)] + [(None, step) for step in (1, 3, 4)]
    expected = 0
    for layer, step in places:
        part = listed[listed.layer.eq(layer) if layer is not None else listed.layer.notna()]
        part = part[part.step.eq(step) if step is not None else part.step.notna()]
        same = found[layer, step, "screen_same_sign"]
        signs = [a * b > 0 for a, b in zip(part.attribution, part.exact, strict=True)]
        assert (same["value"], same["n"]) == (pytest.approx(np.mean(signs)), len(part))
        expected += 1
        for ending, column in (("", "attribution"), (".same_problems", "attribution_reported")):
            key = layer, step, f"screen_rank_correlation{ending}"
            if len(part) <= 2:
                assert key not in found
                continue
            expected += 1
            assert found[key]["value"] == pytest.approx(rank_correlation(part[column], part.exact))
            ranked = spearmanr(part[column], part.exact).statistic
            assert found[key]["value"] == pytest.approx(ranked)
            assert (found[key]["n"], found[key]["group"]) == (len(part), "shortlist")
    assert len(rows) == expected
    both = [
        found[None, None, f"screen_rank_correlation{end}"]["value"]
        for end in ("", ".same_problems")
    ]
    assert both[0] > 0.5 > both[1]


def test_without_ablations_nothing_is_said_to_agree() -> None:
    screen, _ = hand_made_screen()
    assert list(_agreement(_with_exact(screen, {}), RUN)) == []
    # Effects that are all one number have no ranks, but signs.
    flat = {(Site(0, 1), n): (-1.0, 5) for n in range(4)}
    assert {row["metric"] for row in _agreement(_with_exact(screen, flat), RUN)} == {
        "screen_same_sign"
    }


def set_trials(seed: int, sites: int, problems: int, lower: float = 0.0) -> pa.Table:
    """Ablations of a set per site beside random features; the last site's lowers the answer."""
    rng, rows = np.random.default_rng(seed), []
    for number, (half, first) in itertools.product(range(sites), ((CHOSEN, 0), (REPORTED, 1000))):
        for control in ("none", "random_feature"):
            mean = lower if control == "none" and number == sites - 1 else 0.0
            place = {"layer": number // 2, "step": number % 2, "unit": "set", "half": half}
            rows += [
                trial(first + problem, float(value), control=control, **place)
                for problem, value in enumerate(rng.normal(mean, 1.0, problems))
            ]
    return table_of(rows)


def set_numbers(trials: pa.Table) -> dict[str, dict[str, Any]]:
    frame = trials.to_pandas()
    site = choose_site(trials)
    of_site = (frame["layer"] == site.layer) & (frame["step"] == site.step)
    frame = frame[of_site & (frame["half"] == REPORTED)]
    own = pa.Table.from_pandas(frame, trials.schema, preserve_index=False)
    halves = {("made", REPORTED): np.unique(frame["problem"])}
    effects = effect_table(own, halves, {}, KEYS, 0)
    return {row["metric"]: row for row in _largest_set(trials, effects, RUN)}


def differences(trials: pa.Table, half: str, site: Site) -> np.ndarray:
    """Own effect minus the control's, problem by problem."""
    rows = [row for row in trials.to_pylist() if row["half"] == half]
    at = {
        (row["control"], row["problem"]): row["log_probability"]
        for row in rows
        if (row["layer"], row["step"]) == site
    }
    numbers = sorted(number for control, number in at if control == "none")
    return np.array([at["none", n] - at["random_feature", n] for n in numbers])


def one_sided(values: np.ndarray) -> float:
    """Wilcoxon's p-value of values being lower than 0, from all signs that they could have."""
    ranks = rankdata(np.abs(values))
    own = ranks[values > 0].sum()
    sums = [
        ranks[list(signs)].sum() for signs in itertools.product((False, True), repeat=len(ranks))
    ]
    return float(np.mean(np.array(sums) <= own + 1e-9))


def test_the_site_is_chosen_on_one_half_and_reported_on_the_other() -> None:
    trials = set_trials(0, sites=6, problems=10, lower=-2.5)
    site = Site(2, 1)
    means = {
        Site(layer, step): differences(trials, CHOSEN, Site(layer, step)).mean()
        for layer in range(3)
        for step in range(2)
    }
    assert min(means, key=means.__getitem__) == choose_site(trials) == site
    found = set_numbers(trials)
    assert set(found) == {
        "largest_set_effect", "largest_set_effect.chosen", "largest_set_effect.p_value"
    }  # fmt: skip
    for row in found.values():
        assert (row["layer"], row["step"], row["group"], row["n"]) == (2, 1, "set", 10)
    reported = differences(trials, REPORTED, site)
    own = found["largest_set_effect"]
    assert own["value"] == pytest.approx(reported.mean())
    assert own["ci_low"] < own["value"] < own["ci_high"]
    assert found["largest_set_effect.chosen"]["value"] == pytest.approx(means[site])
    p_value = found["largest_set_effect.p_value"]["value"]
    assert p_value == pytest.approx(one_sided(reported), rel=1e-9)
    assert p_value < 0.05


def test_only_a_lower_answer_is_significant() -> None:
    trials = set_trials(2, sites=1, problems=12, lower=2.0)
    found = set_numbers(trials)
    assert found["largest_set_effect"]["value"] > 1
    assert found["largest_set_effect.p_value"]["value"] > 0.95
    frame = trials.to_pandas()
    frame["log_probability"] = np.float32(0)
    nothing = set_numbers(pa.Table.from_pandas(frame, trials.schema, preserve_index=False))
    assert nothing["largest_set_effect.p_value"]["value"] == 1
    assert nothing["largest_set_effect"]["value"] == 0


def test_choosing_on_one_half_and_reporting_on_the_other_keeps_the_level() -> None:
    runs, reported, chosen = 60, [], []
    for seed in range(runs):
        trials = set_trials(seed, sites=12, problems=24)
        reported.append(set_numbers(trials)["largest_set_effect.p_value"]["value"])
        same = set_effects(trials, CHOSEN)[choose_site(trials)]
        chosen.append(wilcoxon(same, alternative="less").pvalue)
    most = 0.05 * runs + 3 * np.sqrt(runs * 0.05 * 0.95)
    assert sum(p_value < 0.05 for p_value in reported) <= most
    assert sum(p_value < 0.5 for p_value in reported) >= binom.ppf(0.001, runs, 0.5)
    # Reported where it is chosen, the largest of twelve looks like something.
    assert sum(p_value < 0.05 for p_value in chosen) > 2 * most


def test_tables_of_a_bank_fit_together_and_can_be_written(tmp_path: Path) -> None:
    numbers, settings = np.arange(N), CausalSettings(problems=150, seed=5)
    parts = problem_parts(numbers, 150, 5)
    rng, rows = np.random.default_rng(2), []
    active = parts.reported[having(r"\*")[parts.reported]]
    for control in ("none", "random_feature"):
        place = {"layer": 1, "step": 2, "control": control}
        lower = 1.0 * (control == "none")
        single = {**place, "unit": "F0"}
        rows += [trial(int(n), float(rng.normal(-lower)), **single) for n in active]
        for half, where in ((CHOSEN, parts.chosen), (REPORTED, parts.reported)):
            whole = {**place, "unit": "set", "half": half}
            rows += [trial(int(n), float(rng.normal(-lower)), **whole) for n in where]
    # Swaps are of other problems, all of which are reported.
    swapped = {"dataset": "balanced", "edit": "swap.value", "dose": None, "layer": 1, "step": 2}
    rows += [trial(n, -0.5, toward=0.25, unit="F0", **swapped) for n in (3, 5, 9)]
    stories = {"balanced": np.array([3, 5, 7, 9])}
    listed = {(Site(1, 2), n): (-0.1 * n, -0.2) for n in range(3)}
    found = causal_tables(
        table_of(rows),
        screen_table(listed),
        TOKENS,
        LAYER_TABLES,
        numbers,
        stories,
        settings,
        TESTS,
        RUN,
    )
    for table, artifact in zip(found, (EFFECTS, SCREEN, HIERARCHY), strict=True):
        path = tmp_path / f"{artifact.name}.parquet"
        write_table(table, path, artifact, Provenance("c"))
        frame = read_table(path, artifact).to_pandas()
        assert len(frame)
        assert not frame.duplicated(list(artifact.keys)).any()
    own = {(row["unit"], row["group"], row["metric"]): row for row in found.effects.to_pylist()
           if row["control"] == "none" and row["half"] == REPORTED and row["dataset"] == "made"}  # fmt: skip
    single = own["F0", "all", "log_probability"]
    assert single["n"] == len(parts.reported) == 100
    assert own["F0", "difference", "log_probability"]["label"] == "operators: *"
    assert own["F0", "with", "log_probability"]["n"] == len(active)
    (exact,) = found.screen.to_pandas().dropna(subset="exact").itertuples()
    assert (exact.feature, exact.n_exact) == (0, len(active))
    assert exact.exact == pytest.approx(single["value"])
    of_swaps = [row for row in found.effects.to_pylist() if row["dataset"] == "balanced"]
    # One problem of these stories that no swap changes is one on which nothing changes.
    assert {row["n"] for row in of_swaps} == {4}
    assert {row["value"] for row in of_swaps if row["metric"] == "toward"} == {0.25 * 3 / 4}
    summary = {row["metric"]: row for row in found.summary.to_pylist()}
    assert summary["largest_set_effect"]["n"] == 100
    assert summary["largest_set_effect"]["value"] == pytest.approx(
        own["set", "all", "log_probability"]["value"]
        - np.mean([row["log_probability"] for row in rows if row["unit"] == "set"
                   and row["control"] != "none" and row["half"] == REPORTED])
    )  # fmt: skip
    assert summary["largest_set_effect.chosen"]["n"] == 50
    (same,) = (
        row
        for row in found.effects.to_pylist()
        if row["unit"] == "set" and row["half"] == REPORTED and row["group"] == "all"
        and row["metric"] == "log_probability_excess"
    )  # fmt: skip
    for name in ("value", "ci_low", "ci_high"):
        assert summary["largest_set_effect"][name] == same[name]
    sizes = {name: summary[f"n_problems.{name}"]["value"] for name in parts._fields}
    assert sizes == {name: len(part) for name, part in parts._asdict().items()}
    before = summary["accuracy_before"]
    assert before["value"] == np.mean(parts.reported % 4 == 0)
    assert before["ci_low"] < before["value"] < before["ci_high"]
    assert before["n"] == 100
    assert summary["screen_same_sign"]["n"] == 1
