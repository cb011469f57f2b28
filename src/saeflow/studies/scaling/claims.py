"""Each published sentence about a wide SAE, beside what this run supports (design, section 9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.config.scaling_search import LEVELS
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
from saeflow.studies.rows import NONE
from saeflow.studies.scaling.claim_rows import (
    Saes,
    explanation_rows,
    quality_rows,
    training_rows,
    untrained_rows,
)
from saeflow.studies.scaling.counted import FOUND, search_rows, steering_rows, target_rows
from saeflow.studies.scaling.published_claims import PUBLISHED, UNTRAINED, ZERO

RECOVERED, DEAD = 0.9, 0.1
"""Least share of the cross-entropy that is recovered, and largest share of dead features, of an SAE of
which is said that it stands for the activation, and that its features live."""
FEWEST = 6
"""Topics with which a test that flips signs can be significant."""
OTHER_WEIGHTS = (
    "The claim is about Llama-3.2-3B, whose weights this run does not read; what its own model shows "
    "stands beside it without a verdict."
)
OTHER_SAES = (
    "The claim is about features of the study's own SAE, which this run does not read; what SAEs trained "
    "here show stands beside it without a verdict."
)
_NEVER = {
    "titles": "No code of the study scores what ChatGPT-4o says of a feature (methods/5, section 6.5)."
}


def scaling_claims(
    tables: Mapping[str, pa.Table],
    *,
    own_weights: bool | str,
    saes: Saes,
    untrained: Mapping[str, pa.Table] | None = None,
) -> pa.Table:
    """Judge every published sentence by the public tables of a model.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table
        Of the model, by name: ``quality``, ``features``, ``training``, ``search``, ``search_targets``,
        ``steering`` and ``explanation_summary``, each with the columns of its artifact; any may be
        missing, others are not read.
    own_weights : bool or str
        Whether the model is the study's own, so that claims about its weights are decided.
    saes : Saes
        Which rows are of what.
    untrained : mapping of str to pyarrow.Table, optional
        The same of its untrained control: ``quality`` and ``explanation_summary`` of the same main SAE
        are read.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.claims.CLAIMS`.
    """
    known = [*_known(tables, saes), *_of_untrained(untrained or {}, saes)]
    # All SAEs of a model read one place; tables over topics do not name it.
    layer = next((each["layer"] for each in known if each["layer"] is not None), None)
    known = [each | {"layer": layer} for each in known]
    found = judge(
        _STUDY,
        lambda wanted: find_row(known, wanted, lambda row, layer: True),
        own_weights=own_weights,
    )
    return claims_table(found)


def _known(tables: Mapping[str, pa.Table], saes: Saes) -> Iterator[dict[str, Any]]:
    widths = _widths(tables)
    yield from quality_rows(_rows(tables, "quality"), widths, saes)
    yield from training_rows(_rows(tables, "training"), widths, saes)
    yield from search_rows(_rows(tables, "search"), widths, saes)
    yield from target_rows(_rows(tables, "search_targets"), saes)
    yield from steering_rows(_rows(tables, "steering"), saes)
    yield from explanation_rows(_rows(tables, "explanation_summary"), saes)


def _of_untrained(tables: Mapping[str, pa.Table], saes: Saes) -> Iterator[dict[str, Any]]:
    yield from untrained_rows(_rows(tables, "quality"), saes)
    yield from explanation_rows(_rows(tables, "explanation_summary"), saes, UNTRAINED)


def _rows(tables: Mapping[str, pa.Table], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tables[name].to_pylist() if name in tables else []
    return found


def _widths(tables: Mapping[str, pa.Table]) -> dict[tuple[str, int], int]:
    """Latents of each SAE."""
    if "features" not in tables:
        return {}
    sizes = tables["features"].group_by(["dictionary", "seed"]).aggregate([("feature", "max")])
    return {
        (each["dictionary"], each["seed"]): each["feature_max"] + 1 for each in sizes.to_pylist()
    }


def _sparse(numbers: Numbers) -> Verdict:
    """Whether fewer latents are active than there are dimensions: else they describe nothing briefly."""
    found, null, (main,) = numbers.found, numbers.null, numbers.further
    side = beyond(found, null)
    if side is None or null is None:
        return NOT_TESTABLE, UNTESTED
    said = (
        f"An SAE trained so has {found['value']:.0f} latents active on a token, which describe "
        f"{null['value']:.0f} dimensions{_beside('the main SAE of this run has', main, '.0f')}."
    )
    if not side:
        return CHANCE, said
    return (SUPPORTED if side < 0 else CONTRADICTED), said


def _penalty(numbers: Numbers) -> Verdict:
    """Sum hand-made latents as the study's code does, whose batches have a leading axis of 1."""
    tokens, latents, weight = 8, 256, 1.0
    weighed = np.linspace(0, 1, tokens * latents).reshape(1, tokens, latents)
    by_study = weight * weighed.sum(1).mean()
    meant = weight * weighed[0].sum(1).mean()
    return CONTRADICTED, (
        f"Of {tokens} hand-made tokens with {latents} latents the sum that the study forms is "
        f"1/{meant / by_study:.0f} of the mean over tokens: a leading axis makes it run over tokens and "
        "the mean over latents, so that lambda is divided by 32 at 2,048 tokens and 65,536 latents "
        f"(methods/5, section 6.2). An SAE trained so has {numbers.found['value']:.0f} active latents."
    )


def _recovered(numbers: Numbers) -> Verdict:
    """At least `RECOVERED`, and more than controls recover: an activation of 0 is a low bar."""
    found, null, (other, other_null) = numbers.found, numbers.null, numbers.further
    side = beyond(found, null)
    if side is None or null is None:
        return NOT_TESTABLE, UNTESTED
    zero = found["metric"].endswith(ZERO)
    costs, less = ("a zero", "the mean activation") if zero else ("the mean activation", "a zero")
    said = (
        f"Of what {costs} costs {_percent(found)} is recovered, by the control "
        f"({null['named'].replace('_', ' ')}) {_percent(null)}"
        f"{_beside(f'of what {less} costs', other)}{_beside('by the control', other_null)}."
    )
    if zero:
        said += " SAEs with a random decoder recover most of it, too: a high share by itself says little."
    if found["ci_high"] < RECOVERED:
        return CONTRADICTED, said
    if found["ci_low"] < RECOVERED:
        return CHANCE, f"{said} The interval holds {RECOVERED:.0%}."
    if side <= 0:
        return CHANCE, f"{said} The control recovers as much."
    return SUPPORTED, said


def _alive(numbers: Numbers) -> Verdict:
    found, (untrained,) = numbers.found, numbers.further
    said = (
        f"On {found['n']} tokens {found['value']:.1%} of features never fire"
        f"{_beside('with the decoder as it starts', numbers.null)}"
        f"{_beside('in the untrained model', untrained)}; up to {DEAD:.0%} counts as hardly a feature."
    )
    return (SUPPORTED if found["value"] <= DEAD else CONTRADICTED), said


def _summed_cosines(numbers: Numbers) -> Verdict:
    """Sum over hand-made files the cosine of features that fire together where both are faint."""
    faint, strong = [[0.1, 0.0], [0.1, 0.0]], [[9.0, 0.0], [0.0, 9.0]]
    files = np.array([faint, strong, faint])
    summed = sum(_cosine(*each) for each in files)
    whole = _cosine(*files.transpose(1, 0, 2).reshape(2, -1))
    return CONTRADICTED, (
        f"Of two hand-made features in {len(files)} files the cosines sum to {summed:.2f}, while that of "
        f"all activations is {whole:.2f}: a sum over files is no cosine, and files with faint activations "
        "count as much as any (methods/5, section 6.7)."
    )


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def _finds(numbers: Numbers) -> Verdict:
    """Share of topics whose feature tells held-out prompts apart, beside that of the best control."""
    found, null = numbers.found, numbers.null
    smallest, *areas = numbers.further[: -len(LEVELS)]
    others = [each for each in numbers.further[-len(LEVELS) :] if each is not None]
    side = beyond(found, null)
    if side is None or null is None:
        return NOT_TESTABLE, UNTESTED
    names = ("it", "the untrained model's best", "the frozen decoder's", "the difference of means")
    shown = [_beside(*each, ".3f") for each in zip((*names, "words"), areas, strict=True)]
    said = (
        f"{_count(found)} topics have a feature whose area on held-out prompts is at least {FOUND} "
        f"(p at most {LEVEL}, Holm over topics){_beside('the smallest area is', smallest, '.3f')}; by "
        f"the best control, {null['named'].replace('_', ' ')}, {_count(null)}. Mean areas"
        f"{''.join(shown).replace(';', ':', 1)}. Level: {found['level']}, where the areas on half A are "
        "largest"
    )
    said += "".join(f"; by {each['group']} {_count(each)}" for each in others) + "."
    if side < 0:
        return CONTRADICTED, said
    if not side:
        return CHANCE, f"{said} {_SHARED}"
    return _most(found, said)


_SHARED = "The intervals of both shares have values in common."


def _most(found: Row, said: str) -> Verdict:
    """Whether a share is more than one half with all of its interval."""
    if found["ci_high"] < EVEN:
        return CONTRADICTED, f"{said} They are fewer than half."
    if found["ci_low"] <= EVEN:
        return CHANCE, f"{said} The interval holds one half."
    return SUPPORTED, said


def _first(numbers: Numbers) -> Verdict:
    """Share of topics whose first feature holds on half B: beyond a feature drawn, and for most topics."""
    found, null = numbers.found, numbers.null
    side = beyond(found, null)
    if side is None or null is None:
        return NOT_TESTABLE, UNTESTED
    said = (
        f"For {_count(found)} topics the first feature is among those that half A of the prompts chose "
        f"and half B confirms ({_percent(found)}), where a feature drawn at random gives "
        f"{null['value']:.2%}. The score chose it on all prompts, those of half B included, which favours "
        "it."
    )
    if side <= 0:
        return (CONTRADICTED if side else CHANCE), said
    if found["ci_high"] < EVEN:
        return CONTRADICTED, f"{said} More than by chance, but for fewer than half of the topics."
    if found["ci_low"] <= EVEN:
        return CHANCE, (
            f"{said} More than by chance, but the interval of the share holds one half: whether for most "
            "topics cannot be told from these."
        )
    return SUPPORTED, said


def _paired(numbers: Numbers) -> Verdict:
    """Paired differences over topics, whose signs are flipped: few topics make a bootstrap too narrow."""
    found = numbers.found
    n, p_value = found["n"], found["p_value"]
    if p_value is None or n < FEWEST:
        return NOT_TESTABLE, f"{n} topics are too few for a test: {FEWEST} can be significant."
    means = [f"{_named(each)} {each['value']:.3f}" for each in numbers.further if each is not None]
    said = (
        f"The mean difference over {n} topics is {found['value']:+.3f} "
        f"({', '.join(means)}); with signs flipped it is as far from 0 with p {p_value:.2g}."
    )
    if p_value > LEVEL or (
        found["ci_low"] is not None and found["ci_low"] <= 0 <= found["ci_high"]
    ):
        return CHANCE, said
    return (SUPPORTED if found["value"] > 0 else CONTRADICTED), said


_STEERED = {NONE: "steered", "decoder_bias": "b_dec alone"}


def _named(each: Row) -> str:
    """What a mean over topics is of."""
    control: str = each["control"]
    if each["part"] == "boost":
        return _STEERED.get(control, control)
    return "features" if control == NONE else control.replace("_", " ")


def _explains(numbers: Numbers) -> Verdict:
    """Beyond the interval of swapped explanations, and by a test that pairs features."""
    found, null = numbers.found, numbers.null
    gain, near, untrained = numbers.further
    side = beyond(found, null)
    if side is None or null is None or gain is None or gain["q_value"] is None:
        return NOT_TESTABLE, UNTESTED
    said = (
        f"Balanced accuracy {found['value']:.3f}, with the explanation of another feature "
        f"{null['value']:.3f} (q {gain['q_value']:.2g} over features)"
        f"{_beside('told from near misses', near, '.3f')}"
        f"{_beside('of features of the untrained model', untrained, '.3f')}."
    )
    if not side or gain["q_value"] > LEVEL:
        return CHANCE, said
    return (SUPPORTED if side > 0 else CONTRADICTED), said


def _explains_more(numbers: Numbers) -> Verdict:
    """Whether intervals over features of this model and of the untrained one lie apart."""
    found, null = numbers.found, numbers.null
    side = beyond(found, null)
    if side is None or null is None or null["ci_low"] is None:
        return NOT_TESTABLE, UNTESTED
    said = (
        f"Balanced accuracy {_percent(found)}, of features of the untrained model {_percent(null)}: the "
        f"intervals {'lie apart' if side else 'have values in common'}."
    )
    if not side:
        return CHANCE, said
    return (SUPPORTED if side > 0 else CONTRADICTED), said


def _steers(numbers: Numbers) -> Verdict:
    """Share of topics whose slope exceeds a control's, Holm over topics, beside what chance gives."""
    found, null = numbers.found, numbers.null
    falling, slope, classified = numbers.further
    above, below = ("above 0", "below 0") if found["control"] == NONE else ("larger", "smaller")
    side = beyond(found, null)
    if side is None:
        return NOT_TESTABLE, UNTESTED
    said = (
        f"{_count(found)} topics' slopes are {above} (p at most {LEVEL}, Holm over topics)"
        f"{_beside(below, falling, 'count')}"
        f"{_beside(f'by the classifier of topics {above}', classified, 'count')}"
        f"{_beside('on average by', slope, '+.4f')} of all words per doubling of 1 + dose."
    )
    if side <= 0:
        if falling is not None and beyond(falling, null) == 1:
            return CONTRADICTED, said
        return CHANCE, said
    return _most(found, said)


def _count(share: Row) -> str:
    return f"{round(share['value'] * share['n'])} of {share['n']}"


def _percent(found: Row) -> str:
    ends = "" if found["ci_low"] is None else f" ({found['ci_low']:.1%} to {found['ci_high']:.1%})"
    return f"{found['value']:.1%}{ends}"


def _beside(what: str, found: Row | None, form: str = ".1%") -> str:
    """Another number of a sentence, where there is one."""
    if found is None or found["value"] is None:
        return ""
    shown = _count(found) if form == "count" else f"{found['value']:{form}}"
    return f"; {what} {shown}"


_RULES: dict[str, Rule] = {
    "sparse": _sparse,
    "penalty": _penalty,
    "reconstruction_zero": _recovered,
    "reconstruction_mean": _recovered,
    "alive": _alive,
    "neighbours": _summed_cosines,
    "search_finds": _finds,
    **{each.claim: _paired for each in PUBLISHED if each.claim.startswith("search_beyond")},
    "local_min_max_finds": _first,
    "rank_finds": _first,
    "explanations_detection": _explains,
    "explanations_fuzzing": _explains,
    "explanations_beyond_untrained": _explains_more,
    "explanations_beyond_untrained_fuzzing": _explains_more,
    **{each.claim: _steers for each in PUBLISHED if each.claim.startswith("steering")},
    "boost": _paired,
}
_STUDY = Study("scaling", PUBLISHED, _NEVER, _RULES, OTHER_WEIGHTS, OTHER_SAES)
