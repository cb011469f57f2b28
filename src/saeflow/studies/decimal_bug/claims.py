"""Each published sentence about the decimal bug, beside what this run supports (design, section 9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.artifacts.decimal_bug import CLAIMS
from saeflow.stats.overlap import published_overlap, similarity
from saeflow.studies.decimal_bug.published_claims import PUBLISHED
from saeflow.studies.decimal_bug.sentences import Published, Wanted
from saeflow.studies.depths import layers_at

SUPPORTED = "supported"
CHANCE = "not distinguishable from chance"
CONTRADICTED = "contradicted"
NOT_TESTABLE = "not testable in this run"
NEVER_MEASURED = "reported but never measured"
STUDY = "decimal_bug"
EVEN = 0.5
"""Share of right answers that a coin gives."""
UNMEASURED = "This run does not measure it."
UNTESTED = "This run has no interval and control for it."
OVERLAP = "The interval and that of the control have values in common."
LEVEL = 0.05
"""Largest p-value of what is called supported."""
OTHER_WEIGHTS = (
    "The claim is about Llama-3.1-8B-Instruct, whose weights this run does not read; what its own "
    "model shows stands beside it without a verdict."
)
OTHER_SAES = (
    "The claim is about features of Llama Scope, which this run does not read; what SAEs trained here "
    "show stands beside it without a verdict."
)
Row = Mapping[str, Any]
_NEVER = {
    "feature_head_correlations": "The published figures are draws of a random generator with the seed "
    "42 (methods/4, section 5.6.6).",
    "random_plots": "The script patches no head and plots random numbers (methods/4, section 5.6.6).",
    "feature_ids": "Two of these numbers are of layer 13 and five of layer 25; the others are in no "
    "result of the study (methods/4, section 5.6.6).",
}


def judge_claims(
    rows: Iterable[Row], *, own_weights: bool, chosen: int | None
) -> list[dict[str, Any]]:
    """Judge every published sentence by a model's summary.

    Parameters
    ----------
    rows : iterable of mapping
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`, of one model; of several banks the
        first one's are read.
    own_weights : bool
        Whether the model is the study's own, so that claims about its weights are decided.
    chosen : int, optional
        Block whose attention is patched; None where no bug was found.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.decimal_bug.CLAIMS`.
    """
    known = list(rows)
    layers = _Layers(known, chosen)
    return [_claim(known, each, own_weights, layers) for each in PUBLISHED]


def claims_table(claims: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return claims as a table with the columns of `CLAIMS`."""
    return pa.Table.from_pylist([dict(each) for each in claims], CLAIMS.schema())


def _claim(
    rows: Sequence[Row], published: Published, own_weights: bool, layers: _Layers
) -> dict[str, Any]:
    found, procedure, null = (
        _find(rows, wanted, layers)
        for wanted in (published.found, published.by_procedure, published.null)
    )
    analogue = published.scope == "model" and (published.saes or not own_weights)
    value = None if analogue or found is None else found["value"]
    verdict, rule = _verdict(published, own_weights, found, null)
    shown = found or {"ci_low": None, "ci_high": None, "interval": "none"}
    wanted = published.found or published.by_procedure
    return {
        "study": STUDY,
        "claim": published.claim,
        "source": published.source,
        "statement": published.statement,
        "scope": "model" if published.scope == "none" else published.scope,
        "published": published.published,
        "metric": "" if wanted is None else wanted.metric,
        "layer": None if found is None else found["layer"],
        "published_value": procedure["value"] if procedure else None,
        "value": value,
        **{name: shown[name] for name in ("ci_low", "ci_high", "interval")},
        "null": null["value"] if null else None,
        "analogue_value": found["value"] if analogue and found else None,
        "verdict": verdict,
        "rule": rule,
    }


def _verdict(
    published: Published, own_weights: bool, found: Row | None, null: Row | None
) -> tuple[str, str]:
    if published.scope == "none":
        return NEVER_MEASURED, _NEVER[published.claim]
    if published.found is None and published.by_procedure is None:
        return NOT_TESTABLE, UNMEASURED
    if published.scope == "model" and not own_weights:
        return NOT_TESTABLE, OTHER_WEIGHTS
    if published.saes:
        return NOT_TESTABLE, OTHER_SAES
    if found is None or found["value"] is None:
        return NOT_TESTABLE, UNMEASURED
    if published.claim in _RULES:
        return _RULES[published.claim](found, null)
    return _beyond_null(found, null, published)


