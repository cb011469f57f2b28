"""Sentences about specialists find their numbers in tables that the study makes, and are judged by them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow.config.specialists import (
    AblationSettings,
    AlignmentSettings,
    DiscoverySettings,
    PoolSettings,
    TaskSettings,
)
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.specialists import ablating, answering
from saeflow.studies.specialists.ablated import AblationTrials, Effects
from saeflow.studies.specialists.ablation_prompts import Prompt
from saeflow.studies.specialists.alignment import Side, align_models
from saeflow.studies.specialists.behaviour import SpecialistFeature
from saeflow.studies.specialists.chosen import Chosen
from saeflow.studies.specialists.claims import judge_claims
from saeflow.studies.specialists.names import CONTROLS, RANDOM_FEATURE, ZERO
from saeflow.studies.specialists.published_claims import ENCODED_FIRST, MEAN_FIRST, PUBLISHED
from saeflow.studies.specialists.summary import analyse_bank, analyse_words
from saeflow.studies.specialists.texts import StudyTexts
from tests.planted_study import QUICK, TOPICS, planted_study, pooled_of
from tests.planted_texts import FORM, PAIR, TOPIC
from tests.small_models import small_model

RUN = {"dictionary": "tokens", "seed": 0}
BOTH = PoolSettings(poolings=(MEAN_FIRST, ENCODED_FIRST))
SETTINGS = QUICK.model_copy(update={"pooling": BOTH})
SAID = {each.claim: each for each in PUBLISHED}
FEATURE_PARTS = {"discovery", "overlap", "geometry", "variance"}
Row = dict[str, Any]


def judged(numbers: Iterable[Row] = (), *, own_weights: str = "", **tables: Any) -> dict[str, Row]:
    given = {"behaviour": [], "effects": [], "alignment": [], "pair": None} | tables
    found = judge_claims(numbers, **given, own_weights=own_weights)
    return {each["claim"]: each for each in found.to_pylist()}


def pooled(first: np.ndarray, last: np.ndarray) -> Any:
    """Features at blocks 0 and 3, the same by both poolings and in both modes."""
    return pooled_of(
        {
            (mode, layer, pooling): values
            for mode in ("published", "calibrated")
            for layer, values in ((0, first), (3, last))
            for pooling in BOTH.poolings
        }
    )


@cache
def tables(kinds: tuple[str, ...], *, early: bool = False) -> list[Row]:
    """Numbers of a study with features of `kinds` at its last block, and at the first if `early`."""
    texts, values = planted_study(kinds, n_pairs=12)
    _, noise = planted_study(seed=4, n_pairs=12)
    # One feature of a form would be lost among 20.
    published = DiscoverySettings(top_means=2)
    found = analyse_bank(
        texts, pooled(values if early else noise, values), published, SETTINGS, RUN
    )
    rows = [*analyse_words(texts, SETTINGS).numbers.to_pylist(), *found.numbers.to_pylist()]
    # Both modes have the same features here.
    halves = [row for row in rows if row["metric"] in ("rule_half_a", "rule_half_b")]
    return [*rows, *(row | {"mode": "published"} for row in halves)]


@cache
def verdicts(kinds: tuple[str, ...], *, early: bool = False) -> dict[str, Row]:
    return judged(tables(kinds, early=early))


def test_sentences_about_features_find_their_numbers() -> None:
    found = verdicts((FORM, TOPIC))
    missing = {f"overlap_{topic.lower()}" for topic in ("Non_English", "Formal", "Conversational")}
    for said in PUBLISHED:
        wanted = said.found or said.by_procedure
        if wanted is None or wanted.part not in FEATURE_PARTS or said.claim in missing:
            continue
        row = found[said.claim]
        if said.found is not None:
            values = row["value"], row["analogue_value"]
            assert values.count(None) == 1, said.claim
            assert row["layer"] == (None if wanted.layer is None else 3 * round(wanted.layer))
        if said.by_procedure is not None:
            assert row["published_value"] is not None, said.claim
        if said.null is not None or said.fixed is not None:
            assert row["null"] is not None, said.claim
    assert all(found[claim]["analogue_value"] is None for claim in missing)
    assert {SAID[f"overlap_{topic.lower()}"].claim for topic in TOPICS} - missing


def test_features_of_forms_and_topics_are_told_apart() -> None:
    forms, topics, nothing = (verdicts(kinds) for kinds in ((FORM,), (TOPIC,), ()))
    for found in (forms, topics):
        assert found["rule_finds_forms"]["verdict"] == "supported"
    # Three of three may be a coin's.
    assert forms["rule_finds_categories"]["verdict"] == "not distinguishable from chance"
    assert forms["rule_finds_categories"]["published_value"] == 3
    assert forms["specialists_of_forms"]["verdict"] == "supported"
    assert topics["specialists_of_forms"]["verdict"] == "contradicted"
    assert forms["forms_share_few"]["verdict"] == "supported"
    assert topics["forms_share_few"]["verdict"] == "contradicted"
    assert topics["topics_cluster"]["verdict"] == "supported"
    assert forms["topics_cluster"]["verdict"] == "not distinguishable from chance"
    for claim in ("rule_finds_forms", "specialists_of_forms", "topics_cluster", "depth"):
        assert nothing[claim]["verdict"] == "not distinguishable from chance", claim


def test_features_of_single_pairs_are_no_specialists() -> None:
    assert verdicts((PAIR,))["rule_finds_forms"]["verdict"] != "supported"


def test_depth_needs_an_early_block_without_specialists() -> None:
    assert verdicts((FORM,))["depth"]["verdict"] == "supported"
    assert verdicts((FORM,), early=True)["depth"]["verdict"] == "contradicted"
    found = verdicts((FORM,))["depth"]
    areas = {
        (row["group"], row["layer"]): row["value"]
        for row in tables((FORM,))
        if row["metric"] == "auroc"
        and (row["control"], row["pooling"]) == ("none", ENCODED_FIRST)
        and row["group"].startswith("categories, ")
    }
    grown = [areas[name, 3] - areas[name, 0] for name, layer in areas if layer == 3]
    assert len(grown) == 3
    assert found["value"] == pytest.approx(np.mean(grown))


def test_overlap_below_half_of_its_ceiling_is_a_mean_over_pairs_of_forms() -> None:
    rows = [
        row
        for row in tables((FORM,))
        if row["metric"] == "jaccard_halves" and " ~ " in row["group"]
        if (row["layer"], row["pooling"]) == (3, ENCODED_FIRST)
    ]
    by_control = {
        control: {row["group"]: row["value"] for row in rows if row["control"] == control}
        for control in ("none", "split_half_ceiling")
    }
    less = [
        value - by_control["split_half_ceiling"][name] / 2
        for name, value in by_control["none"].items()
    ]
    found = verdicts((FORM,))
    assert found["forms_share_few"]["value"] == pytest.approx(np.mean(less))
    ceiling = list(by_control["split_half_ceiling"].values())
    assert found["ceiling_below_one"]["value"] == pytest.approx(np.mean(ceiling))


def test_words_that_name_topics_cluster_without_a_model() -> None:
    plain, _ = planted_study(n_pairs=12)
    named, _ = planted_study(words=("topic",), n_pairs=12)
    for texts, expected in ((plain, False), (named, True)):
        found = judged(analyse_words(texts, SETTINGS).numbers.to_pylist())
        for claim in ("words_cluster", "trigrams_cluster"):
            assert (found[claim]["verdict"] == "supported") == expected


def test_sparsity_is_compared_between_models() -> None:
    texts, values = planted_study((FORM,))
    alone = StudyTexts(texts.pairs)
    values = values[: len(texts.pairs)]
    rng = np.random.default_rng(0)
    sides = [
        Side(name, "tokens", 0, pooled(*(values * (rng.random(values.shape) < 0.8),) * 2))
        for name in ("one", "two")
    ]
    settings = AlignmentSettings(permutations=19, neighbour_permutations=19)
    table = align_models(*sides, alone, settings)
    found = judged(alignment=table.to_pylist(), pair=("one", "two"))["sparsity"]
    assert found["analogue_value"] is not None
    assert found["published_value"] is not None
    assert found["layer"] == 3


N_ITEMS = 40
# Of fewer topics nothing can be said: they are what is resampled and permuted.
OWN_TOPICS = ("Math_Simple", "Python", "Social", "Formal", "Non_English")
CLASSES = [(topic, f"form {block}") for block in (0, 2) for topic in OWN_TOPICS]
CHOSEN = [
    Chosen(SpecialistFeature(int(name[1][-1]), place, *name), 0.6 + 0.03 * place)
    for place, name in enumerate(CLASSES)
]


def behaviour_table(sign: float) -> list[Row]:
    """Activations that go with margins of cloze lines, or against them, and not with choices."""
    rng = np.random.default_rng(1)
    margin = rng.normal(size=2 * N_ITEMS)
    told = np.concatenate([margin[:N_ITEMS], rng.normal(size=N_ITEMS)])
    activations = sign * told[:, None] + 0.3 * rng.normal(size=(2 * N_ITEMS, len(CHOSEN)))
    tasks = {
        "part": ["cloze"] * N_ITEMS + ["choices"] * N_ITEMS,
        "group": ["arithmetic"] * N_ITEMS + ["other"] * N_ITEMS,
        "item": list(range(N_ITEMS)) * 2,
        "margin": margin.tolist(),
        "correct": (margin > 0).tolist(),
        "log_probability": (margin - 3).tolist(),
        **{name: [1] * 2 * N_ITEMS for name in ("prompt_tokens", "target_tokens")},
        "log_frequency": [0.0] * 2 * N_ITEMS,
    }
    others = {layer: rng.normal(size=(2 * N_ITEMS, 50)) for layer in (0, 2)}
    settings = TaskSettings(permutations=399)

    rows = answering._task_rows(pa.table(tasks), activations, CHOSEN, others, settings)
    return [{**RUN, **row} for row in rows]


@pytest.mark.parametrize(
    ("sign", "cloze", "correlation"),
    [
        (1.0, "supported", "supported"),
        (-1.0, "contradicted", "contradicted"),
        (0.0, "not distinguishable from chance", "not distinguishable from chance"),
    ],
)
def test_behaviour_is_counted_over_specialists(sign: float, cloze: str, correlation: str) -> None:
    rows = behaviour_table(sign)
    found = judged(anchor(), behaviour=rows, own_weights="gpt2")
    assert found["cloze"]["verdict"] == cloze
    assert found["cloze_correlation"]["verdict"] == correlation
    # Choices are answered without any specialist.
    assert found["scored_answers"]["published_value"] < 0.5
    assert np.sign(found["cloze_correlation"]["published_value"]) == sign or not sign
    assert found["cloze"]["published_value"] == pytest.approx(max(sign, 0))
    mine = [row for row in rows if (row["group"], row["outcome"]) == ("cloze arithmetic", "margin")]
    assert len(mine) == len(CHOSEN)
    counted = [row["q_value"] <= 0.05 and row["value"] > 0 for row in mine]
    assert found["cloze"]["value"] == pytest.approx(np.mean(counted))
    assert found["cloze_correlation"]["value"] == pytest.approx(
        np.mean([row["value"] for row in mine])
    )


def anchor() -> list[Row]:
    """A number of the bank, which says which one is read."""
    return [row for row in tables(()) if row["dictionary"]][:1]


def effect_tables(
    change: float, flip: float, monkeypatch: pytest.MonkeyPatch, causal: float = 0.0
) -> tuple[list[Row], list[Row]]:
    """Ablations that change log-probabilities on texts of a specialist's own topic by so much."""
    prompts = [Prompt((1,), (), (topic, n), topic) for topic in OWN_TOPICS for n in range(20)]
    own = np.array([[topic == each.group for each in prompts] for topic, _ in CLASSES])

    def trials(*_: Any, **__: Any) -> AblationTrials:
        rng = np.random.default_rng(2)
        noise = 0.1 * rng.normal(size=(2, *own.shape))
        steps = change - causal * np.arange(len(CLASSES))[:, None]
        changes = noise[0] + own * steps
        flips = (rng.random(own.shape) < flip).astype(float)
        effects = {
            name: Effects(noise[1], abs(noise[1]), 0 * flips, 0 * flips) for name in CONTROLS
        }
        zero = Effects(changes, abs(changes), flips, flips)
        likely = np.full(len(prompts), -2.0)
        specialists = tuple(each.specialist for each in CHOSEN)
        return AblationTrials(
            specialists, {**effects, ZERO: zero}, np.ones(own.shape), likely, likely + 3
        )

    monkeypatch.setattr(ablating, "ablation_trials", trials)
    monkeypatch.setattr(ablating, "mean_features", lambda *_, **__: {})
    settings = AblationSettings(permutations=999)
    model, zeros = small_model("gpt2"), torch.zeros(1, 4, 4)
    bank = Bank(
        Recipe("topk", 4, 1, hook="resid_post"), (Site(0),), zeros, zeros[:, 0], zeros, zeros[:, 0]
    )
    found = ablating.ablate_specialists(
        model, bank, {"texts": prompts}, CHOSEN, [], settings, batch_size=4
    )
    return [{**RUN, **row} for row in found.effects], [{**RUN, **row} for row in found.numbers]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (-1.0, "supported"),
        (1.0, "contradicted"),
        (0.0, "not distinguishable from chance"),
    ],
)
def test_cells_are_counted_on_own_topics_beyond_random_features(
    change: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects, numbers = effect_tables(change, 0.0, monkeypatch)
    found = judged(numbers, effects=effects, own_weights="gpt2")
    assert found["ablations"]["verdict"] == expected
    mine = [
        row
        for row in effects
        if row["class"].startswith(row["group"])
        and (row["mode"], row["condition"], row["control"], row["metric"])
        == ("calibrated", ZERO, RANDOM_FEATURE, "log_probability")
    ]
    assert len(mine) == len(CLASSES)
    counted = [row["q_value"] <= 0.05 and row["value"] < 0 for row in mine]
    assert found["ablations"]["value"] == pytest.approx(np.mean(counted))
    assert found["ablations"]["published_value"] is not None
    for claim in ("cascade", "signal_to_noise_resilience", "signal_to_noise_effect"):
        assert found[claim]["analogue_value"] is not None, claim
        assert found[claim]["verdict"] == "not testable in this run"


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, "supported"), (0.5, "contradicted"), (0.04, "not distinguishable from chance")],
)
def test_flips_are_those_of_all_cells(
    rate: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects, numbers = effect_tables(-1.0, rate, monkeypatch)
    found = judged(numbers, effects=effects, own_weights="gpt2")["flips"]
    assert found["verdict"] == expected
    rates = [
        row["value"]
        for row in effects
        if row["class"].startswith(row["group"])
        and (row["mode"], row["condition"], row["metric"]) == ("published", ZERO, "flip")
    ]
    assert found["published_value"] == max(rates)
    assert found["value"] == pytest.approx(np.mean(rates))
    assert found["null"] == 0.0


@pytest.mark.parametrize(("causal", "expected"), [(0.5, "contradicted"), (-0.5, "supported")])
def test_selective_specialists_that_harm_more_matter_more(
    causal: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Areas grow with the place of a specialist; so does what ablating it takes away, or less."""
    effects, numbers = effect_tables(-3.0, 0.0, monkeypatch, causal)
    found = judged(numbers, effects=effects, own_weights="gpt2")["selective_is_not_causal"]
    assert found["verdict"] == expected
    assert np.sign(found["value"]) == np.sign(found["published_value"]) == np.sign(causal)
