"""Progress of long loops: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LINES_PER_LOOP = 10


def progress(
    items: Iterable[Item], *, description: str, total: int, unit: str = "it"
) -> Iterator[Item]:
    """Iterate and show how far the loop has come.

    Parameters
    ----------
    items : iterable
        What to loop over.
    description : str
        What the loop does, in a few words.
    total : int
        How many items there are.
    unit : str
        What one item is.

    Yields
    ------
    object
        The items, unchanged.
    """
    log = logging.getLogger("saeflow")
    every = max(1, total // LINES_PER_LOOP)
    bar = tqdm(
        items,
        desc=description,
        total=total,
        unit=unit,
        disable=not sys.stderr.isatty(),
        leave=False,
    )
    for done, item in enumerate(bar, start=1):
        yield item
        if done % every == 0 or done == total:
            log.info("%s: %d of %d %s", description, done, total, unit)
