"""Pooled features of a small model as a table, and back as matrices."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.specialists import POOLED, TEXT_LENGTHS
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.specialists import PoolSettings, PublishedPools
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.saes import pooling
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.pooling import pool_texts
from saeflow.studies.specialists.pool import pool_features
from saeflow.studies.specialists.pooled import PooledFeatures, PooledShape
from tests.conftest import ROOT
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, small_model

TEXTS = ["3+4=", "a", "def f(x): return x", "今日は良い天気", "so 😀🎉 happy", "three plus four"]
LAYERS = (0, 2)
BOTH = {
    "published": PublishedPools(masking="begin", prepend_bos=False),
    "calibrated": PoolSettings(),
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


def bank_of(architecture: str = "topk") -> Bank:
    generator = torch.Generator().manual_seed(3)
    encoder = torch.randn(len(LAYERS), 16, 24, generator=generator)
    recipe = Recipe(architecture, 24, 4, hook="resid_post")  # type: ignore[arg-type]
    zeros = torch.zeros(len(LAYERS), 24), torch.zeros(len(LAYERS), 16)
    sites = tuple(Site(layer) for layer in LAYERS)
    return Bank(recipe, sites, encoder, zeros[0], encoder.transpose(1, 2).contiguous(), zeros[1])


def by_itself(
    model: CodiModel, bank: Bank, text: str, settings: PoolSettings
) -> tuple[int, dict[tuple[int, str], np.ndarray]]:
    (batch,) = pool_texts(
        model,
        bank,
        [text],
        poolings=settings.poolings,
        masking=settings.masking,
        prepend_bos=settings.prepend_bos,
    )
    return int(batch.tokens[0]), {
        (layer, name): values[0].numpy()
        for layer, pooled in batch.features.items()
        for name, values in pooled.items()
    }


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
@pytest.mark.parametrize("published", [PublishedPools(), BOTH["published"]])
def test_matrices_are_those_of_each_text_by_itself(
    model: CodiModel, architecture: str, published: PoolSettings
) -> None:
    bank = bank_of(architecture)
    settings = {"published": published, "calibrated": PoolSettings()}
    found = pool_features(model, bank, TEXTS, settings, batch_size=3)
    for mode, each in settings.items():
        counts = found.n_tokens(mode)
        for number, text in enumerate(TEXTS):
            tokens, expected = by_itself(model, bank, text, each)
            assert counts[number] == tokens
            for (layer, name), row in expected.items():
                matrix = found.matrix(mode, layer, name)
                assert matrix.dtype == np.float32
                np.testing.assert_allclose(matrix[number], row, rtol=2e-4, atol=2e-5)
    assert (found.table["value"].to_numpy() != 0).all()
    sites = [(layer, name) for layer, name, _ in found.matrices("published")]
    assert sites == [(layer, name) for layer in LAYERS for name in published.poolings]


def test_tables_survive_the_disk_and_are_in_order(model: CodiModel, tmp_path: Path) -> None:
    found = pool_features(model, bank_of(), TEXTS, BOTH, batch_size=2)
    rows = found.table.to_pylist()
    keys = [tuple(row[name] for name in POOLED.keys) for row in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    provenance = Provenance("abc", 3)
    write_table(found.table, tmp_path / "a", POOLED, provenance)
    write_table(found.lengths, tmp_path / "b", TEXT_LENGTHS, provenance)
    again = PooledFeatures(
        read_table(tmp_path / "a", POOLED),
        read_table(tmp_path / "b", TEXT_LENGTHS),
        PooledShape.of(found.shape.metadata()),
    )
    assert again.shape == found.shape
    for (layer, name, one), (other, label, two) in zip(
        found.matrices("calibrated"), again.matrices("calibrated"), strict=True
    ):
        assert (layer, name) == (other, label)
        np.testing.assert_array_equal(one, two)


def test_modes_that_read_alike_are_read_once(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = pooling.read_tokens

    def counted(*args: object, **options: object) -> object:
        calls.append(1)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pooling, "read_tokens", counted)
    pool_features(model, bank_of(), TEXTS, BOTH)
    assert len(calls) == 1
    apart = {**BOTH, "published": PublishedPools()}
    pool_features(model, bank_of(), TEXTS, apart)
    assert len(calls) == 3


def test_an_empty_text_is_refused(model: CodiModel) -> None:
    with pytest.raises(SaeflowError) as error:
        pool_features(model, bank_of(), ["a", ""], BOTH)
    check_sentence(error.value, "text 1 is empty")


def test_a_text_that_is_too_long_is_refused(model: CodiModel) -> None:
    with pytest.raises(SaeflowError) as error:
        pool_features(model, bank_of(), ["a", "x" * 400], BOTH)
    check_sentence(error.value)


def test_what_was_not_pooled_is_refused(model: CodiModel) -> None:
    found = pool_features(model, bank_of(), TEXTS, {"calibrated": PoolSettings(poolings=("max",))})
    for mode, layer, name in (
        ("published", 0, "max"), ("calibrated", 1, "max"), ("calibrated", 0, "last"),
    ):  # fmt: skip
        with pytest.raises(SaeflowError) as error:
            found.matrix(mode, layer, name)
        check_sentence(error.value, f"No {mode} features of layer {layer} by {name}", "[0, 2]")
    small = PooledFeatures(
        found.table, found.lengths, PooledShape(2, 24, LAYERS, found.shape.poolings)
    )
    with pytest.raises(SaeflowError) as error:
        small.matrix("calibrated", 0, "max")
    check_sentence(error.value, "fewer than 2 texts")


@pytest.mark.parametrize("lost", ["n_texts", "d_sae", "layers"])
def test_a_table_that_does_not_say_its_shape_is_refused(lost: str) -> None:
    metadata = PooledShape(3, 8, (0, 1), {"calibrated": ("max",)}).metadata()
    assert PooledShape.of(metadata).metadata() == metadata
    for broken in ({**metadata, lost: "x"}, {n: v for n, v in metadata.items() if n != lost}):
        with pytest.raises(SaeflowError) as error:
            PooledShape.of(broken)
        check_sentence(error.value, "does not say")


def test_published_vectors_are_pooled_as_published() -> None:
    assert PublishedPools().poolings == ("average_then_encode", "encode_then_average")
    assert (PublishedPools().masking, PublishedPools().prepend_bos) == ("published", True)


def test_analysis_needs_no_torch() -> None:
    code = "import sys, saeflow.studies.specialists.summary; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert found.stdout.strip() == "False"
