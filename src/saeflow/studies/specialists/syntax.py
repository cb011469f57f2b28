"""How much of specialists' activation falls on syntactic tokens, beside what any feature's does."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from saeflow.stats.resampling import BOOTSTRAP
from saeflow.studies.rows import NONE, PUBLISHED, row
from saeflow.studies.specialists.behaviour import SpecialistFeature, TokenMass, syntactic_share
from saeflow.studies.specialists.rows import Key

ALL_FEATURES, TOKENS = "all_features", "tokens"
"""Controls: all features of the same SAE together, and how many tokens are syntactic."""


def syntactic_rows(
    key: Key,
    mass: TokenMass,
    specialists: Sequence[SpecialistFeature],
    contents: Sequence[Hashable],
    *,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Share of each specialist's activation on syntactic tokens (methods/3, section 4.5, D).

    Controls are taken over the texts on which the specialist is active: a text of digits and operators
    gives any feature a large share.

    Parameters
    ----------
    key : mapping
        Values of the columns dictionary, seed, mode and pooling: where the specialists were chosen.
    mass : TokenMass
        Of these specialists, in this order.
    specialists : sequence of SpecialistFeature
        One at most of each class and block.
    contents : sequence of hashable
        Content of each text; its forms are resampled as one.
    seed : int
        Seed of the resamples.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, part ``tokens``: by specialist the
        share, then both controls; in published mode without intervals.
    """
    for number, each in enumerate(specialists):
        where = {"part": "tokens", **key, "layer": each.layer, "group": each.name}
        own = mass.specialists[:, number]
        active = own.sum(1) > 0
        named = [content for content, some in zip(contents, active, strict=True) if some]
        for control, values in (
            (NONE, own),
            (ALL_FEATURES, mass.features[:, mass.layers.index(each.layer)]),
            (TOKENS, mass.tokens),
        ):
            found = syntactic_share(values[active].astype(float), named, seed)
            ends = None if key["mode"] == PUBLISHED else (found.low, found.high)
            yield row(
                where,
                "syntactic_share",
                found.value,
                n=found.n,
                ends=ends,
                interval=BOOTSTRAP,
                control=control,
            )
