"""Texts from any source, as the columns of `texts.parquet`."""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.artifacts.batches import SMALL_GROUP
from saeflow.artifacts.catalog import TEXTS
from saeflow.config.datasets import MixtureTexts, TextFile, TextHub, Texts
from saeflow.config.text_files import KNOWN, text_format
from saeflow.datasets.rows import Blanks, Source, file_source, read_lines, read_rows
from saeflow.datasets.selection import published_split, trains
from saeflow.datasets.texts.hub import hub_sources
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator


class LoadedTexts:
    """A data set that is read as it is written, and what identifies it in the end.

    Parameters
    ----------
    texts : iterable of Text
        Those that train SAEs first; every other one counts as held out.
    grouped : bool
        Whether their groups, too, identify the data set, since its texts do not tell them.
    """

    def __init__(self, texts: Iterable[Text], *, grouped: bool = False) -> None:
        self._texts = texts
        self._grouped = grouped
        self._digest = hashlib.sha256()
        self._whole = False

    @property
    def tables(self) -> Iterator[pa.Table]:
        """Columns of `saeflow.artifacts.catalog.TEXTS` in pieces; to be read once.

        Raises
        ------
        SaeflowError
            Where a file is malformed, or holds too few texts.
        """
        numbered = enumerate(self._texts)
        while some := list(itertools.islice(numbered, SMALL_GROUP)):
            splits = ["train" if text.split == TRAIN else "validation" for _, text in some]
            for split, (_, text) in zip(splits, some, strict=True):
                group = f"\x1f{text.group}" if self._grouped else ""
                self._digest.update(f"{split}\x1f{text.text}{group}\x1e".encode())
            yield pa.table(
                {
                    "text": [number for number, _ in some],
                    "content": [text.text for _, text in some],
                    "split": splits,
                    **{
                        name: [getattr(text, name) for _, text in some]
                        for name in ("part", "group", "form", "item")
                    },
                },
                schema=TEXTS.schema(),
            )
        self._whole = True

    @property
    def revision(self) -> str:
        """SHA-256 over texts, splits and groups that were read beside them; known at the end."""
        assert self._whole, "the tables have not been read to their end"
        return self._digest.hexdigest()


def load_texts(
    settings: Texts,
    *,
    mixture: Sequence[Text] = (),
    files: Sequence[Path] = (),
    spool: Path | None = None,
    filesystem: Any = None,
) -> LoadedTexts:
    """Load a data set of texts and split it; memory does not grow with the size of files.

    Parameters
    ----------
    settings : MixtureTexts, TextFile or TextHub
        The block of the configuration.
    mixture : sequence of Text
        Every text of the mixture; read of a `MixtureTexts`.
    files : sequence of Path
        The files behind a `TextFile`.
    spool : Path, optional
        Folder in which held-out texts wait until those that train are written; the system's for
        temporary files by default.
    filesystem : fsspec file system, optional
        What a `TextHub` is read from; the Hugging Face hub by default.

    Returns
    -------
    LoadedTexts
        The texts, those that train SAEs first.

    Raises
    ------
    SaeflowError
        If the mixture holds too few texts, a file is missing or unknown, or one of plain text is
        asked for groups; what files hold is checked as it is read.
    """
    if isinstance(settings, MixtureTexts):
        train = _drawn(settings, mixture, TRAIN, settings.n_train, "n_train")
        held_out = _drawn(settings, mixture, HELD_OUT, settings.n_validation, "n_validation")
        return LoadedTexts([*train, *held_out])
    if isinstance(settings, TextHub):
        sources = hub_sources(settings, filesystem)
        return _of_files(by_content(sources, settings, spool), sources, settings)
    for path in files:
        if not path.is_file():
            raise SaeflowError(f"{path} does not exist; expected a file of texts ({KNOWN}).")
        if not text_format(path.name).form:
            raise SaeflowError(f"{path} holds no texts by its name; expected {KNOWN}.")
    if not files:
        raise SaeflowError(f"path names no file of texts; expected {KNOWN}.")
    local = [file_source(path) for path in files]
    by_place = settings.split_by == "place" or (settings.split_by == "auto" and len(local) == 1)
    texts = _by_place(local, settings) if by_place else by_content(local, settings, spool)
    return _of_files(texts, local, settings)


