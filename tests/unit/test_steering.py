"""What a model writes while it is steered, against a slow loop that reads everything again each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saeflow.config.models import PathModel
from saeflow.datasets.texts.documents import neutral_prompts
from saeflow.errors import SaeflowError
from saeflow.interventions.continuations import (
    Continuations,
    prompt_tokens,
    steered_continuations,
    uniform_numbers,
)
from saeflow.interventions.edits import steer
from saeflow.interventions.steering import (
    GroupMeans,
    at_tokens,
    bias_direction,
    density_neighbours,
    feature_direction,
    feature_length,
    fitted_place,
    group_means,
    published_place,
    published_vector,
    random_direction,
    unit,
)
from saeflow.interventions.writing import Writer
from saeflow.models.codi import CodiModel, last_of
from saeflow.models.conventions import HookedLayer
from saeflow.models.hooks import editing, hooked_module, listening
from saeflow.models.loading import load_model
from saeflow.models.reader import Reader
from saeflow.models.sampling import Sampling
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.seeds import torch_generator
from tests.small_models import FAMILIES, bytes_with_begin, small_model, with_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS = ["x", "Nobody spoke", "A longer one, with ünïcode – and 3 words.", "It was cold."]
NEW, SAMPLES, D_IN = 7, 3, 16
PLACES = [
    HookedLayer("resid_post", 1),
    HookedLayer("embed", 0),
    HookedLayer("mlp_out", 2),
    HookedLayer("attn_z", 0),
    HookedLayer("final_norm", 0),
]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    """The Llama puts a begin token before texts, the GPT-2 puts none."""
    made = small_model(request.param)
    return (
        with_tokenizer(made, bytes_with_begin(7, eos_token="Z"))
        if request.param == "llama"
        else made
    )


@pytest.fixture(scope="module", params=FAMILIES)
def reference(request: pytest.FixtureRequest, root: Path) -> CodiModel:
    return load_model(
        PathModel(weights="path", path=str(root / "resources/models" / request.param))
    )


def begin(model: CodiModel) -> int:
    return len(model.tokenizer("")["input_ids"])


def sae(d_in: int = D_IN, d_sae: int = 24, hook: str = "resid_post", layer: int = 1) -> Bank:
    generator = torch_generator(0, "test", "sae")
    shapes = ((1, d_in, d_sae), (1, d_sae), (1, d_sae, d_in), (1, d_in))
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    return Bank(Recipe("topk", d_sae, 4, hook=hook), (Site(layer),), *weights)


def jobs_of(d_in: int, strengths: tuple[float, ...]) -> tuple[np.ndarray, Tensor]:
    """Every prompt with every strength of a direction of its own."""
    jobs = np.tile(np.arange(len(PROMPTS)), len(strengths))
    vectors = [
        strength * random_direction(d_in, 0, "test", number, prompt)
        for number, strength in enumerate(strengths)
        for prompt in PROMPTS
    ]
    return jobs, torch.stack(vectors)


def collect(parts: list[Continuations]) -> dict[tuple[int, int], tuple[list[int], float, float]]:
    return {
        (int(job), int(sample)): (tokens, float(kl), float(surprisal))
        for part in parts
        for job, sample, tokens, kl, surprisal in zip(
            part.job, part.sample, part.tokens, part.kl, part.surprisal, strict=True
        )
    }


def logits_of(
    model: CodiModel, ids: list[int], place: HookedLayer, vector: Tensor, first: int
) -> Tensor:
    """Of the token behind some tokens: one row, no cache, no mask, a hook by hand."""
    language_model = model.language_model
    module = hooked_module(language_model, place.hook, place.layer)

    def push(hidden: Tensor) -> Tensor:
        hidden = hidden.clone()
        hidden[:, first:] += vector
        return hidden

    def before(_: object, args: tuple, kwargs: dict) -> tuple:
        if args:
            return (push(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": push(kwargs["hidden_states"])}

    def behind(_: object, __: object, output: object) -> object:
        return push(output) if torch.is_tensor(output) else (push(output[0]), *output[1:])

    if place.hook in ("embed", "attn_z"):
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(behind)
    with handle:
        logits = language_model(input_ids=torch.tensor([ids]), use_cache=False).logits
    return logits[0, -1, : model.tokens.pad].double()


@torch.no_grad()
def slowly(
    model: CodiModel,
    prompt: list[int],
    place: HookedLayer,
    vector: Tensor,
    uniform: np.ndarray | None,
    temperature: float,
) -> tuple[list[int], float, float]:
    """One row, the whole text read again for each token and for each measure."""
    written: list[int] = []
    kl, surprisal = [], []
    first = begin(model)
    while len(written) < NEW:
        ids = [*prompt, *written]
        steered = logits_of(model, ids, place, vector, first)
        plain = logits_of(model, ids, place, torch.zeros_like(vector), first)
        if uniform is None:
            token = int(steered.argmax())
        else:
            sums = np.cumsum(torch.softmax(steered / temperature, 0).numpy())
            token = int(np.searchsorted(sums, uniform[len(written)] * sums[-1], side="right"))
        p, q = plain.log_softmax(0), steered.log_softmax(0)
        kl.append(float((p.exp() * (p - q)).sum()))
        surprisal.append(-float(p[token]))
        written.append(token)
        if token == model.tokenizer.eos_token_id:
            break
    return written, float(np.mean(kl)), float(np.mean(surprisal))


@torch.no_grad()
def unsteered(model: CodiModel, rows: list[list[int]], uniform: np.ndarray) -> list[list[int]]:
    """Sampled without any hook."""
    ids, mask = model.pad(rows, left_pad=True)
    writer = Writer(model.language_model, [model.tokenizer.eos_token_id], model.tokens.pad)
    reader = Reader(model.language_model, mask)
    hidden = last_of(reader, model.language_model.get_input_embeddings()(ids))
    sampling = Sampling(1.0, torch.from_numpy(uniform))
    return writer.go_on(reader, writer.choose(hidden, sampling), uniform.shape[1], None, sampling)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.hook)
def test_batches_with_a_cache_write_what_a_slow_loop_writes(model, place):
    jobs, vectors = jobs_of(D_IN, (0.5, 6.0))
    ids = prompt_tokens(model, PROMPTS)
    uniform = uniform_numbers(PROMPTS, SAMPLES, NEW, 0, "test")
    found = collect(
        list(
            steered_continuations(
                model, place, ids, jobs, vectors, max_new_tokens=NEW, uniform=uniform,
                temperature=0.8, batch_size=12,
            )
        )
    )  # fmt: skip
    assert set(found) == {(job, sample) for job in range(len(jobs)) for sample in range(SAMPLES)}
    for (job, sample), (tokens, kl, surprisal) in found.items():
        prompt = jobs[job]
        slow = slowly(model, ids[prompt], place, vectors[job], uniform[prompt, sample], 0.8)
        assert tokens == slow[0]
        assert kl == pytest.approx(slow[1], rel=1e-3, abs=1e-6)
        assert surprisal == pytest.approx(slow[2], rel=1e-4)
    assert max(kl for _, kl, _ in found.values()) > 0.01


def test_greedy_continuations_are_those_of_the_slow_loop(model):
    jobs, vectors = jobs_of(D_IN, (0.0, 4.0))
    ids = prompt_tokens(model, PROMPTS)
    parts = list(steered_continuations(model, PLACES[0], ids, jobs, vectors, max_new_tokens=NEW))
    for (job, sample), (tokens, kl, _) in collect(parts).items():
        slow = slowly(model, ids[jobs[job]], PLACES[0], vectors[job], None, 1.0)
        assert (sample, tokens) == (0, slow[0])
        assert kl == pytest.approx(slow[1], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_no_continuation_depends_on_what_is_written_beside_it(model, batch_size):
    jobs, vectors = jobs_of(D_IN, (0.0, 2.0, 8.0))
    ids = prompt_tokens(model, PROMPTS)
    uniform = uniform_numbers(PROMPTS, SAMPLES, NEW, 0, "test")

    def written(some: np.ndarray, batch_size: int) -> dict:
        parts = steered_continuations(
            model, PLACES[0], ids, jobs[some], vectors[some], max_new_tokens=NEW, uniform=uniform,
            batch_size=batch_size,
        )  # fmt: skip
        return {(int(some[job]), n): each for (job, n), each in collect(list(parts)).items()}

    every = written(np.arange(len(jobs)), 17)
    some = written(np.array([9, 2, 5]), batch_size)
    for name, (tokens, kl, surprisal) in some.items():
        assert tokens == every[name][0]
        assert (kl, surprisal) == pytest.approx(every[name][1:], rel=1e-4, abs=1e-7)


def test_a_dose_of_0_is_the_unsteered_model_bit_for_bit(model):
    ids = prompt_tokens(model, PROMPTS)
    uniform = uniform_numbers(PROMPTS, 1, NEW, 0, "test")
    zero = torch.zeros(len(PROMPTS), D_IN)
    (part,) = steered_continuations(
        model, PLACES[0], ids, np.arange(len(PROMPTS)), zero, max_new_tokens=NEW, uniform=uniform
    )
    assert part.tokens == unsteered(model, [ids[job] for job in part.job], uniform[part.job, 0])
    assert part.kl.tolist() == [0.0] * len(PROMPTS)

    tokens, mask = model.pad(ids, left_pad=True)
    passed = []
    for edit in ({}, {PLACES[0]: at_tokens(steer(zero), mask.bool())}):
        with torch.no_grad(), editing(model.language_model, edit):
            passed.append(model.language_model(input_ids=tokens, attention_mask=mask).logits)
    assert torch.equal(*passed)


def test_begin_tokens_and_padding_are_never_edited(model):
    """Seen from inside: the vector arrives at the other tokens, of the prompt and of what follows."""
    place, seen = PLACES[0], []
    ids = prompt_tokens(model, ["x", "abc"])
    vectors = torch.stack([random_direction(D_IN, n) for n in range(2)]) * 3

    def keep(hook: str, layer: int, hidden: Tensor) -> None:
        seen.append(hidden.clone())

    inner = hooked_module(model.language_model, *place)
    handle = inner.register_forward_hook(lambda _, __, output: keep("", 0, output))
    with handle, listening(model.language_model, {place.hook: [place.layer]}, lambda *_: None):
        list(
            steered_continuations(
                model, place, ids, np.arange(2), vectors, max_new_tokens=3, batch_size=2
            )
        )
    # Hooks of an edit come behind ours, so that ours sees what there is before it.
    behind: list[Tensor] = []
    tokens, mask = model.pad(ids, left_pad=True)
    start = mask.shape[1] - mask.sum(1, keepdim=True)
    edited = torch.arange(mask.shape[1]) >= start + begin(model)
    with torch.no_grad(), editing(model.language_model, {place: at_tokens(steer(vectors), edited)}):
        last = hooked_module(model.language_model, *place).register_forward_hook(
            lambda _, __, output: behind.append(output.clone())
        )
        with last:
            model.language_model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            )
    plain, added = seen[0], behind[0] - seen[0]
    torch.testing.assert_close(plain, seen[1])
    expected = vectors[:, None] * edited[..., None]
    real = mask.bool()
    torch.testing.assert_close(added[real], expected[real], atol=1e-5, rtol=1e-4)
    assert int(edited.sum()) == sum(map(len, ids)) - 2 * begin(model)
    assert not added[real & ~edited].any()


def test_an_untouched_prompt_can_be_asked_for(model):
    ids = prompt_tokens(model, PROMPTS, begin=False)
    assert [len(each) for each in ids] == [len(text.encode()) for text in PROMPTS]
    vector = random_direction(D_IN, 0)[None] * 8
    one = np.array([1])
    both = [
        next(
            steered_continuations(
                model, PLACES[0], ids, one, vector, max_new_tokens=NEW, untouched=n
            )
        )
        for n in (0, 1)
    ]
    assert both[0].kl[0] != both[1].kl[0]


def test_the_reference_models_write_the_same_in_any_batch(reference):
    prompts = neutral_prompts(seed=0, n=4)
    ids = prompt_tokens(reference, prompts)
    uniform = uniform_numbers(prompts, 2, 6, 0, "test")
    jobs = np.tile(np.arange(4), 2)
    vectors = torch.stack([20.0 * (n > 3) * random_direction(128, n) for n in range(8)])
    found = [
        collect(
            list(
                steered_continuations(
                    reference, HookedLayer("resid_post", 2), ids, jobs, vectors,
                    max_new_tokens=6, uniform=uniform, batch_size=size,
                )
            )
        )
        for size in (2, 16)
    ]  # fmt: skip
    for name, (tokens, kl, surprisal) in found[0].items():
        assert tokens == found[1][name][0]
        assert (kl, surprisal) == pytest.approx(found[1][name][1:], rel=1e-3, abs=1e-5)
        assert (kl == 0) == (name[0] < 4)
    assert [found[0][n, 1][0] for n in range(4)] == unsteered(reference, ids, uniform[:, 1])


def test_samples_belong_to_the_text_of_their_prompt():
    few = uniform_numbers(["a", "b"], 2, 3, 0)
    more = uniform_numbers(["c", "b", "a"], 4, 5, 0)
    np.testing.assert_array_equal(few[0], more[2, :2, :3])
    np.testing.assert_array_equal(few[1], more[1, :2, :3])
    assert len(np.unique(more)) == more.size
    assert uniform_numbers(["a"], 2, 3, 1)[0, 0, 0] != few[0, 0, 0]


def test_bad_requests_are_refused(model):
    ids = prompt_tokens(model, PROMPTS)
    zero = torch.zeros(1, D_IN)
    one = np.array([0])

    def ask(ids=ids, jobs=one, vectors=zero, new=NEW, uniform=None):
        return list(
            steered_continuations(
                model, PLACES[0], ids, jobs, vectors, max_new_tokens=new, uniform=uniform
            )
        )

    with pytest.raises(SaeflowError, match="positions"):
        ask(new=200)
    with pytest.raises(SaeflowError, match="3 numbers are drawn"):
        ask(uniform=np.zeros((4, 1, 3)))
    with pytest.raises(SaeflowError, match="no token"):
        ask(ids=[[]])
    with pytest.raises(SaeflowError, match="no token"):
        prompt_tokens(model, [""], begin=False)
    assert ask(jobs=np.zeros(0, np.int64), vectors=torch.zeros(0, D_IN)) == []


def test_a_feature_pushes_along_its_decoder_row_in_the_models_scale():
    bank = sae()
    row = bank.W_dec[0, 5]
    torch.testing.assert_close(
        feature_length(bank, 5, 2.0) * feature_direction(bank, 5), 2.0 * row, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(bias_direction(bank), bank.b_dec[0] / bank.b_dec[0].norm())
    assert fitted_place(bank) == HookedLayer("resid_post", 1)
    one, same, other = (random_direction(8, *names) for names in ((0, "a"), (0, "a"), (0, "b")))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert float(one.norm()) == pytest.approx(1.0)


def test_directions_without_length_are_refused():
    bank = sae()
    with pytest.raises(SaeflowError, match="never active"):
        feature_length(bank, 5, 0.0)
    with pytest.raises(SaeflowError, match="no feature 24"):
        feature_direction(bank, 24)
    with pytest.raises(SaeflowError, match="nothing has the length 0"):
        unit(torch.zeros(3), "nothing")
    thoughts = Bank(Recipe("topk", 24, 4), (Site(0, 1),), *bank.weights.values())
    with pytest.raises(SaeflowError, match="of tokens"):
        fitted_place(thoughts)


def test_the_published_form_holds_its_two_bugs():
    bank = sae()
    row, bias = bank.W_dec[0, 3], bank.b_dec[0]
    torch.testing.assert_close(published_vector(bank, 3, 4.662), 4.662 * (row + bias))
    torch.testing.assert_close(published_vector(bank, None, 4.662), 4.662 * bias)
    torch.testing.assert_close(published_vector(bank, 3, 4.662, ["block_output"]), row + bias)
    place = fitted_place(bank)
    assert published_place(place, 3) == HookedLayer("resid_post", 2)
    assert published_place(place, 3, ["normalised_scale"]) == place
    assert published_place(HookedLayer("embed", 0), 3) == HookedLayer("resid_post", 0)
    for bad in (HookedLayer("resid_post", 2), HookedLayer("mlp_out", 0)):
        with pytest.raises(SaeflowError, match="before the last block"):
            published_place(bad, 3)


def test_density_is_matched_among_features_that_live():
    density = np.array([0.0, 0.01, 0.011, 0.5, 0.009, 0.1, 0.02])
    assert density_neighbours(density, 1, [], 2).tolist() == [2, 4]
    assert density_neighbours(density, 1, [2], 2).tolist() == [4, 6]
    assert density_neighbours(density, 1, [], 99).tolist() == [2, 4, 6, 5, 3]
    with pytest.raises(SaeflowError, match="never active"):
        density_neighbours(density, 0, [], 2)
    with pytest.raises(SaeflowError, match="no feature but"):
        density_neighbours(density, 1, [2, 3, 4, 5, 6], 2)
    # By ratios: 0.02 is twice 0.01, and 0.0048 less than a half.
    assert density_neighbours(np.array([0.01, 0.0048, 0.02]), 0, [], 1).tolist() == [2]
    rng = np.random.default_rng(0)
    many = rng.lognormal(-5, 2, 500)
    near = density_neighbours(many, 7, [8], 10)
    gaps = np.abs(np.log(many / many[7]))
    rest = np.setdiff1d(np.arange(500), [7, 8, *near])
    assert gaps[near].max() <= gaps[rest].min()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_means_are_those_of_all_tokens_but_begin_tokens(model, batch_size):
    place = HookedLayer("resid_post", 1)
    groups = ["a", "b", "a", "c"]
    found = group_means(model, place, PROMPTS, groups, batch_size=batch_size)
    kept: dict[str, list[Tensor]] = {}
    for text, group in zip(PROMPTS, groups, strict=True):
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            hidden = model.language_model(input_ids=ids, output_hidden_states=True).hidden_states
        kept.setdefault(group, []).append(hidden[2][0, begin(model) :].double())
    every = {name: torch.cat(parts) for name, parts in kept.items()}
    assert found.names == ["a", "b", "c"]
    assert found.tokens.tolist() == [len(every[name]) for name in "abc"]
    difference = every["a"].mean(0) - torch.cat([every["b"], every["c"]]).mean(0)
    torch.testing.assert_close(found.difference("a"), difference.float(), atol=1e-5, rtol=1e-5)


def test_means_of_nothing_are_refused(model):
    with pytest.raises(SaeflowError, match="1 groups are named for 2 texts"):
        group_means(model, PLACES[0], ["a", "b"], ["x"])
    alone = GroupMeans(["a", "b"], torch.ones(2, 4).double(), torch.tensor([3, 0]))
    with pytest.raises(SaeflowError, match="difference of means of 'a'"):
        alone.difference("a")
