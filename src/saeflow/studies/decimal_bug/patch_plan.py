"""Which patches are tried: to choose on one half of the pairs, and to report on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.datasets.comparisons.pairs import CHOOSE, REPORT
from saeflow.interventions.patches import PHASES
from saeflow.interventions.units import Units
from saeflow.seeds import derive_seed
from saeflow.stats.games import plan_game
from saeflow.stats.subsets import random_sets, study_sets
from saeflow.studies.decimal_bug.names import (
    BLEND,
    BOTH,
    CHOICE,
    EXCHANGED,
    IDENTITY,
    MAP,
    MEAN_BUGGY,
    MEAN_PLAIN,
    MODULES,
    OTHER_BUGGY,
    OTHER_PLAIN,
    OWN,
    PARTS,
    PLAIN_TO_BUGGY,
    RANDOM,
    RECIPIENT,
    SAME_PLAIN,
    SITE,
    SITES,
    SPARED,
    SUBSETS,
    UNLIKE_PLAIN,
    UNRELATED,
    Site,
    in_direction,
)
from saeflow.studies.rows import CALIBRATED, PUBLISHED


class Trial(NamedTuple):
    """A patch, by the names of what it is made of; fields as in the table of patches.

    Attributes
    ----------
    part, mode, half, direction, donor : str
        As in `saeflow.artifacts.decimal_bug.PATCHES`.
    layer : int
        Block, from 0.
    kind : str
        Kind of units.
    units : tuple of int or None
        Ascending, perhaps none; None: the whole module.
    phase : str
        ``prefill``, ``decode`` or ``both``.
    weight : float
        Share of the donor.
    set : str
        Name of the set of units; empty where it has none.
    """

    part: str
    mode: str
    half: str
    direction: str
    donor: str
    layer: int
    kind: str
    units: tuple[int, ...] | None = None
    phase: str = BOTH
    weight: float = 1.0
    set: str = ""

    @property
    def units_text(self) -> str:
        """Numbers of the units as the table names them."""
        return "all" if self.units is None else ",".join(map(str, self.units))


def kinds_of_parts(units: Mapping[str, Units]) -> list[str]:
    """Kinds that modules are cut into; groups of heads only where they are no single heads."""
    same = units["head"].n_units == units["kv_group"].n_units
    return [kind for kind in PARTS if not (same and kind == "kv_group")]


def layer_choice(n_layers: int) -> Iterator[Trial]:
    """Whole modules of every layer, on the half that chooses."""
    for layer, kind, phase, donor in product(
        range(n_layers), MODULES, PHASES, (SAME_PLAIN, OTHER_BUGGY)
    ):
        yield _to_buggy(CHOICE, donor, layer, kind, half=CHOOSE, phase=phase)


def unit_choice(units: Mapping[str, Units], layer: int, settings: PatchSettings) -> Iterator[Trial]:
    """Single units of the chosen layer, on the half that chooses.

    Those that a site may be chosen from get what unrelated donors carry, too; and so does the whole
    module, as far as it was not tried to choose the layer.
    """
    others = [each for each in UNRELATED if each != OTHER_BUGGY and each in settings.donors]
    for donor in others:
        yield _to_buggy(CHOICE, donor, layer, "attn_out", half=CHOOSE)
    for kind in kinds_of_parts(units):
        given = (SAME_PLAIN, OTHER_BUGGY, *others) if kind in SITES else (SAME_PLAIN,)
        for unit, name in product(range(units[kind].n_units), given):
            yield _to_buggy(CHOICE, name, layer, kind, half=CHOOSE, units=(unit,))


def chosen_site(site: Site, settings: PatchSettings) -> Iterator[Trial]:
    """The chosen site with every donor, on the half that reports; means in both phases only."""
    for donor in _every_donor(settings):
        for phase in (BOTH,) if donor in (MEAN_PLAIN, MEAN_BUGGY) else PHASES:
            yield _to_buggy(SITE, donor, site.layer, site.kind, units=site.units, phase=phase)


def spared_pairs(site: Site) -> Iterator[Trial]:
    """The chosen site and the attention that it is of, in pairs that are not prone.

    They get what the same pair, and what a prone one, carries in its plain prompt. What mends the bug
    must leave their answers right; what makes any answer the number with fewer digits makes them wrong.
    """
    places = {(site.kind, site.units), ("attn_out", None)}
    for kind, units in sorted(places, key=lambda place: place[0]):
        for donor in (SAME_PLAIN, UNLIKE_PLAIN, IDENTITY):
            yield _to_buggy(SPARED, donor, site.layer, kind, half=SPARED, units=units)


def full_map(units: Mapping[str, Units], n_layers: int, settings: PatchSettings) -> Iterator[Trial]:
    """Whole modules and single units of every layer, in both directions.

    Modules get what every donor carries, in each phase; means are put in place in both phases only.
    Single units get what pairs carry, and the mean over prompts of their own format, which is what
    is left without them.
    """
    single = [each for each in (SAME_PLAIN, OTHER_PLAIN, OTHER_BUGGY) if each in settings.donors]
    for direction, layer in product(RECIPIENT, range(n_layers)):
        for donor, kind in product(_every_donor(settings), MODULES):
            trial = Trial(
                MAP, CALIBRATED, REPORT, direction, in_direction(donor, direction), layer, kind
            )
            for phase in (BOTH,) if donor in (MEAN_PLAIN, MEAN_BUGGY) else PHASES:
                yield trial._replace(phase=phase)
        for donor, kind in product((*single, MEAN_BUGGY), kinds_of_parts(units)):
            name = in_direction(donor, direction)
            for unit in range(units[kind].n_units):
                yield Trial(MAP, CALIBRATED, REPORT, direction, name, layer, kind, (unit,))


def blends(layer: int, weights: Sequence[float]) -> Iterator[Trial]:
    """What the study did to the whole output of attention, and either of its phases alone.

    Its patches are also done on each token of the answer, which gets what the donor's first token
    carries, so the answer may change through these (methods/4, section 5.6.3).
    """
    trial = _to_buggy(BLEND, SAME_PLAIN, layer, "attn_out", mode=PUBLISHED)
    for weight in weights:
        yield trial._replace(weight=weight)
    for phase in PHASES:
        if phase != BOTH:
            yield trial._replace(phase=phase)


def subsets(units: Mapping[str, Units], layer: int, settings: SubsetSettings) -> Iterator[Trial]:
    """Subsets of units of the chosen layer from which their values are computed."""
    for kind in kinds_of_parts(units):
        trial = _to_buggy(SUBSETS, SAME_PLAIN, layer, kind)
        for mask in game_masks(units[kind].n_units, settings):
            yield trial._replace(units=_numbers(mask))


def chosen_sets(
    units: Mapping[str, Units],
    layer: int,
    chosen: Mapping[str, Sequence[int]],
    settings: PatchSettings,
) -> Iterator[Trial]:
    """Sets of units that were chosen, beside random ones and exchanged units.

    Parameters
    ----------
    units : mapping of str to Units
        By kind.
    layer : int
        The chosen one.
    chosen : mapping of str to sequence of int
        By kind, units as they were ranked on the other half; the first 1, 2, 4 … are reported with
        every donor, beside random sets of as many.
    settings : PatchSettings
        Donors, and how many random sets there are.
    """
    for kind in kinds_of_parts(units):
        trial = _to_buggy(RANDOM, SAME_PLAIN, layer, kind)
        n_units = units[kind].n_units
        if n_units > 1:
            yield trial._replace(units=tuple(range(n_units)), set=EXCHANGED)
        seed = derive_seed(settings.seed, "decimal_bug", "random sets", kind)
        for size in _sizes(n_units):
            best = tuple(sorted(chosen[kind][:size]))
            for donor in _every_donor(settings):
                yield trial._replace(units=best, set=f"chosen_{size}", donor=donor)
            drawn = random_sets(range(n_units), size, settings.random_sets, seed=seed, without=best)
            for number, random in enumerate(drawn):
                yield trial._replace(units=random, set=f"random_{size}_{number}")


def published_sets(
    units: Mapping[str, Units], layer: int, settings: SubsetSettings
) -> Iterator[Trial]:
    """Sets of units that the study tried.

    Its blocks in its own form; and of any kind with aligned tokens, where units are so many that not
    every subset is tried anyway.
    """
    for kind in kinds_of_parts(units):
        n_units = units[kind].n_units
        modes = {PUBLISHED: kind == "block", CALIBRATED: n_units > settings.exhaustive}
        for mode, each in product(
            (mode for mode, wanted in modes.items() if wanted), study_sets(n_units)
        ):
            trial = _to_buggy(PUBLISHED, SAME_PLAIN, layer, kind, mode=mode)
            yield trial._replace(units=each.units, set=each.name)


def own_pair(trials: Sequence[Trial], n_layers: int) -> Iterator[Trial]:
    """What the study did, to its own pair: attention's output of every layer, both ways, and sets.

    Parameters
    ----------
    trials : sequence of Trial
        As `blends` and `published_sets` plan them for other pairs; those in the published form are
        done to this one.
    n_layers : int
        Blocks of the model.
    """
    whole = [
        Trial(
            OWN, PUBLISHED, OWN, direction, in_direction(SAME_PLAIN, direction), layer, "attn_out"
        )
        for direction, layer in product(RECIPIENT, range(n_layers))
    ]
    again = [each._replace(part=OWN, half=OWN) for each in trials if each.mode == PUBLISHED]
    yield from dict.fromkeys([*whole, *again])


def game_masks(n_units: int, settings: SubsetSettings) -> Bool[np.ndarray, "subsets units"]:
    """Subsets from which values of units are computed (`saeflow.stats.games.game_values`)."""
    return plan_game(
        n_units, exhaustive=settings.exhaustive, orders=settings.orders, seed=settings.seed
    ).masks


def _every_donor(settings: PatchSettings) -> tuple[str, ...]:
    return (*settings.donors, IDENTITY, MEAN_PLAIN, MEAN_BUGGY)


def _to_buggy(
    part: str,
    donor: str,
    layer: int,
    kind: str,
    *,
    mode: str = CALIBRATED,
    half: str = REPORT,
    units: tuple[int, ...] | None = None,
    phase: str = BOTH,
) -> Trial:
    return Trial(part, mode, half, PLAIN_TO_BUGGY, donor, layer, kind, units, phase)


def _sizes(n_units: int) -> list[int]:
    return [2**power for power in range(n_units.bit_length()) if 2**power < n_units]


def _numbers(mask: Bool[np.ndarray, " units"]) -> tuple[int, ...]:
    return tuple(mask.nonzero()[0].tolist())
