"""Laws of interventions on texts, on small fresh models of both families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from saeflow.interventions.readings import TextOutcome
from saeflow.interventions.texts import TextCondition, TextRun
from saeflow.models.conventions import HookedLayer
from saeflow.models.hooks import editing, listening
from saeflow.models.reader import Reader
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.seeds import torch_generator
from tests.small_models import FAMILIES, LAYERS, small_model

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTHS = (9, 4, 12, 1)
D_IN, D_SAE, K = 16, 24, 6
PHASES = (Phase.explicit, Phase.generate)
"""Shrinking would read thousands of times."""
PLACES = [
    HookedLayer("embed", 0),
    *(HookedLayer("resid_post", layer) for layer in range(LAYERS)),
    HookedLayer("final_norm", 0),
]
COLUMNS = ("log_probability", "kl", "changed", "rank", "expected")


def texts() -> list[list[int]]:
    generator = torch_generator(0, "test", "texts")
    return [torch.randint(3, 200, (length,), generator=generator).tolist() for length in LENGTHS]


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest) -> TextRun:
    """Every token is read, so that nothing behind an edit goes unseen."""
    at = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    targets = torch.randint(0, 200, (sum(LENGTHS),), generator=torch_generator(0, "test"))
    return TextRun(small_model(request.param).language_model, texts(), at=at, targets=targets)


def masks() -> st.SearchStrategy[Tensor]:
    """Any tokens, padding marked, too, which must not matter."""
    row = st.lists(st.booleans(), min_size=max(LENGTHS), max_size=max(LENGTHS))
    rows = st.lists(row, min_size=len(LENGTHS), max_size=len(LENGTHS))
    return rows.map(lambda marks: torch.tensor(marks))


def sae() -> Bank:
    generator = torch_generator(0, "test", "sae")
    shapes = ((1, D_IN, D_SAE), (1, D_SAE), (1, D_SAE, D_IN), (1, D_IN))
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    return Bank(Recipe("abstopk", D_SAE, K), (Site(0, 0),), *weights)


def outcome(run: TextRun, condition: TextCondition, **options: Any) -> TextOutcome:
    ((number, found),) = run.outcomes([condition], expected=True, **options)
    assert number == 0
    return found


def keep(x: Tensor, rows: Tensor) -> Tensor:
    return x


def some_edits() -> list[Edit]:
    bank, count = sae(), len(LENGTHS)
    generator = torch_generator(1, "test")
    direction = torch.randn(D_IN, generator=generator)
    source = torch.randn(count, D_SAE, generator=generator)
    changes = [
        ablate([3]),
        ablate(range(12), to=source[0]),
        amplify(range(5, 20), 5.0),
        swap(range(8), source),
        exchange(2, 9),
        replace_where(source > 1.0),
        replace_where(source > 0.5, source),
    ]
    return [
        *(Splice(bank, change) for change in changes),
        reconstruct(bank),
        steer(direction, 0.5),
        steer(torch.randn(count, D_IN, generator=generator)),
        patch(torch.randn(count, D_IN, generator=generator)),
        redirect(Splice(bank, ablate(range(12))), direction),
    ]


@torch.no_grad()
def naive(run: TextRun, text: int, condition: TextCondition) -> tuple[Tensor, dict[Any, Tensor]]:
    """Log-probabilities of one whole forward pass of one text with hooks, and what its blocks gave."""
    ids = torch.tensor([texts()[text]])
    tokens = torch.ones(ids.shape, dtype=torch.bool)
    if condition.tokens is not None:
        tokens = condition.tokens[[text], : ids.shape[1]]
    seen: dict[Any, Tensor] = {}

    def masked(edit: Edit) -> Callable[[Tensor], Tensor]:
        def change(hidden: Tensor) -> Tensor:
            edited = edit(hidden[0], torch.full(ids.shape[1:], text))
            return torch.where(tokens[0, :, None], edited, hidden[0])[None]

        return change

    def look(hook: str, layer: int, hidden: Tensor) -> None:
        seen[hook, layer] = hidden[0]

    sites = {"embed": [0], "resid_post": range(LAYERS), "final_norm": [0]}
    edits = {place: masked(edit) for place, edit in condition.edits.items()}
    with editing(run.model, edits), listening(run.model, sites, look):
        expected = run.model(ids).logits[0].log_softmax(-1)
    return expected, seen


def assert_same_as_naive(run: TextRun, condition: TextCondition, found: TextOutcome) -> None:
    chosen = range(len(LENGTHS)) if condition.texts is None else condition.texts.tolist()
    number = torch.cat([torch.full((LENGTHS[text],), text) for text in chosen])
    assert torch.equal(found.texts, number)
    assert torch.equal(found.positions, torch.cat([torch.arange(LENGTHS[n]) for n in chosen]))
    for text in chosen:
        rows, place = found.texts == text, torch.tensor(LENGTHS[:text]).sum().int()
        after = naive(run, text, condition)[0].double()
        before = run.clean.expected[place:][: LENGTHS[text]].double()
        target = run.clean.targets[place:][: LENGTHS[text], None]
        gained = (after - before).gather(1, target)[:, 0]
        divergence = torch.nn.functional.kl_div(after, before, log_target=True, reduction="none")
        assert found.expected is not None
        close(found.expected[rows], after)
        close(found.log_probability[rows], gained)
        close(found.kl[rows], divergence.sum(-1))
        same = after.argmax(-1) == before.argmax(-1)
        certain = (after.topk(2).values.diff().abs() > 1e-3)[:, 0]
        assert torch.equal(found.changed[rows][certain], ~same[certain])
        (now, near), (then, close_by) = (likelier(each, target) for each in (after, before))
        assert bool(((found.rank[rows] - (now - then)).abs() <= near + close_by).all())


def likelier(expected: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """How many tokens are likelier than the target, and how many others rounding may move past it."""
    beyond = expected - expected.gather(1, target)
    return (beyond > 0).sum(1), (beyond.abs() < 1e-4).sum(1) - 1


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)


def assert_identical(found: TextOutcome, other: TextOutcome) -> None:
    for name in COLUMNS:
        assert torch.equal(getattr(found, name), getattr(other, name)), name


@settings(max_examples=6, phases=PHASES)
@given(place=st.sampled_from(PLACES), tokens=masks(), feature=st.integers(0, D_SAE - 1))
def test_edits_without_effect_change_nothing_at_all(
    run: TextRun, place: HookedLayer, tokens: Tensor, feature: int
) -> None:
    bank = sae()
    nothing = outcome(run, TextCondition({place: keep}, tokens))
    assert torch.equal(nothing.expected, run.clean.expected)
    assert not nothing.log_probability.any()
    assert not nothing.kl.any()
    values = bank.encode(run.activations[place][run.mask][None])[0]
    silent = (values == 0).all(0).nonzero()[:, 0].tolist()
    changes = [amplify([feature], 1.0), exchange(feature, feature), ablate(silent)]
    edits: list[Edit] = [Splice(bank, change) for change in changes]
    for edit in [*edits, steer(torch.ones(D_IN), 0.0)]:
        assert_identical(outcome(run, TextCondition({place: edit}, tokens)), nothing)
    assert_identical(outcome(run, TextCondition({})), nothing)


@settings(max_examples=3, phases=PHASES)
@given(first=st.sampled_from(PLACES), second=st.sampled_from(PLACES), tokens=masks(), other=masks())
def test_resuming_equals_one_full_forward_each(
    run: TextRun, first: HookedLayer, second: HookedLayer, tokens: Tensor, other: Tensor
) -> None:
    """Every kind of edit, alone and two at once, batched, against hooks in a whole run."""
    kinds = some_edits()
    for text, clean in enumerate(run.clean.expected.split(LENGTHS)):
        close(clean, naive(run, text, TextCondition({}))[0])
    conditions = [TextCondition({first: edit}, tokens) for edit in kinds]
    conditions += [TextCondition({second: kinds[8]}, other, torch.tensor([2, 0]))]
    if first != second:
        conditions += [
            TextCondition({first: kinds[0], second: kinds[7]}, other),
            TextCondition({first: kinds[4], second: kinds[6]}),
        ]
    found = dict(run.outcomes(conditions, rows=5, expected=True))
    assert sorted(found) == list(range(len(conditions)))
    for number, condition in enumerate(conditions):
        assert_same_as_naive(run, condition, found[number])


@settings(max_examples=6, phases=PHASES)
@given(place=st.sampled_from(PLACES), tokens=masks())
def test_what_comes_before_an_edit_is_bit_identical(
    run: TextRun, place: HookedLayer, tokens: Tensor
) -> None:
    """Tokens before the first edited one keep their readings, earlier layers what they carry."""
    condition = TextCondition({place: steer(torch.full((D_IN,), 3.0))}, tokens)
    found = outcome(run, condition)
    marked = tokens & run.mask
    before = (marked.int().cumsum(1) == 0)[run.mask]
    assert torch.equal(found.expected[before], run.clean.expected[before])
    assert not found.kl[before].any()
    assert bool((found.kl[marked[run.mask]] != 0).all())
    for text in range(len(LENGTHS)):
        clean, edited = (naive(run, text, each)[1] for each in (TextCondition({}), condition))
        for each in PLACES[: PLACES.index(place)]:
            assert torch.equal(clean[each], edited[each])
        rows = slice(0, int(before[found.texts == text].sum()))
        assert all(torch.equal(clean[each][rows], edited[each][rows]) for each in PLACES)


def test_ablating_and_adding_back_restores(run: TextRun) -> None:
    splice, place = Splice(sae(), ablate([1, 2, 3])), PLACES[2]

    def there_and_back(x: Tensor, rows: Tensor) -> Tensor:
        return splice(x, rows) - splice.difference(x, rows)

    found = outcome(run, TextCondition({place: there_and_back}))
    assert outcome(run, TextCondition({place: splice})).kl.max() > 1e-4
    torch.testing.assert_close(found.expected, run.clean.expected, atol=1e-4, rtol=1e-4)


def test_batched_equals_one_at_a_time(run: TextRun) -> None:
    chosen = [None, torch.tensor([3, 1]), torch.tensor([2, 2]), torch.tensor([0])]
    conditions = [
        TextCondition({place: edit}, texts=chosen[number % 4])
        for place in (PLACES[2], PLACES[0], PLACES[-1])
        for number, edit in enumerate(some_edits())
    ]
    together = dict(run.outcomes(conditions, rows=512, expected=True))
    for number, condition in enumerate(conditions):
        alone = outcome(run, condition, rows=1)
        assert torch.equal(together[number].texts, alone.texts)
        assert torch.equal(together[number].positions, alone.positions)
        for name in ("expected", "log_probability", "kl"):
            close(getattr(together[number], name), getattr(alone, name))


def test_order_of_conditions_does_not_matter(run: TextRun) -> None:
    conditions = [TextCondition({place: edit}) for place in PLACES for edit in some_edits()[:2]]
    forwards = dict(run.outcomes(conditions, expected=True))
    backwards = dict(run.outcomes(conditions[::-1], expected=True))
    for number in range(len(conditions)):
        other = backwards[len(conditions) - 1 - number]
        for name in ("expected", "log_probability", "kl"):
            close(getattr(forwards[number], name), getattr(other, name))


def test_only_what_changes_is_read_again(run: TextRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts without a change are not computed, nor tokens before it, nor more rows than allowed."""
    reads: list[tuple[int, int]] = []
    plain = Reader.read

    def counted(reader: Reader, embeddings: Tensor, *rest: Any, **options: Any) -> Any:
        reads.append((embeddings.shape[0], embeddings.shape[1]))
        return plain(reader, embeddings, *rest, **options)

    monkeypatch.setattr(Reader, "read", counted)
    push = steer(torch.ones(D_IN))
    tokens = torch.zeros_like(run.mask)
    tokens[2, 7] = True
    place = PLACES[2]
    outcome(run, TextCondition({place: push}, tokens))
    assert reads == [(1, 5)]
    reads.clear()
    conditions = [TextCondition({place: push}), TextCondition({place: keep})] * 20
    assert len(list(run.outcomes(conditions, rows=16))) == 40
    assert sum(rows for rows, _ in reads) == 20 * len(LENGTHS)
    assert max(rows for rows, _ in reads) == 16


