"""Plain models of the released families as tiny look-alikes, in exact Hugging Face format."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from saeflow.models.tokenizer import train_tokenizer

Family = Literal["gpt2", "llama", "gemma2"]
TEXTS = (
    "Q: Which is bigger: 9.8 or 9.11? A: 9.8 is bigger than 9.11. Version 9.11 came after 9.8.",
    "There are 3 boxes with 12 apples each. How many apples are there in all? The answer is: 36.",
    "def add(a, b): return a + b  # https://example.org/?q=1",
)
CHAT = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""The Llama 3 template, as far as one question needs it."""


def tokenizer_of(family: Family, *, chat: bool = False) -> PreTrainedTokenizerBase:
    """Byte-level BPE; Llama's and Gemma's add a begin-of-text token, GPT-2's adds nothing."""
    tokenizer = train_tokenizer(TEXTS, 1400, adds_begin=family != "gpt2")
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def config_of(family: Family, layers: int, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The family's own settings, but for sizes."""
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if family == "gpt2":
        return GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=layers, n_head=4, **ends)
    shared = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        **ends,
    }
    if family == "gemma2":
        # Soft-capping 50 and 30, and sliding windows in every other block, are the defaults.
        return Gemma2Config(head_dim=8, query_pre_attn_scalar=8, **shared)
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    }
    return LlamaConfig(rms_norm_eps=1e-5, rope_parameters=rope, **shared)


def model_files(
    family: Family, layers: int, *, dtype: str = "float32", chat: bool = False, seed: int = 0
) -> dict[str, bytes]:
    """Repository of a model with fresh weights that write more than usual."""
    tokenizer = tokenizer_of(family, chat=chat)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(family, layers, tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    with tempfile.TemporaryDirectory() as folder:
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
