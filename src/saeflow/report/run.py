"""The page about the run itself, which is filled when the run has ended.

Times and machines differ between equal runs, and equal runs give equal reports. The report therefore
holds an empty page, and its archive keeps that; what fills it comes from `saeflow.manifest`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import plotly.graph_objects as go

from saeflow.artifacts.files import write_text
from saeflow.artifacts.run import RUN_TABLES
from saeflow.report.cells import Cell, plain_cell, table, text_cell, whole_cell
from saeflow.report.figures import COLOURS, literal, plain_figure
from saeflow.report.site import PLOTLY, Link, Site, template_text
from saeflow.report.tables import MISSING

RUN = Link("This run", "run.html")
BEGIN, END = "<!-- filled from here -->", "<!-- to here -->"
"""Around what is replaced, as in the template; no text of data can hold them in the page."""
SLOWEST = 25
DRAWN = 30
"""Rules in the figure, those that took longest."""
INTERNAL = ("capture", "saes", "features", "models", "report", "shards")
"""Folders of results whose files the page does not list one by one."""
PARTS = (("run", "Run"), ("software", "Software"), ("machine", "Machine"), ("gpu", "GPUs"))
ALL = "all"

Tables = Mapping[str, Sequence[Mapping[str, Any]]]


def write_run_page(site: Site) -> None:
    """Write the page as it is before a run has ended."""
    site.write_page(RUN.href, "run.html.jinja", {})


def fill_run_page(templates: Path, folder: Path, tables: Tables, digest: str) -> None:
    """Fill the page of a report that is there; one that was filled before is filled anew.

    Parameters
    ----------
    templates : Path
        Folder of the Jinja templates.
    folder : Path
        Folder of the report.
    tables : mapping of str to sequence of mapping
        Rows of each table of `saeflow.artifacts.run.RUN_TABLES`, by the name of its file.
    digest : str
        Digest of the configuration.
    """
    page = folder / RUN.href
    if not page.is_file():
        return
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        filled = template_text(templates, "run_tables.html.jinja", _context(tables, digest))
        write_text(page, f"{before}{begin}\n{filled}\n{end}{after}")


def _context(tables: Tables, digest: str) -> dict[str, Any]:
    rules = _by_rule(tables["rules"])
    return {
        "plotly": PLOTLY,
        "about": {
            title: [row for row in tables["environment"] if row["part"] == part]
            for part, title in PARTS
        },
        "digest": digest,
        "figure": _figure(rules),
        "total": {name: _written(name, value) for name, value in rules.get(ALL, {}).items()},
        "rules": _rule_table(rules),
        "slowest": _job_table(tables["jobs"]),
        "slowest_of": len(tables["jobs"]),
        "sources": _source_table(tables["sources"]),
        "configuration": _pairs(tables["configuration"], "key", "Key"),
        "packages": _pairs(
            [row for row in tables["environment"] if row["part"] == "package"], "name", "Package"
        ),
        "artifacts": _artifact_table(tables["artifacts"]),
        "files": len(tables["artifacts"]),
        "bytes": size_text(math.fsum(row["bytes"] for row in tables["artifacts"])),
        "parquet": {name: artifact.about for name, artifact in RUN_TABLES.items()},
    }


def duration_text(seconds: float) -> str:
    """Write a time: seconds with a digit, then minutes and hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory_text(mebibytes: float) -> str:
    """Write a size that is given in MiB."""
    return size_text(mebibytes * 1024**2)


def size_text(size: float) -> str:
    """Write a number of bytes, in units of a thousand."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def _count(value: float) -> str:
    return f"{value:,.0f}"


WRITTEN: dict[str, Callable[[float], str]] = {
    "jobs": _count,
    "seconds": duration_text,
    "longest_seconds": duration_text,
    "cpu_seconds": duration_text,
    "max_rss_mb": memory_text,
    "read_mb": memory_text,
    "written_mb": memory_text,
}
"""How the page writes each metric of a rule."""
HEADS = {
    "jobs": "Jobs",
    "seconds": "Time",
    "longest_seconds": "Longest",
    "cpu_seconds": "Processor",
    "max_rss_mb": "Most memory",
    "read_mb": "Read",
    "written_mb": "Written",
}


def _written(metric: str, value: float | None) -> str:
    return MISSING if value is None else WRITTEN[metric](value)


def _by_rule(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Metrics of each rule, the one that took longest first."""
    found: dict[str, dict[str, float | None]] = {}
    for row in rows:
        found.setdefault(row["rule"], {})[row["metric"]] = row["value"]
    return dict(sorted(found.items(), key=lambda item: -(item[1].get("seconds") or 0.0)))


