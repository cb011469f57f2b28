"""The token for the Hugging Face hub: that of the environment, never one that lies on disk."""

from __future__ import annotations

import os


def token() -> str | bool:
    """The token that the environment names; False keeps one that lies on disk out of it."""
    return os.environ.get("HF_TOKEN", "").strip() or False


def without_token(text: str) -> str:
    """A text in which the token of the environment stands nowhere."""
    found = token()
    return text.replace(found, "***") if isinstance(found, str) else text
