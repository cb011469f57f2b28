"""What the features of one bank say: overlap of formats, and which units change them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.artifacts.decimal_bug import ATTRIBUTION, DECIMAL_BUG
from saeflow.config.decimal_bug import DecimalCalibrated, ListSettings
from saeflow.datasets.comparisons.pairs import CHOOSE
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.studies import rows
from saeflow.studies.decimal_bug.attribution import attribute
from saeflow.studies.decimal_bug.attribution_summary import mixed_features
from saeflow.studies.decimal_bug.blocks import own_head_rows
from saeflow.studies.decimal_bug.bug import find_bug
from saeflow.studies.decimal_bug.overlap import (
    check_bank,
    layer_features,
    overlap_table,
    published_layers,
)
from saeflow.studies.decimal_bug.overlap_summary import check_rows, overlap_rows, published_rows
from saeflow.studies.rows import row


class Features(NamedTuple):
    """Tables of one bank: `OVERLAP`, `LAYER_FEATURES`, `ATTRIBUTION` and `DECIMAL_BUG`."""

    overlap: pa.Table
    lists: pa.Table
    attribution: pa.Table
    numbers: pa.Table


def compare_formats(
    model: LanguageModel,
    bank: Bank,
    quality: pa.Table,
    prompts: Sequence[Prompt],
    answers: pa.Table,
    published: ListSettings,
    settings: DecimalCalibrated,
    run: dict[str, Any],
    *,
    batch_size: int,
) -> Features:
    """Compare formats through the features of a bank.

    Parameters
    ----------
    model : LanguageModel
        The model.
    bank : Bank
        Of tokens, on the output of the MLP.
    quality : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.QUALITY`, of the bank.
    prompts : sequence of Prompt
        What was asked.
    answers : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_ANSWERS`. Without a bug nothing is attributed.
    published, settings : ListSettings, DecimalCalibrated
        Both modes.
    run : dict
        Values of the key columns dictionary and seed.
    batch_size : int
        Most prompts per forward pass.
    """
    checks = check_bank(model, bank, prompts, batch_size=batch_size)
    layers = published_layers(model, bank, prompts, published)
    overlap = overlap_table(model, bank, prompts, run, batch_size=batch_size)
    attribution = ATTRIBUTION.schema().empty_table()
    bug = find_bug(prompts, answers, CHOOSE)
    logging.getLogger("saeflow").info(bug.sentence)
    if bug.found:
        attribution = attribute(
            model, bank, prompts, settings.attribution, run, batch_size=batch_size
        )
    numbers = [
        *check_rows(checks, quality, run),
        *published_rows(layers, published, run),
        *overlap_rows(overlap, settings.overlap, run),
        *attribution_rows(attribution, settings.attribution.q_value, run),
        *({**each, **run} for each in own_head_rows(model)),
    ]
    table = pa.Table.from_pylist(numbers, DECIMAL_BUG.schema())
    return Features(overlap, layer_features(layers, run), attribution, table)


def attribution_rows(
    table: pa.Table, q_value: float, run: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """How many pairs of a unit and a feature stand out, and how many features are mixed.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.ATTRIBUTION`.
    q_value : float
        Largest adjusted p-value of a pair that stands out.
    run : mapping
        Values of the key columns dictionary and seed.
    """
    frame = table.to_pandas()
    for kind, some in frame.groupby("kind", sort=True):
        key = {"part": "attribution", **run, "mode": rows.CALIBRATED, "layer": None, "group": kind}
        yield row(key, "n_pairs", int((some["q_value"] <= q_value).sum()), n=len(some))
    mixed = mixed_features(table, q_value)
    for kind in dict.fromkeys(each.kind for each in mixed):
        own = [each for each in mixed if each.kind == kind]
        affected = sum(each.n_affected for each in own)
        key = {"part": "attribution", **run, "mode": rows.CALIBRATED, "layer": None, "group": kind}
        yield row(key, "n_affected", affected, n=sum(each.n_features for each in own))
        if affected:
            shares = {
                "none": sum(each.n_mixed for each in own),
                "drawn_units": sum(each.expected for each in own),
            }
            for control, count in shares.items():
                yield row(key, "mixed_share", count / affected, n=affected, control=control)
