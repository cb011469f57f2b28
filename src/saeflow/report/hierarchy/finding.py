"""First paragraph of the study's pages: what holds against its chance level, from the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from saeflow.report.finding import NOT_SUPPORTED, SUPPORTED, Finding
from saeflow.report.hierarchy.causal import METRIC, SetVerdict
from saeflow.report.hierarchy.cells import nats, p_text
from saeflow.report.hierarchy.numbers import (
    PERMUTED,
    PUBLISHED,
    RANDOM_PROBLEMS,
    TOP,
    HierarchyRun,
    Row,
)
from saeflow.report.tables import number_text

REPORTED_ONLY = "Published rules"
RARE = ("1", "2", "3", "4")
"""Bins of features that fire on so few problems that the rule says little."""
FOLLOWED = {
    "operators": "an operator",
    "operands": "an operand",
    "sequence": "a sequence of operators",
    "step_value": "a value of a step",
}
"""What features are tested against, in words."""
LEVELS = {
    "operators": "the set of operators",
    "sequence": "their sequence",
    "value": "a value",
    "operator_value": "operator and value together",
}
"""What gives a feature its level, in words."""
NO_LEVEL = "none"
TYPE = "n_type."


class Subject(NamedTuple):
    """What a paragraph is about.

    Attributes
    ----------
    name : str
        The model, and what else tells the run apart.
    run : HierarchyRun
        Its numbers.
    verdict : SetVerdict or None
        On the set of the chosen site; None where nothing was ablated.
    fresh : bool
        Whether the weights are untrained.
    control : HierarchyRun or None
        The run of the untrained control, to be told beside.
    """

    name: str
    run: HierarchyRun
    verdict: SetVerdict | None = None
    fresh: bool = False
    control: HierarchyRun | None = None


def hierarchy_finding(subjects: Sequence[Subject]) -> dict[str, Any] | None:
    """Say of each run what the published rules find, and what holds against its chance level.

    Parameters
    ----------
    subjects : sequence of Subject
        Runs, in the order of the sentences.

    Returns
    -------
    dict or None
        ``lead``: the first sentence; ``parts``: a ``word`` each with its ``sentences``. None where
        there is nothing to say.
    """
    said = [each for subject in subjects for each in _of_one(subject)]
    if not said:
        return None
    words = (SUPPORTED, NOT_SUPPORTED, REPORTED_ONLY)
    parts = [
        {"word": word, "sentences": [each.text for each in said if each.word == word]}
        for word in words
    ]
    lead = _lead(*(len(part["sentences"]) for part in parts[:2]))
    return {"lead": lead, "parts": [part for part in parts if part["sentences"]]}


def _lead(supported: int, not_supported: int) -> str:
    if not supported + not_supported:
        return "Only the published rules ran, which test nothing."
    if not not_supported:
        return "Every statement that was tested holds against its chance level."
    if not supported:
        return "No statement that was tested holds against its chance level."
    return "Some of what was tested holds against its chance level, and some does not."


def _of_one(subject: Subject) -> Iterator[Finding]:
    yield from _exact(subject)
    yield from _levels(subject)
    yield from _ablation(subject)
    yield from _published(subject)


def _published(subject: Subject) -> Iterator[Finding]:
    run = subject.run
    found = run.number("n_specialised", mode=PUBLISHED)
    chance = run.number("n_specialised", RANDOM_PROBLEMS, mode=PUBLISHED)
    if found is None or chance is None:
        return
    text = (
        f"Of {found['n']:,} features of {subject.name} that fire, the published rule calls "
        f"{_count(found)} specialised, {_relation(found, chance)} the {_count(chance)} that as many "
        "random problems give."
    )
    rare = [run.number("n_specialised", group=group, mode=PUBLISHED) for group in RARE]
    if found["value"]:
        fires = sum(row["value"] for row in rare if row is not None)
        text += f" {number_text(fires, 'count')} of them fire on {RARE[-1]} problems or fewer."
    untied = run.number("n_specialised_untied", mode=PUBLISHED)
    by_chance = run.number("n_specialised_untied", RANDOM_PROBLEMS, mode=PUBLISHED)
    if untied is not None and by_chance is not None:
        text += f" With ties counted these are {_count(untied)}, by chance {_count(by_chance)}."
    yield Finding(REPORTED_ONLY, text + _types(run))


def _relation(found: Row, chance: Row) -> str:
    if found["value"] == chance["value"]:
        return "just"
    return "more than" if found["value"] > chance["value"] else "no more than"


def _types(run: HierarchyRun) -> str:
    rows = {
        key[2].removeprefix(TYPE): row
        for key, row in run.numbers.items()
        if key[:2] == (PUBLISHED, TOP) and key[2].startswith(TYPE) and key[4:] == (None, None)
    }
    most = max(rows, key=lambda name: rows[name]["value"], default=None)
    if most is None or not rows[most]["n"]:
        return ""
    row = rows[most]
    return f" Of the {row['n']:,} most frequent features it types {_count(row)} “{most}”."


def _exact(subject: Subject) -> Iterator[Finding]:
    above: list[str] = []
    others: list[str] = []
    size = subject.run.number("n_features")
    for target, words in FOLLOWED.items():
        metric = f"n_specialists.{target}"
        found = subject.run.number(metric)
        if found is None:
            continue
        text = f"{_count(found)} follow {words} ({_null(subject, metric)})"
        excess = subject.run.number(f"n_specialists_excess.{target}")
        low = None if excess is None else excess["ci_low"]
        beaten = low is not None and low > 0 and _above_control(subject, metric)
        (above if beaten else others).append(text)
    of = "" if size is None else f" of {_count(size)} features that fire"
    start = f"By exact tests on problems that no SAE of {subject.name} saw,{of}"
    if above:
        yield Finding(SUPPORTED, f"{start} {_joined(above)}, {_more(subject)}.")
    if others:
        yield Finding(NOT_SUPPORTED, f"{start} {_joined(others)}, {_no_more(subject)}.")


def _levels(subject: Subject) -> Iterator[Finding]:
    tested = subject.run.number("n_tested")
    if tested is None:
        return
    above: list[str] = []
    others: list[str] = []
    for name, words in LEVELS.items():
        metric = f"n_level.{name}"
        found, null = subject.run.number(metric), subject.run.number(metric, PERMUTED)
        # A level that nothing has, and nothing by chance, was not found wanting.
        if found is not None and null is not None and (found["value"] or null["value"]):
            text = f"{_count(found)} tell {words} best ({_null(subject, metric)})"
            beaten = found["value"] > (
                null["value"] if null["ci_high"] is None else null["ci_high"]
            )
            (above if beaten and _above_control(subject, metric) else others).append(text)
    start = f"Of {_count(tested)} features of {subject.name} that fire often enough on balanced problems,"
    if above:
        yield Finding(SUPPORTED, f"{start} {_joined(above)}, {_more(subject)}.")
    if others:
        yield Finding(NOT_SUPPORTED, f"{start} {_joined(others)}, {_no_more(subject)}.")


def _ablation(subject: Subject) -> Iterator[Finding]:
    where, verdict = subject.run.chosen_set(), subject.verdict
    if where is None or verdict is None:
        return
    effect = subject.run.of_chosen_set(METRIC)
    p_value = subject.run.of_chosen_set(f"{METRIC}.p_value")
    if effect is None or p_value is None:
        return
    low, high = effect["ci_low"], effect["ci_high"]
    interval = "" if None in (low, high) else f"95 % interval {nats(low)} to {nats(high)}, "
    adjusted = (
        f", {p_text(verdict.adjusted)} after Holm over {verdict.family} trained banks"
        if verdict.family > 1 and not subject.fresh
        else ""
    )
    outcome = "which holds" if verdict.holds else "which does not hold"
    beside = _control_effect(subject.control)
    text = (
        f"At layer {where.layer}, step s{where.step} of {subject.name}, the site chosen on other "
        f"problems, ablating its set changes the log-probability of the right answer on the reported "
        f"half by {nats(effect['value'])} nats beside matched random features ({interval}one-sided "
        f"p {_equals(p_value['value'])}{adjusted}), {outcome} on these {effect['n']:,} problems.{beside}"
    )
    yield Finding(SUPPORTED if verdict.holds else NOT_SUPPORTED, text)


def _control_effect(control: HierarchyRun | None) -> str:
    effect = None if control is None else control.of_chosen_set(METRIC)
    return "" if effect is None else f" Untrained: {nats(effect['value'])} nats."


def _null(subject: Subject, metric: str) -> str:
    """What permutations give, and the untrained control."""
    null = subject.run.number(metric, PERMUTED)
    text = "permuted –" if null is None else f"permuted {_count(null)}"
    if null is not None and null["ci_high"] is not None:
        text += f", at most {number_text(null['ci_high'], 'count')}"
    beside = None if subject.control is None else subject.control.number(metric)
    return text if beside is None else f"{text}; untrained {_count(beside)}"


def _above_control(subject: Subject, metric: str) -> bool:
    """Whether the share is above that of the untrained control; where there is none, it is."""
    if subject.control is None:
        return True
    for name in (metric.replace("n_", "share_", 1), metric):
        own, other = subject.run.number(name), subject.control.number(name)
        if own is not None and other is not None:
            return bool(own["value"] > other["value"])
    return True


def _more(subject: Subject) -> str:
    if subject.control is None:
        return "beyond permuted problems"
    return "beyond permuted problems and a larger share than in the untrained model"


def _no_more(subject: Subject) -> str:
    if subject.control is None:
        return "not beyond permuted problems"
    return "not beyond both permuted problems and the untrained model"


def _equals(p_value: float) -> str:
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def _count(row: Row) -> str:
    return number_text(row["value"], "count", mean=True)


def _joined(texts: Sequence[str]) -> str:
    if len(texts) < 2:
        return "".join(texts)
    return ", ".join(texts[:-1]) + " and " + texts[-1]
