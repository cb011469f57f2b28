"""First paragraph of the study's pages: what is found, beside chance, words and untrained weights.

Every number is of one place that no number chose: the last block read and the pooling that the
configuration names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from saeflow.report.finding import NOT_SUPPORTED, SUPPORTED, Finding, joined, rate_text
from saeflow.report.specialists.discovery import AREA, FOUND, RELABELED
from saeflow.report.specialists.effects import LEVEL
from saeflow.report.specialists.geometry import TOPICS
from saeflow.report.specialists.model import SpecialistModel, bank_titles
from saeflow.report.specialists.numbers import (
    CALIBRATED,
    NONE,
    PUBLISHED,
    Bank,
    Place,
    Row,
    holds,
    pooling_title,
)
from saeflow.report.specialists.retrieval import ALL, CHANCE
from saeflow.report.specialists.trials import ablation_finding, behaviour_finding
from saeflow.report.specialists.verdicts import (
    TOO_FEW,
    UNTOLD,
    above,
    gain_of_forms,
    least_p_value,
    reach,
    told_beyond_words,
)
from saeflow.report.tables import percent

WITHOUT_TRAINING, PUBLISHED_RULES = "Untrained", "Published rule"
WORDS = (SUPPORTED, NOT_SUPPORTED, TOO_FEW, UNTOLD, WITHOUT_TRAINING, PUBLISHED_RULES)
AGAINST_WORDS, BEYOND_WORDS = "found_against_words", "difference_beyond_words"
_ALONE = "No untrained model stands beside."
Reader = Callable[..., Row | None]
"""Row of a number at the place that is told; with ``beside`` that of the untrained model."""


def specialist_finding(models: Sequence[SpecialistModel], pooling: str) -> dict[str, Any] | None:
    """Say of each model whether its specialists stand for form or meaning, and whether they matter.

    Parameters
    ----------
    models : sequence of SpecialistModel
        In the order of the sentences.
    pooling : str
        Whose numbers are told.

    Returns
    -------
    dict or None
        ``lead``: the first sentence; ``parts``: a ``word`` each with its ``sentences``. None where
        nothing was read.
    """
    read = [model for model in models if model.numbers.banks()]
    if not read:
        return None
    beside = {model.control_name for model in read}
    said: list[Finding] = []
    for model in read:
        banks = model.numbers.banks()
        for bank, title in zip(banks, bank_titles(banks), strict=True):
            name = ", ".join(filter(None, (model.name, title)))
            if model.weights["fresh"]:
                if model.name not in beside or len(read) == 1:
                    said += _untrained(model, bank, name, pooling)
                continue
            said += _of_one(model, bank, name, pooling)
    parts = [
        {"word": word, "sentences": [each.text for each in said if each.word == word]}
        for word in WORDS
    ]
    return {
        "lead": _lead(read, pooling),
        "parts": [part for part in parts if part["sentences"]],
    }


def _reader(model: SpecialistModel, bank: Bank, pooling: str) -> tuple[Reader, int]:
    layers = model.numbers.layers(bank)
    layer = layers[-1] if layers else 0
    place = Place(bank, CALIBRATED, pooling)

    def row(
        part: str,
        group: str,
        metric: str,
        control: str = NONE,
        *,
        mode: str = CALIBRATED,
        beside: bool = False,
    ) -> Row | None:
        numbers, where, block = model.numbers, place, layer
        if beside:
            other = model.untrained(place)
            if other is None:
                return None
            numbers, where = other
            block = (numbers.layers(where.bank) or [layer])[-1]
        key: dict[str, Any] = {"bank": where.bank, "mode": mode, "layer": block, "pooling": pooling}
        return numbers.row(part, group, metric, control, **key)

    return row, layer


def _lead(models: Sequence[SpecialistModel], pooling: str) -> str:
    """What each trained model's first bank says of form and meaning."""
    trained = [model for model in models if not model.weights["fresh"]] or list(models)
    told = []
    for model in trained:
        row, layer = _reader(model, model.numbers.banks()[0], pooling)
        found, against = row("retrieval", ALL, "top_1"), row("retrieval", ALL, AGAINST_WORDS)
        words = model.numbers.row("retrieval", ALL, "top_1", "words")
        forms = row("discovery", "forms", FOUND)
        parts = []
        if forms is not None:
            other = row("discovery", "forms", FOUND, beside=True)
            beside = "" if other is None else f" (untrained model: {other['value']:.0f})"
            said = f"{forms['value']:.0f} of {forms['n']} forms have a feature of their own"
            parts.append(said + beside)
        if found is not None:
            beside = "" if words is None else f", with words alone {rate_text(words)}"
            parts.append(
                f"{rate_text(found)} of texts lie nearest to their own content in another form{beside}"
            )
        if against is not None:
            before = row("retrieval", ALL, AGAINST_WORDS, beside=True)
            what = "words" if before is None else "words and untrained weights"
            beyond = told_beyond_words(against, before)
            said = "meaning is told" if beyond else "no meaning is shown"
            parts.append(f"{said} beyond {what}")
        if parts:
            told.append(f"{model.name} (layer {layer}): {joined(parts)}")
    if not told:
        return "Nothing was found to tell form from meaning by."
    return f"Form or meaning? {'; '.join(told)}."


