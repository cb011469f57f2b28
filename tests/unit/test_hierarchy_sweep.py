"""Specialists at other k, beside slow rules on SAEs trained one by one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.stats import binom

from saeflow.artifacts.hierarchy import HIERARCHY
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.artifacts.vectors import Vectors
from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.hierarchy import (
    HierarchyPublished,
    HierarchyRules,
    SpecialistTests,
    SweepSettings,
)
from saeflow.config.runs import ExactSettings
from saeflow.datasets.sources import cot_token_table
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Recipe, Site
from saeflow.saes.sites import read_sites
from saeflow.saes.train import train_bank
from saeflow.studies.gsm8k.bank_test import BankFeatures
from saeflow.studies.hierarchy.bins import BIN_LABELS, bin_of
from saeflow.studies.hierarchy.patterns import substring_patterns
from saeflow.studies.hierarchy.rule_counts import independent_range
from saeflow.studies.hierarchy.specialist_tests import specialist_tables, specialist_targets
from saeflow.studies.hierarchy.sweep import (
    SweepCriteria,
    layer_at,
    published_rule,
    rare_share,
    sweep_table,
    usable_k,
)
from tests.planted_captures import write_capture
from tests.sentences import check_sentence

CPU = torch.device("cpu")
N_TRAIN, N_HELD_OUT, D_IN, LAYERS, STEPS, D_SAE = 160, 140, 12, 3, 2, 24
SAMPLES = 15
RUN = {"dataset": "d", "dictionary": "k", "seed": 8, "mode": "calibrated"}
DICTIONARY = DictionarySettings(dataset="d", d_sae=D_SAE, k=4)
CRITERIA = SweepCriteria(
    SweepSettings(k=(6, 2), depth=0.4, step=1, seed=3),
    HierarchyPublished.model_validate(
        {"models": {"m": {"datasets": ["d"], "dictionaries": ["k"]}}, "samples": SAMPLES}
    ),
    SpecialistTests(tests=ExactSettings(min_active=5, min_support=6), permutations=19),
)
SIGNS, NUMBERS = "+-*/", (12, 7, 20, 150, 3)


def problem_table(n_held_out: int = N_HELD_OUT) -> pa.Table:
    """One or two calculations per problem; splits are mixed, as the study draws them."""
    rng, total = np.random.default_rng(1), N_TRAIN + N_HELD_OUT
    answers = [
        " ".join(
            f"<<{rng.choice(NUMBERS)}{SIGNS[rng.integers(4)]}{rng.choice(NUMBERS)}=1>>"
            for _ in range(rng.integers(1, 3))
        )
        for _ in range(total)
    ]
    held_out = np.random.default_rng(2).permutation(total) < n_held_out
    return pa.table(
        {
            "problem": pa.array(range(total), pa.int32()),
            "question": answers,
            "answer": answers,
            "split": np.where(held_out, "validation", "train"),
            "analysed": [True] * total,
        }
    )


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Activations that are sums of one direction per sign and number."""
    folder = tmp_path_factory.mktemp("capture")
    rng = np.random.default_rng(0)
    texts = problem_table()["answer"].to_pylist()
    shown = np.array([[str(part) in text for part in (*SIGNS, *NUMBERS)] for text in texts])
    layers = []
    for _ in range(LAYERS):
        parts = []
        for _ in range(STEPS):
            size = shown * rng.uniform(0.7, 1.3, shown.shape)
            noise = rng.standard_normal((len(texts), D_IN)) / 10
            parts.append(size @ rng.standard_normal((shown.shape[1], D_IN)) + noise)
        values = np.stack(parts, 1).reshape(-1, D_IN).astype(np.float32)
        problems = np.repeat(np.arange(len(texts), dtype=np.int32), STEPS)
        steps = np.tile(np.arange(STEPS, dtype=np.int16), len(texts))
        vectors = Vectors(problems, steps, values, "float32")
        layers.append(vectors)
    return write_capture(folder, {"resid_post": layers})


def sweep(
    capture: Path, criteria: SweepCriteria = CRITERIA, n_held_out: int = N_HELD_OUT
) -> pa.Table:
    problems = problem_table(n_held_out)
    tokens = cot_token_table(problems)
    return sweep_table(capture, problems, tokens, DICTIONARY, criteria, RUN, CPU)


