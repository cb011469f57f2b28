"""The page about what the models can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import saeflow
from saeflow.artifacts.catalog import EVALUATION, TRAINING
from saeflow.artifacts.files import write_text
from saeflow.artifacts.tables import read_table
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
from saeflow.report.page import PLOTLY, render

PAGE = "models.html"


def write_models_page(
    *,
    template: Path,
    evaluations: Sequence[Path],
    curves: Mapping[str, Path],
    latents: Mapping[str, int],
    folder: Path,
) -> None:
    """Write ``models.html``, unless no model was evaluated.

    Parameters
    ----------
    template : Path
        Jinja template; what it includes lies beside it.
    evaluations : sequence of Path
        ``{model}/evaluation.parquet``.
    curves : mapping of str to Path
        Curves of the training, of those models that bring them.
    latents : mapping of str to int
        Latent thoughts of each evaluated model, in the order of the page.
    folder : Path
        Folder of the report, which holds plotly.
    """
    if not latents:
        return
    paths = {path.parent.name: path for path in evaluations}
    context = {
        "version": saeflow.__version__,
        "models": [_model(name, paths[name], curves.get(name)) for name in latents],
        "latents": " or ".join(str(n) for n in sorted(set(latents.values()))),
        "conditions": [*CONDITIONS.values(), "Commonest answer"],
        "plotly": PLOTLY,
    }
    write_text(folder / PAGE, render(template, context))


def _model(name: str, evaluation: Path, curves: Path | None) -> dict[str, Any]:
    cells = cells_of(read_table(evaluation, EVALUATION))
    return {
        "name": name,
        "problems": problem_rows(cells),
        "decimals": decimal_rows(cells, list(FORMATS)),
        "decimal_groups": [group.replace("_", " ") for group in decimal_groups(cells)],
        "texts": text_rows(cells),
        "lens": lens_figure(cells),
        "curves": curves_figure(read_table(curves, TRAINING)) if curves else None,
    }
