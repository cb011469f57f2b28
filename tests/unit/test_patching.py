"""Laws of patching, on small fresh models of both families, with and without shared keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import Phase as Step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.donors import NOTHING, Donor
from saeflow.interventions.patches import Blend, Patch
from saeflow.interventions.patching import PatchRun
from saeflow.interventions.prompts import PromptRun
from saeflow.interventions.units import KINDS, units_of
from saeflow.models.hooks import transformer_blocks
from saeflow.models.reader import Reader
from tests.patch_cases import (
    CANDIDATES,
    NEW,
    OTHER_ROWS,
    OWN,
    PHASES,
    SHAPES,
    Case,
    carried,
    case_of,
    check_same,
    greedy,
    outcome,
    slow,
    some_patches,
)
from tests.sentences import check_sentence
from tests.small_models import LAYERS

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = (Step.explicit, Step.generate)
"""Shrinking would read thousands of times."""
CASES: dict[str, Case] = {}


@pytest.fixture(params=SHAPES)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param not in CASES:
        CASES[request.param] = case_of(request.param)
    return CASES[request.param]


def test_the_run_itself_is_what_whole_passes_give(case: Case) -> None:
    for row, ids in enumerate(OWN):
        answer = greedy(case.run.model, ids, NEW, case.options["ends"])
        assert case.run.answers[row] == answer
        with torch.no_grad():
            whole = torch.tensor([ids + case.options["forced"][row]])
            logits = case.run.model(whole).logits[0, -1]
        expected = logits[CANDIDATES[row, 0]] - logits[CANDIDATES[row, 1]]
        torch.testing.assert_close(case.run.logit_difference[row], expected, rtol=1e-4, atol=1e-4)
        for kind in ("head", "block", "mlp_out", "resid_post"):
            hook = units_of(case.run.model, kind).hook
            own = carried(case.run.model, ids + answer, kind, 1)
            found = case.run.at(hook, 1)[row, : len(ids)]
            torch.testing.assert_close(found, own[: len(ids)], rtol=1e-4, atol=1e-4)


@given(st.integers(0, 10**6))
@settings(max_examples=4, phases=STEPS)
def test_patches_do_what_hooks_on_whole_passes_do(case: Case, seed: int) -> None:
    for name, patch in some_patches(case, seed, 3):
        found = outcome(case.run, patch)
        for index, row in enumerate(found.rows.tolist()):
            difference, answer = slow(case, name, patch, row)
            assert float(found.logit_difference[index]) == pytest.approx(difference, abs=1e-4)
            assert found.answers[index] == answer
            assert bool(found.changed[index]) == (answer != case.run.answers[row])
        change = found.logit_difference - case.run.logit_difference[found.rows]
        assert torch.equal(found.change, change)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", KINDS)
def test_patching_a_run_with_itself_changes_nothing(case: Case, kind: Any, phase: Any) -> None:
    patches = [
        Patch(case.own, layer, kind, None, phase, weight)
        for layer in range(LAYERS)
        for weight in (1.0, 0.3)
    ]
    for _, found in case.run.outcomes(patches):
        assert torch.equal(found.logit_difference, case.run.logit_difference)
        assert not bool(found.change.any())
        assert found.answers == case.run.answers


def everything_touched(self: Blend, own: Tensor, entries: Tensor, table: Any) -> Tensor:
    return entries != NOTHING


@pytest.mark.parametrize("phase", PHASES)
def test_nor_does_it_if_all_is_computed_again(
    case: Case, phase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law does not rest on leaving out what does not change."""
    read: list[int] = []
    on = PatchRun._read_on
    monkeypatch.setattr(Blend, "touches", everything_touched)
    monkeypatch.setattr(
        PatchRun, "_read_on", lambda self, live, *rest: (read.append(len(live.rows)), on(self, live, *rest))[1]
    )  # fmt: skip
    for _, found in case.run.outcomes([Patch(case.own, 1, kind, None, phase) for kind in KINDS]):
        torch.testing.assert_close(found.logit_difference, case.run.logit_difference)
        assert found.answers == case.run.answers
    assert sum(read) >= len(KINDS) * (len(OWN) if phase != "decode" else 3)


