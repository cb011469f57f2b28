"""Model repositories of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saeflow.errors import SaeflowError, first_line


def hub_folder(repo: str, revision: str, patterns: Sequence[str], *, instead: str) -> Path:
    """Fetch files of a repository through huggingface_hub, so that its cache and offline mode work.

    Parameters
    ----------
    repo, revision : str
        Repository and commit.
    patterns : sequence of str
        Files wanted, such as ``"*.json"``.
    instead : str
        What to write into the configuration once the files are on this machine, for the error.

    Returns
    -------
    Path
        The folder that holds them.

    Raises
    ------
    SaeflowError
        If the hub cannot be reached and the cache does not hold the files.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:
        # The hub's client, httpx and the operating system each bring exceptions of their own.
        raise SaeflowError(
            f"{repo}@{revision} cannot be had from the Hugging Face hub "
            f"({type(error).__name__}: {first_line(error)}). Without a network, download it "
            f"elsewhere and {instead}."
        ) from None
