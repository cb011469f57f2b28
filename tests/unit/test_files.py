"""Atomic writes and digests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from saeflow.artifacts import digest
from saeflow.artifacts.digest import code_digest, files_digest
from saeflow.artifacts.files import atomic_file, atomic_folder, replace_folder, write_text
from saeflow.seeds import derive_seed, numpy_generator, torch_generator


class Interrupted(BaseException):
    """Stands for anything, a signal included."""


def everything_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_file_appears_whole_in_a_new_folder(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a" / "b.txt") as partial:
        partial.write_text("new")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "new"
    assert everything_below(tmp_path) == ["a", "a/b.txt"]


@pytest.mark.parametrize("error", [OSError, Interrupted])
def test_failed_file_keeps_the_old_one_and_leaves_nothing(
    error: type[BaseException], tmp_path: Path
) -> None:
    write_text(tmp_path / "a.txt", "öld")

    def fail() -> None:
        with atomic_file(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "öld"
    assert everything_below(tmp_path) == ["a.txt"]


def test_file_that_was_never_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a.txt"):
        pass
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize("error", [None, OSError, Interrupted])
def test_folder_is_the_old_or_the_new_one(
    error: type[BaseException] | None, tmp_path: Path
) -> None:
    target = tmp_path / "a"
    write_text(target / "old.txt", "")
    write_text(tmp_path / "a.partial" / "stale.txt", "")

    def fill() -> None:
        with atomic_folder(target) as partial:
            assert everything_below(partial) == []
            write_text(partial / "new.txt", "")
            if error:
                raise error

    if error:
        with pytest.raises(error):
            fill()
    else:
        fill()
    assert everything_below(tmp_path) == ["a", "a/old.txt" if error else "a/new.txt"]


def test_folder_moves_below_a_new_parent(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "x", "1")
    replace_folder(tmp_path / "a", tmp_path / "b" / "c")
    assert everything_below(tmp_path) == ["b", "b/c", "b/c/x"]


def test_files_digest_sees_names_and_contents_but_not_times(tmp_path: Path) -> None:
    first, second = tmp_path / "x", tmp_path / "y"
    first.write_text("1")
    second.write_text("2")
    digest = files_digest([first, second])
    os.utime(first, (1, 1))
    assert files_digest([first, second]) == digest
    second.write_text("3")
    assert files_digest([first, second]) != digest
    second.write_text("2")
    assert files_digest([first, second.rename(tmp_path / "z")]) != digest


PACKAGE = {
    "__init__.py": '"""Package."""\n',
    "top.py": '"""Top."""\nfrom saeflow.middle import work\n\n\ndef run():\n    return work()\n',
    "middle/__init__.py": "from saeflow.middle.bottom import work\n",
    "middle/bottom.py": "import math\n\nimport numpy as np\n\n\ndef work():\n    return 1\n",
    "late.py": "def run():\n    import saeflow.middle.bottom\n\n    return saeflow\n",
    "other.py": "x = 1\n",
    "progress.py": "x = 1\n",
    "noisy.py": "from saeflow.progress import x\n",
    "relative.py": "from . import other\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "saeflow"
    for name, text in PACKAGE.items():
        write_text(root / name, text)
    monkeypatch.setattr(digest, "PACKAGE_ROOT", root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    yield root
    forget()


def forget() -> None:
    """What a new process knows: nothing but what lies in the cache."""
    for each in (digest._modules, digest._module, digest._kept, digest._fresh, digest._used):
        each.cache_clear()


def digest_after(path: Path, old: str, new: str, module: str = "saeflow.top") -> str:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    forget()
    return code_digest(module)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("top.py", '"""Top."""', '"""Another docstring\n\nof two paragraphs."""'),
        ("top.py", '"""Top."""\n', ""),
        ("top.py", "def run():\n", 'def run():\n    """Run."""\n'),
        ("top.py", "return work()", "return work()  # a comment"),
        ("top.py", "\n\n\n", "\n\n\n\n\n# more\n\n"),
        ("top.py", "return work()", "return (work())"),
        ("other.py", "x = 1", "x = 2"),
    ],
)
def test_code_digest_is_blind_to_wording(name: str, old: str, new: str, package: Path) -> None:
    before = code_digest("saeflow.top")
    assert digest_after(package / name, old, new) == before
    os.utime(package / "top.py", (0, 0))
    forget()
    assert code_digest("saeflow.top") == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("top.py", "return work()", "return work() + 1"),
        ("middle/__init__.py", "import work", "import work as work"),
        ("middle/bottom.py", "return 1", "return 2"),
        ("middle/bottom.py", "return 1", "'text'\n    return '1'"),
    ],
)
def test_code_digest_sees_edits_along_imports(name: str, old: str, new: str, package: Path) -> None:
    before = code_digest("saeflow.top")
    assert digest_after(package / name, old, new) != before


def test_code_digest_follows_imports_inside_functions(package: Path) -> None:
    before = code_digest("saeflow.late")
    assert digest_after(package / "middle/bottom.py", "1", "2", "saeflow.late") != before


def test_code_digest_leaves_progress_out(package: Path) -> None:
    before = code_digest("saeflow.noisy")
    assert digest_after(package / "progress.py", "x = 1", "x = 2", "saeflow.noisy") == before


def test_code_digest_of_two_modules_is_that_of_both(package: Path) -> None:
    both = code_digest("saeflow.top", "saeflow.other")
    assert both == code_digest("saeflow.other", "saeflow.top")
    assert both != code_digest("saeflow.top")


@pytest.mark.parametrize("name", ["saeflow.absent", "numpy", "saeflow.relative"])
@pytest.mark.usefixtures("package")
def test_code_digest_refuses_what_it_cannot_see(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        code_digest(name)


@pytest.mark.usefixtures("package")
def test_what_cannot_be_kept_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(kept: object, file: IO[str]) -> None:
        file.write("cut")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digest.json, "dump", full)
    assert code_digest("saeflow.top")
    assert everything_below(tmp_path / "cache") == ["saeflow"]


def test_what_modules_say_is_kept(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest("saeflow.top")
    forget()
    read: list[Path] = []
    real = digest._read
    monkeypatch.setattr(digest, "_read", lambda text, path: read.append(path) or real(text, path))
    assert code_digest("saeflow.top") == before
    assert read == []
    after = digest_after(package / "middle/bottom.py", "return 1", "return 2")
    assert read == [package / "middle/bottom.py"]
    assert after != before
    assert digest_after(package / "middle/bottom.py", "return 2", "return 1") == before
    assert len(read) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"key": null}'])
def test_damaged_cache_of_code_is_made_anew(package: Path, text: str) -> None:
    before = code_digest("saeflow.top")
    digest._store().write_text(text)
    forget()
    assert code_digest("saeflow.top") == before
    assert len(digest._store().read_text()) > 300
    assert everything_below(package.parent / "cache") == [
        "saeflow",
        f"saeflow/{digest._store().name}",
    ]


@pytest.mark.usefixtures("package")
def test_code_digest_needs_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_digest("saeflow.top")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    forget()
    assert code_digest("saeflow.top") == before


@pytest.mark.usefixtures("package")
def test_cache_of_code_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    code_digest("saeflow.other")
    monkeypatch.setattr(digest, "MOST_KEPT", 3)
    forget()
    code_digest("saeflow.top")
    forget()
    assert len(digest._kept()) == 3


def test_code_digest_of_every_own_module_works() -> None:
    names = {
        ".".join(("saeflow", *path.relative_to(digest.PACKAGE_ROOT).with_suffix("").parts))
        for path in digest.PACKAGE_ROOT.rglob("*.py")
    }
    for name in names:
        assert len(code_digest(name.removesuffix(".__init__"))) == 16


def test_seeds_are_fixed_and_different() -> None:
    assert derive_seed(0, "bank", 3, 1) == 2240472854317112801
    seeds = {derive_seed(*parts) for parts in [(0,), (1,), ("0",), (0, "a"), ("0a",), (0, "a", 0)]}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert numpy_generator(1, "x").integers(100) == numpy_generator(1, "x").integers(100)
    assert torch_generator(1, "x").initial_seed() == derive_seed(1, "x")