@pytest.mark.parametrize("name", ["aligned", "published", "mean"])
def test_weight_zero_changes_nothing(case: Case, name: str) -> None:
    patches = [Patch(case.donors[name], layer, "head", [1], weight=0.0) for layer in range(LAYERS)]
    for _, found in case.run.outcomes(patches):
        assert torch.equal(found.logit_difference, case.run.logit_difference)
        assert found.answers == case.run.answers


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", ["aligned", "published", "mean"])
def test_all_units_are_the_module(case: Case, name: str, phase: Any) -> None:
    for layer in range(LAYERS):
        kinds = ("attn_out", "block", "head", "kv_group")
        patches = [Patch(case.donors[name], layer, kind, None, phase) for kind in kinds]
        found = dict(case.run.outcomes(patches))
        # Behind the last block, nothing but the last token of a prompt is looked at.
        if phase != "decode" and layer < LAYERS - 1:
            assert bool((found[0].change.abs() > 1e-2).any())
        for number in range(1, len(kinds)):
            check_same(found[number], found[0], 1e-5)
        units = range(units_of(case.run.model, "head").n_units)
        check_same(outcome(case.run, replace(patches[2], units=units)), found[2], 1e-5)


def test_some_units_are_not_all(case: Case) -> None:
    """Each head, and each group, does something of its own."""
    for kind in ("head", "kv_group", "block"):
        count = units_of(case.run.model, kind).n_units
        patches = [Patch(case.donors["aligned"], 0, kind, [unit]) for unit in range(count)]
        patches.append(Patch(case.donors["aligned"], 0, kind))
        changes = [found.change for _, found in case.run.outcomes(patches)]
        for number, change in enumerate(changes):
            for other in changes[number + 1 :]:
                assert bool(((change - other).abs() > 1e-3).any())


def test_groups_are_their_heads(case: Case) -> None:
    groups, heads = (units_of(case.run.model, kind).n_units for kind in ("kv_group", "head"))
    size = heads // groups
    for group in range(groups):
        whole = Patch(case.donors["aligned"], 1, "kv_group", [group])
        parts = replace(whole, kind="head", units=range(group * size, (group + 1) * size))
        check_same(outcome(case.run, parts), outcome(case.run, whole), 0.0)


@pytest.mark.parametrize("name", ["aligned", "published", "mean"])
@pytest.mark.parametrize("kind", ["head", "block", "mlp_out", "resid_post"])
def test_both_phases_are_one_and_the_other(case: Case, kind: Any, name: str) -> None:
    """With own activations in the answer, both is prefill; with none in the prompt, decode."""
    donor = case.donors[name]
    for layer in range(LAYERS):
        in_prompt, in_answer, both = (
            outcome(case.run, Patch(donor, layer, kind, None, phase)) for phase in PHASES
        )
        nothing = torch.full_like(donor.prompt_entry, NOTHING)
        alone = replace(donor, prompt_entry=nothing)
        check_same(outcome(case.run, Patch(alone, layer, kind, None, "both")), in_answer, 0.0)
        untouched = outcome(case.run, Patch(alone, layer, kind, None, "prefill"))
        assert torch.equal(untouched.logit_difference, case.run.logit_difference)
        first = case.run.n_forced == 0
        assert torch.equal(both.logit_difference[first], in_prompt.logit_difference[first])
        assert not bool(in_answer.change[first].any())


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 7, 64]))
@settings(max_examples=4, phases=STEPS)
def test_many_at_once_give_what_each_gives_alone(case: Case, seed: int, rows: int) -> None:
    patches = [patch for _, patch in some_patches(case, seed, 6)]
    together = dict(case.run.outcomes(patches, rows=rows))
    assert sorted(together) == list(range(len(patches)))
    for number, patch in enumerate(patches):
        check_same(together[number], outcome(case.run, patch), 1e-4)
        if patch.rows is not None:
            for index, row in enumerate(patch.rows):
                alone = outcome(case.run, replace(patch, rows=[row]))
                assert alone.answers == [together[number].answers[index]]


