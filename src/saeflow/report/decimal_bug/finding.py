"""First paragraph of the study's pages: what is found and what its controls say, from the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from saeflow.report.cells import p_text
from saeflow.report.decimal_bug.model import DecimalModel, bank_titles
from saeflow.report.decimal_bug.numbers import PARTS, PUBLISHED, TO_BUGGY, Bank, Numbers, Row
from saeflow.report.decimal_bug.overlap import LAST
from saeflow.report.decimal_bug.patching import DONORS, FORMAT, baseline, tested_against
from saeflow.report.decimal_bug.subsets import PARITY
from saeflow.report.finding import NOT_SUPPORTED, SUPPORTED, Finding, joined, rate_text
from saeflow.report.shares import EVEN
from saeflow.report.tables import percent, points
from saeflow.studies.decimal_bug.names import OTHER_PLAIN, UNRELATED

WITHOUT_TRAINING = "Untrained"
PUBLISHED_RULES = "Published lists"
BUG, NO_BUG = "Bug", "No bug"
UNTESTABLE = "Not testable"
WORDS = (BUG, NO_BUG, SUPPORTED, NOT_SUPPORTED, UNTESTABLE, WITHOUT_TRAINING, PUBLISHED_RULES)
LEVEL = 0.05
"""Largest p-value of what is called supported."""
MEASURE = "jaccard_below_wording"
_UNRELATED = {DONORS[donor] for donor in UNRELATED}


def decimal_finding(models: Sequence[DecimalModel]) -> dict[str, Any] | None:
    """Say of each model whether it has the bug, what carries it, and what controls say.

    Parameters
    ----------
    models : sequence of DecimalModel
        In the order of the sentences.

    Returns
    -------
    dict or None
        ``lead``: the first sentence; ``parts``: a ``word`` each with its ``sentences``. None where
        nothing was asked.
    """
    asked = [model for model in models if model.numbers.bug() is not None]
    if not asked:
        return None
    beside = {model.control_name for model in asked}
    said = [each for model in asked for each in _of_one(model, told=model.name in beside)]
    parts = [
        {"word": word, "sentences": [each.text for each in said if each.word == word]}
        for word in WORDS
    ]
    return {"lead": _lead(asked), "parts": [part for part in parts if part["sentences"]]}


def interpretation(numbers: Numbers) -> str | None:
    """What another pair's plain prompt tells of the chosen site; None where nothing does.

    A signal of the format makes the answer right whatever pair it comes from; a copied answer names
    the other pair's number. Other prone pairs' answers look like the prompt's own; with pairs whose
    answers do not, only the format is left to make a difference.
    """
    right, wrote = (
        numbers.at_site(metric, "other_pair_plain") for metric in ("right", "wrote_donor")
    )
    if right is None or wrote is None or None in (right["ci_low"], wrote["ci_low"]):
        return None
    said = (
        f"With activations from another pair’s plain prompt {rate_text(right)} of the answers are "
        f"right, and {rate_text(wrote)} name a number of that other pair: "
    )
    if wrote["ci_low"] > EVEN:
        return said + "what is carried over is the donor’s answer, not a signal of the format."
    if wrote["ci_high"] >= EVEN:
        return said + "the intervals leave open whether the format or an answer is carried over."
    form = numbers.at_site(FORMAT)
    plain, buggy = (numbers.at_site("right", f"unlike_pair_{each}") for each in ("plain", "buggy"))
    if form is not None and plain is not None and buggy is not None:
        shown = "the format makes" if _holds(form) else "it is not shown that the format makes"
        return (
            f"{said}what is carried over is no copied answer. From pairs whose answer looks other, "
            f"having more digits, {rate_text(plain)} are right if these are asked plainly and "
            f"{rate_text(buggy)} if in the Q/A format: {shown} a difference by itself, "
            f"{_difference(form)}."
        )
    if right["ci_low"] > EVEN:
        return said + "what is carried over is a signal of the format, not a copied answer."
    if right["ci_high"] < EVEN:
        return said + "neither is carried over; only the same pair’s prompt can help."
    return (
        said
        + "no answer is copied, and the intervals leave open whether the format is carried over."
    )


def carries(numbers: Numbers) -> bool | None:
    """Whether the chosen site makes more answers right than each unrelated donor, by its test.

    A site that may copy the donor's answer may do so, too, and carries no format; nor does one that may
    make answers of pairs wrong that no bug changes. None where not every unrelated donor was tried.
    """
    tested = _tested(numbers)
    wrote = numbers.at_site("wrote_donor", "other_pair_plain")
    if wrote is None or set(tested) != _UNRELATED:
        return None
    copies = wrote["ci_high"] is None or wrote["ci_high"] >= EVEN
    kept = numbers.spared()
    harms = kept is not None and kept["ci_low"] is not None and kept["ci_low"] <= EVEN
    return all(map(_holds, tested.values())) and not copies and not harms


def _tested(numbers: Numbers) -> dict[str, Row]:
    """Differences of the chosen site from unrelated donors, by what these are called."""
    found = {tested_against(row["metric"]): row for row in numbers.of_site()}
    return {title: row for title, row in found.items() if title is not None}


def _lead(models: Sequence[DecimalModel]) -> str:
    trained = [model for model in models if not model.weights["fresh"]]
    which = "trained models" if trained else "untrained models"
    told = trained or list(models)
    buggy = [model for model in told if model.found]
    if len(told) == 1:
        lead = f"{told[0].name} {'has a' if buggy else 'shows no'} bug that depends on the format"
    else:
        names = f": {joined([model.name for model in buggy])}" if buggy else ""
        has = "has" if len(buggy) == 1 else "have"
        lead = f"{len(buggy)} of {len(told)} {which} {has} a bug that depends on the format{names}"
    carried = [
        site.title + f" of {model.name}" * (len(told) > 1)
        for model in buggy
        if (site := model.numbers.site()) is not None and carries(model.numbers)
    ]
    if carried:
        return f"{lead}. A signal of the format passes through {joined(carried)}."
    chosen = [model.numbers for model in buggy if model.numbers.site()]
    if any(carries(each) is None for each in chosen):
        return f"{lead}. What was chosen to carry it was not held against every control."
    return (
        f"{lead}. What was chosen to carry it does not beat its controls, may copy answers, or harms others."
        if chosen
        else f"{lead}."
    )


def _of_one(model: DecimalModel, *, told: bool) -> Iterator[Finding]:
    """Sentences about one model; lists of one that stands beside another are told with that."""
    yield _bug(model)
    yield from _site(model)
    yield from _parity(model)
    banks = model.numbers.banks()
    for bank, title in zip(banks, bank_titles(banks), strict=True):
        name = ", ".join(filter(None, (model.name, title)))
        if not model.weights["fresh"]:
            yield from _likeness(model, bank, name)
        if not told:
            yield from _lists(model, bank, name)


def _bug(model: DecimalModel) -> Finding:
    numbers = model.numbers
    qa, plain = (numbers.bug(metric) for metric in ("right_qa", "right_plain"))
    told = ""
    if qa is not None and plain is not None:
        told = (
            f": of {qa['n']:,} prone pairs it answers {_with_ends(qa)} right in the Q/A formats and "
            f"{_with_ends(plain)} in the plain ones; a coin gives {percent(EVEN)} %"
        )
    if model.weights["fresh"]:
        shows = "shows the bug with nothing learned" if model.found else "shows no bug, as expected"
        return Finding(WITHOUT_TRAINING, f"{model.name} {shows}{told}.")
    if model.found:
        return Finding(BUG, f"{model.name} depends on the format{told}.")
    why = "" if model.patched else " So nothing was patched."
    return Finding(NO_BUG, f"{model.name} does not depend on the format like that{told}.{why}")


def _site(model: DecimalModel) -> Iterator[Finding]:
    numbers, site = model.numbers, model.numbers.site()
    right = numbers.at_site("right")
    if site is None or right is None:
        return
    before = baseline(numbers, TO_BUGGY)
    text = (
        f"In {model.name}, {site.title}, chosen on other pairs: with its activations from the plain "
        f"prompt of the same pair, {_with_ends(right)} of {right['n']:,} Q/A prompts are answered "
        "right"
    )
    text += "" if before is None else f", where {rate_text(before)} are with their own"
    differences = [
        f"{_difference(row)} more than from {title}" for title, row in _tested(numbers).items()
    ]
    text += f"; {joined(differences)}." if differences else "."
    said = interpretation(numbers)
    text = " ".join(filter(None, (text, said, _spared(numbers))))
    held = carries(numbers)
    if held is None:
        missing = sorted(_UNRELATED - set(_tested(numbers))) or [DONORS[OTHER_PLAIN]]
        yield Finding(UNTESTABLE, f"{text} It was not held against {joined(missing)}.")
    else:
        yield Finding(SUPPORTED if held else NOT_SUPPORTED, text)


def _spared(numbers: Numbers) -> str | None:
    """What becomes of pairs that no bug changes."""
    kept, own = numbers.spared(), numbers.spared(control="identity")
    if kept is None or own is None or kept["ci_low"] is None:
        return None
    text = (
        f"Of {kept['n']:,} unlike pairs asked Q/A, {_with_ends(kept)} are right with a prone pair’s plain "
        f"activations, {rate_text(own)} with their own: "
    )
    if kept["ci_low"] > EVEN:
        return text + "so it is no mere preference for the number with fewer digits."
    if kept["ci_high"] < EVEN:
        return text + "so it makes any answer the number with fewer digits."
    return text + "this leaves open whether it only prefers the number with fewer digits."


def _parity(model: DecimalModel) -> Iterator[Finding]:
    for key, row in model.numbers.of_part("subsets").items():
        kind, _, group = key.group.partition(", ")
        if group == PARITY and key.metric == "shapley" and kind == "head":
            more = row["p_value"] is not None and row["p_value"] <= LEVEL and row["value"] > 0
            p_value = "–" if row["p_value"] is None else p_text(row["p_value"])
            text = (
                f"Even minus odd {PARTS[kind]}s of layer {key.layer} of {model.name}: "
                f"{points(row['value'])} points of right answers; against permuted labels p is {p_value}"
            )
            smallest = model.numbers.row("subsets", key.group, "smallest_p_value", layer=key.layer)
            if smallest is not None and smallest["value"] > LEVEL:
                least = p_text(smallest["value"])
                told = f"{text}, and with so few units it cannot be below {least}."
                yield Finding(UNTESTABLE, told)
            else:
                yield Finding(SUPPORTED if more else NOT_SUPPORTED, f"{text}.")


def _likeness(model: DecimalModel, bank: Bank, name: str) -> Iterator[Finding]:
    numbers = model.numbers
    rows = {
        layer: row
        for layer in numbers.layers("overlap", bank)
        if (row := numbers.row("overlap", LAST, MEASURE, layer=layer, bank=bank)) is not None
    }
    if not rows:
        return
    lower = [layer for layer, row in rows.items() if _holds(row)]
    text = (
        f"At the last token of {name}, features of Q&A and Simple are less alike (Jaccard) than those "
        f"of other wordings in {len(lower)} of {len(rows)} layers, at p ≤ {LEVEL:g} after Holm"
    )
    higher = [layer for layer, row in rows.items() if _holds(row, below=True)]
    if higher:
        text += f", and more alike in {len(higher)}"
    if model.control is None:
        text += "; no untrained model of its shape was run beside it"
        yield Finding(UNTESTABLE, f"{text}.")
        return
    more = [
        layer
        for layer in lower
        if _above(rows[layer], model.untrained("overlap", LAST, MEASURE, bank, layer))
    ]
    if lower:
        text += (
            f", and in {len(more)} of these by more than in {model.control_name}, intervals apart"
        )
        if more:
            text += f" (layer{'s' * (len(more) > 1)} {joined(list(map(str, more)))})"
    yield Finding(SUPPORTED if more else NOT_SUPPORTED, f"{text}.")


def _lists(model: DecimalModel, bank: Bank, name: str) -> Iterator[Finding]:
    numbers = model.numbers
    where: dict[str, Any] = {"mode": PUBLISHED, "bank": bank}
    mean = numbers.row("overlap", LAST, "overlap_percent", **where)
    if mean is None:
        return
    layers = numbers.layers("overlap", bank)
    fillers = [
        numbers.row("overlap", LAST, "shared_fillers", layer=each, **where) for each in layers
    ]
    filled = sum(bool(row and row["value"]) for row in fillers)
    text = f"Those of {name} overlap by {mean['value']:.1f} % on average"
    other = model.beside(bank)
    if model.control is not None and other is not None:
        beside = model.control.row("overlap", LAST, "overlap_percent", mode=PUBLISHED, bank=other)
        text += "" if beside is None else f", of {model.control_name} by {beside['value']:.1f} %"
    yield Finding(
        PUBLISHED_RULES,
        f"{text}; in {filled} of {len(layers)} layers they share features that are 0 and only fill "
        "them up.",
    )


def _holds(row: Row, *, below: bool = False) -> bool:
    """Whether a difference is above 0, or below, with its whole interval and by its adjusted p-value."""
    p_value = row["p_value"] if row["q_value"] is None else row["q_value"]
    end = row["ci_high" if below else "ci_low"]
    nearest = row["value"] if end is None else end
    return p_value is not None and p_value <= LEVEL and (nearest < 0 if below else nearest > 0)


def _above(row: Row, other: Row | None) -> bool:
    if other is None or row["ci_low"] is None or other["ci_high"] is None:
        return False
    return bool(row["ci_low"] > other["ci_high"])


def _difference(row: Row) -> str:
    p_value = row["p_value"] if row["q_value"] is None else row["q_value"]
    told = (
        ""
        if p_value is None
        else f" (p {p_text(p_value)}{'' if row['q_value'] is None else ', Holm'})"
    )
    return f"{points(row['value'])} points{told}"


def _with_ends(row: Row) -> str:
    if None in (row["ci_low"], row["ci_high"]):
        return rate_text(row)
    return f"{rate_text(row)} [{percent(row['ci_low'])}, {percent(row['ci_high'])}]"
