"""A server on this machine that speaks OpenAI's API as far as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-Secret0123456789abcdefWXYZ"
VARIABLE = "SAEFLOW_TEST_KEY"


@dataclass
class Reply:
    """What the server answers: status, body, further headers; silent: nothing until it closes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        (message,) = self.body["messages"]
        assert message["role"] == "user"
        return str(message["content"])


@dataclass
class Endpoint:
    url: str
    asked: list[Asked]


def said(text: str | None) -> Reply:
    """A reply as the API gives it."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Reply(body=json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def failed(status: int, message: str, **headers: str) -> Reply:
    """An error as the API gives it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), named)


@contextmanager
def serving(answer: Callable[[Asked, int], Reply]) -> Iterator[Endpoint]:
    """Serve on a free port; `answer` gets a request and how often its prompt came before."""
    asked: list[Asked] = []
    lock, closing = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = Asked(self.path, dict(self.headers), body)
            with lock:
                before = sum(each.prompt == found.prompt for each in asked)
                asked.append(found)
            reply = answer(found, before)
            if reply.silent:
                closing.wait(30)
                return
            self.send_response(reply.status)
            headers = {"Content-Length": str(len(reply.body)), **reply.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Endpoint(f"http://127.0.0.1:{server.server_port}/v1", asked)
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
