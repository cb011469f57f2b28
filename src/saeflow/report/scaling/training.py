"""Curves of training, SAE by SAE."""

from __future__ import annotations

from saeflow.report.scaling.model import ScalingModel
from saeflow.report.scaling.numbers import Figure, Numbers, Row, Sae, of_sae
from saeflow.report.scaling.panels import DASHED, DOTTED, SOLID, Line, Panel, panels_figure

CURVES = {
    "fvu": "variance unexplained",
    "l0": "active features per token",
    "dead_share": "share of dead features",
    "loss": "loss",
}
"""What is drawn, in words."""


def training_figure(model: ScalingModel) -> Figure | None:
    """Curves of every SAE of a model, and of the untrained model's that stands beside.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no training was recorded.
    """
    found = [
        (sae.title, SOLID if control == "none" else DASHED, _curves(model.numbers, sae))
        for sae, control in model.numbers.controls.items()
    ]
    if model.control is not None and model.beside is not None:
        curves = _curves(model.control, model.beside)
        found.append((f"{model.beside.title}, untrained model", DOTTED, curves))
    panels = [
        Panel(title, [Line(name, curves.get(metric, {}), style) for name, style, curves in found])
        for metric, title in CURVES.items()
    ]
    return panels_figure(panels, columns=2, title="tokens", format=".4g")


def _curves(numbers: Numbers, sae: Sae) -> dict[str, dict[int, Row]]:
    """Rows by metric and tokens, ascending."""
    found: dict[str, dict[int, Row]] = {}
    rows = of_sae(numbers.tables["training"], sae)
    for row in sorted(rows, key=lambda row: (row["metric"], row["step"])):
        if row["value"] is not None:
            fixed = {"value": row["value"], "ci_low": None, "ci_high": None}
            found.setdefault(row["metric"], {})[row["tokens"]] = fixed
    return found
