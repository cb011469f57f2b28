"""The one exception that users are meant to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class SaeflowError(Exception):
    """A problem that the user can mend, told in one plain sentence.

    The message names the key or file, what was found and what was expected. Adapters and the
    command line print it without a traceback and exit with a non-zero code.

    Attributes
    ----------
    fault : str
        Which of `saeflow.faults.Kind` it is, for the table of failed jobs.
    """

    fault: ClassVar[str] = "input or configuration"


def nearest(name: str, known: Iterable[str]) -> str:
    """Sentence part that offers the known name closest to an unknown one.

    Parameters
    ----------
    name : str
        What the user wrote.
    known : iterable of str
        What would have been understood.

    Returns
    -------
    str
        ``"; did you mean 'x'?"``, or the list of known names where none is close.
    """
    names = sorted(str(each) for each in known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(map(repr, names))}." if names else "; none is known."


def first_line(error: BaseException) -> str:
    """What another library's exception says first, without the stop at its end, or its type."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
