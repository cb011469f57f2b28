"""The few hundred tokens on which released SAEs are checked."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.models.tokens import begin_ids

TOKENS, TEXTS = 512, 8
"""How many tokens a check reads, and from how many texts at least."""
FIRST = 1
"""Positions at the beginning of each text that no number counts, a begin token or not: a model's
first position soaks up attention, and its activation, tens of times as large as others, would make
up nearly all of their variance."""


@dataclass(frozen=True)
class CheckTokens:
    """Tokens of texts, and the one that may come before each.

    Attributes
    ----------
    rows : list of list of int
        Token ids of each text, without a begin token.
    begin : int
        Begin token.
    """

    rows: list[list[int]]
    begin: int

    def with_begin(self, wanted: bool) -> list[list[int]]:
        """Rows as a model reads them, with the begin token or without."""
        return [[self.begin, *row] for row in self.rows] if wanted else self.rows


def check_tokens(
    model: LanguageModel,
    texts: pa.Table,
    *,
    context_size: int | None = None,
    tokens: int = TOKENS,
    n_texts: int = TEXTS,
) -> CheckTokens:
    """Cut the beginnings of texts into tokens until there are enough.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer cuts.
    texts : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.TEXTS`; those of other splits than train come first.
    context_size : int or None
        Most positions that the SAEs saw in training.
    tokens : int
        How many are enough; a text gives at most its share of them.
    n_texts : int
        Fewest texts, where there are as many.

    Returns
    -------
    CheckTokens
        Text by text.

    Raises
    ------
    SaeflowError
        If the texts give hardly any token, or the tokenizer has none to begin with.
    """
    tokenizer = model.tokenizer
    begin = begin_ids(model, prepend_bos=True)[0]
    limits = [int(model.language_model.config.max_position_embeddings), context_size or 0]
    longest = min([limit - FIRST for limit in limits if limit] + [max(2, -(-tokens // n_texts))])
    rows: list[list[int]] = []
    for content in _unseen_first(texts):
        found = tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"]
        row = [token for token in found if token != begin][:longest]
        if len(row) > FIRST:
            rows.append(row)
        if len(rows) >= n_texts and sum(map(len, rows)) >= tokens:
            break
    if sum(map(len, rows)) < 2 * TEXTS:
        raise SaeflowError(
            f"the texts that released SAEs are checked on give {sum(map(len, rows))} tokens; expected "
            f"{tokens}, such as of a data set with longer texts."
        )
    return CheckTokens(rows, begin)


def _unseen_first(texts: pa.Table) -> list[str]:
    contents, splits = texts["content"].to_pylist(), texts["split"].to_pylist()
    some = list(zip(contents, splits, strict=True))
    return [text for text, split in some if split != "train"] + [
        text for text, split in some if split == "train"
    ]
