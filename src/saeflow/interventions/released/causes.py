"""Why a released SAE may not give what it should: the ways in which it could have been read instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
    for variation in _variations(model, reading, release, tokens, places, hook):
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
    model: LanguageModel,
    reading: Reading,
    release: Release,
    tokens: CheckTokens,
    places: Places,
    hook: str,
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
    yield from _scalings(reading, places[own], release, model.device)
    found = read_places(model, tokens.with_begin(not reading.begin), [own])
    how = f"with{'out' if reading.begin else ''} a begin token before each text"
    yield Variation("the begin token", how, replace(reading, begin=not reading.begin), found[own])


def _scalings(
    reading: Reading, x: Float[Tensor, "tokens d_in"], release: Release, device: torch.device
) -> Iterator[Variation]:
    """What is read and given back in another unit, or one of them alone."""
    for what, back in (
        ("activations (and the reconstruction divided by it)", True),
        ("what the encoder reads", False),
    ):
        for scale, name in _scales(reading, x[:_SEARCHED], release, device, back):
            how = f"with {what} multiplied by {scale:.3g}{name}"
            yield Variation("scaling", how, _scaled(reading, scale, back), x)
    sae, target = reading.sae.to(device), reading.target(x).to(device)
    given = sae.decode(sae.encode(x.to(device)[None]))[0]
    squares = float(given.double().square().sum())
    if squares > 0:
        scale = float((given.double() * target.double()).sum()) / squares
        how = f"with the reconstruction multiplied by {scale:.3g}"
        yield Variation("scaling", how, reading.scaled(1.0, scale), x)


def _scaled(reading: Reading, scale: float, back: bool) -> Reading:
    return reading.scaled(scale, 1 / scale if back else 1.0)


def _scales(
    reading: Reading,
    x: Float[Tensor, "tokens d_in"],
    release: Release,
    device: torch.device,
    back: bool,
) -> list[tuple[float, str]]:
    """Factors of activations that are worth a try: usual ones if they fit, else what fits best."""

    def measured(scale: float) -> Measured:
        return measure(_scaled(reading, scale, back), x, device)

    norm = float(reading.target(x).norm(dim=1).mean())
    unit = reading.sae.d_in**0.5 / norm if norm > 0 else 1.0
    usual = [(unit, ", √d_in over their mean norm"), (1 / unit, ", their mean norm over √d_in")]
    fitting = [
        (scale, name)
        for scale, name in usual
        if passes(judge_reconstruction(measured(scale), release, reading.sae.d_in))
    ]
    return fitting or [(_best_scale(lambda scale: _fit(measured(scale), release)), "")]


def _fit(found: Measured, release: Release) -> float:
    """How much is explained, less for another number of latents than published.

    Where all of them pass a threshold, more are active and more is explained, however wrong the scale.
    """
    wanted = release.l0 or found.l0
    off = abs(math.log2(found.l0 / wanted)) if found.l0 > 0 else 10.0
    return _finite(found.explained_variance) - off


def _best_scale(fit: Callable[[float], float]) -> float:
    """Search powers of 2, then between them."""
    found = {power: fit(2.0**power) for power in _GRID}
    for step in _STEPS:
        best = max(found, key=lambda power: found[power])
        found |= {power: fit(2.0**power) for power in (best - step, best + step)}
    best = max(found, key=lambda power: found[power])
    return float(2.0**best)
