"""Whatever is written into the configuration: nothing but a plain sentence ever comes out."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from saeflow.config.root import Config, parse_config
from saeflow.errors import SaeflowError
from tests.configs import changed
from tests.sentences import check_sentence

CONTROL = {"of": "llama", "weights": "fresh"}


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every key and list entry."""
    parts = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in parts:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


EVERYTHING = changed(
    {
        "models.c": CONTROL,
        "models.p": {"weights": "path", "path": "x"},
        "models.h": {"weights": "hub", "repo": "x", "revision": "y"},
        "datasets.p": {"source": "path", "path": "x", "split": {"train_share": 0.5, "seed": 1}},
        "datasets.h": {"source": "hub", "subset": {"kind": "random", "n": 3, "seed": 1}},
        "models.llama.thoughts": {"latents": 6},
        "dictionaries.llama_k100.training": {"epochs": 1},
    }
)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([10**30, -(10**400), 2**63, 0, -1, 0.5, float("nan"), float("-inf")]),
    st.text(max_size=5),
    st.sampled_from(["all", "fresh", "path", "hub", "generated", "llama", "raw_neurons", "c", "p"]),
    st.lists(st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), st.none(), max_size=2),
)
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(list(places(EVERYTHING))),
        st.sampled_from(["delete", "replace", "rename", "add"]),
        JUNK,
    ),
    min_size=1,
    max_size=4,
)


def mutate(values: Any, path: tuple[Any, ...], how: str, junk: Any) -> None:
    *parents, last = path
    try:
        for parent in parents:
            values = values[parent]
        old = values[last]
    except (KeyError, IndexError, TypeError):
        return  # an earlier change took it away
    if isinstance(values, str):
        return  # an earlier change put a text there
    if not isinstance(values, dict | list) or how == "replace":
        values[last] = junk
    elif how == "delete":
        del values[last]
    elif isinstance(values, dict):
        key = junk if isinstance(junk, str | int | None) else str(junk)
        values[key] = old
        if how == "rename":
            values.pop(last)


@given(MUTATIONS)
def test_mutated_configuration_gives_a_config_or_one_sentence(
    mutations: list[tuple[tuple[Any, ...], str, Any]],
) -> None:
    values = copy.deepcopy(EVERYTHING)
    for path, how, junk in mutations:
        mutate(values, path, how, junk)
    try:
        assert isinstance(parse_config(values), Config)
    except SaeflowError as error:
        check_sentence(error)


def blocks_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from blocks_in(field.annotation)
    for part in get_args(annotation):
        yield from blocks_in(part)


OURS = {block.__name__ for block in blocks_in(Config)}
PYTHON = ("Input should", "dictionary or instance", "after validation", "Tuple", "None")


@pytest.mark.parametrize("junk", [None, 3, -(10**9), 0.5, "x", "", [], [3], {}, [[]]], ids=repr)
def test_sentences_name_no_class_of_ours_nor_of_python(junk: Any) -> None:
    told = 0
    for path in places(EVERYTHING):
        values = copy.deepcopy(EVERYTHING)
        mutate(values, path, "replace", junk)
        try:
            parse_config(values)
        except SaeflowError as error:
            told += 1
            text = str(error)
            assert not any(word in text for word in PYTHON), text
            assert not OURS & set(re.findall(r"\w+", text)), text
    assert told > 50
