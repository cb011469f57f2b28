"""What the checkpoints of a reading go by."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saeflow.studies.scaling.reading_state import ReadingState


def inputs(folder: Path) -> list[Path]:
    """A corpus and a folder of SAEs, as far as their digests go."""
    corpus, bank = folder / "corpus.parquet", folder / "bank"
    bank.mkdir(parents=True)
    corpus.write_text("documents")
    (bank / "quality.parquet").write_text("checksums of weights")
    (bank / "training.parquet").write_text("losses")
    return [corpus, bank]


def kept_in(target: Path, made_with: list[str], read: list[Path]) -> bool:
    """Whether a reading that was killed goes on with these."""
    return ReadingState.of(target, made_with, read).begin()[0] > 1


@pytest.mark.parametrize("changed", ["", "corpus.parquet", "bank/quality.parquet", "settings"])
def test_a_reading_goes_on_with_what_it_began_with(tmp_path: Path, changed: str) -> None:
    target = tmp_path / "made.parquet"
    state = ReadingState.of(target, ["one"], inputs(tmp_path / "here"))
    state._seconds = 0.0
    state.keep(2, 3, ["train"], {"sum": torch.ones(2)})
    # Where inputs lie does not matter.
    read = inputs(tmp_path / "elsewhere")
    if changed.endswith("parquet"):
        (tmp_path / "elsewhere" / changed).write_text("other")
    made_with = ["other" if changed == "settings" else "one"]
    assert kept_in(target, made_with, read) == (not changed)
