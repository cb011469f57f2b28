"""Activations as shuffled batches (`saeflow.models.activation_stream`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from saeflow.artifacts.vectors import read_vectors
from saeflow.config.models import PathModel
from saeflow.config.streams import ContextSettings
from saeflow.errors import SaeflowError
from saeflow.models.activation_stream import ActivationStream, compute_block, width_at
from saeflow.models.codi import CodiModel
from saeflow.models.contexts import ContextBlock, Contexts
from saeflow.models.hooks import TOKEN_HOOKS, transformer_blocks
from saeflow.models.loading import load_model
from saeflow.models.tokens import read_contexts, read_tokens
from saeflow.seeds import torch_generator
from tests.conftest import ROOT
from tests.sentences import check_sentence
from tests.small_models import bytes_with_begin, small_model, with_tokenizer
from tests.unit.corpora import write_corpus

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = ["Rain fell.", "", "One more.", "x", "The end of it.", "Nothing.", "A word or two."]
LONG = "It goes on and on, " * 30
CORPORA = {
    "short": SHORT,
    "one": ["The one document that there is."],
    "long": [LONG],
    "mixed": [*SHORT, LONG, *SHORT],
}


def reference_model(family: str) -> CodiModel:
    folder = f"resources/models/{family}"
    return load_model(PathModel(weights="path", path=folder), folder=ROOT / folder)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> CodiModel:
    return reference_model(request.param)


@pytest.fixture(scope="module")
def llama() -> CodiModel:
    return reference_model("llama")


def stream_of(model: CodiModel, corpus: Path, **changes: Any) -> ActivationStream:
    chosen = {"packing": "packed", "length": 12, "batch_size": 3, "seed": 4, **changes}
    settings = ContextSettings(packing=chosen.pop("packing"), length=chosen.pop("length"))
    contexts = Contexts(
        model, corpus, settings, batch_size=chosen.pop("batch_size"), seed=chosen.pop("seed")
    )
    place = {"hook": "resid_post", "layer": 2, "buffer_tokens": 50}
    return ActivationStream(model, contexts, **{**place, **chosen})


@pytest.fixture(scope="module", params=CORPORA)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "texts.parquet"
    return write_corpus(path, CORPORA[request.param], ["held out"])


def slow_batches(
    model: CodiModel, corpus: Path, sizes: list[int], *, packing: str, buffer_tokens: int = 50
) -> Iterator[Tensor]:
    """Batches from a list of rows that is filled up and permuted."""
    settings = ContextSettings(packing=packing, length=12)
    contexts = Contexts(model, corpus, settings, batch_size=3, seed=4)
    waiting: list[Tensor] = []
    refills = 0
    for rows in sizes:
        if len(waiting) < rows or len(waiting) < buffer_tokens // 2:
            while len(waiting) < buffer_tokens:
                block = contexts.next()
                waiting += list(compute_block(model, block, "resid_post", 2))
            generator = torch_generator(4, "stream", "refill", refills)
            order = torch.randperm(len(waiting), generator=generator)
            waiting = [waiting[place] for place in order]
            refills += 1
        yield torch.stack(waiting[:rows])
        waiting = waiting[rows:]


SIZES = [7, 1, 20, 50, 3, 3, 30, 49, 10, 10, 10, 10, 10]


@pytest.mark.parametrize("packing", ["packed", "documents"])
def test_batches_are_those_of_a_list_that_is_shuffled(
    model: CodiModel, corpus: Path, packing: str
) -> None:
    stream = stream_of(model, corpus, packing=packing)
    assert stream.d_in == 128
    for rows, expected in zip(
        SIZES, slow_batches(model, corpus, SIZES, packing=packing), strict=True
    ):
        found = stream.next_batch(rows)
        assert found.shape == (rows, 128)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def by_row(rows: Tensor) -> np.ndarray:
    array = rows.float().cpu().numpy()
    return array[np.lexsort(array.T[::-1])]


@pytest.mark.parametrize("packing", ["packed", "documents"])
def test_an_epoch_holds_every_token_once_and_nothing_else(
    model: CodiModel, corpus: Path, packing: str
) -> None:
    contents = [text for text in CORPORA[corpus.parent.name[:-1]] if text]
    n = sum(len(model.tokenizer.encode(text, add_special_tokens=False)) for text in contents)
    stream = stream_of(model, corpus, packing=packing, buffer_tokens=n, length=1000)
    assert stream.tokens_per_epoch is None
    # The buffer holds exactly the first epoch.
    first = stream.next_batch(n)
    second = stream.next_batch(n)
    assert stream.tokens_per_epoch == n
    assert not torch.equal(first, second)
    # Blocks are the same in every epoch, so their activations are, bit for bit.
    assert np.array_equal(by_row(first), by_row(second))
    if packing == "documents":
        read = read_tokens(model, contents, layers=[2], batch_size=1)
        begin = len(model.tokenizer("")["input_ids"])
        own = torch.cat(
            [each.activations["resid_post"][0][each.position >= begin] for each in read]
        )
        # Sorted rows would be compared in another order where they differ in the last bits.
        distance = torch.cdist(first.double(), own.double())
        assert distance.min(0).values.max() < 1e-3
        assert distance.min(1).values.max() < 1e-3


def saved(state: dict[str, Tensor | int], folder: Path) -> dict[str, Tensor | int]:
    """A state written as safetensors and JSON, and read again."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    numbers = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(numbers))
    return {
        **load_file(folder / "state.safetensors"),
        **json.loads((folder / "state.json").read_text()),
    }