def with_sweep(**changed: Any) -> SweepCriteria:
    other = CRITERIA.sweep.model_copy(update=changed)
    return SweepCriteria(other, CRITERIA.published, CRITERIA.specialists)


@pytest.fixture(scope="module")
def found(capture: Path) -> pd.DataFrame:
    return sweep(capture).to_pandas()


def encoded(capture: Path, k: int) -> np.ndarray:
    """Held-out activations of an SAE that is trained beside another site's."""
    split = np.array(problem_table()["split"].to_pylist())
    sites = [Site(0, 0), Site(0, 1)]
    train, test = (
        read_sites(capture, "block_output", sites, np.flatnonzero(split == name))
        for name in ("train", "validation")
    )
    bank = train_bank(train, sites, Recipe("abstopk", D_SAE, k), seed=3, device=CPU)
    return bank.encode(test)[1].numpy()


def held_out_texts() -> list[str]:
    table = problem_table().to_pandas()
    rows = table[table.split == "validation"]
    return [text[2:-2].replace(">> <<", " | ") for text in rows.answer]


def passes(texts: list[str], *, ties_count: bool) -> bool:
    """The published rule on some problems, in so many words."""
    if not texts:
        return False
    for patterns, least, below in (
        (SIGNS, 0.7, 0.3), (("12", "20", "30", "50", "100"), 0.5, 0.2),
    ):  # fmt: skip
        shares = [sum(part in text for text in texts) / len(texts) for part in patterns]
        best = max(shares)
        others = list(shares)
        others.remove(best)
        if not ties_count:
            others = [share for share in others if share != best]
        if best > least and all(share < below for share in others):
            return True
    return False


@pytest.mark.parametrize("k", [2, 6])
def test_counts_are_those_of_the_rule_in_so_many_words(
    capture: Path, found: pd.DataFrame, k: int
) -> None:
    values, texts = encoded(capture, k), held_out_texts()
    n_active = (values != 0).sum(0)
    top = [np.argsort(-np.abs(column), kind="stable")[:SAMPLES] for column in values.T]
    samples = [
        [texts[row] for row in rows[: n_active[feature]]] for feature, rows in enumerate(top)
    ]
    group = found[found.group.str.fullmatch(f"k={k}|k={k} n=.*")]
    rows = {(row.group, row.metric, row.control): row for row in group.itertuples()}
    assert rows[f"k={k}", "n_live", "none"].value == (n_active > 0).sum()
    assert rows[f"k={k}", "n_live", "none"].n == D_SAE
    assert {row.seed for row in rows.values()} == {3}
    assert {(row.layer, row.step) for row in rows.values()} == {(0, 1)}
    for ending in ("", "_untied"):
        flags = np.array([passes(each, ties_count=bool(ending)) for each in samples])
        rare = rows[f"k={k}", f"share_at_most_4_active{ending}", "none"]
        assert rare.n == flags.sum()
        expected = (n_active[flags] <= 4).mean() if flags.any() else None
        assert pd.isna(rare.value) if expected is None else rare.value == pytest.approx(expected)
        for place, label in [(None, None), *enumerate(BIN_LABELS)]:
            name = f"k={k}" if label is None else f"k={k} n={label}"
            chosen = n_active > 0 if place is None else bin_of(n_active) == place
            row = rows[name, f"n_specialised{ending}", "none"]
            assert (row.value, row.n) == (flags[chosen].sum(), chosen.sum())
            share = rows[name, f"share_specialised{ending}", "none"].value
            assert pd.isna(share) if not chosen.any() else share == flags[chosen].mean()


@pytest.mark.parametrize("ending", ["", "_untied"])
def test_chance_is_that_of_random_problems(capture: Path, found: pd.DataFrame, ending: str) -> None:
    values, texts = encoded(capture, 2), held_out_texts()
    sizes = np.minimum((values != 0).sum(0), SAMPLES)
    rng, draws = np.random.default_rng(5), 1500
    chance = {
        size: np.mean([
            passes([texts[row] for row in rng.choice(len(texts), size, replace=False)], ties_count=bool(ending))
            for _ in range(draws)
        ])
        for size in np.unique(sizes).tolist()
    }  # fmt: skip
    total = sum(chance[size] for size in sizes.tolist())
    row = found[
        (found.group == "k=2")
        & (found.metric == f"n_specialised{ending}")
        & (found.control == "random_problems")
    ].iloc[0]
    # Both are simulated; features of one size go together.
    counts = {size: (sizes == size).sum() for size in chance}
    variance = sum(2 * counts[size] ** 2 * p * (1 - p) / draws for size, p in chance.items())
    assert row.value == pytest.approx(total, abs=4 * variance**0.5 + 1e-9)
    assert row.interval == "independent_95"
    assert row.ci_low <= row.value <= row.ci_high


