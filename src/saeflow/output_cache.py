"""Snakemake's between-workflow cache (``--cache``), made fit for the workflow's captures.

Snakemake 9.27 names an entry by the rule's script, its params, the content of inputs that no job makes,
and the same of every job before (snakemake/caching/hash.py). Two things are missing, and one is in the
way: versions of packages and the kind of device decide the bytes, too; a folder that does not exist is
noticed when a result is to be stored, after hours; and a rule with a benchmark is refused.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snakemake.logging import logger

from saeflow.artifacts.provenance import package_version
from saeflow.config.datasets import HubDataset
from saeflow.config.models import HubModel
from saeflow.config.root import Config
from saeflow.errors import SaeflowError
from saeflow.gpu import visible_gpus

SCATTER = "capture"
"""What `set-scatter` calls the work that captures share."""
LOCATION = "SNAKEMAKE_OUTPUT_CACHE"
"""Environment variable that names the folder, as Snakemake reads it."""
PACKAGES = ("torch", "transformers", "pyarrow")
"""Whose versions decide what a capture's files hold."""
COMMIT = re.compile(r"[0-9a-f]{40}")
OURS = "saeflow-"
"""How the names of the folders in it begin."""


def share_outputs(workflow: Any, config: Config, names: Sequence[str]) -> None:
    """Let some rules take their outputs from the cache, where Snakemake was given ``--cache``.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        The workflow, in which these rules are declared already.
    config : Config
        The validated configuration.
    names : sequence of str
        Rules that may; all of them do where ``--cache`` names none.

    Raises
    ------
    SaeflowError
        If another rule is named, a model or data set is of a branch, or the cache is no folder to write to.
    """
    settings = workflow.workflow_settings
    asked = None if settings is None else settings.cache
    if asked is None:
        return
    for name in asked:
        if name not in names:
            raise SaeflowError(
                f"--cache names {name}; expected {' or '.join(names)}, or no rule for all of them."
            )
    for key, revision in _revisions(config):
        if not COMMIT.fullmatch(revision):
            raise SaeflowError(
                f"--cache is given, but {key} is {revision!r}, which may name another commit tomorrow "
                "while the cache knows it by name; expected the 40 hexadecimal digits of a commit."
            )
    os.environ[LOCATION] = str(_folder(os.environ.get(LOCATION, "")))
    # Snakemake does not hand on to the jobs of a cluster that `--cache` was given without names.
    settings.cache = list(asked or names)
    for name in settings.cache:
        # What comes from a cache has no time of its own, so that Snakemake refuses the two together;
        # the setter takes no None.
        workflow.get_rule(name)._benchmark = None
    if (
        workflow.resource_settings.overwrite_scatter.get(SCATTER, 1) > 1
        and workflow.is_main_process
    ):
        logger.warning(
            f"warning: captures that jobs share (set-scatter {SCATTER}) are neither looked for in the "
            f"cache nor put there; leave out {SCATTER} to use --cache"
        )


def _revisions(config: Config) -> Iterator[tuple[str, str]]:
    """Each revision on the hub that captures come from, and the key that says it."""
    for name, block in config.models.items():
        if isinstance(block, HubModel):
            yield f"models.{name}.revision", block.revision
            if block.base is not None:
                yield f"models.{name}.base.revision", block.base.revision
    for name, data in config.datasets.items():
        # A digest of the problems says the same as a commit.
        if isinstance(data, HubDataset) and data.content_sha256 is None:
            yield f"datasets.{name}.revision", data.revision


def _folder(location: str) -> Path:
    """Folder of what this software computes on this kind of device, in the cache that is named."""
    if not location:
        raise SaeflowError(
            f"--cache is given, but {LOCATION} is not set; expected the folder of the cache."
        )
    named = Path(location).absolute()
    # A job on another machine inherits what this one has set.
    base = named.parent if named.name.startswith(OURS) else named
    if not base.is_dir() or not os.access(base, os.W_OK | os.X_OK):
        raise SaeflowError(
            f"{LOCATION} is {str(base)!r}, which is no folder that can be written to; make it, or "
            "leave out --cache."
        )
    versions = "-".join(f"{name}{package_version(name)}" for name in PACKAGES)
    folder = base / f"{OURS}{_device()}-{versions}"
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        # Who may write to the cache may write here, whatever the mask of the first user.
        folder.chmod(stat.S_IMODE(base.stat().st_mode))
    return folder


def _device() -> str:
    wanted = os.environ.get("SAEFLOW_DEVICE", "").strip().lower()
    return wanted.partition(":")[0] or ("cuda" if visible_gpus() else "cpu")
