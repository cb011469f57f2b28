"""Digests of code and content; standard library only, for the Snakefile reads it at every start.

Snakemake knows nothing of edits in an imported package (snakemake-and-style, 4.4). Rules therefore
carry ``code=code_digest(module)`` in their params: a digest of what the modules *say*, blind to
comments, docstrings, layout and file times. Reading hundreds of modules takes seconds; what each says
is therefore kept in the user's cache, by the content of its file.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
PACKAGE = PACKAGE_ROOT.name
# What no result can depend on: logs, how far a loop has come, which GPU a job has, which
# jobs share the work, and the configuration's own modules, whose values reach a job through its params and
# whose descriptions may be reworded at any time.
IRRELEVANT = tuple(
    f"{PACKAGE}.{name}" for name in ("jobs", "progress", "gpu", "shards", "unit_jobs", "config")
)
MOST_KEPT = 5000
"""Files whose content is remembered, those of other versions and clones among them."""


class Said(NamedTuple):
    """What a file of code says: a digest of that, and what it may import from this package."""

    digest: str
    imports: tuple[str, ...]


def code_digest(*modules: str) -> str:
    """Digest of modules and of everything in this package that they import.

    Parameters
    ----------
    *modules : str
        Dotted names such as ``"saeflow.studies.gsm8k"``.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ModuleNotFoundError
        If a module is not part of this package.
    """
    return _digest_along(modules)


def script_digest(script: Path) -> str:
    """Digest of everything in this package that a workflow script imports; see `code_digest`.

    The script's own text is left out: Snakemake goes by its file time.
    """
    return _digest_along(_existing(_said(script)))


def _digest_along(modules: Iterable[str]) -> str:
    """Digest of modules and of what they import."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or any(f"{name}.".startswith(f"{each}.") for each in IRRELEVANT):
            continue
        said = _module(name)
        found[name] = said.digest
        waiting.extend(_existing(said))
    _keep()
    text = "\n".join(f"{name} {found[name]}" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def content_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the contents of artifacts, in the order given.

    Of a folder the tables count, for that of a bank holds the checksums of its weights; where they lie
    does not.

    Parameters
    ----------
    paths : iterable of Path
        Files, and folders with tables in them.
    """
    total = hashlib.sha256()
    for path in paths:
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(path) if path.is_dir() else path.name
            total.update(f"{name}\0{file_digest(file)}\n".encode())
    return total.hexdigest()


def _existing(said: Said) -> Iterator[str]:
    """The modules among what a file may import: the other names are of classes and functions."""
    return (name for name in said.imports if name in _modules())


@functools.cache
def _modules() -> dict[str, Path]:
    """Every module of this package with its file."""
    found = {}
    for path in sorted(PACKAGE_ROOT.rglob("*.py"), key=lambda path: path.name == "__init__.py"):
        parts = path.relative_to(PACKAGE_ROOT).with_suffix("").parts
        found[".".join((PACKAGE, *(each for each in parts if each != "__init__")))] = path
    return found


@functools.cache
def _module(name: str) -> Said:
    if name not in _modules():
        raise ModuleNotFoundError(f"{name} is no module of {PACKAGE}")
    return _said(_modules()[name])


def _said(path: Path) -> Said:
    source = path.read_bytes()
    key = hashlib.sha256(_own_digest() + source).hexdigest()
    if key not in _kept():
        _kept()[key] = _read(source.decode("utf-8"), path)
        _fresh().add(key)
    _used().add(key)
    return _kept()[key]


def _read(source: str, path: Path) -> Said:
    tree = ast.parse(source)
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ModuleNotFoundError(
                f"{path} uses a relative import, which code_digest cannot see"
            )
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_bare_text(each)] or [ast.Pass()]
    ours = [name for name in dict.fromkeys(imports) if name.split(".")[0] == PACKAGE]
    return Said(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(ours))


def _is_bare_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@functools.cache
def _own_digest() -> bytes:
    # Of this file: whoever changes how digests are taken must not meet those of before.
    return hashlib.sha256(Path(__file__).read_bytes()).digest()


def _store() -> Path:
    """Where what modules say is kept; Python's versions name the nodes of a tree differently."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "saeflow" / f"code.{sys.implementation.cache_tag}.json"


@functools.cache
def _kept() -> dict[str, Said]:
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, AttributeError):
        kept = json.loads(_store().read_text(encoding="utf-8"))
        return {key: Said(str(digest), tuple(names)) for key, (digest, names) in kept.items()}
    return {}


@functools.cache
def _fresh() -> set[str]:
    """Keys of what the file does not hold yet."""
    return set()


@functools.cache
def _used() -> set[str]:
    """Keys of what was asked for; the rest may be of files that have changed since."""
    return set()


def _keep() -> None:
    if not _fresh():
        return
    _fresh().clear()
    kept = _kept() if len(_kept()) <= MOST_KEPT else {key: _kept()[key] for key in _used()}
    # No home, a folder that may not be written, a full disk: the next start reads the modules again.
    with contextlib.suppress(OSError, RuntimeError):
        store = _store()
        store.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile("w", dir=store.parent, delete=False)  # noqa: SIM115
        try:
            with file:
                json.dump(kept, file)
            os.replace(file.name, store)
        except BaseException:
            os.unlink(file.name)
            raise
