"""Which layer, module and units are chosen, on the half of the pairs that nothing is reported of."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from saeflow.datasets.comparisons.pairs import CHOOSE
from saeflow.datasets.texts.judge import RIGHT
from saeflow.errors import SaeflowError
from saeflow.studies.decimal_bug.names import (
    BOTH,
    CHOICE,
    OTHER_BUGGY,
    SAME_PLAIN,
    SITES,
    UNRELATED,
    Site,
)


def choose_layer(patches: pa.Table, kind: str = "attn_out") -> int:
    """Layer whose module makes most answers right, beyond what another buggy pair's module does.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`; only the half that chooses is read.
    kind : str
        ``attn_out``, ``mlp_out`` or ``resid_post``.

    Returns
    -------
    int
        The lowest of the best layers, from 0.

    Raises
    ------
    SaeflowError
        If the table does not hold the modules.
    """
    frame = _choice(patches, kind)
    frame = frame[frame["phase"] == BOTH]
    shares = (frame["verdict"] == RIGHT).groupby([frame["donor"], frame["layer"]]).mean().unstack(0)
    if not {SAME_PLAIN, OTHER_BUGGY} <= set(shares):
        raise SaeflowError(
            f"the table of patches does not hold the choice of a layer of the kind {kind}; expected "
            f"the donors {SAME_PLAIN} and {OTHER_BUGGY}."
        )
    beyond = (shares[SAME_PLAIN] - shares[OTHER_BUGGY]).sort_index()
    # Shares of as many pairs differ by whole pairs, whatever their last bits are.
    best: int = beyond.index.tolist()[int(beyond.round(9).to_numpy().argmax())]
    return best


def choose_site(patches: pa.Table) -> Site:
    """Module or single unit of the chosen layer that carries the format and little else.

    What counts is how many answers the plain prompt of the same pair makes right beyond the unrelated
    donor that makes most right; of equals, the one that makes most right itself.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`; only the half that chooses is read.

    Raises
    ------
    SaeflowError
        As `choose_layer` does.
    """
    layer = choose_layer(patches)
    sites: dict[Site, tuple[float, float]] = {}
    for kind in SITES:
        frame = _choice(patches, kind)
        frame = frame[(frame["phase"] == BOTH) & (frame["layer"] == layer)]
        for units, some in frame.groupby("units", sort=True):
            shares = (some["verdict"] == RIGHT).groupby(some["donor"]).mean().to_dict()
            beside = max(shares[each] for each in UNRELATED if each in shares)
            unit = None if units == "all" else (int(str(units)),)
            right = shares[SAME_PLAIN]
            sites[Site(layer, kind, unit)] = round(right - beside, 9), right
    return max(sites, key=lambda site: sites[site])


def rank_units(patches: pa.Table, kind: str) -> list[int]:
    """Units by how much each alone moves the logit difference to the truth, the most first.

    Parameters
    ----------
    patches : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`; only the half that chooses is read.
    kind : str
        ``head``, ``kv_group`` or ``block``.
    """
    frame = _choice(patches, kind)
    frame = frame[frame["donor"] == SAME_PLAIN]
    gain = frame["logit_difference"] - frame["clean_logit_difference"]
    means = gain.groupby(frame["units"].astype(int)).mean().sort_index()
    ranked: list[int] = means.sort_values(ascending=False, kind="stable").index.tolist()
    return ranked


def _choice(patches: pa.Table, kind: str) -> pd.DataFrame:
    wanted = pc.field("part") == CHOICE
    for name, value in (("half", CHOOSE), ("kind", kind)):
        wanted &= pc.field(name) == value
    frame: pd.DataFrame = patches.filter(wanted).to_pandas()
    return frame
