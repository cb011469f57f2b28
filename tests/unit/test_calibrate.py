"""Parts of calibrating a bank: the one test on the other half, and published rates beside chance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import fisher_exact, hypergeom

from saeflow.artifacts.features import LayerTable
from saeflow.config.runs import ExactSettings
from saeflow.config.studies import (
    AssociationSettings,
    CalibrateSpec,
    HalvesSettings,
    LabelSettings,
    PublishedBeside,
)
from saeflow.stats.discovery import Candidates
from saeflow.stats.frequency import frequency_matched
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest
from saeflow.studies.gsm8k.calibrate import published_rates
from saeflow.studies.gsm8k.halves import Confirmation, _confirm
from saeflow.studies.gsm8k.targets import Target

CPU = torch.device("cpu")


def test_the_one_test_on_the_other_half_is_fishers_at_its_attained_size() -> None:
    rng = np.random.default_rng(3)
    labels = rng.random((120, 12)) < 0.3
    values = np.where(labels & (rng.random((120, 12)) < 0.5), 1.0, rng.random((120, 12)) < 0.3)
    at, index = np.zeros(12, np.int64), np.arange(12)
    features = BankFeatures(at, at, index, values.astype(np.float32))
    target = Target("token", [str(each) for each in index], labels, None)
    test = BankTest(features, [target], ExactSettings(), CPU)
    pairs = np.array([(one, other) for one in index for other in index])
    nothing = np.zeros(len(pairs), np.int64)
    into = Confirmation()
    _confirm(test, Candidates(pairs[:, 0], pairs[:, 1], nothing, np.zeros(len(pairs))), into)
    passes, sizes = [], []
    for one, other in pairs:
        fires, has = values[:, one] > 0, labels[:, other]
        cells = [[int((x & y).sum()) for y in (has, ~has)] for x in (fires, ~fires)]
        passes.append(fisher_exact(cells, alternative="greater").pvalue <= 0.05)
        tails = hypergeom.sf(np.arange(has.sum() + 1) - 1, 120, fires.sum(), has.sum())
        sizes.append(tails[tails <= 0.05].max(initial=0.0))
    assert 12 <= sum(passes) < len(pairs) / 2
    assert into.confirmed == [pytest.approx(np.mean(passes))]
    assert into.chance == [pytest.approx(np.mean(sizes), rel=1e-9)]


@pytest.mark.parametrize("observed", [True, False])
def test_published_rates_stand_beside_features_that_fire_as_often(observed: bool) -> None:
    rng = np.random.default_rng(4)
    present = rng.random((90, 6)) < 0.3
    active = np.concatenate([present[:, :3] ^ (rng.random((90, 3)) < 0.1)] * 2, axis=1)
    problem, column = np.nonzero(active)
    rows = {
        "problem": pa.array(problem, pa.int32()),
        "step": pa.array(column // 3, pa.int16()),
        "feature": pa.array(column % 3, pa.int32()),
        "value": pa.array(np.ones(len(problem), np.float32)),
    }
    where, token = np.nonzero(present)
    tokens = pa.table({"problem": where, "token": [str(each + 2) for each in token]})
    problems = pa.table({"problem": np.arange(90), "analysed": np.ones(90, bool)})
    criteria = AssociationSettings(min_active=5)
    spec = CalibrateSpec(
        association=ExactSettings(),
        targets=("token",),
        halves=HalvesSettings(),
        published=PublishedBeside(association=criteria, labels=LabelSettings(), observed=observed),
        held_out="validation",
        layers="all",
    )
    run = {"dataset": "d", "dictionary": "k", "seed": 0, "mode": "published"}
    layer = LayerTable(1, (0, 1), 3, pa.table(rows))
    found = published_rates(problems, tokens, [layer], spec, run, CPU).to_pandas()
    whole = found[found.layer.isna() & found.step.isna()].set_index(["metric", "control"]).value
    order = list(dict.fromkeys(token.tolist()))
    chance = frequency_matched(active.sum(0), present[:, order], criteria).chance.mean()
    assert whole["interpretable_rate", "frequency_matched"] == pytest.approx(chance)
    # Every feature follows a token, whatever chance gives.
    assert whole["interpretable_above_matched", "none"] == pytest.approx(1 - chance)
    assert 0 < chance < 1
    assert (("interpretable_rate", "none") in whole.index) == observed
    if observed:
        assert whole["interpretable_rate", "none"] == 1.0
    assert len(found[found.metric == "interpretable_above_matched"]) == 1 + 1 + 2 + 2
