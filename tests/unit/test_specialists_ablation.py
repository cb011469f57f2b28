"""Ablation of specialists against plain hooks, one text and one feature at a time; laws; plants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import HookedLayer
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.specialists.ablated import METRICS
from saeflow.studies.specialists.ablation import _Read, ablation_trials
from saeflow.studies.specialists.ablation_effects import (
    NONE,
    ablation_matrix,
)
from saeflow.studies.specialists.ablation_prompts import (
    Prompt,
    mean_features,
    text_prompts,
)
from saeflow.studies.specialists.behaviour import SpecialistFeature
from saeflow.studies.specialists.cascade import relative_change
from saeflow.studies.specialists.names import (
    CONTROLS,
    CROSS_DOMAIN,
    MEAN,
    RANDOM_DIRECTION,
    RANDOM_FEATURE,
    ZERO,
)
from tests.ablation_cases import (
    D_IN,
    D_SAE,
    SITES,
    SPECIALISTS,
    TEXTS,
    bank,
    block_outputs,
    edited_outputs,
    encoded,
    model_of,
    prompts_of,
)
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, LAYERS, small_model
from tests.unit.test_specialists_ablation_effects import cell

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return model_of(request.param)


def reference(
    model: CodiModel, prompt: Prompt, specialist: SpecialistFeature, value: float = 0.0
) -> tuple[float, float, bool]:
    ids = [*prompt.ids, *prompt.target[:-1]]
    before, after = (
        each[len(prompt.ids) - 1 :].numpy()
        for each in (
            block_outputs(model, ids)[1],
            edited_outputs(model, ids, specialist, value)[1],
        )
    )
    target = list(prompt.target) or [int(before[0].argmax())]
    gained = [after[n, token] - before[n, token] for n, token in enumerate(target)]
    kl = float((np.exp(before[0]) * (before[0] - after[0])).sum())
    return float(np.mean(gained)), kl, bool(before[0].argmax() != after[0].argmax())


MEANS = {layer: torch.linspace(0, 2, D_SAE) for layer in SITES}


@pytest.mark.parametrize("kind", ["items", "texts"])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_effects_are_those_of_plain_hooks(model: CodiModel, kind: str, batch_size: int) -> None:
    """Prompts of one token to many, padded where they are together, endings of several tokens."""
    prompts = prompts_of(model, kind)
    found = ablation_trials(
        model, bank(), prompts, SPECIALISTS, means=MEANS, batch_size=batch_size, draws=1, rows=3
    )
    some = 0
    for number, each in enumerate(SPECIALISTS):
        for column, prompt in enumerate(prompts):
            for name in (ZERO, MEAN):
                value = float(MEANS[each.layer][each.feature]) if name == MEAN else 0.0
                gained, kl, flip = reference(model, prompt, each, value)
                effects = found.effects[name]
                assert effects.log_probability[number, column] == pytest.approx(gained, abs=1e-4)
                assert effects.kl[number, column] == pytest.approx(kl, abs=1e-4)
                assert effects.flip[number, column] == flip
                some += abs(gained) > 0.01
    assert some > 10
    for column, prompt in enumerate(prompts):
        clean = block_outputs(model, [*prompt.ids, *prompt.target[:-1]])[1][len(prompt.ids) - 1 :]
        target = list(prompt.target) or [int(clean[0].argmax())]
        expected = np.mean([float(clean[n, token]) for n, token in enumerate(target)])
        assert found.log_probability[column] == pytest.approx(expected, abs=1e-5)
        others = clean[0].clone()
        others[target[0]] = -torch.inf
        margin = float(clean[0, target[0]] - others.max())
        assert found.margin[column] == pytest.approx(margin, abs=1e-5)


def test_a_silent_feature_changes_nothing_at_all(model: CodiModel) -> None:
    silent = SPECIALISTS.index(SPECIALISTS[3])
    means = {layer: torch.zeros(D_SAE) for layer in SITES}
    prompts = prompts_of(model, "items")
    found = ablation_trials(model, bank(), prompts, SPECIALISTS, means=means)
    assert not found.active[silent].any()
    for effects in found.effects.values():
        for metric in METRICS:
            values = getattr(effects, metric)[silent]
            assert (values == 0).all(), "bit for bit"
    cells = ablation_matrix(found, ["g"] * len(prompts), range(len(prompts)), permutations=50)
    assert np.isnan(
        [cell.p_value for cell in cells if cell.specialist == silent and cell.condition == ZERO]
    ).all()
    change = relative_change(model, bank(), prompts, [SPECIALISTS[3]])
    assert (change[0, 1:] == 0).all()


def test_an_empty_text(model: CodiModel) -> None:
    """A token that the tokenizer puts before it is never edited; without one there is nothing to read."""
    prompts = text_prompts(model, ["", *TEXTS], ["g"] * 5, range(5))
    if not prompts[0].ids:
        with pytest.raises(SaeflowError) as error:
            ablation_trials(model, bank(), prompts, SPECIALISTS)
        check_sentence(error.value, "positions", "expected some texts of 1 to 160")
        return
    found = ablation_trials(model, bank(), prompts, SPECIALISTS, means=MEANS)
    assert not found.mass[:, 0].any()
    assert not any(effects.kl[:, 0].any() for effects in found.effects.values())
    (alone,) = relative_change(model, bank(), prompts[:1], SPECIALISTS[:1])
    assert not alone.any()


def test_nothing_depends_on_the_batch(model: CodiModel) -> None:
    """Random controls are drawn by prompt."""
    prompts = prompts_of(model, "items")
    one, many = (
        ablation_trials(model, bank(), prompts, SPECIALISTS, batch_size=size) for size in (1, 32)
    )
    assert one.effects.keys() == {ZERO, *CONTROLS}
    np.testing.assert_allclose(one.mass, many.mass, atol=1e-4)
    for name, effects in one.effects.items():
        for metric in METRICS:
            other = getattr(many.effects[name], metric)
            np.testing.assert_allclose(getattr(effects, metric), other, atol=1e-4, err_msg=name)
    other = ablation_trials(model, bank(), prompts, SPECIALISTS, seed=1)
    changed = other.effects[RANDOM_DIRECTION].kl != many.effects[RANDOM_DIRECTION].kl
    assert changed[many.active].mean() > 0.7, "but for effects of a few last bits"
    np.testing.assert_array_equal(other.effects[ZERO].kl, many.effects[ZERO].kl)


def test_controls_take_away_as_much(model: CodiModel) -> None:
    """The same length over all tokens of a prompt, in another direction."""
    prompts = prompts_of(model, "items")
    batch = _Read(model, bank(), prompts, np.arange(len(prompts)), 0)
    own = SPECIALISTS[0]
    place, begin = HookedLayer("resid_post", own.layer), len(model.tokenizer("")["input_ids"])
    x = batch.run.activations[place]
    decoder = bank().W_dec[0]
    directions: dict[str, list[Tensor]] = {name: [] for name in (ZERO, *CONTROLS)}
    for name, condition in batch.conditions(own, SPECIALISTS, None, 2):
        assert condition.tokens is not None
        assert condition.texts is not None
        for text in condition.texts.tolist():
            length = len(prompts[text].ids) + max(len(prompts[text].target) - 1, 0)
            assert condition.tokens[text].nonzero()[:, 0].tolist() == list(range(begin, length))
            rows = x[text, begin:length]
            moved = condition.edits[place](rows, torch.full((len(rows),), text)) - rows
            total = float(moved.double().norm(dim=1).sum())
            assert total == pytest.approx(batch.sizes[0][text, own.feature], rel=1e-3), name
            directions[name] += [each for each in moved if each.norm() > 1e-3]
    unit = torch.nn.functional.normalize(decoder, dim=1)
    for name, along in directions.items():
        assert along
        cosine = (
            torch.stack([torch.nn.functional.normalize(each, dim=0) for each in along]) @ unit.T
        )
        nearest = cosine.abs().argmax(1)
        if name == ZERO:
            assert bool((nearest == own.feature).all())
            assert bool((cosine[:, own.feature] < -0.99).all())
        elif name == CROSS_DOMAIN:
            assert bool((cosine[:, SPECIALISTS[1].feature] < -0.99).all())
        elif name == RANDOM_FEATURE:
            assert bool((cosine.abs().amax(1) > 0.99).all())
            assert bool((nearest != own.feature).all())
        else:
            assert bool((cosine[:, own.feature].abs() < 0.9).all())


def test_a_specialist_without_another_domain_has_no_such_control(model: CodiModel) -> None:
    """Both topics of maths are one domain."""
    pair = [SPECIALISTS[0], SpecialistFeature(0, 19, "Math_Complex", "prose")]
    found = ablation_trials(model, bank(), prompts_of(model, "items"), pair)
    values = found.effects[CROSS_DOMAIN].kl
    assert np.isnan(values[found.active]).all()
    assert (values[~found.active] == 0).all()
    assert not np.isnan(found.effects[RANDOM_DIRECTION].kl).any()


def test_means_of_features(model: CodiModel) -> None:
    begin = len(model.tokenizer("")["input_ids"])
    found = mean_features(model, bank(), TEXTS, batch_size=2)
    for layer in SITES:
        rows = [
            encoded(
                layer, block_outputs(model, model.tokenizer(text)["input_ids"])[0][layer][begin:]
            )
            for text in TEXTS
        ]
        torch.testing.assert_close(found[layer], torch.cat(rows).mean(0), atol=1e-4, rtol=1e-4)
    with pytest.raises(SaeflowError) as error:
        mean_features(model, bank(), [""])
    check_sentence(error.value, "no token")


def test_what_cannot_be_ablated(model: CodiModel) -> None:
    prompts = prompts_of(model, "items")
    no_target = replace(prompts[0], target=())
    cases: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: ablation_trials(model, bank(), [*prompts, no_target], []), ["4 of 5 prompts"]),
        (lambda: ablation_trials(model, bank(), [], []), ["0 of 0 prompts"]),
        (
            lambda: ablation_trials(model, bank(), prompts, [SpecialistFeature(2, 0, "Math")]),
            ["specialist of Math", "block 2"],
        ),
    ]
    for case, parts in cases:
        with pytest.raises(SaeflowError) as error:
            case()
        check_sentence(error.value, *parts)
    inside = Bank(replace(bank().recipe, hook="mlp_out"), bank().sites, *bank().weights.values())
    for read in (relative_change, ablation_trials):
        with pytest.raises(SaeflowError) as error:
            read(model, inside, prompts, [])
        check_sentence(error.value, "mlp_out", "resid_post")


def planted(model: CodiModel) -> tuple[Bank, list[Prompt], list[SpecialistFeature]]:
    """Coordinates behind the last block as features: 0 decides on the target, 1 on nothing."""
    base = model.language_model.base_model
    # A norm would let every coordinate change the size of all others.
    setattr(base, "norm" if hasattr(base, "norm") else "ln_f", torch.nn.Identity())
    head = model.language_model.get_output_embeddings().weight
    with torch.no_grad():
        head.mul_(0.1)
        head[:, :2] = 0.0
        head[50, 0], head[51, 0] = 3.0, -3.0
    recipe = Recipe("abstopk", D_IN, D_IN, hook="resid_post")
    eye, nothing = torch.eye(D_IN)[None], torch.zeros(1, D_IN)
    coordinates = Bank(recipe, (Site(LAYERS - 1),), eye, nothing, eye, nothing)
    prompts = []
    rng = np.random.default_rng(0)
    for number in range(40):
        ids = rng.integers(3, 250, size=int(rng.integers(1, 8))).tolist()
        with torch.no_grad():
            hidden = model.language_model.base_model(torch.tensor([ids])).last_hidden_state[0, -1]
        target = 50 if hidden[0] > 0 else 51
        prompts.append(Prompt(tuple(ids), (target,), number // 2, "g"))
    specialists = [
        SpecialistFeature(LAYERS - 1, feature, topic)
        for feature, topic in enumerate(("Math", "Social", "Python"))
    ]
    return coordinates, prompts, specialists


@pytest.mark.parametrize("family", FAMILIES)
def test_a_planted_cause_is_found_and_a_decoy_is_not(family: str) -> None:
    changed = small_model(family)
    coordinates, prompts, specialists = planted(changed)
    trials = ablation_trials(changed, coordinates, prompts, specialists)
    groups, contents = [each.group for each in prompts], [each.content for each in prompts]
    cells = ablation_matrix(trials, groups, contents)
    for control in (NONE, *CONTROLS):
        causal = cell(cells, 0, control, "log_probability")
        assert causal.value < -0.1, control
        assert causal.high < 0
        assert causal.holm < 0.01
        assert causal.n == 20, "two prompts of one content count once"
        decoy = cell(cells, 1, control, "kl")
        assert decoy.value <= 0, "controls do more"
        assert decoy.value == 0 or decoy.high < 0
    assert cell(cells, 1, NONE, "log_probability").p_value == 1.0
    assert not trials.effects[ZERO].kl[1].any()
    assert cell(cells, 0, RANDOM_FEATURE, "kl").holm < 0.01
    for control in (RANDOM_FEATURE, RANDOM_DIRECTION):
        plain = cell(cells, 2, control, "log_probability")
        assert plain.value > -0.1, "one as any other has nothing beyond them"
