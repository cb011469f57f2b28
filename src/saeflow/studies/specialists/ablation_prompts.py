"""What models read while specialists are ablated, and what features are on average."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.datasets.texts.text import Text
from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.models.reference.examples import IGNORED, Encoder
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import encode_texts


@dataclass(frozen=True)
class Prompt:
    """What a model reads, and what it is expected to read next.

    Attributes
    ----------
    ids : tuple of int
        Tokens of the prompt, a begin-of-text token included.
    target : tuple of int
        Tokens of the right ending; none: the likeliest token without an edit is followed.
    content : hashable
        What is resampled as one, such as a matched pair.
    group : str
        Class of texts or kind of task.
    """

    ids: tuple[int, ...]
    target: tuple[int, ...]
    content: Hashable
    group: str


def item_prompts(model: LanguageModel, items: Sequence[Text]) -> list[Prompt]:
    """Cloze lines and questions as prompts whose right ending is followed."""
    encoder = Encoder(model.tokenizer)
    prompts = []
    for item in items:
        example = encoder.continuation(item.prompt, item.target)
        cut = len(example.ids) - sum(label != IGNORED for label in example.labels)
        ids, target = tuple(example.ids[:cut]), tuple(example.ids[cut:])
        content = item.part, item.group, item.item
        prompts.append(Prompt(ids, target, content, f"{item.part} {item.group}"))
    return prompts


def text_prompts(
    model: LanguageModel, texts: Sequence[str], groups: Sequence[str], contents: Sequence[Hashable]
) -> list[Prompt]:
    """Whole texts as prompts, behind which the likeliest token is followed."""
    rows = [tuple(model.tokenizer(text)["input_ids"]) for text in texts]
    named = zip(rows, contents, groups, strict=True)
    return [Prompt(ids, (), content, group) for ids, content, group in named]


def mean_features(
    model: LanguageModel, bank: Bank, texts: Sequence[str], *, batch_size: int = 32
) -> dict[int, Float[Tensor, " d_sae"]]:
    """Mean of each feature over all tokens of reference texts, by block; begin tokens left out."""
    sums = {site.layer: torch.zeros(bank.d_sae, dtype=torch.float64) for site in bank.sites}
    count = 0
    for batch in encode_texts(model, bank, texts, batch_size=batch_size):
        keep = ~batch.begin
        count += int(keep.sum())
        for layer, values in batch.features.items():
            sums[layer] += values[keep].double().sum(0).cpu()
    if not count:
        raise SaeflowError("The reference texts have no token; expected some to take means over.")
    return {layer: (total / count).float() for layer, total in sums.items()}
