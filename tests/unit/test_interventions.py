"""Laws of the intervention engine, on small fresh models of both families."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.edits import (
    Edit,
    Splice,
    ablate,
    amplify,
    exchange,
    patch,
    reconstruct,
    redirect,
    replace_where,
    steer,
    swap,
)
from saeflow.interventions.outcomes import Outcome
from saeflow.interventions.thoughts import Condition, Place, ThoughtRun
from saeflow.models.codi import CodiModel, answer_number
from saeflow.models.hooks import LastPositionTap, editing, transformer_blocks
from saeflow.models.reader import Reader
from saeflow.models.reference.examples import Encoder
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.seeds import torch_generator
from tests.small_models import FAMILIES, LATENTS, LAYERS, small_model

pytestmark = pytest.mark.usefixtures("one_thread")
QUESTIONS = ["Ann has 3 apples and 4 pears.", "2 + 2?", "Bo gives 12 of 20 away, then 3 more."]
ANSWERS = ["<<3+4=7>>7\n#### 7", "#### 4", "<<20-12=8>>\n<<8-3=5>>\n#### 1,005"]
D_SAE, K = 24, 6
PHASES = (Phase.explicit, Phase.generate)
"""Shrinking would think thousands of times."""


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest) -> ThoughtRun:
    model = small_model(request.param)
    return ThoughtRun(model, QUESTIONS, ANSWERS, latents=LATENTS, max_new_tokens=6)


def places() -> st.SearchStrategy[Place]:
    hooks = [("embed", 0), *(("resid_post", layer) for layer in range(LAYERS)), ("final_norm", 0)]
    return st.builds(
        lambda step, hook: Place(step, *hook),
        st.integers(0, LATENTS),
        st.sampled_from(hooks),
    )


def sae_of(run: ThoughtRun, seed: int = 0) -> Bank:
    d_in = run.activations["embed"].shape[-1]
    generator = torch_generator(seed, "test", "sae")
    shapes = ((1, d_in, D_SAE), (1, D_SAE), (1, D_SAE, d_in), (1, d_in))
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    return Bank(Recipe("abstopk", D_SAE, K), (Site(0, 0),), *weights)


def features_at(run: ThoughtRun, sae: Bank, place: Place) -> Tensor:
    return sae.encode(run.at(place).float()[None])[0]


def outcome(run: ThoughtRun, edits: dict[Place, Edit], rows: int = 512) -> Outcome:
    ((_, found),) = run.outcomes([Condition(edits)], rows=rows)
    return found


def assert_nothing_changed(found: Outcome, nothing: Outcome) -> None:
    for name in ("log_probability", "kl", "cosine", "changed", "correct"):
        assert torch.equal(getattr(found, name), getattr(nothing, name)), name


def keep(x: Tensor, rows: Tensor) -> Tensor:
    return x


@settings(max_examples=6, phases=PHASES)
@given(place=places(), data=st.data())
def test_edits_without_effect_change_nothing_at_all(
    run: ThoughtRun, place: Place, data: st.DataObject
) -> None:
    sae = sae_of(run)
    values = features_at(run, sae, place)
    silent = (values == 0).all(0).nonzero()[:, 0].tolist()
    feature = data.draw(st.integers(0, D_SAE - 1))
    nothing = outcome(run, {place: keep})
    assert nothing.log_probability.abs().max() < 1e-4
    assert nothing.cosine.min() > 0.9999
    assert not nothing.changed.any()
    assert not nothing.correct.any()
    changes = [
        swap([feature], values),
        swap(range(D_SAE), values),
        exchange(feature, feature),
        amplify([feature], 1.0),
        amplify(range(D_SAE), 1.0),
        ablate(silent),
        replace_where(torch.zeros_like(values).bool()),
        replace_where(values == 0),
        replace_where(values != 0, values),
    ]
    for change in changes:
        assert_nothing_changed(outcome(run, {place: Splice(sae, change)}), nothing)
    assert_nothing_changed(outcome(run, {place: patch(run.at(place))}), nothing)
    assert_nothing_changed(
        outcome(run, {place: steer(torch.ones(values.shape[0], 1), 0.0)}), nothing
    )


@settings(max_examples=6, phases=PHASES)
@given(place=places(), data=st.data())
def test_ablating_and_adding_back_restores(
    run: ThoughtRun, place: Place, data: st.DataObject
) -> None:
    sae = sae_of(run)
    chosen = data.draw(st.lists(st.integers(0, D_SAE - 1), min_size=1, max_size=4, unique=True))
    splice = Splice(sae, ablate(chosen))
    x, rows = run.at(place), torch.arange(len(QUESTIONS))
    removed = splice.difference(x, rows)
    active = (features_at(run, sae, place)[:, chosen] != 0).any(1)
    assert torch.equal(removed.abs().amax(1) > 1e-6, active)

    def there_and_back(at: Tensor, number: Tensor) -> Tensor:
        return steer(-removed)(splice(at, number), number)

    torch.testing.assert_close(there_and_back(x, rows), x, atol=1e-5, rtol=1e-5)
    # What is missing is what these features wrote, by the decoder itself.
    values = features_at(run, sae, place)[:, chosen]
    written = torch.stack([value @ sae.W_dec[0][chosen] for value in values])
    torch.testing.assert_close(splice(x, rows) + written, x, atol=1e-5, rtol=1e-5)
    found, nothing = outcome(run, {place: there_and_back}), outcome(run, {place: keep})
    torch.testing.assert_close(found.log_probability, nothing.log_probability, atol=1e-4, rtol=0.0)


def naive(
    model: CodiModel, question: str, edits: dict[Place, Edit], number: int
) -> tuple[Reader, list[dict[str, Tensor]]]:
    """One full forward pass of one problem, with hooks from its first token to its last thought."""
    ids = torch.tensor([model.question_ids(question)])
    reader = Reader(model.language_model, torch.ones_like(ids))
    with torch.no_grad():
        inputs = model.language_model.get_input_embeddings()(ids)
    steps = []

    def last_only(edit: Edit) -> Callable[[Tensor], Tensor]:
        def change(hidden: Tensor) -> Tensor:
            new = hidden.clone()
            new[:, -1] = edit(hidden[:, -1], torch.tensor([number]))
            return new

        return change

    with torch.no_grad(), LastPositionTap(model.language_model) as tap:
        for step in range(LATENTS + 1):
            here = {(p.hook, p.layer): last_only(e) for p, e in edits.items() if p.step == step}
            with editing(model.language_model, here):
                hidden = reader.read(inputs).last_hidden_state[:, -1]
            inputs = model.projection(hidden)[:, None]
            # The tap listens before an edit does, so what follows a last edit is kept here.
            steps.append({**tap.take(), "latent": inputs[:, 0]})
    return reader, steps


def log_probability(model: CodiModel, reader: Reader, answer: str) -> float:
    ids = torch.tensor([Encoder(model.tokenizer).thought("", answer).answer])
    end = torch.full((1, 1), model.tokens.end)
    inputs = model.language_model.get_input_embeddings()(torch.cat([end, ids[:, :-1]], 1))
    with torch.no_grad():
        hidden = reader.read(inputs).last_hidden_state
        logits = model.language_model.get_output_embeddings()(hidden)[0, :, : model.tokens.end]
    chosen = logits.float().log_softmax(-1).gather(1, ids[0][:, None])
    return float(chosen.sum())


def some_edits(run: ThoughtRun, sae: Bank, place: Place) -> list[Edit]:
    values = features_at(run, sae, place)
    turned = values.roll(1, 0)
    strongest = values.abs() == values.abs().amax(1, keepdim=True)
    direction = torch.randn(sae.d_in, generator=torch_generator(1, "test"))
    busy = values.abs().sum(0).argsort(descending=True)[:3].tolist()
    splices: list[Edit] = [
        Splice(sae, change)
        for change in (
            ablate(busy[:1]),
            ablate(busy, to=values.mean(0)),
            amplify(busy[:2], 5.0),
            swap(busy, turned),
            exchange(busy[0], busy[1]),
            replace_where(strongest),
            replace_where(strongest, values.mean(0)),
            replace_where(strongest, turned),
        )
    ]
    return [
        *splices,
        reconstruct(sae),
        steer(direction, 0.5),
        patch(run.at(place).roll(1, 0)),
        redirect(Splice(sae, ablate(busy)), direction),
        redirect(Splice(sae, ablate(busy)), run.at(place).flip(1)),
        redirect(Splice(sae, ablate(busy)), Splice(sae, replace_where(strongest))),
    ]


@torch.no_grad()
def assert_same_as_naive(
    run: ThoughtRun, edits: dict[Place, Edit], got: Outcome, skipped: int
) -> None:
    at = min(place.step for place in edits)
    for problem, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        if problem == skipped:
            continue
        reader, steps = naive(run.model, question, edits, problem)
        plain, before = naive(run.model, question, {}, problem)
        written = [run.model.write(each.fork(), max_new_tokens=6)[0] for each in (reader, plain)]
        gold = float(answer.rsplit("####", 1)[1].replace(",", ""))
        right = [answer_number(text) == gold for text in run.model.texts(written)]
        scores = [log_probability(run.model, each, answer) for each in (reader, plain)]
        cosine = float(torch.cosine_similarity(steps[at]["latent"], before[at]["latent"]))
        change = scores[0] - scores[1]
        assert float(got.log_probability[problem]) == pytest.approx(change, abs=1e-4)
        assert float(got.cosine[problem]) == pytest.approx(cosine, abs=1e-4)
        assert bool(got.changed[problem]) == (written[0] != written[1])
        assert int(got.correct[problem]) == int(right[0]) - int(right[1])


@settings(max_examples=3, phases=PHASES)
@given(first=places(), second=places())
def test_resuming_equals_one_full_forward_each(
    run: ThoughtRun, first: Place, second: Place
) -> None:
    """Every kind of edit, alone and two at once, batched, against hooks in a whole run."""
    sae = sae_of(run)
    kinds = some_edits(run, sae, first)
    conditions = [{first: edit} for edit in kinds]
    if first != second:
        conditions += [{first: kinds[0], second: kinds[9]}, {second: kinds[8], first: kinds[4]}]
    found = dict(run.outcomes([Condition(edits) for edits in conditions], rows=7))
    assert sorted(found) == list(range(len(conditions)))
    for number, edits in enumerate(conditions):
        assert_same_as_naive(run, edits, found[number], skipped=number % 3)


def kept_state(run: ThoughtRun) -> list[Tensor]:
    layers = run._reader._cache.layers
    caches = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    return [tensor.clone() for tensor in (*caches, run._reader.mask, *run.activations.values())]


@settings(max_examples=6, phases=PHASES)
@given(place=places())
def test_what_comes_before_an_edit_is_kept_and_not_computed_again(
    run: ThoughtRun, place: Place
) -> None:
    """Bit by bit what the run kept stays, and no block before the edit's runs at its step."""
    calls = [0] * LAYERS

    def count(number: int) -> Callable[..., None]:
        def counted(*_: object) -> None:
            calls[number] += 1

        return counted

    blocks = transformer_blocks(run.model.language_model)
    # A block that is passed by is called, too, and returns at once.
    hooks = [block.mlp.register_forward_hook(count(n)) for n, block in enumerate(blocks)]
    direction = torch.randn(run.at(place).shape[1], generator=torch_generator(2, "test"))
    before, push = kept_state(run), steer(direction, 3.0)
    try:
        found = outcome(run, {place: push})
    finally:
        for hook in hooks:
            hook.remove()
    assert found.cosine.max() < 1
    after = kept_state(run)
    assert len(before) == len(after)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    first = {"embed": 0, "final_norm": LAYERS}.get(place.hook, place.layer + 1)
    again = [int(block >= first) for block in range(LAYERS)]
    later = min(calls) if first else min(calls) - 1
    assert [total - later for total in calls] == ([0] * LAYERS if first == LAYERS else again)
    assert later >= LATENTS - place.step


