"""Replies of a causal language model on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from saeflow.config.models import MODEL_FILES
from saeflow.config.writers import LocalSettings
from saeflow.errors import SaeflowError, first_line
from saeflow.models.hub import hub_folder
from saeflow.progress import progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalWriter:
    """Greedy replies, in batches padded on the left.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model, where it shall compute. Its generation settings are replaced: a
        repetition penalty or a temperature of its own would make the reply another one.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer; the chat template is used where there is one.
    batch_size : int
        Prompts per forward pass, at most.
    max_new_tokens : int
        Longest reply, in tokens.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int,
        max_new_tokens: int,
    ) -> None:
        from transformers import GenerationConfig

        from saeflow.models.chat import chat_renderer

        ends = model.generation_config.eos_token_id
        found = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
        self._ends = sorted({int(end) for end in found if end is not None})
        # The mask hides the padding, so that any token will do.
        self._pad = int(tokenizer.pad_token_id or 0)
        model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=self._ends or None,
            pad_token_id=self._pad,
        )
        self._model = model.eval()
        self._tokenizer = tokenizer
        # Models that think aloud unless told otherwise would not come to the point in time.
        self._render = chat_renderer(tokenizer, enable_thinking=False)
        self._batch_size = batch_size
        self._max_new_tokens = max_new_tokens

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Reply to each prompt; see `saeflow.models.writers.writer.Writer`.

        Raises
        ------
        SaeflowError
            If a prompt has no token, or does not fit the model's positions with its reply.
        """
        import numpy as np

        from saeflow.models.capture import cut_batches

        rows = [self._ids(prompt) for prompt in prompts]
        batches = list(
            cut_batches(np.array([len(row) for row in rows], np.int64), self._batch_size)
        )
        replies = [""] * len(rows)
        for batch in progress(batches, description="replies", total=len(batches), unit="batches"):
            found = self._continue([rows[number] for number in batch])
            for number, reply in zip(batch.tolist(), found, strict=True):
                replies[number] = reply
        return replies

    def _ids(self, prompt: str) -> list[int]:
        text = prompt if self._render is None else self._render(prompt)
        ids = list(self._tokenizer(text)["input_ids"])
        if not ids:
            raise SaeflowError(f"The prompt {prompt!r} has no token; expected one at least.")
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        needed = len(ids) + self._max_new_tokens
        if limit is not None and needed > limit:
            raise SaeflowError(
                f"The prompt {prompt[:40]!r} takes {needed} positions with its reply; the model has "
                f"{limit}. Shorten max_new_tokens or name a model that reads more."
            )
        return ids

    def _continue(self, rows: list[list[int]]) -> list[str]:
        import torch

        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._pad)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, longest - len(row) :] = torch.tensor(row)
            mask[number, longest - len(row) :] = 1
        device = self._model.device
        with torch.no_grad():
            written = self._model.generate(ids.to(device), attention_mask=mask.to(device))
        return [self._text(row) for row in written[:, longest:].tolist()]

    def _text(self, row: list[int]) -> str:
        """Text up to the end; what follows there only fills up the batch."""
        ids = list(itertools.takewhile(lambda token: token not in self._ends, row))
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


def load_local(
    settings: LocalSettings, device: torch.device, folder: Path | None = None
) -> LocalWriter:
    """Load a writer from a directory or the hub; the code of a repository is never run.

    Parameters
    ----------
    settings : LocalSettings
        Which model, and how it is run.
    device : torch.device
        Where it computes.
    folder : Path, optional
        The directory behind `path`; by default that path itself.

    Raises
    ------
    SaeflowError
        If a file is missing or cannot be read, or the hub cannot be reached.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if settings.repo is not None and settings.revision is not None:
        instead = "name its folder as path"
        folder = hub_folder(settings.repo, settings.revision, MODEL_FILES, instead=instead)
    folder = Path(settings.path or "") if folder is None else folder
    if not (folder / "config.json").is_file():
        raise SaeflowError(
            f"{folder} holds no config.json; expected a Hugging Face model directory."
        )
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, settings.dtype),
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # damaged files make transformers raise many kinds
        raise SaeflowError(
            f"{folder}: the model cannot be read ({first_line(error)}); expected weights and "
            "tokenizer of a causal language model."
        ) from None
    if report["missing_keys"]:
        # transformers would fill them with random numbers and go on.
        raise SaeflowError(
            f"{folder}: the weights lack {len(report['missing_keys'])} tensors, such as "
            f"{sorted(report['missing_keys'])[0]}; expected all that config.json asks for."
        )
    return LocalWriter(
        model.to(device),
        tokenizer,
        batch_size=settings.batch_size,
        max_new_tokens=settings.max_new_tokens,
    )
