"""First paragraph of the study's pages: what is found, beside controls, words and untrained weights.

Every number is of the main SAE, which no number chose, and of documents and prompts that chose nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from saeflow.report.finding import NO_BREAK, NOT_SUPPORTED, SUPPORTED, Finding, joined, rate_text
from saeflow.report.scaling.explanations import (
    ACCURACY,
    EVERY,
    METHODS,
    SWAPPED,
    summary_rows,
)
from saeflow.report.scaling.model import ScalingModel
from saeflow.report.scaling.numbers import ALL, NONE, RANDOM, Row, holds
from saeflow.report.scaling.quality import BY_MEAN, BY_ZERO, mean_alone
from saeflow.report.scaling.search import control_title, first_level, searches, topic_of
from saeflow.report.scaling.steering import CONTROLS, SCORES, passing
from saeflow.report.scaling.verdicts import AREA, LEVEL, Gain, gain_over, topics_found
from saeflow.report.specialists.verdicts import (
    TOO_FEW,
    UNTOLD,
    above,
    if_most,
    least_p_value,
)
from saeflow.report.tables import number_text, percent

WITHOUT_TRAINING, PUBLISHED_FORM = "Untrained", "Published form"
WORDS = (SUPPORTED, NOT_SUPPORTED, TOO_FEW, UNTOLD, WITHOUT_TRAINING, PUBLISHED_FORM)
FROZEN = "frozen_decoder"


def scaling_finding(
    models: Sequence[ScalingModel], published: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Say of each model what its main SAE keeps, and whether its features find, steer and are explained.

    Parameters
    ----------
    models : sequence of ScalingModel
        In the order of the sentences.
    published : sequence of str
        Names of dictionaries in the study's published form.

    Returns
    -------
    dict or None
        ``lead``: the first sentence; ``parts``: a ``word`` each with its ``sentences``. None where
        nothing was read.
    """
    read = [model for model in models if model.numbers.main is not None]
    if not read:
        return None
    beside = {model.control_name for model in read}
    said: list[Finding] = []
    for model in read:
        if model.weights["fresh"]:
            if model.name not in beside or len(read) == 1:
                said += _untrained(model)
            continue
        said += _of_one(model, published)
    parts = [
        {"word": word, "sentences": [each.text for each in said if each.word == word]}
        for word in WORDS
    ]
    return {"lead": _lead(read), "parts": [part for part in parts if part["sentences"]]}


def _lead(models: Sequence[ScalingModel]) -> str:
    trained = [model for model in models if not model.weights["fresh"]] or list(models)
    told = [
        f"{model.name} (layer {model.numbers.layer}): {joined(parts)}"
        for model in trained
        if (parts := list(_lead_parts(model)))
    ]
    if not told:
        return "Nothing was measured of any SAE."
    return f"Found, steered, explained? {'; '.join(told)}."


def _lead_parts(model: ScalingModel) -> Iterator[str]:
    numbers = model.numbers
    mean = numbers.quality(numbers.main, BY_MEAN)
    if mean is not None:
        frozen = numbers.quality(numbers.of_control(FROZEN), BY_MEAN)
        beside = "" if frozen is None else f" (frozen decoder {rate_text(frozen)})"
        said = "of the cross-entropy lost without the layer’s variation is recovered"
        yield f"{rate_text(mean)} {said}{beside}"
    found = searches(numbers, first_level(numbers))
    if found:
        words = gain_over(found, "words")
        beside = "" if words is None else f" ({_beyond(words)} words)"
        yield f"search finds {len(topics_found(found))} of {len(found)} topics{beside}"
    score = next(iter(SCORES))
    steered, random = passing(numbers, score), passing(numbers, score, "random_direction")
    if steered.tested:
        beside = f" (random directions for {len(random.topics)})" if random.tested else ""
        told = f"{len(steered.topics)} of {len(steered.tested)}"
        yield f"steering beats every control for {told}{beside}"
    place = ("detection", EVERY, ACCURACY)
    own, fresh = summary_rows(numbers), summary_rows(model.control)
    rows = (own.get((*place, NONE)), own.get((*place, SWAPPED)), fresh.get((*place, NONE)))
    if rows[0] is not None:
        beside = joined(
            [
                f"{title} {rate_text(row)}"
                for title, row in zip(("other features’", "untrained model"), rows[1:], strict=True)
                if row is not None
            ]
        )
        told = f"explanations are right on {rate_text(rows[0])} of contexts"
        yield f"{told} ({beside})" if beside else told


def _beyond(gain: Gain) -> str:
    if gain.more:
        return "better than"
    return "worse than" if gain.value < 0 and gain.p_value <= LEVEL else "no better than"


def _of_one(model: ScalingModel, published: Sequence[str]) -> Iterator[Finding]:
    yield from _reconstruction(model)
    yield from _seeds(model)
    yield from _topics(model)
    yield from _steering(model)
    yield from _explanations(model)
    yield from _published(model, published)