def test_readings_are_those_of_the_last_tokens_and_likeliest_targets_by_default(
    run: TextRun,
) -> None:
    ends = TextRun(run.model, texts(), keep=[PLACES[1]])
    last = torch.tensor(LENGTHS).cumsum(0) - 1
    close(ends.clean.expected, run.clean.expected[last])
    assert torch.equal(ends.clean.targets, run.clean.expected[last].argmax(-1))
    condition = TextCondition({PLACES[1]: some_edits()[8], PLACES[3]: some_edits()[6]})
    found, every = outcome(ends, condition), outcome(run, condition)
    close(found.expected, every.expected[last])
    close(found.kl, every.kl[last])
    assert torch.equal(found.positions, torch.tensor(LENGTHS) - 1)
    after = found.expected.gather(1, ends.clean.targets[:, None])[:, 0]
    close(found.log_probability, after - ends.clean.log_probability)
    assert torch.equal(found.changed, found.expected.argmax(-1) != ends.clean.targets)
    assert bool((found.log_probability < 0)[found.changed].all())


@settings(max_examples=3, phases=PHASES)
@given(at=masks(), tokens=masks())
def test_reading_few_tokens_gives_what_reading_all_gives(
    run: TextRun, at: Tensor, tokens: Tensor
) -> None:
    at = at & run.mask
    some = TextRun(run.model, texts(), at=at, targets=run.clean.targets[at[run.mask]])
    edits = some_edits()
    conditions = [TextCondition({place: edits[8]}, tokens) for place in PLACES]
    conditions.append(TextCondition({PLACES[1]: edits[6], PLACES[3]: edits[6]}, tokens))
    few, all_of_them = (dict(each.outcomes(conditions, expected=True)) for each in (some, run))
    for number in range(len(conditions)):
        for name in ("expected", "log_probability", "kl"):
            found, every = (getattr(each[number], name) for each in (few, all_of_them))
            close(found, every[at[run.mask]])


