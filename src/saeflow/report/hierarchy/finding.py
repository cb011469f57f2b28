"""First paragraph of the study's pages: what holds against its chance level, from the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from saeflow.report.cells import nats, p_text
from saeflow.report.finding import NOT_SUPPORTED, SUPPORTED, Finding, control_phrase, joined
from saeflow.report.hierarchy.causal import METRIC
from saeflow.report.hierarchy.numbers import (
    NONE,
    PERMUTED,
    PUBLISHED,
    RANDOM_PROBLEMS,
    TOP,
    HierarchyRun,
    Row,
)
from saeflow.report.hierarchy.verdicts import CountVerdict, SetVerdict
from saeflow.report.tables import number_text, points
from saeflow.studies.compare.hierarchy import UNTRAINED

REPORTED_ONLY = "Published rules"
WITHOUT_TRAINING = "Found without training"
"""In place of "supported" where the weights are untrained: nothing is learned that could be."""
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
    "first_operator": "the first operator",
    "sequence": "the sequence of operators",
    "value": "a value",
    "operator_value": "operator and value together",
}
"""What gives a feature its level, in words."""
NO_LEVEL = "none"
NOTHING_TESTED = "Only the published rules ran, which test nothing."
LARGER = "by more than permutations and sites move either, a larger share than in"
TYPE = "n_type."
EVERYWHERE = (NONE, None, None)
"""Control, layer and step of what is counted over all sites."""


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
        The run of the untrained control, to be told beside; ``control_name``: its model.
    counts : mapping of str to CountVerdict
        On counts of features, by their metric.
    dictionaries : mapping of str to HierarchyRun
        Runs of control dictionaries, by what they control for.
    """

    name: str
    run: HierarchyRun
    verdict: SetVerdict | None = None
    fresh: bool = False
    control: HierarchyRun | None = None
    control_name: str = ""
    counts: Mapping[str, CountVerdict] = MappingProxyType({})
    dictionaries: Mapping[str, HierarchyRun] = MappingProxyType({})

    @property
    def controls(self) -> dict[str, HierarchyRun]:
        """All runs that stand beside it, by what they control for; the untrained model first."""
        untrained = {} if self.control is None else {UNTRAINED: self.control}
        return {**untrained, **self.dictionaries}


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
    words = (SUPPORTED, WITHOUT_TRAINING, NOT_SUPPORTED, REPORTED_ONLY)
    parts = [
        {"word": word, "sentences": [each.text for each in said if each.word == word]}
        for word in words
    ]
    supported, untrained, not_supported = (len(part["sentences"]) for part in parts[:3])
    if all(subject.fresh for subject in subjects):
        lead = _untrained_lead(untrained, not_supported)
    else:
        lead = _lead(supported, not_supported)
    return {"lead": lead, "parts": [part for part in parts if part["sentences"]]}


def _lead(supported: int, not_supported: int) -> str:
    if not supported + not_supported:
        return NOTHING_TESTED
    if not not_supported:
        return "Every statement that was tested holds against its chance level."
    if not supported:
        return "No statement that was tested holds against its chance level."
    return "Some of what was tested holds against its chance level, and some does not."


def _untrained_lead(found: int, not_found: int) -> str:
    if not found + not_found:
        return NOTHING_TESTED
    if not found:
        return "With untrained weights nothing that was tested exceeds its chance level."
    return "Untrained weights, too, exceed chance: what follows was found with nothing learned."


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
        f"{_count(found)} specialised, {_relation(found, chance)}."
    )
    rare = [run.number("n_specialised", group=group, mode=PUBLISHED) for group in RARE]
    if found["value"]:
        fires = sum(row["value"] for row in rare if row is not None)
        text += f" {number_text(fires, 'count')} of them fire on {RARE[-1]} problems or fewer."
    untied = run.number("n_specialised_untied", mode=PUBLISHED)
    by_chance = run.number("n_specialised_untied", RANDOM_PROBLEMS, mode=PUBLISHED)
    if untied is not None and by_chance is not None:
        chance_text = f"{_count(by_chance)}{_range(by_chance)}"
        text += f" With ties counted these are {_count(untied)}, by chance {chance_text}."
    yield Finding(REPORTED_ONLY, text + _types(run))


def _relation(found: Row, chance: Row) -> str:
    """Where a count lies beside the range that random problems give."""
    given = f"the {_count(chance)}{_range(chance)} that as many random problems give"
    low, high = chance["ci_low"], chance["ci_high"]
    if None in (low, high):
        return f"beside {given}"
    if found["value"] > high:
        return f"more than {given}"
    return f"fewer than {given}" if found["value"] < low else f"within the range of {given}"


def _range(chance: Row) -> str:
    ends = (chance["ci_low"], chance["ci_high"])
    return (
        ""
        if None in ends
        else " (95 % range {} to {} if independent)".format(*(_number(end) for end in ends))
    )


def _types(run: HierarchyRun) -> str:
    rows = {
        key[2].removeprefix(TYPE): row
        for key, row in run.numbers.items()
        if key[:2] == (PUBLISHED, TOP) and key[2].startswith(TYPE) and key[3:] == EVERYWHERE
    }
    most = max(rows, key=lambda name: rows[name]["value"], default=None)
    if most is None or not rows[most]["n"]:
        return ""
    row = rows[most]
    chance = run.number(f"{TYPE}{most}", RANDOM_PROBLEMS, group=TOP, mode=PUBLISHED)
    beside = "" if chance is None else f", of as many random problems {_count(chance)}"
    return f" Of the {row['n']:,} most frequent features it types {_count(row)} “{most}”{beside}."


