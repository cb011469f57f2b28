"""Hand-made rows that sentences about specialists read, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saeflow.artifacts.claims import CLAIMS
from saeflow.studies.claims.sentences import Wanted
from saeflow.studies.specialists.claims import judge_claims
from saeflow.studies.specialists.published_claims import PUBLISHED

BANK = {"dictionary": "tokens", "seed": 0}
SAID = {each.claim: each for each in PUBLISHED}
LAYERS = (2, 5, 8, 11)
Row = dict[str, Any]


def measured(wanted: Wanted | None, value: float, spread: float | None = 0.05, **more: Any) -> Row:
    """A row that a sentence reads; `spread` None: it has no interval."""
    assert wanted is not None
    layer = None if wanted.layer is None else LAYERS[round(float(wanted.layer) * 3)]
    ends = (None, None) if spread is None else (value - spread, value + spread)
    return {
        **BANK, "part": wanted.part, "group": wanted.group, "metric": wanted.metric,
        "mode": wanted.mode, "control": wanted.control, "layer": layer,
        "pooling": wanted.pooling or "", "value": value, "ci_low": ends[0], "ci_high": ends[1],
        "interval": "none" if spread is None else "of a test", "n": 20, "p_value": None,
        "q_value": None, **more,
    }  # fmt: skip


def blocks() -> list[Row]:
    """Rows that tell which layers are read."""
    anywhere = Wanted("sparsity", "any", "l0", pooling="max")
    return [measured(anywhere, 1.0, None, layer=layer) for layer in LAYERS]


def judged(rows: Sequence[Row], *, own_weights: str = "", **tables: Any) -> dict[str, Row]:
    given = {"behaviour": [], "effects": [], "alignment": [], "pair": None} | tables
    found = judge_claims([*blocks(), *rows], **given, own_weights=own_weights)
    assert found.schema == CLAIMS.schema()
    return {each["claim"]: each for each in found.to_pylist()}


def verdict(name: str, rows: Sequence[Row], **options: Any) -> str:
    return str(judged(rows, **options)[name]["verdict"])
