from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.hierarchy import MAXIMAL
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.artifacts.units import Units
from saeflow.config.hierarchy import CausalSettings, SearchSettings
from saeflow.datasets.gsm8k import Problem
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import LayerConvention, hooked_layers
from saeflow.models.loading import load_model
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.seeds import derive_seed
from saeflow.studies.hierarchy.maximal import (
    InputSearch,
    Laboratory,
    Measured,
    Probe,
    random_problems,
    search_scores,
)
from tests.small_models import FAMILIES, LAYERS, settings_of

pytestmark = pytest.mark.usefixtures("one_thread")
D_IN, D_SAE, K = 16, 20, 4
SITES = (Site(0, 1), Site(2, 0))
SMALL = SearchSettings(starts=6, climbs=1, max_number=20)
SETTINGS = CausalSettings(sweeps=1, seed=3, search=SMALL)
RUN = {"dataset": "d", "dictionary": "k", "seed": 8, "mode": "calibrated"}
CORPUS = [
    Problem("Ann has 3 pens and gets 4. How many?", "<<3+4=7>>7\n#### 7"),
    Problem("Bo cuts 8 ropes in 2. How many?", "<<8*2=16>>16, <<16-1=15>>15\n#### 15"),
    Problem("How many?", "None.\n#### 0"),
]
TABLE = pa.table(
    {name: [getattr(each, name) for each in CORPUS] for name in ("question", "answer")}
)
FEATURES = [(SITES[0], 3), (SITES[1], 3), (SITES[1], 11), (SITES[0], 9)]
VALUES = np.array([[0.5, -2, 0, 0], [0.25, 3, 0, -0.25], [0, -4, 0, 0.125]], np.float32)
SIGNS = (1, -1, 1, -1)
SOURCES = ["search", "start", "random", "corpus"]


def roomy_model(family: str) -> CodiModel:
    """Small, but long enough for questions by the byte, and with visible attention."""
    made = load_model(settings_of(family, seed=1, max_position_embeddings=1024))
    with torch.no_grad():
        for parameter in made.language_model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return roomy_model(request.param)


@pytest.fixture(scope="module")
def llama() -> CodiModel:
    return roomy_model("llama")


def random_bank(architecture: Any = "abstopk") -> Bank:
    generator = torch.Generator().manual_seed(7)
    shapes = ((D_IN, D_SAE), (D_SAE,), (D_SAE, D_IN), (D_IN,))
    weights = (torch.randn(len(SITES), *shape, generator=generator) for shape in shapes)
    return Bank(Recipe(architecture, D_SAE, K), SITES, *weights)


def searched(
    model: CodiModel,
    bank: Bank,
    *,
    chosen: tuple[int, ...] = (0, 1, 2, 3),
    convention: LayerConvention = "block_output",
    settings: CausalSettings = SETTINGS,
    batch_size: int = 64,
) -> pa.Table:
    features = [FEATURES[number] for number in chosen]
    values = VALUES[:, list(chosen)]
    search = InputSearch.of(
        model, bank, features, TABLE, values, settings, convention, batch_size, RUN
    )
    return search.table(Units())


@pytest.fixture(scope="module")
def table(llama: CodiModel) -> pa.Table:
    return searched(llama, random_bank())