def _of_one(model: SpecialistModel, bank: Bank, name: str, pooling: str) -> Iterator[Finding]:
    row, layer = _reader(model, bank, pooling)
    where = f"layer {layer} of {name}, pooled by {_quoted(pooling)}"
    yield from _form(row, where, list(_forms(model, bank)))
    yield from _topics(row, where, model)
    yield from _meaning(row, where, model)
    yield from behaviour_finding(model, bank, name)
    yield from ablation_finding(model, bank, name)
    yield from _rule(model, bank, name)


def _forms(model: SpecialistModel, bank: Bank) -> Iterator[str]:
    """Classes whose form was told from the others of their topic."""
    found = model.numbers.of_part("discovery", bank)
    for group in dict.fromkeys(key.group for key in found if key.metric == "auroc"):
        kind, _, name = group.partition(", ")
        if kind == "forms":
            yield name


def _form(row: Reader, where: str, names: Sequence[str]) -> Iterator[Finding]:
    found, area = row("discovery", "forms", FOUND), row("discovery", "forms", AREA)
    if found is None or area is None:
        return
    expected = row("discovery", "forms", FOUND, RELABELED)
    chance = "" if expected is None else f" (by chance {expected['value']:.1f})"
    text = (
        f"Form: at {where}, {found['value']:.0f} of {found['n']} forms{chance} have a feature that tells them "
        f"from the other forms of their topic; chosen on one half of the pairs, it tells those of the other "
        f"half apart with a mean area of {_ends(area)} over splits, where chance gives 0.5"
    )
    other = row("discovery", "forms", AREA, beside=True)
    most = 2 * found["value"] > found["n"]
    if other is None:
        yield Finding(SUPPORTED if most else NOT_SUPPORTED, f"{text}. {_ALONE}")
        return
    text += f" and the untrained model {_ends(other)}"
    areas, before = (
        {
            name: each["value"]
            for name in names
            if (each := row("discovery", f"forms, {name}", "auroc", beside=beside)) is not None
        }
        for beside in (False, True)
    )
    gain = gain_of_forms(areas, before)
    if gain is None or (most and least_p_value(gain.topics) > LEVEL):
        few = "Areas of too few topics are at hand to hold the two against each other."
        yield Finding(UNTOLD if most else NOT_SUPPORTED, f"{text}. {few}")
        return
    text += (
        f". Form by form the area is larger by {gain.value:.3f} (p {gain.p_value:.3f} by sign flips of "
        f"{gain.topics} topics)"
    )
    more = most and gain.value > 0 and gain.p_value <= LEVEL
    yield Finding(SUPPORTED if more else NOT_SUPPORTED, f"{text}.")


def _topics(row: Reader, where: str, model: SpecialistModel) -> Iterator[Finding]:
    difference = row("geometry", TOPICS, "difference")
    if difference is None:
        return
    words = model.numbers.row("geometry", TOPICS, "difference", "words")
    other = row("geometry", TOPICS, "difference", beside=True)
    beside = [
        f"{title} {each['value']:.3f}"
        for title, each in (("words alone give", words), ("the untrained model", other))
        if each is not None
    ]
    text = (
        f"Topics: at {where}, classes of one topic are more alike by {difference['value']:.3f} (cosine"
        f"{_tested(difference)}){'; ' if beside else ''}{joined(beside)}"
    )
    beyond = row("geometry", TOPICS, BEYOND_WORDS)
    if beyond is None:
        yield Finding(UNTOLD, f"{text}. What words leave of it cannot be told.")
        return
    text += f". Beyond words and lengths {beyond['value']:.3f} is left{_comma(_tested(beyond))}"
    before = row("geometry", TOPICS, BEYOND_WORDS, beside=True)
    if before is None:
        yield Finding(SUPPORTED if holds(beyond, LEVEL) else NOT_SUPPORTED, f"{text}. {_ALONE}")
        return
    own = reach(beyond, row("geometry", TOPICS, BEYOND_WORDS, RELABELED))
    fresh = reach(before, row("geometry", TOPICS, BEYOND_WORDS, RELABELED, beside=True))
    if own is None or fresh is None:
        text += (
            f", in the untrained model {before['value']:.3f}; how far these reach was not measured"
        )
        yield Finding(UNTOLD if holds(beyond, LEVEL) else NOT_SUPPORTED, f"{text}.")
        return
    text += (
        f"; that is {_ends(own)} beside {_ends(fresh)} in the untrained model, if each reaches as far as the "
        "middle 95 % of what topics permuted over classes give"
    )
    more = holds(beyond, LEVEL) and above(own, fresh)
    yield Finding(SUPPORTED if more else NOT_SUPPORTED, f"{text}.")


