"""How many problems are held out, and that interventions have enough of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from saeflow.config.datasets import SplitSettings
from saeflow.config.held_out import known_count
from saeflow.config.hierarchy_runs import FEWEST, hierarchy_contradictions
from saeflow.config.root import parse_config
from saeflow.datasets.selection import published_split
from saeflow.errors import SaeflowError
from saeflow.studies.hierarchy.screening import MIN_ACTIVE
from saeflow.studies.hierarchy.trials import problem_parts
from tests.configs import changed
from tests.sentences import check_sentence

CALIBRATED = "studies.hierarchy.calibrated"
CAUSAL = f"{CALIBRATED}.causal"
LLAMA = "studies.hierarchy.published.models.llama"
MINE = {"source": "path", "path": "problems.jsonl"}
UNCALIBRATED = {"studies.gsm8k.calibrated": None}
"""Without it only the hierarchy study can complain."""


def contradictions(changes: dict[str, Any]) -> list[str]:
    """What is told of a configuration whose blocks are all right one by one."""
    found = list(hierarchy_contradictions(parse_config(changed(changes))))
    for sentence in found:
        check_sentence(SaeflowError(sentence))
    return found


def of_other(block: dict[str, Any]) -> dict[str, Any]:
    """Llama studied on problems that trained no SAE."""
    return {"datasets.mine": block, f"{LLAMA}.datasets": ["mine"], **UNCALIBRATED}


def trained_on_file(limit: int) -> dict[str, Any]:
    """Llama studied on the file that trains its SAEs."""
    trained = {"dictionaries.llama_k100.dataset": "mine"}
    return {**of_other({**MINE, "limit": limit}), **trained}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"datasets.generated.n_validation": 39}, "datasets.generated.n_validation is 39, so 39"),
        (of_other({**MINE, "limit": 39}), "datasets.mine.limit is 39, so 39"),
        (
            of_other({**MINE, "subset": {"kind": "random", "n": 39}}),
            "datasets.mine.subset.n is 39, so 39",
        ),
        (
            of_other({"source": "generated", "seed": 9, "n_train": 30, "n_validation": 9}),
            "datasets.mine.n_train and n_validation are 30 and 9, so 39",
        ),
        # A fifth is held out, as the split of a file rounds it.
        (trained_on_file(limit=199), "datasets.mine.limit is 199, so 40"),
        (trained_on_file(limit=195), "datasets.mine.limit is 195, so 39"),
    ],
)
def test_too_few_held_out_problems_for_interventions(changes: dict[str, Any], found: str) -> None:
    told = [each for each in contradictions(changes) if "too few for interventions" in each]
    if found.endswith("40"):
        assert not told
        return
    assert told[0].startswith(f"{found} problems are held out")
    assert told[0].endswith(f"expected {FEWEST} or more held-out problems, or {CAUSAL}: null.")
    for without in (CAUSAL, CALIBRATED):
        assert contradictions({**UNCALIBRATED, **changes, without: None}) == []


def test_one_problem_more_is_enough_and_unknown_sizes_are_not_judged() -> None:
    assert contradictions({"datasets.generated.n_validation": FEWEST}) == []
    assert contradictions(of_other(MINE)) == []
    subset = {"kind": "first", "n": FEWEST}
    assert contradictions(of_other({**MINE, "limit": 39, "subset": subset})) == []
    # What trains no SAE here is counted whole, what does only by its validation problems.
    analysed = {"datasets.generated.subset": {"kind": "first", "n": 5}}
    assert contradictions(analysed) == []


@pytest.mark.parametrize("count", [FEWEST, 41, 97])
def test_as_many_held_out_problems_leave_enough_to_pick_features_on(count: int) -> None:
    for wanted in (None, 20, 150):
        parts = problem_parts(np.arange(count), wanted, seed=0)
        assert len(parts.screened) >= MIN_ACTIVE
        assert min(len(parts.chosen), len(parts.reported)) > 0


@pytest.mark.parametrize("limit", [1, 7, 39, 195, 199, 200])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.93])
def test_problems_of_a_file_are_counted_as_they_are_split(limit: int, share: float) -> None:
    changes = trained_on_file(limit=limit)
    changes["datasets.mine"]["split"] = {"train_share": share}
    known = known_count(parse_config(changed(changes)), "llama_k100", "mine")
    assert known is not None
    _, validation = published_split(limit, SplitSettings(train_share=share))
    assert known.problems == len(validation)
