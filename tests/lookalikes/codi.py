"""Look-alikes of the released CODI checkpoints and their bases, in the exact upstream format.

The wrapper is built as methods/0, section 1.1, tells of the training: a base model in bfloat16,
embeddings resized by three, LoRA through peft (whose matrices are float32), and a projection. A
released ``pytorch_model.bin`` of 388 MB is what that gives with embeddings and head stored apart.
"""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from saeflow.models.tokenizer import train_tokenizer

Family = Literal["gpt2", "llama"]
Form = Literal["safetensors", "bin"]
Files = dict[str, bytes]
TEXTS = (
    "There are 3 boxes with 12 apples each. How many apples are there in all?",
    "The answer is: 36. A farmer has seven hens; each lays 2 eggs a day.",
)


@dataclass(frozen=True)
class Sizes:
    """Small by default; key-value heads and `intermediate` are Llama's."""

    hidden: int = 16
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 2
    intermediate: int = 24
    positions: int = 128
    projection: int = 12
    rank: int = 4
    alpha: int = 32


SMALL = Sizes()


def base_tokenizer(family: Family, vocabulary: int = 1400) -> PreTrainedTokenizerBase:
    """Byte-level BPE; Llama's adds a begin-of-text token, GPT-2's adds nothing."""
    return train_tokenizer(TEXTS, vocabulary, adds_begin=family == "llama")


def base_config(
    family: Family, sizes: Sizes, tokenizer: PreTrainedTokenizerBase
) -> PretrainedConfig:
    """Configuration of a base model, its embeddings not yet resized."""
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if family == "gpt2":
        return GPT2Config(vocab_size=len(tokenizer), n_positions=sizes.positions,
                          n_embd=sizes.hidden, n_layer=sizes.layers, n_head=sizes.heads,
                          **ends)  # fmt: skip
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    return LlamaConfig(vocab_size=len(tokenizer), hidden_size=sizes.hidden,
                       num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
                       num_key_value_heads=sizes.key_value_heads, rms_norm_eps=1e-5,
                       intermediate_size=sizes.intermediate, rope_parameters=rope,
                       max_position_embeddings=sizes.positions, tie_word_embeddings=True,
                       **ends)  # fmt: skip


def base_model(family: Family, sizes: Sizes, tokenizer: PreTrainedTokenizerBase, seed: int) -> Any:
    """Fresh weights, larger than usual, so that attention is not nearly uniform; in bfloat16."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(base_config(family, sizes, tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            # Wide models need less.
            parameter.mul_(min(8.0, 32 / sizes.hidden**0.5) if parameter.ndim > 1 else 1.0)
    return model.to(torch.bfloat16)


class Wrapper(nn.Module):
    """What was trained: attributes `codi` and `prj`, as the state dict names them."""

    def __init__(
        self, base: Any, tokenizer: PreTrainedTokenizerBase, sizes: Sizes, seed: int
    ) -> None:
        from peft import LoraConfig, get_peft_model

        super().__init__()
        family = base.config.model_type
        targets = {"gpt2": ["c_attn", "c_proj", "c_fc"],
                   "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj",
                             "gate_proj"]}  # fmt: skip
        self.tokenizer = tokenizer
        self.pad, self.bot, self.eot = (base.config.vocab_size + step for step in range(3))
        torch.manual_seed(seed)
        base.resize_token_embeddings(base.config.vocab_size + 3, mean_resizing=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.codi = get_peft_model(base, LoraConfig(
                task_type="CAUSAL_LM", r=sizes.rank, lora_alpha=sizes.alpha, lora_dropout=0.1,
                target_modules=targets[family], init_lora_weights=True))  # fmt: skip
        self.prj = nn.Sequential(
            nn.Dropout(0.0),
            nn.Linear(sizes.hidden, sizes.projection),
            nn.GELU(),
            nn.Linear(sizes.projection, sizes.hidden),
        )
        self.prj.add_module("ln", nn.LayerNorm(sizes.hidden))
        with torch.no_grad():
            for name, parameter in self.codi.named_parameters():
                if ".lora_B." in name:
                    parameter.normal_(0, 0.3 / sizes.rank)
            for parameter in self.prj.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        self.eval()


@dataclass(frozen=True)
class Run:
    """What the procedure of methods/0, section 1.2, gives for one question."""

    steps: Tensor
    """Last hidden states of s0 … s6, after the final norm: (steps, width)."""
    logits: Tensor
    """At each token of the answer, the thought tokens included: (written, vocabulary + 3)."""
    answer: str


@torch.no_grad()
def run_wrapper(
    wrapper: Wrapper, question: str, *, latents: int = 6, max_new_tokens: int = 8
) -> Run:
    """Answer as the original's test does, in float32, without its cache: everything is read anew."""
    embed = wrapper.codi.get_base_model().get_input_embeddings()
    ids = wrapper.tokenizer(question.strip().replace("  ", " "))["input_ids"] + [wrapper.bot]
    read = embed(torch.tensor([ids]))
    steps, logits, written = [], [], []

    def last(embeddings: Tensor) -> Any:
        return wrapper.codi(inputs_embeds=embeddings, output_hidden_states=True)

    for number in range(latents + 1):
        steps.append(last(read).hidden_states[-1][:, -1])
        if number < latents:
            read = torch.cat([read, wrapper.prj(steps[-1])[:, None]], dim=1)
    token = wrapper.eot
    for _ in range(max_new_tokens):
        read = torch.cat([read, embed(torch.tensor([[token]]))], dim=1)
        logits.append(last(read).logits[:, -1])
        token = int(logits[-1][0, : wrapper.codi.config.vocab_size - 1].argmax())
        written.append(token)
        if token == wrapper.tokenizer.eos_token_id:
            break
    ours = {wrapper.pad, wrapper.bot, wrapper.eot}
    text = wrapper.tokenizer.decode([each for each in written if each not in ours],
                                    skip_special_tokens=True)  # fmt: skip
    return Run(torch.cat(steps), torch.cat(logits), text)


