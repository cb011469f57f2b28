"""Documents of a corpus, row group by row group, so that no corpus is held whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from saeflow.artifacts.batches import TableGroups
from saeflow.models.language_model import LanguageModel
from saeflow.studies.scaling.reading import Document

TRAIN = "train"
"""Split whose tokens trained the SAEs."""
LONGEST_TOKEN = 64
"""Characters that a token has at most, but for a few: what is longer by so much need not be cut up."""
Cut = Callable[[str], str]
"""Gives the beginning of a text."""


def document_cutter(model: LanguageModel, positions: int) -> Cut:
    """Cut texts to what a model reads at a time, as the published study does (methods/5, section 6.1).

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer counts; it never reads more positions than it has.
    positions : int
        Tokens of a text, those included that the tokenizer puts around it.
    """
    tokenizer = model.tokenizer
    limit = min(positions, int(model.language_model.config.max_position_embeddings))

    def cut(text: str) -> str:
        # Every token but those around a text stands for a byte at least.
        if len(text.encode()) + 2 <= limit:
            return text
        beginning = text[: LONGEST_TOKEN * limit]
        found = tokenizer(beginning, return_offsets_mapping=True)
        kept = limit
        # What is cut is read anew, and its end may fall into other tokens, then and now into more.
        while len(tokenizer.encode(beginning)) > limit:
            beginning = beginning[: found["offset_mapping"][kept - 1][1]]
            kept -= 1
        return beginning

    return cut


def corpus_documents(
    texts: TableGroups, split: str | None = None, *, cut: Cut = str
) -> Iterator[Document]:
    """Documents of a table of texts, in its order.

    Parameters
    ----------
    texts : TableGroups
        Columns of `saeflow.artifacts.catalog.TEXTS`.
    split : str, optional
        Only of this split.
    cut : callable
        What becomes of each text, such as `document_cutter` gives.

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
                yield document._replace(content=cut(document.content))


def unread_documents(texts: TableGroups, *, cut: Cut = str) -> Iterator[Document]:
    """Documents that no SAE was trained on; all of them where every one was."""
    found = False
    for document in corpus_documents(texts, cut=cut):
        if document.split != TRAIN:
            found = True
            yield document
    if not found:
        yield from corpus_documents(texts, cut=cut)


def training_texts(texts: TableGroups, count: int, *, cut: Cut = str) -> list[str]:
    """Contents of the first documents that train SAEs, at most so many."""
    return [each.content for each in islice(corpus_documents(texts, TRAIN, cut=cut), count)]


def training_groups(
    texts: Iterable[TableGroups], per_group: int, *, cut: Cut = str
) -> list[Document]:
    """The first documents of split train of each group, at most so many of each, table by table."""
    seen: dict[str, int] = {}
    chosen = []
    for document in (each for table in texts for each in corpus_documents(table, TRAIN)):
        if document.group and seen.get(document.group, 0) < per_group:
            seen[document.group] = seen.get(document.group, 0) + 1
            chosen.append(document._replace(content=cut(document.content)))
    return chosen
