"""Search of features from prompts: what is planted is found, what is noise is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csc_array
from scipy.stats import kstest, mannwhitneyu

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.scaling_search import SEARCH_ARTIFACTS
from saeflow.artifacts.tables import write_table
from saeflow.config.scaling_search import Level, SearchSettings
from saeflow.datasets.prompt_sets import PromptSides
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.tokens import encode_texts
from saeflow.seeds import numpy_generator
from saeflow.studies.scaling.prompt_reading import (
    PromptReading,
    corpus_factor,
    input_factor,
    observations,
    read_corpus,
    read_prompts,
    unscaled_values,
)
from saeflow.studies.scaling.search import Read, search_features, search_prompts
from saeflow.studies.scaling.search_baselines import (
    baseline_observations,
    difference_of_means,
    word_weights,
)
from saeflow.studies.scaling.search_calibrated import split_halves, too_few
from saeflow.studies.scaling.search_published import published_scores
from tests.search_cases import D_SAE, PLANTED, reading_of, sides_of
from tests.sentences import check_sentence
from tests.small_models import small_model
from tests.unit.test_saes_bank import random_bank

RUN = {"dictionary": "wide", "seed": 0}
LEVELS: tuple[Level, ...] = ("document_max", "document_mean", "token")
PROMPTS = ("A fever", "x", "The doctor saw a rash, and wrote it down: ünïcode.", "Ill", "He sang.",
           "y", "The band of nine went on to play its last song of the night.", "Rock", "a b c d",
           "drums")  # fmt: skip


def settings_of(**changes: Any) -> SearchSettings:
    return SearchSettings.model_validate({"top": 3, "bootstrap": 50, "permutations": 199} | changes)


def searched(
    sides: PromptSides, reading: PromptReading, settings: SearchSettings, **given: Any
) -> tuple[list[dict[str, Any]], ...]:
    return search_prompts(Read("set", sides, reading, None), settings, RUN, **given)


def calibrated(rows: list[dict[str, Any]], control: str = "none") -> list[dict[str, Any]]:
    return [row for row in rows if row["mode"] == "calibrated" and row["control"] == control]


def test_planted_feature_is_found_at_every_level() -> None:
    sides = sides_of(16, 16)
    reading = reading_of(sides, planted=3.0)
    rows, targets, prompts = searched(sides, reading, settings_of(targets=[PLANTED, 0]))
    halves = np.array([row["half"] for row in prompts])
    for level in LEVELS:
        best, *others = (row for row in calibrated(rows) if row["level"] == level)
        assert (best["feature"], best["place"]) == (PLANTED, 1)
        assert best["value"] > (0.75 if level == "token" else 0.95)
        assert best["p_holm"] < 0.05
        assert best["best_p_value"] <= 0.05
        assert best["value_chosen"] >= best["threshold"]
        assert best["stability"] > 0.8
        assert best["n_positive"] == (halves[:16] == "B").sum()
        assert all(row["p_holm"] > 0.05 for row in others)
        # Half B's area is that of half B alone.
        found = observations(reading.values, reading.prompt, level)
        column = found.values[:, [PLANTED]].toarray()[:, 0]
        on_b = halves[found.prompt] == "B"
        one, two = (column[on_b & side] for side in (found.prompt < 16, found.prompt >= 16))
        area = mannwhitneyu(one, two).statistic / (len(one) * len(two))
        assert best["value"] == pytest.approx(area)
        areas = [row for row in targets if (row["level"], row["score"]) == (level, "auroc")]
        known = {row["feature"]: row for row in areas}
        assert known[PLANTED]["position"] == 1
        assert (known[0]["value"], known[0]["n_features"]) == (0.5, D_SAE)
    published = [row for row in targets if row["mode"] == "published"]
    assert {row["score"] for row in published} == {"local_min_max", "rank"}


def test_noise_is_chosen_and_told_to_be_noise() -> None:
    on_b, best, chosen, areas = [], [], [], []
    for seed in range(60):
        sides = sides_of(10, 10)
        settings = settings_of(seed=seed, levels=["token"], top=1, bootstrap=0, permutations=99)
        rows, _, _ = searched(sides, reading_of(sides, 100 + seed), settings)
        (row,) = calibrated(rows)
        on_b.append(row["p_value"])
        best.append(row["best_p_value"])
        chosen.append(row["value_chosen"])
        areas.append(row["value"])
        assert row["stability"] is None
    # What was chosen looks good where it was chosen, and is nothing elsewhere.
    assert np.mean(chosen) > 0.6
    assert abs(np.mean(areas) - 0.5) < 0.05
    for p_values in (on_b, best):
        assert kstest(p_values, "uniform").pvalue > 0.01


def test_baselines_stand_beside() -> None:
    sides = sides_of(12, 12)
    reading = reading_of(sides, planted=3.0)
    control = reading_of(sides, seed=9)
    rows, _, _ = searched(sides, reading, settings_of(), controls={"untrained": control})
    for level in LEVELS:
        found = {row["control"]: row for row in rows
                 if (row["level"], row["mode"], row["place"]) == (level, "calibrated", 1)}  # fmt: skip
        assert set(found) == {"none", "difference_of_means", "words", "length", "untrained"}
        assert found["difference_of_means"]["value"] > 0.9
        # Of two words each one is of its prompt alone and says nothing on half B: words tie with those
        # of the other side in one comparison of four.
        assert found["words"]["value"] == pytest.approx(0.875 if level == "token" else 1)
        assert found["length"]["value"] < 0.9
        assert found["untrained"]["feature"] >= 0
        assert found["untrained"]["value"] < found["none"]["value"] or level == "token"
        for name in ("difference_of_means", "words", "length"):
            assert (found[name]["feature"], found[name]["tokens"]) == (-1, [])


def test_baselines_see_half_a_alone() -> None:
    prompts = ["fever rash", "fever ill", "drum fever", "song band", "song", "rash rash"]
    positive = np.array([True, True, True, False, False, False])
    half_a = np.array([True, True, False, True, True, False])
    weights = word_weights(prompts, positive, half_a)
    # Fever: 2 of 2 and 0 of 2: log (2.5 / ½) - log (½ / 2.5); rash: 1 and 0 of 2.
    assert weights["fever"] == pytest.approx(np.log(25))
    assert weights["rash"] == pytest.approx(np.log(1.5 / 1.5) - np.log(0.5 / 2.5))
    assert weights["song"] == pytest.approx(-np.log(25))
    assert "drum" not in weights
    reading = reading_of(PromptSides(tuple(prompts[:3]), tuple(prompts[3:])), planted=2.0)
    direction = difference_of_means(reading, positive, half_a)
    means = np.array([reading.activations[reading.prompt == each].mean(0) for each in range(6)])
    np.testing.assert_allclose(direction, means[:2].mean(0) - means[3:5].mean(0), rtol=1e-5)
    found = dict(baseline_observations(reading, prompts, positive, half_a, "document_mean"))
    np.testing.assert_allclose(
        found["difference_of_means"].values.toarray()[:, 0], means @ direction, rtol=1e-4
    )
    words = found["words"].values.toarray()[:, 0]
    assert words[5] == pytest.approx(weights["rash"])
    assert words[0] == pytest.approx(weights["rash"] + weights["fever"])
    tokens = dict(baseline_observations(reading, ["", *prompts[1:]], positive, half_a, "token"))
    assert tokens["words"].prompt.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 5, 5]


@pytest.mark.parametrize("level", LEVELS)
def test_prompts_are_pooled_as_a_slow_loop_does(level: Level) -> None:
    rng = np.random.default_rng(1)
    prompt = np.repeat(np.arange(5), [1, 4, 2, 1, 3])
    values = rng.normal(size=(11, 8)) * (rng.random((11, 8)) < 0.5)
    values[:, 3] = 0
    found = observations(csc_array(values.astype(np.float32)), prompt, level)
    if level == "token":
        np.testing.assert_allclose(found.values.toarray(), values.astype(np.float32))
        return
    reduce = np.max if level == "document_max" else np.mean
    expected = [reduce(values[prompt == each], axis=0) for each in range(5)]
    np.testing.assert_allclose(found.values.toarray(), expected, rtol=1e-6)
    empty = observations(csc_array((11, 8), dtype=np.float32), prompt, level)
    assert empty.values.shape == (5, 8)
    assert empty.values.nnz == 0


def test_halves_hold_each_side_and_equal_prompts_together() -> None:
    for seed in range(40):
        sides = PromptSides(("a", "B", "c", "d", "b ", "A"), ("e", "f", "g", "h", "i"))
        halves = split_halves(sides, numpy_generator(seed))
        half = dict(zip(sides.prompts, halves.half_a.tolist(), strict=True))
        assert half["a"] == half["A"]
        assert half["B"] == half["b "]
        assert halves.positive.sum() == 6
        for side in (halves.positive, ~halves.positive):
            assert side[halves.half_a].sum() >= 1
            assert side[~halves.half_a].sum() >= 1
    first = split_halves(sides_of(9, 7), numpy_generator(1))
    second = split_halves(sides_of(9, 7), numpy_generator(1))
    np.testing.assert_array_equal(first.half_a, second.half_a)
    assert min(first.half_a[:9].sum(), 9 - first.half_a[:9].sum()) == 4


@pytest.mark.parametrize("counts", [(3, 9), (9, 3), (5, 0)])
def test_nothing_is_held_out_of_too_few(counts: tuple[int, int]) -> None:
    sides = sides_of(*counts)
    reason = too_few(sides)
    assert reason is not None
    check_sentence(SaeflowError(reason), "too few to hold any out", str(counts[0]), str(counts[1]))
    with pytest.raises(SaeflowError, match="too few to hold any out"):
        split_halves(sides, numpy_generator(0))
    rows, targets, prompts = searched(sides, reading_of(sides), settings_of(targets=[2]))
    assert {row["mode"] for row in rows} == {"published"}
    assert {row["half"] for row in prompts} == {"none"}
    assert all(row[name] is None for row in rows for name in ("value", "p_value", "stability"))
    # A target was named before the search, so it may be read on all prompts; not without negatives.
    assert ("calibrated" in {row["mode"] for row in targets}) == (counts[1] > 0)


def test_prompts_of_one_token_and_features_that_do_not_vary() -> None:
    sides = sides_of(8, 8)
    reading = reading_of(sides, planted=2.0, tokens=(1, 2))
    rows, _, _ = searched(sides, reading, settings_of(top=2))
    areas = [
        [
            (row["feature"], row["value"], row["p_value"])
            for row in calibrated(rows)
            if row["level"] == level
        ]
        for level in LEVELS
    ]
    # Of one token all levels are the same.
    assert areas[0] == areas[1] == areas[2]
    assert areas[0][0][:2] == (PLANTED, 1.0)
    flat = csc_array(np.ones((reading.values.shape[0], 4), np.float32))
    silent = csc_array(flat.shape, dtype=np.float32)
    for values in (flat, silent):
        still = PromptReading(
            values, reading.prompt, reading.position, reading.shown, reading.activations
        )
        found, _, _ = searched(sides, still, settings_of(top=2))
        for row in calibrated(found):
            assert (row["value"], row["p_value"], row["best_p_value"]) == (0.5, 1, 1)
            assert row["stability"] == pytest.approx(0.5)


def test_published_scores_cut_prompts_and_list_their_tokens() -> None:
    sides = sides_of(4, 4)
    reading = reading_of(sides, planted=3.0, tokens=(3, 9))
    settings = settings_of(published={"max_tokens": 4, "inputs": ["scaled"]})
    rows, _, _ = searched(sides, reading, settings)
    # Positions are counted from the token before the text, so three tokens of each prompt are left.
    kept = reading.position < 4
    assert np.bincount(reading.prompt[kept]).tolist() == [3] * 8
    expected = published_scores(csc_array(reading.values[kept]), reading.prompt[kept] < 4, top=3)
    listed = [row for row in rows if row["mode"] == "published"]
    assert len(listed) == 6
    for row in listed:
        assert row["value_chosen"] == pytest.approx(expected[row["score"]][row["feature"]])
    column = reading.values[:, [PLANTED]].toarray()[:, 0]
    shown = next(row for row in rows if row["feature"] == PLANTED)
    assert shown["activations"][0] == pytest.approx(column.max())
    assert len(set(shown["tokens"])) == len(shown["tokens"]) <= 5
    assert shown["activations"] == sorted(shown["activations"], reverse=True)


@pytest.fixture(scope="module")
def model(one_thread: None) -> CodiModel:
    return small_model("llama")


@pytest.fixture(scope="module")
def bank() -> Bank:
    raw = random_bank("topk", k=4, d_in=16, d_sae=48)
    weights = {name: each[:1] for name, each in raw.weights.items()}
    return Bank(Recipe("topk", 48, 4, hook="resid_post"), (Site(1),), **weights)


def test_prompts_are_read_whole_in_any_batches(model: CodiModel, bank: Bank) -> None:
    found = read_prompts(model, bank, PROMPTS, batch_size=3)
    other = read_prompts(model, bank, PROMPTS, batch_size=32)
    assert found.shown == other.shown
    np.testing.assert_array_equal(found.prompt, other.prompt)
    np.testing.assert_allclose(found.values.toarray(), other.values.toarray(), atol=1e-4)
    assert (np.diff(found.prompt) >= 0).all()
    for number, prompt in enumerate(PROMPTS):
        own = found.prompt == number
        (alone,) = encode_texts(model, bank, [prompt])
        kept = ~alone.begin
        np.testing.assert_allclose(
            found.values[own].toarray(), alone.features[1][kept].numpy(), atol=1e-4
        )
        np.testing.assert_array_equal(found.position[own], alone.position[kept].numpy())
        np.testing.assert_allclose(
            found.activations[own], alone.activations[1][kept].numpy(), atol=1e-4
        )
        assert len(found.shown) == len(found.prompt)
    x = torch.from_numpy(found.activations)
    raw = unscaled_values(bank, found, 3.0)
    np.testing.assert_allclose(raw.toarray(), bank.encode(x[None] / 3)[0].numpy(), atol=1e-5)
    scale = input_factor([found.activations])
    assert np.mean((found.activations * scale) ** 2) == pytest.approx(1)
    assert corpus_factor(model, bank, PROMPTS, batch_size=2) == pytest.approx(scale)
    corpus = read_corpus(model, bank, PROMPTS, factor=3.0, batch_size=2)
    np.testing.assert_allclose(corpus.mean, raw.toarray().mean(0), atol=1e-5)


def test_bank_of_several_sites_and_empty_prompts_are_refused(model: CodiModel, bank: Bank) -> None:
    weights = {name: torch.cat([each, each]) for name, each in bank.weights.items()}
    with pytest.raises(SaeflowError, match="the sites layer1, layer2; expected one"):
        read_prompts(model, Bank(bank.recipe, (Site(1), Site(2)), **weights), PROMPTS)
    with pytest.raises(SaeflowError, match="the prompt '' has no token"):
        read_prompts(model, bank, ["x", ""])
    with pytest.raises(SaeflowError, match="There is no prompt to read"):
        read_prompts(model, bank, [])


def test_tables_of_a_search_fit_their_schemas(model: CodiModel, bank: Bank, tmp_path: Path) -> None:
    sets = {"ill": PromptSides(PROMPTS[:4], PROMPTS[4:]), "few": PromptSides(PROMPTS[:2], ())}
    scores = ["local_min_max", "rank", "z_score", "global_min_max", "percentile"]
    settings = settings_of(targets=[3], published={"scores": scores})
    found = search_features(
        model, bank, sets, settings, RUN, corpus=PROMPTS, controls={"frozen_decoder": (model, bank)}
    )
    for table, artifact in zip(found, SEARCH_ARTIFACTS, strict=True):
        write_table(table, tmp_path / f"{artifact.name}.parquet", artifact, Provenance("c"))
        keys = table.select(list(artifact.keys)).to_pylist()
        assert len({tuple(row.values()) for row in keys}) == len(keys) > 0
    rows = found.features.to_pylist()
    assert {row["inputs"] for row in rows} == {"scaled", "published"}
    assert {row["mode"] for row in rows if row["prompts"] == "few"} == {"published"}
    # The same bank as its own control has the same best feature.
    for level in LEVELS:
        one, two = (
            next(row for row in calibrated(rows, control) if row["level"] == level)
            for control in ("none", "frozen_decoder")
        )
        assert (one["feature"], one["value"]) == (two["feature"], two["value"])
    again = search_features(
        model, bank, sets, settings, RUN, corpus=PROMPTS, controls={"frozen_decoder": (model, bank)}
    )
    assert again.features.equals(found.features)


def test_targets_beyond_the_bank_and_scores_without_a_corpus_are_told(
    model: CodiModel, bank: Bank
) -> None:
    sets = {"ill": PromptSides(PROMPTS[:4], PROMPTS[4:])}
    with pytest.raises(SaeflowError) as caught:
        search_features(model, bank, sets, settings_of(targets=[48]), RUN)
    check_sentence(caught.value, "targets names the feature 48", "0 to 47")
    with pytest.raises(SaeflowError, match="z_score needs what features give on a corpus"):
        search_features(model, bank, sets, settings_of(published={"scores": ["z_score"]}), RUN)