def _exact(subject: Subject) -> Iterator[Finding]:
    size = subject.run.number("n_features")
    of = "" if size is None else f" of {_count(size)} features that fire"
    start = f"By exact tests on problems that no SAE of {subject.name} saw,{of}"
    counted = {f"n_specialists.{name}": f"follow {words}" for name, words in FOLLOWED.items()}
    yield from _counts(subject, start, counted)


def _levels(subject: Subject) -> Iterator[Finding]:
    tested = subject.run.number("n_tested")
    if tested is None:
        return
    start = f"Of {_count(tested)} features of {subject.name} that fire often enough on balanced problems,"
    counted = {f"n_level.{name}": f"tell {words} best" for name, words in LEVELS.items()}
    yield from _counts(subject, start, counted)


def _counts(subject: Subject, start: str, counted: Mapping[str, str]) -> Iterator[Finding]:
    """Counts of features, those together that hold, or fail, for the same reason."""
    told: dict[tuple[bool, bool, str], list[str]] = {}
    for metric, words in counted.items():
        found, null = subject.run.number(metric), subject.run.number(metric, PERMUTED)
        verdict = subject.counts.get(metric)
        if found is None or null is None or verdict is None:
            continue
        # A level that nothing has, and nothing by chance, was not found wanting.
        if metric.startswith("n_level") and not found["value"] + null["value"]:
            continue
        verb, _, rest = words.partition(" ")
        said = f"{verb}s {rest}" if found["value"] == 1 else words
        text = f"{_count(found)} {said} ({_beside(null, verdict)})"
        told.setdefault((not verdict.holds, not verdict.permuted, _why(verdict)), []).append(text)
    supported = WITHOUT_TRAINING if subject.fresh else SUPPORTED
    # What holds comes first, and last what chance gives.
    for (fails, _, why), texts in sorted(told.items(), key=lambda each: each[0][:2]):
        yield Finding(NOT_SUPPORTED if fails else supported, f"{start} {joined(texts)}, {why}.")


def _why(verdict: CountVerdict) -> str:
    """What a count is beyond, and what not."""
    if not verdict.permuted:
        return "not beyond every permutation"
    if verdict.unbeaten:
        return f"beyond every permutation, but not, {LARGER} {_controls(verdict.unbeaten)}"
    if verdict.held:
        beaten = [each.control for each in verdict.held]
        return f"beyond every permutation, and, {LARGER} {_controls(beaten)}"
    return "beyond every permutation"


def _controls(names: Sequence[str]) -> str:
    return joined([control_phrase(name) for name in names])


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
    word, outcome = _outcome(subject, verdict)
    text = (
        f"At layer {where.layer}, step s{where.step} of {subject.name}, a site chosen on other "
        f"problems, ablating a set picked on further ones changes the log-probability of the right "
        f"answer on {effect['n']:,} reported problems by {nats(effect['value'])} nats beside matched "
        f"random features ({interval}one-sided p {_equals(p_value['value'])}{adjusted}), {outcome}."
        f"{_control_effect(subject.control, verdict)}"
    )
    yield Finding(word, text)


def _outcome(subject: Subject, verdict: SetVerdict) -> tuple[str, str]:
    if not verdict.holds:
        return NOT_SUPPORTED, "which does not hold"
    if subject.fresh:
        return WITHOUT_TRAINING, "which holds against matched features, with nothing learned"
    if verdict.beyond is None:
        return SUPPORTED, "which holds against matched features"
    if verdict.beyond:
        return SUPPORTED, "which holds, against matched features and beyond the untrained model"
    return (
        NOT_SUPPORTED,
        "which holds against matched features, but the untrained model shows as much",
    )


def _control_effect(control: HierarchyRun | None, verdict: SetVerdict) -> str:
    effect = None if control is None else control.of_chosen_set(METRIC)
    if effect is None:
        return ""
    text = f" Untrained: {nats(effect['value'])} nats"
    difference = verdict.difference
    if difference is not None and None not in (difference["ci_low"], difference["ci_high"]):
        value, low, high = (nats(difference[key]) for key in ("value", "ci_low", "ci_high"))
        text += f"; trained minus untrained {value}, 95 % interval {low} to {high}"
    return f"{text}."


def _beside(null: Row, verdict: CountVerdict) -> str:
    """What permutations give, and each control, with how many points shares beyond chance differ."""
    text = f"permuted {_count(null)}"
    if null["ci_high"] is not None:
        text += f", at most {number_text(null['ci_high'], 'count')}"
    for held in verdict.held:
        row = held.difference if held.by_site is None else held.by_site
        value, low, high = (points(row[key]) for key in ("value", "ci_low", "ci_high"))
        text += (
            f"; {held.control.replace('_', ' ')} {_count(held.counted)}: {value} [{low}, {high}]"
        )
    return text


def _equals(p_value: float) -> str:
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def _count(row: Row) -> str:
    return _number(row["value"])


def _number(value: float) -> str:
    return number_text(value, "count", mean=True)
