"""The report's first paragraph: what this run supports and what it does not, from its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from saeflow.report.controls import (
    DISCOVERED,
    FREQUENCY,
    INTERPRETABLE,
    MONOSEMANTIC,
    OBSERVED,
    PERMUTED,
    Against,
    Beside,
    Measure,
    Row,
    titles_of,
)
from saeflow.report.tables import number_text

NO_BREAK = "\N{NO-BREAK SPACE}"
SUPPORTED, NOT_SUPPORTED, NOT_DEFINED = "Supported", "Not supported", "Not defined"
_CLAUSES = (
    (INTERPRETABLE, "{value} of the features of {model} are interpretable by the published criteria"),
    (MONOSEMANTIC, "{value} of the interpretable features of {model} are monosemantic by the published rule"),
    (DISCOVERED, "{value} of the features of {model} follow a token on unseen problems, by exact tests"),
)  # fmt: skip
_PHRASES = {
    PERMUTED: "permuted tokens",
    FREQUENCY: "features that fire at random, just as often",
    "untrained": "the untrained model",
    "frozen_decoder": "a frozen decoder",
    "soft_frozen_decoder": "a softly frozen decoder",
    "frozen_encoder": "a frozen encoder",
    "random_rotation": "a random rotation",
    "pca": "PCA",
    "raw_neurons": "raw neurons",
}


class Finding(NamedTuple):
    """What the paragraph says of one rate.

    Attributes
    ----------
    word : str
        Supported, Not supported or Not defined.
    text : str
        Whole sentences, with the numbers.
    """

    word: str
    text: str


def finding(all_of_them: Sequence[Beside]) -> dict[str, Any] | None:
    """Say of each rate of each trained model whether it exceeds all of its controls.

    Parameters
    ----------
    all_of_them : sequence of Beside
        As `saeflow.report.controls.read_calibration` gives them.

    Returns
    -------
    dict or None
        ``lead``: the first sentence; ``parts``: a ``word`` each with its ``sentences``. None where
        there is nothing to say.
    """
    found = [
        said
        for beside, name in zip(all_of_them, titles_of(all_of_them), strict=True)
        for said in _of_one(beside, name)
    ]
    words = (SUPPORTED, NOT_SUPPORTED, NOT_DEFINED)
    parts = [
        {"word": word, "sentences": [each.text for each in found if each.word == word]}
        for word in words
    ]
    if not found:
        return None
    lead = _lead(*(len(part["sentences"]) for part in parts[:2]))
    return {"lead": lead, "parts": [part for part in parts if part["sentences"]]}


def _lead(supported: int, not_supported: int) -> str:
    total = supported + not_supported
    if not total:
        return "No rate of this run is defined."
    if not not_supported:
        return "Every control is beaten."
    if not supported:
        return "Not every control is beaten: each rate below fails against one or more."
    fails = "fails" if not_supported == 1 else "fail"
    return f"Not every control is beaten: {not_supported} of {total} rates {fails} against one or more."


def _of_one(beside: Beside, name: str) -> Iterator[Finding]:
    for measure, clause in _CLAUSES:
        observed = beside.row(measure, OBSERVED)
        comparisons = list(beside.against(measure))
        if observed is None:
            if any(key[:2] == measure[:2] for key in beside.rows):
                yield Finding(NOT_DEFINED, f"The {measure.title.lower()} rate of {name}.")
            continue
        if not comparisons:
            continue
        said = clause.format(value=rate_text(observed), model=name)
        yield _sentences(said, comparisons, _undefined(beside, measure))


def _sentences(said: str, comparisons: Sequence[Against], undefined: str) -> Finding:
    beaten = [each for each in comparisons if each.beaten]
    others = [each for each in comparisons if not each.beaten]
    word = NOT_SUPPORTED if others else SUPPORTED
    if not others:
        every = "its one control" if len(beaten) == 1 else "every control"
        text = f"{said}, more than {every}: {_listed(beaten)}."
    elif not beaten:
        beats = "does not beat its one control" if len(others) == 1 else "beats no control"
        text = f"{said}, which {beats}: {_listed(others)}."
    else:
        text = f"{said}. Not beaten: {_listed(others)}. Beaten: {_listed(beaten)}."
    return Finding(word, text + undefined)


def _undefined(beside: Beside, measure: Measure) -> str:
    """Name the controls that have no such rate: they are neither beaten nor not."""
    missing = [
        control_phrase(name) for name in beside.everywhere() if not beside.row(measure, name)
    ]
    for layer, names in beside.local().items():
        missing += [
            f"{control_phrase(name)} in layer {layer}"
            for name in names
            if beside.compared(measure, name, layer) is None
        ]
    return f" Not defined for {joined(missing)}." if missing else ""


def _listed(comparisons: Iterable[Against]) -> str:
    """Controls with their rates; those of one layer after the model's own rate there."""
    parts = []
    for layer, group in groupby(comparisons, key=lambda each: each.layer):
        same = list(group)
        each_rate = joined(
            [f"{control_phrase(each.control)} ({rate_text(each.value)})" for each in same]
        )
        if layer is not None:
            each_rate = f"in layer {layer}, where it is {rate_text(same[0].observed)}, {each_rate}"
        parts.append(each_rate)
    return "; ".join(parts)


def control_phrase(control: str) -> str:
    """Name a control in a sentence."""
    return _PHRASES.get(control, control)


def rate_text(row: Row) -> str:
    """Write a rate in per cent, never broken from its number."""
    return number_text(row["value"], "rate").replace(" ", NO_BREAK)


def joined(texts: Sequence[str]) -> str:
    """List texts in a sentence."""
    if len(texts) < 2:
        return "".join(texts)
    return ", ".join(texts[:-1]) + " and " + texts[-1]
