"""How far an ablation travels through blocks, beside plain hooks."""

from __future__ import annotations

import numpy as np
import pytest

from saeflow.models.codi import CodiModel
from saeflow.studies.specialists.cascade import relative_change
from tests.ablation_cases import (
    SPECIALISTS,
    bank,
    block_outputs,
    edited_outputs,
    model_of,
    prompts_of,
)
from tests.small_models import FAMILIES, LAYERS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return model_of(request.param)


@pytest.mark.parametrize("left_pad", [False, True])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_cascade_is_that_of_plain_hooks(model: CodiModel, left_pad: bool, batch_size: int) -> None:
    prompts = prompts_of(model, "texts")
    found = relative_change(
        model, bank(), prompts, SPECIALISTS, batch_size=batch_size, left_pad=left_pad
    )
    assert found.shape == (len(SPECIALISTS), LAYERS, len(prompts))
    begin = len(model.tokenizer("")["input_ids"])
    for number, each in enumerate(SPECIALISTS):
        assert np.isnan(found[number, : each.layer]).all()
        for column, prompt in enumerate(prompts):
            clean = block_outputs(model, list(prompt.ids))[0]
            edited = edited_outputs(model, list(prompt.ids), each)[0]
            for layer in range(each.layer, LAYERS):
                before, after = clean[layer][begin:], edited[layer][begin:]
                share = float((after - before).norm() / before.norm())
                assert found[number, layer, column] == pytest.approx(share, abs=1e-4)
    assert (found[0] > 0).any()
