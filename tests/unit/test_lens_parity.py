"""Hooks of plain transformers models against TransformerLens' own implementation of the models."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.models.conventions import BLOCK_HOOKS, HookedLayer
from saeflow.models.families import FAMILIES
from saeflow.models.hook_names import to_transformer_lens
from saeflow.models.hooks import editing, entering_at, listening
from saeflow.models.reader import Reader
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.models.tokens import begin_ids, read_contexts, read_tokens, text_ids
from tests.lens_models import LAYERS, in_transformer_lens, readable, tiny_model
from tests.sentences import check_sentence
from tests.small_models import bytes_with_begin

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["One plus two?", "é", "A longer text – with 9 words or so.", "12345"]
PLACES = [HookedLayer(hook, layer) for hook in BLOCK_HOOKS for layer in range(LAYERS)]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Pair(NamedTuple):
    """The same weights twice."""

    plain: PreTrainedModel
    lens: Any


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    plain = tiny_model(request.param)
    return Pair(plain, in_transformer_lens(plain, tmp_path_factory.mktemp("oracle")))


@torch.no_grad()
def of_lens(lens: Any, ids: Tensor, mask: Tensor | None = None) -> dict[HookedLayer, Tensor]:
    """What TransformerLens has at every hook, heads side by side."""
    _, cache = lens.run_with_cache(ids, attention_mask=mask)
    return {place: cache[to_transformer_lens(place)].flatten(2) for place in PLACES}


@torch.no_grad()
def of_plain(model: PreTrainedModel, ids: Tensor) -> dict[HookedLayer, Tensor]:
    found: dict[HookedLayer, Tensor] = {}
    sites = {hook: range(LAYERS) for hook in BLOCK_HOOKS} | {"embed": [0], "final_norm": [0]}

    def keep(hook: str, layer: int, hidden: Tensor) -> None:
        found[HookedLayer(hook, layer)] = hidden

    with listening(model, sites, keep):
        model(ids)
    return found


def some_ids(rows: int = 3, length: int = 14) -> Tensor:
    return torch.randint(0, 250, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=["no begin", "begin 0", "begin 0 is put"])
def tokenized(request: pytest.FixtureRequest, pair: Pair) -> tuple[Any, bool]:
    """A model and whether a begin token, of id 0, is to be put before texts."""
    if request.param == "no begin":
        return readable(pair.plain, byte_tokenizer()), False
    tokenizer = bytes_with_begin(0, eos_token="<s>")
    if request.param == "begin 0 is put":
        from tokenizers import processors

        tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
        assert list(tokenizer("")["input_ids"]) == []
    return readable(pair.plain, tokenizer), request.param == "begin 0 is put"


def test_logits_are_equal(pair: Pair) -> None:
    ids = some_ids()
    with torch.no_grad():
        torch.testing.assert_close(pair.plain(ids).logits, pair.lens(ids), **CLOSE)


def test_every_hook_carries_the_same(pair: Pair) -> None:
    ids = some_ids()
    found, expected = of_plain(pair.plain, ids), of_lens(pair.lens, ids)
    for place in PLACES:
        torch.testing.assert_close(found[place], expected[place], **CLOSE)
        assert float(expected[place].abs().max()) > 0.1
    embed = HookedLayer("embed", 0)
    assert torch.equal(found[embed], found[HookedLayer("resid_pre", 0)])
    normed: list[Tensor] = []
    handle = pair.lens.ln_final.register_forward_hook(lambda *each: normed.append(each[2]))
    with torch.no_grad():
        pair.lens(ids)
    handle.remove()
    torch.testing.assert_close(found[HookedLayer("final_norm", 0)], normed[0], **CLOSE)


def test_hooks_of_one_block_differ(pair: Pair) -> None:
    """No hook could be taken for another within the tolerance."""
    found = of_plain(pair.plain, some_ids())
    for hook in ("resid_pre", "mlp_out", "attn_out"):
        for layer in range(LAYERS):
            other = found[HookedLayer("resid_post", layer)]
            assert float((found[HookedLayer(hook, layer)] - other).abs().max()) > 0.1


@pytest.mark.parametrize("hook", BLOCK_HOOKS)
def test_edits_do_the_same(pair: Pair, hook: str) -> None:
    ids, place = some_ids(), HookedLayer(hook, 1)
    with torch.no_grad(), editing(pair.plain, {place: lambda hidden: hidden * 0.5 + 0.1}):
        found = pair.plain(ids).logits
        expected = pair.lens.run_with_hooks(
            ids, fwd_hooks=[(to_transformer_lens(place), lambda value, hook: value * 0.5 + 0.1)]
        )
        clean = pair.lens(ids)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert float((clean - expected).abs().max()) > 1e-2


@pytest.mark.parametrize("block", range(LAYERS))
def test_passes_may_start_at_any_block(pair: Pair, block: int) -> None:
    ids = some_ids()
    hidden = of_plain(pair.plain, ids)[HookedLayer("resid_pre", block)]
    with torch.no_grad():
        expected = pair.plain(ids).logits
        with entering_at(pair.plain, block, hidden):
            found = pair.plain(torch.zeros_like(ids)).logits
    assert torch.equal(found, expected)


def test_texts_carry_the_same_alone_and_padded(pair: Pair, tokenized: tuple[Any, bool]) -> None:
    """Right padding: what is read of texts, of similar lengths together."""
    model, put = tokenized
    rows = text_ids(model, TEXTS, prepend_bos=put)
    expected = [of_lens(pair.lens, torch.tensor([row])) for row in rows]
    begin = begin_ids(model, prepend_bos=put)
    assert all(row[: len(begin)] == begin for row in rows)
    seen = 0
    for batch in read_tokens(
        model, TEXTS, hooks=BLOCK_HOOKS, batch_size=len(TEXTS), prepend_bos=put
    ):
        for text in set(batch.text.tolist()):
            of_text = batch.text == text
            assert batch.token[of_text].tolist() == rows[text]
            seen += 1
            for hook, layer in PLACES:
                found = batch.activations[hook][layer, of_text]
                carried = expected[text][HookedLayer(hook, layer)][0]
                torch.testing.assert_close(found, carried, **CLOSE)
    assert seen == len(TEXTS)


def padded(rows: list[list[int]], *, left: bool) -> tuple[Tensor, Tensor]:
    length = max(map(len, rows))
    ids, mask = torch.full((len(rows), length), 5), torch.zeros(len(rows), length, dtype=torch.long)
    for place, row in enumerate(rows):
        start = length - len(row) if left else 0
        ids[place, start : start + len(row)] = torch.tensor(row)
        mask[place, start : start + len(row)] = 1
    return ids, mask


@pytest.mark.parametrize("left", [True, False])
def test_padding_on_either_side_changes_nothing(
    pair: Pair, tokenized: tuple[Any, bool], left: bool
) -> None:
    """What the reader with masks and positions gives, against TransformerLens on the same batch."""
    model, put = tokenized
    rows = text_ids(model, TEXTS, prepend_bos=put)
    ids, mask = padded(rows, left=left)
    expected = of_lens(pair.lens, ids, mask)
    found: dict[HookedLayer, Tensor] = {}

    def keep(hook: str, layer: int, hidden: Tensor) -> None:
        found[HookedLayer(hook, layer)] = hidden

    with torch.no_grad(), listening(pair.plain, dict.fromkeys(BLOCK_HOOKS, range(LAYERS)), keep):
        Reader(pair.plain, mask).read(pair.plain.get_input_embeddings()(ids))
    for place in PLACES:
        real = mask == 1
        torch.testing.assert_close(found[place][real], expected[place][real], **CLOSE)
    for text, row in enumerate(rows):
        alone = of_lens(pair.lens, torch.tensor([row]))
        for place in PLACES:
            torch.testing.assert_close(
                found[place][text][mask[text] == 1], alone[place][0], **CLOSE
            )


def test_contexts_need_no_mask(pair: Pair) -> None:
    rows = [some_ids(1, length)[0].tolist() for length in (14, 6, 9)]
    ids, mask = padded(rows, left=False)
    expected = of_lens(pair.lens, ids, mask)
    model = readable(pair.plain, byte_tokenizer())
    for hook, layer in PLACES:
        found = read_contexts(model, ids, mask == 1, hook=hook, layer=layer)
        torch.testing.assert_close(found, expected[HookedLayer(hook, layer)][mask == 1], **CLOSE)


def test_forks_of_a_reader_go_on_as_if_read_at_once(pair: Pair) -> None:
    """Also where attention looks fewer places back than were read."""
    ids = some_ids()
    embedded = pair.plain.get_input_embeddings()(ids)
    with torch.no_grad():
        whole = Reader(pair.plain, torch.ones_like(ids))
        expected = whole.read(embedded).last_hidden_state
        fork = whole.fork(9, torch.tensor([2, 0]))
        found = fork.read(embedded[[2, 0], 9:]).last_hidden_state
    torch.testing.assert_close(found, expected[[2, 0], 9:], **CLOSE)


def test_texts_are_continued_behind_left_padding(pair: Pair) -> None:
    rows, new = [some_ids(1, length)[0].tolist() for length in (11, 4)], some_ids(2, 3)
    ids, mask = padded(rows, left=True)
    with torch.no_grad():
        reader = Reader(pair.plain, mask)
        reader.read(pair.plain.get_input_embeddings()(ids))
        found = reader.read(pair.plain.get_input_embeddings()(new)).last_hidden_state
        for row, more, carried in zip(rows, new, found, strict=True):
            alone = pair.plain.base_model(torch.cat([torch.tensor(row), more])[None])
            torch.testing.assert_close(carried, alone.last_hidden_state[0, -3:], **CLOSE)


def test_padding_within_texts_stops_where_a_window_counts_places() -> None:
    model = tiny_model("gemma2")
    ids, mask = padded([[3, 4, 5], [6, 7]], left=False)
    reader = Reader(model, mask)
    with torch.no_grad():
        reader.read(model.get_input_embeddings()(ids))
        reader.read(model.get_input_embeddings()(ids[:, :1]))
        with pytest.raises(SaeflowError) as raised:
            reader.read(model.get_input_embeddings()(ids[:, :1]))
    check_sentence(raised.value, "Gemma2ForCausalLM", "4 places back", "on the left")


@pytest.mark.parametrize(
    "change",
    [{"attn_logit_softcapping": None}, {"sliding_window": 90}, {"query_pre_attn_scalar": 6}],
)
def test_what_is_special_in_gemma2_is_visible(change: dict[str, Any]) -> None:
    ids = some_ids()
    last = HookedLayer("resid_post", LAYERS - 1)
    usual, other = (
        of_plain(tiny_model("gemma2"), ids),
        of_plain(tiny_model("gemma2", **change), ids),
    )
    assert float((usual[last] - other[last]).abs().max()) > 1e-2


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_centred_weights_take_the_mean_away(
    family: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What SAEs of a release with ``center_writing_weights`` read, from plain activations."""
    model, ids = tiny_model(family), some_ids()
    folder = tmp_path_factory.mktemp("oracle")
    expected = of_lens(in_transformer_lens(model, folder, center_writing_weights=True), ids)
    for place, carried in of_plain(model, ids).items():
        if place.hook in ("embed", "final_norm"):
            continue
        if place.hook != "attn_z":
            assert float(carried.mean(-1).abs().max()) > 1e-2
            carried = carried - carried.mean(-1, keepdim=True)
        torch.testing.assert_close(carried, expected[place], **CLOSE)


def test_begin_tokens_are_those_of_transformer_lens(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """GPT-2's tokenizer puts none; TransformerLens puts its end-of-text token."""
    model = tiny_model("gpt2")
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = tokenizer.eos_token
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lens = in_transformer_lens(model, tmp_path_factory.mktemp("oracle"))
    lens.set_tokenizer(tokenizer)
    for text in TEXTS:
        for put in (True, False):
            (found,) = text_ids(readable(model, tokenizer), [text], prepend_bos=put)
            assert found == lens.to_tokens(text, prepend_bos=put)[0].tolist()
