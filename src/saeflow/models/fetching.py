"""Models of the Hugging Face hub as directories of this run, with a table of their files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.tables import write_table
from saeflow.config.models import HubBase, HubModel
from saeflow.errors import SaeflowError
from saeflow.models.hub import Fetched, fetch_files
from saeflow.models.own_code import check_code
from saeflow.models.repository_files import (
    INSTEAD,
    MissingWeightsError,
    beside_weights,
    lacking,
    layer_count,
    model_names,
    weight_names,
)


def fetch_model(settings: HubModel, folder: Path, check: Callable[[int], None]) -> None:
    """Fetch a model into a folder of this run.

    Parameters
    ----------
    settings : HubModel
        Which one.
    folder : Path
        An empty folder. Files become links to the cache of huggingface_hub; a CODI checkpoint is
        converted. `FILES_TABLE` is written last.
    check : callable
        Told the number of layers, before weights are fetched where that is possible.

    Raises
    ------
    SaeflowError
        If the model cannot be had or `check` refuses it.
    """
    if settings.checkpoint is None:
        _fetch(settings, partial(_check, settings, check), weights=False)
        fetched = _fetch(settings)
        for name in fetched.digests:
            link(fetched.folder / name, folder / name)
        digests = fetched.digests
        extra: dict[str, str] = {}
    else:
        fetched = _fetch(settings, config=False)
        extra = _convert(settings, fetched.folder, folder)
        check(layer_count(folder))
        files = sorted(path for path in folder.iterdir() if path.is_file())
        digests = {path.name: file_digest(path) for path in files}
    names = sorted(digests)
    table = {
        "file": names,
        "bytes": [(folder / name).stat().st_size for name in names],
        "sha256": [digests[name] for name in names],
        "repo": [fetched.repo] * len(names),
        "revision": [fetched.commit] * len(names),
    }
    which = {key: getattr(settings, key) for key in ("repo", "checkpoint")}
    digest = config_digest({**which, **extra})
    provenance = Provenance(config=digest, model_revision=fetched.commit, extra=extra)
    write_table(table, folder / FILES_TABLE, MODEL_FILES_TABLE, provenance)


def _check(settings: HubModel, check: Callable[[int], None], folder: Path) -> None:
    check_code(folder, trusted=settings.trust_remote_code)
    check(layer_count(folder))


def _fetch(
    settings: HubModel | HubBase,
    check: Callable[[Path], None] = lambda _: None,
    *,
    config: bool = True,
    weights: bool = True,
) -> Fetched:
    # peft leaves its settings beside a checkpoint, whose conversion compares them.
    adapter = isinstance(settings, HubModel) and settings.checkpoint is not None
    code = isinstance(settings, HubModel) and settings.trust_remote_code
    fetched = fetch_files(
        settings.repo,
        settings.revision,
        partial(model_names if weights else beside_weights, adapter=adapter, code=code),
        instead=INSTEAD,
        missing=lambda folder: lacking(folder, config=config, weights=weights),
    )
    where = f"{settings.repo}@{settings.revision}"
    if config and "config.json" not in fetched.digests:
        raise SaeflowError(f"{where} holds no config.json; expected a Hugging Face model.")
    if weights and not weight_names(list(fetched.digests)):
        raise SaeflowError(
            f"{where} holds no weights; expected model.safetensors or pytorch_model.bin, in one "
            "file or in shards."
        )
    check(fetched.folder)
    return fetched


def _convert(settings: HubModel, checkpoint: Path, target: Path) -> dict[str, str]:
    """Convert a checkpoint; what its base was, for provenance."""
    from saeflow.models.codi_checkpoint import convert_checkpoint

    if settings.base is None:
        convert_checkpoint(checkpoint, target, base=None)
        return {}
    # The released checkpoints hold the base's weights, so its configuration and tokenizer suffice.
    base = _fetch(settings.base, weights=False)
    try:
        convert_checkpoint(checkpoint, target, base=base.folder)
    except MissingWeightsError:
        # Anything else is no better with gigabytes more.
        base = _fetch(settings.base)
        convert_checkpoint(checkpoint, target, base=base.folder)
    return {"base": f"{base.repo}@{base.commit}"}


def link(source: Path, target: Path) -> None:
    """Let a file of the cache appear elsewhere without a second copy of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError:
        # Another file system, or one without hard links.
        target.symlink_to(real)
