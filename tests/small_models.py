"""Small fresh models whose attention is visible, for tests of what models give."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from saeflow.config.models import FreshModel
from saeflow.models.codi import CodiModel
from saeflow.models.loading import load_model

FAMILIES = ("llama", "gpt2")
LATENTS, LAYERS = 3, 3
QUESTIONS = ["How many?", "2", "A longer question, with ünïcode – and 12 words or so: 3+4?", "x y"]


def settings_of(family: Any, **changes: Any) -> FreshModel:
    """Four heads, of which two hold keys and values in a Llama."""
    sizes = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 24, "projection_size": 12,
             "max_position_embeddings": 160}  # fmt: skip
    return FreshModel(weights="fresh", family=family, **(sizes | changes))


def small_model(family: str) -> CodiModel:
    """Fresh weights are so small that attention is nearly uniform; make a mistake in it visible."""
    made = load_model(settings_of(family, seed=1))
    with torch.no_grad():
        for parameter in made.language_model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made


def bytes_with_begin(begin: int, **special: str) -> PreTrainedTokenizerBase:
    """Byte-level tokenizer that puts ``<s>``, of a chosen id, before every text."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols.insert(begin, "<s>")
    tokenizer = Tokenizer(models.BPE(vocab={each: n for n, each in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", begin)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", **special)


def with_tokenizer(model: CodiModel, tokenizer: PreTrainedTokenizerBase) -> CodiModel:
    return CodiModel(model.language_model, model.projection, tokenizer, model.tokens, "test")
