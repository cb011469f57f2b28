"""Each published sentence about specialists, beside what this run supports (design, section 9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.stats.resampling import wilson_of_shares
from saeflow.studies.claims.judge import Study, claims_table, judge
from saeflow.studies.claims.sentences import Row, find_row
from saeflow.studies.claims.verdicts import (
    CHANCE,
    CONTRADICTED,
    EVEN,
    LEVEL,
    NOT_TESTABLE,
    SUPPORTED,
    UNTESTED,
    Numbers,
    Rule,
    Verdict,
    beyond,
)
from saeflow.studies.specialists.counted import (
    behaviour_rows,
    effect_rows,
    growth_rows,
    overlap_rows,
    token_rows,
)
from saeflow.studies.specialists.published_claims import PUBLISHED
from saeflow.studies.specialists.published_effects import FLIPS_AT_MOST, RIGHT_AT_MOST

ALIGNMENT = "alignment"
"""Part of rows that compare models, among those of one."""
OTHER_WEIGHTS = (
    "The claim is about GPT-2 small or Gemma-2-9B, whose weights this run does not read; what its own "
    "model shows stands beside it without a verdict."
)
OTHER_SAES = (
    "The claim is about features of gpt2-small-res-jb or Gemma Scope, which this run does not read; what "
    "SAEs trained here show stands beside it without a verdict."
)
_NEVER = {
    "strength_weighting": "The code counts texts above 5.0 and weights nothing (methods/3, section 4.4).",
}


def judge_claims(
    numbers: Iterable[Row],
    behaviour: Iterable[Row],
    effects: Iterable[Row],
    alignment: Iterable[Row],
    *,
    own_weights: str,
    pair: tuple[str, str] | None,
) -> pa.Table:
    """Judge every published sentence by the tables of a model.

    Parameters
    ----------
    numbers : iterable of mapping
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, of one model, of words and of tasks; of
        several banks the first one's are read.
    behaviour, effects : iterable of mapping
        Columns of `SPECIALIST_BEHAVIOUR` and `SPECIALIST_EFFECTS` of
        `saeflow.artifacts.specialist_effects`, of the same model and banks.
    alignment : iterable of mapping
        Columns of `saeflow.artifacts.specialists.FEATURE_ALIGNMENT`, of all models.
    own_weights : str
        Which of the study's models it is, so that claims about its weights are decided; empty: none.
    pair : (str, str), optional
        Models that sentences across models are held against, whichever is judged; None: there are none.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.claims.CLAIMS`.
    """
    given = list(numbers)
    bank = next((_bank(each) for each in given if each["dictionary"]), None)
    known = [each for each in given if not each["dictionary"] or _bank(each) == bank]
    tested, changed = (
        [each for each in some if _bank(each) == bank] for some in (behaviour, effects)
    )
    known += [
        *growth_rows(known),
        *overlap_rows(known),
        *token_rows(known),
        *behaviour_rows(tested),
        *effect_rows(changed),
        *_of_pair(alignment, pair),
    ]
    places = _Places(known)
    found = judge(
        _STUDY, lambda wanted: find_row(known, wanted, places.fits), own_weights=own_weights
    )
    return claims_table(found)


def _bank(each: Row) -> tuple[str, int]:
    return each["dictionary"], each["seed"]


def _of_pair(alignment: Iterable[Row], pair: tuple[str, str] | None) -> list[Row]:
    return [
        {**each, "part": ALIGNMENT}
        for each in alignment
        if pair is not None and {each["model"], each["other_model"]} == {*pair}
    ]


class _Places:
    """Which layer a row is wanted of: one at a place from 0, the first that is read, to 1, the last."""

    def __init__(self, rows: Sequence[Row]) -> None:
        # Where nothing is pooled, layers are those of specialists, or of the whole model.
        layers = {(each["part"] == ALIGNMENT, each["layer"]) for each in rows if each["pooling"]}
        self._layers = {
            side: sorted(layer for other, layer in layers if other == side and layer is not None)
            for side in (False, True)
        }

    def fits(self, row: Row, wanted: str | float | None) -> bool:
        """Whether the layer of a row is at the wanted place."""
        layer: int | None = row["layer"]
        if wanted is None or layer is None:
            return wanted is layer
        layers = self._layers[row["part"] == ALIGNMENT]
        place = round(float(wanted) * (len(layers) - 1))
        fits: bool = bool(layers) and layer == layers[place]
        return fits


class _Told(NamedTuple):
    """How many classes have a specialist, in words, and Wilson's interval for their share."""

    said: str
    low: float
    high: float

    @classmethod
    def of(cls, counted: Row | None) -> _Told | None:
        if counted is None or counted["value"] is None:
            return None
        told, n = int(counted["value"]), int(counted["n"])
        ends = wilson_of_shares((np.arange(n) < told).astype(np.float64))
        return cls(f"{told} of {n}", *ends)


def _rule(numbers: Numbers) -> Verdict:
    """The study's rule beside what it calls specialists where classes are drawn anew, and one half."""
    on_half_b, every, null = numbers.found, numbers.procedure, numbers.null
    told, side = _Told.of(every), beyond(on_half_b, null)
    if every is None or told is None or null is None or None in (side, null["ci_low"]):
        return NOT_TESTABLE, UNTESTED
    said = (
        f"The rule calls {told.said} specialists ({told.low:.0%} to {told.high:.0%} of classes), and "
        f"{null['value']:.1f} ({null['ci_low']:.0f} to {null['ci_high']:.0f}) of classes drawn anew; of "
        f"those that it finds on half of the pairs {on_half_b['value']:.1f} hold on the other half."
    )
    if every["value"] < null["ci_low"] or side == -1:
        return CONTRADICTED, said
    if every["value"] <= null["ci_high"] or side == 0:
        return CHANCE, said
    # "Nearly every class has one": more than by chance is not enough.
    if told.high < EVEN:
        return CONTRADICTED, f"{said} More than by chance, but fewer than half of the classes."
    if told.low <= EVEN:
        return CHANCE, (
            f"{said} More than by chance, but the interval of the share holds one half: nearly every "
            "class cannot be told from half of them."
        )
    return SUPPORTED, said


def _depth(numbers: Numbers) -> Verdict:
    """Growth of areas from the first block to the last, unless all have a specialist at the first."""
    for counted, how in zip((numbers.procedure, *numbers.further), _WAYS, strict=True):
        if counted is not None and counted["value"] == counted["n"]:
            return CONTRADICTED, (
                f"With every token encoded before the mean, {how} finds a specialist of each of the "
                f"{counted['n']} categories at the first block that is read."
            )
    side = beyond(numbers.found, numbers.null)
    if side is None:
        return NOT_TESTABLE, UNTESTED
    if not side:
        return CHANCE, "Areas on half B are no larger at the last block than at the first."
    if side < 0:
        return CONTRADICTED, "Areas on half B are smaller at the last block than at the first."
    return SUPPORTED, "Areas on half B are larger at the last block than at the first."


_WAYS = ("the study's rule", "a choice on other texts")
"""How specialists at the first block are found."""


def _of_forms(numbers: Numbers) -> Verdict:
    """Whether the classes that can be told from other topics can be told from other forms, too."""
    side = beyond(numbers.found, numbers.null)
    forms, topics = (_Told.of(each) for each in numbers.further)
    if side is None or forms is None or topics is None:
        return NOT_TESTABLE, UNTESTED
    said = (
        f"{topics.said} classes have a feature that tells them from other topics, and {forms.said} one "
        f"that tells them from the other forms of their topic (q at most {LEVEL})."
    )
    if topics.low <= EVEN:
        return CHANCE, said
    if forms.high < EVEN:
        return CONTRADICTED, said
    return (SUPPORTED if forms.low > EVEN and side > 0 else CHANCE), said


def _few_shared(numbers: Numbers) -> Verdict:
    """Whether two forms share less than half of what two halves of one form do: that is "few"."""
    side = beyond(numbers.found, numbers.null)
    if side is None:
        return NOT_TESTABLE, UNTESTED
    if not side:
        return CHANCE, "The interval holds half of what two halves of one form share."
    verdict, less = (SUPPORTED, "less") if side < 0 else (CONTRADICTED, "more")
    return verdict, f"Two forms share {less} than half of what two halves of one form share."


def _permuted(numbers: Numbers) -> Verdict:
    """A number beside what it is where classes are permuted; the test is one-sided."""
    found, null = numbers.found, numbers.null
    if found["p_value"] is None:
        return NOT_TESTABLE, UNTESTED
    p_value = found["p_value"] if found["q_value"] is None else found["q_value"]
    said = f"Where classes are permuted it is as large with p {p_value:.2g}."
    low, high = (0.0, 0.0) if null is None else (null["ci_low"], null["ci_high"])
    if p_value <= LEVEL and found["value"] > high:
        return SUPPORTED, said
    if found["p_value"] >= 1 - LEVEL / 2 and found["value"] < low:
        return CONTRADICTED, said
    return CHANCE, said


def _few_right(numbers: Numbers) -> Verdict:
    """Whether the share of right answers could be as small as published."""
    found = numbers.found
    said = f"{found['value']:.1%} of {found['n']} answers are right."
    if found["ci_low"] > RIGHT_AT_MOST:
        return CONTRADICTED, said
    return (SUPPORTED if found["ci_high"] < EVEN else CHANCE), said


def _significant(numbers: Numbers) -> Verdict:
    """Count of significant tests of one sign beside the share that chance gives."""
    found, null, opposite = numbers.found, numbers.null, numbers.further[0]
    side = beyond(found, null)
    if side is None:
        return NOT_TESTABLE, UNTESTED
    said = f"{found['value']:.0%} of {found['n']} tests have q-values of at most {LEVEL} in this direction"
    if side <= 0:
        if opposite is not None and beyond(opposite, null) == 1:
            return CONTRADICTED, f"{said}, and {opposite['value']:.0%} in the other."
        return CHANCE, f"{said}; chance gives up to {LEVEL:.0%}."
    return SUPPORTED, f"{said}; chance gives up to {LEVEL:.0%}."


def _in_every_test(numbers: Numbers) -> Verdict:
    """The same of a sentence that says so of every test, and beside other features of the SAE."""
    verdict, said = _significant(numbers)
    if verdict != SUPPORTED:
        return verdict, said
    if numbers.found["ci_high"] < EVEN:
        return CONTRADICTED, f"{said.removesuffix('.')}, but they are fewer than half."
    if numbers.found["ci_low"] <= EVEN:
        return CHANCE, f"{said.removesuffix('.')}, but the interval holds one half."
    others = numbers.further[1]
    if others is None or beyond(others, numbers.null) != 1:
        return (
            CHANCE,
            f"{said.removesuffix('.')}, but other features of the SAE go with it as closely.",
        )
    return SUPPORTED, said


def _flips(numbers: Numbers) -> Verdict:
    """Mean rate, and the largest upper end of all cells, beside the largest published rate."""
    found, (largest,) = numbers.found, numbers.further
    if found["ci_low"] is not None and found["ci_low"] > FLIPS_AT_MOST:
        return CONTRADICTED, f"Even the mean over cells is above {FLIPS_AT_MOST:.1%}."
    if largest is None or largest["value"] is None:
        return NOT_TESTABLE, UNTESTED
    upper = largest["value"] if largest["ci_high"] is None else largest["ci_high"]
    said = f"The largest upper end of all cells' intervals is {upper:.1%}."
    return (SUPPORTED if upper <= FLIPS_AT_MOST else CHANCE), said


def _less_causal(numbers: Numbers) -> Verdict:
    """An interval below 0, and a test that permutes topics: few topics make a bootstrap too narrow."""
    found = numbers.found
    side = beyond(found, numbers.null)
    if side is None or found["p_value"] is None:
        return NOT_TESTABLE, UNTESTED
    said = f"where topics are permuted it is as far from 0 with p {found['p_value']:.2g}."
    if not side:
        return CHANCE, f"The interval holds 0; {said}"
    above = f"The whole interval is {'below' if side < 0 else 'above'} 0; {said}"
    if found["p_value"] > LEVEL:
        return CHANCE, above
    return (SUPPORTED if side < 0 else CONTRADICTED), above


_RULES: dict[str, Rule] = {
    "rule_finds_categories": _rule,
    "rule_finds_forms": _rule,
    "depth": _depth,
    "specialists_of_forms": _of_forms,
    "forms_share_few": _few_shared,
    "topics_cluster": _permuted,
    "words_cluster": _permuted,
    "trigrams_cluster": _permuted,
    "no_right_answers": _few_right,
    "cloze": _in_every_test,
    "ablations": _significant,
    "flips": _flips,
    "selective_is_not_causal": _less_causal,
}
_STUDY = Study("specialists", PUBLISHED, _NEVER, _RULES, OTHER_WEIGHTS, OTHER_SAES)
