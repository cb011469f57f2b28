"""What a search reads, from a rule's inputs: prompts of every set, and SAEs to stand beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.tables import read_table
from saeflow.config.scaling_search import GroupPrompts, PromptFiles, SearchSettings
from saeflow.datasets.prompt_sets import PromptSides, load_prompts
from saeflow.models.codi import CodiModel
from saeflow.models.loading import load_from_spec
from saeflow.saes.bank import Bank
from saeflow.studies.rows import NONE
from saeflow.studies.scaling.corpus import Cut

LISTED = 3
"""Places of every list of a search whose features are shown and explained beside random ones."""


def first_found(search: Sequence[pa.Table]) -> list[int]:
    """Features that stand first in the lists of a search, ascending.

    Parameters
    ----------
    search : sequence of pyarrow.Table
        Columns control, place and feature of `saeflow.artifacts.scaling_search.SEARCH`; none where
        nothing was searched.
    """
    return sorted(
        {
            row["feature"]
            for table in search
            for row in table.select(["control", "place", "feature"]).to_pylist()
            if row["control"] == NONE and row["place"] <= LISTED
        }
    )


def sets_of(
    settings: SearchSettings,
    model: CodiModel,
    *,
    files: Sequence[Path],
    texts: Mapping[str, Path],
    cut: Cut = str,
) -> dict[str, PromptSides]:
    """Prompts of all sets; lengths are matched in the model's tokens.

    Parameters
    ----------
    settings : SearchSettings
        With its sets.
    model : CodiModel
        Its tokenizer counts.
    files : sequence of Path
        Those that the sets with source: files name, positive before negative, in the sets' order.
    texts : mapping of str to Path
        Tables of the data sets that the sets with source: groups name.
    cut : callable
        What becomes of each of their texts, such as the beginning that the model reads.

    Raises
    ------
    SaeflowError
        As `saeflow.datasets.prompt_sets.load_prompts` does.
    """
    left, tables = list(files), dict[str, pa.Table]()
    found: dict[str, PromptSides] = {}

    def length(text: str) -> int:
        return len(model.tokenizer.encode(text))

    for name, block in settings.sets.items():
        table, sides = None, {}
        if isinstance(block, GroupPrompts):
            if block.dataset not in tables:
                tables[block.dataset] = _cut(read_table(texts[block.dataset], TEXTS), cut)
            table = tables[block.dataset]
        if isinstance(block, PromptFiles):
            named = [side for side in ("positive", "negative") if getattr(block, side) is not None]
            sides = {side: left.pop(0) for side in named}
        found |= load_prompts(name, block, files=sides, texts=table, length=length)
    return found


def _cut(table: pa.Table, cut: Cut) -> pa.Table:
    place = table.column_names.index("content")
    contents = pa.array([cut(text) for text in table["content"].to_pylist()], pa.string())
    return table.set_column(place, table.schema.field(place), contents)


def searched_beside(
    model: CodiModel,
    banks: Sequence[Bank],
    blocks: Mapping[str, Mapping[str, Any] | None],
    files: Sequence[str],
) -> dict[str, tuple[CodiModel, Bank]]:
    """Other SAEs with the models that they are of.

    Parameters
    ----------
    model : CodiModel
        The model that is searched.
    banks : sequence of Bank
        The other SAEs.
    blocks : mapping of str to mapping or None
        By the name of each control: the model that it is of, as `load_from_spec` takes it; None for
        the same model.
    files : sequence of str
        Input files of the model, from which an untrained one has its tokenizer.
    """
    pairs = {}
    for bank, (name, block) in zip(banks, blocks.items(), strict=True):
        other = model if block is None else load_from_spec(block, files)[1].to(model.device)
        pairs[name] = (other, bank.to(model.device))
    return pairs
