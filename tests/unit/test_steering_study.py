"""Steering as a study: planted directions rise with the dose, random ones do not, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.scaling_steering import SCALING_CONTINUATIONS, SCALING_STEERING
from saeflow.config.models import PathModel
from saeflow.config.scaling_steering import SteeringSettings
from saeflow.datasets.texts.documents import TOPIC_WORDS, document_texts, neutral_prompts
from saeflow.errors import SaeflowError
from saeflow.interventions.steering import group_means
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import HookedLayer
from saeflow.models.loading import load_model
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.seeds import torch_generator
from saeflow.studies.scaling.steering import (
    BIAS,
    CONTROLS,
    FEATURE,
    MEANS,
    RANDOM_DIRECTION,
    RANDOM_FEATURE,
    FeatureUse,
    calibrated_continuations,
    published_continuations,
)
from saeflow.studies.scaling.steering_summary import (
    COSTS,
    EVERY,
    SCORES,
    slope_weights,
    steering_summary,
)
from saeflow.studies.scaling.topic_scores import TopicScorer, topic_scorer
from tests.small_models import FAMILIES

pytestmark = pytest.mark.usefixtures("one_thread")
KEY = {"dictionary": "wide", "seed": 0}
TOPICS = {"football": 3, "banking": 11}
PLACE = HookedLayer("resid_post", 2)
D_SAE = 64
LENGTH = 100.0
"""About as long as what the reference models carry there."""
SETTINGS = SteeringSettings(
    doses=(0.0, 0.5, 1.0), prompts=12, samples=2, max_new_tokens=6, neighbours=10, permutations=999
)


def words_of(model: CodiModel, topic: str) -> list[int]:
    """Tokens that begin the words of a topic."""
    return [model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0]
            for word in TOPIC_WORDS[topic]]  # fmt: skip


class Planted:
    """A reference model with an SAE whose chosen features write what the output embedding reads."""

    def __init__(self, model: CodiModel) -> None:
        self.model = model
        generator = torch_generator(0, "test", "planted")
        rows = torch.nn.functional.normalize(torch.randn(D_SAE, 128, generator=generator), dim=1)
        head = model.language_model.get_output_embeddings().weight.detach()
        for topic, feature in TOPICS.items():
            own = head[words_of(model, topic)].mean(0)
            others = [head[words_of(model, each)].mean(0) for each in TOPIC_WORDS if each != topic]
            rows[feature] = torch.nn.functional.normalize(own - torch.stack(others).mean(0), dim=0)
        bias = torch.randn(1, 128, generator=generator)
        weights = rows.T[None].contiguous(), torch.zeros(1, D_SAE), 2 * rows[None], bias
        self.sae = Bank(Recipe("topk", D_SAE, 4, hook="resid_post"), (Site(PLACE.layer),), *weights)
        documents = document_texts(seed=0, n_per_topic=20)
        texts, groups = ([getattr(each, name) for each in documents] for name in ("text", "group"))
        self.means = group_means(model, PLACE, texts, groups)
        self.scorer: TopicScorer = topic_scorer(texts, groups, TOPIC_WORDS, list(TOPICS))
        density = np.linspace(0.001, 0.2, D_SAE)
        density[0] = 0.0
        self.use = FeatureUse(density, np.full(D_SAE, LENGTH / 2))
        self.prompts = neutral_prompts(seed=0, n=SETTINGS.prompts)

    def written(self, settings: SteeringSettings = SETTINGS, **changes: Any) -> pa.Table:
        asked = {"features": TOPICS, "prompts": self.prompts, "use": self.use, "sae": self.sae}
        asked |= changes
        return calibrated_continuations(
            self.model, means=self.means, scorer=self.scorer, settings=settings, key=KEY, **asked
        )


@pytest.fixture(scope="module", params=FAMILIES)
def planted(request: pytest.FixtureRequest, root: Path) -> Planted:
    path = str(root / "resources/models" / request.param)
    return Planted(load_model(PathModel(weights="path", path=path)))


@pytest.fixture(scope="module")
def written(planted: Planted) -> pa.Table:
    return planted.written()


def rows_of(table: pa.Table, **named: Any) -> list[dict[str, Any]]:
    rows = table.to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in named.items())]


def test_every_continuation_has_its_row(planted, written):
    assert written.schema.equals(SCALING_CONTINUATIONS.schema())
    rows = written.to_pylist()
    named = {tuple(row[name] for name in SCALING_CONTINUATIONS.keys) for row in rows}
    pairs = SETTINGS.prompts * SETTINGS.samples
    assert len(named) == len(rows) == len(TOPICS) * pairs * (1 + 5 * 2)
    assert {row["direction"] for row in rows} == {"none", FEATURE, *CONTROLS}
    for row in rows:
        assert row["prompt_text"] == planted.prompts[row["prompt"]]
        assert 1 <= row["tokens"] <= SETTINGS.max_new_tokens
        length = row["dose"] * LENGTH
        assert row["added"] == pytest.approx(length, rel=1e-4)
        assert (row["kl"] == 0) == (row["dose"] == 0)


def test_unsteered_texts_are_the_same_for_all_topics_and_scored_for_each(written):
    football, banking = (rows_of(written, topic=topic, direction="none") for topic in TOPICS)
    texts = [
        {(row["prompt"], row["sample"]): row["text"] for row in rows}
        for rows in (football, banking)
    ]
    assert texts[0] == texts[1]
    both = zip(football, banking, strict=True)
    assert any(one["class_probability"] != two["class_probability"] for one, two in both)


def test_random_controls_are_drawn_for_each_prompt_and_are_none_of_the_chosen(planted, written):
    for topic, feature in TOPICS.items():
        drawn: dict[int, set[int]] = {}
        for row in rows_of(written, topic=topic, direction=RANDOM_FEATURE):
            drawn.setdefault(row["prompt"], set()).add(row["feature"])
        assert all(len(each) == 1 for each in drawn.values())
        chosen = {next(iter(each)) for each in drawn.values()}
        assert len(chosen) > 3
        assert not chosen & {0, *TOPICS.values()}
        # Densities rise with the index, and the logarithm is what is near.
        assert max(chosen) <= feature + 13
    for direction in (RANDOM_DIRECTION, BIAS, MEANS):
        assert {row["feature"] for row in rows_of(written, direction=direction)} == {None}


def test_no_continuation_depends_on_the_other_topics_or_the_batch(planted, written):
    alone = planted.written(
        SETTINGS.model_copy(update={"batch_size": 30}), features={"football": TOPICS["football"]}
    )
    names = ("direction", "dose", "prompt", "sample")
    texts = [
        {
            tuple(row[name] for name in names): row["text"]
            for row in rows_of(table, topic="football")
            # Features that were chosen for other topics are left out of the draw.
            if row["direction"] != RANDOM_FEATURE
        }
        for table in (written, alone)
    ]
    assert texts[0] == texts[1]


def test_a_planted_direction_rises_and_random_ones_do_not(written):
    found = steering_summary(written, KEY, permutations=999, seed=0)
    assert found.schema.equals(SCALING_STEERING.schema())
    for topic in TOPICS:
        for score in SCORES:
            metric = f"{score}_slope"
            (own,) = rows_of(found, topic=topic, direction=FEATURE, control="none", metric=metric)
            assert own["value"] > 0.05
            assert own["ci_low"] > 0
            assert own["p_holm"] < 0.05
            assert own["n"] == SETTINGS.prompts
            for control in (RANDOM_FEATURE, RANDOM_DIRECTION, BIAS):
                named = {"topic": topic, "metric": metric}
                (beyond,) = rows_of(found, direction=FEATURE, control=control, **named)
                assert beyond["value"] > 0.05
                assert beyond["p_holm"] < 0.05
                (flat,) = rows_of(found, direction=control, control="none", **named)
                assert flat["value"] < own["ci_low"]
                assert beyond["value"] == pytest.approx(own["value"] - flat["value"])
                assert flat["p_value"] is None


def test_costs_stand_beside_every_dose(written):
    found = steering_summary(written, KEY, permutations=99, seed=0)
    kl = {
        (row["direction"], row["dose"]): row["value"]
        for row in rows_of(found, topic="football", metric="kl")
    }
    assert kl["none", 0.0] == 0
    for direction in (FEATURE, *CONTROLS):
        assert 0 < kl[direction, 0.5] < kl[direction, 1.0]
    for metric in (*SCORES, *COSTS):
        assert len(rows_of(found, metric=metric)) == len(TOPICS) * (1 + 5 * 2)
    texts = rows_of(written, topic="football", direction=FEATURE, dose=1.0)
    (row,) = rows_of(found, topic="football", direction=FEATURE, dose=1.0, metric="distinct_1")
    assert row["value"] == pytest.approx(np.mean([each["distinct_1"] for each in texts]))


def test_the_published_form_shows_what_the_bias_does_alone(planted):
    settings = SETTINGS.model_copy(
        update={
            "published": SETTINGS.published.model_copy(
                update={"multipliers": (0.0, 5.0, 20.0), "max_new_tokens": 8}
            )
        }
    )
    found = published_continuations(
        planted.model, planted.sae, TOPICS, planted.scorer, settings, KEY, scale=2.0
    )
    assert len(found) == len(TOPICS) * (1 + 2 * 2)
    bias = planted.sae.b_dec[0]
    for row in found.to_pylist():
        assert (row["mode"], row["prompt_text"], row["prompt"]) == ("published", "I am a", 0)
        if row["direction"] == BIAS:
            assert row["added"] == pytest.approx(row["dose"] * 2.0 * float(bias.norm()), rel=1e-5)
        if row["direction"] == FEATURE:
            vector = planted.sae.W_dec[0, row["feature"]] + bias
            assert row["added"] == pytest.approx(row["dose"] * 2.0 * float(vector.norm()), rel=1e-5)
    one, other = (rows_of(found, topic=topic, direction=BIAS) for topic in TOPICS)
    assert [row["text"] for row in one] == [row["text"] for row in other]
    summary = steering_summary(found, KEY, permutations=99, seed=0)
    assert not [row for row in summary.to_pylist() if row["dose"] is None]


def test_bad_requests_are_refused(planted):
    with pytest.raises(SaeflowError, match="1 of them different"):
        planted.written(prompts=["a", "a"])
    with pytest.raises(SaeflowError, match="one topic at least"):
        planted.written(features={})
    with pytest.raises(SaeflowError, match="never active"):
        planted.written(use=planted.use._replace(maximum=np.zeros(D_SAE)))
    with pytest.raises(SaeflowError, match="difference of means of 'chess'"):
        planted.written(features={"chess": 4})


def made_up(slopes: dict[tuple[str, str], float], seed: int = 0, prompts: int = 12) -> pa.Table:
    """Continuations whose lexicon share rises as said, with noise; the other score has no topic."""
    rng = np.random.default_rng(seed)
    rows = []
    topics = list(dict.fromkeys(topic for topic, _ in slopes))
    for topic in topics:
        directions = {"none": 0.0} | {
            name: each for (of, name), each in slopes.items() if of == topic
        }
        for direction, slope in directions.items():
            for dose in (0.0,) if direction == "none" else (1.0, 3.0):
                for prompt in range(prompts):
                    for sample in range(2):
                        score = slope * np.log2(1 + dose) + 0.1 * rng.normal() + 0.01 * prompt
                        rows.append(
                            {**KEY, "mode": "calibrated", "topic": topic, "direction": direction,
                             "dose": dose, "prompt": prompt, "sample": sample, "added": dose,
                             "prompt_text": "", "text": "", "lexicon_share": score, "kl": dose,
                             "log_perplexity": 1.0, "distinct_1": 1.0, "tokens": 3}
                        )  # fmt: skip
    order = rng.permutation(len(rows))
    return pa.Table.from_pylist([rows[n] for n in order], SCALING_CONTINUATIONS.schema())


def test_slopes_are_those_of_a_straight_line_per_prompt():
    doses = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
    scores = np.random.default_rng(0).normal(size=6)
    line = np.polyfit(np.log2(1 + doses), scores, 1)
    assert slope_weights(doses) @ scores == pytest.approx(line[0])

    table = made_up({("a", FEATURE): 0.5, ("a", BIAS): 0.2})
    found = steering_summary(table, KEY, permutations=99, seed=0)
    frame = table.to_pandas()
    slopes = {}
    for direction in (FEATURE, BIAS):
        some = frame[frame.direction.isin(["none", direction])]
        means = some.groupby(["prompt", "dose"]).lexicon_share.mean().unstack()
        slopes[direction] = np.array(
            [np.polyfit(np.log2(1 + means.columns), row, 1)[0] for row in means.to_numpy()]
        )
    (own,) = rows_of(found, direction=FEATURE, control="none", metric="lexicon_share_slope")
    (beyond,) = rows_of(found, direction=FEATURE, control=BIAS, metric="lexicon_share_slope")
    assert own["value"] == pytest.approx(slopes[FEATURE].mean())
    assert beyond["value"] == pytest.approx((slopes[FEATURE] - slopes[BIAS]).mean())
    assert own["ci_low"] < own["value"] < own["ci_high"]


def test_of_nothing_nothing_is_found():
    flat = {(topic, name): 0.1 for topic in "abcd" for name in (FEATURE, RANDOM_FEATURE)}
    passed = 0
    for seed in range(20):
        found = steering_summary(made_up(flat, seed, prompts=8), KEY, permutations=199, seed=seed)
        rows = [row for row in found.to_pylist() if row["control"] == RANDOM_FEATURE]
        passed += any(row["p_holm"] is not None and row["p_holm"] <= 0.05 for row in rows)
    assert passed <= 4  # 20 families at 0.05: more than 4 has a chance of 0.3 %


def test_holm_goes_over_topics_and_every_is_the_nearest_control():
    slopes = {("a", FEATURE): 0.5, ("a", BIAS): 0.0, ("a", MEANS): 0.48} | {
        ("b", FEATURE): 0.3, ("b", BIAS): 0.0, ("b", MEANS): 0.6
    }  # fmt: skip
    found = steering_summary(made_up(slopes), KEY, permutations=999, seed=0)
    metric = "lexicon_share_slope"
    for control in (BIAS, MEANS, EVERY):
        rows = rows_of(found, direction=FEATURE, control=control, metric=metric)
        p_values = sorted(row["p_value"] for row in rows)
        smallest = min(rows, key=lambda row: row["p_value"])
        assert smallest["p_holm"] == pytest.approx(min(1.0, 2 * p_values[0]))
    for topic in "ab":
        (every,) = rows_of(found, topic=topic, control=EVERY, metric=metric)
        (means,) = rows_of(found, topic=topic, control=MEANS, metric=metric)
        assert every["value"] == means["value"]
        # Above both controls no adjustment for their number; below one it is one of two.
        p_value = means["p_value"] if topic == "a" else min(1.0, 2 * means["p_value"])
        assert every["p_value"] == pytest.approx(p_value)


def test_falling_short_of_a_control_is_as_significant_as_against_that_control():
    slopes = {(topic, FEATURE): 0.3 for topic in "abcd"}
    slopes |= {(topic, BIAS): 0.0 for topic in "abcd"}
    slopes |= {(topic, MEANS): 0.6 for topic in "abc"} | {("d", MEANS): 0.301}
    found = steering_summary(made_up(slopes, prompts=20), KEY, permutations=999, seed=0)
    metric = "lexicon_share_slope"
    for topic in "abcd":
        (every,) = rows_of(found, topic=topic, control=EVERY, metric=metric)
        if topic != "d":
            assert every["value"] < 0
            assert every["p_holm"] <= 0.05


def test_a_score_that_no_topic_has_is_null():
    found = steering_summary(made_up({("a", FEATURE): 0.5}), KEY, permutations=99, seed=0)
    for row in rows_of(found, metric="class_probability_slope"):
        assert (row["value"], row["p_value"], row["n"]) == (None, None, 0)


def test_how_well_the_classifier_does_is_told():
    table = made_up({("a", FEATURE): 0.5})
    hits = np.array([True, True, False, True])
    found = steering_summary(table, KEY, permutations=99, seed=0, classified=hits)
    (row,) = rows_of(found, metric="classifier_accuracy")
    assert (row["value"], row["n"]) == (0.75, 4)
    assert 0 < row["ci_low"] < 0.75 < row["ci_high"] < 1
    empty = steering_summary(table.slice(0, 0), KEY, permutations=99, seed=0)
    assert len(empty) == 0


def test_doses_hold_0_and_come_in_order():
    assert SteeringSettings(doses=(2.0, 0.0, 1.0)).doses == (0.0, 1.0, 2.0)
    for bad in ((1.0, 2.0), (0.0, 1.0, 1.0), (0.0, -1.0), (0.0,)):
        with pytest.raises(ValueError, match=r"dose|twice|greater|at least 2"):
            SteeringSettings(doses=bad)
