"""Nothing that data say becomes a part of a page, whatever they say: the whole report, made of such tables."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saeflow.artifacts.sealing import KEY, sealed_writer
from tests.workflow.running import SMOKE, run

pytestmark = pytest.mark.workflow

MARKED = "zq9"
"""Stands in every hostile text, so that it is found wherever it went."""
HOSTILE = (
    f"{MARKED}<script>window.{MARKED}=1</script>",
    f'{MARKED}"><img src=x onerror=window.{MARKED}=1>',
    f"{MARKED}' onmouseover='window.{MARKED}=1",
    f'{MARKED}</script><svg onload="window.{MARKED}=1">',
    f"{MARKED}<!--<script>",
    f'{MARKED}<a href="javascript:window.{MARKED}=1">x</a>',
    f"{MARKED}{{{{7*7}}}}{{% raw %}}%{{customdata}}${{7*7}}`",
    f"{MARKED}\u2028\u2029\u202e\u200f\ufeff\x00\x1b]]>&lt;b&gt;&#x3C;i&#x3E;\\u003cb\\u003e",
)
HARMLESS = tuple(re.sub(r"[^\w]", "_", text) for text in HOSTILE)
"""As long, and as easily told apart."""

TEXTS = {
    "answer",
    "calculations",
    "explanation",
    "expected",
    "label",
    "meaning",
    "prompt_text",
    "published",
    "question",
    "rule",
    "statement",
    "text",
    "token",
    "tokens",
    "top_tokens",
}
"""Columns of what models, data sets, judges and studies say."""
TEXTS_OF = {
    "tasks": {"prompt", "target"},
    "answers": {"prompt"},
    "summary": {"name"},
    "maximal": {"name"},
}
"""The same in tables where other columns are texts, too."""
CLASSES = {"class", "first", "second", "group", "topic", "category"}
"""Columns that may name classes of texts, which a user's own files name."""
CLASS = "Python"
MARKS = [" filled from here ", " to here "]
"""Comments of the page of a run, between which it is filled when the run ends."""
CHOICES = {"comparison", "evaluation", "checks", "capacity", "matched", "gsm8k"}
"""Tables whose ``question`` is one of a fixed list, and no text."""


def add(value: Any, texts: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [add(each, texts) for each in value]
    # What is absent stays so: it decides what is shown. Equal texts stay equal.
    return f"{value}{texts[len(value) % len(texts)]}" if value else value


def name_class(value: Any, texts: tuple[str, ...]) -> Any:
    return value.replace(CLASS, f"{CLASS}{texts[1]}") if isinstance(value, str) else value


def say(results: Path, texts: tuple[str, ...]) -> set[str]:
    """Put texts into every table that the report may read; which columns got some."""
    changed = set()
    for path in sorted(results.rglob("*.parquet")):
        if path.relative_to(results).parts[0] in ("capture", "saes", "features", "mixture", "run"):
            continue
        table = pq.read_table(path)
        wanted = (TEXTS | TEXTS_OF.get(path.stem, set())) - (
            {"question"} if path.stem in CHOICES or "compare" in path.parts else set()
        )
        for name in table.column_names:
            change: Callable[[Any, tuple[str, ...]], Any] | None = None
            change = add if name in wanted else name_class if name in CLASSES else None
            if change is None or "string" not in str(table.schema.field(name).type):
                continue
            before = table[name].to_pylist()
            after = [change(value, texts) for value in before]
            if after != before:
                field = table.schema.field(name)
                column = pa.array(after, field.type)
                table = table.set_column(table.column_names.index(name), field, column)
                changed.add(f"{path.stem}.{name}")
        told = {key: value for key, value in table.schema.metadata.items() if key != KEY.encode()}
        table = table.replace_schema_metadata(told)
        with sealed_writer(path, table.schema) as writer:
            writer.write_table(table)
    return changed


class Structure(HTMLParser):
    """Elements of a page with the names of their attributes, its texts, and the data in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.words: list[str] = []
        self.values: list[tuple[str, str]] = []
        self.data: list[Any] = []
        self.comments: list[str] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.values += [(name, value or "") for name, value in attrs]
        self._inside = tag

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if self._inside == "script" and data.strip():
            self.data.append(json.loads(data))
        self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in data, with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield "", name
            yield from strings(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, key)


@pytest.fixture(scope="module")
def reports(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of the smoke run's tables, once with hostile texts in them, once with harmless ones."""
    made = {}
    columns = {}
    for name, texts in (("hostile", HOSTILE), ("harmless", HARMLESS)):
        project = tmp_path_factory.mktemp(name) / "project"
        shutil.copytree(finished, project)
        columns[name] = say(project / "results", texts)
        run(project, "results/report.zip", "--force", "--allowed-rules", "write_report", *SMOKE)
        made[name] = project / "results/report"
    assert columns["hostile"] == columns["harmless"]
    assert len(columns["hostile"]) > 20
    return made


def pages(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.html"))


def test_pages_are_built_as_with_harmless_texts(reports: dict[str, Path]) -> None:
    assert pages(reports["hostile"]) == pages(reports["harmless"])
    assert len(pages(reports["hostile"])) > 10
    said = []
    for name in pages(reports["hostile"]):
        found, plain = (Structure(reports[each] / name) for each in ("hostile", "harmless"))
        assert found.elements == plain.elements, name
        assert found.comments == (MARKS if name == "run.html" else []), name
        said += [word for word in found.words if MARKED in word]
        links = [value for key, value in found.values if key in ("href", "src", "action")]
        assert not [link for link in links if re.match(r"\s*(javascript|data|https?):", link)]
    # They did reach the pages, as they are.
    for text in (*HOSTILE[:-1], f"{CLASS}{HOSTILE[1]}"):
        assert any(text in word for word in said), text


def test_figures_hold_no_markup(reports: dict[str, Path]) -> None:
    found = 0
    for name in pages(reports["hostile"]):
        for figure in Structure(reports["hostile"] / name).data:
            if "layout" not in figure:
                continue
            # Lists above figures are made of text nodes, and groups of a legend have no title.
            figure["layout"].get("meta", {}).pop("choices", None)
            for key, text in strings(figure):
                if MARKED in text and key != "legendgroup":
                    found += 1
                    # plotly reads markup in whatever it writes: links, too.
                    assert not re.search(r"<\s*/?(script|img|svg|a)\b", text), (name, key, text)
    assert found > 10


def test_data_on_demand_are_json(reports: dict[str, Path]) -> None:
    """What scripts hand over is JSON in ASCII: no text can end it or be read as code."""
    found = 0
    for path in sorted((reports["hostile"] / "data").glob("*.js")):
        text = path.read_text(encoding="ascii")
        body = re.fullmatch(r'saeflow\.receive\("[\w.-]+",(.*)\);\n', text, re.S)
        assert body, path.name
        found += sum(MARKED in each for _, each in strings(json.loads(body[1])))
    assert found > 100
