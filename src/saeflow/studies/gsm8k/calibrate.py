"""The calibrated mode of one bank, from features and problems to rates and discoveries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from saeflow.artifacts.catalog import SUMMARY
from saeflow.artifacts.features import LayerTable
from saeflow.config.runs import ExactSettings
from saeflow.config.studies import CalibrateSpec, Gsm8kCriteria
from saeflow.datasets.selection import HeldOut, held_out_numbers
from saeflow.stats.frequency import frequency_matched
from saeflow.studies.chance import places
from saeflow.studies.gsm8k.association import association_inputs
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest, bank_features
from saeflow.studies.gsm8k.calibrated_rates import calibrated_summary
from saeflow.studies.gsm8k.discoveries import discovery_table, single_label_rates
from saeflow.studies.gsm8k.halves import split_half
from saeflow.studies.gsm8k.permutations import outcome_of_layers, published_tests
from saeflow.studies.gsm8k.summary import measure
from saeflow.studies.gsm8k.targets import Target, target_labels


@dataclass(frozen=True)
class HeldOutBank:
    """Features and labels of the problems that no SAE saw, row by row."""

    features: BankFeatures
    targets: list[Target]

    def test(self, settings: ExactSettings, device: torch.device) -> BankTest:
        """Prepare the tests of all half-features against all labels."""
        return BankTest(self.features, self.targets, settings, device)


def held_out_bank(
    problems: pa.Table,
    cot_tokens: pa.Table,
    answers: pa.Table,
    features: Iterable[LayerTable],
    held_out: HeldOut,
    targets: Sequence[str],
) -> HeldOutBank:
    """Features and labels of the held-out problems.

    Parameters
    ----------
    problems, cot_tokens, answers : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`, `COT_TOKENS` and `ANSWERS`.
    features : iterable of LayerTable
        Activations, layer by layer.
    held_out : {"validation", "analysed"}
        Which problems trained no SAE.
    targets : sequence of str
        What features are tested against.
    """
    numbers = held_out_numbers(problems, held_out)
    labels = target_labels(targets, problems, cot_tokens, answers, numbers)
    return HeldOutBank(bank_features(features, numbers), labels)


def calibrate(
    bank: HeldOutBank,
    permuted: Sequence[pa.Table],
    spec: CalibrateSpec,
    run: Mapping[str, object],
    device: torch.device,
) -> tuple[pa.Table, pa.Table]:
    """Discover, confirm on halves, and set each rate beside its chance level.

    Parameters
    ----------
    bank : HeldOutBank
        Features and labels.
    permuted : sequence of pyarrow.Table
        What the permutations gave, in any split of them.
    spec : CalibrateSpec
        Thresholds.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    device : torch.device
        Where to multiply.

    Returns
    -------
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.SUMMARY`.
    discoveries : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.DISCOVERIES`.
    """
    test = bank.test(spec.association, device)
    candidates = test.candidates()
    discoveries = discovery_table(test, candidates, run)
    best = {target: test.best(found) for target, found in candidates.items()}
    confirmed = split_half(bank.features, bank.targets, spec.association, spec.halves, device)
    summary = calibrated_summary(test, test.counts(candidates), best, permuted, confirmed, run)
    single = pa.Table.from_pylist(list(single_label_rates(test, discoveries, run)))
    tables = [table.select(SUMMARY.column_names()) for table in (summary, single)]
    return pa.concat_tables([table.cast(SUMMARY.schema()) for table in tables]), discoveries


def published_rates(
    problems: pa.Table,
    cot_tokens: pa.Table,
    features: Iterable[LayerTable],
    spec: CalibrateSpec,
    run: Mapping[str, object],
    device: torch.device,
) -> pa.Table:
    """Published rates beside those of features that fire at random, exactly as often.

    For each place the interpretable rate of such features (control ``frequency_matched``), and by
    how much the bank's own is above it, which compares banks whose features fire differently often.
    There is no such monosemantic rate: its rule looks at how labels are ranked. Of a bank that the
    published mode does not analyse also the rates themselves.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.SUMMARY`.
    """
    layers, tokens = association_inputs(problems, cot_tokens, features)
    criteria = Gsm8kCriteria(association=spec.published.association, labels=spec.published.labels)
    tests = published_tests(layers, tokens, criteria, device)
    outcome = outcome_of_layers(layers, tests, tokens, criteria)
    key = {**run, "target": "token"}
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    rows: list[dict[str, Any]] = []
    if spec.published.observed:
        measured = measure(outcome, criteria.labels)
        rows += [{**key, **each._asdict(), "control": "none", **nothing} for each in measured]
    n_active = np.concatenate([each.active.sum(0) for each in layers])
    matched = frequency_matched(n_active, tokens.present, criteria.association).chance
    for layer, step, chosen in places(outcome.layer, outcome.step):
        chance = float(matched[chosen].mean())
        rate = float((outcome.n_kept[chosen] > 0).mean())
        place = {**key, "layer": layer, "step": step, **nothing, "n": int(chosen.sum())}
        named = {"metric": "interpretable_rate", "control": "frequency_matched", "value": chance}
        rows.append({**place, **named})
        above = {"metric": "interpretable_above_matched", "control": "none"}
        rows.append({**place, **above, "value": rate - chance})
    return pa.Table.from_pylist(rows, SUMMARY.schema())
