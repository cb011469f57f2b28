"""The calibrated statistics of one bank that need no model: specialists, modules, levels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int

from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.hierarchy import HIERARCHY
from saeflow.config.hierarchy import HierarchyCalibrated
from saeflow.studies.gsm8k.bank_test import bank_features
from saeflow.studies.hierarchy.levels import level_table
from saeflow.studies.hierarchy.modules import module_tables
from saeflow.studies.hierarchy.specialist_tests import specialist_tables, specialist_targets
from saeflow.studies.hierarchy.variables import class_variables


class Problems(NamedTuple):
    """A bank's activations on some problems, and what these problems calculate.

    Attributes
    ----------
    features : iterable of LayerTable
        Activations, which may span other problems, too.
    cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COT_TOKENS`, likewise.
    numbers : numpy.ndarray of int, shape (problems,)
        Running numbers of the problems, ascending.
    groups : numpy.ndarray of int, shape (problems,), optional
        Story of each of them.
    """

    features: Iterable[LayerTable]
    cot_tokens: pa.Table
    numbers: Int[np.ndarray, " problems"]
    groups: Int[np.ndarray, " problems"] | None = None


class CalibratedTables(NamedTuple):
    """What the calibrated mode writes of a bank; artifacts of the same names."""

    specialists: pa.Table
    coactivation: pa.Table
    modules: pa.Table
    levels: pa.Table
    summary: pa.Table


def calibrated_hierarchy(
    held_out: Problems,
    balanced: Problems,
    settings: HierarchyCalibrated,
    run: Mapping[str, object],
    device: torch.device,
) -> CalibratedTables:
    """Find specialists and modules on held-out problems, and levels on balanced ones.

    Parameters
    ----------
    held_out, balanced : Problems
        Problems that no SAE saw.
    settings : HierarchyCalibrated
        Thresholds, permutations and seeds.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    device : torch.device
        Where to multiply.
    """
    bank = bank_features(held_out.features, held_out.numbers)
    targets = specialist_targets(
        settings.specialists.targets, held_out.cot_tokens, held_out.numbers
    )
    specialists, counts = specialist_tables(bank, targets, settings.specialists, run, device)
    (operators,) = specialist_targets(("operators",), held_out.cot_tokens, held_out.numbers)
    coactivation, modules, groups = module_tables(
        bank, specialists, operators, settings.modules, settings.specialists.tests, run
    )
    variables = class_variables(balanced.cot_tokens, balanced.numbers)
    even = bank_features(balanced.features, balanced.numbers)
    levels, rows = level_table(even, variables, settings.levels, run, device, balanced.groups)
    summary = pa.concat_tables([counts, groups, pa.Table.from_pylist(rows, HIERARCHY.schema())])
    return CalibratedTables(specialists, coactivation, modules, levels, summary)
