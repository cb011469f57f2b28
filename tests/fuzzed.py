"""What may happen to files: bytes that change, files that vanish, change places or are others'."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

Files = Mapping[str, bytes]
"""Content by path below a folder."""
OF_BYTES = ("flip", "bit", "truncate", "cut", "insert", "repeat", "zero", "exchange", "footer")
OF_FILES = ("empty", "delete", "folder", "swap", "other", "foreign", "extra", "grown")
EVERYTHING = (*OF_BYTES, *OF_FILES)


@dataclass(frozen=True)
class Damage:
    """One thing that happens; numbers are taken modulo what there is."""

    how: str
    file: int
    at: float
    length: int
    mask: int
    junk: bytes
    other: int


def damages(how: tuple[str, ...] = EVERYTHING) -> st.SearchStrategy[Damage]:
    """Any damage of the kinds named."""
    number = st.integers(0, 1 << 16)
    place = st.floats(0, 1, exclude_max=True)
    length, mask = st.integers(1, 64), st.integers(1, 255)
    junk = st.binary(min_size=1, max_size=16)
    return st.builds(Damage, st.sampled_from(how), number, place, length, mask, junk, number)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_files(folder: Path, files: Files) -> None:
    """Make a folder hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def changed_bytes(content: bytes, damage: Damage) -> bytes:
    """Bytes after one thing happened to them."""
    at, length = int(damage.at * len(content)), damage.length
    if damage.how == "footer":
        at = max(0, len(content) - 1 - int(damage.at * min(len(content), 2000)))
    end = min(at + length, len(content))
    before, inside, after = content[:at], content[at:end], content[end:]
    match damage.how:
        case "flip" | "footer" if inside:
            return before + bytes([inside[0] ^ damage.mask]) + inside[1:] + after
        case "bit" if inside:
            return before + bytes([inside[0] ^ (1 << damage.mask % 8)]) + inside[1:] + after
        case "truncate":
            return before
        case "cut":
            return before + after
        case "insert":
            return before + damage.junk + inside + after
        case "repeat":
            return before + inside + inside + after
        case "zero":
            return before + bytes(len(inside)) + after
        case "exchange":
            return before + after[:length] + inside + after[length:]
    return content


def damage_files(folder: Path, files: Files, others: Files, foreign: bytes, damage: Damage) -> str:
    """Let one thing happen to a folder that holds `files`; return the file that it happened to.

    `others` are the files of an artifact of the same kind; `foreign` is a file of another kind.
    """
    names = sorted(files)
    name = names[damage.file % len(names)]
    path = folder / name
    match damage.how:
        case "empty":
            path.write_bytes(b"")
        case "delete":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "swap":
            second = names[damage.other % len(names)]
            path.write_bytes(files[second])
            (folder / second).write_bytes(files[name])
        case "other":
            path.write_bytes(others.get(name, b""))
        case "foreign":
            path.write_bytes(foreign)
        case "extra":
            number = damage.other % 12
            stem = path.stem.rstrip("0123456789")
            (path.parent / f"{stem}{number}{path.suffix}").write_bytes(files[name])
        case "grown":
            path.write_bytes(files[name] * 2)
        case _:
            path.write_bytes(changed_bytes(files[name], damage))
    return name
