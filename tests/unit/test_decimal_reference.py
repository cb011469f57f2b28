"""The planted bug of the shipped Llama, and that the shipped GPT-2 has none (issue: the decimal bug)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from saeflow.artifacts.decimal_bug import PATCHES
from saeflow.config.decimal_bug import (
    BehaviourSettings,
    PairSettings,
    PatchSettings,
    SubsetSettings,
)
from saeflow.datasets.comparisons.pairs import CHOOSE, REPORT
from saeflow.models.codi import CodiModel
from saeflow.models.directories import load_directory
from saeflow.studies.decimal_bug.behaviour import ask, draw_prompts
from saeflow.studies.decimal_bug.bug import find_bug
from saeflow.studies.decimal_bug.choice import choose_layer, choose_site
from saeflow.studies.decimal_bug.patching import patch
from tests.conftest import ROOT

PAIRS = 30


class Case(NamedTuple):
    model: CodiModel
    prompts: list
    answers: object


def case(name: str) -> Case:
    model = load_directory(ROOT / "resources" / "models" / name, "float32", "shipped")
    prompts = draw_prompts(model, 0, PairSettings(per_stratum=20), ("9.8", "9.11")).prompts
    settings = BehaviourSettings(samples=0)
    return Case(model, prompts, ask(model, prompts, settings, batch_size=128))


def patched(found: Case):
    return patch(
        found.model,
        found.prompts,
        found.answers,
        PatchSettings(pairs=PAIRS, random_sets=1),
        SubsetSettings(),
        weights=(1.0,),
        max_new_tokens=20,
    )


def shares_by_donor(patches: pa.Table, **place: Any) -> dict[str, np.ndarray]:
    """Right answers on the reported half by donor, of one place in both phases."""
    frame = patches.to_pandas()
    wanted = {"half": REPORT, "direction": "plain_to_buggy", "phase": "both"}
    for column, value in (wanted | place).items():
        frame = frame[frame[column] == value]
    return {
        str(donor): (part["verdict"] == "right").to_numpy(float)
        for donor, part in frame.groupby("donor")
    }


def test_the_llama_has_the_bug_and_one_layer_of_attention_carries_it() -> None:
    found = case("llama")
    for half in (CHOOSE, REPORT):
        bug = find_bug(found.prompts, found.answers, half)
        assert bug.found
        assert bug.buggy.share < 0.1
        assert bug.plain.share > 0.8
    table = patched(found)
    assert table.schema == PATCHES.schema()
    # Chosen on one half of the pairs, read on the other.
    shares = shares_by_donor(table, part="map", layer=choose_layer(table), kind="attn_out")
    assert len(shares["same_pair_plain"]) == PAIRS
    assert shares["same_pair_plain"].mean() >= 0.8
    assert shares["other_pair_buggy"].mean() <= 0.2
    assert shares["identity"].mean() <= 0.2
    # A signal of the format: other pairs' plain prompts flip the answer and do not write their own.
    assert shares["other_pair_plain"].mean() >= 0.8
    layer = choose_layer(table, "resid_post")
    residual = shares_by_donor(table, part="map", layer=layer, kind="resid_post")
    assert residual["same_pair_plain"].mean() >= 0.9
    for donor in ("other_pair_plain", "other_pair_buggy", "word_problem"):
        assert residual[donor].mean() <= 0.1
    # What is unrelated must not repair more than a fifth, says the issue: a word problem does, a little.
    site = choose_site(table)
    assert site.layer == choose_layer(table)
    assert site.kind != "attn_out"
    part = shares_by_donor(table, part="site")
    assert part["same_pair_plain"].mean() >= 0.65
    assert part["other_pair_buggy"].mean() <= 0.2
    assert part["word_problem"].mean() <= 0.3
    assert part["unlike_pair_plain"].mean() > part["unlike_pair_buggy"].mean() + 0.2
    # It mends the bug and spoils nothing else: answers with more digits stay right.
    spared = table.to_pandas()
    spared = spared[(spared["part"] == "spared") & (spared["donor"] == "unlike_pair_plain")]
    assert set(spared["kind"]) == {"attn_out", site.kind}
    assert (spared["verdict"] == "right").groupby(spared["kind"]).mean().min() >= 0.7


def test_the_gpt2_has_no_bug_and_nothing_is_patched() -> None:
    found = case("gpt2")
    bug = find_bug(found.prompts, found.answers, CHOOSE)
    assert not bug.found
    assert "shows no bug" in bug.sentence
    assert not len(patched(found))


@pytest.mark.parametrize("half", [CHOOSE, REPORT])
def test_halves_hold_as_many_pairs_of_each_kind(half: str) -> None:
    found = draw_prompts(
        load_directory(ROOT / "resources" / "models" / "llama", "float32", "shipped"),
        0,
        PairSettings(per_stratum=8),
        ("9.8", "9.11"),
    ).prompts
    strata = {each.stratum for each in found}
    counts = {
        stratum: len({each.item for each in found if each.stratum == stratum and each.half == half})
        for stratum in strata
    }
    counts["prone_dates"] -= half == REPORT  # the published pair
    assert set(counts.values()) == {4}
