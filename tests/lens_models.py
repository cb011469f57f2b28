"""Tiny models of every family, and the same weights in TransformerLens' own implementation.

TransformerLens computes a model anew, from weights that it converts itself, so it is an oracle for
what hooks of plain transformers models carry.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saeflow.models.language_model import LanguageModel

LAYERS, VOCABULARY, POSITIONS = 4, 300, 96
_GROUPED = {"num_key_value_heads": 2}
# Heads that are not hidden_size / num_attention_heads wide, and a window shorter than the texts.
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"n_ctx": POSITIONS}),
    "llama": ("LlamaConfig", _GROUPED),
    "gemma2": ("Gemma2Config", {**_GROUPED, "head_dim": 6, "sliding_window": 4,
                                "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
                                "query_pre_attn_scalar": 9}),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 6}),
    "gpt_neox": ("GPTNeoXConfig", {}),
}  # fmt: skip


def tiny_model(family: str, **changes: Any) -> PreTrainedModel:
    """Fresh weights, large enough that attention, norms and biases are visible."""
    name, special = _CONFIGS[family]
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": LAYERS,
             "num_attention_heads": 4, "intermediate_size": 128,
             "max_position_embeddings": POSITIONS}  # fmt: skip
    config = getattr(transformers, name)(**(sizes | special | changes))
    config.architectures = [
        name.replace("Config", "LMHeadModel" if family == "gpt2" else "ForCausalLM")
    ]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(6)
                else:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def in_transformer_lens(model: PreTrainedModel, folder: Path, **processing: bool) -> Any:
    """The same weights as a `HookedTransformer`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of `tiny_model`.
    folder : Path
        Empty; its path names no family, by which TransformerLens would go.
    **processing : bool
        Such as ``center_writing_weights``; all are False by default.
    """
    from transformer_lens import HookedTransformer
    from transformer_lens import loading_from_pretrained as loading

    config = model.config
    if config.model_type == "gemma2":
        # Known by name alone; everything but sizes stays as it is for the released model.
        name = "google/gemma-2-9b"
        settings = loading.get_pretrained_model_config(name, device="cpu").to_dict()
        del settings["n_params"]
        settings |= {
            "d_model": config.hidden_size, "d_head": config.head_dim, "d_vocab": config.vocab_size,
            "d_vocab_out": config.vocab_size, "n_heads": config.num_attention_heads,
            "n_key_value_heads": config.num_key_value_heads, "d_mlp": config.intermediate_size,
            "n_layers": LAYERS, "n_ctx": POSITIONS, "window_size": config.sliding_window,
            "attn_types": settings["attn_types"][:LAYERS], "rotary_dim": config.head_dim,
            "attn_scores_soft_cap": config.attn_logit_softcapping,
            "output_logits_soft_cap": config.final_logit_softcapping,
            "attn_scale": config.query_pre_attn_scalar**0.5,
        }  # fmt: skip
        found = loading.HookedTransformerConfig.from_dict(settings)
    else:
        config.save_pretrained(folder)
        name = str(folder)
        found = loading.get_pretrained_model_config(name, device="cpu")
    found.tokenizer_name = None
    with warnings.catch_warnings():
        # It leaves in TransformerLens 4; sae-lens pins it below.
        warnings.simplefilter("ignore", DeprecationWarning)
        hooked = HookedTransformer(found, move_to_device=False)
    plain = dict.fromkeys(
        ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), False
    )
    weights = loading.get_pretrained_state_dict(name, found, model)
    hooked.load_and_process_state_dict(weights, **(plain | processing))
    return hooked.eval()


def readable(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LanguageModel:
    """A plain model as the readers of texts take it."""
    return LanguageModel(model, tokenizer, "test")