@settings(max_examples=8, phases=PHASES)
@given(place=places())
def test_what_comes_before_an_edit_is_bit_identical(run: ThoughtRun, place: Place) -> None:
    """Earlier layers of the step and all earlier steps, in a full run with the edit's hook."""
    push = steer(torch.full((run.activations["embed"].shape[-1],), 3.0))
    _, clean = naive(run.model, QUESTIONS[0], {}, 0)
    _, edited = naive(run.model, QUESTIONS[0], {place: push}, 0)
    for step in range(place.step):
        assert all(torch.equal(clean[step][hook], edited[step][hook]) for hook in clean[step])
    earlier = {"embed": 0, "final_norm": LAYERS}.get(place.hook, place.layer)
    before, after = (each[place.step]["resid_post"] for each in (clean, edited))
    assert torch.equal(before[:, :earlier], after[:, :earlier])
    latents = [each[place.step]["latent"] for each in (clean, edited)]
    assert not torch.equal(*latents)


def test_batched_equals_one_at_a_time(run: ThoughtRun) -> None:
    sae = sae_of(run)
    conditions = [
        Condition({place: edit}, torch.tensor(problems))
        for place in (Place(1, "resid_post", 0), Place(0, "embed", 0), Place(2, "resid_post", 1))
        for edit, problems in zip(
            some_edits(run, sae, place), ([0], [2, 0], [0, 1, 2], [1]) * 3, strict=False
        )
    ]
    together = dict(run.outcomes(conditions, rows=512))
    for number, condition in enumerate(conditions):
        alone = outcome_of(run, condition)
        found = together[number]
        assert torch.equal(found.problems, alone.problems)
        for name in ("log_probability", "kl", "cosine"):
            torch.testing.assert_close(
                getattr(found, name), getattr(alone, name), atol=1e-4, rtol=1e-4
            )
        assert torch.equal(found.changed, alone.changed)


