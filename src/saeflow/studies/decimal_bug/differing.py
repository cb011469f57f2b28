"""Features that differ most between formats, chosen on half of the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.datasets.comparisons.formats import PUBLISHED
from saeflow.datasets.comparisons.pairs import CHOOSE
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import encode_texts
from saeflow.stats.resampling import cluster_averages
from saeflow.studies.decimal_bug.bug import is_prone

BUGGY, PLAIN = PUBLISHED["Q&A"], PUBLISHED["Simple"]


class PromptPair(NamedTuple):
    """The same question in the format that may show the bug and in the plain one."""

    buggy: Prompt
    plain: Prompt


def prone_pairs(prompts: Sequence[Prompt], half: str) -> list[PromptPair]:
    """Pairs of numbers that may show the bug, asked in both formats, in either order.

    Parameters
    ----------
    prompts : sequence of Prompt
        In all formats; the study's own pair is left out.
    half : str
        ``choose`` or ``report``.

    Raises
    ------
    SaeflowError
        If there is none.
    """
    asked = {
        (each.item, each.order, each.form): each
        for each in prompts
        if each.half == half and is_prone(each)
    }
    pairs = [
        PromptPair(buggy, asked[item, order, PLAIN])
        for (item, order, form), buggy in asked.items()
        if form == BUGGY and (item, order, PLAIN) in asked
    ]
    if not pairs:
        raise SaeflowError(
            f"no prone pair of the half {half} is asked in the formats {BUGGY} and {PLAIN}; "
            "expected one at least."
        )
    return pairs


def differing_features(
    model: LanguageModel, bank: Bank, prompts: Sequence[Prompt], count: int, *, batch_size: int
) -> dict[int, Int[np.ndarray, " features"]]:
    """Features of each block that differ most between formats at the last token.

    Parameters
    ----------
    model : LanguageModel
        The model that the bank was trained on.
    bank : Bank
        Of tokens.
    prompts : sequence of Prompt
        Only prone pairs of the half that chooses are read.
    count : int
        Most features of a block; none is taken that never differs.
    batch_size : int
        Most prompts per forward pass.

    Returns
    -------
    dict of int to numpy.ndarray of int64, shape (features,)
        By block: in ascending order, those of the largest mean absolute difference over pairs.
    """
    pairs = prone_pairs(prompts, CHOOSE)
    items = [each.buggy.item for each in pairs]
    buggy, plain = (
        _last_features(model, bank, [each.text for each in side], batch_size)
        for side in zip(*pairs, strict=True)
    )
    found = {}
    for layer, values in buggy.items():
        difference = cluster_averages(np.abs(values - plain[layer]), items).mean(0)
        largest = np.argsort(-difference, kind="stable")[:count]
        found[layer] = np.sort(largest[difference[largest] > 0])
    return found


def last_tokens(
    text: Int[Tensor, " tokens"],
) -> tuple[Int[Tensor, " texts"], Int[Tensor, " texts"]]:
    """Numbers of the texts in a batch, and where the last token of each is."""
    numbers, counts = torch.unique_consecutive(text, return_counts=True)
    return numbers, counts.cumsum(0) - 1


def _last_features(
    model: LanguageModel, bank: Bank, texts: Sequence[str], batch_size: int
) -> dict[int, Float[np.ndarray, "texts d_sae"]]:
    """Features of the last token of each text, by block."""
    shape = len(texts), bank.d_sae
    found = {site.layer: np.empty(shape, np.float32) for site in bank.sites}
    for batch in encode_texts(model, bank, texts, batch_size=batch_size):
        numbers, last = last_tokens(batch.text)
        for layer, features in batch.features.items():
            found[layer][numbers.cpu().numpy()] = features[last].cpu().numpy()
    return found
