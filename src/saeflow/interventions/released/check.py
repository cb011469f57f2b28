"""The self-check of released SAEs: read on a few hundred tokens before any study reads them."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.checks import CHECKS, CHECKS_FILE, NOT_TESTED
from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.released import RELEASED, RELEASED_FILE
from saeflow.artifacts.tables import read_table, write_table
from saeflow.errors import SaeflowError
from saeflow.interventions.released.causes import Places, likely_cause
from saeflow.interventions.released.judge import Check, Release, judge, passes
from saeflow.interventions.released.measure import Reading, measure, measure_recovery
from saeflow.interventions.released.places import has_place, neighbours, own_place, read_places
from saeflow.interventions.released.tokens import CheckTokens, check_tokens
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.progress import progress
from saeflow.saes.bank import Site
from saeflow.saes.quality import SiteMetric
from saeflow.saes.storage import load_bank
from saeflow.saes.training import write_quality

_SPLITS = ("validation", "all")
"""What the quality of a released SAE is called that of: it was trained on none of our texts."""


@dataclass(frozen=True)
class CheckedLayer:
    """What one SAE gave.

    Attributes
    ----------
    layer : int
        Its block.
    checks : list of Check
        Beside what it should give.
    quality : list of SiteMetric
        As of SAEs that are trained here, of what it reconstructs.
    """

    layer: int
    checks: list[Check]
    quality: list[SiteMetric]


def check_released(
    model: LanguageModel,
    folder: Path,
    texts: pa.Table,
    dictionary: str,
    *,
    judged: bool = True,
    must_pass: bool = True,
) -> list[CheckedLayer]:
    """Read every SAE of a fetched bank on a few texts, one SAE in memory at a time.

    Parameters
    ----------
    model : LanguageModel
        The model that the SAEs were trained on.
    folder : Path
        Bank with `saeflow.artifacts.released.RELEASED_FILE`.
    texts : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.TEXTS`.
    dictionary : str
        Its name, for messages.
    judged : bool
        Whether the SAEs must fit; not on an untrained control, which they are not meant for.
    must_pass : bool
        Whether one that does not fit is an error, and no warning.

    Returns
    -------
    list of CheckedLayer
        In order of layers.

    Raises
    ------
    SaeflowError
        If an SAE does not give what it should, with the likely cause; or a file is damaged.
    """
    table = read_table(folder / RELEASED_FILE, RELEASED)
    digests = json.loads(metadata_of(table.schema).get("files_sha256", "{}"))
    releases = {row["layer"]: Release.of_row(row) for row in table.to_pylist()}
    sizes = [each.context_size for each in releases.values() if each.context_size]
    tokens = check_tokens(model, texts, context_size=min(sizes, default=None))
    hooks = {row["layer"]: row["hook"] for row in table.to_pylist()}
    begin = begin_tokens(model) > 0
    for layer, release in releases.items():
        _check_begin(release, layer, dictionary, begin)
    places = _read(model, tokens.with_begin(begin), hooks)
    found = []
    for layer in progress(sorted(releases), description="check", total=len(releases), unit="SAEs"):
        sae = load_bank(folder, digests=_of_layer(digests, layer), sites=[Site(layer)])
        reading = Reading(sae, own_place(hooks[layer], layer), releases[layer].centred, begin)
        checked = _check(model, reading, releases[layer], tokens, places, hooks[layer])
        if judged and not passes(checked.checks):
            cause = likely_cause(model, reading, releases[layer], tokens, places, hooks[layer])
            failed = "; ".join(str(each) for each in checked.checks if each.passed is False)
            told = (
                f"the SAE of layer {layer} of dictionary {dictionary!r} ({releases[layer].name}) does "
                f"not give what it should: {failed}; {cause}"
            )
            if must_pass:
                raise SaeflowError(f"{told}. To read it all the same: released.must_pass: false.")
            logging.getLogger("saeflow").warning("warning: %s.", told)
        found.append(checked if judged else _untested(checked))
    return found


def _of_layer(digests: dict[str, str], layer: int) -> dict[str, str]:
    return {name: each for name, each in digests.items() if name.startswith(f"{Site(layer).name}/")}


def _check_begin(release: Release, layer: int, dictionary: str, begin: bool) -> None:
    """Refuse to read texts without the begin token with which all texts of training began.

    A release that says it had none is read as the studies read texts, and the numbers decide.
    """
    if release.begin and not begin:
        raise SaeflowError(
            f"the SAE of layer {layer} of dictionary {dictionary!r} ({release.name}) was trained on texts "
            "with a begin token, which the model's tokenizer does not put; expected prepend_bos: true "
            "in the block of the model."
        )


def _read(model: LanguageModel, rows: list[list[int]], hooks: dict[int, str]) -> Places:
    """Activations at the places of all layers, and beside them, in one pass."""
    wanted = set()
    for layer, hook in hooks.items():
        beside = neighbours(hook, layer, model.n_layers)
        wanted |= {own_place(hook, layer), *(each for each in beside if has_place(model, each))}
    return read_places(model, rows, wanted)


def _check(
    model: LanguageModel,
    reading: Reading,
    release: Release,
    tokens: CheckTokens,
    places: Places,
    hook: str,
) -> CheckedLayer:
    layer, x = reading.sae.sites[0].layer, places[reading.place]
    reading = replace(reading, sae=reading.sae.to(model.device))
    found = measure(reading, x, model.device)
    recovered = measure_recovery(model, reading, tokens.with_begin(reading.begin), x)
    elsewhere = [
        measure(replace(reading, place=place), places[place], model.device).explained_variance
        for place in neighbours(hook, layer, model.n_layers)
        if place in places and places[place].shape[1] == reading.sae.d_in
    ]
    checks = judge(found, recovered, max(elsewhere, default=float("nan")), release, x.shape[1])
    quality = [
        SiteMetric(Site(layer), name, value, found.n) for name, value in found.quality.items()
    ]
    return CheckedLayer(layer, checks, quality)


def _untested(checked: CheckedLayer) -> CheckedLayer:
    checks = [replace(each, low=None, high=None, source=NOT_TESTED) for each in checked.checks]
    return replace(checked, checks=checks)


def write_checked(
    found: Sequence[CheckedLayer],
    source: Path,
    folder: Path,
    dictionary: str,
    provenance: Provenance,
) -> None:
    """Write a checked bank: the fetched files, its quality and its checks.

    Parameters
    ----------
    found : sequence of CheckedLayer
        What `check_released` gave.
    source : Path
        The fetched bank.
    folder : Path
        Existing and empty. On the same file system its files share their space with those fetched.
    dictionary : str
        Its name.
    provenance : Provenance
        Where the numbers come from.
    """
    files = (each for each in source.rglob("*") if each.is_file())
    # Snakemake keeps the time of a folder in a hidden file, which two folders must not share.
    for path in sorted(each for each in files if not each.name.startswith(".")):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, target)
    quality = [(split, each) for split in _SPLITS for layer in found for each in layer.quality]
    keys: dict[str, str | int] = {"dictionary": dictionary, "seed": 0, "control": "none"}
    write_quality(quality, folder, keys, provenance)
    rows = [_row(dictionary, layer.layer, each) for layer in found for each in layer.checks]
    write_table(
        pa.Table.from_pylist(rows, CHECKS.schema()), folder / CHECKS_FILE, CHECKS, provenance
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system does not allow that."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _row(dictionary: str, layer: int, check: Check) -> dict[str, Any]:
    return {
        "dictionary": dictionary,
        "layer": layer,
        "metric": check.metric,
        "value": check.value if check.value == check.value else None,
        "ci_low": None,
        "ci_high": None,
        "interval": "none",
        "n": check.n,
        "expected": check.expected,
        "bound_low": check.low,
        "bound_high": check.high,
        "source": check.source,
        "passed": check.passed,
    }
