"""Judge every published sentence of a study by a model's summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from saeflow.artifacts.claims import CLAIMS
from saeflow.studies.claims.sentences import Published, Row, Wanted
from saeflow.studies.claims.verdicts import (
    NEVER_MEASURED,
    NOT_TESTABLE,
    UNMEASURED,
    Numbers,
    Rule,
    Verdict,
    beyond_null,
)

OTHER_SIZES = (
    "The claim compares models of different sizes, for which this project asks for four of them at "
    "least; what this run shows stands beside it without a verdict."
)
_FIXED = {"ci_low": None, "ci_high": None, "interval": "none"}
Find = Callable[[Wanted], Row | None]


@dataclass(frozen=True)
class Study:
    """What is judged, and how.

    Attributes
    ----------
    name : str
        Of the study.
    sentences : tuple of Published
        What it published.
    never : mapping of str to str
        By claim of the scope ``none``: why it counts as never measured.
    rules : mapping of str to callable
        By claim: its own rule, in place of an interval beside its control's.
    other_weights, other_saes : str
        What is said of claims about weights, or SAEs, that a run does not read.
    """

    name: str
    sentences: tuple[Published, ...]
    never: Mapping[str, str]
    rules: Mapping[str, Rule]
    other_weights: str
    other_saes: str


def judge(study: Study, find: Find, *, own_weights: bool | str) -> list[dict[str, Any]]:
    """Judge all sentences of a study.

    Parameters
    ----------
    study : Study
        Sentences and rules.
    find : callable
        Gives the row that a sentence wants of one model's summary, or None.
    own_weights : bool or str
        Whether the model is the study's own, or which of them it is, so that claims about its weights
        are decided.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.claims.CLAIMS`.
    """
    return [
        _claim(study, find, each, bool(own_weights) and each.about in ("", own_weights))
        for each in study.sentences
    ]


def claims_table(claims: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return claims as a table with the columns of `CLAIMS`."""
    return pa.Table.from_pylist([dict(each) for each in claims], CLAIMS.schema())


def _claim(study: Study, find: Find, published: Published, own_weights: bool) -> dict[str, Any]:
    found, procedure, null, *further = (
        None if wanted is None else find(wanted)
        for wanted in (
            published.found,
            published.by_procedure,
            published.null,
            *published.further,
        )
    )
    if published.fixed is not None:
        null = {"value": published.fixed, **_FIXED}
    others = published.saes or published.sizes or not own_weights
    analogue = published.scope == "model" and others
    value = None if analogue or found is None else found["value"]
    numbers = None
    if found is not None and found["value"] is not None:
        numbers = Numbers(found, procedure, null, tuple(further))
    verdict, rule = _verdict(study, published, own_weights, numbers)
    shown = found or _FIXED
    wanted = published.found or published.by_procedure
    return {
        "study": study.name,
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
    study: Study, published: Published, own_weights: bool, numbers: Numbers | None
) -> Verdict:
    if published.scope == "none":
        return NEVER_MEASURED, study.never[published.claim]
    if published.found is None and published.by_procedure is None:
        return NOT_TESTABLE, UNMEASURED
    if published.sizes:
        return NOT_TESTABLE, OTHER_SIZES
    if published.scope == "model" and not own_weights:
        return NOT_TESTABLE, study.other_weights
    if published.saes:
        return NOT_TESTABLE, study.other_saes
    if numbers is None:
        return NOT_TESTABLE, UNMEASURED
    rule = study.rules.get(published.claim)
    return rule(numbers) if rule else beyond_null(numbers, published)
