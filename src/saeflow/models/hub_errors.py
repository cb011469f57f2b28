"""What the Hugging Face hub refuses, in one sentence that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from saeflow.errors import SaeflowError, first_line, nearest
from saeflow.hub_token import token, without_token


class HubError(SaeflowError):
    """Files of the hub cannot be had."""

    fault = "Hugging Face hub"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def status_of(error: BaseException) -> int | None:
    """HTTP status behind an exception, however huggingface_hub wraps it."""
    for each in _chain(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if status is not None:
            return int(status)
    return None


def unreachable(error: BaseException) -> bool:
    """Whether the network failed, and not the request."""
    if status_of(error) is not None:
        return False
    return any(
        type(each).__module__.partition(".")[0].startswith(("httpx", "httpcore"))
        or (
            isinstance(each, ConnectionError | TimeoutError)
            and type(each).__name__ != "OfflineModeIsEnabled"
        )
        or "Consistency check failed" in str(each)
        for each in _chain(error)
    )


def describe(
    error: BaseException,
    repo: str,
    revision: str,
    instead: str,
    missing: Sequence[str] = (),
    folder: Path | None = None,
) -> HubError:
    """Say why files of a repository cannot be had, and what to do.

    Parameters
    ----------
    error : BaseException
        What huggingface_hub raised.
    repo, revision : str
        Repository, and a commit or branch.
    instead : str
        What to write into the configuration once the files are on this machine.
    missing : sequence of str
        Files that the cache lacks.
    folder : Path, optional
        Where the cache lacks them.
    """
    return HubError(without_token(_sentence(error, repo, revision, instead, missing, folder)))


def _sentence(
    error: BaseException,
    repo: str,
    revision: str,
    instead: str,
    missing: Sequence[str],
    folder: Path | None,
) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kinds = {type(each) for each in _chain(error)}
    has_token = bool(token())
    if GatedRepoError in kinds or (status_of(error) == 403):
        then = (
            "HF_TOKEN is set, so its account has not been let in or the token may not read gated "
            "repositories"
            if has_token
            else "then set HF_TOKEN to a token of that account"
        )
        return f"{repo}@{revision} is gated: accept its licence at https://huggingface.co/{repo}; {then}."
    if RevisionNotFoundError in kinds:
        return f"{repo} has no revision {revision!r}{nearest(revision, _branches(repo))}"
    if RepositoryNotFoundError in kinds or status_of(error) == 401:
        private = "its token may not read it" if has_token else "set HF_TOKEN if it is private"
        return (
            f"{repo} is no model repository of the Hugging Face hub, or {private}"
            f"{nearest(repo, _neighbours(repo))}"
        )
    if missing:
        return (
            f"{repo}@{revision}: the cache lacks {', '.join(missing)} in {folder}, and the hub "
            f"cannot be asked ({type(error).__name__}). Fetch with a network (snakemake fetch), or "
            f"download it elsewhere and {instead}."
        )
    reason = (
        "HF_HUB_OFFLINE is set and the cache does not hold it"
        if OfflineModeIsEnabled in kinds
        else f"{type(error).__name__}: {first_line(error)}"
    )
    return (
        f"{repo}@{revision} cannot be had from the Hugging Face hub ({reason}). Without a network, "
        f"download it elsewhere and {instead}."
    )


def _branches(repo: str) -> list[str]:
    from huggingface_hub import HfApi

    with contextlib.suppress(Exception):  # only to name a neighbour
        refs = HfApi().list_repo_refs(repo, token=token())
        return [each.name for each in (*refs.branches, *refs.tags)]
    return []


def _neighbours(repo: str) -> list[str]:
    from huggingface_hub import HfApi

    owner, _, name = repo.rpartition("/")
    with contextlib.suppress(Exception):  # only to name a neighbour
        found = HfApi().list_models(
            author=owner or None, search=None if owner else name, limit=200, token=token()
        )
        return [each.id for each in found]
    return []
