"""Why a released SAE may not give what it should: the ways in which it could have been read instead."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.interventions.released.judge import (
    Release,
    judge_reconstruction,
    judge_recovery,
    passes,
)
from saeflow.interventions.released.measure import Measured, Reading, measure, measure_recovery
from saeflow.interventions.released.places import neighbours, place_name, read_places
from saeflow.interventions.released.tokens import CheckTokens
from saeflow.models.conventions import HookedLayer
from saeflow.models.language_model import LanguageModel

Places = dict[HookedLayer, Float[Tensor, "tokens d_in"]]

ALIKE = 0.02
"""Explained variances that differ by less are taken for equal; the variation that came first is named."""
_SEARCHED = 256
"""Tokens on which a scale is searched."""
_GRID = [float(each) for each in range(-10, 11)]
_STEPS = (0.5, 0.25, 0.125, 0.0625)


class Variation(NamedTuple):
    """Another way to read an SAE.

    Attributes
    ----------
    cause : str
        What would be wrong if it were the right one.
    how : str
        What differs, for people.
    reading : Reading
        The way.
    x : torch.Tensor of shape (tokens, d_in)
        Plain activations of its place.
    """

    cause: str
    how: str
    reading: Reading
    x: Float[Tensor, "tokens d_in"]


def likely_cause(
    model: LanguageModel,
    reading: Reading,
    release: Release,
    tokens: CheckTokens,
    places: Places,
    hook: str,
) -> str:
    """Try hook, centring, scaling and begin token in turn, and say which makes an SAE pass.

    Parameters
    ----------
    model : LanguageModel
        The model.
    reading : Reading
        How the SAE was read when it failed.
    release : Release
        What it should give.
    tokens : CheckTokens
        What the model reads.
    places : dict of HookedLayer to torch.Tensor
        Activations of its place and of those beside it.
    hook : str
        The configured hook, in whose words places are named.

    Returns
    -------
    str
        A clause without a full stop.
    """
    tried: list[tuple[Variation, Measured, bool]] = []
    for variation in _variations(model, reading, tokens, places, hook):
        found = measure(variation.reading, variation.x, model.device)
        fits = passes(judge_reconstruction(found, release, reading.sae.d_in))
        if fits:
            rows = tokens.with_begin(variation.reading.begin)
            recovered = measure_recovery(model, variation.reading, rows, variation.x)
            fits = passes(judge_recovery(recovered))
        tried.append((variation, found, fits))
    fitting = [each for each in tried if each[2]]
    variation, found = _best(fitting or tried)
    numbers = f"explained variance {found.explained_variance:.3g}, l0 {found.l0:.3g}"
    if fitting:
        return f"the likely cause is {variation.cause}: {variation.how} it passes ({numbers})"
    return (
        "no other hook beside it, centring, scaling or begin token makes it pass; it comes closest "
        f"{variation.how} ({numbers})"
    )


def _best(tried: list[tuple[Variation, Measured, bool]]) -> tuple[Variation, Measured]:
    """The first of those that explain most."""
    shares = [_finite(found.explained_variance) for _, found, _ in tried]
    first = next(n for n, share in enumerate(shares) if share >= max(shares) - ALIKE)
    return tried[first][:2]


def _finite(share: float) -> float:
    return share if math.isfinite(share) else -1e30


def _variations(
    model: LanguageModel, reading: Reading, tokens: CheckTokens, places: Places, hook: str
) -> Iterator[Variation]:
    layer, own = reading.sae.sites[0].layer, reading.place
    for place in neighbours(hook, layer, model.n_layers):
        if place in places and places[place].shape[1] == reading.sae.d_in:
            how = f"read at {place_name(place, hook)} instead of {place_name(own, hook)}"
            yield Variation("the hook", how, replace(reading, place=place), places[place])
    if reading.centred:
        how, other = "without centring", replace(reading, centred=False)
    else:
        how, other = "with activations centred over their dimensions", reading.in_its_centre()
    yield Variation("centring", how, other, places[own])
    yield from _scalings(reading, places[own], model.device)
    found = read_places(model, tokens.with_begin(not reading.begin), [own])
    how = f"with{'out' if reading.begin else ''} a begin token before each text"
    yield Variation("the begin token", how, replace(reading, begin=not reading.begin), found[own])


def _scalings(
    reading: Reading, x: Float[Tensor, "tokens d_in"], device: torch.device
) -> Iterator[Variation]:
    """What is read and given back in another unit, or one of them alone."""
    for what, back in (
        ("activations (and the reconstruction divided by it)", True),
        ("what the encoder reads", False),
    ):
        scale, name = _fitting_scale(reading, x[:_SEARCHED], device, back)
        how = f"with {what} multiplied by {scale:.3g}{name}"
        other = reading.scaled(scale, 1 / scale if back else 1.0)
        yield Variation("scaling", how, other, x)
    sae, target = reading.sae.to(device), reading.target(x).to(device)
    given = sae.decode(sae.encode(target[None]))[0]
    squares = float(given.double().square().sum())
    if squares > 0:
        scale = float((given.double() * target.double()).sum()) / squares
        how = f"with the reconstruction multiplied by {scale:.3g}"
        yield Variation("scaling", how, reading.scaled(1.0, scale), x)


def _fitting_scale(
    reading: Reading, x: Float[Tensor, "tokens d_in"], device: torch.device, back: bool
) -> tuple[float, str]:
    """Factor of activations under which an SAE explains most, and what that factor is."""

    def explained(power: float) -> float:
        scale = 2.0**power
        other = reading.scaled(scale, 1 / scale if back else 1.0)
        return _finite(measure(other, x, device).explained_variance)

    found = {power: explained(power) for power in _GRID}
    for step in _STEPS:
        best = max(found, key=lambda power: found[power])
        found |= {power: explained(power) for power in (best - step, best + step)}
    best = max(found, key=lambda power: found[power])
    norm = float(reading.target(x).norm(dim=1).mean())
    unit = math.log2(reading.sae.d_in**0.5 / norm) if norm > 0 else 0.0
    named = {unit: ", √d_in over their mean norm", -unit: ", their mean norm over √d_in"}
    for power, name in named.items():
        if explained(power) >= found[best] - ALIKE:
            return 2.0**power, name
    return 2.0**best, ""
