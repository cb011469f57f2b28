"""Blocks that name a judge: plain sentences, and no key in any of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import Field, ValidationError

from saeflow.config.base import Block
from saeflow.config.judge import ExactJudge, JudgeSettings
from saeflow.config.messages import first_sentence
from saeflow.config.writers import EndpointSettings, LocalSettings

SECRET = "sk-proj-abcDEF123"
LOCAL = {"kind": "local", "path": "judge"}
HUB = {"kind": "local", "repo": "a/b", "revision": "0" * 40}
ENDPOINT = {"kind": "endpoint", "url": "https://api.openai.com/v1", "model": "m"}


class Study(Block):
    """Where a judge may stand."""

    judge: JudgeSettings = Field(default_factory=ExactJudge, description="Who judges answers.")


class Studies(Block):
    """The levels above, as in config.yaml."""

    studies: dict[str, Study]


def parsed(judge: Any) -> Any:
    return Studies.model_validate({"studies": {"specialists": {"judge": judge}}})


def sentence_of(judge: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        parsed(judge)
    return first_sentence(caught.value, Studies)


def test_the_default_is_exact() -> None:
    assert Study().judge == ExactJudge(kind="exact")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"kind": "exact"}, ExactJudge),
        (LOCAL, LocalSettings),
        (HUB, LocalSettings),
        (ENDPOINT, EndpointSettings),
        (ENDPOINT | {"url": "http://localhost:8000/v1", "key_variable": None}, EndpointSettings),
        (ENDPOINT | {"url": "http://[::1]:8000"}, EndpointSettings),
    ],
)
def test_each_kind_goes_to_json_and_back(given: dict[str, Any], kind: type) -> None:
    judge = parsed(given).studies["specialists"].judge
    assert type(judge) is kind
    plain = json.loads(json.dumps(judge.model_dump(mode="json")))
    assert parsed(plain).studies["specialists"].judge == judge
    assert plain.items() >= given.items()


KEY = "studies.specialists.judge"
BAD = {
    "kind": ({"kind": "exakt"}, f"{KEY}.kind is 'exakt'; expected one of 'exact', 'local', 'endpoint'"),
    "no kind": ({"path": "x"}, f"{KEY}.kind is missing; expected one of 'exact', 'local', 'endpoint'"),
    "exact": ({"kind": "exact", "model": "m"}, f"{KEY}.model is no known key"),
    "typo": (ENDPOINT | {"ulr": "x"}, f"{KEY}.ulr is no known key; did you mean 'url'?"),
    "no model": ({"kind": "endpoint", "url": "https://a"}, f"{KEY}.model is missing; expected"),
    "no url": ({"kind": "endpoint", "model": "m"}, f"{KEY}.url is missing; expected base address"),
    "retries": (ENDPOINT | {"retries": -1}, f"{KEY}.retries is -1: expected 0 or more."),
    "timeout": (ENDPOINT | {"timeout": 0}, f"{KEY}.timeout is 0: expected a number above 0."),
    "no place": ({"kind": "local"}, f"{KEY}: path is missing; expected a path, or a repo with"),
    "two places": (LOCAL | {"repo": "a/b"}, f"{KEY}: path and repo are both given"),
    "no revision": ({"kind": "local", "repo": "a/b"}, f"{KEY}: revision is missing"),
    "branch": (HUB | {"revision": "main"}, f"{KEY}.revision is 'main': expected text of the form"),
    "dtype": (LOCAL | {"dtype": "int8"}, f"{KEY}.dtype is 'int8': expected 'float32'"),
    "null": (None, KEY),
    "word": ("exact", KEY),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_block_is_one_sentence(case: str) -> None:
    given, expected = BAD[case]
    said = sentence_of(given)
    assert said.startswith(expected)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"key_variable": SECRET}, "key_variable is no name of an environment variable"),
        ({"key_variable": "abcdef123456"}, "key_variable is no name of an environment variable"),
        ({"key_variable": ""}, "key_variable is no name of an environment variable"),
        ({"url": SECRET}, "url is no address"),
        ({"url": f"https://api.openai.com/{SECRET} "}, "url is no address"),
        ({"url": f"ftp://{SECRET}"}, "url is no address"),
        ({"url": f"https://me:{SECRET}@host/v1"}, "url holds a user"),
        ({"url": f"https://{SECRET}@host/v1"}, "url holds a user"),
        ({"url": f"https://host/v1?api_key={SECRET}"}, "url holds a user, a query"),
        ({"url": f"https://host/v1#{SECRET}"}, "url holds a user, a query or a fragment"),
        ({"url": f"https://host:{SECRET}/v1"}, "url is no address"),
        ({"api_key": SECRET}, "judge.api_key is no known key"),
        ({"key": SECRET}, "judge.key is no known key"),
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_shown(
    changes: dict[str, Any], part: str
) -> None:
    said = sentence_of(ENDPOINT | changes)
    assert part in said
    given = next(iter(changes.values()))
    assert not given or given not in said
    assert SECRET not in said
