"""Keys and tokens that found their way into a configuration, where they would be written down."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

LOOKS = re.compile(
    r"(?<![A-Za-z0-9])("
    r"hf_[A-Za-z0-9]{16,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}"
    r"|sk-(?:[\w-]*[_-])?(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{16,}"
    r"|Bearer\s+(?=[\w.~+/=-]*\d)[\w.~+/=-]{12,})"
)
"""How keys of the Hugging Face hub, of endpoints and of other services begin.

Names may begin so, too: those of words and years have no long run of letters and digits."""


def secret_sentences(values: Any) -> Iterator[str]:
    """Sentences about values and names that look like a key; none of them repeats it.

    Parameters
    ----------
    values : object
        Plain values, as YAML gives them: lists and mappings may be parts of themselves.
    """
    waiting, seen = [("", values)], set()
    while waiting:
        key, found = waiting.pop()
        if isinstance(found, str):
            if LOOKS.search(found):
                yield _sentence(key)
        elif isinstance(found, Mapping | list | tuple) and id(found) not in seen:
            seen.add(id(found))
            below = found.items() if isinstance(found, Mapping) else enumerate(found)
            for name, value in below:
                if LOOKS.search(str(name)):
                    yield _sentence(f"a name in {key}" if key else "a name")
                else:
                    waiting.append((f"{key}.{name}" if key else str(name), value))


def _sentence(where: str) -> str:
    return (
        f"{where} looks like a key or token, which has no place in the configuration, since results and "
        "logs keep what it says; expected it in the environment: HF_TOKEN, or the variable that "
        "key_variable names. Revoke it if this file was shared."
    )
