"""SAEs of what enters a block do what SAEs of what the block before gave do, one layer on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.edits import steer
from saeflow.interventions.splicing import spliced_cross_entropy
from saeflow.interventions.steering import published_place
from saeflow.interventions.texts import TextCondition, TextRun
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import HookedLayer, same_between_blocks
from saeflow.models.hooks import editing
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.tokens import encode_texts
from saeflow.studies.specialists.ablation import ablation_trials
from saeflow.studies.specialists.behaviour import SpecialistFeature
from saeflow.studies.specialists.cascade import relative_change
from saeflow.studies.specialists.names import ZERO
from tests.ablation_cases import model_of, prompts_of
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, QUESTIONS

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH, D_SAE = 16, 24


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return model_of(request.param)


def bank(hook: Any, layer: int) -> Bank:
    generator = torch.Generator().manual_seed(3)
    shapes = (1, WIDTH, D_SAE), (1, D_SAE), (1, D_SAE, WIDTH), (1, WIDTH)
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    return Bank(Recipe("topk", D_SAE, 5, hook=hook), (Site(layer),), *weights)


POST, PRE = bank("resid_post", 0), bank("resid_pre", 1)


def test_the_same_place_has_one_name() -> None:
    assert same_between_blocks(HookedLayer("resid_pre", 3)) == ("resid_post", 2)
    assert same_between_blocks(HookedLayer("resid_pre", 0)) == ("embed", 0)
    for place in (HookedLayer("resid_post", 2), HookedLayer("mlp_out", 1)):
        assert same_between_blocks(place) == place


def test_texts_give_the_same_features(model: CodiModel) -> None:
    for one, other in zip(
        encode_texts(model, POST, QUESTIONS), encode_texts(model, PRE, QUESTIONS), strict=True
    ):
        assert torch.equal(one.features[0], other.features[1])
        assert (one.features[0] != 0).any()


def test_ablations_do_the_same(model: CodiModel) -> None:
    prompts = prompts_of(model, "items")
    trials = [
        ablation_trials(model, each, prompts, [SpecialistFeature(each.sites[0].layer, 7, "Math")])
        for each in (POST, PRE)
    ]
    one, other = (trial.effects[ZERO] for trial in trials)
    np.testing.assert_array_equal(trials[0].mass, trials[1].mass)
    for values, others in zip(one, other, strict=True):
        np.testing.assert_array_equal(values, others)
    assert one.log_probability.any()


def test_cascades_do_the_same_from_the_block_that_is_entered(model: CodiModel) -> None:
    prompts = prompts_of(model, "items")
    features = list(range(D_SAE))
    one, other = (
        relative_change(
            model,
            each,
            prompts,
            [SpecialistFeature(each.sites[0].layer, feature, "Math") for feature in features],
        )
        for each in (POST, PRE)
    )
    np.testing.assert_array_equal(one[:, 1:], other[:, 1:])
    assert np.isnan(other[:, 0]).all()
    assert (other[:, 1:] > 0).any()
    embedded = relative_change(
        model, bank("resid_pre", 0), prompts, [SpecialistFeature(0, 7, "Math")]
    )
    assert np.isfinite(embedded).all()


def test_splices_do_the_same(model: CodiModel) -> None:
    mean = torch.zeros(WIDTH)
    one, other, first = (
        next(spliced_cross_entropy(model, {"sae": each}, QUESTIONS, mean=mean))
        for each in (POST, PRE, bank("resid_pre", 0))
    )
    for name, sums in one.sums.items():
        np.testing.assert_array_equal(sums, other.sums[name])
    assert not np.array_equal(one.sums["sae"], one.sums["clean"])
    ids = torch.tensor([model.tokenizer(QUESTIONS[0])["input_ids"]])
    begin = len(model.tokenizer("")["input_ids"])

    def nothing(hidden: Tensor) -> Tensor:
        return torch.cat([hidden[:, :begin], torch.zeros_like(hidden[:, begin:])], 1)

    with torch.no_grad(), editing(model.language_model, {("embed", 0): nothing}):
        likely = model.language_model(ids).logits[0].log_softmax(-1)
    losses = -likely[:-1].gather(1, ids[0, 1:, None])[begin:]
    assert float(losses.sum()) == pytest.approx(first.sums["zero"][0], rel=1e-4)


def test_steering_knows_the_block_that_reads_it() -> None:
    assert published_place(HookedLayer("resid_pre", 2), 3) == ("resid_post", 2)
    assert published_place(HookedLayer("resid_pre", 2), 3, []) == ("resid_pre", 2)


def test_runs_of_texts_tell_that_the_edge_has_another_name(model: CodiModel) -> None:
    run = TextRun(model.language_model, [[3, 4, 5]])
    edit = TextCondition({HookedLayer("resid_pre", 1): steer(torch.ones(WIDTH))})
    with pytest.raises(SaeflowError) as raised:
        list(run.outcomes([edit]))
    check_sentence(raised.value, "'resid_pre' goes by another name here", "resid_post 0 to 2")
