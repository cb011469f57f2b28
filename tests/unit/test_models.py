"""Thoughts of small fresh models: hooks, answers, capture, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saeflow.config.models import UntrainedControl
from saeflow.errors import SaeflowError
from saeflow.models.capture import capture_chunk, thought_logits, token_texts
from saeflow.models.codi import CodiModel, answer_number
from saeflow.models.conventions import hooked_layers
from saeflow.models.hooks import HOOKS, LastPositionTap, final_norm, transformer_blocks
from saeflow.models.loading import load_model
from saeflow.models.tokenizer import byte_tokenizer
from tests.small_models import FAMILIES, LATENTS, LAYERS, QUESTIONS, settings_of, small_model


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


def test_steps_do_not_depend_on_how_many_follow(model: CodiModel) -> None:
    few = model.think(QUESTIONS, latents=1).activations["resid_post"]
    many = model.think(QUESTIONS, latents=4).activations["resid_post"]
    torch.testing.assert_close(few, many[:, :2])
    assert (many[:, 1] - many[:, 2]).abs().max() > 1e-3


def test_no_answer_is_written_unless_asked(model: CodiModel) -> None:
    assert model.think(["a"], latents=1).answers == []


def count_hooks(model: CodiModel) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.language_model.modules()
    )


def test_hooks_are_gone_afterwards_and_change_nothing(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.tensor([model.question_ids("a question")])
    own = count_hooks(model)  # transformers has some for output_hidden_states
    with torch.no_grad():
        before = model.language_model(ids).logits
        model.think(QUESTIONS, latents=LATENTS)
        assert count_hooks(model) == own
        with LastPositionTap(model.language_model):
            assert count_hooks(model) == own + LAYERS + 2
            during = model.language_model(ids).logits
        with monkeypatch.context() as patch:
            patch.setattr(model, "projection", {}.pop)  # fails at the first latent
            with pytest.raises(KeyError):
                model.think(QUESTIONS, latents=LATENTS)
        assert count_hooks(model) == own
        after = model.language_model(ids).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)


def test_last_block_is_read_before_the_final_norm(model: CodiModel) -> None:
    found = model.think(QUESTIONS, latents=1).activations
    last = found["resid_post"][:, :, -1]
    assert (last - found["final_norm"][:, :, 0]).abs().max() > 1e-2
    norm = final_norm(model.language_model)
    torch.testing.assert_close(norm(last), found["final_norm"][:, :, 0])


def test_too_long_question_is_told(model: CodiModel) -> None:
    fits = "x" * (160 - 1 - (LATENTS + 1) - 4)
    model.think([fits], latents=LATENTS, max_new_tokens=4)
    with pytest.raises(SaeflowError, match="takes 161 positions; the model has 160"):
        model.think(["a", fits + "x"], latents=LATENTS, max_new_tokens=4)


def test_question_is_stripped_and_double_spaces_are_halved(model: CodiModel) -> None:
    ids = model.question_ids("  a  b   c \n")
    assert ids == [*model.tokenizer("a b  c")["input_ids"], model.tokens.begin]


def test_model_without_known_parts_is_told(model: CodiModel) -> None:
    class Strange(torch.nn.Module):
        config = model.language_model.config
        base_model = torch.nn.Linear(1, 1)

    for find in (transformer_blocks, final_norm):
        with pytest.raises(SaeflowError, match="Strange has"):
            # The real function below the type check: a strange model is no PreTrainedModel.
            getattr(find, "__wrapped__", find)(Strange())


@pytest.mark.parametrize("family", FAMILIES)
def test_capture_keeps_order_whatever_the_batch(family: str) -> None:
    settings = settings_of(family)
    thoughts = {"latents": LATENTS, "max_new_tokens": 3}
    model = load_model(settings)
    questions = [QUESTIONS[number % 4] + "?" * number for number in range(9)]
    captured = [
        capture_chunk(model, questions, settings_of(family, batch_size=size, thoughts=thoughts))
        for size in (1, 4, 64)
    ]
    direct = model.think(questions, latents=LATENTS, max_new_tokens=3)
    for chunk in captured:
        assert chunk.texts == direct.answers
        assert chunk.predicted == [answer_number(text) for text in direct.answers]
        best = thought_logits(model, direct).argmax(-1).numpy()
        assert chunk.decoded == token_texts(model, best)
        for hook in HOOKS:
            expected = direct.activations[hook].numpy()
            np.testing.assert_allclose(chunk.activations[hook], expected, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_capture_is_stored_in_the_asked_precision(dtype: Any) -> None:
    model = load_model(settings_of("llama"))
    settings = settings_of(
        "llama", capture_dtype=dtype, thoughts={"latents": 1, "max_new_tokens": 1}
    )
    chunk = capture_chunk(model, ["a", "b"], settings)
    exact = model.think(["a", "b"], latents=1).activations["resid_post"].to(getattr(torch, dtype))
    stored = torch.from_numpy(chunk.activations["resid_post"])
    stored = stored.view(torch.bfloat16) if dtype == "bfloat16" else stored
    assert chunk.dtype == dtype
    torch.testing.assert_close(stored, exact, rtol=0, atol=1e-2 if dtype != "float32" else 1e-6)


@torch.no_grad()
def test_thoughts_are_read_as_the_language_model_reads_its_last_position(model: CodiModel) -> None:
    embed, vocabulary = model.language_model.get_input_embeddings(), len(model.tokenizer)
    found = thought_logits(model, model.think(QUESTIONS, latents=LATENTS))
    assert found.shape == (len(QUESTIONS), LATENTS + 1, vocabulary)
    for row, question in enumerate(QUESTIONS):
        sequence = embed(torch.tensor([model.question_ids(question)]))
        for step in range(LATENTS + 1):
            output = model.language_model(
                inputs_embeds=sequence, output_hidden_states=True, use_cache=False
            )
            expected = output.logits[0, -1]
            assert len(expected) > vocabulary
            torch.testing.assert_close(
                found[row, step], expected[:vocabulary], atol=1e-4, rtol=1e-4
            )
            latent = model.projection(output.hidden_states[-1][:, -1:])
            sequence = torch.cat([sequence, latent], dim=1)


def test_storage_does_not_enter_decoded_tokens(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, thoughts = model.language_model.config.model_type, {"latents": 2, "max_new_tokens": 1}
    settings = settings_of(family, capture_dtype="bfloat16", batch_size=3, thoughts=thoughts)
    questions = [*QUESTIONS, *(f"{number} apples" for number in range(8))]
    expected = capture_chunk(model, questions, settings)
    assert len({token for row in expected.decoded for token in row}) > 3

    def lose(values: Tensor, dtype: str) -> np.ndarray:
        return np.zeros(values.shape, np.uint16)

    monkeypatch.setattr("saeflow.models.capture.storage_form", lose)
    found = capture_chunk(model, questions, settings)
    assert not found.activations["final_norm"].any()
    assert found.decoded == expected.decoded


def weights_of(model: CodiModel) -> dict[str, Tensor]:
    projection = {f"prj.{name}": each for name, each in model.projection.state_dict().items()}
    return {**model.language_model.state_dict(), **projection}


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_the_weights_and_leaves_the_global_generator(family: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = weights_of(load_model(settings_of(family, seed=3)))
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    again = weights_of(load_model(settings_of(family, seed=3)))
    other = weights_of(load_model(settings_of(family, seed=4)))
    control = UntrainedControl(of="x", weights="fresh", seed=4)
    untrained = weights_of(load_model(settings_of(family, seed=3), control))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(other[name], untrained[name]) for name in first)
    assert not torch.equal(first["prj.1.weight"], other["prj.1.weight"])
    assert sum(not torch.equal(first[name], other[name]) for name in first) > 5


@pytest.mark.parametrize("shape", [(0, 3), (5,), (2, 3, 4)])
def test_tokens_are_decoded_each_by_itself(model: CodiModel, shape: tuple[int, ...]) -> None:
    ids = np.random.default_rng(0).integers(0, 60, shape)
    found = np.array(token_texts(model, ids), dtype=object).reshape(shape)
    for place in np.ndindex(shape):
        assert found[place] == model.tokenizer.decode([int(ids[place])])


@given(st.text())
def test_tokenizer_round_trips_any_text(text: str) -> None:
    tokenizer = byte_tokenizer()
    if tokenizer.eos_token in text:
        return
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode())
    assert all(0 <= token < 256 for token in ids)
    assert tokenizer.eos_token_id == 256


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is: 42", 42.0),
        ("1 then 2 then -3.5.", -3.5),
        ("1,234,567", 1234567.0),
        ("3.", 3.0),
        (".5", 5.0),
        ("5-3", -3.0),
        ("1.2.3", 3.0),
        ("$1,000.50 in all", 1000.5),
        ("1, 2", 2.0),
        ("007", 7.0),
        ("none", None),
        ("", None),
        ("-", None),
    ],
)
def test_answer_number(text: str, number: float | None) -> None:
    assert answer_number(text) == number


@given(st.text())
def test_any_answer_gives_a_number_or_none(text: str) -> None:
    assert isinstance(answer_number(text), float | None)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("block_output", [("resid_post", 0), ("resid_post", 1), ("resid_post", 2)]),
        ("hidden_states_after", [("resid_post", 0), ("resid_post", 1), ("final_norm", 0)]),
        ("hidden_states_before", [("embed", 0), ("resid_post", 0), ("resid_post", 1)]),
    ],
)
def test_layer_conventions(convention: Any, expected: list[tuple[str, int]]) -> None:
    assert hooked_layers(convention, 3) == expected


@pytest.mark.parametrize(
    ("convention", "entry"),
    [
        ("hidden_states_after", lambda layer: layer + 1),
        ("hidden_states_before", lambda layer: layer),
    ],
)
def test_conventions_name_entries_of_hidden_states(
    model: CodiModel, convention: Any, entry: Callable[[int], int]
) -> None:
    ids = torch.tensor([model.question_ids("7 apples")])
    with torch.no_grad():
        states = model.language_model(ids, output_hidden_states=True).hidden_states
    found = model.think(["7 apples"], latents=0).activations
    for layer, (hook, block) in enumerate(hooked_layers(convention, LAYERS)):
        torch.testing.assert_close(found[hook][0, 0, block], states[entry(layer)][0, -1])
