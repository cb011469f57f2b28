"""What a question or a text gives depends on nothing but itself: neither batch nor padding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saeflow.models.capture import FULL, capture_chunk, cut_batches
from saeflow.models.codi import CodiModel, Thoughts
from saeflow.models.hooks import HOOKS, final_norm, transformer_blocks
from saeflow.models.loading import load_model
from saeflow.models.tokens import read_tokens
from tests.small_models import FAMILIES, LATENTS, LAYERS, QUESTIONS, settings_of, small_model

ANSWER = 5


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


@pytest.fixture(scope="module")
def mixed() -> list[str]:
    """A batch of 32 from one byte to as many as the model takes."""
    rng = np.random.default_rng(0)
    lengths = [1, 2, 3, 140, 145, *rng.integers(1, 120, 27 - len(QUESTIONS))]
    drawn = ["".join(rng.choice(list("abc123"), length)) for length in lengths]
    return [drawn[index] for index in rng.permutation(len(drawn))] + QUESTIONS


def sequence_pass(model: CodiModel, sequence: Tensor) -> dict[str, Tensor]:
    """Every site at every position of one whole sequence: no cache, no mask, no padding."""
    language_model = model.language_model
    blocks: list[Tensor] = []
    handles = [
        block.register_forward_hook(
            lambda module, inputs, output: blocks.append(
                output if torch.is_tensor(output) else output[0]
            )
        )
        for block in transformer_blocks(language_model)
    ]
    output = language_model.base_model(
        inputs_embeds=sequence, output_hidden_states=True, use_cache=False
    )
    for handle in handles:
        handle.remove()
    assert len(blocks) == LAYERS
    for own, state in zip(blocks[:-1], output.hidden_states[1:-1], strict=True):
        assert torch.equal(own, state)
    assert torch.equal(final_norm(language_model)(blocks[-1]), output.last_hidden_state)
    return {
        "embed": output.hidden_states[0],
        "resid_post": torch.cat(blocks),
        "final_norm": output.last_hidden_state,
    }


@torch.no_grad()
def reference(
    model: CodiModel, question: str, latents: int, new: int
) -> tuple[dict[str, Tensor], str]:
    """Step by step, each time with the whole sequence of input embeddings."""
    embed, head = model.language_model.get_input_embeddings(), model.language_model.lm_head
    text = question.strip().replace("  ", " ")
    sequence = embed(torch.tensor([[*model.tokenizer(text)["input_ids"], model.tokens.begin]]))
    steps: dict[str, list[Tensor]] = {hook: [] for hook in HOOKS}
    for step in range(latents + 1):
        seen = sequence_pass(model, sequence)
        for hook in HOOKS:
            steps[hook].append(seen[hook][:, -1])
        if step < latents:
            latent = model.projection(seen["final_norm"][:, -1:])
            sequence = torch.cat([sequence, latent], 1)
    written = [model.tokens.end]
    for _ in range(new):
        sequence = torch.cat([sequence, embed(torch.tensor([[written[-1]]]))], 1)
        hidden = sequence_pass(model, sequence)["final_norm"][0, -1]
        written.append(int(head(hidden)[: model.tokens.end].argmax()))
        if written[-1] == model.tokenizer.eos_token_id:
            break
    plain = [token for token in written[1:] if token < model.tokens.pad]
    answer = model.tokenizer.decode(plain, skip_special_tokens=True)
    return {hook: torch.stack(values) for hook, values in steps.items()}, answer


def thoughts_of(model: CodiModel, questions: list[str], left_pad: bool) -> Thoughts:
    return model.think(questions, latents=LATENTS, max_new_tokens=ANSWER, left_pad=left_pad)


@pytest.mark.parametrize("left_pad", [True, False])
def test_thoughts_equal_step_by_step_reference(model: CodiModel, left_pad: bool) -> None:
    found = thoughts_of(model, QUESTIONS, left_pad)
    assert set(found.activations) == set(HOOKS)
    assert found.activations["resid_post"].shape == (len(QUESTIONS), LATENTS + 1, LAYERS, 16)
    for row, question in enumerate(QUESTIONS):
        expected, answer = reference(model, question, LATENTS, ANSWER)
        alone = thoughts_of(model, [question], left_pad)
        for hook in HOOKS:
            for thoughts, place in ((found, row), (alone, 0)):
                torch.testing.assert_close(
                    thoughts.activations[hook][place], expected[hook], atol=1e-5, rtol=1e-5
                )
        assert found.answers[row] == alone.answers[0] == answer


@pytest.mark.parametrize("left_pad", [True, False])
def test_question_does_not_depend_on_its_batch(
    model: CodiModel, mixed: list[str], left_pad: bool
) -> None:
    assert len(mixed) == 32
    batch = thoughts_of(model, mixed, left_pad)
    assert len(set(batch.answers)) > 3
    for row, question in enumerate(mixed):
        alone = thoughts_of(model, [question], left_pad)
        for hook in HOOKS:
            found, expected = batch.activations[hook][row], alone.activations[hook][0]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        assert batch.answers[row] == alone.answers[0]


def test_sides_of_padding_agree(model: CodiModel, mixed: list[str]) -> None:
    left, right = (thoughts_of(model, mixed, left_pad) for left_pad in (True, False))
    for hook in HOOKS:
        torch.testing.assert_close(
            left.activations[hook], right.activations[hook], atol=1e-4, rtol=0
        )
    assert left.answers == right.answers


def test_tokens_of_texts_equal_whole_pass_one_by_one(model: CodiModel, mixed: list[str]) -> None:
    seen = set()
    for batch in read_tokens(model, mixed, hooks=HOOKS, batch_size=len(mixed)):
        for number in batch.text.unique().tolist():
            ids = torch.tensor([model.tokenizer(mixed[number])["input_ids"]])
            own = batch.text == number
            assert batch.token[own].tolist() == ids[0].tolist()
            assert batch.position[own].tolist() == list(range(ids.shape[1]))
            with torch.no_grad():
                expected = sequence_pass(model, model.language_model.get_input_embeddings()(ids))
            for hook in HOOKS:
                torch.testing.assert_close(
                    batch.activations[hook][:, own], expected[hook], atol=1e-5, rtol=1e-5
                )
            seen.add(number)
    assert seen == set(range(len(mixed)))


@pytest.mark.parametrize("family", FAMILIES)
def test_capture_of_long_questions_keeps_order_and_values(family: str) -> None:
    changes = {"max_position_embeddings": 8 * FULL, "thoughts": {"latents": 1, "max_new_tokens": 1}}
    settings = settings_of(family, batch_size=4, **changes)
    model = load_model(settings)
    questions = ["x" * length for length in (900, 3, 1100, 600, 5, 700, 650, 4)]
    captured = capture_chunk(model, questions, settings)
    for row, question in enumerate(questions):
        alone = model.think([question], latents=1).activations["resid_post"][0].numpy()
        np.testing.assert_allclose(captured.activations["resid_post"][row], alone, atol=1e-4)


@given(st.lists(st.integers(1, 4 * FULL), max_size=300), st.integers(1, 40))
def test_batches_hold_every_text_once_and_bounded_memory(
    lengths: list[int], batch_size: int
) -> None:
    array = np.array(lengths, dtype=np.int64)
    batches = list(cut_batches(array, batch_size))
    order = [row for batch in batches for row in batch]
    assert order == sorted(range(len(lengths)), key=lambda row: lengths[row])
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        longest = int(array[batch].max())
        assert len(batch) * longest**2 <= max(batch_size * FULL**2, longest**2)
    for first, second in pairwise(batches):
        joined = len(first) + 1
        full = joined * int(array[second[0]]) ** 2 > batch_size * FULL**2
        assert full or len(first) == batch_size
