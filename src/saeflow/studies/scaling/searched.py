"""What a search reads and gives on: prompts of every set, and the features that it lists first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from saeflow.config.scaling_search import GroupPrompts, PromptFiles, SearchSettings
from saeflow.datasets.prompt_sets import PromptSides, load_prompts
from saeflow.models.language_model import LanguageModel
from saeflow.studies.rows import NONE
from saeflow.studies.scaling.corpus import Cut

EXPLAINED = 3
"""Places of every list of a search whose features are explained beside random ones."""


def first_found(search: Sequence[pa.Table], places: int | None = None) -> list[int]:
    """Features that stand first in the lists of a search, ascending.

    Parameters
    ----------
    search : sequence of pyarrow.Table
        Columns control, place and feature of `saeflow.artifacts.scaling_search.SEARCH`; none where
        nothing was searched.
    places : int, optional
        How many of each list; by default all.
    """
    return sorted(
        {
            row["feature"]
            for table in search
            for row in table.select(["control", "place", "feature"]).to_pylist()
            if row["control"] == NONE and (places is None or row["place"] <= places)
        }
    )


def sets_of(
    settings: SearchSettings,
    model: LanguageModel,
    *,
    files: Sequence[Path],
    texts: Sequence[pa.Table],
    cut: Cut = str,
) -> dict[str, PromptSides]:
    """Prompts of all sets; lengths are matched in the model's tokens.

    Parameters
    ----------
    settings : SearchSettings
        With its sets.
    model : LanguageModel
        Its tokenizer counts.
    files : sequence of Path
        Those that the sets with source: files name, positive before negative, in the sets' order.
    texts : sequence of pyarrow.Table
        Columns of `saeflow.artifacts.catalog.TEXTS`, of each data set that sets with source: groups
        name, in the order of their names.
    cut : callable
        What becomes of each of their texts, such as the beginning that the model reads.

    Raises
    ------
    SaeflowError
        As `saeflow.datasets.prompt_sets.load_prompts` does.
    """
    groups = (block for block in settings.sets.values() if isinstance(block, GroupPrompts))
    of_datasets = zip(sorted({block.dataset for block in groups}), texts, strict=True)
    left, tables = list(files), {name: _cut(table, cut) for name, table in of_datasets}
    found: dict[str, PromptSides] = {}

    def length(text: str) -> int:
        return len(model.tokenizer.encode(text))

    for name, block in settings.sets.items():
        table, sides = None, {}
        if isinstance(block, GroupPrompts):
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
