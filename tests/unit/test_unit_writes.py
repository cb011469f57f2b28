"""What units add to the residual stream, and what MLPs write behind a replaced one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from saeflow.errors import SaeflowError
from saeflow.interventions.unit_writes import last_mlp_outputs, replacing, unit_writes
from saeflow.interventions.units import units_of
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import transformer_blocks
from saeflow.models.tokens import read_tokens
from tests.lens_models import tiny_model
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, LAYERS, QUESTIONS, small_model

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH = 16


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    made = small_model(request.param)
    for layer in range(LAYERS):
        bias = getattr(projection_of(made, layer), "bias", None)
        if bias is not None:
            # Fresh ones are 0, so that they could be forgotten.
            nn.init.normal_(bias, generator=torch.Generator().manual_seed(layer))
    return made


def projection_of(model: CodiModel, layer: int) -> Any:
    block = transformer_blocks(model.language_model)[layer]
    attention = getattr(block, "self_attn", None) or block.attn
    return getattr(attention, "o_proj", None) or attention.c_proj


@pytest.mark.parametrize("kind", ["head", "kv_group", "block"])
@pytest.mark.parametrize("layer", range(LAYERS))
def test_writes_of_all_units_add_up_to_what_attention_writes(
    model: CodiModel, kind: str, layer: int
) -> None:
    units = units_of(model.language_model, kind)
    (batch,) = read_tokens(model, QUESTIONS, hooks=["attn_z", "attn_out"], layers=[layer])
    expected = batch.activations["attn_out"][0]
    writes = unit_writes(model.language_model, units, layer, batch.activations[units.hook][0])
    assert writes.shape == (len(batch.text), units.n_units, WIDTH)
    total = writes.sum(1)
    bias = getattr(projection_of(model, layer), "bias", None)
    if kind != "block" and bias is not None:
        total = total + bias.detach()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["head", "kv_group"])
def test_a_unit_writes_what_attention_writes_when_the_others_carry_nothing(
    model: CodiModel, kind: str
) -> None:
    units = units_of(model.language_model, kind)
    (batch,) = read_tokens(model, QUESTIONS, hooks=["attn_z"], layers=[1])
    z = batch.activations["attn_z"][0]
    projection = projection_of(model, 1)
    for unit in range(units.n_units):
        alone = torch.zeros_like(z)
        size = z.shape[1] // units.n_units
        span = slice(unit * size, (unit + 1) * size)
        alone[:, span] = z[:, span]
        with torch.no_grad():
            expected = projection(alone) - projection(torch.zeros_like(z))
        found = unit_writes(model.language_model, units, 1, z)[:, unit]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_what_cannot_be_read_or_replaced_is_told(model: CodiModel) -> None:
    units = units_of(model.language_model, "head")
    entering, mask = torch.zeros(1, 2, WIDTH), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(SaeflowError) as raised:
        last_mlp_outputs(model.language_model, 1, entering, mask, [2, 0])
    check_sentence(raised.value, "block 1", "[2, 0]")
    with pytest.raises(SaeflowError, match="expected different ones of 0 to 3"):
        replacing(units, 4, entering)


def test_heads_behind_which_a_norm_stands_write_no_parts() -> None:
    model = tiny_model("gemma2")
    carried = torch.ones(1, 24)
    with pytest.raises(SaeflowError) as raised:
        unit_writes(model, units_of(model, "head"), 0, carried)
    check_sentence(raised.value, "Gemma2ForCausalLM", "norms what its heads write", "attn_out")
    whole = unit_writes(model, units_of(model, "attn_out"), 0, torch.ones(1, 32))
    assert torch.equal(whole[0, 0], torch.ones(32))
