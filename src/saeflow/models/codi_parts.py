"""What a CODI checkpoint leaves to its base model: configuration, tokenizer, perhaps the weights.

The Llama base is gated. Its weights are in the checkpoint and its configuration is published, so
only a tokenizer is needed beside it.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from saeflow.errors import SaeflowError, first_line
from saeflow.models.codi import ThoughtTokens
from saeflow.models.directories import any_config, check_complete, read_tokenizer
from saeflow.models.repository_files import TOKENIZER_FILES, MissingWeightsError, lacking

EMBEDDINGS = {"gpt2": "transformer.wte.weight", "llama": "model.embed_tokens.weight"}
KNOWN_BASES = {"gpt2": "openai-community/gpt2", "llama": "meta-llama/Llama-3.2-1B-Instruct"}
N_THOUGHT_TOKENS = len(fields(ThoughtTokens))


def known_config(family: str) -> PretrainedConfig:
    """Published configuration of the base of a released checkpoint.

    Parameters
    ----------
    family : {"gpt2", "llama"}
        GPT-2 small or Llama-3.2-1B-Instruct (the latter as Llama-3.2-1B, but for the ids that end a
        text).

    Returns
    -------
    transformers.PretrainedConfig
        Not yet resized.
    """
    if family == "gpt2":
        return GPT2Config(
            vocab_size=50_257,
            n_positions=1024,
            n_embd=768,
            n_layer=12,
            n_head=12,
            activation_function="gelu_new",
            layer_norm_epsilon=1e-5,
            bos_token_id=50_256,
            eos_token_id=50_256,
        )
    return LlamaConfig(
        vocab_size=128_256,
        max_position_embeddings=131_072,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        hidden_act="silu",
        rms_norm_eps=1e-5,
        attention_bias=False,
        mlp_bias=False,
        tie_word_embeddings=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        bos_token_id=128_000,
        eos_token_id=[128_001, 128_008, 128_009],
    )


def find_config(checkpoint: Path, base: Path | None, family: str, rows: int) -> PretrainedConfig:
    """Configuration from the base, else from the checkpoint's folder, else the published one.

    Parameters
    ----------
    checkpoint : Path
        Folder of the checkpoint.
    base : Path or None
        Folder of the base model.
    family : {"gpt2", "llama"}
        What the names of the weights say.
    rows : int
        Embeddings in the checkpoint.

    Returns
    -------
    transformers.PretrainedConfig
        With as many embeddings as the checkpoint has.

    Raises
    ------
    SaeflowError
        If the base is no directory, of another family or vocabulary, or its configuration cannot be
        read.
    """
    config = _base_config(base, family, checkpoint) if base is not None else None
    own = _own_config(checkpoint, family) if config is None else None
    if own is not None and own.vocab_size == rows:
        return own
    config = config or own or known_config(family)
    if rows != config.vocab_size + N_THOUGHT_TOKENS:
        raise SaeflowError(
            f"{checkpoint} holds {rows} embeddings; expected {config.vocab_size + N_THOUGHT_TOKENS}, "
            f"the base's {config.vocab_size} and {N_THOUGHT_TOKENS} thought tokens. If its base is "
            f"not {KNOWN_BASES[family]}, name it."
        )
    config.vocab_size = rows
    return config


def _base_config(base: Path, family: str, checkpoint: Path) -> PretrainedConfig | None:
    """Configuration of a base; None where the folder holds only, say, a tokenizer."""
    if not base.is_dir():
        raise SaeflowError(f"{base} is no directory; expected the folder of the base model.")
    if not (base / "config.json").is_file():
        return None
    config = any_config(base)
    if config.model_type != family:
        raise SaeflowError(
            f"{base / 'config.json'} names the family {config.model_type!r}; the weights of "
            f"{checkpoint} are of {family!r}."
        )
    return config


def _own_config(checkpoint: Path, family: str) -> PretrainedConfig | None:
    """Configuration beside the checkpoint, if it is one of a model."""
    if not (checkpoint / "config.json").is_file():
        return None
    try:
        config = any_config(checkpoint)
    except SaeflowError:
        # The training's own settings, perhaps: those say nothing about the architecture.
        return None
    return config if config.model_type == family else None


def find_tokenizer(checkpoint: Path, base: Path | None, vocabulary: int) -> PreTrainedTokenizerBase:
    """Tokenizer from the checkpoint's folder, else from the base.

    Parameters
    ----------
    checkpoint : Path
        Folder of the checkpoint.
    base : Path or None
        Folder of the base model.
    vocabulary : int
        Tokens that it must have.

    Raises
    ------
    SaeflowError
        If there is none, it cannot be read, or it is another model's.
    """
    for folder in (checkpoint, base):
        if folder is not None and any((folder / name).is_file() for name in TOKENIZER_FILES):
            return _read_tokenizer(folder, vocabulary)
    places = f"{checkpoint} and {base} hold" if base is not None else f"{checkpoint} holds"
    raise SaeflowError(
        f"{places} no tokenizer ({', '.join(TOKENIZER_FILES)}); put that of the base model there, or "
        "name the base, such as "
        f"{' or '.join(KNOWN_BASES.values())} (gated: accept its licence on the hub and set HF_TOKEN)."
    )


def base_weights(checkpoint: Path, base: Path | None) -> dict[str, Tensor]:
    """Weights of the base, for a checkpoint that holds only what was trained.

    Returns
    -------
    dict of str to torch.Tensor
        By their names in transformers.

    Raises
    ------
    SaeflowError
        If no base is named, or its weights cannot be read; a `MissingWeightsError` where its folder
        lacks them.
    """
    if base is None:
        raise SaeflowError(
            f"{checkpoint} holds LoRA matrices but no weights of the base model; name its base."
        )
    if missing := lacking(base, config=False):
        raise MissingWeightsError(
            f"{checkpoint} holds no weights of the base model, and {base} lacks {', '.join(missing)}."
        )
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            base,
            dtype="auto",
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # damaged files make transformers and pickle raise many kinds
        raise SaeflowError(
            f"{checkpoint} holds no weights of the base model, and those in {base} cannot be read "
            f"({first_line(error)})."
        ) from None
    check_complete(base, report)
    return dict(model.state_dict())


def _read_tokenizer(folder: Path, vocabulary: int) -> PreTrainedTokenizerBase:
    tokenizer = read_tokenizer(folder)
    # The original gives the tokenizer a [PAD] behind its own tokens, at the first thought token.
    padded = tokenizer.pad_token_id == vocabulary and len(tokenizer) == vocabulary + 1
    if len(tokenizer) != vocabulary and not padded:
        raise SaeflowError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens; expected {vocabulary}, as many as "
            "the model has embeddings before the three thought tokens."
        )
    return tokenizer