def outcome_of(run: ThoughtRun, condition: Condition) -> Outcome:
    ((_, found),) = run.outcomes([condition])
    return found


def test_model_is_bit_identical_afterwards(run: ThoughtRun) -> None:
    model, place = run.model, Place(1, "resid_post", 0)
    ids = torch.tensor([model.question_ids("a question")])
    forwards = [type(block).forward for block in model.language_model.base_model.children()]

    def failing(x: Tensor, rows: Tensor) -> Tensor:
        raise ValueError("in the middle")

    with torch.no_grad():
        before = model.language_model(ids).logits
    outcome(run, {place: reconstruct(sae_of(run))})
    with pytest.raises(ValueError, match="in the middle"):
        outcome(run, {place: keep, Place(1, "resid_post", 1): failing})
    with torch.no_grad():
        after = model.language_model(ids).logits
    assert torch.equal(before, after)
    assert forwards == [type(block).forward for block in model.language_model.base_model.children()]
    assert not any("forward" in vars(module) for module in model.language_model.modules())


def test_strong_edits_change_answers(run: ThoughtRun) -> None:
    """What the laws above compare is not all zeros."""
    direction = torch.randn(sae_of(run).d_in, generator=torch_generator(3, "test"))
    pushes = [steer(direction, strength) for strength in (0.0, 1.0, 30.0)]
    place = Place(1, "resid_post", LAYERS - 1)
    none, some, much = (outcome(run, {place: push}) for push in pushes)
    assert none.kl.abs().max() < 1e-6
    assert (some.kl > none.kl).all()
    assert much.cosine.max() < 0.999
    assert (much.kl >= 0).all()


