"""Explanations made from a corpus: planted features are found again, and nothing is kept of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.scaling_examples import SCALING_FEATURES
from saeflow.artifacts.scaling_explanations import EXPLANATION_ARTIFACTS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.scaling_explanations import ExplanationSettings
from saeflow.config.scaling_reading import ExampleSettings, ReadingSettings
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.loading import load_model
from saeflow.models.writers import local
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.scaling import explained
from saeflow.studies.scaling.contexts import read_contexts
from saeflow.studies.scaling.explained import ExplainedBank, explain_bank, load_tellers
from saeflow.studies.scaling.reading import Document, WideRun
from saeflow.studies.scaling.reading_tables import read_wide
from tests.sentences import check_sentence
from tests.small_models import settings_of
from tests.unit.test_tables import PROVENANCE

pytestmark = pytest.mark.usefixtures("one_thread")
FIRES_ON = ["q", "z", "qx", "klm", "", "abcd"]
"""What each feature fires on; the fourth is a topic, the fifth is silent."""
DEAD, ASKED = 4, (5, 4, 0, 1, 2, 3)
COMMON, TOPICS = "abcdefgh", {"law": "klm", "music": "uvw"}
WIDTH, LAYER = 32, 0
SETTINGS = ExplanationSettings.model_validate(
    {
        "features": 4,
        "strata": 1,
        "permutations": 99,
        "windows": {
            "context": 4, "activating": 40, "quantiles": 2, "pool": 300, "silent": 20,
            "neighbours": 1,
        },
    }
)  # fmt: skip


def corpus(split: str = "validation", count: int = 240) -> Iterator[Document]:
    generator = np.random.default_rng([count, len(split)])
    for number in range(count):
        topic = ("law", "music", "")[number % 3]
        letters = generator.choice(list(COMMON), 24)
        for rare in "qzx":
            letters[generator.random(24) < 0.03] = rare
        for place in np.flatnonzero(generator.random(24) < 0.2 * bool(topic)).tolist():
            letters[place] = generator.choice(list(TOPICS[topic]))
        content = "".join(letters.tolist()) if number != 7 else ""
        yield Document(number, content, split, topic)


@pytest.fixture(scope="module")
def model() -> CodiModel:
    """Fresh weights are so small that what a block writes is nearly the token's embedding."""
    return load_model(settings_of("llama", seed=1, hidden_size=WIDTH))


def activations(model: CodiModel, content: str) -> torch.Tensor:
    ids = model.tokenizer(content)["input_ids"]
    with torch.no_grad():
        return model.language_model(torch.tensor([ids]), output_hidden_states=True).hidden_states[
            LAYER + 1
        ][0]


@pytest.fixture(scope="module")
def run(model: CodiModel) -> WideRun:
    """Least squares give an encoder that reads letters."""
    content = "".join(document.content for document in list(corpus())[:6]) + "qzxklmuvw"
    x = activations(model, content)
    wanted = torch.tensor([[float(each in fires) for fires in FIRES_ON] for each in content])
    ones = torch.ones(len(x), 1)
    solved = torch.linalg.lstsq(torch.cat([x, ones], 1), wanted).solution
    generator = torch.Generator().manual_seed(0)
    w_dec = torch.randn(1, len(FIRES_ON), WIDTH, generator=generator)
    w_dec[0, 2] = w_dec[0, 0] + 0.1 * w_dec[0, 2]
    recipe = Recipe("standard", len(FIRES_ON), len(FIRES_ON), hook="resid_post")
    weights = solved[None, :-1], solved[None, -1] - 0.5, w_dec, torch.zeros(1, WIDTH)
    return WideRun("wide", 1, Bank(recipe, (Site(LAYER),), *weights))


@pytest.fixture(scope="module")
def known(model: CodiModel, run: WideRun) -> pa.Table:
    few = ExampleSettings(top=0, per_bin=0, silent=0, pool=1)
    settings = ReadingSettings(examples=few, tokens=0, neighbours=0, spliced_documents=0)
    return read_wide(model, [run], lambda: corpus("train", 200), settings).features


@pytest.fixture(scope="module")
def found(model: CodiModel, run: WideRun, known: pa.Table) -> ExplainedBank:
    return explain_bank(model, run, corpus, known, SETTINGS, features=ASKED)


def scores(found: ExplainedBank, **where: Any) -> dict[int, float]:
    wanted = {"control": "none", "method": "detection", "kind": "all"} | where
    return {
        row["feature"]: row["balanced_accuracy"]
        for row in found.tables.scores.to_pylist()
        if all(row[name] == value for name, value in wanted.items())
    }


def test_planted_features_are_explained(found: ExplainedBank) -> None:
    patterns = {row["feature"]: {*row["patterns"]} for row in found.tables.explanations.to_pylist()}
    assert {feature: {f'"{each}"' for each in FIRES_ON[feature]} for feature in (0, 1, 2)} == {
        feature: patterns[feature] for feature in (0, 1, 2)
    }
    assert patterns[DEAD] == set()
    own = scores(found)
    assert min(value for feature, value in own.items() if feature != DEAD) > 0.95
    assert scores(found, control="empty")[0] == 0.5
    assert scores(found, control="swapped")[1] < 0.7
    assert own[DEAD] is None


