"""Which layer and site are chosen, on hand-made shares of right answers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from saeflow.artifacts.decimal_bug import PATCHES
from saeflow.errors import SaeflowError
from saeflow.studies.decimal_bug.choice import choose_layer, choose_site, rank_units
from saeflow.studies.decimal_bug.names import NO_ITEM

PAIRS = 10
SAME, BUGGY, PROBLEM = "same_pair_plain", "other_pair_buggy", "word_problem"
FIXED = {
    "part": "choice",
    "mode": "calibrated",
    "half": "choose",
    "direction": "plain_to_buggy",
    "donor": SAME,
    "layer": 0,
    "kind": "attn_out",
    "units": "all",
    "phase": "both",
    "weight": 1.0,
    "set": "",
    "form": "f",
    "order": "given",
    "logit_difference": 0.0,
    "clean_logit_difference": 0.0,
    "wrote_donor": False,
    "donor_item": NO_ITEM,
}


def rows(right: int, **changes: Any) -> list[dict[str, Any]]:
    """A row per pair, of which some are right."""
    verdicts = ["right" if item < right else "wrong" for item in range(PAIRS)]
    return [
        FIXED | changes | {"item": item, "verdict": verdict}
        for item, verdict in enumerate(verdicts)
    ]


def table(*parts: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([row for part in parts for row in part], PATCHES.schema())


def layer(number: int, same: int, other: int) -> list[dict[str, Any]]:
    return rows(same, layer=number) + rows(other, layer=number, donor=BUGGY)


def site(kind: str, units: str, same: int, other: int, problem: int) -> list[dict[str, Any]]:
    place = {"layer": 1, "kind": kind, "units": units}
    shares = {SAME: same, BUGGY: other, PROBLEM: problem}
    return [row for donor, right in shares.items() for row in rows(right, donor=donor, **place)]


def test_layer_is_the_lowest_of_those_with_most_beyond_another_buggy_pair() -> None:
    shares = {0: (10, 9), 1: (7, 1), 2: (6, 0), 3: (3, 3)}
    made = table(
        *(layer(number, *each) for number, each in shares.items()),
        rows(10, layer=3, phase="prefill"),
        rows(0, layer=3, phase="prefill", donor=BUGGY),
    )
    assert choose_layer(made) == 1
    with pytest.raises(SaeflowError, match="mlp_out"):
        choose_layer(made, "mlp_out")


@pytest.mark.parametrize(
    ("group", "head", "wanted"),
    [
        ((9, 2, 3), (9, 1, 2), "head 2"),
        ((9, 2, 3), (8, 1, 2), "kv_group 0"),  # both gain 6, the group makes more right
        ((9, 2, 3), (10, 0, 5), "kv_group 0"),  # a word problem makes too many right
        ((9, 2, 3), (10, 5, 0), "kv_group 0"),  # or another buggy pair
        ((5, 2, 3), (5, 2, 3), "attn_out"),
    ],
)
def test_site_is_what_gains_most_beyond_every_unrelated_donor(
    group: tuple[int, int, int], head: tuple[int, int, int], wanted: str
) -> None:
    made = table(
        layer(0, 0, 0),
        layer(1, 9, 0),
        rows(6, layer=1, donor=PROBLEM),
        site("kv_group", "0", *group),
        site("head", "0", 1, 1, 1),
        site("head", "2", *head),
        # The study's blocks of coordinates are no part of the model, and phases are no sites.
        rows(10, layer=1, kind="block", units="1"),
        rows(10, layer=1, phase="prefill"),
    )
    chosen = choose_site(made)
    assert (chosen.layer, chosen.name) == (1, wanted)


def test_units_are_ranked_by_the_plain_prompt_of_the_same_pair() -> None:
    made = table(
        rows(0, kind="head", units="0", logit_difference=1.0),
        rows(0, kind="head", units="1", logit_difference=3.0),
        rows(0, kind="head", units="2", logit_difference=2.0),
        rows(0, kind="head", units="0", logit_difference=99.0, donor=PROBLEM),
    )
    assert rank_units(made, "head") == [1, 2, 0]
