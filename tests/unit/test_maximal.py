from __future__ import annotations

import re
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
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.gsm8k import Problem
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import LayerConvention, hooked_layers
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.hierarchy import maximal
from saeflow.studies.hierarchy.maximal import Measured, Probe, maximal_inputs, search_scores
from tests.small_models import LAYERS, small_model

D_IN, D_SAE, K = 16, 20, 4
SITES = (Site(0, 1), Site(2, 0))
SETTINGS = CausalSettings(sweeps=1, seed=3, search={"starts": 6, "climbs": 1, "max_number": 20})
RUN = {"dataset": "d", "dictionary": "k", "seed": 8, "mode": "calibrated"}
CORPUS = [
    Problem("Ann has 3 pens and gets 4. How many?", "<<3+4=7>>7\n#### 7"),
    Problem("Bo cuts 8 ropes in 2. How many?", "<<8*2=16>>16, <<16-1=15>>15\n#### 15"),
    Problem("How many?", "None.\n#### 0"),
]
TABLE = pa.table({name: [getattr(each, name) for each in CORPUS] for name in ("question", "answer")})
FEATURES = [(SITES[0], 3), (SITES[1], 3), (SITES[1], 11), (SITES[0], 9)]
VALUES = np.array([[0.5, -2, 0, 0], [0.25, 3, 0, -0.25], [0, -4, 0, 0.125]], np.float32)
SIGNS = (1, -1, 1, -1)
SOURCES = ["search", "start", "random", "corpus"]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param, max_position_embeddings=1024)


@pytest.fixture(scope="module")
def llama() -> CodiModel:
    return small_model("llama", max_position_embeddings=1024)


def random_bank(architecture: Any, k: int = K) -> Bank:
    generator = torch.Generator().manual_seed(7)
    shapes = ((D_IN, D_SAE), (D_SAE,), (D_SAE, D_IN), (D_IN,))
    weights = (torch.randn(len(SITES), *shape, generator=generator) for shape in shapes)
    return Bank(Recipe(architecture, D_SAE, k), SITES, *weights)


def table(
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
    return maximal_inputs(
        model, bank, features, TABLE, values, settings, convention, batch_size, RUN
    )


def thought_value(
    model: CodiModel, bank: Bank, question: str, site: Site, feature: int, convention: Any
) -> float:
    """Activation of a feature on one question by itself, with all the model's thoughts."""
    hook, block = hooked_layers(convention, LAYERS)[site.layer]
    x = model.think([question], latents=3).activations[hook][:, site.step, block]
    stacked = torch.stack([x] * len(bank.sites))
    return float(bank.encode(stacked)[bank.sites.index(site), 0, feature])


@pytest.mark.parametrize("architecture", ["abstopk", "topk"])
def test_values_are_those_of_the_model_thinking_by_itself(
    model: CodiModel, architecture: str
) -> None:
    for convention in ("block_output", "hidden_states_after"):
        bank = random_bank(architecture)
        found = table(model, bank, convention=convention).to_pandas()
        assert found.source.tolist() == SOURCES * len(FEATURES)
        named = list(zip(found.layer, found.step, found.feature, strict=True))
        assert named == [(*site, index) for site, index in FEATURES for _ in SOURCES]
        own = found[found.source != "corpus"]
        for row in own.itertuples():
            site = Site(row.layer, row.step)
            value = thought_value(model, bank, row.question, site, row.feature, convention)
            assert row.value == pytest.approx(value, rel=1e-4, abs=1e-4)
        assert (own.value != 0).sum() >= 6
