"""What rules of the study of wide SAEs hand on: a corpus, prompts of sets, features to steer along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeflow.artifacts.batches import TableGroups, write_batches
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.scaling_steering import SCALING_CONTINUATIONS, SCALING_STEERING
from saeflow.artifacts.tables import write_table
from saeflow.config.scaling_search import SearchSettings
from saeflow.config.scaling_steering import SteeringSettings
from saeflow.datasets.texts.documents import TOPIC_WORDS, document_texts, neutral_prompts
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.loading import load_beside
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.scaling.corpus import (
    corpus_documents,
    document_cutter,
    training_groups,
    training_texts,
    unread_documents,
)
from saeflow.studies.scaling.levels import chosen_level
from saeflow.studies.scaling.searched import first_found, sets_of
from saeflow.studies.scaling.steered import Steered, chosen_features, feature_use, steer_bank
from tests.sentences import check_sentence
from tests.small_models import small_model

pytestmark = pytest.mark.usefixtures("one_thread")
KEY = {"dictionary": "wide", "seed": 0}
D_SAE = 24
TOPICS = list(TOPIC_WORDS)[:3]


def write_texts(path: Path, rows: list[tuple[str, str, str]], row_group: int = 4) -> TableGroups:
    """Content, split and group of each text."""
    table = pa.Table.from_pylist(
        [
            {"text": n, "content": content, "split": split, "part": "documents", "group": group,
             "form": "", "item": n}
            for n, (content, split, group) in enumerate(rows)
        ],
        TEXTS.schema(),
    )  # fmt: skip
    write_batches([table], path, TEXTS, lambda: Provenance("c"), row_group=row_group)
    return TableGroups(path, TEXTS)


ROWS = [
    (f"{group} {n}", "validation" if n % 3 == 2 else "train", group)
    for n in range(6)
    for group in ("law", "", "music")
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> TableGroups:
    return write_texts(tmp_path_factory.mktemp("corpus") / "texts.parquet", ROWS)


def test_documents_come_in_their_order_whatever_row_groups_hold(
    texts: TableGroups, tmp_path: Path
) -> None:
    found = list(corpus_documents(texts))
    assert [(each.content, each.split, each.group) for each in found] == ROWS
    assert [each.number for each in found] == list(range(len(ROWS)))
    assert len(texts) > 1
    whole = write_texts(tmp_path / "t.parquet", ROWS, row_group=100)
    assert list(corpus_documents(whole)) == found
    train = list(corpus_documents(texts, "train"))
    assert train == [each for each in found if each.split == "train"]
    assert list(corpus_documents(texts, "test")) == []


def test_unread_documents_are_held_out_ones_or_all(texts: TableGroups, tmp_path: Path) -> None:
    assert {each.split for each in unread_documents(texts)} == {"validation"}
    assert len(list(unread_documents(texts))) == 6
    trained = write_texts(tmp_path / "t.parquet", [("a", "train", "x"), ("b", "train", "x")])
    assert [each.content for each in unread_documents(trained)] == ["a", "b"]


def test_training_texts_are_the_first_that_train(texts: TableGroups) -> None:
    contents = [content for content, split, _ in ROWS if split == "train"]
    assert training_texts(texts, 5) == contents[:5]
    assert training_texts(texts, 999) == contents


def test_training_groups_are_the_first_of_each_group_and_no_others(texts: TableGroups) -> None:
    found = training_groups([texts], 2)
    assert [each.content for each in found] == ["law 0", "music 0", "law 1", "music 1"]
    assert len(training_groups([texts], 99)) == 8


def test_groups_of_several_tables_are_one_where_they_have_one_name(
    texts: TableGroups, tmp_path: Path
) -> None:
    rows = [("law of others", "train", "law"), ("stars", "train", "astronomy"), ("x", "train", "")]
    other = write_texts(tmp_path / "t.parquet", rows)
    found = training_groups([other, texts], 2)
    assert [each.content for each in found] == [
        "law of others", "stars", "law 0", "music 0", "music 1"
    ]  # fmt: skip


def listed(**changes: Any) -> dict[str, Any]:
    row = {**KEY, "mode": "calibrated", "control": "none", "place": 1, "prompts": "topics/law",
           "level": "document_mean", "feature": 3, "value_chosen": 0.9}  # fmt: skip
    return {**row, **changes}


def search_table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def test_features_that_a_search_lists_first_are_shown() -> None:
    rows = [listed(place=place, feature=10 - place) for place in (1, 2, 3, 4)]
    rows += [listed(control="words", feature=20), listed(mode="published", feature=1)]
    assert first_found([search_table(*rows)], 3) == [1, 7, 8, 9]
    assert first_found([search_table(*rows)]) == [1, 6, 7, 8, 9]
    assert first_found([]) == []


def test_a_topic_is_steered_along_its_first_feature_of_the_chosen_level() -> None:
    rows = [
        listed(feature=1),
        listed(feature=2, prompts="topics/music"),
        listed(feature=3, place=2),
        listed(feature=4, level="document_max"),
        listed(feature=5, prompts="mine"),
        listed(feature=6, control="untrained", prompts="topics/banking"),
        listed(feature=7, mode="published", prompts="topics/banking"),
        listed(feature=8, seed=1, prompts="topics/banking"),
    ]
    assert chosen_features(search_table(*rows), KEY) == {"law": 1, "music": 2}
    assert chosen_features(search_table(*rows[3:]), KEY) == {"law": 4}
    tokens = [listed(level="token", feature=9)]
    assert chosen_features(search_table(*tokens), KEY) == {"law": 9}
    assert chosen_features(search_table(*rows[4:]), KEY) == {}


def test_half_a_alone_chooses_the_level() -> None:
    # Whatever half B says: values of the level that is chosen are the smallest there.
    rows = [
        listed(value=0.99, value_chosen=0.90),
        listed(value=0.99, value_chosen=0.90, prompts="topics/music", feature=4),
        listed(value=0.50, value_chosen=0.99, level="document_max", feature=5),
        listed(value=0.50, value_chosen=0.85, level="document_max", prompts="topics/music"),
        listed(value=0.90, value_chosen=0.91, level="token", feature=6),
        listed(value=0.90, value_chosen=0.90, level="token", feature=7, prompts="topics/music"),
        # Not of a topic, not the best, of a control, or by the study's scores.
        listed(value_chosen=1.0, prompts="mine"),
        listed(value_chosen=1.0, place=2),
        listed(value_chosen=1.0, control="untrained"),
        listed(value_chosen=1.0, mode="published", level="token"),
    ]
    assert chosen_level(rows) == "document_max"
    table = search_table(*rows)
    assert chosen_features(table, KEY) == {"law": 5, "music": 3}
    assert chosen_level([*rows[:2], *rows[4:]]) == "token"


def test_of_equal_levels_the_first_is_chosen_and_of_none_none() -> None:
    rows = [listed(level=level) for level in ("token", "document_max", "document_mean")]
    assert chosen_level(rows) == "document_mean"
    assert chosen_level(rows[:2]) == "document_max"
    own = listed(prompts="mine", level="token")
    assert chosen_level([own]) == "token"
    assert chosen_level([*rows, own | {"value_chosen": 1.0}]) == "document_mean"
    assert chosen_level([listed(control="words")]) is chosen_level([]) is None


def features_table(**changes: Any) -> pa.Table:
    rows = [
        {**KEY, "control": "none", "split": split, "feature": feature,
         "density": 0.1 * feature if split == "train" else 0.9, "largest": -feature, **changes}
        for split in ("validation", "train")
        for feature in reversed(range(3))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


def test_use_of_features_is_that_of_texts_that_train() -> None:
    others = features_table(seed=1, density=0.5)
    frozen = features_table(control="frozen_decoder", density=0.5)
    found = feature_use(pa.concat_tables([others, frozen, features_table()]), KEY)
    np.testing.assert_allclose(found.density, [0, 0.1, 0.2])
    # Of signed features, how far they go counts.
    np.testing.assert_array_equal(found.maximum, [0, 1, 2])
    with pytest.raises(SaeflowError) as caught:
        feature_use(others, KEY)
    check_sentence(caught.value, "no features of wide seed 0", "expected every feature")


@pytest.fixture(scope="module")
def model(one_thread: None) -> CodiModel:
    return small_model("llama")


def random_bank(layer: int = 1) -> Bank:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=generator)

    weights = draw(16, D_SAE), draw(D_SAE), draw(D_SAE, 16), draw(16)
    return Bank(Recipe("topk", D_SAE, 4, hook="resid_post"), (Site(layer),), *weights)


def test_sets_come_from_lists_files_and_groups_in_their_order(
    model: CodiModel, tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.txt").write_text(f"{name} a\n\n{name} b\n", encoding="utf-8")
    rows = [(f"{group} number {n}", "train", group) for group in ("law", "music") for n in range(5)]
    table = pa.Table.from_pylist(
        [
            {"text": n, "content": content, "split": split, "part": "p", "group": group, "form": "",
             "item": n}
            for n, (content, split, group) in enumerate(rows)
        ],
        TEXTS.schema(),
    )  # fmt: skip
    settings = SearchSettings.model_validate(
        {
            "sets": {
                # What they are called in the configuration decides nothing.
                "few": {"source": "files", "positive": "file"},
                "topics": {"source": "groups", "dataset": "d", "split": "train", "negative": 2},
                "mine": {"source": "list", "positive": ["x"], "negative": ["y", "z"]},
                "both": {"source": "files", "positive": "file", "negative": "file"},
            }
        }
    )
    files = [tmp_path / f"{name}.txt" for name in ("one", "two", "three")]
    found = sets_of(settings, model, files=files, texts=[table])
    assert list(found) == ["few", "topics/law", "topics/music", "mine", "both"]
    assert found["few"].positive == ("one a", "one b")
    assert found["few"].negative == ()
    assert (found["both"].positive, found["both"].negative) == (
        ("two a", "two b"), ("three a", "three b")
    )  # fmt: skip
    assert len(found["topics/law"].positive) == 5
    assert len(found["topics/law"].negative) == 2
    assert all(each.startswith("music") for each in found["topics/law"].negative)


def test_models_beside_are_the_same_or_untrained(model: CodiModel) -> None:
    block = {"model": {"weights": "fresh", "family": "llama", "hidden_size": 16,
                       "num_hidden_layers": 2, "intermediate_size": 24, "projection_size": 12},
             "control": None, "threads": 1}  # fmt: skip
    untrained, same = load_beside(model, [block, None], [])
    assert same is model
    assert untrained.language_model.config.hidden_size == 16


def test_texts_of_groups_are_cut(model: CodiModel) -> None:
    rows = [
        {"text": n, "content": f"{group} {n} and more", "split": "train", "part": "", "group": group,
         "form": "", "item": n}
        for n, group in enumerate(("law", "music") * 5)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, TEXTS.schema())
    settings = SearchSettings.model_validate(
        {"sets": {"topics": {"source": "groups", "dataset": "d", "split": "train"}}}
    )
    found = sets_of(settings, model, files=[], texts=[table], cut=lambda text: text[:7])
    assert all(len(each) <= 7 for each in found["topics/law"].prompts)
    with pytest.raises(ValueError, match="zip"):
        sets_of(settings, model, files=[], texts=[])


def tokens_of(model: CodiModel, text: str) -> int:
    return len(model.tokenizer.encode(text))


@given(text=st.text(max_size=60), positions=st.integers(4, 20))
def test_long_documents_are_cut_to_a_beginning(model: CodiModel, text: str, positions: int) -> None:
    cut = document_cutter(model, positions)(text)
    assert text.startswith(cut)
    assert tokens_of(model, cut) <= positions
    if tokens_of(model, text) <= positions:
        assert cut == text
    else:
        # A character takes four of its tokens at most.
        assert tokens_of(model, cut) >= positions - 4


def test_no_document_is_longer_than_the_model_reads(model: CodiModel, texts: TableGroups) -> None:
    limit = model.language_model.config.max_position_embeddings
    cut = document_cutter(model, 10**6)
    assert tokens_of(model, cut("x" * 10**5)) == limit
    short = document_cutter(model, 5)
    found = list(corpus_documents(texts, cut=short))
    assert [each.content for each in found] == [short(content) for content, _, _ in ROWS]
    assert any(each.content != content for each, (content, _, _) in zip(found, ROWS, strict=True))
    for some in (
        training_texts(texts, 9, cut=short),
        [
            each.content
            for each in (
                *training_groups([texts], 9, cut=short),
                *unread_documents(texts, cut=short),
            )
        ],
    ):
        assert all(tokens_of(model, each) <= 5 for each in some)


SETTINGS = SteeringSettings.model_validate(
    {
        "doses": [0.0, 1.0],
        "prompts": 3,
        "samples": 2,
        "max_new_tokens": 2,
        "neighbours": 4,
        "documents": 6,
        "permutations": 19,
        "published": {"multipliers": [0.0, 25.0], "max_new_tokens": 2},
    }
)
SEARCH = search_table(
    *(listed(feature=n, prompts=f"topics/{name}") for n, name in enumerate(TOPICS))
)
FEATURES = pa.Table.from_pylist(
    [{**KEY, "control": "none", "split": "train", "feature": n, "density": 0.02 * (1 + n),
      "largest": 1.0 + n} for n in range(D_SAE)]
)  # fmt: skip


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> TableGroups:
    # The small model reads a byte as a token, and 160 of them.
    drawn = [each for each in document_texts(seed=0, n_per_topic=8) if each.group in TOPICS]
    rows = [
        (each.text[:90], "validation" if n % 4 == 3 else "train", each.group)
        for n, each in enumerate(drawn)
    ]
    return write_texts(tmp_path_factory.mktemp("documents") / "texts.parquet", rows, row_group=9)


def steered(model: CodiModel, documents: TableGroups, **changes: Any) -> Steered:
    given = {"topics": {"documents": documents}, "corpus": documents, "search": SEARCH,
             "features": FEATURES, "settings": SETTINGS, "key": KEY, **changes}  # fmt: skip
    return steer_bank(model, random_bank(), batch_size=4, **given)


@pytest.fixture(scope="module")
def found(model: CodiModel, documents: TableGroups) -> Steered:
    return steered(model, documents)


def test_steering_gives_both_modes_and_a_summary(
    found: Steered, model: CodiModel, documents: TableGroups, tmp_path: Path
) -> None:
    for table, artifact in zip(found, (SCALING_CONTINUATIONS, SCALING_STEERING), strict=True):
        write_table(table, tmp_path / f"{artifact.name}.parquet", artifact, Provenance("c"))
        keys = table.select(list(artifact.keys)).to_pylist()
        assert len({tuple(row.values()) for row in keys}) == len(keys) > 0
    rows = found.continuations.to_pylist()
    assert {row["mode"] for row in rows} == {"calibrated", "published"}
    assert {row["topic"] for row in rows} == set(TOPICS)
    own = [row for row in rows if row["mode"] == "calibrated"]
    assert {row["prompt_text"] for row in own} == set(neutral_prompts(seed=0, n=3))
    features = {row["topic"]: row["feature"] for row in own if row["direction"] == "feature"}
    assert features == dict(zip(TOPICS, range(3), strict=True))
    again = steered(model, documents)
    assert all(one.equals(two) for one, two in zip(again, found, strict=True))


def test_the_classifier_is_tried_on_documents_that_made_nothing(
    found: Steered, model: CodiModel, tmp_path: Path, documents: TableGroups
) -> None:
    metrics = set(found.summary["metric"].to_pylist())
    rows = [(each.content, "train", each.group) for each in corpus_documents(documents)]
    topics = {"documents": write_texts(tmp_path / "t.parquet", rows)}
    alone = steered(model, documents, topics=topics)
    gone = metrics - set(alone.summary["metric"].to_pylist())
    assert len(gone) == 1
    assert "class" in gone.pop()


def test_prompts_of_ones_own_are_continued(model: CodiModel, documents: TableGroups) -> None:
    own = ["One day", "One day", "It is", "We saw", "They"]
    table = steered(model, documents, prompts=own).continuations
    texts = {row["prompt_text"] for row in table.to_pylist() if row["mode"] == "calibrated"}
    assert texts == {"One day", "It is", "We saw"}


def test_too_few_prompts_are_told(model: CodiModel, documents: TableGroups) -> None:
    with pytest.raises(SaeflowError) as caught:
        steered(model, documents, prompts=["One", "One", "Two"])
    check_sentence(
        caught.value,
        "steering.prompt_file holds 2 different prompts; expected 3 (steering.prompts)",
    )


def test_a_search_without_topics_is_told(model: CodiModel, documents: TableGroups) -> None:
    with pytest.raises(SaeflowError) as caught:
        steered(model, documents, search=search_table(listed(prompts="mine")))
    check_sentence(caught.value, "lists no feature of a topic", "source: groups")


def test_topics_come_from_the_data_sets_that_were_searched(
    found: Steered, model: CodiModel, documents: TableGroups, tmp_path: Path
) -> None:
    # A corpus need not have groups, and what it holds changes the published factor alone.
    rows = [(f"Text {n} is long enough.", "train", "") for n in range(6)]
    other = steered(model, documents, corpus=write_texts(tmp_path / "t.parquet", rows))
    calibrated, published = (
        [
            [row for row in table.to_pylist() if row["mode"] == mode]
            for table in (found.continuations, other.continuations)
        ]
        for mode in ("calibrated", "published")
    )
    assert calibrated[0] == calibrated[1]
    assert published[0] != published[1]


def test_topics_may_be_in_several_data_sets(
    found: Steered, model: CodiModel, documents: TableGroups, tmp_path: Path
) -> None:
    rows = [(each.content, each.split, each.group) for each in corpus_documents(documents)]
    parts = {
        name: write_texts(
            tmp_path / f"{name}.parquet",
            [row for row in rows if (row[2] == TOPICS[0]) == own],
        )
        for name, own in (("one", True), ("two", False))
    }
    both = steered(model, documents, topics=parts)
    # The published form reads no means, whose sums depend on the order of texts in the last bits.
    assert [row for row in both.continuations.to_pylist() if row["mode"] == "published"] == [
        {**row, "class_probability": pytest.approx(row["class_probability"], nan_ok=True)}
        for row in found.continuations.to_pylist()
        if row["mode"] == "published"
    ]
    metrics = [set(each.summary["metric"].to_pylist()) for each in (found, both)]
    assert metrics[0] == metrics[1]


def test_data_sets_without_the_topics_are_told(
    model: CodiModel, documents: TableGroups, tmp_path: Path
) -> None:
    law = [(f"Text {n}.", "train", TOPICS[0]) for n in range(6)]
    cases = {
        "bare": ([(f"Text {n}.", "train", "") for n in range(6)], TOPICS, "none"),
        "held_out": ([(text, "validation", group) for text, _, group in law], TOPICS, "none"),
        "one_topic": (law, TOPICS[1:], TOPICS[0]),
    }
    for name, (rows, absent, there) in cases.items():
        topics = {name: write_texts(tmp_path / f"{name}.parquet", rows)}
        with pytest.raises(SaeflowError) as caught:
            steered(model, documents, topics=topics)
        check_sentence(
            caught.value,
            f"{name} has no document of split train of the topics that the search found: "
            f"{', '.join(absent)}; expected some of each, beside those of the groups: {there}.",
        )


def test_a_topic_whose_feature_never_fires_is_left_out(
    model: CodiModel, documents: TableGroups, caplog: pytest.LogCaptureFixture
) -> None:
    silent = [
        {**row, "largest": 0.0} if row["feature"] == 1 else row for row in FEATURES.to_pylist()
    ]
    found = steered(model, documents, features=pa.Table.from_pylist(silent)).continuations
    assert set(found["topic"].to_pylist()) == {TOPICS[0], TOPICS[2]}
    assert f"not steered: {TOPICS[1]}," in caplog.text
    none = [{**row, "largest": 0.0} for row in FEATURES.to_pylist()]
    with pytest.raises(SaeflowError) as caught:
        steered(model, documents, features=pa.Table.from_pylist(none))
    check_sentence(caught.value, ", ".join(TOPICS))
