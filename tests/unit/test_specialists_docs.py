"""docs/specialists.md names every metric that a run's tables hold, and none that no table holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from saeflow.config.specialists import (
    AblationSettings,
    AlignmentSettings,
    DiscoverySettings,
    TaskSettings,
)
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.specialists.alignment import Side, align_models
from saeflow.studies.specialists.asking import ask
from saeflow.studies.specialists.cloze import LEAST
from saeflow.studies.specialists.summarise import answer_rows, task_rows
from saeflow.studies.specialists.summary import analyse_bank, analyse_words
from saeflow.studies.specialists.texts import StudyTexts
from saeflow.studies.specialists.trying import Subject, try_specialists
from tests.planted_study import QUICK, planted_study, pooled_of
from tests.planted_texts import FORM, TOPIC
from tests.small_models import small_model
from tests.workflow.readme import RESULTS

pytestmark = pytest.mark.usefixtures("one_thread")
RUN: dict[str, Any] = {"dictionary": "tokens", "seed": 0}
LAYERS = (0, 1)
SETTINGS = QUICK.model_copy(
    update={
        "tasks": TaskSettings(pooling="max", others=3, permutations=19),
        "ablation": AblationSettings(pairs=3, items=2, draws=1, permutations=19),
        "examples": 1,
    }
)
ALIGNMENT = AlignmentSettings(poolings=("max",), permutations=19, neighbour_permutations=19)
COLUMNS = {
    "summary": ("part", "metric", "control"),
    "behaviour": ("mode", "metric"),
    "effects": ("mode", "metric"),
    "compare/specialists.parquet": ("mode", "metric", "control"),
}
"""What the page tells of each table: columns that a metric is told by."""
FILES = {name: f"specialists/*/{name}.parquet" for name in ("summary", "behaviour", "effects")} | {
    "compare/specialists.parquet": "compare/specialists.parquet"
}
Told = dict[str, set[tuple[str, ...]]]


def told_of(page: str) -> Told:
    """Cells of the tables of the section Metrics; a row's controls stand beside none."""
    section = page.split("\n## Metrics\n")[1].split("\n## ")[0]
    found: Told = {}
    for part in section.split("\n### ")[1:]:
        name, _, text = part.partition("\n")
        name = name.strip("`")
        for line in re.findall(r"^\| `.*$", text, re.M):
            first, metrics, *others = (re.findall(r"`([^`]+)`", cell) for cell in cells(line))
            controls = ["none", *others[0]] if "control" in COLUMNS[name] else [""]
            for metric in metrics:
                keys = ((*first, metric, control)[: len(COLUMNS[name])] for control in controls)
                found.setdefault(name, set()).update(keys)
    return found


def cells(line: str) -> list[str]:
    return line.strip("|").split("|")


def held_by(tables: Mapping[str, Iterable[pa.Table]]) -> Told:
    """The same of tables; the block that a metric names is left out."""
    return {
        name: {
            (*key[:1], re.sub(r"^(relative_change)_\d+$", r"\1_{block}", key[1]), *key[2:])
            for table in some
            for key in zip(*(table[each].to_pylist() for each in COLUMNS[name]), strict=True)
        }
        for name, some in tables.items()
    }


def items() -> Iterator[Text]:
    """As many tasks as the study asks for, and what training reads."""
    for group, number in LEAST.items():
        for item in range(number):
            endings = f" {item % 7}", (f" {(item + 1) % 7}", " x")
            prompt = f"{group[:2]} {item} ="
            yield Text("cloze", group, "symbols", item, HELD_OUT, prompt, *endings, 1 + item % 2)
    yield Text("documents", "a", "", 0, TRAIN, "", "0 1 2 3 4 5 6 x")


def bank_of(d_sae: int) -> Bank:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(len(LAYERS), *shape, generator=generator)

    recipe = Recipe("topk", d_sae, d_sae // 2, hook="resid_post")
    sites = tuple(Site(layer) for layer in LAYERS)
    return Bank(recipe, sites, draw(16, d_sae), draw(d_sae), draw(d_sae, 16), draw(16))


@pytest.fixture(scope="module")
def tables() -> dict[str, list[pa.Table]]:
    """Every table with metrics, of a small model and features that are not its own."""
    texts, values = planted_study((FORM, TOPIC))
    pairs = tuple(
        replace(row, expected="3") if number % 2 else row for number, row in enumerate(texts.pairs)
    )
    texts = StudyTexts(pairs, texts.categories)
    matrices = {
        (mode, layer, "max"): values for mode in ("published", "calibrated") for layer in LAYERS
    }
    pooled = pooled_of(matrices)
    mixture = list(items())
    model, bank = small_model("gpt2"), bank_of(values.shape[1])
    asked = ask(model, texts, mixture, None, "exact", answer_tokens=2, batch_size=64)
    found = analyse_bank(texts, pooled, DiscoverySettings(), SETTINGS, RUN)
    subject = Subject(model, bank, 64)
    tried = try_specialists(subject, texts, mixture, asked, pooled, found.features, SETTINGS, RUN)
    of_tasks = [*task_rows(asked.tasks, 0), *answer_rows(texts, asked.answers, 0)]
    summary = [found.numbers, analyse_words(texts, SETTINGS).numbers, tried.numbers]
    sides = (Side(name, "tokens", 0, pooled) for name in ("first", "second"))
    return {
        "summary": [*summary, pa.Table.from_pylist(of_tasks, found.numbers.schema)],
        "behaviour": [tried.behaviour],
        "effects": [tried.effects],
        "compare/specialists.parquet": [align_models(*sides, texts, ALIGNMENT)],
    }


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/specialists.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COLUMNS)
def test_every_metric_is_told_with_its_controls_and_no_other(
    name: str, tables: dict[str, list[pa.Table]], page: str
) -> None:
    assert held_by(tables)[name] == told_of(page)[name]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_less_is_noticed(name: str, page: str) -> None:
    before, section = page.split("\n## Metrics\n")
    line = re.search(rf"### `{name}`.*?(\n\| `[^\n]*)", section, re.S)
    assert line is not None
    less = told_of(before + "\n## Metrics\n" + section.replace(line[1], "", 1))
    assert less.get(name, set()) < told_of(page)[name]


@pytest.mark.parametrize("name", COLUMNS)
def test_every_metric_of_a_finished_run_is_told(name: str, page: str) -> None:
    paths = sorted(RESULTS.glob(FILES[name]))
    if not paths:
        pytest.skip(f"{RESULTS / FILES[name]} is absent; set SAEFLOW_RESULTS to a finished run")
    found = held_by({name: [pq.read_table(path) for path in paths]})[name]
    assert found - told_of(page)[name] == set()


def test_every_kind_of_similarity_is_told(page: str) -> None:
    texts, _ = planted_study()
    kinds = set(analyse_words(texts, QUICK).similarities["pooling"].to_pylist())
    told = page.split("### `similarities`")[1].split("\n## ")[0]
    assert len(kinds) == 5
    for kind in kinds:
        assert f"`{kind}`" in told, kind
