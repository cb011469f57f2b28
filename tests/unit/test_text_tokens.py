"""Reading every token of plain texts (`saeflow.models.tokens`)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from saeflow.config.models import PathModel, UntrainedControl
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import TokenTap, transformer_blocks
from saeflow.models.loading import load_model
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.models.tokens import begin_ids, put_begin, read_tokens, text_ids
from tests.conftest import ROOT
from tests.sentences import check_sentence
from tests.small_models import (
    FAMILIES,
    LAYERS,
    QUESTIONS,
    bytes_with_begin,
    settings_of,
    small_model,
    with_tokenizer,
)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


def test_chosen_layers_come_in_the_order_asked_for(model: CodiModel) -> None:
    (whole,) = read_tokens(model, QUESTIONS, hooks=["resid_post", "embed"])
    (some,) = read_tokens(model, QUESTIONS, layers=[1, 0])
    assert set(whole.activations) == {"resid_post", "embed"}
    assert whole.activations["embed"].shape == (1, len(whole.text), 16)
    expected = whole.activations["resid_post"][[1, 0]]
    torch.testing.assert_close(some.activations["resid_post"], expected)


def runs_of(model: CodiModel, monkeypatch: pytest.MonkeyPatch, **chosen: Any) -> list[int]:
    """Blocks that a reading runs."""
    run: list[int] = []
    blocks = transformer_blocks(model.language_model)
    handles = [
        block.register_forward_hook(lambda module, inputs, output, layer=layer: run.append(layer))
        for layer, block in enumerate(blocks)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(model.language_model.lm_head, "forward", {}.pop)
        list(read_tokens(model, QUESTIONS, **chosen))
    for handle in handles:
        handle.remove()
    return run


@pytest.mark.parametrize(
    ("chosen", "blocks"),
    [
        ({"layers": [0]}, 1),
        ({"layers": [1, 0]}, 2),
        ({}, LAYERS),
        ({"hooks": ["embed"]}, 0),
        ({"hooks": ["final_norm"]}, LAYERS),
    ],
)
def test_pass_ends_behind_the_last_site(
    model: CodiModel, chosen: dict[str, Any], blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs_of(model, monkeypatch, **chosen) == list(range(blocks))


def test_no_hook_stays_and_the_model_is_as_before(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hooks() -> int:
        modules = list(model.language_model.modules())
        return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in modules)

    ids = torch.tensor([model.question_ids("a question")])
    with torch.no_grad():
        before, count = model.language_model(ids).logits, hooks()
        list(read_tokens(model, QUESTIONS, layers=[0]))
        assert hooks() == count
        with monkeypatch.context() as patch:
            patch.setattr(TokenTap, "_keep", {}.pop)  # fails at the first site
            with pytest.raises(TypeError):
                list(read_tokens(model, QUESTIONS))
        assert hooks() == count
        assert torch.equal(model.language_model(ids).logits, before)


def test_low_precision_is_kept_as_float32() -> None:
    model = small_model("llama")
    model.language_model.to(torch.bfloat16)
    (batch,) = read_tokens(model, QUESTIONS)
    values = batch.activations["resid_post"]
    assert values.dtype == torch.float32
    assert torch.equal(values, values.bfloat16().float())
    assert not values.requires_grad


def test_texts_without_tokens_are_left_out(model: CodiModel) -> None:
    (batch,) = read_tokens(model, ["", "ab", "", "c"])
    assert batch.text.tolist() == [3, 1, 1]
    assert bytes(batch.token.tolist()) != b""
    assert list(read_tokens(model, [""])) == []
    assert list(read_tokens(model, [])) == []


def test_every_batch_but_the_last_is_full(model: CodiModel) -> None:
    batches = list(read_tokens(model, ["ab"] * 7, layers=[0], batch_size=3))
    assert [len(batch.text) // 2 for batch in batches] == [3, 3, 1]


@pytest.mark.parametrize(
    ("chosen", "parts"),
    [
        ({"hooks": ["resid_mid"]}, ("resid_mid", "resid_post")),
        ({"hooks": []}, ("[]", "resid_post")),
        ({"layers": [0, LAYERS]}, (f"[0, {LAYERS}]", f"0 to {LAYERS - 1}")),
        ({"layers": [-1]}, ("[-1]",)),
        ({"layers": [1, 1]}, ("[1, 1]", "different")),
        ({"layers": []}, ("[]",)),
    ],
)
def test_unknown_site_is_told(
    model: CodiModel, chosen: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(SaeflowError) as caught:
        list(read_tokens(model, QUESTIONS, **chosen))
    check_sentence(caught.value, *parts)


def test_too_long_text_is_told(model: CodiModel) -> None:
    list(read_tokens(model, ["x" * 160], layers=[0]))
    with pytest.raises(SaeflowError, match="text 1 takes 161 positions; the model has 160"):
        list(read_tokens(model, ["a", "x" * 161]))


@pytest.mark.parametrize("control", [None, UntrainedControl(of="gpt2", weights="fresh")])
@pytest.mark.parametrize("bundled", [False, True])
def test_a_model_can_be_made_to_begin_texts(
    bundled: bool, control: UntrainedControl | None
) -> None:
    folder = ROOT / "resources/models/gpt2"
    with_begin = settings_of("gpt2", prepend_bos=True)
    if bundled:
        with_begin = PathModel(weights="path", path=str(folder), prepend_bos=True)
    plain = load_model(with_begin.model_copy(update={"prepend_bos": False}), control)
    made = load_model(with_begin, control)
    end = plain.tokenizer.eos_token_id
    assert (begin_ids(plain), begin_ids(made)) == ([], [end])
    assert text_ids(made, QUESTIONS) == text_ids(plain, QUESTIONS, prepend_bos=True)
    assert text_ids(made, QUESTIONS, prepend_bos=True) == text_ids(made, QUESTIONS)
    bare, begun = (
        each.tokenizer("ab ünd 12", return_offsets_mapping=True, add_special_tokens=True)
        for each in (plain, made)
    )
    assert begun["offset_mapping"] == [(0, 0), *bare["offset_mapping"]]
    without = made.tokenizer("ab ünd 12", add_special_tokens=False)["input_ids"]
    assert without == bare["input_ids"]
    (wanted,) = read_tokens(plain, QUESTIONS, prepend_bos=True)
    (found,) = read_tokens(made, QUESTIONS)
    assert torch.equal(found.activations["resid_post"], wanted.activations["resid_post"])


def test_a_tokenizer_that_begins_texts_stays_as_it_is() -> None:
    tokenizer = bytes_with_begin(3, eos_token="a")
    before = tokenizer.backend_tokenizer.to_str()
    assert put_begin(tokenizer).backend_tokenizer.to_str() == before
    once = put_begin(byte_tokenizer()).backend_tokenizer.to_str()
    assert put_begin(put_begin(byte_tokenizer())).backend_tokenizer.to_str() == once


def test_a_tokenizer_without_any_special_token_cannot_begin_texts() -> None:
    model = with_tokenizer(small_model("gpt2"), byte_tokenizer())
    model.tokenizer.eos_token = None
    with pytest.raises(SaeflowError) as error:
        put_begin(model.tokenizer)
    check_sentence(error.value, "no begin-of-text token", "prepend_bos=False")
