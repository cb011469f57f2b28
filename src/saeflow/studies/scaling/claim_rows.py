"""Rows of a wide SAE's public tables, as published sentences name them, beside those of its controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from saeflow.studies.claims.sentences import Row
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED, row
from saeflow.studies.scaling.published_claims import (
    CONTROLS,
    FIRST,
    HELD_OUT,
    LAST,
    UNTRAINED,
    WHOLE,
)

_RANDOM = "random_directions"
Rows = Iterable[Row]
Sae = tuple[str, int]
"""Dictionary and seed."""
Widths = Mapping[Sae, int]
"""Latents of each SAE."""


class Saes(NamedTuple):
    """Which rows of a model's tables are of what.

    Attributes
    ----------
    main : (str, int)
        Dictionary and seed of the SAE that is searched, steered with and explained.
    published_form : str, optional
        Dictionary that is trained as the study's SAE; None: there is none.
    controls : sequence of str, optional
        Dictionaries that are controls of the main one; None: all with a control.
    """

    main: Sae
    published_form: str | None = None
    controls: Sequence[str] | None = None


def quality_rows(quality: Rows, widths: Widths, saes: Saes) -> Iterator[dict[str, Any]]:
    """Metrics of the main SAE, of the published form and of controls.

    Parameters
    ----------
    quality : iterable of mapping
        Columns of `saeflow.artifacts.scaling_examples.SCALING_QUALITY`.
    widths : mapping of (str, int) to int
        Latents of each SAE.
    saes : Saes
        Which is which.

    Yields
    ------
    dict
        Of the groups ``held_out``, documents that trained no SAE, and ``all``; with the control
        ``best_control`` the control with the largest value. ``zero_share``: of the entries of a vector
        of latents.
    """
    given = [each for each in quality if each["other_seed"] == -1]
    groups = {WHOLE: WHOLE} | _held_out(given)
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for place in _places(given, saes):
        for each in given:
            group, named = groups.get(each["split"]), each["control"]
            if group is None or (each["dictionary"], each["seed"]) != place.sae:
                continue
            if named not in (place.control, *((_RANDOM,) if place.control == NONE else ())):
                continue
            found = _row("quality", group, each, mode=place.mode, control=named)
            yield found
            if each["metric"] == "l0_mean" and place.sae in widths:
                yield _zero_share(found, widths[place.sae])
            value, key = each["value"], (group, each["metric"])
            if place.control != NONE and value is not None:
                known = best.get(key)
                if known is None or value > known["value"]:
                    best[key] = found | {"control": CONTROLS, "named": named}
    yield from best.values()


def untrained_rows(quality: Rows, saes: Saes) -> Iterator[dict[str, Any]]:
    """The main SAE's metrics on the untrained model, as those of a control."""
    for each in quality_rows(quality, {}, saes._replace(published_form=None, controls=())):
        if each["control"] == NONE:
            yield each | {"control": UNTRAINED}


def training_rows(training: Rows, widths: Widths, saes: Saes) -> Iterator[dict[str, Any]]:
    """Share of features that are active at the first and the last stretch of training.

    Parameters
    ----------
    training : iterable of mapping
        Columns of `saeflow.artifacts.scaling_training.SCALING_TRAINING`, of all SAEs.
    widths : mapping of (str, int) to int
        Latents of each SAE.
    saes : Saes
        The published form is read.
    """
    known = [
        each
        for each in training
        if (each["dictionary"], each["metric"]) == (saes.published_form, "l0")
        and each["value"] is not None
    ]
    sae = _form_of(known, saes)
    own = sorted(
        (each for each in known if (each["dictionary"], each["seed"]) == sae),
        key=lambda each: each["step"],
    )
    if sae is not None and sae in widths and own:
        for group, each in ((FIRST, own[0]), (LAST, own[-1])):
            share = row({}, "active_share", each["value"] / widths[sae], n=widths[sae])
            yield _row("training", group, {"layer": None} | share, mode=PUBLISHED)


def explanation_rows(
    summary: Rows, saes: Saes, control: str | None = None
) -> Iterator[dict[str, Any]]:
    """Scores of explanations; with `control`, their own ones under that name and no others.

    Parameters
    ----------
    summary : iterable of mapping
        Columns of `saeflow.artifacts.scaling_explanations.EXPLANATION_SUMMARY`.
    saes : Saes
        The main SAE.
    control : str, optional
        What another model's explanations are controls as.
    """
    for each in summary:
        if (each["dictionary"], each["seed"]) != saes.main:
            continue
        if control is None or each["control"] == NONE:
            named = control or each["control"]
            group = f"{each['method']}, {each['kind']}"
            yield _row("explanations", group, each, control=named)


class _Place(NamedTuple):
    sae: Sae
    mode: str
    control: str


def _places(given: Sequence[Row], saes: Saes) -> Iterator[_Place]:
    """SAEs that are read, and what as."""
    yield _Place(saes.main, CALIBRATED, NONE)
    form = _form_of(given, saes)
    if form is not None:
        yield _Place(form, PUBLISHED, NONE)
    seeds: dict[tuple[str, str], set[int]] = {}
    for each in given:
        if each["control"] in (NONE, _RANDOM):
            continue
        if saes.controls is None or each["dictionary"] in saes.controls:
            seeds.setdefault((each["dictionary"], each["control"]), set()).add(each["seed"])
    for (dictionary, control), some in seeds.items():
        yield _Place((dictionary, _nearest(some, saes)), CALIBRATED, control)


def _form_of(given: Sequence[Row], saes: Saes) -> Sae | None:
    seeds = {each["seed"] for each in given if each["dictionary"] == saes.published_form}
    return (str(saes.published_form), _nearest(seeds, saes)) if seeds else None


def _nearest(seeds: set[int], saes: Saes) -> int:
    """The main SAE's seed where there is one, else the first."""
    return saes.main[1] if saes.main[1] in seeds else min(seeds)


def _held_out(given: Sequence[Row]) -> dict[str, str]:
    """The split of documents that trained no SAE; validation, or the first by name."""
    others = sorted({each["split"] for each in given} - {"train", WHOLE})
    return {others[0] if "validation" not in others else "validation": HELD_OUT} if others else {}


def _zero_share(l0: Mapping[str, Any], width: int) -> dict[str, Any]:
    shares = {
        name: None if l0[end] is None else 1 - l0[end] / width
        for name, end in (("value", "value"), ("ci_low", "ci_high"), ("ci_high", "ci_low"))
    }
    return {**l0, "metric": "zero_share", **shares}


_COPIED = ("metric", "value", "ci_low", "ci_high", "interval", "n")


def _row(
    part: str, group: str, each: Row, *, mode: str = CALIBRATED, control: str = NONE
) -> dict[str, Any]:
    """A row of a public table, as sentences name it."""
    return {
        **row_key(part, group, mode, each["layer"]),
        "control": control,
        **{name: each[name] for name in _COPIED},
        **{name: each.get(name) for name in ("p_value", "q_value")},
    }


def row_key(part: str, group: str, mode: str, layer: int | None = None) -> dict[str, Any]:
    """Columns by which a sentence finds a row."""
    return {"part": part, "group": group, "mode": mode, "layer": layer}
