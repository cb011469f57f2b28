"""Names that other tools give hooks."""

from __future__ import annotations

import pytest

from saeflow.errors import SaeflowError
from saeflow.models.conventions import BLOCK_HOOKS, HookedLayer
from saeflow.models.families import FAMILIES
from saeflow.models.hook_names import from_module_path, from_transformer_lens, to_transformer_lens
from saeflow.models.hooks import hooked_module
from tests.lens_models import tiny_model
from tests.sentences import check_sentence

NAMES = {
    "blocks.6.hook_resid_pre": ("resid_pre", 6),
    "blocks.11.hook_resid_post": ("resid_post", 11),
    "blocks.0.hook_mlp_out": ("mlp_out", 0),
    "blocks.3.hook_attn_out": ("attn_out", 3),
    "blocks.10.attn.hook_z": ("attn_z", 10),
}


def test_names_of_transformer_lens_are_understood() -> None:
    assert {from_transformer_lens(name, 12).hook for name in NAMES} == set(BLOCK_HOOKS)
    for name, place in NAMES.items():
        assert from_transformer_lens(name) == place
        assert to_transformer_lens(HookedLayer(*place)) == name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("blocks.4.hook_resid_mid", ["between attention and MLP", "blocks.4.hook_resid_pre"]),
        ("hook_embed", ["without positions", "blocks.0.hook_resid_pre"]),
        ("ln_final.hook_normalized", ["weights of the final norm"]),
        ("blocks.4.hook_resid_pst", ["did you mean 'blocks.4.hook_resid_post'?"]),
        ("blocks.4.attn.hook_zz", ["did you mean 'blocks.4.attn.hook_z'?"]),
        ("blocks.4.mlp.hook_post", ["is no hook that SAEs are read at"]),
        ("blocks.x.hook_resid_pre", ["did you mean 'blocks.0.hook_resid_pre'?"]),
        ("blocks.12.hook_resid_pre", ["block 12", "has 12", "blocks.11.hook_resid_pre"]),
        ("", ["known are 'blocks.0.attn.hook_z'"]),
    ],
)
def test_other_names_are_told(name: str, parts: list[str]) -> None:
    with pytest.raises(SaeflowError) as raised:
        from_transformer_lens(name, 12)
    check_sentence(raised.value, repr(name), *parts)


@pytest.mark.parametrize("hook", ["embed", "final_norm", "mlp_in"])
def test_hooks_of_no_block_have_no_name(hook: str) -> None:
    with pytest.raises(SaeflowError) as raised:
        to_transformer_lens(HookedLayer(hook, 0))
    check_sentence(raised.value, repr(hook), "is no hook of a block")


@pytest.mark.parametrize("family", FAMILIES)
def test_modules_are_known_by_their_output(family: str) -> None:
    model = tiny_model(family)
    paths = {module: path for path, module in model.named_modules()}
    for hook in ("resid_post", "mlp_out", "attn_out"):
        path = paths[hooked_module(model, hook, 2)]
        assert from_module_path(model, path) == (hook, 2)
        assert from_module_path(model, path.split(".", 1)[1]) == (hook, 2)


def test_outputs_that_no_hook_carries_are_told() -> None:
    """A norm follows the MLP of Gemma-2, so what the module gives is not what SAEs know as mlp_out."""
    model = tiny_model("gemma2")
    assert from_module_path(model, "model.layers.2.post_feedforward_layernorm") == ("mlp_out", 2)
    for path in ("model.layers.2.mlp", "model.layers.9", "model.layers.2.self_attn.o_proj"):
        with pytest.raises(SaeflowError) as raised:
            from_module_path(model, path)
        check_sentence(raised.value, repr(path), "Gemma2ForCausalLM", "did you mean")
