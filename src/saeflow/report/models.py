"""The page about what the models can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from saeflow.datasets.texts.decimals import FORMATS
from saeflow.report.abilities import (
    CONDITIONS,
    cells_of,
    curves_figure,
    decimal_groups,
    decimal_rows,
    lens_figure,
    problem_rows,
    text_rows,
)
from saeflow.report.site import Link, Site

MODELS = Link("What the models can do", "models.html")


def write_models_page(
    site: Site,
    evaluations: Mapping[str, pa.Table],
    curves: Mapping[str, pa.Table],
    latents: Mapping[str, int],
) -> None:
    """Write the page.

    Parameters
    ----------
    site : Site
        Where to.
    evaluations : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.catalog.EVALUATION`, by model.
    curves : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.catalog.TRAINING`, of those models that bring them.
    latents : mapping of str to int
        Latent thoughts of each evaluated model, in the order of the page.
    """
    models = [_model(name, evaluations[name], name in curves) for name in latents]
    context = {
        "models": models,
        "latents": " or ".join(str(n) for n in sorted(set(latents.values()))),
        "conditions": [*CONDITIONS.values(), "Commonest answer"],
    }
    figures = {}
    for number, name in enumerate(latents, start=1):
        if models[number - 1]["problems"]:
            figures[f"model-{number}-lens"] = lens_figure(cells_of(evaluations[name]))
        if name in curves:
            figures[f"model-{number}-curves"] = curves_figure(curves[name])
    site.write_page(MODELS.href, "models.html.jinja", context, figures)


def _model(name: str, evaluation: pa.Table, curves: bool) -> dict[str, Any]:
    cells = cells_of(evaluation)
    return {
        "name": name,
        "problems": problem_rows(cells),
        "decimals": decimal_rows(cells, list(FORMATS)),
        "decimal_groups": [group.replace("_", " ") for group in decimal_groups(cells)],
        "texts": text_rows(cells),
        "curves": curves,
    }
