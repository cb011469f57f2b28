"""Texts from any source, as the columns of `texts.parquet`."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.catalog import TEXTS
from saeflow.config.datasets import MixtureTexts, TextFile, TextSettings
from saeflow.datasets.rows import check_text, read_rows
from saeflow.datasets.selection import published_split
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator

PLAIN = ".txt"
"""How the name of a file of plain text ends."""


@dataclass(frozen=True)
class LoadedTexts:
    """A data set and what identifies it.

    Attributes
    ----------
    table : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.TEXTS`.
    revision : str
        Digest of the texts.
    """

    table: pa.Table
    revision: str


def load_texts(
    settings: TextSettings, *, mixture: Sequence[Text] = (), file: Path | None = None
) -> LoadedTexts:
    """Load a data set of texts and split it.

    Parameters
    ----------
    settings : MixtureTexts or TextFile
        The block of the configuration.
    mixture : sequence of Text
        Every text of the mixture; read of a `MixtureTexts`.
    file : Path, optional
        The file behind a `TextFile`.

    Returns
    -------
    LoadedTexts
        The table, texts that train SAEs first, and its digest.

    Raises
    ------
    SaeflowError
        If the mixture holds too few texts, or a file is missing or malformed.
    """
    if isinstance(settings, MixtureTexts):
        train = _drawn(settings, mixture, TRAIN, settings.n_train, "n_train")
        held_out = _drawn(settings, mixture, HELD_OUT, settings.n_validation, "n_validation")
    else:
        train, held_out = _from_file(settings, file or Path(settings.path))
    texts = [*train, *held_out]
    splits = ["train"] * len(train) + ["validation"] * len(held_out)
    table = pa.table(
        {
            "text": pa.array(range(len(texts)), pa.int32()),
            "content": [text.text for text in texts],
            "split": splits,
            "part": [text.part for text in texts],
            "group": [text.group for text in texts],
            "form": [text.form for text in texts],
            "item": pa.array([text.item for text in texts], pa.int32()),
        }
    )
    return LoadedTexts(table.select(TEXTS.column_names()), _digest(table))


def shares(sizes: Sequence[int], n: int) -> list[int]:
    """Share n among parts as evenly as their sizes allow.

    Parameters
    ----------
    sizes : sequence of int
        How much each part holds.
    n : int
        How much is wanted, no more than they hold together.

    Returns
    -------
    list of int
        Sums to n. Parts that are not exhausted differ by 1 at most, earlier ones getting more.
    """
    given = [0] * len(sizes)
    while (left := n - sum(given)) > 0:
        open_parts = [part for part, size in enumerate(sizes) if given[part] < size]
        for part in open_parts[:left]:
            room = sizes[part] - given[part]
            given[part] += min(room, max(1, left // len(open_parts)))
    return given


def _drawn(
    settings: MixtureTexts, mixture: Sequence[Text], split: str, n: int, key: str
) -> list[Text]:
    pools = []
    for part in settings.parts:
        pool = [text for text in mixture if (text.part, text.split) == (part, split)]
        # Not how many are wanted: a larger number keeps what a smaller one draws.
        order = numpy_generator(settings.seed, "datasets", "texts", part, split)
        pools.append([pool[place] for place in order.permutation(len(pool))])
    held = sum(map(len, pools))
    if held < n:
        raise SaeflowError(
            f"{key} is {n}, but the parts {', '.join(settings.parts)} of the mixture hold {held} "
            f"texts of the split {split!r}."
        )
    counts = shares([len(pool) for pool in pools], n)
    return [text for pool, count in zip(pools, counts, strict=True) for text in pool[:count]]


def _from_file(settings: TextFile, path: Path) -> tuple[list[Text], list[Text]]:
    if not path.is_file():
        raise SaeflowError(
            f"{path} does not exist; expected a file of texts (JSONL, Parquet or {PLAIN})."
        )
    rows = text_lines(path) if path.suffix == PLAIN else _column(path, settings.column)
    contents = list(itertools.islice(rows, settings.limit))
    if len(contents) < (settings.limit or 1):
        wanted = f"limit asks for {settings.limit}" if settings.limit else "expected at least one"
        raise SaeflowError(f"{path} holds {len(contents)} texts; {wanted}.")
    train, held_out = (
        sorted(rows.tolist()) for rows in published_split(len(contents), settings.split)
    )
    if not train:
        raise SaeflowError(
            f"{path} holds {len(contents)} texts, none of which is left to train SAEs with a "
            f"train_share of {settings.split.train_share}; expected more."
        )
    return _numbered(contents, train, TRAIN), _numbered(contents, held_out, HELD_OUT)


def _numbered(contents: Sequence[str], rows: Iterable[int], split: str) -> list[Text]:
    return [
        Text(part="", group="", form="", item=row, split=split, prompt="", target=contents[row])
        for row in rows
    ]


def _column(path: Path, name: str) -> Iterator[str]:
    for _, (text,) in read_rows(path, (name,)):
        yield text


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a file of plain text, but for blank ones.

    Raises
    ------
    SaeflowError
        If a line is no text in UTF-8, naming it.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise SaeflowError(f"{where}: the line is not UTF-8; expected a text.") from None
            if line.strip():
                yield check_text(line, "line", where)


def _digest(table: pa.Table) -> str:
    """SHA-256 over texts and splits, the same whatever held them."""
    total = hashlib.sha256()
    for content, split in zip(
        table["content"].to_pylist(), table["split"].to_pylist(), strict=True
    ):
        total.update(f"{split}\x1f{content}\x1e".encode())
    return total.hexdigest()
