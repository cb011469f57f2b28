"""A Hugging Face cache that tests fill themselves, in the layout that huggingface_hub reads offline."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fake_hub import git

LARGE = 10_000_000
"""Bytes above which the hub keeps a file outside git."""


def put_repo(
    cache: Path,
    repo: str,
    revision: str,
    files: Mapping[str, bytes],
    *,
    kind: str = "model",
    branch: str = "main",
) -> Path:
    """Put files of a repository into a cache, as if they had been downloaded.

    Parameters
    ----------
    cache : Path
        What ``HF_HUB_CACHE`` names.
    repo : str
        Such as ``zen-E/CODI-gpt2``.
    revision : str
        Its commit.
    files : mapping of str to bytes
        Content by path inside the repository.
    kind : {"model", "dataset"}
        Kind of the repository.
    branch : str
        What points to the commit, too.

    Returns
    -------
    Path
        The snapshot's folder.
    """
    home = cache / f"{kind}s--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / revision
    for name, content in files.items():
        blob = home / "blobs" / _digest(name, content)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        place = snapshot / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(os.path.relpath(blob, place.parent))
    reference = home / "refs" / branch
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(revision, encoding="utf-8")
    return snapshot


def _digest(name: str, content: bytes) -> str:
    """What the hub names a file by: SHA-256 where it is large, else git's digest."""
    if len(content) > LARGE or name.endswith((".safetensors", ".bin")):
        return hashlib.sha256(content).hexdigest()
    return git(content)


def offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let this process and its children read a cache alone, without a network."""
    import huggingface_hub.constants

    for name, value in (("HF_HUB_CACHE", str(cache)), ("HF_HUB_OFFLINE", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
