"""Page of the listed features of a model's main wide SAE, and the data that it loads on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from saeflow.artifacts.scaling_examples import (
    SCALING_DENSITIES,
    SCALING_EXAMPLES,
    SCALING_FEATURES,
    SCALING_MAP,
    SCALING_NEIGHBOURS,
    SCALING_TOKENS,
)
from saeflow.artifacts.scaling_explanations import EXPLANATION_SCORES, EXPLANATIONS
from saeflow.artifacts.scaling_search import SEARCH
from saeflow.report.scaling.features_details import detail_blocks
from saeflow.report.scaling.features_map import DRAWN, density_figure, map_figure
from saeflow.report.scaling.features_rows import FeatureTables, feature_rows, main_tables
from saeflow.report.shades import STEPS, legend
from saeflow.report.site import Link, Site

BLOCK = 50
"""Features per chunk of details."""


def features_page(model: str) -> str:
    """File name of the page of a model's features."""
    return f"scaling-{model}-features.html"


def write_features_page(
    site: Site,
    model: str,
    tables: Mapping[str, pa.Table],
    *,
    back: Sequence[Link] = (),
    level: str = "document_max",
) -> None:
    """Write the page and its chunks.

    ``data/scaling-MODEL-features.js`` holds the rows of the table, ``scaling-MODEL-features-BLOCK.js``
    what features open to: tokens, contexts, neighbours, explanations.

    Parameters
    ----------
    site : Site
        Where to.
    model : str
        Name of the model.
    tables : mapping of str to pyarrow.Table
        ``features``, ``examples``, ``tokens``, ``neighbours``, ``map`` and ``densities`` with columns of
        `saeflow.artifacts.scaling_examples`; ``explanations`` and ``explanation_scores`` with those of
        `saeflow.artifacts.scaling_explanations`; and ``search`` with those of
        `saeflow.artifacts.scaling_search.SEARCH`, where the model's features were searched. More tables
        are left alone.
    back : sequence of Link, optional
        Pages that this one belongs to.
    level : str
        What the search ranks in the number that is told of a feature in the table: ``document_max``,
        ``document_mean`` or ``token``; the others are among its details. One that was not searched by
        gives way to the first that was.

    Raises
    ------
    SaeflowError
        If features of several SAEs are listed, or no feature was read.
    """
    found = {
        name: tables[name] if name in tables else artifact.schema().empty_table()
        for name, artifact in TABLES.items()
        if name in tables or name != "search"
    }
    main = main_tables(found, level)
    features = main.features
    chunk = features_page(model).removesuffix(".html")
    rows = feature_rows(main, features)
    site.write_rows(chunk, rows)
    for number, details in enumerate(detail_blocks(main, features, BLOCK)):
        site.write_chunk(f"{chunk}-{number}", details)
    figures = {"map": map_figure(main), "densities": density_figure(main, features)}
    context = {
        "model": model,
        "back": back,
        "manifest": {
            "chunk": chunk,
            "block": BLOCK,
            "steps": STEPS,
            "splits": main.splits,
            "bins": _bins(main),
            "searched": "search" in main.tables,
            "level": main.level,
        },
        "n_features": len(features),
        "n_all": len(main.tables["features"]["feature"].unique()),
        "n_explained": len(main.tables["explanations"]["feature"].unique()),
        "drawn": DRAWN if len(main.tables["map"]) > DRAWN else None,
        "legend": [each for each in legend() if _signed(main) or each["mark"].startswith("p")],
        "site": {"dictionary": main.dictionary, "seed": main.seed, "layer": main.layer},
        "ids": {name: figure is not None for name, figure in figures.items()},
    }
    site.write_page(features_page(model), "scaling_features.html.jinja", context, figures)


TABLES = {
    "features": SCALING_FEATURES,
    "examples": SCALING_EXAMPLES,
    "tokens": SCALING_TOKENS,
    "neighbours": SCALING_NEIGHBOURS,
    "map": SCALING_MAP,
    "densities": SCALING_DENSITIES,
    "explanations": EXPLANATIONS,
    "explanation_scores": EXPLANATION_SCORES,
    "search": SEARCH,
}
"""Tables that the page reads; one that is missing but the last reads as an empty one."""


def _bins(main: FeatureTables) -> int:
    """Parts between 0 and the largest activation; the last holds that activation, of some split."""
    last: Any = pc.max(main.tables["examples"]["bin"]).as_py()
    return 0 if last is None else int(last) + 1


def _signed(main: FeatureTables) -> bool:
    """Whether any activation that is shown is below 0."""
    values = main.tables["examples"]["activations"].combine_chunks()
    least: Any = pc.min(values.flatten()).as_py()
    return least is not None and bool(least < 0)
