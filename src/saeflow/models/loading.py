"""Causal language models from a directory, the hub or a seed (design, section 10; methods/0).

A CODI directory is a Hugging Face directory with two files more: `codi.json`, which names the ids of
the thought tokens and the width of the projection, and `codi_projection.safetensors`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from saeflow.artifacts.digest import files_digest
from saeflow.artifacts.files import write_text
from saeflow.config.mixture import Architecture
from saeflow.config.models import (
    MODEL_FILES,
    FreshModel,
    HubModel,
    ModelSpec,
    PathModel,
    RunnableModel,
    UntrainedControl,
)
from saeflow.errors import SaeflowError, first_line
from saeflow.models.codi import CodiModel, Projection, ThoughtTokens
from saeflow.models.families import FAMILIES
from saeflow.models.hub import hub_folder
from saeflow.models.numbers import start_numbers
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.seeds import derive_seed

CODI_FILE = "codi.json"
PROJECTION_FILE = "codi_projection.safetensors"
WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")


def load_model(
    settings: RunnableModel,
    control: UntrainedControl | None = None,
    folder: Path | None = None,
) -> CodiModel:
    """Load the model that a block of the configuration describes.

    Parameters
    ----------
    settings : FreshModel, PathModel or HubModel
        Which architecture, and which weights unless a control replaces them.
    control : UntrainedControl or None
        Fresh weights for the same architecture.
    folder : Path, optional
        The directory behind a `PathModel`.

    Returns
    -------
    CodiModel
        On the CPU, in the block's precision.

    Raises
    ------
    SaeflowError
        If the directory or repository does not hold what is needed.
    """
    if isinstance(settings, FreshModel):
        seed = settings.seed if control is None else control.seed
        return fresh_model(settings, byte_tokenizer(), seed, settings.dtype)
    if isinstance(settings, HubModel):
        folder = snapshot(settings)
    elif folder is None:
        folder = Path(settings.path)
    if control is not None:
        config, tokenizer = _config(folder), _tokenizer(folder)
        codi = _codi(folder, config.vocab_size)
        model = _fresh(config, tokenizer, codi.size, control.seed, settings.dtype, codi.tokens)
        if codi.number_waves:
            start_numbers(model)
        return model
    revision = directory_revision(folder) if isinstance(settings, PathModel) else settings.revision
    return load_directory(folder, settings.dtype, revision)


def load_from_spec(given: Mapping[str, Any], files: Sequence[str]) -> tuple[ModelSpec, CodiModel]:
    """Load the model that a rule's params describe.

    Parameters
    ----------
    given : mapping
        Plain form of a `ModelSpec`, without the place of a directory.
    files : sequence of str
        The rule's input files of the model; empty for fresh weights and the hub.

    Returns
    -------
    spec : ModelSpec
        Validated, with the place.
    model : CodiModel
        On the CPU.
    """
    folder = Path(files[0]).parent if files else None
    located = {**given["model"], "path": str(folder)} if folder else given["model"]
    spec = ModelSpec.model_validate({**given, "model": located})
    return spec, load_model(spec.model, spec.control, folder)


def load_beside(
    model: CodiModel, blocks: Iterable[Mapping[str, Any] | None], files: Sequence[str]
) -> list[CodiModel]:
    """Load the models that stand beside one, such as its untrained control, on the same device.

    Parameters
    ----------
    model : CodiModel
        The one.
    blocks : iterable of mapping or None
        As `load_from_spec` takes them; None for the one itself.
    files : sequence of str
        The rule's input files of the model.
    """
    return [
        load_from_spec(block, files)[1].to(model.device) if block else model for block in blocks
    ]


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


def load_directory(folder: Path, dtype: str, revision: str) -> CodiModel:
    """Load a CODI directory.

    Raises
    ------
    SaeflowError
        If a file is missing, foreign or damaged.
    """
    if not folder.is_dir():
        raise SaeflowError(f"{folder} is no directory; expected a Hugging Face model directory.")
    config = _config(folder)
    if not any(list(folder.glob(pattern)) for pattern in WEIGHT_PATTERNS):
        raise SaeflowError(
            f"{folder} holds no weights; expected model.safetensors or pytorch_model.bin."
        )
    codi = _codi(folder, config.vocab_size)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            output_loading_info=True,
        )
        state = load_file(folder / PROJECTION_FILE)
    except Exception as error:  # damaged files make transformers and pickle raise many kinds
        raise SaeflowError(f"{folder}: the weights cannot be read ({first_line(error)}).") from None
    if report["missing_keys"]:
        # transformers would fill them with random numbers and go on.
        raise SaeflowError(
            f"{folder}: the weights lack {len(report['missing_keys'])} tensors, such as "
            f"{sorted(report['missing_keys'])[0]}; expected all that config.json asks for."
        )
    projection = Projection(config.hidden_size, codi.size)
    try:
        projection.load_state_dict(state)
    except RuntimeError as error:
        raise SaeflowError(
            f"{folder / PROJECTION_FILE} does not fit a projection of {config.hidden_size} → {codi.size} "
            f"({first_line(error)})."
        ) from None
    loaded = CodiModel(model, projection, _tokenizer(folder), codi.tokens, revision)
    loaded.number_waves = codi.number_waves
    return loaded


def save_directory(model: CodiModel, folder: Path) -> None:
    """Write a CODI directory that `load_directory` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    model.language_model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    size = model.projection[1].out_features
    state = {name: value.contiguous() for name, value in model.projection.state_dict().items()}
    save_file(state, folder / PROJECTION_FILE)
    codi = {
        "pad_token_id": model.tokens.pad,
        "begin_token_id": model.tokens.begin,
        "end_token_id": model.tokens.end,
        "projection_size": size,
        "number_waves": model.number_waves,
    }
    write_text(folder / CODI_FILE, json.dumps(codi, indent=2, sort_keys=True) + "\n")