def _beyond_null(found: Row, null: Row | None, published: Published) -> tuple[str, str]:
    beyond = _beyond(found, null)
    if beyond is None:
        return NOT_TESTABLE, UNTESTED
    if not beyond:
        return CHANCE, OVERLAP
    side = "below" if beyond < 0 else "above"
    apart = f"The whole interval is {side} the control{_its_interval(null)}"
    if (beyond < 0) != published.below:
        return CONTRADICTED, f"{apart}."
    if published.suffices and found["ci_high"] < EVEN:
        return CONTRADICTED, f"{apart}, but below one half: it helps, and does not suffice."
    if published.suffices and found["ci_low"] <= EVEN:
        return CHANCE, f"{apart}, but it holds one half, which a coin gives."
    return SUPPORTED, f"{apart}."


def _beyond(found: Row, null: Row | None) -> int | None:
    """Whether a number is above its control (1) or below (-1) with all of both intervals."""
    if null is None or null["value"] is None or found["ci_low"] is None:
        return None
    low, high = (null["value"] if null[end] is None else null[end] for end in ("ci_low", "ci_high"))
    return int(found["ci_low"] > high) - int(found["ci_high"] < low)


def _its_interval(null: Row | None) -> str:
    return "" if null is None or null["ci_low"] is None else "'s interval"


def _repeats(found: Row, null: Row | None) -> tuple[str, str]:
    return CONTRADICTED, (
        "A greedy answer is the same in every repeat, bit for bit, so one prompt is one trial; "
        f"the published procedure has n = {found['n']} here."
    )


def _fillers(found: Row, null: Row | None) -> tuple[str, str]:
    """Count features of two hand-made prompts of which the study's lists hold more than are active."""
    qa, simple = np.zeros((2, 40))
    qa[20:26], simple[21:30] = 1.0, 1.0
    listed = published_overlap(qa, simple)
    (jaccard,) = similarity(qa[None], simple[None]).jaccard.tolist()
    said = (
        f"Of two hand-made prompts with 6 and 9 active features, 5 of them shared, the procedure calls "
        f"{listed.percent:.0f} % shared and the Jaccard index is {jaccard:.2f}: {listed.shared_fillers} of "
        f"the {len(listed.shared)} shared entries are 0 (methods/4, section 5.6.5)."
    )
    return (CONTRADICTED if listed.shared_fillers else SUPPORTED), said


def _own_head(found: Row, null: Row | None) -> tuple[str, str]:
    if null is None or null["value"] is None:
        return NOT_TESTABLE, UNMEASURED
    if found["value"] < 0.5:
        return CONTRADICTED, (
            "Of what a block of coordinates writes, its own head gives "
            f"{found['value']:.0%}; equal shares of all heads would be {null['value']:.0%}."
        )
    return SUPPORTED, "Most of what a block of coordinates writes comes from its own head."


def _does_nothing(found: Row, null: Row | None) -> tuple[str, str]:
    beyond = _beyond(found, null)
    if beyond is None:
        return NOT_TESTABLE, UNTESTED
    if beyond > 0:
        return CONTRADICTED, f"The whole interval is above the control{_its_interval(null)}."
    if found["ci_high"] < EVEN:
        return SUPPORTED, "The interval reaches down to the control's, and is below one half."
    return CHANCE, OVERLAP


def _parity(found: Row, null: Row | None) -> tuple[str, str]:
    if found["p_value"] is None:
        return NOT_TESTABLE, "This run has no test of it."
    if found["p_value"] > LEVEL:
        return CHANCE, f"Other labels of as many units differ as much (p {found['p_value']:.2g})."
    if found["value"] > 0:
        return SUPPORTED, f"Even units add more than under other labels (p {found['p_value']:.2g})."
    return CONTRADICTED, f"Odd units add more than under other labels (p {found['p_value']:.2g})."


_RULES: dict[str, Callable[[Row, Row | None], tuple[str, str]]] = {
    "residual_swap": _does_nothing,
    "first_half": _does_nothing,
    "other_pairs": _does_nothing,
    "even_heads": _parity,
    "repeats": _repeats,
    "overlap_is_shared_features": _fillers,
    "blocks_are_heads": _own_head,
}


class _Layers:
    """Which layer a row is wanted of."""

    def __init__(self, rows: Sequence[Row], chosen: int | None) -> None:
        known = [each["layer"] for each in rows if each["layer"] is not None]
        self._n_layers = 1 + max(known, default=-1)
        self._chosen = chosen

    def fits(self, layer: int | None, wanted: str | float | None) -> bool:
        if wanted is None:
            return layer is None
        if isinstance(wanted, str):
            return layer is not None and layer == self._chosen
        return layer == layers_at([wanted], self._n_layers)[wanted]


def _find(rows: Sequence[Row], wanted: Wanted | None, layers: _Layers) -> Row | None:
    if wanted is None:
        return None
    names = ("part", "metric", "mode", "control")
    group = re.compile(wanted.group)
    for each in rows:
        same = all(each[name] == getattr(wanted, name) for name in names)
        if same and group.fullmatch(each["group"]) and layers.fits(each["layer"], wanted.layer):
            return each
    return None
