"""What the hierarchy study published about its one SAE, and of SAEs of other k (methods/2, 3.5-3.6)."""

from __future__ import annotations

from dataclasses import dataclass

PUBLISHED_SAE = "CODI-Llama-3.2-1B, layer 14, position 3, k 100, d_sae 512"
"""The SAE of every figure that names no other k."""
PUBLISHED_PROBLEMS = 1_495
"""Validation problems that all figures are of."""
VERDICT = "failed"
"""What the study concluded of its ablations by the share of HIGH it had set itself, 70 %.

Its report then lowered the criterion until they passed.
"""


@dataclass(frozen=True)
class PublishedCount:
    """Features of which something was found, among those it was asked of.

    Attributes
    ----------
    name : str
        What was found of them.
    features : str
        Which features it was asked of.
    count, of : int
        So many, of so many.
    metric : str
        Metric of `saeflow.artifacts.hierarchy.HIERARCHY`, in the mode ``published`` or of the sweep,
        that counts by the same rule; its n is what `of` is here.
    group : str
        Group of that table; ``k=50`` and the like are of the sweep over k, which looks at all
        features that fire, where the study looked at some ranks.
    rare : int or None
        How many of the counted fire on at most four problems, where that is known.
    source : str
        The study's own file that holds it, or script that counts it.
    """

    name: str
    features: str
    count: int
    of: int
    metric: str
    group: str
    rare: int | None
    source: str

    @property
    def share(self) -> float:
        """Those found among those it was asked of."""
        return self.count / self.of


PUBLISHED_COUNTS = (
    PublishedCount(
        name="impact HIGH",
        features="the 10 most frequent",
        count=3,
        of=10,
        metric="n_high",
        group="top",
        rare=None,
        source="validation_results_layer14_pos3.json",
    ),
    PublishedCount(
        name="specialised",
        features="ranks 50 to 200",
        count=1,
        of=151,
        metric="n_specialised",
        group="50-200",
        rare=0,
        source="activation_analysis_layer14_pos3_rank50-200.json",
    ),
    PublishedCount(
        name="specialised",
        features="ranks 400 to 512 that fire",
        count=5,
        of=109,
        metric="n_specialised",
        group="400-512",
        rare=None,
        source="activation_analysis_layer14_pos3_rank400-512.json",
    ),
    PublishedCount(
        name="specialised, with measurable impact",
        features="specialised, ranks 400 to 512",
        count=0,
        of=5,
        metric="n_measurable",
        group="400-512",
        rare=None,
        source="validation_results_layer14_pos3.json",
    ),
    PublishedCount(
        name="specialised",
        features="k 50, ranks 200 to 348",
        count=29,
        of=149,
        metric="n_specialised",
        group="k=50",
        rare=27,
        source="train_large_k.py",
    ),
    PublishedCount(
        name="specialised",
        features="k 75, ranks 300 to 455",
        count=30,
        of=156,
        metric="n_specialised",
        group="k=75",
        rare=30,
        source="train_large_k.py",
    ),
    PublishedCount(
        name="specialised",
        features="k 100, ranks 400 to 512 that fire",
        count=5,
        of=109,
        metric="n_specialised",
        group="k=100",
        rare=None,
        source="train_large_k.py",
    ),
    PublishedCount(
        name="specialised",
        features="k 200, ranks 400 to 512",
        count=0,
        of=113,
        metric="n_specialised",
        group="k=200",
        rare=0,
        source="train_large_k.py",
    ),
    PublishedCount(
        name="specialised",
        features="k 300, ranks 400 to 512",
        count=0,
        of=113,
        metric="n_specialised",
        group="k=300",
        rare=0,
        source="train_large_k.py",
    ),
)
"""In the order in which the study tells them; where it swept k, from the smallest."""

PUBLISHED_ACTIVE = {332: 4, 194: 1, 392: 1}
"""Problems on which specialised features fire, by feature; the study's text says 5, 2 and 2."""
