"""Released CODI checkpoints, converted to our CODI directory (methods/0, sections 1.1 and 1.4).

A checkpoint is the state dict of the whole training wrapper: ``codi.*``, the language model inside
peft's LoRA, its embeddings resized by the three thought tokens, and ``prj.*``, the projection. peft
merges it: W + (alpha / r) B A. The sum is kept in float32, whatever the parts are stored in, so that
it gives what the unmerged model gives; the precision of a run is chosen where the model is loaded.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from saeflow.artifacts.files import atomic_folder
from saeflow.errors import SaeflowError, first_line
from saeflow.models.checkpoint_files import read_state
from saeflow.models.codi import CodiModel, Projection, ThoughtTokens
from saeflow.models.codi_parts import (
    EMBEDDINGS,
    N_THOUGHT_TOKENS,
    base_weights,
    find_config,
    find_tokenizer,
)
from saeflow.models.directories import save_directory

MODEL, PROJECTION = "codi.", "prj."
INNER = "base_model.model."
"""What peft puts before the names of the model that it wraps."""
HEAD = "lm_head.weight"
TARGETS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"],
}
ALPHA = 32
TOLERANCE = 1e-4
"""Largest difference between merged and unmerged logits, as a share of the largest logit (float32)."""
N_PROBES = 12


def convert_checkpoint(
    checkpoint: Path, target: Path, *, base: Path | None, alpha: int = ALPHA
) -> None:
    """Merge a released CODI checkpoint and write it as a CODI directory.

    Parameters
    ----------
    checkpoint : Path
        Folder with ``model.safetensors`` or ``pytorch_model.bin`` (or shards), and perhaps a tokenizer.
    target : Path
        Folder to write; appears when it is whole. May exist only if it is empty.
    base : Path or None
        Folder of the base model: its configuration, tokenizer, and the weights that the checkpoint
        lacks. None: the family's published configuration, and everything else from `checkpoint`.
    alpha : int
        LoRA's alpha, which a state dict does not hold.

    Raises
    ------
    SaeflowError
        If tensors are missing, unexpected, of a wrong shape or not finite, if files are damaged, or
        if no tokenizer can be had.
    """
    if target.is_dir() and any(target.iterdir()):
        raise SaeflowError(f"{target} is not empty; name a new folder for the converted model.")
    if alpha <= 0:
        raise SaeflowError(f"LoRA's alpha is {alpha}; expected a number above 0.")
    # Modules start with random numbers, which are not kept.
    with torch.random.fork_rng(devices=[]):
        made = _converted(checkpoint, base, alpha)
    with atomic_folder(target) as partial:
        save_directory(made, partial)


def _converted(checkpoint: Path, base: Path | None, alpha: int) -> CodiModel:
    state = {
        name: tensor for name, tensor in read_state(checkpoint).items() if not _is_buffer(name)
    }
    family = _family(checkpoint, state)
    rank = _rank(checkpoint, state, family)
    _check_settings(checkpoint, rank, alpha)
    config = _config(checkpoint, base, state, family)
    vocabulary = config.vocab_size - N_THOUGHT_TOKENS
    tokenizer = find_tokenizer(checkpoint, base, vocabulary)
    projection = _projection(checkpoint, state, config.hidden_size)
    model = _wrapped(config, family, rank, alpha)
    _fill(checkpoint, model, state, base, family)
    tokens = ThoughtTokens.after(vocabulary)
    return CodiModel(_merge(checkpoint, model), projection, tokenizer, tokens, "converted")


def _is_buffer(name: str) -> bool:
    """Whether a name is one of a constant that older releases of transformers stored."""
    return name.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"))


def _family(checkpoint: Path, state: dict[str, Tensor]) -> str:
    for family, inner in (("gpt2", "transformer.h."), ("llama", "model.layers.")):
        if any(name.startswith(MODEL + INNER + inner) for name in state):
            return family
    example = f", but for example {sorted(state)[0]}" if state else ""
    raise SaeflowError(
        f"{checkpoint} is no CODI checkpoint: it holds no {MODEL}{INNER}transformer.h.* (GPT-2) and "
        f"no {MODEL}{INNER}model.layers.* (Llama){example}."
    )


def _rank(checkpoint: Path, state: dict[str, Tensor], family: str) -> int:
    """LoRA's rank, the same for all matrices."""
    ranks = {name: tensor.shape for name, tensor in state.items() if ".lora_A." in name}
    if not ranks:
        raise SaeflowError(
            f"{checkpoint} holds no LoRA matrices; expected lora_A and lora_B of "
            f"{', '.join(TARGETS[family])} in each block."
        )
    first = min(ranks)
    for name, shape in sorted(ranks.items()):
        if len(shape) != 2 or shape[0] != ranks[first][0]:
            raise SaeflowError(
                f"{checkpoint}: {name} has the shape {tuple(shape)}, and {first} the shape "
                f"{tuple(ranks[first])}; expected one rank of LoRA, the first number, in all."
            )
    return int(ranks[first][0])


def _check_settings(checkpoint: Path, rank: int, alpha: int) -> None:
    """Compare LoRA's settings with those that peft may have written beside the weights."""
    path = checkpoint / "adapter_config.json"
    if not path.is_file():
        return
    try:
        written = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise SaeflowError(f"{path} cannot be read ({first_line(error)}).") from None
    expected = {"r": rank, "lora_alpha": alpha, "use_rslora": False, "use_dora": False}
    for key, value in expected.items():
        if written.get(key, value) != value:
            raise SaeflowError(f"{path} says {key} {written[key]!r}; expected {value!r}.")