def _reconstruction(model: ScalingModel) -> Iterator[Finding]:
    numbers, main = model.numbers, model.numbers.main
    zero, mean = numbers.quality(main, BY_ZERO), numbers.quality(main, BY_MEAN)
    if main is None or zero is None or mean is None:
        return
    text = f"Reconstruction: {main.title} of {model.name}{_sparse(model)} recovers {_shares(zero)} of the "
    text += f"cross-entropy against activations of 0 and {_shares(mean)} against their mean"
    beside = []
    if (alone := mean_alone(model)) is not None:
        beside.append(f"the mean activation alone gives {rate_text(alone)} and 0{NO_BREAK}%")
    frozen = numbers.of_control(FROZEN)
    other = numbers.quality(frozen, BY_MEAN)
    for title, rows in (
        ("the frozen decoder", [numbers.quality(frozen, each) for each in (BY_ZERO, BY_MEAN)]),
        (
            "the untrained model’s SAE, of that model’s,",
            [model.untrained(each) for each in (BY_ZERO, BY_MEAN)],
        ),
    ):
        if None not in rows:
            beside.append(f"{title} {' and '.join(_shares(row) for row in rows)}")  # type: ignore[arg-type]
    text += f"; {joined(beside)}. " if beside else ". "
    text += "".join(_further(model))
    if other is None:
        yield Finding(UNTOLD, f"{text}No frozen decoder stands beside.")
        return
    yield Finding(SUPPORTED if above(mean, other) else NOT_SUPPORTED, text.rstrip())


def _sparse(model: ScalingModel) -> str:
    numbers, main = model.numbers, model.numbers.main
    active = numbers.quality(main, "l0_mean")
    latents = None if main is None else numbers.latents(main)
    if active is None or latents is None:
        return ""
    return f", with {active['value']:,.1f} of {latents:,} features active on a token,"


def _further(model: ScalingModel) -> Iterator[str]:
    """Variance and dead features: numbers without a test."""
    numbers, main = model.numbers, model.numbers.main
    told = []
    fvu, dead = numbers.quality(main, "fvu"), numbers.quality(main, "dead_share", split=ALL)
    if fvu is not None:
        told.append(f"{_share(fvu['value'])} of the variance is not explained")
    if dead is not None:
        told.append(f"{_share(dead['value'])} of features never fire")
    if told:
        text = joined(told)
        yield f"{text[0].upper()}{text[1:]}. "


def _seeds(model: ScalingModel) -> Iterator[Finding]:
    """Whether most features come back with another seed; all of them are counted, so nothing is tested."""
    numbers = model.numbers
    for key, row in numbers.rows.items():
        if key.metric != "returning_share" or key.control != NONE or row["value"] is None:
            continue
        drawn = numbers.quality(
            key.sae, key.metric, split=ALL, control=RANDOM, other_seed=key.other_seed
        )
        beside = "" if drawn is None else f", of as many random directions {_share(drawn['value'])}"
        text = (
            f"Seeds: of the features of {key.sae.title} of {model.name} that fire, "
            f"{_share(row['value'])} return when the SAE is trained with seed {key.other_seed}{beside} "
            "(mutual nearest decoder directions)."
        )
        yield Finding(SUPPORTED if row["value"] > 0.5 else NOT_SUPPORTED, text)


def _topics(model: ScalingModel) -> Iterator[Finding]:
    numbers = model.numbers
    found = searches(numbers, first_level(numbers))
    if not found:
        return
    passed = topics_found(found)
    areas = [each.best["value"] for each in found if each.best is not None]
    text = (
        f"Search: of {len(found)} topics, {len(passed)} have a feature in {model.name} that one half of the "
        f"prompts chose and that tells those of the other half with an area of {AREA:g} or more (p ≤ "
        f"{LEVEL:g} after Holm); mean area {sum(areas) / len(areas):.3f}, where chance gives 0.5"
    )
    missed = [topic_of(each.prompts) for each in found if each.prompts not in passed]
    text += f". Not found: {joined(missed)}" if missed else ""
    words, fresh = gain_over(found, "words"), gain_over(found, "untrained")
    if fresh is None:
        yield Finding(UNTOLD, f"{text}. No untrained model stands beside.")
    else:
        text += f". The best features of the untrained model reach {_against(fresh)}."
        most = 2 * len(passed) > len(found)
        short = most and least_p_value(fresh.topics) > LEVEL
        word = SUPPORTED if most and fresh.more else NOT_SUPPORTED
        yield Finding(TOO_FEW if short else word, text)
    for control, gain in (
        (FROZEN, gain_over(found, FROZEN)),
        ("words", words),
        ("difference_of_means", gain_over(found, "difference_of_means")),
    ):
        if gain is not None:
            yield Finding(
                SUPPORTED if gain.more else NOT_SUPPORTED,
                f"Search beyond {control_title(control)}: in {model.name} these reach {_against(gain)}.",
            )


