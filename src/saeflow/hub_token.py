"""The token for the Hugging Face hub: that of the environment, never one that lies on disk."""

from __future__ import annotations

import logging
import os
import re

_USER = re.compile(r"(\bhttps?://)[^\s/@'\"]+@")
_QUERY = re.compile(r"(\bhttps?://[^\s?'\"<>]+\?)[^\s'\"<>)]+")


def token() -> str | bool:
    """The token that the environment names; False keeps one that lies on disk out of it."""
    return os.environ.get("HF_TOKEN", "").strip() or False


def without_token(text: str) -> str:
    """A text without the token of the environment, and without what addresses may carry.

    The hub's stores are asked by addresses whose query is a key to one file, and proxies and mirrors
    by some with a user and a password in them.
    """
    found = token()
    text = text.replace(found, "***") if isinstance(found, str) else text
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))


def hide_secrets(record: logging.LogRecord) -> bool:
    """Filter of a log's handler: what is written is `without_token`."""
    record.msg, record.args = without_token(record.getMessage()), ()
    return True