def _figure(rules: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any] | None:
    names = [name for name in rules if name != ALL][:DRAWN]
    if not names:
        return None
    panels = (("seconds", "x", "seconds, all jobs"), ("max_rss_mb", "x2", "most memory, MiB"))
    figure = go.Figure(
        [
            go.Bar(
                x=[rules[name].get(metric) for name in names],
                y=[literal(name) for name in names],
                orientation="h",
                xaxis=axis,
                marker={"color": COLOURS[number]},
                showlegend=False,
                text=[_written(metric, rules[name].get(metric)) for name in names],
                textposition="none",
                hovertemplate="%{y}: %{text}<extra></extra>",
            )
            for number, (metric, axis, _) in enumerate(panels)
        ]
    )
    figure.update_layout(
        xaxis={"domain": [0, 0.48], "title": panels[0][2], "rangemode": "tozero"},
        xaxis2={"domain": [0.52, 1], "title": panels[1][2], "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
        bargap=0.25,
        height=110 + 20 * len(names),
        margin={"l": 20, "r": 24, "t": 16, "b": 56},
    )
    return plain_figure(figure)


def _rule_table(rules: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    heads = [("Rule", False), *((title, True) for title in HEADS.values())]
    rows = [
        [text_cell(name), *(plain_cell(found.get(each), WRITTEN[each]) for each in HEADS)]
        for name, found in rules.items()
        if name != ALL
    ]
    return table(heads, rows, sortable=True)


def _job_table(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    slowest = sorted(jobs, key=lambda job: -(job["seconds"] or 0.0))[:SLOWEST]
    measures = ("seconds", "cpu_seconds", "max_rss_mb")
    heads = [("Job", False), ("Rule", False), *((HEADS[name], True) for name in measures)]
    heads += [("Threads", True), ("Device", False), ("Ran", False)]
    rows = [
        [
            text_cell(job["job"]),
            text_cell(job["rule"]),
            *(plain_cell(job[name], WRITTEN[name]) for name in measures),
            whole_cell(job["threads"]),
            text_cell(job["device"] or MISSING),
            text_cell("in the latest run" if job["latest"] else "before"),
        ]
        for job in slowest
    ]
    return table(heads, rows, sortable=True)


def _source_table(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    heads = [("Name", False), ("Kind", False), ("Origin", False), ("Revision", False)]
    rows = [
        [
            text_cell(row["name"]),
            text_cell(row["kind"]),
            text_cell(row["origin"], wrap=True),
            text_cell(row["revision"] or MISSING, wrap=True),
            whole_cell(row["seed"]),
        ]
        for row in sources
    ]
    return table([*heads, ("Seed", True)], rows)


def _pairs(rows: Iterable[Mapping[str, Any]], key: str, title: str) -> dict[str, Any]:
    cells = [[text_cell(row[key]), text_cell(row["value"], wrap=True)] for row in rows]
    return table([(title, False), ("Value", False)], cells, sortable=True)


def _artifact_table(artifacts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    heads = [("File", False), ("Rule", False), ("Rows", True), ("Size", True)]
    rows: list[list[Cell]] = []
    for row in artifacts:
        _, folder, *inside = row["path"].split("/")
        if row["path"].endswith(".parquet") and folder not in INTERNAL and "parts" not in inside:
            # From the folder of the report.
            linked = {"href": "../" + quote(row["path"].removeprefix("results/"))}
            rows.append(
                [
                    {**text_cell(row["path"]), **linked},
                    text_cell(row["rule"] or MISSING),
                    plain_cell(None if row["rows"] is None else float(row["rows"]), _count),
                    plain_cell(float(row["bytes"]), size_text),
                    text_cell(row["sha256"]),
                ]
            )
    return table([*heads, ("SHA-256", False)], rows, sortable=True)