@pytest.mark.parametrize("cached", [False, True])
def test_stream_goes_on_from_any_point(
    llama: CodiModel, corpus: Path, cached: bool, tmp_path: Path
) -> None:
    sizes = [9, 20, 1, 33, 26, 50, 2]

    def made(name: str) -> ActivationStream:
        return stream_of(llama, corpus, cache=tmp_path / name if cached else None)

    stream = made("whole")
    states, batches, known = [], [], []
    for number, rows in enumerate(sizes):
        (tmp_path / f"{number}").mkdir()
        states.append(saved(stream.state(), tmp_path / f"{number}"))
        known.append(stream.tokens_per_epoch)
        batches.append(stream.next_batch(rows))
    for start, state in enumerate(states):
        # A cache of its own: where the process died it may be empty, or whole.
        resumed = made("whole" if start % 2 else f"from{start}")
        resumed.restore(state)
        assert resumed.tokens_per_epoch == known[start]
        for rows, expected in zip(sizes[start:], batches[start:], strict=True):
            assert torch.equal(resumed.next_batch(rows), expected)
        assert resumed.tokens_per_epoch == stream.tokens_per_epoch


def test_a_stream_that_is_saved_again_and_again_is_the_same(llama: CodiModel, corpus: Path) -> None:
    whole = stream_of(llama, corpus)
    state: dict[str, Tensor | int] | None = None
    for rows in SIZES:
        resumed = stream_of(llama, corpus)
        if state is not None:
            resumed.restore(state)
        assert torch.equal(resumed.next_batch(rows), whole.next_batch(rows))
        state = resumed.state()


