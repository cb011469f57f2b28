"""The README's figures about wide SAEs are those of the default run."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from tests.workflow.readme import line_of, said, table_of

MAIN, FORMS = (
    "llama_wide",
    ("top k", "the same with a frozen decoder", "the study's own, its bug included"),
)
DICTIONARIES = (MAIN, "llama_wide_frozen_decoder", "llama_wide_published")
COLUMNS = (
    ("validation", "l0_mean", 1, 25),
    ("validation", "fvu", 1, 0.02),
    ("validation", "ce_recovered_zero", 100, 1.5),
    ("validation", "ce_recovered_mean", 100, 1.5),
    ("all", "dead_share", 100, 1.5),
)
"""Split, metric, unit, and by how much another processor's SAEs may differ."""
AREAS = {
    "the topic's feature": "none",
    "best feature with a frozen decoder": "frozen_decoder",
    "best feature of the untrained model's SAE": "untrained",
    "difference of mean activations, without an SAE": "difference_of_means",
    "words, without a model": "words",
}
DIRECTIONS = {
    "a random direction": "random_direction",
    "another feature that fires as often": "random_feature",
    "`b_dec`, which the study added to every feature": "decoder_bias",
    "the difference of mean activations": "difference_of_means",
}
SCORES = ("class_probability_slope", "lexicon_share_slope")


def numbers(row: str) -> list[float]:
    cells = line_of(row).split("|")[2:-1]
    return [float(re.findall(r"-?\d+(?:\.\d+)?", cell)[0]) for cell in cells]


def quality(dictionary: str, split: str, metric: str) -> pd.Series:
    rows = table_of("scaling/llama/quality.parquet")
    own = (rows["dictionary"] == dictionary) & (rows["split"] == split)
    found = rows[own & (rows["metric"] == metric) & (rows["control"] != "random_directions")]
    return found["value"]


@pytest.mark.parametrize(("row", "dictionary"), list(zip(FORMS, DICTIONARIES, strict=True)))
def test_how_well_saes_reconstruct(row: str, dictionary: str) -> None:
    for told, (split, metric, unit, near) in zip(numbers(row), COLUMNS, strict=True):
        values = quality(dictionary, split, metric)
        assert len(values) == 2, "two seeds"
        assert told == pytest.approx(unit * values.mean(), abs=near), metric


def test_what_the_default_run_must_show_of_its_wide_sae() -> None:
    assert (quality(MAIN, "validation", "ce_recovered_mean") >= 0.9).all()
    assert (quality(MAIN, "validation", "ce_recovered_zero") >= 0.9).all()
    assert (quality(MAIN, "all", "dead_share") <= 0.1).all()
    assert quality(DICTIONARIES[2], "validation", "l0_mean").min() > 128, "more than dimensions"
    (latents, dimensions) = said(r"Ours has ([\d,]+) latents for (\d+) dimensions")
    features = table_of("scaling/llama/features.parquet")
    assert features["feature"].nunique() == latents
    assert dimensions == 128


def test_features_that_return_under_another_seed() -> None:
    (told,) = said(r"([\d.]+) % of the features of one seed return")
    (value,) = quality(MAIN, "all", "returning_share")
    assert told == pytest.approx(100 * value, abs=1)


def areas(control: str) -> pd.Series:
    rows = table_of("scaling/llama/search.parquet")
    rows = rows[(rows["mode"] == "calibrated") & (rows["level"] == "document_mean")]
    rows = rows[(rows["place"] == 1) & (rows["control"] == control)]
    assert len(rows) == 8, "one of each topic"
    return rows.set_index("prompts")["value"]


@pytest.mark.parametrize("row", AREAS)
def test_areas_on_prompts_that_did_not_choose(row: str) -> None:
    found = areas(AREAS[row])
    mean, smallest = numbers(row)
    assert mean == pytest.approx(found.mean(), abs=0.04)
    assert smallest == pytest.approx(found.min(), abs=0.15)


