"""What a configuration may not hold: keys, and names that lead out of their place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.config.root import parse_config
from saeflow.config.secrets import LOOKS, secret_sentences
from saeflow.errors import SaeflowError
from tests.configs import changed
from tests.sentences import check_sentence

KEYS = (
    "hf_abcdefghijklmnopqrstuvwxyz01234567",
    "sk-proj-Abc_d1-efghijklm0123456789nop_q",
    "sk-ant-api03-a-bcdefghijklmnop0123456789",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "AKIAABCDEFGHIJKLMNOP",
    "Bearer abcdefghijklmnop0123",
)
COMMIT = "a" * 40


def refused(values: Any) -> str:
    with pytest.raises(SaeflowError) as error:
        parse_config(values)
    check_sentence(error.value)
    return str(error.value)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "place",
    [
        lambda key: {"api_key": key},
        lambda key: {"models.llama.token": key},
        lambda key: {"models.llama": key},
        lambda key: {"models.x": {"weights": "hub", "repo": "o/n", "revision": key}},
        lambda key: {"models.x": {"weights": key}},
        lambda key: {"datasets.x": {"source": "text_file", "path": ["a.txt", f"b/{key}.txt"]}},
        lambda key: {"datasets": {key: {}}},
        lambda key: {"compute": [[{"deep": {"inside": [key]}}]]},
    ],
    ids=range(8),
)
def test_keys_are_refused_and_not_repeated(key: str, place: Any) -> None:
    told = refused(changed(place(key)))
    assert "looks like a key or token, which has no place in the configuration" in told
    assert key not in told
    assert key[4:] not in told


@pytest.mark.parametrize(
    "text",
    [
        "hf_internal",
        "openai/gpt-oss-20b",
        "task-abcdefghijklmnopqrst",
        "risk-averse",
        COMMIT,
        "data/sk-wikipedia-2024-clean.jsonl",
        "org/sk-bert-base-cased-v2",
        "sk-internationalization",
        "Bearer certificates of 1920",
    ],
)
def test_ordinary_names_are_no_keys(text: str) -> None:
    assert not list(secret_sentences({"a": [text]}))


PLAIN = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text() | st.integers(), each),
)


@given(PLAIN)
def test_any_values_can_be_searched(values: Any) -> None:
    for sentence in secret_sentences(values):
        assert not LOOKS.search(sentence)


def test_lists_that_hold_themselves_are_searched_once() -> None:
    values: list[Any] = [KEYS[0]]
    values.append({"again": values})
    assert len(list(secret_sentences({"a": values}))) == 1


NAMES = (
    "../x",
    "a/b",
    "a b",
    "a\nb",
    "/x",
    "",
    ".",
    "..",
    "-x",
    "x\x00",
    "ü",
    "a" * 65,
    "x/../../y",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["models", "datasets", "dictionaries"])
def test_names_of_blocks_stay_in_their_place(kind: str, name: str) -> None:
    blocks = {
        "models": {"weights": "fresh", "family": "gpt2"},
        "datasets": {"source": "generated"},
        "dictionaries": {"dataset": "generated", "d_sae": 8, "k": 2},
    }
    values = changed({})
    values[kind] = {**values[kind], name: blocks[kind]}
    assert kind in refused(values)


INSIDE = ("../x", "a/../../x", "/etc/passwd", "a\nb", "a\x00b", "..", "a\\..\\b", "")


@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({"datasets.x": {"source": "hub", "file": None}}, "file"),
        ({"datasets.x": {"source": "text_hub", "repo": "o/n", "revision": COMMIT, "files": None}}, "files"),
        ({"models.x": {"weights": "hub", "repo": "o/n", "revision": None}}, "revision"),
        ({"dictionaries.x": {"dataset": "documents", "hook": "resid_post", "layers": [0],
                             "released": {"release": "r", "sae_id": None}}}, "sae_id"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_paths_stay_inside_their_repository(block: dict[str, Any], key: str, path: str) -> None:
    (name, values), = block.items()  # fmt: skip
    inner = values.get("released", values)
    given = {**inner, key: [path] if key == "files" else path}
    told = refused(
        changed({name: {**values, "released": given} if "released" in values else given})
    )
    assert key in told


@pytest.mark.parametrize(
    "repo", ["../x", "..", "a/b/c", "/a", "a b", "a\n", "o/..", "http://x/y", ""]
)
@pytest.mark.parametrize(
    "block",
    [
        {"models.x": {"weights": "hub", "revision": "main"}},
        {"datasets.x": {"source": "hub"}},
        {"datasets.x": {"source": "text_hub", "revision": COMMIT, "files": ["a.txt"]}},
    ],
    ids=range(3),
)
def test_names_of_repositories(block: dict[str, Any], repo: str) -> None:
    (name, values), = block.items()  # fmt: skip
    assert "repo" in refused(changed({name: {**values, "repo": repo}}))
