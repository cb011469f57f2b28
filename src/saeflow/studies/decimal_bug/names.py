"""Names that patches have in tables: donors, directions, parts of the plan, and chosen sites."""

from __future__ import annotations

from typing import NamedTuple

from saeflow.datasets.comparisons.formats import PUBLISHED

BUGGY, PLAIN = "buggy", "plain"
FORMS = {BUGGY: PUBLISHED["Q&A"], PLAIN: PUBLISHED["Simple"]}
PLAIN_TO_BUGGY, BUGGY_TO_PLAIN = "plain_to_buggy", "buggy_to_plain"
RECIPIENT = {PLAIN_TO_BUGGY: BUGGY, BUGGY_TO_PLAIN: PLAIN}
"""Format of the prompts that get activations, by direction."""
SAME_PAIR, OTHER_PAIR, UNLIKE_PAIR, MEAN = "same_pair", "other_pair", "unlike_pair", "mean"
WORD_PROBLEM, IDENTITY = "word_problem", "identity"
"""Donors that are named for no format; ``identity`` is the patched prompt itself."""
MODULES = ("attn_out", "mlp_out", "resid_post")
PARTS = ("head", "kv_group", "block")
SITES = ("attn_out", "kv_group", "head")
"""Kinds that a site is chosen from: parts of the model, which the study's blocks are not."""
BOTH = "both"
CHOICE, SITE, MAP, BLEND, SUBSETS, RANDOM = "choice", "site", "map", "blend", "subsets", "random"
NO_ITEM = -2
"""Number of a donor's pair where it has none; -1 is that of the study's own pair."""
OWN = "own"
"""Part and half of patches of the study's own pair, in its own form."""
SPARED = "spared"
"""Part and half of patches of unlike pairs, whose answers no bug changes."""
EXCHANGED = "exchanged"
"""Set of all units, each of which gets what another unit carries in the donor."""


class Site(NamedTuple):
    """Where activations are put in place.

    Attributes
    ----------
    layer : int
        Block, from 0.
    kind : str
        One of `SITES`.
    units : tuple of int or None
        The unit; None: the whole module.
    """

    layer: int
    kind: str
    units: tuple[int, ...] | None

    @property
    def name(self) -> str:
        """Such as ``kv_group 1``, or ``attn_out``."""
        return " ".join([self.kind, *map(str, self.units or ())])


def donor_name(kind: str, form: str) -> str:
    """Name of a donor, such as ``same_pair_plain``, for a kind and ``buggy`` or ``plain``."""
    return f"{kind}_{form}"


def in_direction(donor: str, direction: str) -> str:
    """Name of the donor of the other direction that corresponds to one of ``plain_to_buggy``."""
    kind, _, form = donor.rpartition("_")
    if direction == PLAIN_TO_BUGGY or form not in FORMS:
        return donor
    return donor_name(kind, PLAIN if form == BUGGY else BUGGY)


SAME_PLAIN = donor_name(SAME_PAIR, PLAIN)
OTHER_PLAIN = donor_name(OTHER_PAIR, PLAIN)
OTHER_BUGGY = donor_name(OTHER_PAIR, BUGGY)
UNLIKE_PLAIN = donor_name(UNLIKE_PAIR, PLAIN)
UNLIKE_BUGGY = donor_name(UNLIKE_PAIR, BUGGY)
MEAN_PLAIN, MEAN_BUGGY = donor_name(MEAN, PLAIN), donor_name(MEAN, BUGGY)
UNRELATED = (OTHER_BUGGY, UNLIKE_BUGGY, WORD_PROBLEM)
"""Donors that hold nothing of the plain format: what a site is chosen beside."""