def test_topics_are_found_and_more_than_without_training() -> None:
    # Another processor's SAE may find one topic less well.
    assert (areas("none") >= 0.9).sum() >= 7
    assert areas("none").mean() > areas("untrained").mean() + 0.1
    assert areas("words").min() == 1


def slopes(score: str, control: str) -> pd.DataFrame:
    rows = table_of("scaling/llama/steering.parquet")
    rows = rows[
        rows["dose"].isna() & (rows["direction"] == "feature") & (rows["control"] == control)
    ]
    found = rows[(rows["mode"] == "calibrated") & (rows["metric"] == score)]
    assert len(found) == 8
    return found


@pytest.mark.parametrize("row", DIRECTIONS)
def test_topics_that_steering_turns_to(row: str) -> None:
    for told, score in zip(numbers(row), SCORES, strict=True):
        found = slopes(score, DIRECTIONS[row])
        rises = ((found["value"] > 0) & (found["p_holm"] <= 0.05)).sum()
        assert rises == pytest.approx(told, abs=2)


def test_scores_rise_over_doses() -> None:
    told = said(
        r"over doses from 0.5 to 8 the score of (\d+) topics rises by a classifier, and of (\d+)"
    )
    for count, score in zip(told, SCORES, strict=True):
        found = slopes(score, "none")
        rises = ((found["value"] > 0) & (found["p_holm"] <= 0.05)).sum()
        assert rises == pytest.approx(count, abs=2)
    rows = table_of("scaling/llama/steering.parquet")
    rows = rows[(rows["mode"] == "calibrated") & (rows["metric"] == "log_perplexity")]
    prices = rows.groupby(["direction", "dose"])["value"].mean()
    assert sorted(rows["dose"].unique()) == [0, 0.5, 1, 2, 4, 8]
    for direction in ("feature", *DIRECTIONS.values()):
        assert prices[direction, 4.0] > 3 * prices["none", 0.0], "texts fall apart"


def test_the_difference_of_means_steers_further() -> None:
    told = said(r"The difference of means beats the feature in (\d+) and (\d+) of them")
    for count, score in zip(told, SCORES, strict=True):
        found = slopes(score, "difference_of_means")
        falls = ((found["value"] < 0) & (found["p_holm"] <= 0.05)).sum()
        assert falls == pytest.approx(count, abs=3)
    prompts = table_of("scaling/llama/continuations.parquet")
    prompts = prompts[prompts["mode"] == "calibrated"]["prompt"].nunique()
    assert said(r"they move (\d+) neutral prompts' continuations") == [prompts]


def explained(model: str, method: str, control: str = "none") -> float:
    rows = table_of(f"scaling/{model}/explanation_summary.parquet")
    rows = rows[(rows["metric"] == "balanced_accuracy") & (rows["kind"] == "all")]
    (found,) = rows[(rows["method"] == method) & (rows["control"] == control)]["value"]
    return float(found)


def test_what_explanations_tell() -> None:
    own, swapped, marked, marked_swapped = said(
        r"balanced accuracy of ([\d.]+) \(another feature's explanation: ([\d.]+); .*?\), and "
        r"([\d.]+) where tokens are marked \(([\d.]+)\)"
    )
    untrained = said(r"are explained nearly as well: ([\d.]+) and ([\d.]+)\.")
    for told, value in (
        (own, explained("llama", "detection")),
        (swapped, explained("llama", "detection", "swapped")),
        (marked, explained("llama", "fuzzing")),
        (marked_swapped, explained("llama", "fuzzing", "swapped")),
        (untrained[0], explained("llama_untrained", "detection")),
        (untrained[1], explained("llama_untrained", "fuzzing")),
    ):
        assert told == pytest.approx(value, abs=0.05)
    assert explained("llama", "detection") > explained("llama", "detection", "swapped") + 0.05