@pytest.mark.parametrize("shape", SHAPES)
def test_neither_padding_nor_other_prompts_matter(shape: str) -> None:
    """Padding on the other side, other rows in the batch: the same effects."""
    case = CASES.setdefault(shape, case_of(shape)) if shape not in CASES else CASES[shape]
    model, options = case.run.model, case.options
    right = PatchRun(model, OWN, CANDIDATES, left_pad=False, **options)
    chosen = [2, 4]
    some = options | {"forced": [options["forced"][row] for row in chosen]}
    few = PatchRun(model, [OWN[row] for row in chosen], CANDIDATES[chosen], **some)
    assert few.n_rows == len(chosen)
    for layer, kind in (
        (0, "head"),
        (1, "mlp_out"),
        (2, "resid_post"),
        (2, "block"),
        (1, "attn_out"),
    ):
        for phase in PHASES:
            expected = outcome(case.run, Patch(case.donors["aligned"], layer, kind, [0], phase))
            donor = Donor.aligned(right, case.other, case.pairs, OTHER_ROWS)
            found = outcome(right, Patch(donor, layer, kind, [0], phase))
            check_same(found, expected, 1e-5)
            donor = Donor.aligned(
                few,
                case.other,
                [case.pairs[row] for row in chosen],
                [OTHER_ROWS[r] for r in chosen],
            )
            found = outcome(few, Patch(donor, layer, kind, [0], phase))
            torch.testing.assert_close(
                found.logit_difference, expected.logit_difference[chosen], rtol=1e-5, atol=1e-5
            )
            assert found.answers == [expected.answers[row] for row in chosen]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", range(LAYERS))
def test_blocks_and_tokens_before_are_not_computed_again(
    case: Case, layer: int, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks before a patch see no token of the prompt; from the patched one on, those behind it."""
    seen: dict[int, list[int]] = {number: [] for number in range(LAYERS)}
    handles = [
        (getattr(block, "self_attn", None) or block.attn).register_forward_hook(
            lambda _, __, out, number=number: seen[number].append(out[0].shape[1])
        )
        for number, block in enumerate(transformer_blocks(case.run.model))
    ]
    pairs = [[(0, len(row) - 1)] for row in OWN]
    donor = Donor.aligned(case.run, case.other, pairs, OTHER_ROWS)
    ((_, found),) = case.run.outcomes([Patch(donor, layer, kind, phase="prefill")])
    for handle in handles:
        handle.remove()
    assert bool(found.change.any())
    passes = [len(seen[number]) for number in range(LAYERS)]
    assert passes[:layer] == [passes[-1] - 1] * layer
    assert passes[layer:] == [passes[-1]] * (LAYERS - layer)
    assert all(seen[number][0] == 1 for number in range(layer, LAYERS))


def test_models_and_runs_are_left_as_they_were(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model = case.run.model
    weights = {name: each.clone() for name, each in model.state_dict().items()}
    kept = {place: each.clone() for place, each in case.run.activations.items()}
    patches = [patch for _, patch in some_patches(case, 3, 8)]
    first = dict(case.run.outcomes(patches))
    with monkeypatch.context() as broken:
        broken.setattr(Blend, "patched", {}.pop)
        with pytest.raises(TypeError):
            list(case.run.outcomes(patches))
    for number, found in case.run.outcomes(patches):
        check_same(found, first[number], 0.0)
    assert all(torch.equal(each, weights[name]) for name, each in model.state_dict().items())
    assert all(torch.equal(each, kept[place]) for place, each in case.run.activations.items())
    modules = list(model.modules())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in modules)
    assert not any("forward" in vars(each) for each in modules)


def test_memory_does_not_grow_with_the_number_of_patches(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No forward pass holds more rows than asked for, and outcomes come before all are computed."""
    sizes: list[int] = []
    read = Reader.read

    def counted(self: Reader, embeddings: Tensor, *rest: Any, **named: Any) -> Any:
        sizes.append(len(embeddings))
        return read(self, embeddings, *rest, **named)

    patches = [patch for _, patch in some_patches(case, 4, 12)] * 4
    monkeypatch.setattr(Reader, "read", counted)
    found = case.run.outcomes(patches, rows=2)
    next(found)
    before = len(sizes)
    assert len(list(found)) == len(patches) - 1
    # Led answers may be rows of their own.
    assert 0 < before < len(sizes) / 4
    assert max(sizes) <= 4


def test_runs_without_candidates_give_activations(case: Case) -> None:
    """A word problem gives the tokens that it has in common."""
    word = PromptRun(case.run.model, [[5, 6, 7, 8]], **{**case.options, "forced": None})
    pairs = [[(0, 0)] + [(3, len(row) - 1)] * (len(row) > 1) for row in OWN]
    donor = Donor.aligned(case.run, word, pairs, [0] * len(OWN))
    assert donor.at.sum(1).tolist() == [2, 2, 2, 2, 1]
    found = outcome(case.run, Patch(donor, 1, "resid_post", phase="prefill"))
    assert bool(found.change.any())


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"layer": LAYERS}, [f"layer {LAYERS}", "attn_z"]),
        ({"kind": "heads"}, ["heads", "kv_group"]),
        ({"units": [9]}, ["[9]", "0 to 3"]),
        ({"phase": "later"}, ["'later'", "prefill"]),
        ({"weight": 1.5}, ["1.5"]),
        ({"rows": [5]}, ["[5]", "0 to 4"]),
        ({"rows": []}, ["[]", "0 to 4"]),
    ],
)
def test_patches_that_cannot_be_done(case: Case, change: dict[str, Any], parts: list[str]) -> None:
    patch = replace(Patch(case.own, 0, "head"), **change)
    with pytest.raises(SaeflowError) as raised:
        list(case.run.outcomes([patch]))
    check_sentence(raised.value, *parts)