@pytest.fixture(scope="module")
def found(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas()


def by_source(found: pd.DataFrame, number: int) -> dict[str, Any]:
    """Rows of a feature."""
    (layer, step), index = FEATURES[number]
    rows = found[(found.layer == layer) & (found.step == step) & (found.feature == index)]
    return {row.source: row for row in rows.itertuples()}


def thought_values(
    model: CodiModel, bank: Bank, questions: list[str], number: int, convention: Any
) -> dict[str, float]:
    """Activations of a feature, with all the model's thoughts and padding on the other side."""
    site, index = FEATURES[number]
    hook, block = hooked_layers(convention, LAYERS)[site.layer]
    activations = model.think(questions, latents=3, left_pad=False).activations
    x = activations[hook][:, site.step, block]
    values = bank.encode(torch.stack([x] * len(SITES)))[SITES.index(site), :, index]
    return dict(zip(questions, values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("architecture", "convention"), [("abstopk", "block_output"), ("topk", "hidden_states_after")]
)
def test_values_are_those_of_the_model_thinking_about_each_question_by_itself(
    model: CodiModel, architecture: str, convention: Any
) -> None:
    bank = random_bank(architecture)
    found = searched(model, bank, chosen=(0, 1), convention=convention).to_pandas()
    assert found.source.tolist() == SOURCES * 2
    for number in (0, 1):
        for source, row in by_source(found, number).items():
            if source != "corpus":
                values = thought_values(model, bank, [row.question], number, convention)
                assert row.value == pytest.approx(values[row.question], rel=1e-4, abs=1e-4)
    assert found[found.source == "search"].value.any()


def test_a_search_is_never_worse_than_its_starts(found: pd.DataFrame) -> None:
    gains = []
    for number, sign in enumerate(SIGNS):
        rows = by_source(found, number)
        gains.append(sign * (rows["search"].value - rows["start"].value))
        assert rows["start"].evaluations == SMALL.starts < rows["search"].evaluations
        assert rows["start"].question != rows["search"].question
    assert min(gains) >= 0
    assert max(gains) > 0


def test_random_is_the_best_of_as_many_as_the_search_has_tried(
    llama: CodiModel, found: pd.DataFrame
) -> None:
    number = 1
    rows = by_source(found, number)
    count = rows["search"].evaluations
    assert rows["random"].evaluations == count
    rng = random.Random(derive_seed(SETTINGS.seed, "hierarchy", "maximal", "random"))
    drawn = random_problems(rng, count, SMALL.max_number)
    questions = [problem.question for _, problem in drawn]
    values = thought_values(llama, random_bank(), questions, number, "block_output")
    assert len(values) == count
    best = max(values, key=lambda question: SIGNS[number] * values[question])
    assert rows["random"].question == best
    assert rows["random"].value == pytest.approx(values[best], rel=1e-4)
    assert SIGNS[number] * values[best] > 0


def test_the_corpus_gives_its_largest_activation_of_either_sign(found: pd.DataFrame) -> None:
    expected = [
        (0.5, CORPUS[0].question, "3+4=7"),
        (-4, CORPUS[2].question, ""),
        (0, "", ""),
        (-0.25, CORPUS[1].question, "8*2=16 | 16-1=15"),
    ]
    for number, (value, question, calculations) in enumerate(expected):
        row = by_source(found, number)["corpus"]
        assert (row.value, row.question, row.calculations) == (value, question, calculations)
        assert row.evaluations == len(CORPUS)


def test_other_rows_show_the_calculations_of_their_question(found: pd.DataFrame) -> None:
    for row in found[found.source != "corpus"].itertuples():
        calculations = row.calculations.split(" | ")
        assert 1 <= len(calculations) <= 3
        for calculation in calculations:
            left, operator, right, result = re.findall(r"\d+|[-+*/]", calculation)
            assert eval(f"{left}{operator}{right}") == int(result)
        assert any(
            n in re.findall(r"\d+", row.question) for n in re.findall(r"\d+", calculations[0])
        )


def test_a_feature_finds_the_same_alone_and_in_company(
    llama: CodiModel, found: pd.DataFrame
) -> None:
    alone = searched(llama, random_bank(), chosen=(3,)).to_pandas()
    rows = by_source(found, 3)
    assert alone.source.tolist() == list(rows)
    for row in alone.itertuples():
        other = rows[row.source]
        assert (row.question, row.evaluations) == (other.question, other.evaluations)
        assert row.value == pytest.approx(other.value, rel=1e-4)


def test_the_same_seed_finds_the_same_and_another_starts_elsewhere(
    llama: CodiModel, found: pd.DataFrame
) -> None:
    one, two = (searched(llama, random_bank(), chosen=(0,)) for _ in range(2))
    assert one.equals(two)
    other = SETTINGS.model_copy(update={"seed": 4})
    elsewhere = searched(llama, random_bank(), chosen=(0,), settings=other).to_pandas()
    for source, row in by_source(elsewhere, 0).items():
        assert (row.question == by_source(found, 0)[source].question) == (source == "corpus")


class Planted(Laboratory):
    """Answers without a model: features fire where a story opens with 24 and ends with 6."""

    def measure(self, questions: list[str], probes: Sequence[Probe]) -> Measured:
        ends = [(numbers[0], numbers[-1]) for numbers in map(numbers_in, questions)]
        pre = np.array([1.0 - abs(first - 24) - abs(last - 6) for first, last in ends])
        signs = [probe.sign for probe in probes]
        values = [sign * np.maximum(pre, 0) for sign in signs]
        scores = [
            search_scores(value, sign * pre, sign)
            for value, sign in zip(values, signs, strict=True)
        ]
        return Measured(np.stack(values), np.stack(scores))


def numbers_in(question: str) -> list[int]:
    return [int(text) for text in re.findall(r"\d+", question)]


def test_a_planted_input_is_found_though_nearly_all_inputs_are_silent(
    llama: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saeflow.studies.hierarchy.maximal.Laboratory", Planted)
    patient = SETTINGS.model_copy(
        update={"sweeps": 3, "search": SearchSettings(starts=12, climbs=2)}
    )
    found = searched(llama, random_bank(), chosen=(1,), settings=patient).to_pandas()
    rows = by_source(found, 1)
    numbers = numbers_in(rows["search"].question)
    assert (rows["search"].value, numbers[0], numbers[-1]) == (SIGNS[1], 24, 6)
    assert rows["start"].value == 0


def test_a_better_score_is_never_a_worse_activation() -> None:
    rng = np.random.default_rng(0)
    pre = rng.normal(scale=4, size=400)
    values = np.where(rng.random(400) < 0.5, pre, 0)
    for sign in (1, -1):
        order = np.argsort(search_scores(values, pre, sign))
        wanted, toward = sign * values[order], sign * pre[order]
        assert (np.diff(wanted) >= 0).all()
        assert (np.diff(toward[wanted == 0]) >= 0).all()
        fires = search_scores(values, pre, sign)[sign * values > 0]
        np.testing.assert_array_equal(fires, np.abs(values)[sign * values > 0])


def test_pre_activations_that_are_equal_but_for_little_differ_in_score() -> None:
    pre = np.array([-50.001, -50.0, -1e-9, 0.0, 1e-9, 50.0, 50.001])
    assert (np.diff(search_scores(np.zeros(7), pre, 1)) > 0).all()


def test_random_problems_differ_and_more_only_append() -> None:
    few, many = (random_problems(random.Random(5), count, 20) for count in (7, 60))
    assert many[:7] == few
    assert len({problem.question for _, problem in many}) == 60
    assert [len(problem.calculations) for _, problem in many] == [1, 2, 3] * 20
    assert max(int(n) for _, p in many for c in p.calculations for n in re.findall(r"\d+", c)) <= 20


def test_questions_asked_are_those_counted_and_batches_change_nothing(
    llama: CodiModel, found: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    measure = Laboratory.measure

    def count(self: Laboratory, questions: list[str], probes: list[Probe]) -> Measured:
        asked.extend(questions)
        return measure(self, questions, probes)

    monkeypatch.setattr(Laboratory, "measure", count)
    rows = by_source(searched(llama, random_bank(), chosen=(0,), batch_size=7).to_pandas(), 0)
    assert len(asked) == 2 * rows["search"].evaluations
    for source, row in by_source(found, 0).items():
        assert rows[source].question == row.question
        assert rows[source].value == pytest.approx(row.value, rel=1e-4)


def test_rows_have_different_keys_and_can_be_written(
    llama: CodiModel, table: pa.Table, tmp_path: Path
) -> None:
    for written, count in ((table, len(FEATURES)), (searched(llama, random_bank(), chosen=()), 0)):
        write_table(written, tmp_path / "maximal.parquet", MAXIMAL, Provenance("c"))
        read = read_table(tmp_path / "maximal.parquet", MAXIMAL).to_pandas()
        assert len(read) == count * len(SOURCES)
        assert not read.duplicated(list(MAXIMAL.keys)).any()
        assert set(read["mode"]) <= {"calibrated"}
