"""Texts of the mixture as a table, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pyarrow as pa

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.datasets.texts.text import Text


def texts_to_table(texts: Sequence[Text]) -> pa.Table:
    """Return the table of texts, in their order; a written table is sorted by its keys."""
    columns = {field.name: [getattr(text, field.name) for text in texts] for field in fields(Text)}
    return pa.table(columns, schema=MIXTURE_TEXTS.schema())


def table_to_texts(table: pa.Table) -> list[Text]:
    """Return the texts of a table, in its order."""
    return [Text(**{**row, "distractors": tuple(row["distractors"])}) for row in table.to_pylist()]
