"""Pooling of token features against one text at a time, read without padding."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from saeflow.config.specialists import Masking
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import transformer_blocks
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.models.tokens import read_tokens
from saeflow.saes import pooling
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.pooling import POOLINGS, PooledTexts, pool_texts
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, bytes_with_begin, small_model, with_tokenizer

WIDTH, D_SAE, K = 16, 24, 4
TEXTS = [
    "a",
    "3+4=",
    "def f(x): return x",
    "今日は良い天気",
    "so 😀🎉 happy",
    "é",
    "three plus four",
    "ab",
]
LONG = "x" * 160


def gpt2_tokenizer() -> PreTrainedTokenizerBase:
    """One token for padding, begin and end, none of which is put before a text."""
    tokenizer = byte_tokenizer()
    tokenizer.bos_token = tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def bank_of(
    layers: Sequence[int] = (0, 2),
    architecture: str = "topk",
    hook: str = "resid_post",
    width: int = WIDTH,
) -> Bank:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(len(layers), *shape, generator=generator)

    recipe = Recipe(architecture, D_SAE, K, hook=hook)  # type: ignore[arg-type]
    sites = tuple(Site(layer) for layer in layers)
    return Bank(recipe, sites, draw(width, D_SAE), draw(D_SAE), draw(D_SAE, width), draw(width))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


def activations_of(model: CodiModel, ids: list[int], layer: int) -> np.ndarray:
    """What one block gives for one text, unpadded and without a mask."""
    kept: list[Tensor] = []
    handle = transformer_blocks(model.language_model)[layer].register_forward_hook(
        lambda module, inputs, output: kept.append(
            output if isinstance(output, Tensor) else output[0]
        )
    )
    with torch.no_grad():
        model.language_model(input_ids=torch.tensor([ids]))
    handle.remove()
    return kept[0][0].double().numpy()


def encoded(bank: Bank, site: int, row: np.ndarray) -> np.ndarray:
    """One activation through one SAE by the formula."""
    pre = row @ bank.W_enc[site].double().numpy() + bank.b_enc[site].double().numpy()
    signed = bank.recipe.architecture == "abstopk"
    chosen = np.argsort(np.abs(pre) if signed else pre)[-bank.recipe.k :]
    features = np.zeros_like(pre)
    features[chosen] = pre[chosen]
    return features if signed else np.maximum(features, 0)


def reference(
    model: CodiModel, bank: Bank, ids: list[int], kept: list[int], site: int
) -> dict[str, np.ndarray]:
    """All poolings of one text, from the places of its tokens that count."""
    return pooled_rows(bank, site, activations_of(model, ids, bank.sites[site].layer)[kept])


def pooled_rows(bank: Bank, site: int, rows: np.ndarray) -> dict[str, np.ndarray]:
    tokens = [encoded(bank, site, row) for row in rows]
    return {
        "average_then_encode": encoded(bank, site, sum(rows) / len(rows)),
        "encode_then_average": sum(tokens) / len(tokens),
        "max": np.array([max(column) for column in zip(*tokens, strict=True)]),
        "last": tokens[-1],
    }


def by_text(batches: Iterator[PooledTexts]) -> dict[int, tuple[int, dict[int, dict[str, Tensor]]]]:
    found = {}
    for batch in batches:
        for row, (text, tokens) in enumerate(
            zip(batch.text.tolist(), batch.tokens.tolist(), strict=True)
        ):
            assert text not in found
            found[text] = (
                tokens,
                {
                    layer: {name: values[row] for name, values in pooled.items()}
                    for layer, pooled in batch.features.items()
                },
            )
    return found


def check(
    model: CodiModel,
    bank: Bank,
    texts: list[str],
    begin: int,
    pad: int | None = None,
    first: Sequence[int] = (),
    **chosen: object,
) -> None:
    """Hold pooled texts against the reference; `begin` tokens or those with the id `pad` are masked."""
    found = by_text(pool_texts(model, bank, texts, batch_size=3, **chosen))  # type: ignore[arg-type]
    assert sorted(found) == list(range(len(texts)))
    for number, text in enumerate(texts):
        ids = [*first, *model.tokenizer(text)["input_ids"]]
        kept = [
            place
            for place, token in enumerate(ids)
            if (place >= begin if pad is None else token != pad)
        ]
        tokens, features = found[number]
        assert tokens == len(kept)
        assert list(features) == [site.layer for site in bank.sites]
        for site, (layer, pooled) in enumerate(features.items()):
            expected = reference(model, bank, ids, kept, site)
            assert list(pooled) == list(POOLINGS)
            for name, values in pooled.items():
                np.testing.assert_allclose(
                    values.numpy(), expected[name], atol=2e-4, rtol=2e-4, err_msg=f"{layer} {name}"
                )


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
def test_pooling_equals_one_text_at_a_time(model: CodiModel, architecture: str) -> None:
    check(model, bank_of(architecture=architecture), TEXTS, begin=0)


@pytest.mark.parametrize("begin", [0, 7, 256])
def test_begin_token_of_any_id_is_masked(model: CodiModel, begin: int) -> None:
    other = with_tokenizer(model, bytes_with_begin(begin))
    assert other.tokenizer("é")["input_ids"][0] == begin
    check(other, bank_of((1,)), TEXTS, begin=1)


def test_published_masking_masks_begin_where_it_is_the_padding(model: CodiModel) -> None:
    other = with_tokenizer(model, gpt2_tokenizer())
    pad = other.tokenizer.pad_token_id
    texts = [*TEXTS, "one<|endoftext|>two"]
    check(
        other,
        bank_of((0,)),
        texts,
        begin=1,
        pad=pad,
        first=[pad],
        masking="published",
        prepend_bos=True,
    )
    # Ours masks what was put before the text and nothing of the text.
    check(other, bank_of((0,)), texts, begin=1, first=[pad], prepend_bos=True)


def test_published_masking_keeps_begin_where_padding_is_another_token(model: CodiModel) -> None:
    tokenizer = bytes_with_begin(3, pad_token="Z")
    assert tokenizer.pad_token_id != 3
    check(
        with_tokenizer(model, tokenizer),
        bank_of((2,)),
        TEXTS,
        begin=1,
        pad=tokenizer.pad_token_id,
        masking="published",
        prepend_bos=True,
    )


def test_padding_with_id_zero_is_no_missing_padding(model: CodiModel) -> None:
    tokenizer = bytes_with_begin(0, pad_token="<s>", eos_token="a")
    assert tokenizer.pad_token_id == 0
    check(
        with_tokenizer(model, tokenizer), bank_of((1,)), TEXTS, begin=1, pad=0, masking="published"
    )


def test_begin_does_not_come_twice(model: CodiModel) -> None:
    other = with_tokenizer(model, bytes_with_begin(5))
    check(other, bank_of((1,)), TEXTS, begin=1, prepend_bos=True)


def test_end_of_text_stands_in_for_begin(model: CodiModel) -> None:
    end = model.tokenizer.eos_token_id
    check(model, bank_of((1,)), TEXTS, begin=1, first=[end], prepend_bos=True)


def test_one_token_gives_the_same_in_every_pooling(model: CodiModel) -> None:
    ((tokens, features),) = by_text(pool_texts(model, bank_of(), ["a"])).values()
    assert tokens == 1
    for pooled in features.values():
        for values in pooled.values():
            torch.testing.assert_close(values, pooled["last"])
            assert (values != 0).any()


def test_poolings_differ_on_longer_texts(model: CodiModel) -> None:
    ((_, features),) = by_text(pool_texts(model, bank_of(), [TEXTS[2]])).values()
    for pooled in features.values():
        for first, second in itertools.pairwise(POOLINGS):
            assert not torch.allclose(pooled[first], pooled[second], atol=1e-2)


def test_only_poolings_asked_for_are_made(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encodings: list[int] = []
    encode = Bank.encode
    monkeypatch.setattr(
        Bank, "encode", lambda self, x: (encodings.append(x.shape[1]), encode(self, x))[1]
    )
    (batch,) = pool_texts(model, bank_of((0,)), ["ab", "cd"], poolings=["average_then_encode"])
    assert list(batch.features[0]) == ["average_then_encode"]
    assert encodings == [2]


def test_memory_does_not_grow_with_the_number_of_texts(model: CodiModel) -> None:
    seen: list[weakref.ref[Tensor]] = []
    for batch in pool_texts(model, bank_of((0,)), ["ab"] * 40, batch_size=4):
        assert len(batch.text) == 4
        assert sum(each() is not None for each in seen) <= 1
        seen.append(weakref.ref(batch.features[0]["max"]))
    assert len(seen) == 10


def test_every_hook_of_a_bank_is_read(model: CodiModel) -> None:
    bank = bank_of((1,), hook="mlp_out")
    (tokens,) = read_tokens(model, TEXTS, hooks=["mlp_out"], layers=[1])
    found = by_text(pool_texts(model, bank, TEXTS))
    assert sorted(found) == list(range(len(TEXTS)))
    for number, (_, features) in found.items():
        rows = tokens.activations["mlp_out"][0][tokens.text == number].double().numpy()
        for name, values in pooled_rows(bank, 0, rows).items():
            np.testing.assert_allclose(features[1][name], values, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("masking", ["begin", "published"])
def test_empty_text_is_told_before_anything_is_read(
    model: CodiModel, masking: Masking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooling, "read_tokens", {}.pop)
    with pytest.raises(SaeflowError) as caught:
        next(pool_texts(model, bank_of(), ["a", ""], masking=masking))
    check_sentence(caught.value, "text 1 is empty", "one token at least")
    other = with_tokenizer(model, gpt2_tokenizer())
    with pytest.raises(SaeflowError) as caught:
        next(pool_texts(other, bank_of(), ["a", "b", ""], masking=masking, prepend_bos=True))
    check_sentence(caught.value, "text 2 is empty")
    begins = with_tokenizer(model, bytes_with_begin(0, pad_token="<s>"))
    with pytest.raises(SaeflowError) as caught:
        next(pool_texts(begins, bank_of(), ["", "a"], masking=masking))
    check_sentence(caught.value, "text 0 is empty")


def test_text_of_padding_alone_is_told(model: CodiModel) -> None:
    other = with_tokenizer(model, gpt2_tokenizer())
    texts = ["a", "<|endoftext|>"]
    with pytest.raises(SaeflowError) as caught:
        list(pool_texts(other, bank_of(), texts, masking="published"))
    check_sentence(caught.value, "text 1 ('<|endoftext|>') has no token that counts")
    assert len(by_text(pool_texts(other, bank_of(), texts))) == 2


def test_too_long_text_is_told(model: CodiModel) -> None:
    assert len(by_text(pool_texts(model, bank_of(), ["a", LONG]))) == 2
    with pytest.raises(SaeflowError) as caught:
        next(pool_texts(model, bank_of(), ["a", LONG + "x"]))
    check_sentence(caught.value, "text 1 takes 161 positions; the model has 160")
    # A token more is read where one is put before the text.
    with pytest.raises(SaeflowError) as caught:
        next(pool_texts(model, bank_of(), ["a", "b", LONG], prepend_bos=True))
    check_sentence(caught.value, "text 2 takes 161 positions")


def test_no_texts_give_nothing(model: CodiModel) -> None:
    assert list(pool_texts(model, bank_of(), [])) == []


def test_missing_tokens_of_the_tokenizer_are_told(model: CodiModel) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    bare = with_tokenizer(model, tokenizer)
    check(bare, bank_of((0,)), TEXTS[:3], begin=0)
    with pytest.raises(SaeflowError) as caught:
        next(pool_texts(bare, bank_of(), ["a"], masking="published"))
    check_sentence(caught.value, "neither a padding token", "masking: begin")
    with pytest.raises(SaeflowError) as caught:
        next(pool_texts(bare, bank_of(), ["a"], prepend_bos=True))
    check_sentence(caught.value, "no begin-of-text token", "prepend_bos=False")


def test_begin_changes_no_token_of_a_tokenizer_that_marks_the_start_of_texts(
    model: CodiModel,
) -> None:
    marking = Tokenizer(models.BPE(vocab={"▁": 0, "b": 1, "<s>": 2}, merges=[]))
    marking.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=marking, bos_token="<s>")
    other = with_tokenizer(model, tokenizer)
    assert other.tokenizer("<s>b")["input_ids"] != [2, *other.tokenizer("b")["input_ids"]]
    check(other, bank_of(), ["b"], begin=1, first=[2], prepend_bos=True)