def test_exact_tests_are_those_of_a_bank_of_one_site(capture: Path, found: pd.DataFrame) -> None:
    values, problems = encoded(capture, 6), problem_table()
    numbers = np.flatnonzero(np.array(problems["split"].to_pylist()) == "validation")
    place = np.arange(D_SAE)
    bank = BankFeatures(place * 0, place * 0 + 1, place, values)
    targets = specialist_targets(("operators", "operands"), cot_token_table(problems), numbers)
    _, summary = specialist_tables(bank, targets, CRITERIA.specialists, RUN, CPU)
    expected = summary.to_pandas()
    expected = expected[expected.layer.isna()]
    expected["group"] = ["k=6" if group == "all" else f"k=6 n={group}" for group in expected.group]
    key, columns = ["group", "metric", "control"], ["value", "ci_low", "ci_high", "interval", "n"]
    own = found.set_index(key).loc[pd.MultiIndex.from_frame(expected[key]), columns]
    pd.testing.assert_frame_equal(own, expected.set_index(key)[columns])
    assert own.loc[("k=6", "n_specialists.operators", "none"), "value"].item() >= 4
    assert own.loc[("k=6", "n_specialists.operators", "permuted"), "value"].item() <= 2


def test_rows_have_different_keys_and_can_be_written(capture: Path, tmp_path: Path) -> None:
    table = sweep(capture)
    write_table(table, tmp_path / "sweep.parquet", HIERARCHY, Provenance("c"))
    read = read_table(tmp_path / "sweep.parquet", HIERARCHY).to_pandas()
    assert len(read) == len(table)
    assert not read.duplicated(list(HIERARCHY.keys)).any()
    groups = set(read.group)
    assert groups == {f"k={k}{n}" for k in (2, 6) for n in ("", *(f" n={b}" for b in BIN_LABELS))}


def test_order_of_k_and_other_k_change_nothing(capture: Path, found: pd.DataFrame) -> None:
    other = sweep(capture, with_sweep(k=(2, 3, 6, D_SAE, 2))).to_pandas()
    kept = other[~other.group.str.fullmatch("k=3( .*)?")].reset_index(drop=True)
    assert len(kept) < len(other)
    pd.testing.assert_frame_equal(kept, found, check_exact=True)


def test_what_the_sweep_is_not_told_changes_nothing(capture: Path, found: pd.DataFrame) -> None:
    published, recipe = CRITERIA.published, DICTIONARY
    few = HierarchyRules.model_validate(
        {
            "samples": SAMPLES,
            "specialists": published.specialists.model_dump(exclude={"rank_ranges"}),
            "taxonomy": {"top": 3},
            "impact": {"high": 9.0},
        }
    )
    tests = CRITERIA.specialists.model_copy(update={"targets": ("sequence",)})
    other = recipe.model_copy(update={"k": 2, "rows": "all", "layers": (1,), "steps": (0,)})
    problems = problem_table()
    criteria = SweepCriteria(CRITERIA.sweep, few, tests)
    again = sweep_table(capture, problems, cot_token_table(problems), other, criteria, RUN, CPU)
    pd.testing.assert_frame_equal(again.to_pandas(), found, check_exact=True)


def test_k_that_is_no_choice_is_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = logging.getLogger("saeflow")
    monkeypatch.setattr(log, "info", lambda text, *parts: said.append(text % parts))
    assert usable_k((75, 50, 100, 75), 100) == [50, 75]
    assert said == ["k 100 is left out of the sweep: the dictionary has 100 latents."]
    with pytest.raises(SaeflowError) as caught:
        usable_k((200, 100), 100)
    check_sentence(caught.value, "sweep.k", "200, 100", "100 latents")