def test_model_is_bit_identical_afterwards(run: TextRun) -> None:
    ids = torch.tensor([texts()[0]])

    def failing(x: Tensor, rows: Tensor) -> Tensor:
        raise ValueError("in the middle")

    with torch.no_grad():
        before = run.model(ids).logits
    outcome(run, TextCondition({PLACES[1]: some_edits()[6]}))
    with pytest.raises(ValueError, match="in the middle"):
        outcome(run, TextCondition({PLACES[1]: keep, PLACES[2]: failing}))
    with torch.no_grad():
        after = run.model(ids).logits
    assert torch.equal(before, after)
    assert torch.is_grad_enabled()
    assert not any("forward" in vars(module) for module in run.model.modules())
    hooked = [module for module in run.model.modules() if module._forward_hooks]
    assert not hooked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": [HookedLayer("resid_post", LAYERS)]}, "no layer 3 of the hook 'resid_post'"),
        ({"at": torch.ones(len(LENGTHS), max(LENGTHS)).bool()}, "marks padding"),
        ({"targets": torch.tensor([1, 2])}, "2 targets were given, 2 of them tokens"),
        ({"targets": torch.tensor([1, 2, 3, -1])}, "4 targets were given, 3 of them tokens"),
    ],
)
def test_what_cannot_be_is_named(run: TextRun, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SaeflowError, match=message):
        TextRun(run.model, texts(), **options)


def test_texts_must_fit_and_conditions_start_where_the_run_keeps(run: TextRun) -> None:
    for bad in ([[1], []], [], [[1] * 161]):
        with pytest.raises(SaeflowError, match="expected some texts of 1 to 160"):
            TextRun(run.model, bad)
    late = TextRun(run.model, texts(), keep=[PLACES[3]])
    with pytest.raises(SaeflowError, match=r"starts at the layer 0 of resid_post.*in keep"):
        outcome(late, TextCondition({PLACES[1]: keep, PLACES[3]: keep}))
