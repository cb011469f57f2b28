"""Digests of code and content; standard library only, for the Snakefile reads it at every start.

Snakemake knows nothing of edits in an imported package (snakemake-and-style, 4.4). Rules therefore
carry ``code=code_digest(module)`` in their params: a digest of what the modules *say*, blind to
comments, docstrings, layout and file times.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
PACKAGE = PACKAGE_ROOT.name
# What no result can depend on: logs, how far a loop has come, which jobs share the work, and the
# configuration's own modules, whose values reach a job through its params and whose descriptions may
# be reworded at any time.
IRRELEVANT = tuple(
    f"{PACKAGE}.{name}" for name in ("jobs", "progress", "shards", "unit_jobs", "config")
)


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
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or any(f"{name}.".startswith(f"{each}.") for each in IRRELEVANT):
            continue
        found.add(name)
        waiting.extend(_imports(name))
    text = "\n".join(f"{name} {_module_digest(name)}" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def script_digest(script: Path) -> str:
    """Digest of everything in this package that a workflow script imports; see `code_digest`.

    The script's own text is left out: Snakemake goes by its file time.
    """
    return code_digest(*_imports_of(ast.parse(script.read_text(encoding="utf-8")), script.name))


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


@functools.cache
def _tree(name: str) -> ast.Module:
    return ast.parse(_path(name).read_text(encoding="utf-8"))


@functools.cache
def _module_digest(name: str) -> str:
    # Imports are read first: what follows changes the tree.
    _imports(name)
    tree = _tree(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_bare_text(each)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_bare_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _path(name: str) -> Path:
    first, *rest = name.split(".")
    base = PACKAGE_ROOT.joinpath(*rest)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if first == PACKAGE and path.is_file():
            return path
    raise ModuleNotFoundError(f"{name} is no module of {PACKAGE}")


@functools.cache
def _imports(name: str) -> tuple[str, ...]:
    return tuple(_imports_of(_tree(name), name))


def _imports_of(tree: ast.Module, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            candidates = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom):
            raise ModuleNotFoundError(
                f"{name} uses a relative import, which code_digest cannot see"
            )
        else:
            continue
        for candidate in candidates:
            if candidate.split(".")[0] == PACKAGE:
                try:
                    _path(candidate)
                except ModuleNotFoundError:
                    continue  # a class or function, not a module
                yield candidate