def test_depth_is_the_same_block_in_every_convention() -> None:
    assert layer_at(0.75, "block_output", 16) == layer_at(0.75, "hidden_states_after", 16) == 11
    assert layer_at(0.75, "hidden_states_before", 16) == 12
    assert layer_at(1.0, "hidden_states_after", 4) == 3
    assert layer_at(1.0, "hidden_states_before", 4) == 3


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (40, 0.1), (200, 0.03), (7, 0.0), (7, 1.0)])
def test_range_of_equal_chances_is_binomial(n: int, p: float) -> None:
    expected = tuple(binom.ppf((0.025, 0.975), n, p))
    assert independent_range(np.full(n, p)) == expected
    assert independent_range(np.zeros(0)) == (0, 0)


def test_range_of_some_equal_chances_is_that_of_trial_after_trial() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        chance = rng.choice([0.0, 0.03, 0.2, 0.974, 1.0], 40)
        odds = np.ones(1)
        for each in chance:
            odds = np.convolve(odds, [1 - each, each])
        below = odds.cumsum()
        expected = tuple(np.count_nonzero(below < level) for level in (0.025, 0.975))
        assert independent_range(chance) == expected


def test_range_of_unequal_chances_holds_the_level() -> None:
    chance = np.random.default_rng(0).uniform(0, 0.3, 60)
    low, high = independent_range(chance)
    drawn = (np.random.default_rng(1).random((20000, 60)) < chance).sum(1)
    assert (drawn < low).mean() < 0.03
    assert (drawn <= low).mean() > 0.022
    assert (drawn > high).mean() < 0.03
    assert (drawn >= high).mean() > 0.022


def test_rule_differs_where_patterns_tie() -> None:
    rng = np.random.default_rng(4)
    texts = [
        " | ".join(f"{rng.choice(NUMBERS)}{sign}9=1" for sign in rng.permutation([*SIGNS])[:n])
        for n in rng.integers(1, 4, 60)
    ]
    values = rng.standard_normal((60, 300)).astype(np.float32)
    values *= rng.random((60, 300)) < 2.5 / 60
    patterns = substring_patterns(texts).specialists
    rule = published_rule(values, patterns, CRITERIA.published)
    expected = [
        [passes([texts[row] for row in np.flatnonzero(column)], ties_count=ties) for column in values.T]
        for ties in (False, True)
    ]  # fmt: skip
    assert (np.array([rule.found[""], rule.found["_untied"]]) == expected).all()
    assert 20 < rule.found["_untied"].sum() < rule.found[""].sum() - 20
    assert rule.chance["_untied"].sum() < rule.chance[""].sum() - 20


def test_rare_share_is_that_of_four_or_fewer() -> None:
    n_active = np.array([0, 1, 4, 5, 4])
    assert rare_share(n_active, np.array([0, 1.0, 1, 1, 0])) == pytest.approx(2 / 3)
    assert rare_share(n_active, np.array([0, 0, 0.5, 0.25, 0.25])) == 0.75
    assert rare_share(n_active, np.zeros(5)) is None


def test_silent_features_are_never_specialised() -> None:
    rule = published_rule(np.zeros((20, 3), np.float32), np.ones((20, 9), bool), CRITERIA.published)
    assert not rule.n_active.any()
    assert not rule.found[""].any()
    assert not rule.chance[""].any()


@pytest.mark.parametrize("n_held_out", [0, N_TRAIN + N_HELD_OUT])
def test_empty_split_is_refused(capture: Path, n_held_out: int) -> None:
    with pytest.raises(SaeflowError) as caught:
        sweep(capture, n_held_out=n_held_out)
    check_sentence(caught.value, "data set d", f"{n_held_out} in the split validation")


def test_dictionary_that_is_not_trained_is_refused(capture: Path) -> None:
    problems = problem_table()
    fixed = DictionarySettings(dataset="d", d_sae=None, control="pca", k=4)
    with pytest.raises(SaeflowError) as caught:
        sweep_table(capture, problems, cot_token_table(problems), fixed, CRITERIA, RUN, CPU)
    check_sentence(caught.value, "control pca")


def test_step_that_was_not_captured_is_refused(capture: Path) -> None:
    with pytest.raises(SaeflowError):
        sweep(capture, with_sweep(step=5))
