"""An endpoint that answers, is busy, breaks down, talks nonsense or keeps silent; and the key."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from saeflow.config.writers import EndpointSettings
from saeflow.errors import SaeflowError
from saeflow.models.writers.endpoint import TOO_LONG, EndpointWriter
from saeflow.models.writers.writer import load_writer
from tests.fake_endpoint import KEY, VARIABLE, Asked, Endpoint, Reply, failed, said, serving
from tests.sentences import check_sentence


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def settings_of(url: str, **changes: Any) -> EndpointSettings:
    given = {"kind": "endpoint", "url": url, "model": "m-1", "key_variable": VARIABLE}
    return EndpointSettings(**(given | changes))


def writer_of(endpoint: Endpoint, **changes: Any) -> EndpointWriter:
    return EndpointWriter(settings_of(endpoint.url, **changes), first_wait=0.001)


def echo(asked: Asked, _: int) -> Reply:
    return said(f"<{asked.prompt}>")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between tries, none of them really."""
    found: list[float] = []
    monkeypatch.setattr(
        "saeflow.models.writers.endpoint._pause", lambda _, seconds: found.append(seconds)
    )
    return found


def test_replies_come_in_the_order_of_the_prompts() -> None:
    def slow_first(asked: Asked, _: int) -> Reply:
        time.sleep(0.2 if asked.prompt == "0" else 0.0)
        return echo(asked, 0)

    prompts = [*map(str, range(12)), '日本 🙂\n"x"', ""]
    with serving(slow_first) as endpoint:
        replies = writer_of(endpoint, max_new_tokens=7).write(prompts)
    assert replies == [f"<{prompt}>" for prompt in prompts]
    assert sorted(each.prompt for each in endpoint.asked) == sorted(prompts)
    for each in endpoint.asked:
        assert each.path == "/v1/chat/completions"
        assert each.headers["Authorization"] == f"Bearer {KEY}"
        assert {name: each.body[name] for name in each.body if name != "messages"} == {
            "model": "m-1",
            "temperature": 0,
            "max_tokens": 7,
        }


def test_nothing_is_asked_for_no_prompts() -> None:
    with serving(echo) as endpoint:
        assert writer_of(endpoint).write([]) == []
    assert not endpoint.asked


@pytest.mark.parametrize("text", ["", None])
def test_a_reply_without_text_is_empty(text: str | None) -> None:
    with serving(lambda *_: said(text)) as endpoint:
        assert writer_of(endpoint).write(["a"]) == [""]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_asked_again(status: int, waits: list[float]) -> None:
    def busy(asked: Asked, before: int) -> Reply:
        return echo(asked, 0) if before == 3 else failed(status, "busy")

    with serving(busy) as endpoint:
        writer = EndpointWriter(settings_of(endpoint.url, retries=3))
        assert writer.write(["a"]) == ["<a>"]
    assert len(endpoint.asked) == 4
    assert waits == [1, 2, 4]


@pytest.mark.parametrize(
    ("told", "expected"), [("7", 7), ("100000", TOO_LONG), ("Wed, 21 Oct 2026", 1), ("-3", 1)]
)
def test_it_is_left_alone_as_long_as_it_asks(
    told: str, expected: float, waits: list[float]
) -> None:
    def busy(asked: Asked, before: int) -> Reply:
        return echo(asked, 0) if before else failed(429, "busy", Retry_After=told)

    with serving(busy) as endpoint:
        assert EndpointWriter(settings_of(endpoint.url)).write(["a"]) == ["<a>"]
    assert waits == [expected]


def test_an_endpoint_that_stays_broken_is_given_up() -> None:
    def broken(asked: Asked, _: int) -> Reply:
        time.sleep(0.3 if asked.prompt == "b" else 0.0)
        return failed(500, "out of\norder")

    with serving(broken) as endpoint, pytest.raises(SaeflowError) as caught:
        writer_of(endpoint, retries=2, parallel=1).write(["a", "b", "c", "d"])
    check_sentence(caught.value, endpoint.url, "3 times", "500 (out of order)", "retries")
    # What has begun comes to its end; nothing else is asked, nor the same again.
    assert [each.prompt for each in endpoint.asked] in (["a"] * 3, [*"aaab"])


def test_waits_end_when_another_request_fails() -> None:
    def one_refused(asked: Asked, _: int) -> Reply:
        time.sleep(0.2 if asked.prompt == "refused" else 0.0)
        return failed(404 if asked.prompt == "refused" else 503, "x")

    started = time.monotonic()
    with serving(one_refused) as endpoint:
        writer = EndpointWriter(settings_of(endpoint.url, parallel=2), first_wait=30.0)
        with pytest.raises(SaeflowError, match="404"):
            writer.write(["refused", "busy"])
    assert time.monotonic() - started < 10
    assert sorted(each.prompt for each in endpoint.asked) == ["busy", "refused"]


