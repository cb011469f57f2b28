"""Thoughts of small fresh models against a slow reference, and their independence of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saeflow.config.models import FreshModel, UntrainedControl
from saeflow.errors import SaeflowError
from saeflow.models.capture import capture_chunk
from saeflow.models.codi import CodiModel, answer_number
from saeflow.models.conventions import hooked_layers
from saeflow.models.hooks import HOOKS, LastPositionTap, final_norm, transformer_blocks
from saeflow.models.loading import load_model
from saeflow.models.tokenizer import byte_tokenizer

FAMILIES = ("llama", "gpt2")
LATENTS, LAYERS = 3, 3
QUESTIONS = ["How many?", "2", "A longer question, with ünïcode – and 12 words or so: 3+4?", "x y"]


def settings_of(family: Any, **changes: Any) -> FreshModel:
    sizes = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 24, "projection_size": 12,
             "max_position_embeddings": 160}  # fmt: skip
    return FreshModel(weights="fresh", family=family, **(sizes | changes))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    made = load_model(settings_of(request.param, seed=1))
    # Fresh weights are so small that attention is nearly uniform; make a mistake in it visible.
    with torch.no_grad():
        for parameter in made.language_model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return made


def reference(
    model: CodiModel, question: str, latents: int, new: int
) -> tuple[dict[str, Tensor], str]:
    """No cache, no batch, no padding: every step recomputes the whole sequence."""
    base, norm = model.language_model.base_model, final_norm(model.language_model)
    last_block = transformer_blocks(model.language_model)[-1]
    embed, head = model.language_model.get_input_embeddings(), model.language_model.lm_head
    kept: list[Tensor] = []
    handle = last_block.register_forward_hook(
        lambda module, inputs, output: kept.append(output if torch.is_tensor(output) else output[0])
    )
    steps: dict[str, list[Tensor]] = {hook: [] for hook in HOOKS}
    text = question.strip().replace("  ", " ")
    ids = [*model.tokenizer(text)["input_ids"], model.tokens.begin]
    sequence = embed(torch.tensor([ids]))
    with torch.no_grad():
        for _ in range(latents + 1):
            output = base(inputs_embeds=sequence, output_hidden_states=True, use_cache=False)
            states = [state[0, -1] for state in output.hidden_states]
            hidden = states[-1]
            blocks = [*states[1:-1], kept[-1][0, -1]]
            torch.testing.assert_close(norm(blocks[-1]), hidden)
            steps["embed"].append(states[0][None])
            steps["resid_post"].append(torch.stack(blocks))
            steps["final_norm"].append(hidden[None])
            following = torch.cat([sequence, model.projection(hidden)[None, None]], 1)
            read, sequence = sequence, following
        sequence, written = read, [model.tokens.end]
        for _ in range(new):
            sequence = torch.cat([sequence, embed(torch.tensor([[written[-1]]]))], 1)
            hidden = base(inputs_embeds=sequence, use_cache=False).last_hidden_state[0, -1]
            written.append(int(head(hidden)[: model.tokens.end].argmax()))
            if written[-1] == model.tokenizer.eos_token_id:
                break
    handle.remove()
    plain = [token for token in written[1:] if token < model.tokens.pad]
    answer = model.tokenizer.decode(plain, skip_special_tokens=True)
    return {hook: torch.stack(values) for hook, values in steps.items()}, answer


@pytest.mark.parametrize("left_pad", [True, False])
def test_batch_equals_slow_reference_one_by_one(model: CodiModel, left_pad: bool) -> None:
    thoughts = model.think(QUESTIONS, latents=LATENTS, max_new_tokens=5, left_pad=left_pad)
    assert set(thoughts.activations) == set(HOOKS)
    assert thoughts.activations["resid_post"].shape == (len(QUESTIONS), LATENTS + 1, LAYERS, 16)
    for row, question in enumerate(QUESTIONS):
        expected, answer = reference(model, question, LATENTS, 5)
        for hook in HOOKS:
            found = thoughts.activations[hook][row]
            torch.testing.assert_close(found, expected[hook], atol=1e-5, rtol=1e-5)
        assert thoughts.answers[row] == answer


@pytest.mark.parametrize("left_pad", [True, False])
def test_question_does_not_depend_on_its_batch(model: CodiModel, left_pad: bool) -> None:
    rng = np.random.default_rng(0)
    others = ["".join(rng.choice(list("abc 123"), rng.integers(1, 60))) for _ in range(31)]
    batch = model.think([*others[:17], QUESTIONS[0], *others[17:]], latents=LATENTS,
                        max_new_tokens=4, left_pad=left_pad)  # fmt: skip
    alone = model.think([QUESTIONS[0]], latents=LATENTS, max_new_tokens=4)
    for hook in HOOKS:
        found = batch.activations[hook][17]
        torch.testing.assert_close(found, alone.activations[hook][0], atol=1e-4, rtol=1e-4)
    assert batch.answers[17] == alone.answers[0]


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
