"""The code of docs/interventions.md runs as it stands, but for a bank in place of a run's results."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from saeflow.interventions import edits
from saeflow.interventions.donors import Donor
from saeflow.interventions.patches import PHASES
from saeflow.interventions.units import KINDS
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.storage import save_bank
from saeflow.seeds import torch_generator

D_IN, D_SAE, K = 128, 48, 3
BANK = "results/saes/llama/llama_k100/seed0"


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/interventions.md").read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.S)


@pytest.fixture
def done(
    page: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> dict[str, Any]:
    """Names that the page's code leaves behind."""
    generator = torch_generator(0, "test", "docs")
    shapes = ((1, D_IN, D_SAE), (1, D_SAE), (1, D_SAE, D_IN), (1, D_IN))
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    save_bank(Bank(Recipe("abstopk", D_SAE, K), (Site(2, 3),), *weights), tmp_path / "bank")
    code = "\n".join(blocks(page))
    assert code.count(BANK) == 1
    monkeypatch.chdir(root)
    names: dict[str, Any] = {}
    exec(code.replace(BANK, str(tmp_path / "bank")), names)
    return names


def test_the_example_has_five_lines(page: str) -> None:
    lines = [line for line in blocks(page)[0].splitlines() if line]
    set_up = [line for line in lines if line.startswith(("from ", "import ", "question = "))]
    assert len(lines) - len(set_up) == 5


def test_the_examples_run_and_only_features_that_fire_have_effects(done: dict[str, Any]) -> None:
    thought = done["run"].at(done["Place"](3, "resid_post", 2))
    tokens = done["reading"].activations[done["HookedLayer"]("resid_post", 2)][0]
    nats = {n: float(found.log_probability) for n, found in done["effects"].items()}
    for x, effects, noise in ((thought, nats, 1e-4), (tokens, done["shifts"], 0.0)):
        fires = (done["sae"].encode(x[None])[0] != 0).any(0)
        some = torch.tensor([abs(effects[number]) > noise for number in range(D_SAE)])
        assert 2 <= some.sum() <= fires.sum()
        assert bool(fires[some].all())
    assert done["run"].clean.correct.all()


def test_the_patching_example_has_five_lines(page: str) -> None:
    (block,) = [each for each in blocks(page) if "PatchRun.of" in each]
    lines = [line for line in block.splitlines() if line]
    set_up = [line for line in lines if line.startswith(("from ", "which = ", "formats = "))]
    assert len(lines) - len(set_up) == 5


def test_the_patching_example_shows_the_planted_bug(done: dict[str, Any]) -> None:
    """What the page says: one head alone turns the answer."""
    before = [done["model"].texts(each.answers) for each in (done["buggy"], done["plain"])]
    assert before == [[" 9.11 is bigger than 9.8."], [" 9.8 is bigger than 9.11."]]
    right = [n for n, answers in done["answers"].items() if answers == before[1]]
    patches = [done["heads"][n] for n in right]
    assert [(patch.layer, patch.units) for patch in patches] == [(2, [2])]
    for phase, turned in (("prefill", False), ("decode", True)):
        ((_, found),) = done["buggy"].outcomes([replace(patches[0], phase=phase)])
        assert bool(found.changed) == turned


def test_every_kind_and_phase_of_a_patch_is_in_the_table(page: str) -> None:
    table = page.split("## Patching")[1].split("\n## ")[0]
    donors = [
        f"Donor.{name}" for name, each in vars(Donor).items() if isinstance(each, classmethod)
    ]
    assert len(donors) == 3
    for name in (*KINDS, *PHASES, *donors):
        assert f"`{name}`" in table, name


def test_every_edit_is_in_the_table(page: str) -> None:
    table = page.split("## Edits")[1].split("##")[0]
    made = [
        name
        for name, each in vars(edits).items()
        if callable(each) and getattr(each, "__module__", "") == edits.__name__
    ]
    assert len(made) >= 9
    for name in made:
        assert re.search(rf"\b{name}\(", table), name