def _config(
    checkpoint: Path, base: Path | None, state: dict[str, Tensor], family: str
) -> PretrainedConfig:
    """Configuration with room for the thought tokens."""
    found = [state.get(MODEL + INNER + name) for name in (EMBEDDINGS[family], HEAD)]
    shapes = [tensor.shape for tensor in found if tensor is not None]
    if not shapes:
        raise SaeflowError(
            f"{checkpoint} holds no embeddings ({MODEL}{INNER}{EMBEDDINGS[family]}); expected them "
            "with the three thought tokens, which no base model has."
        )
    if any(len(shape) != 2 for shape in shapes) or len(set(shapes)) > 1:
        raise SaeflowError(
            f"{checkpoint}: embeddings have the shapes {', '.join(str(tuple(s)) for s in shapes)}; "
            "expected (vocabulary + 3, width)."
        )
    return find_config(checkpoint, base, family, shapes[0][0])


def _projection(checkpoint: Path, state: dict[str, Tensor], width: int) -> Projection:
    found = {
        name.removeprefix(PROJECTION): tensor
        for name, tensor in state.items()
        if name.startswith(PROJECTION)
    }
    first = found.get("1.weight")
    if first is None:
        raise SaeflowError(
            f"{checkpoint} holds no {PROJECTION}1.weight; expected the projection as "
            f"{PROJECTION}1.*, {PROJECTION}3.* and {PROJECTION}ln.*."
        )
    projection = Projection(width, first.shape[0])
    _copy(checkpoint, projection, found, PROJECTION)
    return projection


def _wrapped(config: PretrainedConfig, family: str, rank: int, alpha: int) -> Any:
    """Wrap a model as the training did; its weights are yet to come."""
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        # peft asks for an attribute that newer transformers renamed, and is told so.
        warnings.simplefilter("ignore", FutureWarning)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        lora = LoraConfig(
            task_type="CAUSAL_LM",
            r=rank,
            lora_alpha=alpha,
            lora_dropout=0.0,
            bias="none",
            target_modules=TARGETS[family],
            fan_in_fan_out=family == "gpt2",
        )
        return get_peft_model(model, lora).eval()


def _fill(
    checkpoint: Path, model: Any, state: dict[str, Tensor], base: Path | None, family: str
) -> None:
    """Copy what the checkpoint holds into the wrapped model, and the base's weights if it has none."""
    other = sorted(name for name in state if not name.startswith((MODEL, PROJECTION)))
    if other:
        raise SaeflowError(
            f"{checkpoint} holds {len(other)} unexpected tensors, such as {other[0]}; expected "
            f"{MODEL}* and {PROJECTION}*."
        )
    found = {
        name.removeprefix(MODEL): tensor for name, tensor in state.items() if name.startswith(MODEL)
    }
    embeddings, head = INNER + EMBEDDINGS[family], INNER + HEAD
    if model.config.tie_word_embeddings:
        # Both are one parameter. Where a checkpoint holds two, the original loads the head last.
        one = found.get(head, found.get(embeddings))
        found |= {embeddings: one, head: one} if one is not None else {}
    of_base = {
        name
        for name in model.state_dict()
        if ".lora_" not in name and name not in (embeddings, head)
    }
    if not of_base & set(found):
        taken = base_weights(checkpoint, base)
        for name in of_base:
            inner = name.removeprefix(INNER).replace(".base_layer.", ".")
            if inner in taken:
                found[name] = taken[inner]
    _copy(checkpoint, model, found, MODEL)


def _copy(checkpoint: Path, module: nn.Module, found: dict[str, Tensor], prefix: str) -> None:
    """Copy tensors into a module, all that it has and no other."""
    wanted = module.state_dict()
    for what, names in (
        ("lacks", set(wanted) - set(found)),
        ("holds unexpected", set(found) - set(wanted)),
    ):
        if names:
            raise SaeflowError(
                f"{checkpoint} {what} {len(names)} tensors, such as {prefix}{min(names)}; expected "
                f"all of {prefix}* as the training's state dict has them, and no other."
            )
    for name, place in sorted(wanted.items()):
        tensor = found[name]
        if tensor.shape != place.shape:
            raise SaeflowError(
                f"{checkpoint}: {prefix}{name} has the shape {tuple(tensor.shape)}; expected "
                f"{tuple(place.shape)} by the configuration, its rank and its projection. If it is "
                "not of GPT-2 small or Llama-3.2-1B, name its base."
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise SaeflowError(
                f"{checkpoint}: {prefix}{name} holds values that are no finite floating-point "
                "numbers; fetch it again."
            )
        place.copy_(tensor)


def _merge(checkpoint: Path, model: Any) -> PreTrainedModel:
    """Merge LoRA into the weights, and make sure that this changes nothing."""
    before = _logits(model.get_base_model())
    merged: PreTrainedModel = model.merge_and_unload()
    difference = float((_logits(merged) - before).abs().max())
    largest = float(before.abs().max())
    # Written so that NaN fails, too.
    if not difference <= TOLERANCE * largest:
        raise SaeflowError(
            f"{checkpoint}: merging LoRA changed logits by {difference:.3g} of {largest:.3g}; "
            f"expected at most {TOLERANCE:g} of that, so it is not written."
        )
    return merged


@torch.no_grad()
def _logits(model: PreTrainedModel) -> Float[Tensor, "tokens vocabulary"]:
    """Logits of a fixed row of tokens, from the first to the last of the vocabulary."""
    ids = torch.linspace(0, model.config.vocab_size - 1, N_PROBES).long()
    logits: Float[Tensor, "tokens vocabulary"] = model(input_ids=ids[None]).logits[0]
    return logits
