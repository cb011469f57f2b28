"""The report as a folder: pages that open from disk, what they share, and data loaded on demand."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from itables.utils import find_package_file
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

import saeflow
from saeflow.artifacts.files import atomic_file, write_text
from saeflow.errors import SaeflowError

SHARED = (
    "page.css",
    "page.js",
    "feature_parts.js",
    "features.js",
    "scaling_features.js",
    "tables.js",
)
"""Files of the templates' folder that pages load as they are."""
PLOTLY = "plotly.min.js"
DATATABLES = "datatables.min.js"
_EXPORT = " as default,"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive can tell: the same pages give the same archive."""


class Link(NamedTuple):
    """An entry of the navigation."""

    title: str
    href: str


def model_page(model: str) -> str:
    """File name of a model's page."""
    return f"gsm8k-{model}.html"


@dataclass(frozen=True)
class Site:
    """Where pages go and what all of them show.

    Attributes
    ----------
    templates : Path
        Folder of the Jinja templates and of the files in `SHARED`.
    folder : Path
        Folder of the report.
    links : sequence of Link
        Navigation, in order.
    """

    templates: Path
    folder: Path
    links: Sequence[Link]

    def write_assets(self) -> None:
        """Write what pages load: style, scripts, plotly and the table library, once each."""
        assets = self.folder / "assets"
        write_text(assets / PLOTLY, get_plotlyjs())
        write_text(assets / DATATABLES, datatables())
        for name in SHARED:
            write_text(assets / name, (self.templates / name).read_text(encoding="utf-8"))

    def write_page(
        self,
        name: str,
        template: str,
        context: Mapping[str, Any],
        figures: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Fill a template.

        Parameters
        ----------
        name : str
            File name of the page.
        template : str
            File name of its template.
        context : mapping
            What the template reads; what comes from data is escaped.
        figures : mapping of str to mapping, optional
            Figures by the id of the element that they are drawn into; None is left out.
        """
        drawn = {target: figure for target, figure in (figures or {}).items() if figure}
        shared = {
            "version": saeflow.__version__,
            "links": self.links,
            "page": name,
            "figures": drawn,
            "plotly": PLOTLY,
            "datatables": DATATABLES,
        }
        text = template_text(self.templates, template, {**shared, **context})
        write_text(self.folder / name, text + "\n")

    def write_chunk(self, name: str, data: Any) -> None:
        """Write data that a page asks for by name: a classic script that hands them over.

        A page from disk can neither fetch a file nor import a module; it can add a script.
        """
        self._hand_over(name, [_json(data)])

    def write_rows(self, name: str, rows: Iterable[Any]) -> None:
        """Write a list as `write_chunk` does, without holding more than a row of it."""
        separated = (("," if place else "") + _json(row) for place, row in enumerate(rows))
        self._hand_over(name, chain("[", separated, "]"))

    def _hand_over(self, name: str, parts: Iterable[str]) -> None:
        with (
            atomic_file(self.folder / "data" / f"{name}.js") as partial,
            partial.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.writelines(chain([f'saeflow.receive("{name}",'], parts, [");\n"]))


def write_archive(folder: Path, path: Path) -> None:
    """Zip a report, with the folder's name on top; the same pages give the same bytes."""
    with (
        atomic_file(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            inside = Path(path.stem, file.relative_to(folder)).as_posix()
            entry = zipfile.ZipInfo(inside, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes(), compress_type=zipfile.ZIP_DEFLATED)


def datatables() -> str:
    """Return DataTables, as itables bundles it, as a classic script that sets ``DataTable``.

    The bundle is a module, which a page from disk cannot load; its one export becomes a property
    of the window.

    Raises
    ------
    SaeflowError
        If the bundle of the installed itables does not end in one list of exports.
    """
    bundle = find_package_file("html", "dt_bundle.js").read_text(encoding="utf-8")
    body, found, exports = bundle.rpartition("export{")
    names, closed, rest = exports.partition("};")
    before, default, _ = names.partition(_EXPORT)
    if not (found and closed and default):
        raise SaeflowError(
            "The bundle of DataTables in the installed itables has another shape than expected; "
            "install the version of itables that envs/lock.txt names."
        )
    library = before.rpartition(",")[2]
    return f"(()=>{{{body}window.DataTable={library};}})();{rest}"


def template_text(templates: Path, template: str, context: Mapping[str, Any]) -> str:
    """Fill a template; what comes from data is escaped.

    Parameters
    ----------
    templates : Path
        Folder of the templates.
    template : str
        File name of the template.
    context : mapping
        What it reads; a name that is missing is an error.
    """
    return _environment(templates).get_template(template).render(context)


def _json(data: Any) -> str:
    return json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":"))


def _environment(templates: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # JSON has no NaN: one that got this far must not reach the browser's parser.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    return environment
