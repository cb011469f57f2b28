"""What a published sentence is, and how the number of a run that says the same is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Published:
    """A published sentence.

    Attributes
    ----------
    claim : str
        Short name.
    source, statement, published : str
        Where, what and which number.
    scope : str
        ``procedure`` or ``model``.
    found : Wanted, optional
        Row of the summary that says the same of this run's model.
    by_procedure : Wanted, optional
        Row that the published procedure gives in this run.
    null : Wanted, optional
        Row of the control.
    below : bool
        Whether the statement holds where the number is below its control.
    suffices : bool
        Whether it says that something makes answers so: then most of them have to be.
    saes : bool
        Whether it is about the features of the study's SAEs.
    """

    claim: str
    source: str
    statement: str
    published: str
    scope: Literal["procedure", "model", "none"]
    found: Wanted | None = None
    by_procedure: Wanted | None = None
    null: Wanted | None = None
    below: bool = False
    suffices: bool = False
    saes: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which row of the summary: the first whose columns are these.

    Attributes
    ----------
    part, metric, mode, control : str
        As in the summary.
    group : str
        Regular expression that the whole group is.
    layer : str, float or None
        None: a number of the whole model; ``chosen``: of the layer whose attention is patched; a
        number: of the layer at that relative depth, as of one that the study names.
    """

    part: str
    group: str
    metric: str
    mode: str = "calibrated"
    control: str = "none"
    layer: Literal["chosen"] | float | None = None
