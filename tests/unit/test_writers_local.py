"""Replies of a small local model against one slow greedy loop for each prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from saeflow.config.writers import LocalSettings
from saeflow.errors import SaeflowError
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.models.writers.local import LocalWriter, load_local
from saeflow.models.writers.writer import Writer, load_writer
from tests.sentences import check_sentence

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
PROMPTS = ["a", "What is 2 + 3?", "x" * 60, "日本 🙂", "two\nlines", "b", "a"]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<AI>{% endif %}{% if enable_thinking is false %}!{% endif %}"
)


@pytest.fixture(params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Weights so large that what is written hangs on every token of the prompt."""
    tokenizer = byte_tokenizer()
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id,
                             "bos_token_id": None}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model: Any
        if request.param == "llama":
            model = LlamaForCausalLM(LlamaConfig(
                hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=96, **sizes))  # fmt: skip
        else:
            model = GPT2LMHeadModel(
                GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=96, **sizes)
            )
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(8)
    # What a model brings with it for its users must not change what a judge says.
    model.generation_config.update(
        repetition_penalty=3.0, temperature=0.3, top_k=2, do_sample=True, max_new_tokens=2
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def settings_of(folder: Path, **changes: Any) -> LocalSettings:
    return LocalSettings(**({"kind": "local", "path": str(folder), "batch_size": 3} | changes))


def slowly(writer: LocalWriter, text: str, n: int, ends: set[int]) -> str:
    """The likeliest token, one whole unpadded forward pass for each."""
    ids = list(writer._tokenizer(text)["input_ids"])
    start = len(ids)
    for _ in range(n):
        with torch.no_grad():
            token = int(writer._model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
    return str(writer._tokenizer.decode(ids[start:]))


def test_replies_are_the_likeliest_whatever_is_in_the_batch(folder: Path) -> None:
    writer = load_local(settings_of(folder), CPU)
    assert isinstance(writer, Writer)
    expected = [slowly(writer, prompt, 16, {writer._tokenizer.eos_token_id}) for prompt in PROMPTS]
    assert writer.write(PROMPTS) == expected
    assert len(set(expected)) > 3
    assert writer.write([]) == []


def test_a_reply_ends_where_the_model_ends_it(folder: Path) -> None:
    plain = load_local(settings_of(folder, max_new_tokens=12), CPU)
    replies = [plain._tokenizer(reply)["input_ids"] for reply in plain.write(PROMPTS)]
    # An end that is an ordinary token to the tokenizer, as some models have.
    end = next(ids[4] for ids in replies if len(ids) > 4)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [end]}))
    writer = load_local(settings_of(folder, max_new_tokens=12), CPU)
    ends = {end, writer._tokenizer.eos_token_id}
    found = writer.write(PROMPTS)
    assert found == [slowly(writer, prompt, 12, ends) for prompt in PROMPTS]
    assert min(map(len, found)) < max(map(len, found))


@pytest.mark.parametrize("own_file", [True, False])
def test_chat_template_is_used_where_there_is_one(folder: Path, own_file: bool) -> None:
    if own_file:
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    else:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": TEMPLATE}))
    writer = load_local(settings_of(folder), CPU)
    end = {writer._tokenizer.eos_token_id}
    assert writer.write(["How?"]) == [slowly(writer, "<user>How?<AI>!", 16, end)]
    assert writer.write(["How?"]) != [slowly(writer, "How?", 16, end)]


def test_what_cannot_be_read_is_one_sentence(folder: Path) -> None:
    writer = load_local(settings_of(folder), CPU)
    with pytest.raises(SaeflowError) as caught:
        writer.write(["a", ""])
    check_sentence(caught.value, "The prompt '' has no token")
    assert len(writer.write(["x" * 80])) == 1
    with pytest.raises(SaeflowError) as caught:
        writer.write(["x" * 81])
    check_sentence(caught.value, "97 positions", "has 96", "max_new_tokens")


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("config.json", "holds no config.json"),
        ("model.safetensors", "the model cannot be read"),
        ("tokenizer.json", "the model cannot be read"),
    ],
)
def test_a_missing_or_damaged_file_is_one_sentence(folder: Path, name: str, part: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SaeflowError) as caught:
        load_local(settings_of(folder), CPU)
    check_sentence(caught.value, str(folder), part)
    (folder / name).write_text("{")
    with pytest.raises(SaeflowError) as caught:
        load_writer(settings_of(folder), CPU)
    check_sentence(caught.value, str(folder), "the model cannot be read")


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_missing_weights_are_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    gone = "model.layers.1.mlp.up_proj.weight"
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SaeflowError) as caught:
        load_local(settings_of(folder), CPU)
    check_sentence(caught.value, gone)


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_folder_and_precision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def fetched(repo: str, revision: str, patterns: object, *, instead: str) -> Path:
        asked.append((repo, revision, "*.jinja" in list(patterns), bool(instead)))  # type: ignore[call-overload]
        return folder

    monkeypatch.setattr("saeflow.models.writers.local.hub_folder", fetched)
    hub = settings_of(folder, path=None, repo="a/b", revision="0" * 40, dtype="bfloat16")
    made = load_local(hub, CPU)
    assert asked == [("a/b", "0" * 40, True, True)]
    assert made._model.dtype == torch.bfloat16
    elsewhere = load_local(settings_of(Path("nowhere")), CPU, folder)
    assert elsewhere.write(["a"]) == load_local(settings_of(folder), CPU).write(["a"])
