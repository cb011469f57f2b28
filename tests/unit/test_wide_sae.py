"""Wide SAEs: one update against autograd, selection, and what a recipe says."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from saeflow.config.streams import StreamSettings
from saeflow.errors import SaeflowError
from saeflow.saes.wide.recipe import WideRecipe, input_factor, penalty_per_token
from saeflow.saes.wide.sae import WideSae
from saeflow.saes.wide.state import WideState, initial_state, start_of
from saeflow.saes.wide.strongest import in_rows, strongest
from tests.wide_streams import planted

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
D_IN, D_SAE, K, ROWS = 12, 64, 3, 40
FORMS = {
    "topk": {},
    "topk_dense": {"sparse_decode": "never"},
    "batchtopk": {"architecture": "batchtopk"},
    "batchtopk_dense": {"architecture": "batchtopk", "sparse_decode": "never"},
    "relu": {"architecture": "relu", "l1_coefficient": 0.3},
    "published": {"architecture": "relu", "l1": "published", "l1_coefficient": 0.3},
}


def recipe_of(form: str, control: str | None = None, **changes: object) -> WideRecipe:
    settings = {
        "tokens": 20 * ROWS,
        "batch_size": ROWS,
        "learning_rate": 3e-3,
        "dead_after": 5 * ROWS,
        "auxiliary_k": 4,
        "sparse_decode": "always",
    }
    settings |= FORMS[form] | changes
    return WideRecipe(D_SAE, K, 1, control, StreamSettings(**settings))


def batches(number: int) -> list[Tensor]:
    x, _ = planted(ROWS * number, D_IN, 20, 3)
    return list(x.split(ROWS))


def slow_loss(weights: dict[str, Tensor], state: WideState, recipe: WideRecipe, batch: Tensor):
    """Loss of a batch as one writes it down, and its features."""
    x = batch * state.factor.float()
    pre = (x if recipe.published else x - weights["b_dec"]) @ weights["W_enc"].T + weights["b_enc"]
    if recipe.architecture == "relu":
        keep = torch.ones_like(pre, dtype=torch.bool)
    elif recipe.architecture == "topk":
        keep = torch.zeros_like(pre, dtype=torch.bool)
        for row, values in enumerate(pre.detach()):
            keep[row, values.argsort()[-recipe.k :]] = True
    else:
        cut = pre.detach().flatten().sort().values[-recipe.k * len(x)]
        keep = pre.detach() >= cut
    features = pre.relu() * keep
    reconstruction = features @ weights["W_dec"] + weights["b_dec"]
    loss = (reconstruction - x).square().mean()
    lengths = weights["W_dec"].norm(dim=1) if recipe.published else torch.ones(len(pre[0]))
    loss = loss + penalty_per_token(recipe) * (features * lengths).sum(1).mean()
    dead = (state.idle >= recipe.settings.dead_after).nonzero()[:, 0]
    if recipe.architecture != "relu" and len(dead):
        k = min(recipe.settings.auxiliary_k, len(dead))
        place = pre[:, dead].detach().topk(k, dim=1).indices
        chosen = torch.zeros(len(x), len(dead)).scatter(1, place, 1.0)
        explained = (pre[:, dead].relu() * chosen) @ weights["W_dec"][dead]
        left = (explained - (x - reconstruction).detach()).square().mean()
        loss = loss + recipe.settings.auxiliary_coefficient * left
    return loss, features


def slow_gradients(sae: WideSae, batch: Tensor) -> tuple[dict[str, Tensor], float, Tensor]:
    weights = {name: each.clone().requires_grad_() for name, each in sae.state.weights.items()}
    loss, features = slow_loss(weights, sae.state, sae.recipe, batch)
    loss.backward()
    gradients = {name: each.grad for name, each in weights.items()}
    if not sae.recipe.published:
        W_dec = sae.state.weights["W_dec"]
        along = (gradients["W_dec"] * W_dec).sum(1, keepdim=True)
        gradients["W_dec"] = gradients["W_dec"] - along * W_dec
    return gradients, float(loss.detach()), features.detach()


def fresh(recipe: WideRecipe, first: Tensor) -> WideSae:
    state = initial_state(recipe, first, CPU)
    generator = torch.Generator().manual_seed(3)
    state.weights["b_enc"] += torch.randn(D_SAE, generator=generator) / 10
    return WideSae(recipe, state)


@pytest.mark.parametrize("dead", [0, 2, 30])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_autograd(form, dead):
    batch = batches(1)[0]
    sae = fresh(recipe_of(form), batch)
    sae.state.weights["W_dec"] += 0.1 * sae.state.weights["W_enc"].flip(0)
    if not sae.recipe.published:
        sae.state.weights["W_dec"] /= sae.state.weights["W_dec"].norm(dim=1, keepdim=True)
    sae.state.idle[:dead] = 10**6
    expected, loss, features = slow_gradients(sae, batch)
    sae.step(batch)
    for name, each in expected.items():
        # Adam's first moment after its first step.
        torch.testing.assert_close(sae.state.mean[name] / 0.1, each, atol=2e-6, rtol=1e-4)
    measured = sae.measured(1, ROWS)
    assert measured["loss"] == pytest.approx(loss, rel=1e-5)
    assert measured["l0"] == pytest.approx(float((features > 0).sum()) / ROWS)
    fired = (features > 0).any(0)
    assert (sae.state.idle[fired] == 0).all()
    assert (sae.state.idle[~fired] >= ROWS).all()


@pytest.mark.parametrize("control", [None, "frozen_decoder", "frozen_encoder"])
@pytest.mark.parametrize("form", FORMS)
def test_training_is_that_of_a_plain_loop(form, control):
    recipe = recipe_of(form, control)
    steps = batches(recipe.steps)
    sae = fresh(recipe, steps[0])
    other = copy.deepcopy(sae)
    weights = other.state.weights
    trained = {name: each for name, each in weights.items() if name != recipe.frozen}
    adam = torch.optim.Adam(trained.values())
    for number, batch in enumerate(steps):
        gradients, _, features = slow_gradients(other, batch)
        for group in adam.param_groups:
            group["lr"] = recipe.learning_rate(number)
        for name, each in trained.items():
            each.grad = gradients[name]
        adam.step()
        if not recipe.published:
            weights["W_dec"] /= weights["W_dec"].norm(dim=1, keepdim=True)
        other.state.idle += ROWS
        other.state.idle[(features > 0).any(0)] = 0
        sae.step(batch)
    for name, each in weights.items():
        torch.testing.assert_close(sae.state.weights[name], each, atol=2e-4, rtol=1e-3)
    assert torch.equal(sae.state.idle, other.state.idle)


@pytest.mark.parametrize("form", ["topk", "batchtopk", "relu"])
def test_decoder_keeps_length_1(form):
    steps = batches(6)
    sae = fresh(recipe_of(form), steps[0])
    for batch in steps:
        sae.step(batch)
    lengths = sae.state.weights["W_dec"].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(D_SAE), atol=1e-6, rtol=0)
    assert not torch.equal(
        sae.state.weights["W_dec"], fresh(sae.recipe, steps[0]).state.weights["W_dec"]
    )


@pytest.mark.parametrize("form", ["topk", "topk_dense", "published"])
def test_frozen_weights_stay(form):
    steps = batches(6)
    for control in ("frozen_decoder", "frozen_encoder", "soft_frozen_decoder"):
        sae = fresh(recipe_of(form, control), steps[0])
        before = copy.deepcopy(sae.state.weights)
        for batch in steps:
            sae.step(batch)
        changed = {
            name for name, each in before.items() if not torch.equal(each, sae.state.weights[name])
        }
        assert changed == set(before) - {sae.recipe.frozen}
        cosine = torch.nn.functional.cosine_similarity(before["W_dec"], sae.state.weights["W_dec"])
        if control == "soft_frozen_decoder":
            assert float(cosine.min()) > 0.8 - 1e-5


def test_dead_latents_revive():
    x, _ = planted(200 * ROWS, D_IN, 60, 3)

    def dead_after_training(coefficient: float) -> int:
        recipe = recipe_of(
            "topk",
            auxiliary_coefficient=coefficient,
            auxiliary_k=16,
            tokens=200 * ROWS,
            dead_after=20 * ROWS,
        )
        sae = fresh(recipe, x)
        # Half of the latents stay below the others', though not below 0 everywhere.
        sae.state.weights["b_enc"][: D_SAE // 2] -= 2.0
        sae.state.idle[: D_SAE // 2] = recipe.settings.dead_after
        for batch in x.split(ROWS):
            sae.step(batch)
        return int((sae.state.idle >= recipe.settings.dead_after).sum())

    without, with_loss = dead_after_training(0.0), dead_after_training(1 / 32)
    assert without >= D_SAE // 4
    assert with_loss <= without / 2


@pytest.mark.parametrize("form", ["topk", "batchtopk"])
def test_autocast_selects_what_float32_selects(form):
    x, _ = planted(400, 64, 300, 6)
    settings = StreamSettings(
        architecture=recipe_of(form).architecture, tokens=2000, batch_size=400, autocast=True
    )
    half = WideRecipe(512, 6, 0, settings=settings)
    full = WideRecipe(512, 6, 0, settings=settings.model_copy(update={"autocast": False}))
    saes = [WideSae(each, initial_state(each, x, CPU)) for each in (half, full)]
    for _ in range(5):
        for sae in saes:
            sae.step(x)
        for name, each in saes[0].state.weights.items():
            torch.testing.assert_close(each, saes[1].state.weights[name], atol=1e-5, rtol=1e-4)
    assert saes[0].measured(5, 2000)["loss"] == pytest.approx(
        saes[1].measured(5, 2000)["loss"], rel=1e-5
    )


def test_autocast_of_relu_is_close():
    batch = batches(1)[0]
    half, full = (fresh(recipe_of("relu", autocast=each), batch) for each in (True, False))
    half.step(batch)
    full.step(batch)
    assert half.measured(1, ROWS)["loss"] == pytest.approx(full.measured(1, ROWS)["loss"], rel=0.02)


@pytest.mark.parametrize(
    ("d_sae", "k"), [(24, 24), (64, 3), (96, 1), (1000, 20), (4096, 32), (7, 2)]
)
def test_strongest_are_the_largest(d_sae, k):
    pre = torch.randn(30, d_sae, generator=torch.Generator().manual_seed(0))
    values, latents = strongest(pre, k)
    assert torch.equal(pre.gather(1, latents), values)
    assert torch.equal(values.sort(1, descending=True).values, pre.topk(k).values)
    assert all(len(set(row)) == k for row in latents.tolist())


def test_strongest_among_ties():
    pre = torch.zeros(5, 512)
    pre[:, 7] = 1.0
    values, latents = strongest(pre, 4)
    assert values.sum(1).tolist() == [1.0] * 5
    assert all(len(set(row)) == 4 for row in latents.tolist())
    assert (latents == 7).any(1).all()


def test_rows_of_a_list():
    values, latents = in_rows(
        torch.tensor([0, 0, 2]), torch.tensor([5, 1, 3]), torch.tensor([0.5, 2.0, 1.0]), 4
    )
    assert values.tolist() == [[0.5, 2.0], [0, 0], [1.0, 0], [0, 0]]
    assert latents.tolist() == [[5, 1], [0, 0], [3, 0], [0, 0]]
    empty = torch.zeros(0, dtype=torch.int64)
    assert in_rows(empty, empty, torch.zeros(0), 2)[0].tolist() == [[0.0], [0.0]]


def test_batch_selection_does_not_depend_on_the_guess():
    """Whatever the running threshold is, the same latents are the largest of the batch."""
    batch = batches(1)[0]
    found = []
    for threshold in (0.0, 1e-3, 0.5, 1e6):
        sae = fresh(recipe_of("batchtopk"), batch)
        sae.state.threshold += threshold
        sae.step(batch)
        found.append(sae.state.weights)
    for each in found[1:]:
        for name, weights in each.items():
            assert torch.equal(weights, found[0][name])


def test_threshold_is_the_running_mean_of_the_least():
    steps = batches(4)
    sae = fresh(recipe_of("batchtopk"), steps[0])
    expected = None
    assert sae.recipe.threshold_rate == 0.5, "of 20 steps; 0.01 of 1,000 and more"
    assert recipe_of("batchtopk", tokens=10**6).threshold_rate == 0.01
    for batch in steps:
        _, features = slow_loss(sae.state.weights, sae.state, sae.recipe, batch)
        least = float(features[features > 0].min())
        expected = least if expected is None else (expected + least) / 2
        sae.step(batch)
    assert float(sae.state.threshold) == pytest.approx(expected, rel=1e-5)


def test_published_penalty_is_a_32nd_at_the_studys_sizes():
    settings = StreamSettings(architecture="relu", l1="published", l1_coefficient=0.00597965)
    recipe = WideRecipe(65_536, 1, 0, settings=settings)
    assert settings.batch_size == 2048
    assert penalty_per_token(recipe) == 0.00597965 / 32
    for batch, d_sae in ((40, 64), (7, 30)):
        changed = settings.model_copy(update={"batch_size": batch})
        assert penalty_per_token(WideRecipe(d_sae, 1, 0, settings=changed)) == (
            settings.l1_coefficient * batch / d_sae
        )
    fixed = settings.model_copy(update={"l1": "fixed"})
    assert penalty_per_token(WideRecipe(65_536, 1, 0, settings=fixed)) == 0.00597965
    assert penalty_per_token(WideRecipe(64, 1, 0)) == 0


def test_published_penalty_is_the_shape_bug():
    """The batch gets a leading axis: dimension 1 is that of tokens, and the mean runs over latents."""
    recipe = recipe_of("published")
    batch = batches(1)[0]
    sae = fresh(recipe, batch)
    _, features = slow_loss(sae.state.weights, sae.state, recipe, batch)
    leading = features.unsqueeze(0) * sae.state.weights["W_dec"].norm(dim=1)
    bug = recipe.settings.l1_coefficient * leading.sum(dim=1).mean()
    x = batch * sae.state.factor.float()
    reconstruction = features @ sae.state.weights["W_dec"] + sae.state.weights["b_dec"]
    expected = float((reconstruction - x).square().mean() + bug)
    sae.step(batch)
    assert sae.measured(1, ROWS)["loss"] == pytest.approx(expected, rel=1e-5)


def test_published_factor():
    assert input_factor(3072, 11.888623072966611) == pytest.approx(4.662, abs=5e-4)
    recipe = recipe_of("published", scale=11.888623072966611)
    state = initial_state(recipe, torch.randn(4, D_IN), CPU)
    assert float(state.factor) == math.sqrt(D_IN) / 11.888623072966611
    x = torch.randn(500, D_IN, generator=torch.Generator().manual_seed(0)) * 3 + 5
    published = initial_state(recipe_of("published"), x, CPU).factor
    assert float((x * published).square().sum(1).mean()) == pytest.approx(D_IN, rel=1e-5)
    ours = initial_state(recipe_of("topk"), x, CPU)
    centred = x * ours.factor - ours.weights["b_dec"]
    assert float(centred.square().sum(1).mean()) == pytest.approx(D_IN, rel=1e-5)


def test_published_start_is_pytorchs():
    state = initial_state(recipe_of("published"), torch.randn(9, D_IN), CPU)
    for name, inputs in (("W_enc", D_IN), ("b_enc", D_IN), ("W_dec", D_SAE), ("b_dec", D_SAE)):
        bound = 1 / math.sqrt(inputs)
        assert 0.7 * bound < float(state.weights[name].abs().max()) <= bound
    assert not torch.equal(state.weights["W_enc"], state.weights["W_dec"])


def test_start_from_data():
    x = torch.randn(300, D_IN, generator=torch.Generator().manual_seed(0)) + 2
    x[:20] += 1000
    assert start_of(x, "zero").tolist() == [0.0] * D_IN
    torch.testing.assert_close(start_of(x, "mean"), x.mean(0))
    median = start_of(x, "geometric_median")
    assert float((median - 2).abs().max()) < 0.5
    torch.manual_seed(1)
    for _ in range(20):
        other = median + torch.randn(D_IN) * 0.05
        assert (x - median).norm(dim=1).double().sum() < (x - other).norm(dim=1).double().sum()
    torch.testing.assert_close(start_of(x[:1].repeat(5, 1), "geometric_median"), x[0])
    state = initial_state(recipe_of("topk", start="geometric_median"), x, CPU)
    torch.testing.assert_close(state.weights["b_dec"] / state.factor.float(), median)
    assert torch.equal(state.weights["W_enc"], state.weights["W_dec"])


def test_encoder_starts_in_agreement():
    batch = batches(1)[0]
    errors = []
    for agreed in (False, True):
        sae = WideSae(recipe_of("topk"), initial_state(recipe_of("topk"), batch, CPU))
        if agreed:
            sae.agree(batch)
        sae.step(batch)
        errors.append(sae.measured(1, ROWS)["fvu"])
    assert errors[1] < errors[0]
    assert errors[1] < 1


def test_encoder_starts_shorter():
    batch = batches(1)[0]
    found = {}
    for share in (1.0, 0.1):
        recipe = recipe_of("topk", encoder_start=share)
        sae = WideSae(recipe, initial_state(recipe, batch, CPU))
        sae.agree(batch)
        found[share] = sae.state.weights
    torch.testing.assert_close(found[0.1]["W_enc"], found[1.0]["W_enc"] * 0.1)
    torch.testing.assert_close(found[0.1]["W_dec"], found[1.0]["W_dec"])


def test_learning_rate():
    recipe = recipe_of("topk", tokens=100 * ROWS, warm_up_share=0.1, decay_share=0.2)
    rates = [recipe.learning_rate(step) / 3e-3 for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([1 - n / 20 for n in range(20)])
    assert recipe_of("topk", warm_up_share=0, decay_share=0).learning_rate(19) == 3e-3
    assert WideRecipe(2**16, 32, 0).peak_learning_rate == pytest.approx(1e-4)


def test_sparse_where_few_are_active():
    assert WideRecipe(4096, 32, 0).sparse
    assert not WideRecipe(512, 100, 0).sparse
    assert not WideRecipe(640, 32, 0).sparse, "5 % exactly"
    assert WideRecipe(512, 100, 0, settings=StreamSettings(sparse_decode="always")).sparse
    assert not WideRecipe(4096, 32, 0, settings=StreamSettings(sparse_decode="never")).sparse
    assert not recipe_of("relu").sparse


def test_refusals():
    with pytest.raises(SaeflowError, match=r"^k is 9, but there are 8 latents \(d_sae\); expected"):
        WideRecipe(8, 9, 0)
    with pytest.raises(SaeflowError, match=r"^k is 0"):
        WideRecipe(8, 0, 0)
    with pytest.raises(SaeflowError, match=r"^control is 'pca', which is not trained"):
        WideRecipe(8, 2, 0, "pca")
    with pytest.raises(ValueError, match="batch_size is 2048, but tokens is 100"):
        StreamSettings(tokens=100)
    with pytest.raises(ValueError, match=r"together more than 1"):
        StreamSettings(warm_up_share=0.6, decay_share=0.6)


@pytest.mark.parametrize("form", FORMS)
def test_constant_activations_end_in_finite_weights(form):
    x = torch.full((ROWS, D_IN), 3.0)
    sae = WideSae(recipe_of(form), initial_state(recipe_of(form), x, CPU))
    sae.agree(x)
    for _ in range(5):
        sae.step(x)
    assert sae.state.finite
    assert math.isnan(sae.measured(5, 5 * ROWS)["fvu"])


cuda_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@cuda_only
@pytest.mark.parametrize("form", FORMS)
def test_cuda_agrees(form):
    recipe = recipe_of(form)
    steps = batches(recipe.steps)
    saes = [
        WideSae(recipe, initial_state(recipe, steps[0], torch.device(each)))
        for each in ("cpu", "cuda")
    ]
    for batch in steps:
        for sae in saes:
            sae.step(batch)
    for name, each in saes[0].state.weights.items():
        torch.testing.assert_close(saes[1].state.weights[name].cpu(), each, atol=1e-3, rtol=1e-2)