def _of_files(
    texts: Iterator[Text], sources: Sequence[Source], settings: TextFile | TextHub
) -> LoadedTexts:
    for source in sources if settings.group is not None else ():
        if text_format(source.name).form == "lines":
            raise SaeflowError(
                f"group is {settings.group!r}, but {source.name} is plain text, whose lines have no "
                "groups; expected JSON Lines or Parquet, or group: null."
            )
    return LoadedTexts(texts, grouped=settings.group is not None)


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


def _by_place(sources: Sequence[Source], settings: TextFile) -> Iterator[Text]:
    """Read files once to count their texts, and once for each side of the split."""
    n = sum(1 for _ in _contents(sources, settings, "refuse"))
    _check_number(sources, settings, n)
    held_out = np.zeros(n, bool)
    held_out[published_split(n, settings.split)[1]] = True
    if held_out.all():
        raise _one_sided(sources, settings, n, "train SAEs")
    for split, wanted in ((TRAIN, ~held_out), (HELD_OUT, held_out)):
        for item, content in enumerate(_contents(sources, settings, "refuse")):
            if wanted[item]:
                yield _document(item, *content, split)


def by_content(
    sources: Sequence[Source], settings: TextFile | TextHub, spool: Path | None = None
) -> Iterator[Text]:
    """Read files once and no further than `limit`; texts of blanks are left out.

    Parameters
    ----------
    sources : sequence of Source
        The files, in their order.
    settings : TextFile or TextHub
        Columns, limit and split.
    spool : Path, optional
        Folder in which held-out texts wait, in a file without a name.

    Yields
    ------
    Text
        Those that train, as they come, then the others.

    Raises
    ------
    SaeflowError
        If a file is malformed, or they hold too few texts.
    """
    n = n_train = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=spool) as waiting:
        for content, group in _contents(sources, settings, "skip"):
            if trains(content, settings.split):
                yield _document(n, content, group, TRAIN)
                n_train += 1
            else:
                waiting.write(json.dumps([n, content, group]) + "\n")
            n += 1
        _check_number(sources, settings, n)
        for side, purpose in ((n_train, "train SAEs"), (n - n_train, "be held out")):
            if not side:
                raise _one_sided(sources, settings, n, purpose)
        waiting.seek(0)
        for line in waiting:
            item, content, group = json.loads(line)
            yield _document(item, content, group, HELD_OUT)


def _contents(
    sources: Sequence[Source], settings: TextFile | TextHub, blanks: Blanks
) -> Iterator[tuple[str, str]]:
    """Each text with its group, which is empty where none is read."""
    names = [settings.column, *([] if settings.group is None else [settings.group])]

    def rows() -> Iterator[tuple[str, str]]:
        for source in sources:
            if text_format(source.name).form == "lines":
                found = read_lines(source)
            else:
                found = read_rows(source, names, blanks)
            yield from ((content, "".join(group)) for _, (content, *group) in found)

    return itertools.islice(rows(), settings.limit)


def _document(item: int, content: str, group: str, split: str) -> Text:
    return Text(part="", group=group, form="", item=item, split=split, prompt="", target=content)


def _check_number(sources: Sequence[Source], settings: TextFile | TextHub, n: int) -> None:
    if n < (settings.limit or 1):
        wanted = f"limit asks for {settings.limit}" if settings.limit else "expected at least one"
        raise SaeflowError(f"{_named(sources)} {n} texts; {wanted}.")


def _one_sided(
    sources: Sequence[Source], settings: TextFile | TextHub, n: int, purpose: str
) -> SaeflowError:
    return SaeflowError(
        f"{_named(sources)} {n} texts, none of which is left to {purpose} with a train_share of "
        f"{settings.split.train_share}; expected more."
    )


def _named(sources: Sequence[Source]) -> str:
    if len(sources) == 1:
        return f"{sources[0].name} holds"
    return f"{sources[0].name} and {len(sources) - 1} more files hold"