def test_runs_and_donors_that_cannot_be_made(case: Case) -> None:
    run, model, options = case.run, case.run.model, case.options
    few = PatchRun(model, OWN, CANDIDATES, hooks=["mlp_out"], layers=[1], **options)
    keys = [["a"] * len(row) for row in OWN]
    wrong: dict[str, Callable[[], Any]] = {
        "does not keep the layer 1 of attn_z": lambda: outcome(few, Patch(case.own, 1, "head")),
        "does not keep the layer 0 of mlp_out": lambda: few.at("mlp_out", 0),
        "a donor was made for": lambda: outcome(
            run, Patch(Donor.published(case.other, run, OTHER_ROWS), 1, "head")
        ),
        "no token 5 in the prompt 0": lambda: Donor.aligned(run, case.other, [[(5, 0)]] + [[]] * 4),
        "no token 4 in the prompt 1": lambda: Donor.aligned(
            run, case.other, [[], [(0, 4)], [], [], []]
        ),
        "aligned with two tokens": lambda: Donor.aligned(
            run, case.other, [[(0, 1), (2, 1)]] + [[]] * 4
        ),
        "tokens of 1 prompts are aligned": lambda: Donor.aligned(run, case.other, [[]]),
        "activations of 2 prompts were given for 5": lambda: Donor.published(
            run, case.other, [0, 1]
        ),
        "the rows [0, 1, 2, 3, 9]": lambda: Donor.published(run, case.other, [0, 1, 2, 3, 9]),
        "expected one per token": lambda: Donor.mean(run, run, keys, [["a"]] * 5),
        "tokens forced on 1": lambda: PromptRun(
            model, OWN, **{**options, "forced": [[]]}
        ),
        "the prompts take [0]": lambda: PromptRun(model, [[]], max_new_tokens=2),
        "the prompts take [160]": lambda: PromptRun(model, [[3] * 160], max_new_tokens=2),
        "the candidates have the shape (4, 2)": lambda: PatchRun(
            model, OWN, CANDIDATES[:4], **options
        ),
        "there is no layer 7": lambda: PromptRun(model, OWN, max_new_tokens=2, layers=[7]),
    }  # fmt: skip
    for part, make in wrong.items():
        with pytest.raises(SaeflowError) as raised:
            make()
        check_sentence(raised.value, part)
