"""Laws of patching, on small fresh models of both families, with and without shared keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import pytest
import torch
from hypothesis import Phase as Step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.interventions.donors import NOTHING, Donor
from saeflow.interventions.patches import Blend, Patch, PatchOutcome
from saeflow.interventions.patching import PatchRun
from saeflow.interventions.prompts import PromptRun
from saeflow.interventions.units import KINDS, units_of
from saeflow.models.hooks import transformer_blocks
from saeflow.models.loading import load_model
from saeflow.models.reader import Reader
from saeflow.seeds import torch_generator
from tests.sentences import check_sentence
from tests.small_models import LAYERS, settings_of

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = (Step.explicit, Step.generate)
"""Shrinking would read thousands of times."""
NEW = 6
PHASES = ("prefill", "decode", "both")
CANDIDATES = torch.tensor([[20, 30], [21, 31], [22, 32], [23, 33], [24, 34]])
OTHER_ROWS = [3, 0, 4, 2, 1]
SHAPES = {"llama": {}, "llama_without_gqa": {"num_key_value_heads": 4}, "gpt2": {}}
Pairs = list[list[tuple[int, int]]]


def fresh(shape: str) -> PreTrainedModel:
    """Fresh weights are so small that attention is nearly uniform; make a mistake in it visible."""
    family = shape.split("_")[0]
    made = load_model(settings_of(family, seed=1, **SHAPES[shape])).language_model.eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made


def prompts(seed: int, lengths: tuple[int, ...]) -> list[list[int]]:
    generator = torch_generator(seed, "test", "patching")
    return [torch.randint(3, 200, (length,), generator=generator).tolist() for length in lengths]


@dataclass
class Case:
    """Two runs of one model, and which tokens of one belong to which of the other."""

    run: PatchRun
    other: PatchRun
    pairs: Pairs
    options: dict[str, Any]
    shape: str

    @cached_property
    def donors(self) -> dict[str, Donor]:
        keys = [[f"{n % 3}" if n % 5 else f"row {n}" for n in range(len(row))] for row in OWN]
        other_keys = [[f"{n % 3}" for n in range(len(row))] for row in THEIRS]
        return {
            "aligned": Donor.aligned(self.run, self.other, self.pairs, OTHER_ROWS),
            "published": Donor.published(self.run, self.other, OTHER_ROWS),
            "mean": Donor.mean(self.run, self.other, keys, other_keys, [0, 2, 3]),
        }

    @cached_property
    def own(self) -> Donor:
        every = [[(n, n) for n in range(len(row))] for row in OWN]
        return Donor.aligned(self.run, self.run, every)


OWN = prompts(0, (9, 4, 12, 7, 1))
THEIRS = prompts(1, (5, 11, 8, 3, 9))


def aligned_pairs() -> Pairs:
    """Some tokens of each prompt, in any order, the last one mostly."""
    draw = random.Random(5)
    pairs = []
    for row, own in enumerate(OWN):
        length = len(THEIRS[OTHER_ROWS[row]])
        here = sorted(draw.sample(range(len(own)), k=max(1, len(own) - 2)) if row != 1 else [0, 2])
        pairs.append([(draw.randrange(length), token) for token in here])
    return pairs


def case_of(shape: str) -> Case:
    model = fresh(shape)
    plain = PromptRun(model, OWN, max_new_tokens=NEW, ends=[], hooks=())
    # One answer ends early; some answers begin with what is forced on them, and some do not.
    ends = [plain.answers[3][2]]
    forced = [[], plain.answers[1][:2], [50, 51, 52], [plain.answers[3][0]], [60]]
    options = {"max_new_tokens": NEW, "ends": ends}
    run = PatchRun(model, OWN, CANDIDATES, forced=forced, **options)
    other = PatchRun(
        model, THEIRS, CANDIDATES, forced=[[70], [], [71, 72], [], [73, 74]], **options
    )
    assert set(run.led.tolist()) & {2, 4} == set()
    assert len(run.answers[3]) <= 3
    return Case(run, other, aligned_pairs(), options | {"forced": forced}, shape)


CASES: dict[str, Case] = {}


@pytest.fixture(params=SHAPES)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param not in CASES:
        CASES[request.param] = case_of(request.param)
    return CASES[request.param]


def outcome(run: PatchRun, patch: Patch, **options: Any) -> PatchOutcome:
    ((number, found),) = run.outcomes([patch], **options)
    assert number == 0
    return found


def check_same(found: PatchOutcome, expected: PatchOutcome, tolerance: float) -> None:
    assert torch.equal(found.rows, expected.rows)
    torch.testing.assert_close(
        found.logit_difference, expected.logit_difference, rtol=tolerance, atol=tolerance
    )
    assert found.answers == expected.answers
    assert torch.equal(found.changed, expected.changed)


# --- A slow reference: whole sequences, no cache, hooks of its own, one prompt at a time.


def site(model: PreTrainedModel, kind: str, layer: int) -> tuple[torch.nn.Module, bool]:
    """Module of a kind of units, and whether its input is meant."""
    block = transformer_blocks(model)[layer]
    if kind in ("resid_post", "mlp_out"):
        return (block if kind == "resid_post" else block.mlp), False
    attention = block.self_attn if hasattr(block, "self_attn") else block.attn
    if kind in ("head", "kv_group"):
        return (attention.o_proj if hasattr(attention, "o_proj") else attention.c_proj), True
    return attention, False


@contextmanager
def changing(
    model: PreTrainedModel, kind: str, layer: int, change: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    module, before = site(model, kind, layer)
    if before:
        handle = module.register_forward_pre_hook(
            lambda _, inputs: (change(inputs[0]), *inputs[1:])
        )
    else:
        handle = module.register_forward_hook(
            lambda _, __, out: (
                change(out) if isinstance(out, Tensor) else (change(out[0]), *out[1:])
            )
        )
    yield
    handle.remove()


def carried(model: PreTrainedModel, ids: list[int], kind: str, layer: int) -> Tensor:
    kept: list[Tensor] = []

    def keep(hidden: Tensor) -> Tensor:
        kept.append(hidden[0])
        return hidden

    with torch.no_grad(), changing(model, kind, layer, keep):
        model(torch.tensor([ids]))
    return kept[0]


def greedy(
    model: PreTrainedModel, ids: list[int], limit: int, ends: list[int], start: tuple[int, ...] = ()
) -> list[int]:
    written = list(start)
    while len(written) < limit and not (written[len(start) :] and written[-1] in ends):
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *written]])).logits[0, -1]
        written.append(int(logits.argmax()))
    return written


def given_values(case: Case, name: str, patch: Patch, row: int, led: bool) -> dict[int, Tensor]:
    """What a donor gives each place of a prompt and its answer, by whole passes over its runs."""
    model, ends = case.run.model, case.options["ends"]
    count = len(OWN[row])

    @cache
    def answer_of(number: int) -> list[int]:
        forced = tuple(case.other._forced[number]) if led else ()
        return greedy(model, THEIRS[number], NEW, ends, forced)

    @cache
    def values(number: int) -> Tensor:
        return carried(model, THEIRS[number] + answer_of(number), patch.kind, patch.layer)

    def token(number: int, t: int) -> int:
        return len(THEIRS[number]) + min(t, len(answer_of(number)) - 1)

    number, prompt, answer = OTHER_ROWS[row], {}, {}
    if name == "aligned":
        prompt = {here: values(number)[there] for there, here in case.pairs[row]}
        answer = {count + t: values(number)[token(number, t)] for t in range(NEW)}
    elif name == "published":
        both = min(count, len(THEIRS[number]))
        prompt = {here: values(number)[here] for here in range(both)}
        answer = {count + t: values(number)[0] for t in range(NEW)}
    else:
        chosen = (0, 2, 3)
        for here in range(count):
            if here % 5:
                same = [
                    values(each)[there]
                    for each in chosen
                    for there in range(len(THEIRS[each]))
                    if there % 3 == here % 3
                ]
                if same:
                    prompt[here] = torch.stack(same).mean(0)
        for t in range(NEW):
            each = [values(number)[token(number, t)] for number in chosen]
            answer[count + t] = torch.stack(each).mean(0)
    return (prompt if patch.phase != "decode" else {}) | (
        answer if patch.phase != "prefill" else {}
    )


def slow(case: Case, name: str, patch: Patch, row: int) -> tuple[float, list[int]]:
    """Logit difference and answer of a patched prompt."""
    model, ids = case.run.model, OWN[row]
    units = units_of(model, patch.kind)
    width = units.width // units.n_units
    chosen = range(units.n_units) if patch.units is None else patch.units
    columns = [n for unit in chosen for n in range(unit * width, (unit + 1) * width)]

    def change_with(values: dict[int, Tensor]) -> Callable[[Tensor], Tensor]:
        def change(hidden: Tensor) -> Tensor:
            hidden = hidden.clone()
            for place, value in values.items():
                if place < hidden.shape[1]:
                    own = hidden[0, place, columns]
                    share = patch.weight
                    hidden[0, place, columns] = (1 - share) * own + share * value[columns]
            return hidden

        return change

    with torch.no_grad():
        led = change_with(given_values(case, name, patch, row, led=True))
        with changing(model, patch.kind, patch.layer, led):
            logits = model(torch.tensor([ids + case.options["forced"][row]])).logits[0, -1]
        plain = change_with(given_values(case, name, patch, row, led=False))
        with changing(model, patch.kind, patch.layer, plain):
            answer = greedy(model, ids, NEW, case.options["ends"])
    true, other = CANDIDATES[row]
    return float(logits[true] - logits[other]), answer


def some_patches(case: Case, seed: int, count: int) -> list[tuple[str, Patch]]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        kind = draw.choice(KINDS)
        n_units = units_of(case.run.model, kind).n_units
        chosen = draw.sample(range(n_units), k=draw.randint(1, n_units))
        name = draw.choice(sorted(case.donors))
        patch = Patch(
            case.donors[name],
            draw.randrange(LAYERS),
            kind,
            draw.choice([None, chosen]),
            draw.choice(PHASES),
            draw.choice([1.0, 1.0, 0.4]),
            draw.choice([None, draw.sample(range(5), k=3)]),
        )
        found.append((name, patch))
    return found


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
