"""What a published sentence is, and how the number of a run that says the same is found."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Row = Mapping[str, Any]
"""A row of a study's summary."""


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
        None: a number of the whole model. A name or a number means what the study says
        (`find_row`).
    pooling : str, optional
        How features are pooled; None: whatever is first, or the summary has no such column.
    """

    part: str
    group: str
    metric: str
    mode: str = "calibrated"
    control: str = "none"
    layer: str | float | None = None
    pooling: str | None = None


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
        ``procedure`` or ``model``; ``none`` where the study holds no measurement.
    found : Wanted, optional
        Row of the summary that says the same of this run's model.
    by_procedure : Wanted, optional
        Row that the published procedure gives in this run.
    null : Wanted, optional
        Row of the control.
    below : bool
        Whether the statement holds where the number is below its control.
    suffices : bool
        Whether it says that something makes answers so, or holds of all that is tested: then most of
        them have to be.
    saes : bool
        Whether it is about the features of the study's SAEs.
    sizes : bool
        Whether it compares models of different sizes.
    fixed : float, optional
        What the number is held against where no row is: 0 for a correlation, say.
    further : tuple of Wanted
        Rows that the rule of this claim reads besides.
    about : str
        Which of the study's models it is about, where it has several; empty: any.
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
    sizes: bool = False
    fixed: float | None = None
    further: tuple[Wanted, ...] = ()
    about: str = ""


def find_row(
    rows: Sequence[Row], wanted: Wanted, fits: Callable[[Row, str | float | None], bool]
) -> Row | None:
    """First row that is wanted; None where there is none.

    Parameters
    ----------
    rows : sequence of mapping
        Of a summary.
    wanted : Wanted
        Which one.
    fits : callable
        Whether the layer of a row is the wanted one.
    """
    names = ["part", "metric", "mode", "control"] + ["pooling"] * (wanted.pooling is not None)
    group = re.compile(wanted.group)
    for each in rows:
        same = all(each[name] == getattr(wanted, name) for name in names)
        if same and group.fullmatch(each["group"]) and fits(each, wanted.layer):
            return each
    return None
