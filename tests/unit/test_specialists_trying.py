"""Specialists of a small bank, held against answers and ablated: every table beside a plain computation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import pointbiserialr, spearmanr, ttest_1samp

from saeflow.artifacts.specialist_effects import TRIED
from saeflow.artifacts.specialists import SPECIALIST_FEATURES
from saeflow.artifacts.tables import write_table
from saeflow.artifacts.units import Units
from saeflow.config.specialists import (
    AblationSettings,
    DiscoverySettings,
    PoolSettings,
    PublishedPools,
    SpecialistsCalibrated,
    TaskSettings,
)
from saeflow.datasets.matched.published import MatchedText
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.models.codi import CodiModel
from saeflow.shards import shard_range
from saeflow.studies.specialists import asking, trying
from saeflow.studies.specialists.ablation import ablation_trials
from saeflow.studies.specialists.ablation_prompts import item_prompts
from saeflow.studies.specialists.behaviour import specialist_activations
from saeflow.studies.specialists.chosen import choose_specialists, items_to_read
from saeflow.studies.specialists.names import CONTROLS
from saeflow.studies.specialists.pool import pool_features
from saeflow.studies.specialists.summary import analyse_bank
from saeflow.studies.specialists.texts import StudyTexts
from tests.ablation_cases import bank, model_of
from tests.small_models import FAMILIES
from tests.unit.test_tables import PROVENANCE

pytestmark = pytest.mark.usefixtures("one_thread")
RUN = {"dictionary": "tokens", "seed": 0}
SETTINGS = SpecialistsCalibrated(
    pooling=PoolSettings(poolings=("encode_then_average",)),
    splits=1,
    sizes=(2,),
    overlap_splits=2,
    relabelings=3,
    permutations=19,
    tasks=TaskSettings(others=6, permutations=19),
    ablation=AblationSettings(pairs=3, items=6, draws=1, permutations=19),
    examples=2,
)
PUBLISHED = DiscoverySettings(
    pooling=PublishedPools(poolings=("average_then_encode",)), threshold=0.01
)


def study_texts() -> StudyTexts:
    """Two topics of maths, asked and told, and one of code; numbers make every text its own."""
    rows = []
    for pair in range(6):
        rows += [
            MatchedText(f"{pair}+1", "Math_Simple", "symbolic", pair, "addition", str(pair + 1)),
            MatchedText(
                f"{pair} and one", "Math_Simple", "verbal", pair, "addition", str(pair + 1)
            ),
        ]
    for pair in range(6):
        rows += [
            MatchedText(f"print({pair})", "Python", "code", pair),
            MatchedText(f"show {pair} now", "Python", "pseudo", pair),
        ]
    return StudyTexts(tuple(rows))


def items() -> list[Text]:
    found = [
        Text(
            "cloze",
            "arithmetic",
            form,
            number,
            HELD_OUT,
            f"{number}{sign}",
            str(number),
            ("7 8",),
            1,
        )
        for number in range(8)
        for form, sign in (("symbols", "+0="), ("words", " is"))
    ]
    return [*found, Text("documents", "news", "", 0, TRAIN, "", "some text 1 2", ())]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return model_of(request.param)


@pytest.fixture(scope="module")
def tried(model: CodiModel) -> Iterator[tuple[trying.Tried, asking.Asked, pa.Table]]:
    """Tables of the whole bank."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saeflow.studies.specialists.cloze.LEAST", {"arithmetic": 1})
        texts = study_texts()
        asked = asking.ask(model, texts, items(), None, "exact", answer_tokens=3, batch_size=4)
        modes = {"published": PUBLISHED.pooling, "calibrated": SETTINGS.pooling}
        pooled = pool_features(model, bank(), texts.contents, modes, batch_size=8)
        features = analyse_bank(texts, pooled, PUBLISHED, SETTINGS, RUN).features
        subject = trying.Subject(model, bank(), 8)
        yield (
            trying.try_specialists(subject, texts, items(), asked, pooled, features, SETTINGS, RUN),
            asked,
            features,
        )