def _meaning(row: Reader, where: str, model: SpecialistModel) -> Iterator[Finding]:
    found, chance = row("retrieval", ALL, "top_1"), row("retrieval", ALL, "top_1", CHANCE)
    if found is None:
        return
    words = model.numbers.row("retrieval", ALL, "top_1", "words")
    other = row("retrieval", ALL, "top_1", beside=True)
    beside = [
        f"{title} {rate_text(each)}"
        for title, each in (("chance", chance), ("words", words), ("the untrained model", other))
        if each is not None
    ]
    text = (
        f"Meaning: at {where}, the nearest text in another form has the same content for "
        f"{rate_text(found)} of texts ({joined(beside)})"
    )
    against = row("retrieval", ALL, AGAINST_WORDS)
    if against is None:
        yield Finding(UNTOLD, f"{text}. It was not held against words.")
        return
    before = row("retrieval", ALL, AGAINST_WORDS, beside=True)
    text += (
        f". Of texts that words put nearer than the same content, features put {_shares(against)} farther, "
        "where one half knows nothing"
    )
    text += f". {_ALONE}" if before is None else f"; of the untrained model {_shares(before)}."
    more = told_beyond_words(against, before)
    yield Finding(SUPPORTED if more else NOT_SUPPORTED, text)


def _rule(model: SpecialistModel, bank: Bank, name: str) -> Iterator[Finding]:
    """Categories, which the depth claim is about; topics and forms where there are none."""
    layers = model.numbers.layers(bank)
    for group, title in (("categories", "categories"), ("pairs", "topics and forms")):
        told = []
        for pooling in model.numbers.poolings(bank, PUBLISHED):
            place = Place(bank, PUBLISHED, pooling)
            found = model.numbers.by_layer(place, "discovery", group, FOUND)
            drawn = model.numbers.by_layer(place, "discovery", group, FOUND, RELABELED)
            if found:
                counts = _list(f"{row['value']:.0f}" for row in found.values())
                chance = _list(f"{row['value']:.1f}" for row in drawn.values())
                beside = f" (drawn anew: {chance})" if drawn else ""
                n = next(iter(found.values()))["n"]
                told.append(f"for {counts} of {n} {title}{beside} by {_quoted(pooling)}")
        if told:
            where = f"layer{'s' * (len(layers) > 1)} {_list(map(str, layers))}"
            yield Finding(
                PUBLISHED_RULES,
                f"At {where} of {name} the study’s rule finds a specialist {joined(told)}.",
            )
            return


def _untrained(model: SpecialistModel, bank: Bank, name: str, pooling: str) -> Iterator[Finding]:
    row, layer = _reader(model, bank, pooling)
    found, top = row("discovery", "forms", FOUND), row("retrieval", ALL, "top_1")
    told = [
        f"{found['value']:.0f} of {found['n']} forms have a feature of their own" if found else "",
        f"{rate_text(top)} of texts lie nearest to their own content" if top else "",
    ]
    if any(told):
        text = (
            f"At layer {layer} of {name}, with nothing learned, {joined([x for x in told if x])}."
        )
        yield Finding(WITHOUT_TRAINING, text)


def _ends(row: Row) -> str:
    if None in (row["ci_low"], row["ci_high"]):
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def _shares(row: Row) -> str:
    if None in (row["ci_low"], row["ci_high"]):
        return rate_text(row)
    return f"{rate_text(row)} [{percent(row['ci_low'])}, {percent(row['ci_high'])}]"


def _tested(row: Row) -> str:
    if row["p_value"] is None:
        return ""
    q_value = "" if row["q_value"] is None else f", q {row['q_value']:.3f}"
    return f"; p {row['p_value']:.3f}{q_value}"


def _comma(text: str) -> str:
    return text.replace("; ", " (", 1) + ")" if text else ""


def _quoted(pooling: str) -> str:
    return f"“{pooling_title(pooling)}”"


def _list(texts: Any) -> str:
    return ", ".join(texts)
