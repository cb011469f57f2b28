"""Repositories of released SAEs as their authors uploaded them, at any size.

Each writer takes SAEs in the unit of plain activations and writes what their release would hold, so
that what is read back is what was given.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

RES_JB = "jbloom/GPT2-Small-SAEs-Reformatted"
GEMMA_SCOPE = "google/gemma-scope-9b-pt-res"
LLAMA_SCOPE = "fnlp/Llama3_1-8B-Base-LX{sublayer}-8x"
HOOKS = {"R": "hook_resid_post", "M": "hook_mlp_out", "A": "hook_attn_out"}
"""Of Llama Scope, by the letter in a repository's name."""


@dataclass(frozen=True)
class Weights:
    """An SAE: ``relu(x W_enc + b_enc)``, above a threshold of jumprelu; then ``f W_dec + b_dec``.

    Attributes
    ----------
    W_enc, b_enc, W_dec, b_dec : torch.Tensor
        Of shapes (d_in, d_sae), (d_sae,), (d_sae, d_in), (d_in,).
    threshold : torch.Tensor of shape (d_sae,), or None
        Of jumprelu.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.W_enc.shape[0], self.W_enc.shape[1]

    def named(self) -> dict[str, Tensor]:
        found = {name: value for name, value in vars(self).items() if value is not None}
        return {name: value.float().contiguous() for name, value in found.items()}


def random_weights(d_in: int, d_sae: int, seed: int, *, threshold: float | None = None) -> Weights:
    """An SAE that has learned nothing, about half of whose latents are active."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, size: float = 1.0) -> Tensor:
        return size * torch.randn(*shape, generator=generator)

    weights = Weights(
        drawn(d_in, d_sae, size=d_in**-0.5),
        drawn(d_sae, size=0.1),
        drawn(d_sae, d_in, size=d_in**-0.5),
        drawn(d_in, size=0.5),
    )
    if threshold is None:
        return weights
    return replace(weights, threshold=threshold * torch.rand(d_sae, generator=generator))


def res_jb_files(weights: Weights, layer: int, place: str = "hook_resid_pre") -> dict[str, bytes]:
    """`gpt2-small-res-jb`: SAELens' folders of before version 3, which take b_dec off the input.

    Centring is the reader's business: the weights are those of centred activations.
    """
    d_in, d_sae = weights.shape
    hook = f"blocks.{layer}.{place}"
    config = {
        "model_name": "gpt2-small", "hook_point": hook, "hook_point_layer": layer,
        "hook_point_head_index": None, "dataset_path": "Skylion007/openwebtext",
        "is_dataset_tokenized": False, "context_size": 128, "use_cached_activations": False,
        "cached_activations_path": f"activations/{hook}", "d_in": d_in, "n_batches_in_buffer": 128,
        "total_training_tokens": 300000000, "store_batch_size": 32, "device": "mps", "seed": 42,
        "dtype": "torch.float32", "b_dec_init_method": "geometric_median",
        "expansion_factor": d_sae // d_in, "from_pretrained_path": None, "l1_coefficient": 8e-05,
        "lr": 0.0004, "lr_scheduler_name": None, "lr_warm_up_steps": 5000,
        "train_batch_size": 4096, "use_ghost_grads": False, "feature_sampling_window": 1000,
        "feature_sampling_method": None, "resample_batches": 1028, "feature_reinit_scale": 0.2,
        "dead_feature_window": 5000, "dead_feature_estimation_method": "no_fire",
        "dead_feature_threshold": 1e-08, "log_to_wandb": True,
        "wandb_project": "mats_sae_training_gpt2_small", "wandb_entity": None,
        "wandb_log_frequency": 100, "n_checkpoints": 10, "checkpoint_path": "checkpoints/untold",
        "d_sae": d_sae, "tokens_per_buffer": 67108864, "run_name": "untold",
    }  # fmt: skip
    named = weights.named()
    named["b_enc"] = named["b_enc"] + named["b_dec"] @ named["W_enc"]
    return {
        f"{hook}/cfg.json": json.dumps(config).encode(),
        f"{hook}/sae_weights.safetensors": save(named),
        f"{hook}/sparsity.safetensors": save({"sparsity": torch.full((d_sae,), -5.0)}),
    }


def gemma_scope_files(weights: Weights, path: str) -> dict[str, bytes]:
    """Gemma Scope: one archive of NumPy per SAE, such as ``layer_9/width_16k/average_l0_14``."""
    target = io.BytesIO()
    assert weights.threshold is not None, "Gemma Scope is jumprelu"
    np.savez(target, **{name: value.numpy() for name, value in weights.named().items()})
    return {f"{path}/params.npz": target.getvalue()}


def llama_scope_files(
    weights: Weights, layer: int, scale: float, *, sublayer: str = "M", l0: int = 50
) -> dict[str, bytes]:
    """Llama Scope 8x: weights of activations times a factor, one threshold for all latents.

    Parameters
    ----------
    weights : Weights
        Of plain activations, one threshold.
    layer : int
        Block.
    scale : float
        The registry's ``norm_scaling_factor``, √d over the average norm.
    sublayer : {"R", "M", "A"}
        Place in the block.
    l0 : int
        As the release says.
    """
    d_in, d_sae = weights.shape
    assert weights.threshold is not None
    assert len(weights.threshold.unique()) == 1
    norm = d_in**0.5 / scale
    hook = f"blocks.{layer}.{HOOKS[sublayer]}"
    config = {
        "hook_point_in": hook, "hook_point_out": hook, "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False, "expansion_factor": d_sae // d_in,
        "d_model": d_in, "d_sae": d_sae, "bias_init_method": "all_zero", "act_fn": "jumprelu",
        "jump_relu_threshold": float(weights.threshold[0]) / scale, "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": norm, "out": norm}, "decoder_exactly_fixed_norm":
        False, "sparsity_include_decoder_norm": True, "use_glu_encoder": False, "init_decoder_norm":
        None, "init_encoder_norm": None, "init_encoder_with_decoder_transpose": True,
        "l1_coefficient": 8e-05, "l1_coefficient_warmup_steps": 78125, "lp": 1, "top_k": l0,
        "k_warmup_steps": 78125, "use_batch_norm_mse": True, "use_ghost_grads": False,
        "tied_encoder_decoder": False, "sae_type": "sae", "dtype": "torch.bfloat16",
    }  # fmt: skip
    state = {
        "encoder.weight": (weights.W_enc / scale).T.contiguous(),
        "encoder.bias": weights.b_enc,
        "decoder.weight": (weights.W_dec * scale).T.contiguous(),
        "decoder.bias": weights.b_dec * scale,
    }
    folder = f"Llama3_1-8B-Base-L{layer}{sublayer}-8x"
    return {
        f"{folder}/hyperparams.json": json.dumps(config).encode(),
        f"{folder}/checkpoints/final.safetensors": save(
            {name: value.float() for name, value in state.items()}
        ),
    }


def saelens_files(
    weights: Weights, folder: str, architecture: str, metadata: Mapping[str, Any], **config: Any
) -> dict[str, bytes]:
    """What SAELens' `SAE.save_model` of now writes."""
    d_in, d_sae = weights.shape
    told = {
        "d_in": d_in, "d_sae": d_sae, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": False, "normalize_activations": "none",
        "reshape_activations": "none", "metadata": {"sae_lens_version": "6.54.12", **metadata},
        **config, "architecture": architecture,
    }  # fmt: skip
    return {
        f"{folder}/cfg.json": json.dumps(told).encode(),
        f"{folder}/sae_weights.safetensors": save(weights.named()),
    }