def make_wrapper(family: Family, sizes: Sizes = SMALL, *, seed: int = 0) -> Wrapper:
    """Wrapper of a fresh model, with LoRA and projection as if they had been trained."""
    tokenizer = base_tokenizer(family)
    return Wrapper(base_model(family, sizes, tokenizer, seed), tokenizer, sizes, seed + 1)


def state_of(wrapper: Wrapper) -> dict[str, Tensor]:
    """State dict, embeddings and head apart as in the released file."""
    return {name: tensor.detach().clone() for name, tensor in wrapper.state_dict().items()}


def weight_files(state: Mapping[str, Tensor], form: Form, *, shards: int = 1) -> Files:
    """Files of a state dict; safetensors drop the tied head, as `safetensors.torch.save_model` does."""
    kept = {name: tensor.contiguous() for name, tensor in state.items()}
    if form == "safetensors":
        kept.pop("codi.base_model.model.lm_head.weight", None)
    whole = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}[form]
    if shards == 1:
        return {whole: _packed(kept, form)}
    stem, ending = whole.split(".")
    names = [f"{stem}-{n + 1:05}-of-{shards:05}.{ending}" for n in range(shards)]
    parts = {name: dict(list(kept.items())[n::shards]) for n, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": {key: name for name in names for key in parts[name]}}
    return {name: _packed(part, form) for name, part in parts.items()} | {
        f"{whole}.index.json": json.dumps(index).encode()
    }


def _packed(state: dict[str, Tensor], form: Form) -> bytes:
    if form == "safetensors":
        return save(state, metadata={"format": "pt"})
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> Files:
    """A tokenizer in Hugging Face's format."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return _files(Path(folder))


def base_files(
    family: Family, sizes: Sizes = SMALL, *, seed: int = 0, weights: bool = True
) -> Files:
    """Repository of the base that `checkpoint_files` of the same sizes and seed was trained from."""
    tokenizer = base_tokenizer(family)
    with tempfile.TemporaryDirectory() as folder:
        if weights:
            base_model(family, sizes, tokenizer, seed).save_pretrained(folder)
        else:
            base_config(family, sizes, tokenizer).save_pretrained(folder)
        return _files(Path(folder)) | tokenizer_files(tokenizer)


def checkpoint_files(
    family: Family,
    sizes: Sizes = SMALL,
    *,
    form: Form = "bin",
    seed: int = 0,
    shards: int = 1,
    tokenizer: bool = False,
    config: bool = False,
) -> Files:
    """Repository of a released checkpoint, by the path of each file.

    Parameters
    ----------
    family : {"gpt2", "llama"}
    sizes : Sizes
    form : {"safetensors", "bin"}
    seed : int
        The base's weights; `base_files` with the same has them, too.
    shards : int
    tokenizer, config : bool
        Whether these lie beside the weights, so that no base is needed.
    """
    wrapper = make_wrapper(family, sizes, seed=seed)
    files = weight_files(state_of(wrapper), form, shards=shards)
    if tokenizer:
        files |= tokenizer_files(wrapper.tokenizer)
    if config:
        given = base_config(family, sizes, wrapper.tokenizer)
        files |= {"config.json": given.to_json_string(use_diff=False).encode()}
    return files


def write_files(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write files into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _files(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
