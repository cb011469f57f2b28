"""Each published sentence about the decimal bug, beside what this run supports (design, section 9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from saeflow.stats.overlap import published_overlap, similarity
from saeflow.studies.claims.judge import Study, judge
from saeflow.studies.claims.sentences import Row, find_row
from saeflow.studies.claims.verdicts import (
    CHANCE,
    CONTRADICTED,
    EVEN,
    LEVEL,
    NOT_TESTABLE,
    SUPPORTED,
    UNMEASURED,
    Numbers,
    Rule,
    Verdict,
    does_nothing,
)
from saeflow.studies.decimal_bug.published_claims import PUBLISHED
from saeflow.studies.depths import layers_at

OTHER_WEIGHTS = (
    "The claim is about Llama-3.1-8B-Instruct, whose weights this run does not read; what its own "
    "model shows stands beside it without a verdict."
)
OTHER_SAES = (
    "The claim is about features of Llama Scope, which this run does not read; what SAEs trained here "
    "show stands beside it without a verdict."
)
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
        Columns of `saeflow.artifacts.claims.CLAIMS`.
    """
    known = list(rows)
    layers = _Layers(known, chosen)
    return judge(
        _STUDY, lambda wanted: find_row(known, wanted, layers.fits), own_weights=own_weights
    )


def _repeats(numbers: Numbers) -> Verdict:
    return CONTRADICTED, (
        "A greedy answer is the same in every repeat, bit for bit, so one prompt is one trial; "
        f"the published procedure has n = {numbers.found['n']} here."
    )


def _fillers(numbers: Numbers) -> Verdict:
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


def _own_head(numbers: Numbers) -> Verdict:
    found, null = numbers.found, numbers.null
    if null is None or null["value"] is None:
        return NOT_TESTABLE, UNMEASURED
    if found["value"] < EVEN:
        return CONTRADICTED, (
            "Of what a block of coordinates writes, its own head gives "
            f"{found['value']:.0%}; equal shares of all heads would be {null['value']:.0%}."
        )
    return SUPPORTED, "Most of what a block of coordinates writes comes from its own head."


def _parity(numbers: Numbers) -> Verdict:
    found = numbers.found
    if found["p_value"] is None:
        return NOT_TESTABLE, "This run has no test of it."
    if found["p_value"] > LEVEL:
        return CHANCE, f"Other labels of as many units differ as much (p {found['p_value']:.2g})."
    if found["value"] > 0:
        return SUPPORTED, f"Even units add more than under other labels (p {found['p_value']:.2g})."
    return CONTRADICTED, f"Odd units add more than under other labels (p {found['p_value']:.2g})."


_RULES: dict[str, Rule] = {
    "residual_swap": does_nothing,
    "first_half": does_nothing,
    "other_pairs": does_nothing,
    "even_heads": _parity,
    "repeats": _repeats,
    "overlap_is_shared_features": _fillers,
    "blocks_are_heads": _own_head,
}


_STUDY = Study("decimal_bug", PUBLISHED, _NEVER, _RULES, OTHER_WEIGHTS, OTHER_SAES)


class _Layers:
    """Which layer a row is wanted of: ``chosen``, or one at a relative depth, as the study names it."""

    def __init__(self, rows: Sequence[Row], chosen: int | None) -> None:
        known = [each["layer"] for each in rows if each["layer"] is not None]
        self._n_layers = 1 + max(known, default=-1)
        self._chosen = chosen

    def fits(self, row: Row, wanted: str | float | None) -> bool:
        """Whether the layer of a row is the chosen one, or at the relative depth that is wanted."""
        layer: int | None = row["layer"]
        if wanted is None:
            return layer is None
        if isinstance(wanted, str):
            return layer is not None and layer == self._chosen
        return layer == layers_at([wanted], self._n_layers)[wanted]
