"""How much of a block of coordinates comes from its own head, and what a bank's numbers hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.decimal_bug import (
    ATTRIBUTION,
    DECIMAL_ANSWERS,
    DECIMAL_BUG,
    LAYER_FEATURES,
    OVERLAP,
    PATCHES,
)
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.decimal_bug import (
    BehaviourSettings,
    DecimalCalibrated,
    ListSettings,
    PairSettings,
)
from saeflow.models.hooks import hooked_module
from saeflow.studies.decimal_bug.behaviour import alignment_table, ask, draw_prompts
from saeflow.studies.decimal_bug.blocks import own_head_rows, own_head_shares
from saeflow.studies.decimal_bug.features import compare_formats
from saeflow.studies.decimal_bug.records import prompts_table
from saeflow.studies.decimal_bug.summary import summarise
from tests.small_models import FAMILIES, LAYERS, small_model
from tests.unit.test_decimal_overlap import random_bank

RUN = {"dictionary": "tokens", "seed": 0}


@pytest.mark.parametrize("family", FAMILIES)
def test_shares_are_those_of_squared_weights(family: str) -> None:
    model = small_model(family)
    projection = hooked_module(model.language_model, "attn_z", 1)
    weight = projection.weight.detach()
    written = weight if family == "llama" else weight.T
    for block, share in enumerate(own_head_shares(model, 1).tolist()):
        rows = written[4 * block : 4 * block + 4]
        own = rows[:, 4 * block : 4 * block + 4].square().sum() / rows.square().sum()
        assert share == pytest.approx(float(own), rel=1e-5)


def test_a_projection_that_keeps_heads_apart_is_seen() -> None:
    model = small_model("llama")
    for layer in range(LAYERS):
        with torch.no_grad():
            weight = hooked_module(model.language_model, "attn_z", layer).weight
            weight.copy_(torch.block_diag(*torch.ones(4, 4, 4)))
    found = {(row["layer"], row["control"]): row["value"] for row in own_head_rows(model)}
    assert found[None, "none"] == 1
    assert found[None, "equal_shares"] == 0.25
    assert found[2, "none"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_without_the_bug_is_compared_summarised_and_not_patched(
    family: str, tmp_path: Path
) -> None:
    model = small_model(family)
    asked = draw_prompts(model, 0, PairSettings(drawn=400, per_stratum=4), ("9.8", "9.11")).prompts
    answers = ask(model, asked, BehaviourSettings(max_new_tokens=5, samples=1), batch_size=64)
    settings = DecimalCalibrated()
    found = compare_formats(
        model,
        random_bank(int(model.language_model.config.hidden_size)),
        QUALITY.schema().empty_table(),
        asked,
        answers,
        ListSettings(top=8),
        settings,
        RUN,
        batch_size=64,
    )
    assert not len(found.attribution)
    patches = PATCHES.schema().empty_table()
    summary = summarise(
        prompts_table(asked), answers, patches, [found.numbers], settings, own_weights=False
    )
    assert alignment_table(model, asked)["other_form"].unique().to_pylist()
    artifacts = (OVERLAP, LAYER_FEATURES, ATTRIBUTION, DECIMAL_BUG)
    tables = [*zip(found, artifacts, strict=True), (answers, DECIMAL_ANSWERS)]
    tables += list(zip(summary, (DECIMAL_BUG, CLAIMS), strict=True))
    for number, (table, artifact) in enumerate(tables):
        # Writing refuses rows with the same keys.
        write_table(table, tmp_path / f"{number}.parquet", artifact, Provenance("x"))
    bug = {
        row["group"]: row["value"] for row in summary.numbers.to_pylist() if row["metric"] == "bug"
    }
    assert bug == {"bug, choose": 0.0, "bug, report": 0.0}
    verdicts = {row["claim"]: row["verdict"] for row in summary.claims.to_pylist()}
    assert verdicts["one_layer_suffices"] == "not testable in this run"
    assert verdicts["blocks_are_heads"] == "contradicted"
