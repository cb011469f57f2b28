"""Prompts to search by: each once, on one side, and as long as those of the other side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from saeflow.artifacts.catalog import TEXTS
from saeflow.config.scaling_search import PromptSet, SearchSettings
from saeflow.datasets.prompt_sets import load_prompts, prompt_sides
from saeflow.errors import SaeflowError
from tests.sentences import check_sentence


def settings_of(**block: object) -> PromptSet:
    made: PromptSet = TypeAdapter(PromptSet).validate_python(block)
    return made


def texts_of(rows: list[tuple[str, str, int, str]]) -> pa.Table:
    split, group, item, content = zip(*rows, strict=True)
    count = len(rows)
    columns = [range(count), content, split, ["documents"] * count, group, [""] * count, item]
    return pa.table(dict(zip(TEXTS.column_names(), map(list, columns), strict=True)))


@pytest.fixture(scope="module")
def documents() -> pa.Table:
    """Law has short texts, the others have short and long ones."""
    rng = np.random.default_rng(0)
    rows = []
    for group, lengths in (("law", (3, 6)), ("music", (3, 40)), ("cooking", (3, 40))):
        for item in range(30):
            size = int(rng.integers(*lengths))
            content = " ".join(f"{group}{item}" for _ in range(size))
            rows.append(("validation" if item % 2 else "train", group, item, content))
    return texts_of(rows)


def test_equal_prompts_are_one_and_are_counted() -> None:
    found = prompt_sides(["A  cat", "a cat ", "A dog"], ["B", "b", "c"])
    assert found.positive == ("A  cat", "A dog")
    assert found.negative == ("B", "c")
    assert found.repeated == 2
    assert found.prompts == ("A  cat", "A dog", "B", "c")


@pytest.mark.parametrize(
    ("positive", "negative", "told"),
    [
        ([], ["x"], "no positive prompt"),
        (["x", " "], [], "positive prompt 2 is empty"),
        (["x y"], ["z", "X  y"], "'x y' is positive and negative"),
    ],
)
def test_what_cannot_be_searched_by_is_told(
    positive: list[str], negative: list[str], told: str
) -> None:
    with pytest.raises(SaeflowError) as caught:
        prompt_sides(positive, negative)
    check_sentence(caught.value, told)


def test_prompts_of_lists_and_files(tmp_path: Path) -> None:
    listed = settings_of(source="list", positive=["a", "b"], negative=["c"])
    assert load_prompts("x", listed)["x"].prompts == ("a", "b", "c")
    path = tmp_path / "prompts.txt"
    path.write_text("one\n\n two \r\none\n", encoding="utf-8")
    files = settings_of(source="files", positive=str(path))
    found = load_prompts("x", files)["x"]
    assert (found.positive, found.negative, found.repeated) == (("one", " two "), (), 1)
    other = settings_of(source="files", positive="nowhere", negative="nowhere either")
    (tmp_path / "no.txt").write_text("three\n")
    given = {"positive": path, "negative": tmp_path / "no.txt"}
    assert load_prompts("x", other, files=given)["x"].negative == ("three",)
    for content, told in ((None, "does not exist"), (b"\n", "holds no prompt"), (b"\xff", "UTF-8")):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(SaeflowError) as caught:
            load_prompts("x", files)
        check_sentence(caught.value, str(path), told)


def test_groups_stand_against_all_others(documents: pa.Table) -> None:
    found = load_prompts("t", settings_of(source="groups", dataset="d"), texts=documents)
    assert list(found) == ["t/cooking", "t/law", "t/music"]
    for name, sides in found.items():
        group = name.split("/")[1]
        assert len(sides.positive) == 15
        assert len(sides.negative) == 30
        assert all(text.startswith(group) for text in sides.positive)
        assert not any(text.startswith(group) for text in sides.negative)
        # Of the validation split: odd items.
        assert all(
            int(text.split()[0].lstrip("abcdefghijklmnopqrstuvwxyz")) % 2 for text in sides.prompts
        )
    few = settings_of(source="groups", dataset="d", groups=["law"], positive=4, negative=6)
    again = load_prompts("t", few, texts=documents)["t/law"]
    assert again == load_prompts("t", few, texts=documents)["t/law"]
    assert again.positive == found["t/law"].positive[:4]
    other = settings_of(
        source="groups", dataset="d", groups=["law"], positive=4, negative=6, seed=1
    )
    assert load_prompts("t", other, texts=documents)["t/law"].positive != again.positive


def test_others_are_as_long_as_those_of_the_group(documents: pa.Table) -> None:
    lengths = {}
    for match in (True, False):
        block = settings_of(
            source="groups",
            dataset="d",
            groups=["law"],
            positive=6,
            negative=6,
            match_lengths=match,
        )
        sides = load_prompts("t", block, texts=documents)["t/law"]
        lengths[match] = np.mean([len(text.split()) for text in sides.negative])
    assert lengths[True] < 10 < lengths[False]


def test_one_form_of_each_content_is_drawn() -> None:
    rows = [("validation", group, item, f"{group} {item} form {form}")
            for group in ("a", "b") for item in range(5) for form in range(4)]  # fmt: skip
    found = load_prompts("t", settings_of(source="groups", dataset="d"), texts=texts_of(rows))
    for sides in found.values():
        assert len(sides.positive) == len(sides.negative) == 5
        assert len({tuple(text.split()[:2]) for text in sides.prompts}) == 10


def test_unknown_groups_are_told(documents: pa.Table) -> None:
    block = settings_of(source="groups", dataset="d", groups=["lwa"])
    with pytest.raises(SaeflowError) as caught:
        load_prompts("t", block, texts=documents)
    check_sentence(caught.value, "did you mean 'law'?")
    with pytest.raises(SaeflowError, match="expected others"):
        load_prompts(
            "t",
            settings_of(source="groups", dataset="d"),
            texts=texts_of([("validation", "a", 0, "x")]),
        )
    with pytest.raises(SaeflowError, match="expected a data set"):
        load_prompts("t", block)


def test_settings_refuse_what_is_named_twice() -> None:
    assert SearchSettings().published.max_tokens == 35
    for block in ({"levels": ["token", "token"]}, {"targets": [3, 3]},
                  {"published": {"scores": ["rank", "rank"]}}):  # fmt: skip
        with pytest.raises(ValueError, match="names something twice"):
            SearchSettings.model_validate(block)
