"""Attributed effects of ablation against small exact ones."""

from __future__ import annotations

import pytest
import torch

from saeflow.interventions.attribution import answer_gradients, feature_effects
from saeflow.interventions.edits import Splice, amplify, steer
from saeflow.interventions.thoughts import Condition, Place, ThoughtRun
from saeflow.seeds import torch_generator
from tests.small_models import FAMILIES, LATENTS, LAYERS, small_model
from tests.unit.test_interventions import ANSWERS, D_SAE, QUESTIONS, outcome, sae_of

pytestmark = pytest.mark.usefixtures("one_thread")
PLACES = [
    Place(0, "embed", 0),
    Place(0, "resid_post", LAYERS - 1),
    Place(1, "resid_post", 0),
    Place(2, "final_norm", 0),
    Place(LATENTS, "resid_post", 1),
]


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest) -> ThoughtRun:
    model = small_model(request.param)
    model.language_model.double()
    model.projection.double()
    return ThoughtRun(model, QUESTIONS, ANSWERS, latents=LATENTS, max_new_tokens=4)


def test_gradients_are_slopes_of_exact_interventions(run: ThoughtRun) -> None:
    found = answer_gradients(run.model, QUESTIONS, ANSWERS, PLACES, latents=LATENTS)
    for place in PLACES:
        seen, gradient = found[place]
        torch.testing.assert_close(seen, run.at(place).float(), atol=1e-5, rtol=1e-5)
        direction = torch.randn(seen.shape[1], generator=torch_generator(place.step, "test"))
        up, down = (
            outcome(run, {place: steer(direction.double(), sign * 1e-3)}).log_probability
            for sign in (1, -1)
        )
        slope = (up - down) / 2e-3
        assert slope.abs().max() > 1e-3
        torch.testing.assert_close(gradient @ direction, slope.float(), atol=2e-3, rtol=1e-2)


def test_the_last_final_norm_feeds_nothing(run: ThoughtRun) -> None:
    place = Place(LATENTS, "final_norm", 0)
    _, gradient = answer_gradients(run.model, QUESTIONS, ANSWERS, [place], latents=LATENTS)[place]
    assert not gradient.any()


def test_attributed_effects_are_those_of_a_little_less_of_each_feature(run: ThoughtRun) -> None:
    sae, place = sae_of(run), Place(1, "resid_post", 1)
    found = answer_gradients(run.model, QUESTIONS, ANSWERS, [place], latents=LATENTS)
    effects, features = feature_effects(sae, *found[place])
    assert ((effects != 0) == (features != 0)).all()
    for feature in range(0, D_SAE, 5):
        less, more = (
            outcome(run, {place: Splice(sae, amplify([feature], dose))}).log_probability
            for dose in (0.999, 1.001)
        )
        slope = ((less - more) / 2e-3).float()
        torch.testing.assert_close(effects[:, feature], slope, atol=5e-3, rtol=2e-2)


def test_nothing_is_left_to_be_differentiated(run: ThoughtRun) -> None:
    answer_gradients(run.model, QUESTIONS, ANSWERS, PLACES, latents=LATENTS)
    assert all(parameter.grad is None for parameter in run.model.language_model.parameters())
    assert torch.is_grad_enabled()
    ((_, found),) = run.outcomes([Condition({})])
    assert not found.log_probability.requires_grad
