"""The report: one page that opens offline, from tables to HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from itables.utils import find_package_file
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

import saeflow
from saeflow.artifacts.catalog import LABELS, PROBLEMS, QUALITY, SUMMARY
from saeflow.artifacts.files import write_text
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import read_table
from saeflow.report.bands import ModelBands, read_bands
from saeflow.report.figures import RATES, rates_figure, units
from saeflow.report.tables import dataset_rows, feature_data, quality_rows, summary_blocks

PLOTLY = "plotly.min.js"
FRESH = "fresh:"
"""How the revision of a model with untrained weights begins."""


def write_report(
    *,
    template: Path,
    problems: Sequence[Path],
    banks: Sequence[Path],
    labels: Sequence[Path],
    summaries: Sequence[Path],
    spec: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write ``index.html`` and, beside it, the library that draws its figures.

    The same tables give the same bytes.

    Parameters
    ----------
    template : Path
        Jinja template; what it includes lies beside it.
    problems : sequence of Path
        ``{dataset}/problems.parquet``.
    banks : sequence of Path
        Folders ``{model}/{dictionary}/seed{seed}``.
    labels, summaries : sequence of Path
        ``{model}/labels.parquet`` and ``{model}/summary.parquet``.
    spec : mapping
        ``models``: names in order; ``published``: the study's settings; ``evaluated``: what
        the page about the models' abilities shows.
    folder : Path
        Where both go.
    """
    published = spec["published"]
    named = {path.parent.name: read_table(path, LABELS) for path in labels}
    context = {
        "version": saeflow.__version__,
        "published": published,
        "permutations": published["permutations"]["count"],
        "models": _models(spec["models"], summaries, banks, published),
        "datasets": dataset_rows(
            {path.parent.name: read_table(path, PROBLEMS) for path in problems}
        ),
        "features": feature_data({model: named[model] for model in spec["models"]}),
        "plotly": PLOTLY,
        "abilities": bool(spec["evaluated"]["latents"]),
        "datatables": _datatables(),
    }
    write_text(folder / PLOTLY, get_plotlyjs())
    write_text(folder / "index.html", render(template, context))


def render(template: Path, context: Mapping[str, Any]) -> str:
    """Fill a template; what comes from data is escaped, a name that is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # JSON has no NaN: one that got this far must not reach the browser's parser.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    return environment.get_template(template.name).render(context) + "\n"


def _models(
    names: Sequence[str], summaries: Sequence[Path], banks: Sequence[Path], spec: Mapping[str, Any]
) -> list[dict[str, Any]]:
    found = []
    paths = {path.parent.name: path for path in summaries}
    for name in names:
        summary = read_table(paths[name], SUMMARY)
        folders = [bank for bank in banks if bank.parent.parent.name == name]
        quality = [read_table(bank / "quality.parquet", QUALITY) for bank in folders]
        bands = read_bands(name, summary)
        found.append(
            {
                "name": name,
                **_what_ran(summary, bands),
                "summary": summary_blocks(bands, spec),
                "figure": rates_figure(bands),
                "units": _units(bands),
                "quality": quality_rows(quality),
            }
        )
    return found


def _what_ran(summary: pa.Table, bands: ModelBands) -> dict[str, Any]:
    metadata = metadata_of(summary.schema)
    revision = metadata.get("model_revision", "")
    return {
        "revision": revision,
        "fresh": revision.startswith(FRESH),
        "versions": {
            key.removeprefix("version."): value
            for key, value in metadata.items()
            if key.startswith("version.")
        },
        "datasets": list(dict.fromkeys(run.dataset for run in bands.runs)),
        "dictionaries": list(dict.fromkeys(run.dictionary for run in bands.runs)),
        "seeds": sorted({run.seed for run in bands.runs}),
        "modes": list(dict.fromkeys(run.mode for run in bands.runs)),
    }


def _units(bands: ModelBands) -> dict[str, str]:
    """Over how many units the numbers of each panel are taken, for the caption."""
    found = {}
    for metric in RATES:
        for axis in ("layer", "step"):
            numbers = units(bands, axis, metric)
            ends = list(dict.fromkeys(numbers[:1] + numbers[-1:]))
            found[f"{metric}_{axis}"] = " to ".join(f"{n:,}" for n in ends) or "no"
    return found


def _datatables() -> str:
    """Return DataTables as itables bundles it: a module, which a page from disk cannot load.

    Browsers refuse to import a file from a page without a server, so the page carries the module
    and imports it from memory, as itables does in its offline mode.
    """
    bundle = find_package_file("html", "dt_bundle.js")
    return base64.b64encode(bundle.read_bytes()).decode("ascii")
