"""A Hugging Face hub on this machine, which can be gated, busy or break off, and counts what it sends."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "c0ffee" + "0" * 34


class FakeHub:
    """Repositories by name, each with files by name, all at one commit that ``main`` points to."""

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]], large: int = 1000) -> None:
        self.repos = repos
        self.large = large
        self.gated: set[str] = set()
        self.busy: list[int] = []
        self.break_off: dict[str, int] = {}
        self.told: dict[str, str] = {}
        self.sent: Counter[str] = Counter()
        self.listed: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.authorizations: list[str] = []
        self.url = ""

    def environment(self, cache: Path) -> dict[str, str]:
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def listing(self, repo: str) -> dict[str, Any]:
        self.listed[repo] += 1
        siblings = []
        for name, content in self.repos[repo].items():
            entry: dict[str, Any] = {
                "rfilename": name,
                "size": len(content),
                "blobId": git(content),
            }
            if len(content) > self.large:
                sha256 = self.told.get(name, hashlib.sha256(content).hexdigest())
                entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return {"id": repo, "sha": COMMIT, "siblings": siblings, "private": False}


def git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.authorizations.append(self.headers.get("Authorization", ""))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if self.hub.busy:
            self._refuse(self.hub.busy.pop(0), "")
        elif parts == ["api", "models"]:
            self._json([{"id": name, "modelId": name} for name in self.hub.repos])
        elif parts[0] == "api":
            self._answer("/".join(parts[2:4]), parts[4:], api=True)
        else:
            self._answer("/".join(parts[:2]), parts[2:], api=False)

    def _answer(self, repo: str, rest: list[str], *, api: bool) -> None:
        if repo not in self.hub.repos:
            self._refuse(404 if self._token() else 401, "RepoNotFound")
        elif rest[0] == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}
            self._json({"branches": [main], "tags": [], "converts": []})
        elif rest[1] not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif api:
            self._json(self.hub.listing(repo))
        elif repo in self.hub.gated:
            self._refuse(403 if self._token() else 401, "GatedRepo")
        elif "/".join(rest[2:]) not in self.hub.repos[repo]:
            self._refuse(404, "EntryNotFound")
        else:
            self._file("/".join(rest[2:]), self.hub.repos[repo]["/".join(rest[2:])])

    def _token(self) -> bool:
        return bool(self.headers.get("Authorization"))

    def _file(self, name: str, content: bytes) -> None:
        large = len(content) > self.hub.large
        etag = hashlib.sha256(content).hexdigest() if large else git(content)
        start = 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            self.hub.ranges.append(asked)
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        stop = self.hub.break_off.pop(name, None)
        if stop is None:
            self.hub.sent[name] += 1
        self.close_connection = stop is not None
        self.wfile.write(content[start:][:stop])

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    """Let a hub answer until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use(monkeypatch: pytest.MonkeyPatch, hub: FakeHub, cache: Path) -> None:
    """Let this process and its children ask a hub that runs, and keep files in a cache."""
    from huggingface_hub import constants

    for name, value in hub.environment(cache).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
