"""What stands beside an ablation: as large a change, problem by problem, of something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from saeflow.config.datasets import GeneratedDataset
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.sources import load_problems
from saeflow.interventions.edits import Splice, ablate
from saeflow.interventions.thoughts import Condition, ThoughtRun
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.plans import SiteState, plan_doses, plan_feature, plan_set, plan_swap
from saeflow.studies.hierarchy.trials import Key
from tests.unit.test_intervene import LATENTS, subject_of

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = CausalSettings(doses=(0.0, 4.0))
KEY = Key("made", 1, 0, "", "", None, "none", "reported")
MEMBERS = [0, 3, 7]


@pytest.fixture(scope="module")
def state() -> SiteState:
    generated = GeneratedDataset(
        source="generated", n_train=0, n_validation=24, step_weights=(1, 0, 0, 0), decimal_share=0
    )
    problems: pa.Table = load_problems(generated).table
    subject = subject_of()
    texts = (problems[name].to_pylist() for name in ("question", "answer"))
    run = ThoughtRun(subject.model, *texts, latents=LATENTS, max_new_tokens=3)
    return SiteState.of(subject, run, Site(1, 0), 0)


def added(state: SiteState, condition: Condition) -> Tensor:
    """What a condition adds to each problem of the run at its one place."""
    ((place, edit),) = condition.edits.items()
    assert place in (state.place, state.other)
    rows = torch.arange(len(state.x)) if condition.problems is None else condition.problems
    change = torch.zeros_like(state.x)
    change[rows] = edit(state.x[rows], rows) - state.x[rows]
    return change


def lengths(change: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(change, dim=1)
    return found


def mean_of(state: SiteState) -> np.ndarray:
    return state.features.double().mean(0).numpy()


def test_controls_of_a_set_are_as_long_and_other_directions(state: SiteState) -> None:
    plan = dict(plan_set(state, MEMBERS, mean_of(state), SETTINGS, KEY, controls=True))
    found = {(key.edit, key.control): added(state, condition) for key, condition in plan.items()}
    own = found["zero", "none"]
    expected = -state.features[:, MEMBERS] @ state.sae.W_dec[0][MEMBERS]
    torch.testing.assert_close(own, expected, atol=1e-4, rtol=1e-4)
    assert lengths(own).min() > 0
    for control in ("random_feature", "random_direction"):
        other = found["zero", control]
        torch.testing.assert_close(lengths(other), lengths(own), atol=1e-4, rtol=1e-4)
        assert torch.cosine_similarity(other, own).abs().max() < 0.999
    torch.testing.assert_close(found["zero", "other_step"], own, atol=1e-4, rtol=1e-4)
    # One direction for all problems would make a control of its luck.
    turned = torch.nn.functional.normalize(found["zero", "random_direction"])
    alike = (turned @ turned.T).fill_diagonal_(0)
    assert alike.abs().max() < 0.9


def test_random_features_of_a_set_are_active_and_none_of_its_members(state: SiteState) -> None:
    mask = state.matched(state.features, MEMBERS, SETTINGS, "random_feature")
    active = state.features != 0
    assert not mask[:, MEMBERS].any()
    assert not (mask & ~active).any()
    plan = dict(plan_set(state, MEMBERS, mean_of(state), SETTINGS, KEY, controls=False))
    (condition,) = (each for key, each in plan.items() if key.control == "random_feature")
    direction = -torch.where(mask, state.features, 0) @ state.sae.W_dec[0]
    cosine = torch.cosine_similarity(added(state, condition), direction)
    some = mask.any(1)
    assert some.sum() > 10
    torch.testing.assert_close(cosine[some], torch.ones(int(some.sum())), atol=1e-4, rtol=0.0)


def test_a_mean_is_put_on_every_problem_and_zero_where_there_is_something(state: SiteState) -> None:
    counts = (state.features != 0).sum(0)
    feature = int(((counts > 3) & (counts < len(state.x) - 3)).nonzero()[0])
    plan = dict(plan_feature(state, feature, mean_of(state), SETTINGS, KEY))
    active = state.features[:, feature] != 0
    for key, condition in plan.items():
        touched = lengths(added(state, condition)) > 0
        if key.edit == "mean":
            assert touched.all()
        else:
            assert torch.equal(touched, active) or key.control == "random_feature"
            assert not (touched & ~active).any()


def test_problems_without_another_active_feature_have_no_random_control(state: SiteState) -> None:
    """The whole effect would be what is beyond a control that changes nothing."""
    features = state.features.clone()
    # Members alone; nothing at all; and all as it was.
    features[0], features[1] = 0, 0
    features[0, MEMBERS[1]] = 2.0
    lonely = replace(state, features=features)
    everyone = list(range(len(state.x)))
    plans = {
        "zero": plan_set(lonely, MEMBERS, mean_of(state), SETTINGS, KEY, controls=True),
        "swap.value": plan_swap(
            lonely, MEMBERS, state.features * 0, SETTINGS, KEY._replace(edit="swap.value")
        ),
    }
    for edit, plan in plans.items():
        rows = {
            key.control: everyone if each.problems is None else each.problems.tolist()
            for key, each in plan
            if key.edit == edit
        }
        assert 0 in rows["none"]
        assert rows["random_feature"] == [row for row in rows["none"] if row != 0]
        assert (1 in rows["none"]) == (edit == "zero")
        assert rows.get("random_direction", everyone) == everyone
    features[:, 8:] = features[:, [1, 2, 4, 5, 6]] = 0
    only = plan_set(lonely, MEMBERS, mean_of(state), SETTINGS, KEY, controls=False)
    silent = (features[:, MEMBERS] == 0).all(1)
    assert {
        key.control: None if each.problems is None else each.problems.tolist() for key, each in only
    } == {"none": None, "random_feature": silent.nonzero()[:, 0].tolist()}


def test_doses_and_swaps_have_controls_of_their_length(state: SiteState) -> None:
    key = KEY._replace(unit="set")
    for dose in SETTINGS.doses:
        plan = dict(plan_doses(state, MEMBERS, SETTINGS, key))
        own, other = (
            added(state, plan[key._replace(edit="scale", dose=dose, control=control)])
            for control in ("none", "random_direction")
        )
        torch.testing.assert_close(lengths(other), lengths(own), atol=1e-3, rtol=1e-4)
        if dose > 0:
            torch.testing.assert_close(own, (1 - dose) * removed(state), atol=1e-3, rtol=1e-4)
    partner = state.features.roll(1, 0)
    swaps = dict(plan_swap(state, MEMBERS, partner, SETTINGS, key._replace(edit="swap.value")))
    changes = {each.control: added(state, condition) for each, condition in swaps.items()}
    other = lengths(changes["random_feature"])
    same = torch.isclose(other, lengths(changes["none"]), atol=1e-4, rtol=1e-4)
    # Where no other feature changes there is nothing to bring to length.
    assert (same | (other == 0)).all()
    assert same.float().mean() > 0.8


def removed(state: SiteState) -> Tensor:
    rows = torch.arange(len(state.x))
    return Splice(state.sae, ablate(MEMBERS)).difference(state.x, rows)
