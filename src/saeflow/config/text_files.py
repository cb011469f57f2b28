"""What the name of a file of texts says about its form."""

from __future__ import annotations

from typing import Literal, NamedTuple

TextForm = Literal["lines", "json", "parquet"]
FORMS: dict[str, TextForm] = {
    ".txt": "lines",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
}
"""lines: a text per line; json: an object per line; by how the name ends."""
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
"""What may follow in the name of a compressed file."""
KNOWN = f"{', '.join(FORMS)}, each also with {', '.join(COMPRESSIONS)}"
"""For messages."""


class TextFormat(NamedTuple):
    """Form of a file's content, and how it is compressed; both empty where the name says nothing."""

    form: TextForm | Literal[""]
    compression: str


def text_format(name: str) -> TextFormat:
    """Form and compression of a file, from its name alone.

    Parameters
    ----------
    name : str
        Name or path, such as ``train/00.jsonl.zst``.
    """
    lower = name.lower()
    compression = next((each for each in COMPRESSIONS if lower.endswith(each)), "")
    lower = lower.removesuffix(compression)
    for suffix, form in FORMS.items():
        if lower.endswith(suffix):
            return TextFormat(form, compression)
    return TextFormat("", compression)
