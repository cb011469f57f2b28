"""Read an SAE of a release with SAELens' own loaders, from files of one revision."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.loading.pretrained_saes_directory import (
    PretrainedSAELookup,
    get_pretrained_saes_directory,
)

from saeflow.errors import SaeflowError, first_line, nearest
from saeflow.models.hub import HubFile, fetch_files

ANY_OBJECT = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Variable of the environment by which torch makes any object that a file asks for, and runs its code."""
NOT_NEEDED = "sparsity.safetensors"
"""What SAELens fetches beside weights, does without, and nobody here reads."""


class MissingFileError(SaeflowError, EntryNotFoundError):  # type: ignore[misc]  # has no types
    """A release lacks a file; loaders of SAELens try another one where they know of any."""


@dataclass
class ReleasedFiles:
    """Where files of a release come from: one revision of a repository, or a directory.

    Attributes
    ----------
    revision : str
        Branch, tag or commit; a commit from the first file on.
    folder : Path or None
        Directory in place of the hub.
    repo : str or None
        Repository, once a file of it was read.
    """

    revision: str = "main"
    folder: Path | None = None
    repo: str | None = None
    _listing: tuple[HubFile, ...] = field(default=(), repr=False)

    def fetch(self, repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        """What SAELens calls in place of `huggingface_hub.hf_hub_download`, which names no revision."""
        name = f"{subfolder}/{filename}" if subfolder else filename
        if name.endswith(NOT_NEEDED):
            raise LocalEntryNotFoundError(f"{name} is not needed")
        folder = self.folder
        if folder is None:
            found = fetch_files(
                repo_id,
                self.revision,
                lambda names: [each for each in names if each == name],
                instead="name it in released.path",
                listing=self._listing if repo_id == self.repo else (),
            )
            # A branch that moves meanwhile must not mix two states of a repository.
            self.repo, self.revision, folder = repo_id, found.commit, found.folder
            self._listing = found.listing
        path = folder / name
        if not path.is_file():
            where = f"{repo_id}@{self.revision}" if self.folder is None else str(folder)
            raise MissingFileError(f"{where} holds no file {name}; expected that of an SAE.")
        return str(path)

    @contextmanager
    def given(self) -> Iterator[None]:
        """Let SAELens read these files within a ``with`` block."""
        theirs = loaders.hf_hub_download
        loaders.hf_hub_download = self.fetch
        # Their loaders leave it to torch, which by itself makes nothing but tensors, and to this.
        forced = os.environ.pop(ANY_OBJECT, None)
        try:
            with warnings.catch_warnings():
                # Of options for its own models, which are not used here.
                warnings.simplefilter("ignore")
                yield
        finally:
            loaders.hf_hub_download = theirs
            if forced is not None:
                os.environ[ANY_OBJECT] = forced


@dataclass(frozen=True)
class ReleasedSAE:
    """An SAE as its release has it.

    Attributes
    ----------
    sae : sae_lens.SAE
        On the CPU, float32; reads what it was trained on.
    release, sae_id, path : str
        What it is called, and its folder in the repository or directory.
    centred : bool
        Whether the release asks for activations without their mean over dimensions.
    scale : float or None
        Factor on activations that SAELens has folded into the weights.
    l0, explained_variance : float or None
        As published.
    metadata : dict
        What SAELens knows of the training, such as ``hook_name`` and ``model_name``.
    """

    sae: SAE[Any]
    release: str
    sae_id: str
    path: str
    centred: bool
    scale: float | None
    l0: float | None
    explained_variance: float | None
    metadata: Mapping[str, Any] = field(repr=False)


def check_ids(release: str | None, sae_ids: Mapping[int, str]) -> None:
    """Check that SAELens' registry knows a release and ids, before anything is fetched.

    Parameters
    ----------
    release : str or None
        None: a directory alone; with a slash: a repository, whose ids are its folders.
    sae_ids : mapping of int to str
        By layer.

    Raises
    ------
    SaeflowError
        With the nearest names, if it does not.
    """
    directory = get_pretrained_saes_directory()
    if release is None or (release not in directory and "/" in release):
        return
    if release not in directory:
        raise SaeflowError(
            f"released.release is {release!r}, which SAELens' registry does not hold"
            f"{_near(release, directory)}"
        )
    known = directory[release].saes_map
    for sae_id in sae_ids.values():
        if sae_id not in known:
            raise SaeflowError(
                f"released.sae_id gives {sae_id!r}, which the release {release!r} does not hold"
                f"{_near(sae_id, known)}"
            )


def _near(name: str, known: Mapping[str, Any]) -> str:
    # Hundreds of names are no help; `nearest` lists all of them where none is close.
    told = nearest(name, known)
    return told if "did you mean" in told else f"; it holds {len(known)}, such as {min(known)!r}."


def load_released(files: ReleasedFiles, release: str | None, sae_id: str) -> ReleasedSAE:
    """Load one SAE.

    Parameters
    ----------
    files : ReleasedFiles
        Where its files are.
    release : str or None
        In SAELens' registry, or a repository; None: ``sae_id`` is a SAELens folder of a directory.
    sae_id : str
        As `check_ids` accepts it.

    Returns
    -------
    ReleasedSAE
        As SAELens reads it; with a size that differs from what a folder's name promises, that of the
        weights.

    Raises
    ------
    SaeflowError
        If files cannot be had or SAELens cannot read them.
    """
    lookup = get_pretrained_saes_directory().get(release or "")
    asked = str(release or files.folder)
    try:
        with files.given():
            if release is None:
                assert files.folder is not None, "the configuration names one or the other"
                sae = SAE.load_from_disk(files.folder / sae_id, dtype="float32")
                config: Mapping[str, Any] = {}
            else:
                named = loaders.NAMED_PRETRAINED_SAE_LOADERS
                loader = named[loaders.get_conversion_loader_name(release)]
                sae, config, _ = SAE.from_pretrained_with_cfg_and_sparsity(
                    release, sae_id, converter=_sized_by_weights(loader)
                )
    except SaeflowError:
        raise
    except Exception as error:  # each loader raises what its format makes it raise
        raise SaeflowError(
            f"{sae_id!r} of {asked} cannot be read by SAELens ({type(error).__name__}: "
            f"{first_line(error)}); expected an SAE in the format of its release."
        ) from None
    path = lookup.saes_map[sae_id] if lookup else sae_id
    metadata = sae.cfg.metadata.to_dict()
    wanted = {
        **(_overrides(lookup).get("model_from_pretrained_kwargs") or {}),
        **(config.get("model_from_pretrained_kwargs") or {}),
        **(metadata.get("model_from_pretrained_kwargs") or {}),
    }
    return ReleasedSAE(
        sae,
        release or str(files.folder and files.folder.name),
        sae_id,
        path,
        centred=bool(wanted.get("center_writing_weights", False)),
        scale=_folded_scale(sae, lookup, sae_id),
        l0=_published_l0(lookup, sae_id, path),
        explained_variance=_published_variance(lookup, sae_id),
        metadata=metadata | {"neuronpedia_id": _neuronpedia_id(lookup, sae_id, metadata)},
    )


def _overrides(lookup: PretrainedSAELookup | None) -> dict[str, Any]:
    return dict((lookup and lookup.config_overrides) or {})


def _sized_by_weights(loader: Any) -> Any:
    """Loader whose configuration has the sizes of the weights; some guess them from folders' names."""

    def load(*args: Any, **keywords: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor], None]:
        config, state, _ = loader(*args, **keywords)
        if "W_enc" in state:
            d_in, d_sae = state["W_enc"].shape
            config = {**config, "d_in": d_in, "d_sae": d_sae}
        return config, state, None

    return load


def _folded_scale(sae: SAE[Any], lookup: PretrainedSAELookup | None, sae_id: str) -> float | None:
    if lookup is None or sae.cfg.normalize_activations != "none":
        return None
    found = lookup.norm_scaling_factor.get(sae_id)
    return None if found is None else float(found)


def _published_l0(lookup: PretrainedSAELookup | None, sae_id: str, path: str) -> float | None:
    # SAELens puts 0 where its registry has no number.
    registered = lookup.expected_l0.get(sae_id, 0.0) if lookup else 0.0
    named = re.search(r"average_l0_(\d+)", path)
    return float(registered) or (float(named[1]) if named else None)


def _published_variance(lookup: PretrainedSAELookup | None, sae_id: str) -> float | None:
    # SAELens puts 1 where its registry has no number.
    found = lookup.expected_var_explained.get(sae_id, 1.0) if lookup else 1.0
    return None if found == 1.0 else float(found)


def _neuronpedia_id(
    lookup: PretrainedSAELookup | None, sae_id: str, metadata: Mapping[str, Any]
) -> str | None:
    registered = lookup.neuronpedia_id.get(sae_id) if lookup else None
    return registered or metadata.get("neuronpedia_id")