def test_divergence_is_that_of_the_first_token_of_the_number(run: ThoughtRun) -> None:
    place = Place(1, "resid_post", 1)
    edit = some_edits(run, sae_of(run), place)[9]
    got = outcome(run, {place: edit})
    for problem, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        both = []
        for edits in ({}, {place: edit}):
            reader, _ = naive(run.model, question, edits, problem)
            prefix = Encoder(run.model.tokenizer).thought("", answer)
            ids = torch.tensor([[run.model.tokens.end, *prefix.answer[: prefix.anchor + 1]]])
            with torch.no_grad():
                embedded = run.model.language_model.get_input_embeddings()(ids)
                hidden = reader.read(embedded).last_hidden_state[:, -1]
                logits = run.model.language_model.get_output_embeddings()(hidden)
            both.append(logits[0, : run.model.tokens.end].double().log_softmax(-1))
        expected = float((both[0].exp() * (both[0] - both[1])).sum())
        assert float(got.kl[problem]) == pytest.approx(expected, abs=1e-5, rel=1e-3)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (Place(0, "resid_pos", 0), "no layer 0 of the hook 'resid_pos'"),
        (Place(0, "final_norm", 1), "no layer 1 of the hook 'final_norm'"),
        (Place(0, "resid_post", LAYERS), f"expected resid_post 0 to {LAYERS - 1}"),
        (Place(0, "resid_post", -1), "no layer -1"),
        (Place(LATENTS + 1, "resid_post", 0), f"no thought step {LATENTS + 1}"),
        (Place(-1, "resid_post", 0), f"expected 0 to {LATENTS}"),
    ],
)
def test_a_place_that_is_not_there_is_told(run: ThoughtRun, place: Place, told: str) -> None:
    with pytest.raises(SaeflowError, match=told):
        outcome(run, {Place(1, "resid_post", 0): keep, place: keep})


def test_splice_asks_for_one_site(run: ThoughtRun) -> None:
    sae = sae_of(run)
    two = Bank(
        sae.recipe,
        (Site(0, 0), Site(0, 1)),
        *(w.repeat(2, *[1] * (w.ndim - 1)) for w in sae.weights.values()),
    )
    with pytest.raises(SaeflowError, match="the SAE of one site; the bank holds 2"):
        Splice(two, ablate([0]))


def test_order_of_conditions_does_not_matter(run: ThoughtRun) -> None:
    sae = sae_of(run)
    spots: Sequence[Place] = [
        Place(step, "resid_post", layer) for step in (2, 0, 1) for layer in (1, 0)
    ]
    conditions = [Condition({place: Splice(sae, ablate([1, 2, 3]))}) for place in spots]
    forwards = dict(run.outcomes(conditions))
    backwards = dict(run.outcomes(conditions[::-1]))
    for number in range(len(conditions)):
        one, other = forwards[number], backwards[len(conditions) - 1 - number]
        assert torch.equal(one.log_probability, other.log_probability)