def test_a_silent_endpoint_is_given_up_and_one_that_wakes_is_not() -> None:
    with serving(lambda *_: Reply(silent=True)) as endpoint:
        started = time.monotonic()
        with pytest.raises(SaeflowError) as caught:
            writer_of(endpoint, retries=1, timeout=0.2).write(["a"])
        assert time.monotonic() - started < 5
    check_sentence(caught.value, "2 times", "said nothing for 0.2 seconds", "timeout")
    assert len(endpoint.asked) == 2

    def wakes(asked: Asked, before: int) -> Reply:
        return echo(asked, 0) if before else Reply(silent=True)

    with serving(wakes) as endpoint:
        assert writer_of(endpoint, timeout=0.2).write(["a"]) == ["<a>"]


def test_an_endpoint_that_is_not_there(waits: list[float]) -> None:
    with serving(echo) as endpoint:
        pass
    with pytest.raises(SaeflowError) as caught:
        writer_of(endpoint, retries=1).write(["a"])
    check_sentence(caught.value, endpoint.url, "could not be reached", "ConnectionError")
    assert len(waits) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"\xff\xfe\x00",
        b"[]",
        b'"x"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
    ],
)
def test_what_is_no_reply_stops_at_once(body: bytes) -> None:
    with serving(lambda *_: Reply(body=body)) as endpoint, pytest.raises(SaeflowError) as caught:
        writer_of(endpoint).write(["a"])
    check_sentence(caught.value, endpoint.url, "expected JSON with choices[0].message.content")
    assert len(endpoint.asked) == 1


def test_a_refused_request_stops_at_once() -> None:
    with (
        serving(lambda *_: failed(404, "no model m-1")) as endpoint,
        pytest.raises(SaeflowError) as caught,
    ):
        writer_of(endpoint).write(["a"])
    check_sentence(caught.value, "404 (no model m-1)", "check url, model")
    assert len(endpoint.asked) == 1


def test_prompts_are_not_sent_on_to_another_machine() -> None:
    with serving(echo) as other:
        away = Reply(307, headers={"Location": f"{other.url}/chat/completions"})
        with (
            serving(lambda *_: away) as endpoint,
            pytest.raises(SaeflowError, match="answered 307"),
        ):
            writer_of(endpoint).write(["a"])
    assert not other.asked


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_key_stops_before_any_request(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with serving(echo) as endpoint, pytest.raises(SaeflowError) as caught:
        load_writer(settings_of(endpoint.url), torch.device("cpu"))
    check_sentence(caught.value, f"The environment variable {VARIABLE} is not set")
    assert not endpoint.asked


def test_an_endpoint_without_a_key_gets_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # requests would send what this file holds for the machine.
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(echo) as endpoint:
        assert writer_of(endpoint, key_variable=None).write(["a"]) == ["<a>"]
        assert writer_of(endpoint).write(["a"]) == ["<a>"]
    assert "Authorization" not in endpoint.asked[0].headers
    assert endpoint.asked[1].headers["Authorization"] == f"Bearer {KEY}"


def test_a_key_from_a_file_may_end_in_a_new_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{KEY}\n")
    with serving(echo) as endpoint:
        assert writer_of(endpoint).write(["a"]) == ["<a>"]
    assert endpoint.asked[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [f"{KEY}\nx: y", f"Bearer {KEY}", f"{KEY}é", f"{KEY}\x07"])
def test_what_no_header_can_hold_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(SaeflowError) as caught:
        EndpointWriter(settings_of("http://127.0.0.1:1/v1"))
    check_sentence(caught.value, VARIABLE, "characters that no key has")
    assert KEY[:8] not in "".join(traceback.format_exception(caught.value))


def said_by(status: int, at: int) -> Callable[[Asked, int], Reply]:
    """A server that tells the header it got, in the error's message behind so many letters."""
    return lambda asked, _: failed(status, "x" * at + asked.headers["Authorization"])


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 200])
@pytest.mark.parametrize("at", [0, 180])
def test_the_key_is_nowhere_to_be_seen(
    status: int,
    at: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    waits: list[float],
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(said_by(status, at)) as endpoint:
        writer = writer_of(endpoint, retries=1)
        with pytest.raises(SaeflowError) as caught:
            writer.write(["a"])
    check_sentence(caught.value)
    printed = capfd.readouterr()
    shown = [*traceback.format_exception(caught.value), caplog.text, *printed, repr(writer)]
    assert "sk-Se" not in "".join([*shown, str(writer._settings.model_dump())])
    assert caplog.text  # urllib3 tells of its requests, so that the check is no empty one
    if status in (401, 403):
        check_sentence(caught.value, f"answered {status}", f"check {VARIABLE}")
