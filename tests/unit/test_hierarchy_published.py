"""The published hierarchy study against loops over problems, written from methods/2, 3.1-3.5."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest

from saeflow.artifacts.hierarchy import HIERARCHY, RANKS, SWAP_PAIRS
from saeflow.artifacts.schema import Artifact
from saeflow.config.hierarchy import HierarchyRules, ImpactSettings, SpecialistSettings
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.impact import ablation_impact, impact_level
from saeflow.studies.hierarchy.patterns import substring_patterns
from saeflow.studies.hierarchy.published import published_hierarchy
from saeflow.studies.hierarchy.ranking import strongest
from saeflow.studies.hierarchy.specialised import random_sets, specialisation
from saeflow.studies.hierarchy.taxonomy import TYPES, random_types
from tests.published_hierarchy import (
    OPERATION_WORDS,
    RANGES,
    RUN,
    SAMPLES,
    SETTINGS,
    Row,
    Study,
    reference_site,
    small_study,
    type_of,
)
from tests.sentences import check_sentence


@pytest.fixture(scope="module", params=[0, 1])
def study(request: pytest.FixtureRequest) -> Study:
    return small_study(request.param)


def rows_at(table: pa.Table, site: Site) -> list[Row]:
    rows = table.to_pylist()
    return [row for row in rows if (row["layer"], row["step"]) == site]


def test_ranks_types_and_specialists_are_those_of_a_loop_over_problems(study: Study) -> None:
    seen = set()
    for site in study.bank.sites:
        found = rows_at(study.tables.ranks, site)
        for row, expected in zip(found, reference_site(study, site), strict=True):
            for name, value in expected.items():
                if isinstance(value, float):
                    assert row[name] == pytest.approx(value, rel=1e-6), name
                else:
                    assert row[name] == value, name
            seen |= {row["type"], row["specialisation"]}
            assert {name: row[name] for name in RUN} == RUN
    assert {"mixed", "unknown", "general", "operation-specialised"} <= seen


def test_tables_keep_their_promises(study: Study) -> None:
    pairs: list[tuple[pa.Table, Artifact]] = list(
        zip(study.tables, (RANKS, SWAP_PAIRS, HIERARCHY), strict=True)
    )
    for table, artifact in pairs:
        assert table.schema == artifact.schema()
        assert not any(
            table[each.name].null_count for each in artifact.columns if not each.nullable
        )
        assert len(table) == len(table.group_by(list(artifact.keys)).aggregate([])) > 0


def test_swap_pairs_are_those_of_a_loop_over_groups(study: Study) -> None:
    operations = list(OPERATION_WORDS)
    values = [f"number {value}" for value in (12, 20, 30, 50, 100)]
    n_pairs = 0
    for site in study.bank.sites:
        expected = []
        rows = reference_site(study, site)
        for first, last in RANGES:
            for kind, names in (("operation", operations), ("value", values)):
                best = {}
                for name in names:
                    group = [
                        row
                        for row in rows
                        if first <= row["rank"] <= last
                        and row["name"]
                        and name in row["name"].split(" + ")
                    ]
                    if group:
                        best[name] = min(group, key=lambda row: row["rank"])["feature"]
                for one, other in itertools.combinations(best, 2):
                    expected.append((f"{first}-{last}", kind, one, best[one], other, best[other]))
        columns = ("rank_range", "kind", "name", "feature", "other_name", "other_feature")
        found = [tuple(row[c] for c in columns) for row in rows_at(study.tables.swap_pairs, site)]
        assert found == expected
        n_pairs += len(found)
    assert n_pairs


def test_impact_is_that_of_decoding_without_each_feature_and_a_closed_form(study: Study) -> None:
    for site in study.bank.sites:
        x = study.x[site][study.numbers]
        place = study.bank.sites.index(site)
        decoder = study.bank.W_dec[place].double().numpy()
        bias = study.bank.b_dec[place].double().numpy()
        values = x.double().numpy()
        for row in rows_at(study.tables.ranks, site):
            special = row["rank_range"] and row["name"]
            if row["rank"] > 6 and not special:
                assert row["mean_impact"] is row["max_impact"] is row["impact_level"] is None
                continue
            without = values.copy()
            without[:, row["feature"]] = 0.0
            change = np.abs((values @ decoder + bias) - (without @ decoder + bias))
            assert row["mean_impact"] == pytest.approx(change.mean(), abs=1e-6)
            assert row["max_impact"] == pytest.approx(change.max(), abs=1e-6)
            lengths = [math.sqrt((each**2).sum()) for each in change]
            assert row["mean_l2"] == pytest.approx(sum(lengths) / len(x), abs=1e-6)
            entry = np.abs(decoder[row["feature"]]).mean()
            assert row["mean_impact"] == pytest.approx(row["mean_magnitude"] * entry, abs=1e-6)
            mean = change.mean()
            expected = "HIGH" if mean > 0.1 else "MEDIUM" if mean > 0.02 else "LOW"
            assert row["impact_level"] == expected


def test_silent_features_have_no_impact(study: Study) -> None:
    site = study.bank.sites[0]
    found = ablation_impact(study.bank.select([site]), study.x[site], np.array([0, 7]))
    assert not np.array(found).any()


def test_impact_levels_are_above_their_thresholds() -> None:
    settings = ImpactSettings()
    levels = [impact_level(mean, settings) for mean in (0.11, 0.1, 0.011, 0.01, 0.0)]
    assert levels == ["HIGH", "MEDIUM", "MEDIUM", "LOW", "LOW"]


def summary_of(study: Study, site: Site | None) -> dict[tuple[str, str, str], Row]:
    key = site or (None, None)
    rows = [r for r in study.tables.summary.to_pylist() if (r["layer"], r["step"]) == key]
    return {(row["group"], row["metric"], row["control"]): row for row in rows}


def slow_range(chance: np.ndarray) -> tuple[int, int]:
    """Quantiles of a number of successes, trial by trial."""
    odds = [1.0]
    for each in chance.tolist():
        odds = [
            (odds[n] if n < len(odds) else 0.0) * (1 - each) + (odds[n - 1] * each if n else 0.0)
            for n in range(len(odds) + 1)
        ]
    below = list(itertools.accumulate(odds))
    low, high = (next(n for n, b in enumerate(below) if b >= q - 1e-12) for q in (0.025, 0.975))
    return low, high


def members(group: str, row: Row) -> bool:
    """Whether a row of the ranks belongs to a group of specialists."""
    if group == row["rank_range"]:
        return bool(row["n_active"])
    if group == "all":
        return bool(row["n_active"])
    bounds = {"1": (1, 1), "2": (2, 2), "6-7": (6, 7), "10-19": (10, 19), "200+": (200, 9999)}
    first, last = bounds.get(group, (0, -1))
    return first <= int(row["n_active"]) <= last


@pytest.mark.parametrize("group", ["4-9", "12-30", "all", "1", "2", "6-7", "10-19", "200+"])
def test_summary_counts_specialists_beside_what_random_problems_give(
    study: Study, group: str
) -> None:
    patterns = substring_patterns([study.texts[n] for n in study.numbers]).specialists
    for site in (None, *study.bank.sites):
        rows = study.tables.ranks.to_pylist() if site is None else rows_at(study.tables.ranks, site)
        chosen = [row for row in rows if members(group, row)]
        found = summary_of(study, site)
        for ending in ("", "_untied"):
            count = sum(row[f"specialised{ending}"] for row in chosen)
            n_active = np.array([row["n_active"] for row in chosen], int)
            chance = random_sets(patterns, n_active, SAMPLES, SETTINGS.specialists)
            for control, value in (
                ("none", count),
                ("random_problems", chance[ending].sum()),
            ):
                number = found[group, f"n_specialised{ending}", control]
                share = found[group, f"share_specialised{ending}", control]
                assert number["value"] == pytest.approx(value)
                assert number["n"] == share["n"] == len(chosen)
                ends = (number["ci_low"], number["ci_high"], number["interval"])
                drawn = control == "random_problems"
                expected = (*slow_range(chance[ending]), "independent_95")
                assert ends == (expected if drawn else (None, None, "none"))
                if chosen:
                    assert share["value"] == pytest.approx(value / len(chosen))
                else:
                    assert share["value"] is None


def test_summary_counts_types_ranges_and_impacts(study: Study) -> None:
    passed = []
    for site in (*study.bank.sites, None):
        rows = study.tables.ranks.to_pylist() if site is None else rows_at(study.tables.ranks, site)
        found = {key[:2]: row["value"] for key, row in summary_of(study, site).items()
                 if key[2] == "none"}  # fmt: skip
        top = [row for row in rows if row["rank"] <= 25]
        assert found["top", "n_features"] == len(top)
        assert found["top", "n_live"] == sum(row["n_active"] > 0 for row in top)
        for name in ("operation-level", "value-level", "mixed", "unknown"):
            assert found["top", f"n_type.{name}"] == sum(row["type"] == name for row in top)
        validated = [row for row in rows if row["rank"] <= 6]
        n_high = sum(row["impact_level"] == "HIGH" for row in validated)
        assert found["top", "n_validated"] == len(validated)
        assert found["top", "n_high"] == n_high
        assert found["top", "share_high"] == pytest.approx(n_high / len(validated))
        if site is not None:
            passed.append(n_high / len(validated) >= 0.7)
            assert found["top", "passes"] == passed[-1]
        else:
            assert found["top", "passes"] == pytest.approx(sum(passed) / len(passed))
        for first, last in RANGES:
            name = f"{first}-{last}"
            here = [row for row in rows if row["rank_range"] == name]
            special = [row for row in here if row["name"]]
            assert found[name, "n_features"] == len(here)
            assert found[name, "n_live"] == sum(row["n_active"] > 0 for row in here)
            for metric, kind in (("n_operation", "operation"), ("n_value", "value"),
                                 ("n_highly", "highly")):  # fmt: skip
                count = sum(row["specialisation"] == f"{kind}-specialised" for row in special)
                assert found[name, metric] == count
            measurable = sum(row["mean_impact"] > 0.02 for row in special)
            assert found[name, "n_measurable"] == measurable
            share = measurable / len(special) if special else None
            assert found[name, "share_measurable"] == share


def test_types_stand_beside_those_of_random_problems(study: Study) -> None:
    patterns = substring_patterns([study.texts[n] for n in study.numbers]).taxonomy
    for site in (None, *study.bank.sites):
        rows = study.tables.ranks.to_pylist() if site is None else rows_at(study.tables.ranks, site)
        sizes = np.array([row["n_samples"] for row in rows if row["rank"] <= 25])
        chance = random_types(patterns, sizes, SETTINGS)
        found = summary_of(study, site)
        assert chance.sum(1) == pytest.approx(1)
        for place, name in enumerate(TYPES):
            row = found["top", f"n_type.{name}", "random_problems"]
            assert row["value"] == pytest.approx(chance[:, place].sum())
            assert row["n"] == len(sizes)
            ends = (row["ci_low"], row["ci_high"], row["interval"])
            assert ends == (*slow_range(chance[:, place]), "independent_95")


def test_chance_of_types_is_that_of_all_sets() -> None:
    rng = np.random.default_rng(0)
    pool = ["2+3=5", "9-12=1", "12*3=4", "100/12=3", "7", "8+1200=2", "12*7=1", "8/2=4"]
    texts = [str(text) for text in rng.choice(pool, 12)]
    draws = 20_000
    settings = HierarchyRules(specialists=SpecialistSettings(null_draws=draws))
    sizes = (0, 1, 5, 7, 12)
    chance = random_types(substring_patterns(texts).taxonomy, np.array(sizes), settings)
    several = 0
    for size, found in zip(sizes, chance, strict=True):
        types = [type_of([*each])[0] for each in itertools.combinations(texts, size)]
        for name, share in zip(TYPES, found, strict=True):
            exact = types.count(name) / len(types)
            assert abs(share - exact) <= 4 * math.sqrt(exact * (1 - exact) / draws) + 1e-12
            several += 0 < exact < 1
    assert several >= 5


def test_a_hundred_problems_that_show_everything_are_mixed_by_construction() -> None:
    texts = ["2+3=5", "12*50=600", "7-4=3", "9/30=1"] * 100
    chance = random_types(substring_patterns(texts).taxonomy, np.array([100]), HierarchyRules())
    assert chance.tolist() == [[0.0, 0.0, 1.0, 0.0]]


def test_verdicts_are_those_of_the_mean_activation_alone(study: Study) -> None:
    shares = []
    for site in study.bank.sites:
        decoder = study.bank.W_dec[study.bank.sites.index(site)].double().numpy()
        top = [row for row in rows_at(study.tables.ranks, site) if row["rank"] <= 6]
        n_high = sum(
            row["mean_magnitude"] * np.abs(decoder[row["feature"]]).mean() > 0.1 for row in top
        )
        found = summary_of(study, site)
        assert 0 < found["top", "n_high", "closed_form"]["value"] == n_high
        assert found["top", "share_high", "closed_form"]["value"] == n_high / len(top)
        assert found["top", "passes", "closed_form"]["value"] == (n_high / len(top) >= 0.7)
        shares.append(n_high / len(top))
        for metric in ("n_high", "share_high", "passes"):
            values = [found["top", metric, control] for control in ("none", "closed_form")]
            assert values[0]["value"] == values[1]["value"]
            assert values[0]["n"] == values[1]["n"]
    overall = summary_of(study, None)["top", "passes", "closed_form"]
    assert overall["value"] == sum(share >= 0.7 for share in shares) / len(shares)


def test_published_impact_is_a_constant_times_the_mean_activation(study: Study) -> None:
    for site in (None, *study.bank.sites):
        found = summary_of(study, site)
        for end in ("min", "max"):
            ratio = found["top", f"impact_over_magnitude.{end}", "none"]
            closed = found["top", f"impact_over_magnitude.{end}", "closed_form"]
            assert ratio["n"] == closed["n"] > 0
            assert ratio["value"] == pytest.approx(closed["value"], rel=1e-5)
    top = [row for row in study.tables.ranks.to_pylist() if row["rank"] <= 6]
    ratios = [row["mean_impact"] / row["mean_magnitude"] for row in top]
    lowest = summary_of(study, None)["top", "impact_over_magnitude.min", "none"]
    assert lowest["value"] == pytest.approx(min(ratios))


def test_of_equal_activations_the_first_problems_are_the_strongest() -> None:
    rng = np.random.default_rng(3)
    magnitude = rng.choice(np.array([0.0, 1.0, 1.0, 2.0], np.float32), (40, 25))
    for count in (1, 5, 24, 25, 30):
        found = strongest(magnitude, count)
        for row, marked in zip(magnitude.tolist(), found, strict=True):
            order = sorted((n for n in range(25) if row[n]), key=lambda n: (-row[n], n))
            assert np.flatnonzero(marked).tolist() == sorted(order[:count])


def test_chance_of_sets_of_two_and_three_is_that_of_all_sets() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.random((24, 9)) < [0.6, 0.4, 0.5, 0.3, 0.3, 0.3, 0.2, 0.1, 0.1]
    settings = SpecialistSettings(null_draws=20_000)
    chance = random_sets(patterns, np.array([0, 1, 2, 3, 3, 900]), 24, settings)
    published, untied = chance.values()
    assert published[0] == untied[0] == 0
    assert published[3] == published[4]
    for place, size in ((1, 1), (2, 2), (3, 3), (5, 24)):
        sets = np.array(list(itertools.combinations(range(24), size)))
        counts = patterns[sets].sum(1)
        for found, ties_count in ((published, False), (untied, True)):
            every = specialisation(
                counts, np.full(len(sets), size), settings, ties_count=ties_count
            )
            exact = every.any.mean()
            error = math.sqrt(exact * (1 - exact) / settings.null_draws)
            assert abs(found[place] - exact) <= (4 * error if size in (2, 3) else 1e-12)


def test_ties_make_a_specialist_that_the_repaired_rule_does_not_see() -> None:
    both = np.array([[4, 0, 4, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 1, 0, 0, 0, 0]])
    sizes = np.array([4, 1])
    found = specialisation(both, sizes, SpecialistSettings())
    assert [found.name(place) for place in (0, 1)] == ["addition", "addition + number 12"]
    assert [found.kind(place) for place in (0, 1)] == [
        "operation-specialised",
        "highly-specialised",
    ]
    untied = specialisation(both, sizes, SpecialistSettings(), ties_count=True)
    assert [untied.name(place) for place in (0, 1)] == [None, "number 12"]


def test_shares_at_a_threshold_do_not_pass_it_and_near_ties_are_no_ties() -> None:
    at = np.array([[7, 2, 0, 0, 0, 0, 0, 0, 0], [8, 3, 0, 0, 5, 0, 0, 0, 0]])
    near = np.array([[10, 9, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 6, 7, 0, 0, 0]])
    sizes = np.array([10, 10])
    for counts in (at, near):
        assert not specialisation(counts, sizes, SpecialistSettings()).any.any()
    beyond = np.array([[8, 2, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 6, 0, 0, 0]])
    found = specialisation(beyond, sizes, SpecialistSettings())
    assert [found.kind(place) for place in (0, 1)] == [
        "operation-specialised",
        "value-specialised",
    ]
    assert [found.name(place) for place in (0, 1)] == ["addition", "number 20"]


def test_a_bank_without_a_site_of_the_features_is_refused(study: Study) -> None:
    part = study.bank.select(study.bank.sites[:3])
    with pytest.raises(SaeflowError) as caught:
        published_hierarchy(
            study.problems, study.features, part, study.read, SETTINGS, RUN, "validation"
        )
    check_sentence(caught.value, "layer3_step2", "layer3_step0")
