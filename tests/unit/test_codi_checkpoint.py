"""CODI checkpoints: what is converted gives what the trained wrapper gives, to the last answer."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.codi_checkpoint import convert_checkpoint
from saeflow.models.codi_parts import known_config
from saeflow.models.loading import load_directory
from tests.lookalikes.codi import (
    SMALL,
    Family,
    Form,
    Run,
    Sizes,
    Wrapper,
    base_files,
    checkpoint_files,
    make_wrapper,
    run_wrapper,
    state_of,
    tokenizer_files,
    weight_files,
    write_files,
)

pytestmark = pytest.mark.usefixtures("one_thread")
FAMILIES = ("gpt2", "llama")
FORMS = ("safetensors", "bin")
QUESTIONS = ("There are 3 boxes.  How many apples? ", "12+7?", " ünï \n each lays 2 eggs a day.")
EMBEDDINGS = {"gpt2": "transformer.wte.weight", "llama": "model.embed_tokens.weight"}
INNER = "codi.base_model.model."


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def wrapper(family: Family) -> Wrapper:
    return make_wrapper(family)


@pytest.fixture(scope="module")
def expected(wrapper: Wrapper) -> list[Run]:
    """What the original gives; in float32, as the conversion keeps the sum of both parts."""
    exact = copy.deepcopy(wrapper).float()
    return [run_wrapper(exact, question) for question in QUESTIONS]


@pytest.fixture
def base(family: Family, tmp_path: Path) -> Path:
    return write_files(base_files(family, weights=False), tmp_path / "base")


def converted(checkpoint: Path, tmp_path: Path, base: Path | None, **options: Any) -> CodiModel:
    convert_checkpoint(checkpoint, tmp_path / "out", base=base, **options)
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out"]
    return load_directory(tmp_path / "out", "float32", "r")


def largest_difference(model: CodiModel, expected: list[Run]) -> tuple[float, bool]:
    """Of hidden states of s0 … s6 and of logits, as a share of the largest; whether answers agree."""
    found, same = 0.0, True
    for question, run in zip(QUESTIONS, expected, strict=True):
        thoughts = model.think([question], latents=6, max_new_tokens=8)
        steps = thoughts.activations["final_norm"][0, :, -1]
        assert steps.shape == run.steps.shape
        logits = answer_logits(model, question, len(run.logits))
        for ours, theirs in ((steps, run.steps), (logits, run.logits)):
            found = max(found, float((ours - theirs).abs().max() / theirs.abs().max()))
        same = same and thoughts.answers == [run.answer]
    return found, same


@torch.no_grad()
def answer_logits(model: CodiModel, question: str, count: int) -> Tensor:
    """Logits behind the thoughts, the last columns included, read with our reader."""
    reader, _ = model.read_thoughts([question], latents=6, further=count)
    network, rows = model.language_model, []
    token = model.tokens.end
    for _ in range(count):
        embedded = network.get_input_embeddings()(torch.tensor([[token]]))
        rows.append(network.get_output_embeddings()(reader.read(embedded).last_hidden_state[:, -1]))
        token = int(rows[-1][0, : model.tokens.end].argmax())
    return torch.cat(rows)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_thinks_and_answers_as_the_wrapper(
    form: Form, shards: int, wrapper: Wrapper, expected: list[Run], base: Path, tmp_path: Path
) -> None:
    files = weight_files(state_of(wrapper), form, shards=shards)
    model = converted(write_files(files, tmp_path / "checkpoint"), tmp_path, base)
    difference, same = largest_difference(model, expected)
    assert difference < 1e-5
    assert same
    vocabulary = wrapper.codi.config.vocab_size - 3
    assert model.tokens.pad == wrapper.pad == vocabulary == len(wrapper.tokenizer)
    assert (model.tokens.begin, model.tokens.end) == (wrapper.bot, wrapper.eot)
    for question in QUESTIONS:
        ids = wrapper.tokenizer(question)["input_ids"]
        assert model.tokenizer(question)["input_ids"] == ids


@pytest.mark.parametrize("alpha", [16, 31])
def test_oracle_sees_a_wrong_alpha(
    alpha: int, wrapper: Wrapper, expected: list[Run], base: Path, tmp_path: Path
) -> None:
    checkpoint = write_files(weight_files(state_of(wrapper), "bin"), tmp_path / "checkpoint")
    difference, _ = largest_difference(converted(checkpoint, tmp_path, base, alpha=alpha), expected)
    assert difference > 1e-3