def test_contexts_are_those_of_the_documents(
    found: ExplainedBank, model: CodiModel, run: WideRun
) -> None:
    contents = {document.number: document for document in corpus()}
    by_feature = {each.feature: each for each in read_contexts(found.examples)}
    assert [*by_feature] == sorted(by_feature)
    for feature, contexts in by_feature.items():
        for context in (*contexts.train, *contexts.test):
            document = contents[context.document]
            assert context.group == document.group
            text = "".join(context.tokens)
            assert text in document.content
            x = activations(model, document.content)
            value = run.bank.encode(x[None])[0, :, feature].numpy()
            starts = [n for n in range(24) if document.content.startswith(text, n)]
            parts = [value[start : start + len(text)] for start in starts]
            assert any(np.allclose(part, context.activations, atol=1e-4) for part in parts)
            fires = [letter in FIRES_ON[feature] for letter in context.tokens]
            assert context.fires.tolist() == fires
    for part in ("train", "test"):
        near = by_feature[0].of_kind(part, "near_miss")
        assert near
        assert all("x" in each.tokens for each in near), (
            "its neighbour fires there, and it does not"
        )
        firing = by_feature[1].of_kind(part, "activating")
        assert len({each.document for each in firing}) == len(firing)
        weak, strong = (
            [each.activations.max() for each in firing if each.quantile == quantile]
            for quantile in (0, 1)
        )
        assert max(weak) <= min(strong)
        assert abs(len(weak) - len(strong)) <= 1


def test_the_summary_is_of_random_features(found: ExplainedBank) -> None:
    assert found.tables.explanations["feature"].to_pylist() == [0, 1, 2, 3, 4, 5]
    rows = found.tables.summary.to_pylist()
    (unparsed,) = [row for row in rows if row["metric"] == "unparsed_share"]
    assert unparsed["n"] == SETTINGS.features
    assert DEAD not in explained.choose_features(np.array([0.1, 0, 0.2]), 4, 1, 0)


def test_tables_come_back_from_their_files(found: ExplainedBank, tmp_path: Path) -> None:
    for artifact, table in zip(EXPLANATION_ARTIFACTS, (found.examples, *found.tables), strict=True):
        write_table(table, tmp_path / "a.parquet", artifact, PROVENANCE)
        assert read_table(tmp_path / "a.parquet", artifact).num_rows == table.num_rows


def test_neither_order_nor_chunks_matter_and_little_is_kept(
    model: CodiModel,
    run: WideRun,
    known: pa.Table,
    found: ExplainedBank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(explained, "CHUNK", 7)
    again = explain_bank(
        model,
        run,
        lambda: reversed(list(corpus())),
        known,
        SETTINGS,
        features=ASKED[::-1],
        batch_size=3,
    )
    one, other = found.examples.to_pandas(), again.examples.to_pandas()
    for name in ("feature", "document", "kind", "set", "group", "quantile"):
        np.testing.assert_array_equal(one[name], other[name])
    few = ExplanationSettings.model_validate(
        {"windows": {"activating": 1, "pool": 2, "context": 2, "neighbours": 0}}
    )
    kept = explained._Kept(run.bank, np.arange(2), {0: [], 1: []}, few)
    for chunk in explained._chunks(corpus()):
        kept.read(model, chunk, 4)
        assert len(kept._groups) <= 4


def test_an_untrained_bank_is_explained_alike(model: CodiModel, known: pa.Table) -> None:
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.randn(1, *shape, generator=generator) for shape in ((WIDTH, 6), (6, WIDTH))]
    zeros = torch.zeros(1, 6), torch.zeros(1, WIDTH)
    recipe = Recipe("topk", 6, 2, hook="resid_post")
    bank = Bank(recipe, (Site(LAYER),), drawn[0], zeros[0], drawn[1], zeros[1])
    got = explain_bank(model, WideRun("wide", 1, bank), corpus, known, SETTINGS)
    assert {*scores(got)} <= set(range(6))
    assert got.examples.num_rows


def test_what_cannot_be_explained(model: CodiModel, run: WideRun, known: pa.Table) -> None:
    def refused(*told: str, run: WideRun = run, known: pa.Table = known, **more: Any) -> None:
        with pytest.raises(SaeflowError) as error:
            explain_bank(model, run, corpus, known, SETTINGS, **more)
        check_sentence(error.value, *told)

    refused("feature 6", "0 to 5", features=[6])
    refused("0 rows", "the split other", split="other")
    refused("0 rows", "seed 1", known=SCALING_FEATURES.schema().empty_table())
    recipe = Recipe("abstopk", len(FIRES_ON), 2, hook="resid_post")
    signed = Bank(recipe, run.bank.sites, *run.bank.weights.values())
    refused("abstopk", run=WideRun("wide", 1, signed))


def test_tellers_are_made_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = list[Any]()

    class Fake:
        def write(self, prompts: Sequence[str]) -> list[str]:
            return ["" for _ in prompts]

    def load(*given: Any) -> Fake:
        loaded.append(given)
        return Fake()

    monkeypatch.setattr(local, "load_local", load)
    cpu = torch.device("cpu")
    plain = SETTINGS.model_dump(mode="json")
    nothing, own = {"explainer": [], "scorer": []}, [str(tmp_path / "config.json")]
    found, tellers = load_tellers(plain, cpu, nothing)
    assert found == SETTINGS
    assert tellers == {"explainer": None, "scorer": None}
    asked = {"kind": "local"}
    same = {"explainer": own, "scorer": own}
    found, tellers = load_tellers(plain | {"explainer": asked, "scorer": asked}, cpu, same)
    assert tellers["explainer"] is tellers["scorer"]
    assert loaded == [(found.explainer, cpu, tmp_path)]
    _, tellers = load_tellers(plain | {"scorer": asked}, cpu, nothing | {"scorer": own})
    assert tellers["explainer"] is None
    assert tellers["scorer"] is not None
    apart = plain | {"explainer": asked, "scorer": asked | {"max_new_tokens": 3}}
    _, tellers = load_tellers(apart, cpu, same)
    assert tellers["explainer"] is not tellers["scorer"]
