"""GPT-2's activation function by blocks (`saeflow.models.activations`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from transformers.activations import NewGELUActivation

from saeflow.models.activations import BlockedGELU, block_activations
from tests.small_models import small_model

SHAPES = [(1, 1), (0, 3), (7,), (3, 5, 33), (1, 131_072), (2, 65_536), (131_073,), (70, 3072),
          (2, 129, 1031)]  # fmt: skip


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_are_those_of_transformers(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = 4 * torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = x.clone()
    found, wanted = BlockedGELU()(x), NewGELUActivation()(x)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert torch.equal(found, wanted)
    assert torch.equal(x, before)


def test_numbers_at_the_edge_are_those_of_transformers() -> None:
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, -0.0, 1e-40, 3e38, -3e38])
    found, wanted = BlockedGELU()(x), NewGELUActivation()(x)
    assert torch.equal(found.view(torch.int32), wanted.view(torch.int32))


def test_rows_apart_are_read_as_they_lie() -> None:
    x = torch.randn(40, 30, generator=torch.Generator().manual_seed(1)).T[::2]
    assert torch.equal(BlockedGELU()(x), NewGELUActivation()(x))


def test_gradients_are_those_of_transformers() -> None:
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)
    (found,) = torch.autograd.grad(BlockedGELU()(x).sum(), x)
    (wanted,) = torch.autograd.grad(NewGELUActivation()(x).sum(), x)
    assert torch.equal(found, wanted)


def test_a_model_gives_what_it_gave_under_the_same_names() -> None:
    model = small_model("gpt2").language_model
    acts = [block.mlp.act for block in model.transformer.h]
    assert {type(each) for each in acts} == {BlockedGELU}
    plain = copy.deepcopy(model)
    for block in plain.transformer.h:
        block.mlp.act = NewGELUActivation()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, plain(ids).logits)
    names = list(plain.state_dict())
    block_activations(plain)
    assert type(plain.transformer.h[0].mlp.act) is BlockedGELU
    assert list(plain.state_dict()) == names
