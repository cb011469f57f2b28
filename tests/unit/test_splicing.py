"""Cross-entropy with a reconstruction in place, against one document after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from saeflow.config.models import PathModel
from saeflow.errors import SaeflowError
from saeflow.interventions.splicing import (
    CLEAN,
    MEAN,
    ZERO,
    recovered,
    spliced_cross_entropy,
)
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import hooked_module
from saeflow.models.loading import load_model
from saeflow.saes.bank import Bank, Recipe, Site
from tests.conftest import ROOT
from tests.sentences import check_sentence

pytestmark = pytest.mark.usefixtures("one_thread")
LAYER, WIDTH = 2, 128
TEXTS = [
    "The judge read the contract twice before the court rose.",
    "",
    "Stir the onions in a pan.",
    "12",
    "The team scored a late goal and the crowd sang until the referee blew the whistle at the end.",
    "Stars",
]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> CodiModel:
    return load_model(
        PathModel(weights="path", path=str(ROOT / "resources/models" / request.param))
    )


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 8


def bank(kind: str, hook: Any = "resid_post", layer: int = LAYER) -> Bank:
    """Of the same site: one that changes nothing, one that gives 0, one that is random."""
    recipe = Recipe("abstopk", WIDTH, WIDTH, hook="resid_post")
    nothing, eye = torch.zeros(1, WIDTH, WIDTH), torch.eye(WIDTH)[None]
    bias = torch.zeros(1, WIDTH)
    if kind == "identity":
        return Bank(recipe, (Site(LAYER),), eye, bias, eye, bias)
    if kind == "nothing":
        return Bank(recipe, (Site(LAYER),), nothing, bias, nothing, bias)
    recipe = Recipe("topk", 300, 9, hook=hook)
    weights = drawn(1, WIDTH, 300), drawn(1, 300), drawn(1, 300, WIDTH, seed=1), drawn(1, WIDTH)
    return Bank(recipe, (Site(layer),), *weights)


@torch.no_grad()
def slow_loss(
    model: CodiModel,
    text: str,
    kind: str,
    mean: torch.Tensor,
    site: tuple[str, int] = ("resid_post", LAYER),
) -> tuple[float, int]:
    """One document without padding; its begin token is neither changed nor counted."""
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    begin = len(model.tokenizer("")["input_ids"])
    sae = bank("random")
    if ids.shape[1] <= begin + 1:
        return 0.0, 0

    def change(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        for position in range(begin, output.shape[1]):
            x = output[:, position]
            if kind == ZERO:
                output[:, position] = 0
            elif kind == MEAN:
                output[:, position] = mean
            elif kind == "random":
                output[:, position] = sae.decode(sae.encode(x[None]))[0]
        return output

    handle = hooked_module(model.language_model, *site).register_forward_hook(change)
    try:
        logits = model.language_model(ids).logits[0].double().log_softmax(-1)
    finally:
        handle.remove()
    wanted = [-float(logits[place, ids[0, place + 1]]) for place in range(begin, ids.shape[1] - 1)]
    return sum(wanted), len(wanted)


@pytest.mark.parametrize(
    ("batch_size", "site"),
    [
        (1, ("resid_post", LAYER)),
        (3, ("resid_post", 0)),
        (3, ("resid_post", 3)),
        (32, ("mlp_out", 0)),
        (32, ("mlp_out", LAYER)),
    ],
)
def test_cross_entropy_is_that_of_single_documents(
    model: CodiModel, batch_size: int, site: tuple[str, int]
) -> None:
    mean, sae = drawn(WIDTH, seed=2), {"random": bank("random", *site)}
    batches = list(spliced_cross_entropy(model, sae, TEXTS, mean=mean, batch_size=batch_size))
    found = {
        (int(number), name): (float(batch.sums[name][place]), int(batch.tokens[place]))
        for batch in batches
        for place, number in enumerate(batch.document)
        for name in batch.sums
    }
    conditions = (CLEAN, ZERO, MEAN, "random")
    expected = {
        (number, name): slow_loss(model, text, name, mean, site)
        for number, text in enumerate(TEXTS)
        for name in conditions
    }
    expected = {key: each for key, each in expected.items() if each[1]}
    assert found.keys() == expected.keys()
    for key, (total, tokens) in expected.items():
        assert found[key] == (pytest.approx(total, rel=1e-4), tokens)
    for module in model.language_model.modules():
        assert not module._forward_hooks
        assert "forward" not in vars(module)


def test_identity_recovers_all_and_nothing_none(model: CodiModel) -> None:
    saes = {"identity": bank("identity"), "nothing": bank("nothing")}
    batch, *others = spliced_cross_entropy(model, saes, TEXTS, mean=torch.zeros(WIDTH))
    assert not others
    sums = {name: each.sum(keepdims=True) for name, each in batch.sums.items()}
    assert recovered(sums[ZERO], sums["identity"], sums[CLEAN]) == pytest.approx(1, abs=1e-6)
    assert recovered(sums[ZERO], sums["nothing"], sums[CLEAN]) == 0
    assert sums[ZERO] > sums[CLEAN] + 1, "a trained model needs its third block"
    assert np.array_equal(batch.sums[ZERO], batch.sums[MEAN])


def test_nothing_lost_leaves_nothing_to_recover() -> None:
    found = recovered(np.array([2.0, 1.0]), np.array([1.5, 1.0]), np.array([1.0, 1.0]))
    assert found[0] == 0.5
    assert np.isnan(found[1])


def test_what_cannot_be_spliced(model: CodiModel) -> None:
    def splice(**saes: Bank) -> None:
        list(spliced_cross_entropy(model, saes, TEXTS, mean=torch.zeros(WIDTH)))

    made = bank("identity")
    other = Bank(made.recipe, (Site(1),), *made.weights.values())
    thoughts = Bank(Recipe("abstopk", WIDTH, 3), (Site(2, 0),), *made.weights.values())
    for saes in ({"a": made, "b": other}, {}, {"a": thoughts}):
        with pytest.raises(SaeflowError) as error:
            splice(**saes)
        check_sentence(error.value, "all of one site")
    with pytest.raises(SaeflowError) as error:
        splice(zero=made)
    check_sentence(error.value, "named 'zero'")
    narrow = Bank(Recipe("topk", 300, 9, hook="resid_post"), (Site(LAYER),), drawn(1, 9, 300),
                  drawn(1, 300), drawn(1, 300, 9), drawn(1, 9))  # fmt: skip
    with pytest.raises(SaeflowError) as error:
        splice(narrow=narrow)
    check_sentence(error.value, "9 dimensions", "128")
    with pytest.raises(SaeflowError) as error:
        list(spliced_cross_entropy(model, {"a": made}, ["a " * 2000], mean=torch.zeros(WIDTH)))
    check_sentence(error.value, "positions", "Cut the document")
