"""Repositories of the Hugging Face hub: pinned, checked, resumed, and read from the cache offline.

huggingface_hub asks again within a download (over HTTP from where the connection dropped, on Xet
storage as hf-xet does), locks each file against other processes and keeps finished files when a job
is killed; a file whose download fails begins anew. Added here: retries where the hub is busy, checks
of content, and what to do in one sentence.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from saeflow.artifacts.digest import file_digest
from saeflow.errors import SaeflowError
from saeflow.hub_token import token
from saeflow.models.hub_errors import describe, status_of, unreachable
from saeflow.progress import progress

WAITS = (1.0, 4.0, 16.0)
"""Seconds before each new try where the hub is busy or cannot be reached."""
DIGEST = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
Result = TypeVar("Result")


class HubFile(NamedTuple):
    """A file of a repository, and what the hub says of its content; None: unknown, offline."""

    name: str
    size: int | None = None
    sha256: str | None = None
    blob: str | None = None


class Fetched(NamedTuple):
    """Files of a repository on this machine."""

    repo: str
    commit: str
    folder: Path
    digests: dict[str, str]
    listing: tuple[HubFile, ...] = ()


def hub_folder(repo: str, revision: str, patterns: Sequence[str], *, instead: str) -> Path:
    """Fetch the files of a repository that fit patterns; see `fetch_files`.

    Returns
    -------
    Path
        The folder that holds them.

    Raises
    ------
    SaeflowError
        As `fetch_files` does, and if no file fits.
    """

    def choose(names: Sequence[str]) -> list[str]:
        return [name for name in names if any(fnmatch.fnmatch(name, each) for each in patterns)]

    fetched = fetch_files(repo, revision, choose, instead=instead)
    if not fetched.digests:
        raise SaeflowError(
            f"{repo}@{revision} holds no file that fits {', '.join(patterns)}; expected a Hugging Face "
            "model."
        )
    return fetched.folder


def fetch_files(
    repo: str,
    revision: str,
    choose: Callable[[Sequence[str]], list[str]],
    *,
    instead: str,
    missing: Callable[[Path], Sequence[str]] = lambda _: (),
    listing: Sequence[HubFile] = (),
) -> Fetched:
    """Fetch files of a repository through huggingface_hub, so that its cache and offline mode work.

    Parameters
    ----------
    repo, revision : str
        Repository, and a commit or branch.
    choose : callable
        Which of the repository's files are wanted.
    instead : str
        What to write into the configuration once the files are on this machine, for the error.
    missing : callable, optional
        What a folder lacks; asked where the hub cannot be, so that only the cache says what there is.
    listing : sequence of HubFile, optional
        What an earlier call found at this commit, which then is not asked for again.

    Returns
    -------
    Fetched
        The commit behind the revision, the folder, and the SHA-256 of each wanted file; the
        listing is empty where the hub could not be asked.

    Raises
    ------
    SaeflowError
        If the files cannot be had, naming what is missing, or if one is not what the hub has.
    """
    try:
        commit, files = (
            (revision, list(listing)) if listing else _retried(lambda: _listing(repo, revision))
        )
    except Exception as error:
        # The hub's client, its HTTP library and the operating system each bring exceptions of their own.
        return _from_cache(repo, revision, choose, missing, error, instead)
    wanted = set(choose([each.name for each in files]))
    chosen = [each for each in files if each.name in wanted]
    # What names further files comes first, so that a download that is killed tells what it lacks.
    chosen.sort(key=lambda each: not each.name.endswith(".json"))
    digests = {}
    try:
        if chosen and revision != commit:
            # Leaves the name of the branch in the cache, by which it is found offline.
            _retried(lambda: _download(repo, chosen[0].name, revision))
        for each in progress(chosen, description=f"{repo}: files", total=len(chosen), unit="files"):
            place = _fetch_one(repo, each.name, commit)
            digests[each.name] = _checked(place, each)
    except SaeflowError:
        raise
    except Exception as error:
        raise describe(error, repo, revision, instead) from None
    folder = place.parents[each.name.count("/")] if chosen else Path()
    return Fetched(repo, commit, folder, digests, tuple(files))


def _fetch_one(repo: str, name: str, commit: str) -> Path:
    return _retried(lambda: _download(repo, name, commit))


def _download(repo: str, name: str, revision: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, name, revision=revision, token=token()))


def _listing(repo: str, revision: str) -> tuple[str, list[HubFile]]:
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo, revision=revision, files_metadata=True, token=token())
    files = [
        HubFile(each.rfilename, each.size, each.lfs.sha256 if each.lfs else None, each.blob_id)
        for each in info.siblings or ()
    ]
    return str(info.sha), files


def _retried(call: Callable[[], Result]) -> Result:
    for wait in WAITS:
        try:
            return call()
        except Exception as error:
            status = status_of(error)
            busy = status is not None and (status == 429 or status >= 500)
            if not busy and not unreachable(error):
                raise
        time.sleep(wait)
    return call()


def _checked(place: Path, told: HubFile) -> str:
    """SHA-256 of a file; what the hub or the cache says of it must fit."""
    real = place.resolve()
    size, digest = real.stat().st_size, file_digest(real)
    kind, found, expected = "SHA-256", digest, told.sha256
    if expected is None and told.blob is not None:
        kind, found, expected = "git digest", _git_digest(real, size), told.blob
    if told.size in (None, size) and expected in (None, found):
        return digest
    wanted = expected or "any"
    if told.size is None:
        raise SaeflowError(
            f"{place} is damaged: its {kind} is {found[:12]}, but the cache's own name for it says "
            f"{wanted[:12]}; delete {real} and fetch it anew with a network."
        )
    raise SaeflowError(
        f"{place} is not what the hub has: {size} bytes with {kind} {found[:12]}, expected "
        f"{told.size} with {wanted[:12]}; delete {real} to fetch it anew."
    )


def _git_digest(path: Path, size: int) -> str:
    # Small files carry git's own digest, which is of a header and the content.
    return hashlib.sha1(f"blob {size}\0".encode() + path.read_bytes()).hexdigest()


def _from_cache(
    repo: str,
    revision: str,
    choose: Callable[[Sequence[str]], list[str]],
    missing: Callable[[Path], Sequence[str]],
    error: Exception,
    instead: str,
) -> Fetched:
    """What the cache holds; the error that kept us from the hub if that is not enough."""
    folder = cached_folder(repo, revision)
    if folder is None:
        raise describe(error, repo, revision, instead) from None
    there = (path for path in folder.rglob("*") if path.is_file())
    names = sorted(choose([str(path.relative_to(folder)) for path in there]))
    if lacking := list(missing(folder)):
        raise describe(error, repo, revision, instead, lacking, folder) from None
    digests = {name: _checked(folder / name, _as_cached(folder / name)) for name in names}
    return Fetched(repo, folder.name, folder, digests)


def _as_cached(path: Path) -> HubFile:
    """What the cache itself says of a file: blobs are named by their SHA-256 or git digest."""
    # The first link alone: blobs may be links themselves, to files that go by another kind of digest.
    name = Path(os.readlink(path)).name if path.is_symlink() else ""
    if not DIGEST.fullmatch(name):
        return HubFile(path.name)
    return HubFile(path.name, None, name if len(name) == 64 else None, name)


def cached_folder(repo: str, revision: str) -> Path | None:
    """Folder of a revision in the cache, by commit or branch; None where there is none."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    home = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    commit = revision
    with contextlib.suppress(OSError):
        commit = (home / "refs" / revision).read_text(encoding="utf-8").strip()
    folder = home / "snapshots" / commit
    return folder if folder.is_dir() else None