def directory_revision(folder: Path) -> str:
    """Digest of the files of a model directory that decide what it gives."""
    found = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    return files_digest(sorted(found))[:16]


def copy_directory(source: Path, target: Path) -> None:
    """Copy a CODI directory with everything in it into an existing folder."""
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, target / path.name)


def snapshot(settings: HubModel) -> Path:
    """Fetch a model through huggingface_hub, so that its cache and offline mode work.

    Raises
    ------
    SaeflowError
        If the hub cannot be reached and the cache does not hold the model.
    """
    return hub_folder(
        settings.repo,
        settings.revision,
        MODEL_FILES,
        instead="use weights: path with path: DIRECTORY",
    )


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


def _config(folder: Path) -> PretrainedConfig:
    if not (folder / "config.json").is_file():
        raise SaeflowError(
            f"{folder} holds no config.json; expected a Hugging Face model directory."
        )
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers checks values with exceptions of its own
        raise SaeflowError(
            f"{folder / 'config.json'} cannot be read ({first_line(error)})."
        ) from None
    if config.model_type not in FAMILIES:
        raise SaeflowError(
            f"{folder / 'config.json'} names the family {config.model_type!r}; expected one of "
            f"{', '.join(FAMILIES)}."
        )
    return config


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True
        )
    except Exception as error:  # malformed JSON shows as any kind of exception
        raise SaeflowError(f"{folder} holds no readable tokenizer ({first_line(error)}).") from None
    if tokenizer.eos_token_id is None:
        raise SaeflowError(f"{folder}: the tokenizer has no end-of-text token, which ends answers.")
    return tokenizer


class _Codi(NamedTuple):
    """What `codi.json` says."""

    tokens: ThoughtTokens
    size: int
    number_waves: bool


def _codi(folder: Path, vocabulary: int) -> _Codi:
    path = folder / CODI_FILE
    if not path.is_file() or not (folder / PROJECTION_FILE).is_file():
        raise SaeflowError(
            f"{folder} holds no {CODI_FILE} with {PROJECTION_FILE}; the study needs a CODI model, "
            "which thinks in latent steps."
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        tokens = ThoughtTokens(
            int(values["pad_token_id"]), int(values["begin_token_id"]), int(values["end_token_id"])
        )
        size = int(values["projection_size"])
        ids = (tokens.pad, tokens.begin, tokens.end)
        if size < 1 or min(ids) < 0 or max(ids) >= vocabulary:
            raise ValueError(f"ids {ids} of {vocabulary} embeddings, projection_size {size}")
        return _Codi(tokens, size, bool(values.get("number_waves", False)))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise SaeflowError(
            f"{path} is malformed ({type(error).__name__}: {error}); expected pad_token_id, "
            "begin_token_id, end_token_id and projection_size."
        ) from None