def _against(gain: Gain) -> str:
    return (
        f"a mean area of {gain.mean:.3f}; topic by topic the areas of features are {_signed(gain.value)} "
        f"from these (p {gain.p_value:.3f} by sign flips of {gain.topics} topics)"
    )


def _steering(model: ScalingModel) -> Iterator[Finding]:
    numbers = model.numbers
    for score, title in SCORES.items():
        found = passing(numbers, score)
        count = len(found.tested)
        if not count:
            continue
        each = [
            f"beyond {phrase} {len(some.topics)}"
            for control, phrase in CONTROLS.items()
            if (some := passing(numbers, score, control)).tested
        ]
        alone = len(passing(numbers, score, NONE).topics)
        text = (
            f"Steering: in {model.name} the {title}, rises with the dose of its feature for {alone} of "
            f"{count} topics, and by more than along every control for {len(found.topics)} (slopes over "
            f"prompts, p ≤ {LEVEL:g} after Holm over topics). Of each control alone: {joined(each)}."
        )
        yield Finding(if_most(len(found.topics), count, found.short), text)


def _explanations(model: ScalingModel) -> Iterator[Finding]:
    own, beside = summary_rows(model.numbers), summary_rows(model.control)
    for method, question in METHODS.items():
        accuracy = own.get((method, EVERY, ACCURACY, NONE))
        swapped = own.get((method, EVERY, ACCURACY, SWAPPED))
        gain = own.get((method, EVERY, "gain_over_swapped", NONE))
        if accuracy is None or gain is None:
            continue
        q_value = "" if gain["q_value"] is None else f", q {gain['q_value']:.3f}"
        text = (
            f"Explanations, {method} ({question}?): those of {model.name} are right on {_shares(accuracy)} of "
            f"held-out contexts (balanced, chance 50 %)"
        )
        text += "" if swapped is None else f", those of other features on {_shares(swapped)}"
        text += f"; the gain is {_points(gain)} points{q_value}"
        yield Finding(SUPPORTED if holds(gain, LEVEL, "q_value") else NOT_SUPPORTED, f"{text}.")
        other = beside.get((method, EVERY, ACCURACY, NONE))
        if other is None:
            told = f"Explanations beyond the untrained model, {method}: none stands beside."
            yield Finding(UNTOLD, told)
            continue
        yield Finding(
            SUPPORTED if above(accuracy, other) else NOT_SUPPORTED,
            f"Explanations beyond the untrained model, {method}: its features follow tokens, too, and what "
            f"is said of them is right on {_shares(other)}, where {model.name} has {_shares(accuracy)}.",
        )


def _published(model: ScalingModel, published: Sequence[str]) -> Iterator[Finding]:
    numbers = model.numbers
    named = next((sae for sae in numbers.controls if sae.dictionary in published), None)
    active = numbers.quality(named, "l0_mean")
    latents = None if named is None else numbers.latents(named)
    if named is None or active is None or latents is None:
        return
    text = (
        f"Trained as published, {named.title} of {model.name} has {active['value']:,.1f} of {latents:,} "
        f"features active on a token ({_share(active['value'] / latents)})"
    )
    mean, fvu = numbers.quality(named, BY_MEAN), numbers.quality(named, "fvu")
    told = [
        f"recovers {_shares(mean)} of the cross-entropy against the mean" if mean else "",
        f"leaves {_share(fvu['value'])} of the variance" if fvu else "",
    ]
    yield Finding(PUBLISHED_FORM, f"{joined([text, *filter(None, told)])}.")


def _untrained(model: ScalingModel) -> Iterator[Finding]:
    numbers, main = model.numbers, model.numbers.main
    mean = numbers.quality(main, BY_MEAN)
    accuracy = summary_rows(numbers).get(("detection", EVERY, ACCURACY, NONE))
    told = [
        f"the SAE recovers {_shares(mean)} of the cross-entropy against the mean" if mean else "",
        f"explanations are right on {_shares(accuracy)} of contexts" if accuracy else "",
    ]
    if any(told):
        text = f"With nothing learned in {model.name}, {joined([x for x in told if x])}."
        yield Finding(WITHOUT_TRAINING, text)


def _share(value: float) -> str:
    return number_text(value, "rate").replace(" ", NO_BREAK)


def _shares(row: Mapping[str, Any]) -> str:
    if None in (row["ci_low"], row["ci_high"]):
        return rate_text(row)
    return f"{rate_text(row)} [{percent(row['ci_low'])}, {percent(row['ci_high'])}]"


def _points(row: Row) -> str:
    values = [row["value"], row["ci_low"], row["ci_high"]]
    value, *ends = (None if each is None else _signed(100 * each, 1) for each in values)
    return f"{value}" if None in ends else f"{value} [{', '.join(map(str, ends))}]"


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
