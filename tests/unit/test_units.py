"""Units of what is patched: which coordinates they have, and that they are what they are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from saeflow.errors import SaeflowError
from saeflow.interventions.units import KINDS, Units, units_of
from saeflow.models.hooks import hooked_module, listening
from tests.sentences import check_sentence


def llama(**changes: Any) -> LlamaForCausalLM:
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2}
    settings = {"num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 30}
    return LlamaForCausalLM(LlamaConfig(**sizes | settings | changes)).eval()


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_head=4, n_layer=2, vocab_size=30)).eval()


def gemma2() -> Gemma2ForCausalLM:
    """Its heads are not as wide as the model's width says."""
    settings = {"num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 30, "head_dim": 6}
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2}
    return Gemma2ForCausalLM(Gemma2Config(**sizes | settings)).eval()


def carried(model: PreTrainedModel, hook: str) -> Tensor:
    """What the last block carries at a hook, on one text."""
    found: list[Tensor] = []
    with torch.no_grad(), listening(model, {hook: [1]}, lambda *each: found.append(each[2])):
        model(torch.tensor([[1, 2, 3]]))
    return found[0]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (llama(), {"head": (4, 16), "kv_group": (2, 16), "block": (4, 16)}),
        (llama(num_key_value_heads=4), {"head": (4, 16), "kv_group": (4, 16), "block": (4, 16)}),
        (llama(num_key_value_heads=1), {"head": (4, 16), "kv_group": (1, 16), "block": (4, 16)}),
        (llama(head_dim=6), {"head": (4, 24), "kv_group": (2, 24), "block": (4, 16)}),
        (gemma2(), {"head": (4, 24), "kv_group": (2, 24), "block": (4, 16)}),
        (gpt2(), {"head": (4, 16), "kv_group": (4, 16), "block": (4, 16)}),
    ],
)
def test_how_many_there_are(model: PreTrainedModel, expected: dict[str, tuple[int, int]]) -> None:
    whole = dict.fromkeys(("attn_out", "mlp_out", "resid_post"), (1, 16))
    for kind, (count, width) in (expected | whole).items():
        found = units_of(model, kind)
        assert (found.n_units, found.width, found.kind) == (count, width, kind)
        assert carried(model, found.hook).shape == (1, 3, width)
    assert set(expected | whole) == set(KINDS)
    hooks = {kind: units_of(model, kind).hook for kind in KINDS}
    assert hooks["head"] == hooks["kv_group"] == "attn_z"
    assert all(hooks[kind] == kind for kind in whole)
    assert hooks["block"] == "attn_out"


@pytest.mark.parametrize("model", [llama(), llama(head_dim=6), gpt2()])
def test_a_head_is_what_its_own_queries_give(model: PreTrainedModel) -> None:
    """Other queries of head 2 change its own coordinates and no others."""
    found, seen = units_of(model, "head"), []
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    per_head = found.width // found.n_units
    with torch.no_grad(), listening(model, {"attn_z": [0]}, lambda *each: seen.append(each[2])):
        model(ids)
        attention = hooked_module(model, "attn_out", 0)
        rows = slice(2 * per_head, 3 * per_head)
        if isinstance(model, GPT2LMHeadModel):
            attention.c_attn.weight[:, rows] += 1.0
        else:
            attention.q_proj.weight[rows] += 1.0
        model(ids)
    changed = (seen[0] != seen[1]).any(1)[0]
    assert bool(changed.any())
    assert not bool((changed & ~found.mask([2])).any())


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_group_is_what_shares_keys_and_values(groups: int) -> None:
    model, seen = llama(num_key_value_heads=groups), []
    found, last = units_of(model, "kv_group"), groups - 1
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad(), listening(model, {"attn_z": [0]}, lambda *each: seen.append(each[2])):
        model(ids)
        model.model.layers[0].self_attn.v_proj.weight[4 * last : 4 * last + 4] += 1.0
        model(ids)
    changed = (seen[0] != seen[1]).any(1)[0]
    assert torch.equal(changed, found.mask([last]))


@given(st.integers(1, 8), st.integers(1, 5), st.data())
def test_masks_are_disjoint_and_cover_all(n_units: int, per_unit: int, data: st.DataObject) -> None:
    units = Units("head", "attn_z", n_units, n_units * per_unit)
    each = torch.stack([units.mask([number]) for number in range(n_units)])
    assert torch.equal(each.sum(0), torch.ones(units.width, dtype=torch.long))
    assert bool((each.sum(1) == per_unit).all())
    assert bool(units.mask().all())
    chosen = data.draw(st.lists(st.integers(0, n_units - 1), min_size=1, unique=True))
    assert torch.equal(units.mask(chosen), each[chosen].any(0))


@pytest.mark.parametrize("chosen", [[], [4], [-1], [1, 1]])
def test_units_that_there_are_not(chosen: list[int]) -> None:
    with pytest.raises(SaeflowError) as raised:
        units_of(gpt2(), "head").mask(chosen)
    check_sentence(raised.value, str(chosen), "head", "0 to 3")


def test_numbers_that_do_not_divide_and_unknown_kinds() -> None:
    model = llama()
    model.config.num_attention_heads = 5
    with pytest.raises(SaeflowError) as raised:
        units_of(model, "block")
    check_sentence(raised.value, "LlamaForCausalLM", "5 query heads", "16 coordinates", "attn_out")
    model.config.num_attention_heads, model.config.num_key_value_heads = 4, 3
    with pytest.raises(SaeflowError) as raised:
        units_of(model, "kv_group")
    check_sentence(raised.value, "4 query heads", "3 heads of keys")
    with pytest.raises(SaeflowError, match="no units of the kind 'heads'"):
        units_of(model, "heads")
