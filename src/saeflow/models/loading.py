"""Causal language models from a directory, the hub or a seed (design, section 10; methods/0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from saeflow.artifacts.model_files import FILES_TABLE
from saeflow.config.mixture import Architecture
from saeflow.config.models import (
    FreshModel,
    HubModel,
    ModelSpec,
    PathModel,
    RunnableModel,
    UntrainedControl,
    model_patterns,
    runs_own_code,
)
from saeflow.device import resolve_device
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel, Projection, ThoughtTokens
from saeflow.models.directories import (
    CODI_FILE,
    directory_revision,
    drop_blocks,
    is_codi,
    load_directory,
    read_codi,
    read_config,
    read_tokenizer,
)
from saeflow.models.hub import fetch_files
from saeflow.models.language_model import LanguageModel
from saeflow.models.numbers import start_numbers
from saeflow.models.repository_files import (
    INSTEAD,
    check_fetched,
    check_measured,
    lacking,
    model_names,
)
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.models.tokens import put_begin
from saeflow.seeds import derive_seed


def load_model(
    settings: RunnableModel,
    control: UntrainedControl | None = None,
    folder: Path | None = None,
    *,
    last_layer: int | None = None,
    device: torch.device | None = None,
) -> LanguageModel:
    """Load the model that a block of the configuration describes.

    Parameters
    ----------
    settings : FreshModel, PathModel or HubModel
        Which architecture, and which weights unless a control replaces them.
    control : UntrainedControl or None
        Fresh weights for the same architecture.
    folder : Path, optional
        The directory behind a `PathModel`, or of what was fetched for a `HubModel`.
    last_layer : int, optional
        Blocks behind this one are neither loaded nor run, of directories; None: all are.
    device : torch.device, optional
        Where weights of a directory go as they are read; the CPU by default.

    Returns
    -------
    LanguageModel
        In the block's precision; a `CodiModel` where the model thinks in latent steps.

    Raises
    ------
    SaeflowError
        If the directory or repository does not hold what is needed.
    """
    model = _load(settings, control, folder, last_layer, device)
    if settings.prepend_bos:
        put_begin(model.tokenizer)
    return model


def _load(
    settings: RunnableModel,
    control: UntrainedControl | None,
    folder: Path | None,
    last_layer: int | None,
    device: torch.device | None,
) -> LanguageModel:
    if isinstance(settings, FreshModel):
        seed = settings.seed if control is None else control.seed
        return fresh_model(settings, byte_tokenizer(), seed, settings.dtype)
    if folder is None:
        folder = snapshot(settings) if isinstance(settings, HubModel) else Path(settings.path)
    fetched = check_fetched(folder) if (folder / FILES_TABLE).is_file() else None
    trusted = runs_own_code(settings)
    if control is not None:
        return _untrained(folder, control.seed, settings.dtype, last_layer, trusted)
    if isinstance(settings, PathModel):
        revision = directory_revision(folder, model_patterns(settings))
        check_measured(folder, revision)
    else:
        revision = settings.revision
    return load_directory(
        folder,
        settings.dtype,
        fetched or revision,
        last_layer=last_layer,
        device=device,
        trusted=trusted,
    )


def thinking(model: LanguageModel) -> CodiModel:
    """Refuse a model without latent thoughts, for studies of thoughts.

    Raises
    ------
    SaeflowError
        If it has none.
    """
    if isinstance(model, CodiModel):
        return model
    raise SaeflowError(
        f"the model {model.revision} does not think in latent steps, which this study reads; expected a "
        f"CODI model, whose directory holds {CODI_FILE}."
    )


def last_block(hook: str | None, layers: Iterable[int]) -> int | None:
    """Tell the last block that a job needs which reads a hook at some layers and no logits.

    Parameters
    ----------
    hook : str or None
        One of `saeflow.models.hooks.TOKEN_HOOKS`; None for thoughts.
    layers : iterable of int
        Block indices.

    Returns
    -------
    int or None
        For `load_from_spec`; None where all blocks are needed.
    """
    return None if hook in (None, "final_norm") else max(layers)


def load_from_spec(
    given: Mapping[str, Any], files: Sequence[str], *, last_layer: int | None = None
) -> tuple[ModelSpec, LanguageModel]:
    """Load the model that a rule's params describe, where this job computes.

    Parameters
    ----------
    given : mapping
        Plain form of a `ModelSpec`, without the place of a directory.
    files : sequence of str
        The rule's input files of the model, or its folder; empty for fresh weights.
    last_layer : int, optional
        The last block that the job needs; None: all, and the output embedding.

    Returns
    -------
    spec : ModelSpec
        Validated, with the place.
    model : LanguageModel
        On the job's device (`saeflow.device.resolve_device`).
    """
    folder = None
    if files:
        first = Path(files[0])
        folder = first if first.is_dir() else first.parent
    located = {**given["model"], "path": str(folder)} if folder else given["model"]
    if located["weights"] == "hub":
        located = given["model"]
    spec = ModelSpec.model_validate({**given, "model": located})
    device = resolve_device()
    model = load_model(spec.model, spec.control, folder, last_layer=last_layer, device=device)
    return spec, model.to(device)


def load_beside(
    model: LanguageModel, blocks: Iterable[Mapping[str, Any] | None], files: Sequence[str]
) -> list[LanguageModel]:
    """Load the models that stand beside one, such as its untrained control, on the same device.

    Parameters
    ----------
    model : LanguageModel
        The one.
    blocks : iterable of mapping or None
        As `load_from_spec` takes them; None for the one itself.
    files : sequence of str
        The rule's input files of the model.
    """
    return [
        load_from_spec(block, files)[1].to(model.device) if block else model for block in blocks
    ]


def _untrained(
    folder: Path, seed: int, dtype: str, last_layer: int | None, trusted: bool
) -> LanguageModel:
    """Fresh weights for the architecture and tokenizer of a directory."""
    config, tokenizer = read_config(folder, trusted), read_tokenizer(folder, trusted)
    made: LanguageModel
    if is_codi(folder):
        codi = read_codi(folder, config.vocab_size)
        made = thinks = _fresh(config, tokenizer, codi.size, seed, dtype, codi.tokens)
        if codi.number_waves:
            start_numbers(thinks)
    else:
        weights = _fresh_weights(config, seed, dtype, trusted)
        made = LanguageModel(weights, tokenizer, f"fresh:{seed}")
    if last_layer is not None:
        # Cut off afterwards: fewer blocks would draw other weights for those that are left.
        drop_blocks(made.language_model, last_layer, folder)
    return made


def _fresh_weights(
    config: PretrainedConfig, seed: int, dtype: str, trusted: bool
) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "models", "fresh"))
        # Made in the precision wanted: a second copy of a large model might not fit.
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), trust_remote_code=trusted
        )
    return model


def fresh_model(
    settings: FreshModel | Architecture,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    dtype: str = "float32",
) -> CodiModel:
    """Make a model with fresh weights.

    Parameters
    ----------
    settings : FreshModel or Architecture
        Its shape.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its vocabulary; the thought tokens follow.
    seed : int
        Seed of the weights.
    dtype : str
        Precision.
    """
    config = _fresh_config(settings, tokenizer)
    return _fresh(config, tokenizer, settings.projection_size, seed, dtype)


def snapshot(settings: HubModel) -> Path:
    """Fetch a model through huggingface_hub, so that its cache and offline mode work.

    Raises
    ------
    SaeflowError
        If the hub cannot be reached and the cache does not hold the model.
    """
    wanted = partial(model_names, code=settings.trust_remote_code)
    return fetch_files(
        settings.repo, settings.revision, wanted, instead=INSTEAD, missing=lacking
    ).folder


def _fresh(
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    projection_size: int,
    seed: int,
    dtype: str,
    tokens: ThoughtTokens | None = None,
) -> CodiModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "models", "fresh"))
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
        projection = Projection(config.hidden_size, projection_size)
    tokens = tokens or ThoughtTokens.after(config.vocab_size - 3)
    return CodiModel(
        model.to(getattr(torch, dtype)), projection, tokenizer, tokens, f"fresh:{seed}"
    )


def _fresh_config(
    settings: FreshModel | Architecture, tokenizer: PreTrainedTokenizerBase
) -> PretrainedConfig:
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vocabulary = len(tokenizer) + len(fields(ThoughtTokens))
    if settings.family == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary,
            n_positions=settings.max_position_embeddings,
            n_embd=settings.hidden_size,
            n_layer=settings.num_hidden_layers,
            n_head=settings.num_attention_heads,
            n_inner=settings.intermediate_size,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            resid_pdrop=0.0,
            **ends,
        )
    return LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=settings.max_position_embeddings,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads,
        num_key_value_heads=settings.num_key_value_heads,
        intermediate_size=settings.intermediate_size,
        tie_word_embeddings=True,
        **ends,
    )
