"""Matched pairs and categories: the published files, what a bad file says, our own."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.datasets.matched.bundled import bundled_categories, bundled_pairs
from saeflow.datasets.matched.published import (
    MatchedText,
    read_categories,
    read_matched_pairs,
)
from saeflow.datasets.texts.categories import category_texts
from saeflow.datasets.texts.pairs import pair_texts
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError
from tests.conftest import DATA
from tests.sentences import check_sentence

PUBLISHED = DATA / "matched_pairs"
FIELDS: dict[str, tuple[str, ...]] = {
    "math_pairs_simple": ("symbolic", "verbal", "prose", "expected", "category"),
    "math_pairs_complex": ("symbolic", "verbal", "prose", "expected", "category"),
    "python_pairs": ("code", "pseudo", "description"),
    "non_english_pairs": ("spanish", "french", "german", "english_meaning"),
    "social_pairs": ("full_social", "partial_social", "standard", "meaning"),
    "formal_pairs": ("highly_formal", "moderately_formal", "plain", "topic"),
    "conversational_pairs": ("first_person", "third_person", "neutral", "topic"),
}
N_CLASSES = {"Math_Simple": 3, "Math_Complex": 3, "Python": 2, "Non_English": 3} | dict.fromkeys(
    ("Social", "Formal", "Conversational"), 3
)


@pytest.fixture(scope="module")
def published() -> Path:
    if not (PUBLISHED / "matched_pairs.json").is_file():
        pytest.skip(f"{PUBLISHED} is absent")
    return PUBLISHED


@pytest.fixture(scope="module")
def mixture() -> list[Text]:
    return [*pair_texts(seed=0, n_per_topic=150), *category_texts(seed=0, n_per_category=120)]


def document(n: int = 3) -> dict[str, Any]:
    """The published shape, every text its own."""
    return {
        key: [{name: f"{name} {number} of {key}" for name in names} for number in range(n)]
        for key, names in FIELDS.items()
    }


def written(folder: Path, content: object) -> Path:
    path = folder / "texts.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.data
def test_the_published_pairs(published: Path) -> None:
    rows = read_matched_pairs(published / "matched_pairs.json")
    assert len(rows) == len({row.text for row in rows}) == 688
    assert len({row.content for row in rows}) == 241
    classes = Counter((row.topic, row.form) for row in rows)
    assert len(classes) == 20
    assert Counter(topic for topic, _ in classes) == N_CLASSES
    for (topic, _), count in classes.items():
        assert count == (33 if topic.startswith("Math") else 35)
    assert all((row.expected is not None) == row.topic.startswith("Math") for row in rows)
    assert rows[:2] == [
        MatchedText("2+2", "Math_Simple", "symbolic", 0, "addition", "4"),
        MatchedText("two plus two", "Math_Simple", "verbal", 0, "addition", "4"),
    ]
    assert rows[-1] == MatchedText(
        "Your help with this is appreciated", "Conversational", "neutral", 34, "gratitude"
    )


@pytest.mark.data
def test_the_published_categories(published: Path) -> None:
    rows = read_categories(published / "categories70.json")
    assert len(rows) == len({row.text for row in rows}) == 70
    assert set(Counter(row.category for row in rows).values()) == {10}
    assert list(dict.fromkeys(row.category for row in rows)) == [
        *("Python", "URLs", "Math", "Non-English", "Social", "Formal", "Conversational")
    ]
    # Either set is no confirmation of what the other found: they share texts.
    pairs = {row.text for row in read_matched_pairs(published / "matched_pairs.json")}
    assert len(pairs & {row.text for row in rows}) == 22


def test_rows_come_in_the_study_s_order_whatever_the_file_s(tmp_path: Path) -> None:
    ordered = read_matched_pairs(written(tmp_path, document()))
    assert len(ordered) == 60
    backwards = {key: document()[key] for key in reversed(FIELDS)}
    assert read_matched_pairs(written(tmp_path, backwards)) == ordered
    two = {key: document()[key] for key in ("social_pairs", "python_pairs")}
    topics = [row.topic for row in read_matched_pairs(written(tmp_path, two))]
    assert topics == ["Python"] * 6 + ["Social"] * 9


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, document())
    rows = read_matched_pairs(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_matched_pairs(path) == rows


def change(key: str, place: int, **fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content[key][place].update(fields)


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (
            lambda c: c["social_pairs"][1].pop("standard"),
            ["pair 2 of social_pairs lacks 'standard'"],
        ),
        (lambda c: c["math_pairs_simple"][0].pop("expected"), ["pair 1", "lacks 'expected'"]),
        (change("python_pairs", 2, code=" \n"), ["pair 3 of python_pairs: 'code' is", "a text"]),
        (change("python_pairs", 0, code=7), ["'code' is a number; expected a text"]),
        (change("formal_pairs", 0, topic=None), ["'topic' is null; expected a text"]),
        (change("formal_pairs", 0, plain=["x"]), ["'plain' is a list; expected a text"]),
        (change("formal_pairs", 0, plain="\ud800"), ["'plain' holds half a surrogate pair"]),
        (change("social_pairs", 0, standart="x"), ["'standart'", "did you mean 'standard'?"]),
        (change("social_pairs", 0, expected="x"), ["unknown field 'expected'"]),
        (lambda c: c.update(social_pair=[]), ["unknown key 'social_pair'", "'social_pairs'?"]),
        (lambda c: c.update(python_pairs=[]), ["python_pairs is an empty list"]),
        (
            lambda c: c.update(python_pairs={}),
            ["python_pairs is an object; expected a list of pairs"],
        ),
        (lambda c: c["python_pairs"].append("x"), ["pair 4 of python_pairs is a text"]),
        (
            change("python_pairs", 0, code="standard 1  of social_pairs"),
            ["twice, in code of Python and in standard of Social"],
        ),
        (lambda c: [c.pop(key) for key in list(FIELDS)[1:]], ["holds 1 topics", "at least two"]),
    ],
)
def test_a_malformed_file_of_pairs_is_told(
    spoil: Callable[[dict[str, Any]], object], parts: list[str], tmp_path: Path
) -> None:
    content = document()
    spoil(content)
    with pytest.raises(SaeflowError) as caught:
        read_matched_pairs(written(tmp_path, content))
    check_sentence(caught.value, "texts.json", *parts)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({}, ["holds no object in baseline_categories"]),
        ({"baseline_categories": {"A": ["x"]}}, ["holds 1 categories"]),
        (
            {"baseline_categories": {"A": ["x"], "B": "y"}},
            ["'B' is a text; expected a list of texts"],
        ),
        ({"baseline_categories": {"A": ["x"], "B": []}}, ["'B' is an empty list"]),
        ({"baseline_categories": {"A": ["x"], "B": [True]}}, ["text 1 of 'B'", "a truth value"]),
        ({"baseline_categories": {"A": ["x"], " ": ["y"]}}, ["a category: 'name' is ' '"]),
        ({"baseline_categories": {"A": ["x"], "B": ["x"]}}, ["'x' twice, in 'A' and in 'B'"]),
        ({"baseline_category": {"A": ["x"], "B": ["y"]}}, ["did you mean 'baseline_categories'?"]),
    ],
)
def test_a_malformed_file_of_categories_is_told(
    content: object, parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(SaeflowError) as caught:
        read_categories(written(tmp_path, content))
    check_sentence(caught.value, "texts.json", *parts)


@pytest.mark.parametrize("read", [read_matched_pairs, read_categories])
@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is no JSON"),
        (b'{"python_pairs": [', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"9" * 5000, "is no JSON"),
        (b"\xff\xfe{", "is not UTF-8"),
        (b"[]", "holds a list; expected an object"),
        (b"null", "holds null; expected an object"),
        (b'{"a": {"b": 1, "b": 2}}', "gives the key 'b' twice"),
    ],
)
def test_what_is_no_json_object_is_told(
    read: Callable[[Path], list[Any]], content: bytes, part: str, tmp_path: Path
) -> None:
    path = tmp_path / "texts.json"
    path.write_bytes(content)
    with pytest.raises(SaeflowError) as caught:
        read(path)
    check_sentence(caught.value, "texts.json", part)
    with pytest.raises(SaeflowError, match=r"absent\.json does not exist; expected a JSON file"):
        read(tmp_path / "absent.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_content_is_read_or_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.json"
    path.write_bytes(content)
    for read in (read_matched_pairs, read_categories):
        with pytest.raises(SaeflowError) as caught:  # none is drawn that could be read
            read(path)
        check_sentence(caught.value, "any.json")


@given(st.data(), JSON)
def test_one_changed_value_is_read_unchanged_or_told(
    tmp_path: Path, data: st.DataObject, value: object
) -> None:
    content = document(2)
    key = data.draw(st.sampled_from(sorted(content)))
    number = data.draw(st.integers(0, 1))
    name = data.draw(st.sampled_from(FIELDS[key]))
    content[key][number][name] = value
    path = written(tmp_path, content)
    if isinstance(value, str) and value.strip():
        rows = [row for row in read_matched_pairs(path) if row.pair == number]
        assert value in [text for row in rows for text in (row.text, row.meaning, row.expected)]
    else:
        with pytest.raises(SaeflowError) as caught:
            read_matched_pairs(path)
        check_sentence(caught.value, f"pair {number + 1} of {key}", repr(name))


TEXTS = st.lists(
    st.text(min_size=1, max_size=12).filter(str.strip),
    min_size=6,
    max_size=24,
    unique_by=lambda text: " ".join(text.split()),
)


@given(TEXTS)
def test_any_distinct_texts_come_back_as_written(tmp_path: Path, texts: list[str]) -> None:
    n = len(texts) // 6
    code, pseudo, spanish, french, german = (texts[part * n : part * n + n] for part in range(5))
    content = {
        "python_pairs": [
            {"code": a, "pseudo": b, "description": "d"} for a, b in zip(code, pseudo, strict=True)
        ],
        "non_english_pairs": [
            {"spanish": a, "french": b, "german": c, "english_meaning": a}
            for a, b, c in zip(spanish, french, german, strict=True)
        ],
    }
    rows = read_matched_pairs(written(tmp_path, content))
    assert [row.text for row in rows if row.form == "code"] == code
    assert [row.text for row in rows if row.form == "german"] == german
    assert [row.pair for row in rows if row.form == "french"] == list(range(n))
    assert [row.meaning for row in rows if row.form == "french"] == spanish


def test_bundled_pairs_are_the_held_out_ones_whole(mixture: list[Text]) -> None:
    rows = bundled_pairs(mixture)
    assert (
        Counter(topic for topic, _ in dict.fromkeys((r.topic, r.form) for r in rows)) == N_CLASSES
    )
    held_out = {t.text: t for t in mixture if t.part == "pairs" and t.split == HELD_OUT}
    trained = {text.text for text in mixture if text.split == TRAIN}
    assert {row.text for row in rows} == set(held_out)
    assert not trained & {row.text for row in rows}
    for row in rows:
        text = held_out[row.text]
        assert (row.topic, row.form, row.pair) == (text.group, text.form, text.item)
    by_pair = Counter(row.content for row in rows)
    assert all(count == N_CLASSES[topic] for (topic, _), count in by_pair.items())


def test_bundled_calculations_expect_their_result(mixture: list[Text]) -> None:
    rows = [row for row in bundled_pairs(mixture) if row.topic == "Math_Simple"]
    for row in rows:
        if row.form == "symbolic":
            assert row.expected == str(int(eval(row.text.replace("^", "**"))))
            sign = {"+": "addition", "-": "subtraction", "*": "multiplication"}
            sign |= {"/": "division", "^": "exponents"}
            assert row.meaning == next(sign[each] for each in row.text if each in sign)
    expected = {row.content: row.expected for row in rows}
    assert all(row.expected == expected[row.content] for row in rows)
    assert all(r.expected is None for r in bundled_pairs(mixture) if r.topic != "Math_Simple")


def test_bundled_texts_do_not_depend_on_the_order_and_more_only_append(mixture: list[Text]) -> None:
    shuffled = random.Random(0).sample(mixture, len(mixture))
    assert bundled_pairs(shuffled, 12) == bundled_pairs(mixture, 12)
    assert bundled_categories(shuffled, 12) == bundled_categories(mixture, 12)
    every = bundled_pairs(mixture)
    few = bundled_pairs(mixture, 5)
    assert len(few) == 20 * 5
    for topic in N_CLASSES:
        part = [row for row in few if row.topic == topic]
        assert [row for row in every if row.topic == topic][: len(part)] == part


def test_what_training_reads_elsewhere_and_what_comes_twice_is_left_out(
    mixture: list[Text],
) -> None:
    rows = bundled_pairs(mixture)
    pair = [row for row in rows if row.content == rows[3].content]
    known = Text("documents", "x", "", 0, TRAIN, "", pair[1].text)
    assert bundled_pairs([*mixture, known]) == [row for row in rows if row not in pair]
    last = max(row.pair for row in rows if row.topic == "Python")
    copies = [
        Text("pairs", "Python", form, last + 9, HELD_OUT, "", text)
        for form, text in (("code", rows[0].text), ("pseudo", "new words"))
    ]
    assert bundled_pairs([*mixture, *copies]) == rows
    category = bundled_categories(mixture)[0]
    known = Text("documents", "x", "", 0, TRAIN, "", category.text)
    assert category not in bundled_categories([*mixture, known])


def test_bundled_categories_are_the_held_out_ones(mixture: list[Text]) -> None:
    rows = bundled_categories(mixture, 10)
    assert set(Counter(row.category for row in rows).values()) == {10}
    assert len({row.category for row in rows}) == 7
    held_out = {
        (t.group, t.text) for t in mixture if t.split == HELD_OUT and t.part == "categories"
    }
    assert {(row.category, row.text) for row in rows} <= held_out


def test_too_few_held_out_texts_are_told(mixture: list[Text]) -> None:
    with pytest.raises(
        SaeflowError, match=r"holds out \d+ pairs of Math_Simple; expected at least 9"
    ):
        bundled_pairs(mixture, 999)
    with pytest.raises(SaeflowError, match="holds out 0 texts of Python; expected at least 1"):
        bundled_categories([text for text in mixture if text.part == "pairs"])