@pytest.mark.parametrize("count", [2, 3, 8])
def test_jobs_that_share_ablations_give_the_same_tables(
    model: CodiModel,
    tried: tuple[trying.Tried, asking.Asked, pa.Table],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("done again")

    expected, asked, features = tried
    texts, subject = study_texts(), trying.Subject(model, bank(), 8)
    made = []
    for number in range(1, count + 1):
        item = f"{number}-of-{count}"
        units = Units(tmp_path / item, "f", PROVENANCE, portion=partial(shard_range, item))
        trying.ablate_shard(subject, texts, items(), features, SETTINGS, units)
        units.finish((), (), ())
        made.append(tmp_path / item)
    names = [path.name for folder in made for path in folder.glob("*.parquet")]
    assert len(set(names)) == len(names) > 1
    monkeypatch.setattr("saeflow.studies.specialists.cloze.LEAST", {"arithmetic": 1})
    monkeypatch.setattr("saeflow.studies.specialists.ablation._Read.__init__", refuse)
    modes = {"published": PUBLISHED.pooling, "calibrated": SETTINGS.pooling}
    pooled = pool_features(model, bank(), texts.contents, modes, batch_size=8)
    units = Units(tmp_path / "tried", "f", PROVENANCE, made)
    found = trying.try_specialists(
        subject, texts, items(), asked, pooled, features, SETTINGS, RUN, units
    )
    assert all(one.equals(two) for one, two in zip(found, expected, strict=True))


def test_every_table_fits_its_schema(
    tried: tuple[trying.Tried, asking.Asked, pa.Table], tmp_path: Path
) -> None:
    for number, (table, artifact) in enumerate(zip(tried[0], TRIED, strict=True)):
        assert table.num_rows, artifact.name
        write_table(table, tmp_path / f"{number}.parquet", artifact, PROVENANCE)


def test_activations_are_those_of_the_chosen(
    model: CodiModel, tried: tuple[trying.Tried, asking.Asked, pa.Table]
) -> None:
    found, asked, features = tried
    chosen = choose_specialists(features.to_pylist(), study_texts(), "encode_then_average")
    prompts = asked.tasks["prompt"].to_pylist()
    own = [each.specialist for each in chosen]
    expected = specialist_activations(model, bank(), prompts, own, batch_size=3)
    given = found.activations["value"].to_numpy().reshape(len(own), len(prompts))
    np.testing.assert_allclose(given.T, expected, atol=1e-5)


def test_published_tests_take_every_task_for_itself(
    tried: tuple[trying.Tried, asking.Asked, pa.Table],
) -> None:
    found, asked, _ = tried
    tasks = asked.tasks.to_pydict()
    shown = 0
    for row in found.behaviour.to_pylist():
        if row["mode"] != "published" or row["outcome"] not in ("correct", "log_probability"):
            continue
        values = np.array(
            [
                each["value"]
                for each in found.activations.to_pylist()
                if (each["layer"], each["feature"]) == (row["layer"], row["feature"])
            ]
        )
        outcome = np.array(tasks[row["outcome"]], float)
        assert row["n"] == len(values)
        if np.ptp(values) == 0 or np.ptp(outcome) == 0:
            assert row["value"] is None
            continue
        if row["metric"] == "point_biserial":
            assert row["value"] == pytest.approx(pointbiserialr(outcome, values).statistic)
            shown += 1
        if row["metric"] == "spearman":
            test = spearmanr(values, outcome)
            assert (row["value"], row["p_value"]) == pytest.approx((test.statistic, test.pvalue))
            shown += 1
    assert shown


def test_what_the_study_s_prompts_are_answered(
    tried: tuple[trying.Tried, asking.Asked, pa.Table],
) -> None:
    found, asked, _ = tried
    answers = asked.answers.to_pylist()
    texts = study_texts()
    assert [row["text"] for row in answers] == [
        place for place, each in enumerate(texts.pairs) if each.expected
    ]
    for row in answers:
        assert row["contained"] == (row["expected"] in row["answer"]) == row["judged"]
        assert row["prompt"].startswith(texts.pairs[row["text"]].text)
    rows = [row for row in found.behaviour.to_pylist() if row["outcome"] == "contained"]
    for row in rows:
        own = [
            each["contained"]
            for each in answers
            if row["class"] == f"Math_Simple: {texts.pairs[each['text']].form}"
        ]
        if row["metric"] == "right":
            assert row["value"] == pytest.approx(np.mean(own))


def test_the_published_matrix_counts_prompts_and_the_calibrated_one_contents(
    model: CodiModel, tried: tuple[trying.Tried, asking.Asked, pa.Table]
) -> None:
    found, _, features = tried
    chosen = choose_specialists(features.to_pylist(), study_texts(), "encode_then_average")
    read = items_to_read(items()[:-1], 6, 0)
    trials = ablation_trials(
        model, bank(), item_prompts(model, read), [each.specialist for each in chosen], draws=1
    )
    changes = trials.effects["zero"].log_probability
    rows = [
        row
        for row in found.effects.to_pylist()
        if row["group"] == "cloze arithmetic"
        and row["metric"] == "log_probability"
        and (row["condition"], row["control"]) == ("zero", "none")
    ]
    assert {row["mode"] for row in rows} == {"published", "calibrated"}
    for row in rows:
        names = [(each.specialist.layer, each.name) for each in chosen]
        own = changes[names.index((row["layer"], row["class"]))]
        assert row["value"] == pytest.approx(own.mean(), abs=1e-6)
        assert row["n_active"] >= (own != 0).sum()
        if row["mode"] == "published":
            assert row["n"] == len(read)
            if np.ptp(own) > 0:
                expected = ttest_1samp(own, 0).pvalue
                assert row["p_value"] == pytest.approx(expected, rel=1e-3)
        else:
            assert row["n"] == len({each.item for each in read})


def test_published_rows_stand_beside_their_controls(
    model: CodiModel, tried: tuple[trying.Tried, asking.Asked, pa.Table]
) -> None:
    found, _, features = tried
    chosen = choose_specialists(features.to_pylist(), study_texts(), "encode_then_average")
    read = items_to_read(items()[:-1], 6, 0)
    trials = ablation_trials(
        model, bank(), item_prompts(model, read), [each.specialist for each in chosen], draws=1
    )
    names = [(each.specialist.layer, each.name) for each in chosen]
    rows = [
        row
        for row in found.effects.to_pylist()
        if row["mode"] == "published" and row["group"] == "cloze arithmetic"
    ]
    assert {row["condition"] for row in rows} == {"zero", *CONTROLS}
    for row in rows:
        own = trials.effects[row["condition"]].log_probability[
            names.index((row["layer"], row["class"]))
        ]
        own = own[~np.isnan(own)]
        assert row["n"] == len(own)
        if row["metric"] == "log_probability" and len(own):
            assert row["value"] == pytest.approx(own.mean(), abs=1e-6)


def test_numbers_name_both_candidates_and_every_part(
    tried: tuple[trying.Tried, asking.Asked, pa.Table],
) -> None:
    rows = tried[0].numbers.to_pylist()
    assert {row["part"] for row in rows} == {"ablation", "tokens", "cascade"}
    named = {row["metric"] for row in rows if row["part"] == "ablation"}
    assert named >= {
        "resilience_ratio",
        "resilience_ratio_margin",
        "effect_to_random_sd",
        "effect_to_random_mean",
        "selectivity_causality",
        "cascade",
    }
    assert {row["mode"] for row in rows if row["part"] == "tokens"} == {"published", "calibrated"}


def test_examples_are_of_what_was_found(
    tried: tuple[trying.Tried, asking.Asked, pa.Table],
) -> None:
    found, _, features = tried
    chosen = choose_specialists(features.to_pylist(), study_texts(), "encode_then_average")
    shown = {(row["layer"], row["feature"]) for row in found.examples.to_pylist()}
    own = {(each.specialist.layer, each.specialist.feature) for each in chosen}
    assert shown & own
    assert all(row["rank"] < SETTINGS.examples for row in found.examples.to_pylist())
    assert features.schema == SPECIALIST_FEATURES.schema()
