"""Files of a pinned Hugging Face data set, streamed: nothing is downloaded that is not read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from saeflow.config.datasets import TextHub
from saeflow.config.text_files import KNOWN, text_format
from saeflow.datasets.rows import Source, file_source
from saeflow.errors import SaeflowError, first_line
from saeflow.hub_token import token, without_token

_IN_ORDER: dict[str, Any] = {"block_size": 0, "cache_type": "none"}
"""One request for a whole file, which ends when the reader has enough, instead of many for blocks."""


def hub_sources(settings: TextHub, filesystem: Any = None) -> list[Source]:
    """Files of the repository that the patterns name, sorted within each pattern.

    Parameters
    ----------
    settings : TextHub
        Repository, commit and patterns.
    filesystem : fsspec file system, optional
        Where the repository is; by default the Hugging Face hub or, with ``HF_HUB_OFFLINE``, its
        cache on this machine.

    Raises
    ------
    SaeflowError
        If the hub cannot be reached, has no such repository or commit, a pattern fits no file, or a
        file holds no texts by its name.
    """
    if filesystem is None:
        from huggingface_hub import HfFileSystem, constants

        if constants.HF_HUB_OFFLINE:
            return _cached_sources(settings, Path(constants.HF_HUB_CACHE))
        filesystem = HfFileSystem(token=token())
    root = f"datasets/{settings.repo}@{settings.revision}"
    where = f"{settings.repo}@{settings.revision}"
    found: dict[str, None] = {}
    for pattern in settings.files:
        try:
            paths = sorted(map(str, filesystem.glob(f"{root}/{pattern}")))
        except FileNotFoundError:  # of a folder, too
            paths = []
        except Exception as error:
            # The hub's client, httpx and the operating system each bring exceptions of their own.
            raise SaeflowError(
                f"{where} cannot be had from the Hugging Face hub ({type(error).__name__}: "
                f"{without_token(first_line(error))}). Without a network: HF_HUB_OFFLINE=1 where the cache "
                "holds it, else download it elsewhere and use source: text_file with path: FILES."
            ) from None
        if not paths:
            raise SaeflowError(f"{where} does not exist or holds no file that fits {pattern!r}.")
        found.update(dict.fromkeys(paths))
    _check_forms(found)
    return [_source(filesystem, path) for path in found]


def _cached_sources(settings: TextHub, cache: Path) -> list[Source]:
    """The same files, as far as the cache of huggingface_hub holds that commit of the repository."""
    home = cache / f"datasets--{settings.repo.replace('/', '--')}"
    folder = home / "snapshots" / settings.revision
    found: dict[Path, None] = {}
    for pattern in settings.files:
        paths = sorted(each for each in folder.glob(pattern) if each.is_file())
        if not paths:
            raise SaeflowError(
                f"HF_HUB_OFFLINE is set, and the cache in {cache} holds no file of {settings.repo}@"
                f"{settings.revision} that fits {pattern!r}; download it with a network, or use "
                "source: text_file with path: FILES."
            )
        found.update(dict.fromkeys(paths))
    _check_forms(map(str, found))
    return [file_source(path) for path in found]


def _check_forms(paths: Iterable[str]) -> None:
    for path in paths:
        if not text_format(path).form:
            raise SaeflowError(f"{path} holds no texts by its name; expected {KNOWN}.")


def _source(filesystem: Any, path: str) -> Source:
    def opened(in_order: bool) -> Any:
        return filesystem.open(path, "rb", **(_IN_ORDER if in_order else {}))

    return Source(path, opened)
