"""Claims of all models of a run, each beside those of its untrained control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from saeflow.studies.scaling.claim_rows import Saes
from saeflow.studies.scaling.claims import scaling_claims


def judged_models(
    tables: Mapping[str, Mapping[str, pa.Table]], settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, pa.Table]:
    """Judge every published sentence for every model.

    Parameters
    ----------
    tables : mapping of str to mapping of str to pyarrow.Table
        By model and name, as `saeflow.studies.scaling.claims.scaling_claims` reads them.
    settings : mapping of str to mapping
        By model: ``main`` (dictionary and seed), ``published_form`` and ``controls`` of `Saes`;
        ``own_weights``; and ``untrained``, the name of its untrained control or None.

    Returns
    -------
    dict of str to pyarrow.Table
        By model; columns of `saeflow.artifacts.claims.CLAIMS`.
    """
    found = {}
    for model, block in settings.items():
        dictionary, seed = block["main"]
        found[model] = scaling_claims(
            tables[model],
            own_weights=block["own_weights"],
            saes=Saes(
                (dictionary, seed),
                published_form=block["published_form"],
                controls=block["controls"],
            ),
            untrained=None if block["untrained"] is None else tables[block["untrained"]],
        )
    return found
