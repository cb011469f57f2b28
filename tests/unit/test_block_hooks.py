"""Hooks inside blocks: what they read and change, and models that have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM, PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.interventions.edits import steer
from saeflow.interventions.texts import TextCondition, TextRun
from saeflow.interventions.thoughts import Condition, Place, ThoughtRun
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import BLOCK_HOOKS, HookedLayer, check_place
from saeflow.models.hooks import HOOKS, TOKEN_HOOKS, editing, listening, transformer_blocks
from saeflow.models.tokens import read_tokens
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, LAYERS, QUESTIONS, small_model

pytestmark = pytest.mark.usefixtures("one_thread")
INSIDE = BLOCK_HOOKS[2:]
WIDTH = 16


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


def seen(model: PreTrainedModel, hook: str, ids: Sequence[int] = (5, 9, 33, 7)) -> list[Tensor]:
    """What each layer carries at a hook, on one text; ``embed`` is in front of all of them."""
    found: list[Tensor] = []
    layers = [0] if hook == "embed" else range(LAYERS)
    with torch.no_grad(), listening(model, {hook: layers}, lambda *each: found.append(each[2])):
        model(torch.tensor([list(ids)]))
    return found


def test_captures_of_thoughts_keep_no_more_than_before() -> None:
    assert HOOKS == ("embed", "resid_post", "final_norm")
    assert set(TOKEN_HOOKS) == {*HOOKS, *INSIDE, "resid_pre"}


def test_a_block_writes_what_its_hooks_carry(model: CodiModel) -> None:
    language_model = model.language_model
    into = seen(language_model, "embed") + seen(language_model, "resid_post")[:-1]
    out = seen(language_model, "resid_post")
    written = zip(seen(language_model, "attn_out"), seen(language_model, "mlp_out"), strict=True)
    for before, (attention, mlp), after in zip(into, written, out, strict=True):
        torch.testing.assert_close(before + attention + mlp, after, rtol=1e-5, atol=1e-4)


def test_attention_is_the_projection_of_its_heads(model: CodiModel) -> None:
    for layer, block in enumerate(transformer_blocks(model.language_model)):
        attention = getattr(block, "self_attn", None) or block.attn
        project = getattr(attention, "o_proj", None) or attention.c_proj
        heads = seen(model.language_model, "attn_z")[layer]
        expected = seen(model.language_model, "attn_out")[layer]
        assert torch.equal(project(heads), expected)


def test_heads_may_be_wider_than_the_model() -> None:
    made = small_model("llama")
    config = made.language_model.config
    wide = type(made.language_model)(type(config)(**(config.to_dict() | {"head_dim": 6})))
    made.language_model = wide.eval()
    (found,) = read_tokens(made, ["two words"], hooks=["attn_z", "attn_out"])
    assert found.activations["attn_z"].shape[-1] == 24
    assert found.activations["attn_out"].shape[-1] == WIDTH


@pytest.mark.parametrize("hook", INSIDE)
def test_tokens_carry_what_a_plain_pass_carries(model: CodiModel, hook: str) -> None:
    texts = set()
    for batch in read_tokens(model, QUESTIONS, hooks=[hook, "resid_post"], layers=[2, 0]):
        assert set(batch.activations) == {hook, "resid_post"}
        for text in set(batch.text.tolist()):
            texts.add(text)
            carried = seen(
                model.language_model, hook, model.tokenizer(QUESTIONS[text])["input_ids"]
            )
            own = batch.activations[hook][:, batch.text == text]
            expected = torch.cat([carried[2], carried[0]])
            torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)
    assert texts == set(range(len(QUESTIONS)))


@pytest.mark.parametrize("hook", INSIDE)
@pytest.mark.parametrize("layer", range(LAYERS))
def test_reading_ends_at_the_hook(
    model: CodiModel, hook: str, layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the rest of the block nor a later block is run."""
    block = transformer_blocks(model.language_model)[layer]
    attention = getattr(block, "self_attn", None) or block.attn
    project = getattr(attention, "o_proj", None) or attention.c_proj
    ended: list[int] = []
    behind: dict[str, Callable[[], Any]] = {
        "attn_z": lambda: project, "attn_out": lambda: block.mlp, "mlp_out": lambda: block}  # fmt: skip
    handle = behind[hook]().register_forward_hook(lambda *_: ended.append(layer))
    later = transformer_blocks(model.language_model)[layer + 1 :]
    with monkeypatch.context() as patch:
        for each in later:
            patch.setattr(each, "forward", {}.pop)
        list(read_tokens(model, QUESTIONS, hooks=[hook], layers=[layer]))
    handle.remove()
    assert not ended


@pytest.mark.parametrize("hook", INSIDE)
def test_edits_reach_what_follows_and_leave_no_trace(model: CodiModel, hook: str) -> None:
    language_model = model.language_model
    before = seen(language_model, "resid_post")
    modules = list(language_model.modules())
    with editing(language_model, {(hook, 1): lambda hidden: hidden + 1.0}):
        inside = seen(language_model, hook)
        after = seen(language_model, "resid_post")
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1], atol=1e-3)
    torch.testing.assert_close(inside[1], seen(language_model, hook)[1] + 1.0)
    assert all(map(torch.equal, seen(language_model, "resid_post"), before))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in modules)


@pytest.mark.parametrize("hook", INSIDE)
def test_a_model_without_the_module_is_named(hook: str) -> None:
    config = BloomConfig(vocab_size=20, hidden_size=8, n_layer=1, n_head=2)
    model = BloomForCausalLM(config)
    del model.transformer.h[0].mlp
    looked_for = {"mlp_out": "mlp", "attn_out": "self_attn or attn or attention",
                  "attn_z": "self_attn or attn or attention.o_proj or c_proj or dense"}[hook]  # fmt: skip
    for enter in (
        listening(model, {hook: (0,)}, lambda *_: None),
        editing(model, {(hook, 0): abs}),
    ):
        with pytest.raises(SaeflowError) as raised, enter:
            pass
        check_sentence(raised.value, "BloomForCausalLM", looked_for, hook, "gpt_neox")
    assert not any(each._forward_hooks for each in model.modules())


@pytest.mark.parametrize("hook", INSIDE)
def test_other_interventions_say_that_they_do_not_go_inside(model: CodiModel, hook: str) -> None:
    texts = TextRun(model.language_model, [[3, 4, 5]])
    edit = steer(torch.ones(WIDTH))
    with pytest.raises(SaeflowError) as raised:
        list(texts.outcomes([TextCondition({HookedLayer(hook, 1): edit})]))
    check_sentence(raised.value, hook, "inside a block")
    with pytest.raises(SaeflowError, match="inside a block"):
        TextRun(model.language_model, [[3, 4, 5]], keep=[HookedLayer(hook, 0)])
    thoughts = ThoughtRun(model, ["a"], ["#### 1"], latents=1, max_new_tokens=2)
    with pytest.raises(SaeflowError, match="inside a block"):
        list(thoughts.outcomes([Condition({Place(0, hook, 1): edit})]))


def test_places_inside_blocks_are_checked_where_they_can_be_used() -> None:
    for hook in BLOCK_HOOKS:
        check_place(hook, 3, 4, inside=True)
        with pytest.raises(SaeflowError) as raised:
            check_place(hook, 4, 4, inside=True)
        check_sentence(raised.value, "layer 4", hook, "attn_z 0 to 3")
    with pytest.raises(SaeflowError, match="no layer 0 of the hook 'mlp_in'"):
        check_place("mlp_in", 0, 4, inside=True)