@pytest.mark.parametrize(("packing", "dtype"), [("packed", "float32"), ("documents", "bfloat16")])
def test_cache_gives_the_same_batches_and_spares_the_model(
    llama: CodiModel,
    corpus: Path,
    packing: str,
    dtype: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made(**changes: Any) -> ActivationStream:
        return stream_of(llama, corpus, packing=packing, dtype=dtype, **changes)

    plain, cached = made(), made(cache=tmp_path)
    sizes = [40] * (25 if len(CORPORA[corpus.parent.name[:-1]]) > 7 else 6)
    batches = [plain.next_batch(rows) for rows in sizes]
    assert batches[0].dtype == getattr(torch, dtype)
    for rows, expected in zip(sizes, batches, strict=True):
        assert torch.equal(cached.next_batch(rows), expected)
    assert cached.tokens_per_epoch == plain.tokens_per_epoch
    assert plain.tokens_per_epoch is not None
    shards = sorted(tmp_path.iterdir())
    vectors = [read_vectors(path) for path in shards]
    assert sum(len(each.values) for each in vectors) == plain.tokens_per_epoch
    assert {each.dtype for each in vectors} == {dtype}
    assert {each.of for each in vectors} == {"tokens"}
    before = [path.stat().st_mtime_ns for path in shards]
    with monkeypatch.context() as patch:
        other = made(cache=tmp_path)
        patch.setattr("saeflow.models.activation_stream.read_contexts", None)
        patch.setattr(other._contexts, "_tokenizer", None)
        for rows, expected in zip(sizes, batches, strict=True):
            assert torch.equal(other.next_batch(rows), expected)
    assert [path.stat().st_mtime_ns for path in shards] == before


def test_cache_of_other_activations_or_a_damaged_one_is_made_anew(
    llama: CodiModel, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "texts.parquet", CORPORA["mixed"])
    cache = tmp_path / "cache"
    sizes = [50] * 6
    made = stream_of(llama, corpus, cache=cache)
    expected = [made.next_batch(rows) for rows in sizes]
    other = stream_of(llama, corpus, cache=cache, layer=1)
    plain = stream_of(llama, corpus, layer=1)
    for rows in sizes:
        assert torch.equal(other.next_batch(rows), plain.next_batch(rows))
    again = stream_of(llama, corpus, cache=cache)
    for number, (rows, batch) in enumerate(zip(sizes, expected, strict=True)):
        assert torch.equal(again.next_batch(rows), batch)
        if number == 0:
            shard = next(cache.iterdir())
            shard.write_bytes(shard.read_bytes()[:-20])
    damaged = stream_of(llama, corpus, cache=cache)
    for rows, batch in zip(sizes, expected, strict=True):
        assert torch.equal(damaged.next_batch(rows), batch)
    assert not list(cache.glob("*.partial"))


def test_what_follows_on_the_right_changes_nothing(model: CodiModel) -> None:
    generator = np.random.default_rng(0)
    ids = torch.from_numpy(generator.integers(0, 900, (4, 10)))
    lengths = torch.tensor([10, 1, 4, 9])
    mask = torch.arange(10) < lengths[:, None]
    found = []
    for filler in (0, 5, model.tokens.pad):
        padded = torch.where(mask, ids, filler)
        found.append(read_contexts(model, padded, mask, hook="resid_post", layer=3))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    alone = [
        read_contexts(model, row[None, :n], torch.ones(1, n, dtype=torch.bool), hook="resid_post",
                      layer=3)
        for row, n in zip(ids, lengths.tolist(), strict=True)
    ]  # fmt: skip
    torch.testing.assert_close(found[0], torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_blocks_behind_the_layer_are_not_run(llama: CodiModel, corpus: Path) -> None:
    run: list[int] = []
    handles = [
        block.register_forward_hook(lambda module, inputs, output, layer=layer: run.append(layer))
        for layer, block in enumerate(transformer_blocks(llama.language_model))
    ]
    stream_of(llama, corpus, layer=1).next_batch(5)
    for handle in handles:
        handle.remove()
    assert set(run) == {0, 1}


def test_every_hook_has_its_width(model: CodiModel) -> None:
    assert {width_at(model, hook, 0) for hook in TOKEN_HOOKS} == {128}
    small = small_model("llama")
    assert {width_at(small, hook, 0) for hook in TOKEN_HOOKS} == {16}
    with pytest.raises(SaeflowError) as caught:
        width_at(small, "resid_post", 3)
    check_sentence(caught.value, "there is no layer 3 of the hook 'resid_post'")
    with pytest.raises(SaeflowError, match="no layer 0 of the hook 'resid_mid'"):
        width_at(small, "resid_mid", 0)


def test_buffer_stays_of_one_size(llama: CodiModel, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "texts.parquet", CORPORA["mixed"] * 5)
    stream = stream_of(llama, corpus)
    for _ in range(40):
        stream.next_batch(20)
        assert stream._buffer.shape == (50 + 3 * 12, 128)
        rows = stream.state()["rows"]
        assert isinstance(rows, Tensor)
        assert 0 < len(rows) <= 50 + 3 * 12
    assert stream.refills > 10


@pytest.mark.parametrize("rows", [0, 51])
def test_batch_that_the_buffer_cannot_give_is_told(
    llama: CodiModel, corpus: Path, rows: int
) -> None:
    with pytest.raises(SaeflowError) as caught:
        stream_of(llama, corpus).next_batch(rows)
    check_sentence(caught.value, f"a batch of {rows} activations", "buffer_tokens allows 1 to 50")


def test_state_of_another_stream_is_told(llama: CodiModel, corpus: Path) -> None:
    stream = stream_of(llama, corpus)
    stream.next_batch(3)
    for changes in ({"layer": 1}, {"seed": 5}, {"buffer_tokens": 60}, {"dtype": "bfloat16"},
                    {"length": 13}, {"batch_size": 4}):  # fmt: skip
        with pytest.raises(SaeflowError) as caught:
            stream_of(llama, corpus, **changes).restore(stream.state())
        check_sentence(caught.value, "the saved state belongs to another stream")


def test_corpus_of_begin_tokens_alone_is_told(tmp_path: Path) -> None:
    small = with_tokenizer(small_model("llama"), bytes_with_begin(0, eos_token="a"))
    corpus = write_corpus(tmp_path / "texts.parquet", ["<s>", "<s><s>"])
    contexts = Contexts(small, corpus, ContextSettings(length=8))
    stream = ActivationStream(small, contexts, hook="embed", layer=0, buffer_tokens=10)
    with pytest.raises(SaeflowError) as caught:
        stream.next_batch(1)
    check_sentence(caught.value, "the corpus holds begin tokens alone")


def test_block_of_one_token_has_a_row() -> None:
    small = small_model("gpt2")
    one = np.array([[3]])
    block = ContextBlock(one, one > 0, one.astype(np.int32))
    assert compute_block(small, block, "mlp_out", 1).shape == (1, 16)
