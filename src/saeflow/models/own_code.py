"""Python code that a model brings along: it is run only where the configuration says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saeflow.errors import SaeflowError

KEY = "trust_remote_code"
DESCRIPTIONS = ("config.json", "tokenizer_config.json", "generation_config.json")
"""Files in which ``auto_map`` names classes that the model's own code defines."""


def check_code(folder: Path, *, trusted: bool, name: str = "NAME") -> None:
    """Refuse a model that names code of its own, unless it may be run.

    transformers would run classes of its own in their place, or ask on the terminal.

    Parameters
    ----------
    folder : Path
        The model's directory.
    trusted : bool
        Whether its block says ``trust_remote_code: true``.
    name : str
        The model's name in the configuration, for the error.

    Raises
    ------
    SaeflowError
        If code is named that may not be run, or that lies in another repository.
    """
    for path, kind, reference in _named(folder):
        told = f"{path} names Python code of its own ({kind}: {reference})"
        if not trusted:
            raise SaeflowError(
                f"{told}, which is not run; read it, then set models.{name}.{KEY}: true if you trust it."
            )
        if "--" in reference or "/" in reference:
            raise SaeflowError(
                f"{told}, which lies in another repository; expected a file beside it, such as "
                "modeling_own.Model."
            )


def _named(folder: Path) -> Iterator[tuple[Path, str, str]]:
    for name in DESCRIPTIONS:
        path = folder / name
        for kind, found in _auto_map(path).items():
            for reference in found if isinstance(found, list) else [found]:
                if reference is not None:
                    yield path, str(kind), str(reference)


def _auto_map(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("auto_map") or {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}  # Who reads the file says what is wrong with it.
    # Tokenizers of before 2023 have a list of two classes.
    return found if isinstance(found, dict) else {"auto_map": found}
