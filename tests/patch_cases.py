"""Patches of small fresh models, and what plain hooks on whole passes give for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.interventions.donors import Donor
from saeflow.interventions.patches import Patch, PatchOutcome
from saeflow.interventions.patching import PatchRun
from saeflow.interventions.prompts import PromptRun
from saeflow.interventions.units import KINDS, units_of
from saeflow.models.hooks import transformer_blocks
from saeflow.models.loading import load_model
from saeflow.seeds import torch_generator
from tests.small_models import LAYERS, settings_of

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
