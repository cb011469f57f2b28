"""Replies of a model behind an OpenAI-compatible endpoint; its key is read from the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, NamedTuple

import requests
from requests.auth import AuthBase

from saeflow.config.writers import EndpointSettings
from saeflow.errors import SaeflowError, first_line
from saeflow.progress import progress

TOO_LONG = 60.0
"""Longest wait between two tries, in seconds, whatever the endpoint asks for."""
_QUOTED = 200


class EndpointWriter:
    """Replies at temperature 0, some at a time; a hosted model may still change between runs.

    Parameters
    ----------
    settings : EndpointSettings
        Address, model and name of the key's environment variable.
    first_wait : float
        Seconds before the second try of a request; each further wait is twice as long.

    Raises
    ------
    SaeflowError
        If the environment variable is not set. Nothing is sent yet.
    """

    def __init__(self, settings: EndpointSettings, *, first_wait: float = 1.0) -> None:
        self._settings = settings
        self._first_wait = first_wait
        self._address = settings.url.rstrip("/") + "/chat/completions"
        self._key = read_key(settings.key_variable)

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Reply to each prompt; see `saeflow.models.writers.writer.Writer`.

        Raises
        ------
        SaeflowError
            If the endpoint refuses a request, keeps failing, or says what is no reply. Nothing
            further is sent then.
        """
        settings = self._settings
        stopped = Event()
        with requests.Session() as session, ThreadPoolExecutor(settings.parallel) as pool:
            jobs = [pool.submit(self._ask, session, prompt, stopped) for prompt in prompts]
            asked = progress(jobs, description=settings.model, total=len(jobs), unit="replies")
            try:
                return [job.result() for job in asked]
            except BaseException:
                stopped.set()
                raise

    def _ask(self, session: requests.Session, prompt: str, stopped: Event) -> str:
        """Send one request, again and again while it fails for a reason that may pass."""
        tries = 0
        while not stopped.is_set():
            found = self._send(session, prompt)
            if isinstance(found, str):
                return found
            tries += 1
            if tries > self._settings.retries:
                times = "once" if tries == 1 else f"{tries} times"
                raise SaeflowError(
                    f"{self._address} was asked {times} in vain and {found.reason} at last; try "
                    "again later, or raise retries or timeout."
                )
            _pause(stopped, min(max(self._first_wait * 2 ** (tries - 1), found.wait), TOO_LONG))
        return ""  # another request has failed for good, so that nobody reads this

    def _send(self, session: requests.Session, prompt: str) -> str | _Failure:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self._settings.max_new_tokens,
        }
        try:
            answer = session.post(
                self._address,
                json=body,
                auth=_Bearer(self._key),
                timeout=self._settings.timeout,
                # A redirected request would carry the prompts to where nobody sent them.
                allow_redirects=False,
            )
        except requests.Timeout:
            return _Failure(f"said nothing for {self._settings.timeout:g} seconds")
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            return _Failure(f"could not be reached ({type(error).__name__})")
        except requests.RequestException as error:
            raise SaeflowError(
                f"{self._address} cannot be asked ({self._quote(first_line(error))}); expected the "
                "address of an OpenAI-compatible endpoint."
            ) from None
        if answer.status_code == 429 or answer.status_code >= 500:
            return _Failure(f"answered {self._told(answer)}", _asked_wait(answer))
        if answer.status_code in (401, 403):
            # What the endpoint says here may quote a part of the key.
            variable = self._settings.key_variable or "key_variable, which is null"
            raise SaeflowError(
                f"{self._address} answered {answer.status_code}: it refuses the key; check {variable}."
            )
        if answer.status_code != 200:
            raise SaeflowError(
                f"{self._address} answered {self._told(answer)}; check url, model and what the "
                "model accepts."
            )
        return self._text_of(answer)

    def _text_of(self, answer: requests.Response) -> str:
        try:
            content = answer.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            content = answer
        if not isinstance(content, str | None):
            raise SaeflowError(
                f"{self._address} answered {self._quote(answer.text)!r}; expected JSON with "
                "choices[0].message.content, as OpenAI's /chat/completions gives."
            )
        return content or ""

    def _told(self, answer: requests.Response) -> str:
        """Status and what the endpoint says of it."""
        try:
            said: Any = answer.json()["error"]["message"]
        except (ValueError, LookupError, TypeError):
            said = answer.text
        quoted = self._quote(str(said))
        return f"{answer.status_code} ({quoted})" if quoted else str(answer.status_code)

    def _quote(self, text: str) -> str:
        """Foreign text on one short line, without the key: cut last, so that no part of it is left."""
        clean = text.replace(self._key, "***") if self._key else text
        return " ".join(clean.split())[:_QUOTED]


class _Failure(NamedTuple):
    """Why a request may succeed later, and how many seconds the endpoint wants to be left alone."""

    reason: str
    wait: float = 0.0


class _Bearer(AuthBase):
    """The key as a header; also keeps requests from sending what ~/.netrc holds for that machine."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def read_key(variable: str | None) -> str:
    """Read a key from the environment.

    Parameters
    ----------
    variable : str or None
        Environment variable; None: no key is needed.

    Returns
    -------
    str
        The key, empty where none is needed.

    Raises
    ------
    SaeflowError
        If the variable is not set, or holds what cannot be sent. The sentence names the variable
        and never its content.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SaeflowError(
            f"The environment variable {variable} is not set; expected the key of the endpoint."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SaeflowError(
            f"The environment variable {variable} holds blanks or characters that no key has; "
            "expected the key of the endpoint alone."
        )
    return key


def _pause(stopped: Event, seconds: float) -> None:
    """Wait, but no longer than until everything stops."""
    stopped.wait(seconds)


def _asked_wait(answer: requests.Response) -> float:
    """Seconds that the endpoint asks to wait; a date there is left to the growing waits."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdigit() else 0.0
