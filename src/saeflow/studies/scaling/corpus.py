"""Documents of a corpus, row group by row group, so that no corpus is held whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from saeflow.artifacts.batches import TableGroups
from saeflow.studies.scaling.reading import Document

TRAIN = "train"
"""Split whose tokens trained the SAEs."""


def corpus_documents(texts: TableGroups, split: str | None = None) -> Iterator[Document]:
    """Documents of a table of texts, in its order.

    Parameters
    ----------
    texts : TableGroups
        Columns of `saeflow.artifacts.catalog.TEXTS`.
    split : str, optional
        Only of this split.

    Yields
    ------
    Document
        With the group of its text.

    Raises
    ------
    SaeflowError
        If a row group is damaged.
    """
    for number in range(len(texts)):
        table = texts.read(number, ["text", "content", "split", "group"])
        columns = (table[name].to_pylist() for name in table.column_names)
        for document in map(Document, *columns):
            if split in (None, document.split):
                yield document


def unread_documents(texts: TableGroups) -> Iterator[Document]:
    """Documents that no SAE was trained on; all of them where every one was."""
    found = False
    for document in corpus_documents(texts):
        if document.split != TRAIN:
            found = True
            yield document
    if not found:
        yield from corpus_documents(texts)


def training_texts(texts: TableGroups, count: int) -> list[str]:
    """Contents of the first documents that train SAEs, at most so many."""
    return [each.content for each in islice(corpus_documents(texts, TRAIN), count)]


def training_groups(texts: TableGroups, per_group: int) -> list[Document]:
    """The first documents of each group that train SAEs, at most so many of each, in their order."""
    seen: dict[str, int] = {}
    chosen = []
    for document in corpus_documents(texts, TRAIN):
        if document.group and seen.get(document.group, 0) < per_group:
            seen[document.group] = seen.get(document.group, 0) + 1
            chosen.append(document)
    return chosen
