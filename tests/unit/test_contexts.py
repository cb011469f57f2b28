"""Documents as contexts (`saeflow.models.contexts`), against an obvious way to cut them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from saeflow.config.models import PathModel
from saeflow.config.streams import ContextSettings
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.contexts import NO_TEXT, ContextBlock, Contexts
from saeflow.models.loading import load_model
from saeflow.seeds import numpy_generator
from tests.conftest import ROOT
from tests.sentences import check_sentence
from tests.small_models import bytes_with_begin, small_model, with_tokenizer
from tests.unit.corpora import write_corpus

pytestmark = pytest.mark.usefixtures("one_thread")

DOCUMENTS = [
    "The first document is of middling length.",
    "Short.",
    "x",
    "A document that is longer than many contexts: " + "and so on " * 40,
    "The stars of the night sky.",
    "Heat the oil, then add 12 onions.",
    "The court decided against her.",
    "Another one.",
    "And the last, which is in a row group of its own.",
]
HELD_OUT = ["What nobody trains on.", "Nor on this."]
GROUP = 4


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> CodiModel:
    folder = f"resources/models/{request.param}"
    return load_model(PathModel(weights="path", path=folder), folder=ROOT / folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    return write_corpus(path, DOCUMENTS, HELD_OUT, row_group=GROUP)


def slow_contexts(
    model: CodiModel, documents: list[tuple[int, str]], settings: ContextSettings, begin: list[int]
) -> list[list[tuple[int, int]]]:
    """Contexts of some documents in order, as lists of (token, document), by hand."""
    separator = {
        "eos": [model.tokenizer.eos_token_id],
        "bos": [model.tokenizer.bos_token_id],
        "none": [],
    }[settings.separator]
    cut = []
    whole = [
        [(token, number) for token in model.tokenizer.encode(text, add_special_tokens=False)]
        for number, text in documents
    ]
    whole = [tokens for tokens in whole if tokens]
    if settings.packing == "packed":
        joined: list[tuple[int, int]] = []
        for tokens in whole:
            joined += ([(token, NO_TEXT) for token in separator] if joined else []) + tokens
        whole = [joined]
    for tokens in whole:
        left = list(tokens)
        while left:
            if left[0][1] == NO_TEXT:
                left.pop(0)
            context = [(token, NO_TEXT) for token in begin]
            while left and len(context) < settings.length:
                context.append(left.pop(0))
            cut.append(context)
            if settings.pieces == "first":
                break
    return cut


def contexts_of(block: ContextBlock) -> list[list[tuple[int, int]]]:
    """Rows of a block as lists of (token, document)."""
    return [
        list(zip(ids, text, strict=True))
        for ids, text in zip(block.ids.tolist(), block.text.tolist(), strict=True)
    ]


def stripped(context: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A context without what follows its last token of a document: a separator, padding."""
    context = list(context)
    while context and context[-1][1] == NO_TEXT:
        context.pop()
    return context


def group_documents(contents: list[str], group: int, seed: int, size: int) -> list[tuple[int, str]]:
    """Documents of a row group in the order in which they are cut."""
    numbered = list(enumerate(contents))[group * size : (group + 1) * size]
    order = numpy_generator(seed, "contexts", "documents", group).permutation(len(numbered))
    return [numbered[place] for place in order]


SETTINGS: list[dict[str, Any]] = [
    {},
    {"separator": "none"},
    {"bos": False},
    {"bos": False, "separator": "none", "length": 2},
    {"packing": "documents"},
    {"packing": "documents", "bos": False, "length": 5},
    {"packing": "documents", "pieces": "first"},
    {"length": 1000},
    {"packing": "documents", "length": 1000},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_contexts_are_those_of_the_obvious_way(
    model: CodiModel, corpus: Path, changes: dict[str, Any]
) -> None:
    settings = ContextSettings(**{"length": 9, **changes})
    contexts = Contexts(model, corpus, settings, batch_size=3, seed=7)
    own = model.tokenizer("")["input_ids"] if settings.bos else []
    for group in range(3):
        documents = group_documents(DOCUMENTS, group, 7, GROUP)
        expected = slow_contexts(model, documents, settings, own)
        expected.sort(key=len)  # stable, as lengths are sorted for little padding
        blocks = list(contexts.blocks(group))
        assert [len(block.ids) for block in blocks[:-1]] == [3] * (len(blocks) - 1)
        found = [row for block in blocks for row in contexts_of(block)]
        assert [stripped(row) for row in found] == [stripped(row) for row in expected]
        for block in blocks:
            assert block.ids.shape[1] <= settings.length
            assert np.array_equal(block.counts, block.text != NO_TEXT)
            if own:
                assert (block.ids[:, 0] == own[0]).all()
                assert not block.counts[:, 0].any()


def every_token(contexts: Contexts, split: str = "train") -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for group in range(contexts.n_groups):
        for block in contexts.blocks(group):
            found.update(
                zip(
                    block.text[block.counts].tolist(), block.ids[block.counts].tolist(), strict=True
                )
            )
    return found


@pytest.mark.parametrize("changes", SETTINGS[:6], ids=str)
def test_every_token_of_the_split_comes_once(
    model: CodiModel, corpus: Path, changes: dict[str, Any]
) -> None:
    settings = ContextSettings(**{"length": 9, **changes})
    for split, numbered in (
        ("train", list(enumerate(DOCUMENTS))),
        ("validation", list(enumerate(HELD_OUT, len(DOCUMENTS)))),
    ):
        expected = Counter(
            (number, token)
            for number, text in numbered
            for token in model.tokenizer.encode(text, add_special_tokens=False)
        )
        assert every_token(Contexts(model, corpus, settings, split=split)) == expected


def places(contexts: Contexts, n: int) -> list[tuple[int, int, int]]:
    return [tuple(contexts.advance()) for _ in range(n)]


def test_each_epoch_reads_every_block_once_in_an_order_of_its_own(
    model: CodiModel, corpus: Path
) -> None:
    settings = ContextSettings(length=9)
    contexts = Contexts(model, corpus, settings, batch_size=2, seed=1)
    blocks = {(group, block) for group in range(3) for block in range(contexts.n_blocks(group))}
    found = places(contexts, 4 * len(blocks))
    orders = []
    for epoch in range(4):
        part = found[epoch * len(blocks) : (epoch + 1) * len(blocks)]
        assert {each[0] for each in part} == {epoch}
        orders.append([each[1:] for each in part])
        assert len(orders[-1]) == len(blocks)
        assert set(orders[-1]) == blocks
        # Each row group is read once: memory holds one.
        changes = sum(a[0] != b[0] for a, b in zip(orders[-1], orders[-1][1:], strict=False))
        assert changes == 2
    assert len({tuple(order) for order in orders}) == 4
    assert len({tuple(dict.fromkeys(group for group, _ in order)) for order in orders}) > 1
    assert places(Contexts(model, corpus, settings, batch_size=2, seed=1), len(found)) == found
    assert places(Contexts(model, corpus, settings, batch_size=2, seed=2), len(found)) != found


def same(first: ContextBlock, second: ContextBlock) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("ids", "counts", "text")
    )


def test_any_place_can_be_gone_back_to(model: CodiModel, corpus: Path) -> None:
    settings = ContextSettings(length=20)

    def made() -> Contexts:
        return Contexts(model, corpus, settings, batch_size=2, seed=5)

    contexts = made()
    states, blocks = [], []
    for _ in range(30):
        states.append(contexts.state())
        blocks.append(contexts.next())
    assert states[-1]["epoch"] >= 1
    for start, state in enumerate(states):
        resumed = made()
        resumed.restore(state)
        assert all(same(resumed.next(), block) for block in blocks[start:])


@given(
    contents=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=9),
    packing=st.sampled_from(["packed", "documents"]),
    separator=st.sampled_from(["eos", "bos", "none"]),
    bos=st.sampled_from(["auto", True, False]),
    length=st.integers(2, 40),
    begin=st.sampled_from([0, 1, 256]),
    batch_size=st.integers(1, 5),
)
def test_any_documents_are_cut_in_the_obvious_way(
    tmp_path: Path, contents: list[str], begin: int, batch_size: int, **chosen: Any
) -> None:
    small = with_tokenizer(small_model("llama"), bytes_with_begin(begin, eos_token="a"))
    settings = ContextSettings(**chosen)
    corpus = write_corpus(tmp_path / "any.parquet", contents, row_group=3)
    contexts = Contexts(small, corpus, settings, batch_size=batch_size)
    own = [] if settings.bos is False else [begin]
    for group in range(contexts.n_groups):
        documents = group_documents(contents, group, 0, 3)
        expected = slow_contexts(small, documents, settings, own)
        expected.sort(key=len)
        found = [row for block in contexts.blocks(group) for row in contexts_of(block)]
        assert [stripped(row) for row in found] == [stripped(row) for row in expected]
        for block in contexts.blocks(group):
            assert not (block.counts & (block.ids == begin)).any()  # 0 is an id like any other
            assert np.array_equal(block.counts, (block.text != NO_TEXT) & (block.ids != begin))


def test_special_rules_need_the_tokens_that_they_name(corpus: Path) -> None:
    folder = ROOT / "resources/models/gpt2"
    model = load_model(PathModel(weights="path", path=str(folder)), folder=folder)
    for changes, parts in (
        ({"bos": True}, ["bos is true, but the tokenizer has no begin token"]),
        ({"separator": "bos"}, ["separator is 'bos', but the tokenizer has no such token"]),
        ({"length": 2048}, ["contexts are 2048 positions long; the model has 1024."]),
    ):
        with pytest.raises(SaeflowError) as caught:
            Contexts(model, corpus, ContextSettings(**changes))
        check_sentence(caught.value, *parts)
    assert Contexts(model, corpus, ContextSettings()).begin is None
    with pytest.raises(ValidationError, match="pieces is 'first', but packed documents"):
        ContextSettings(pieces="first")


def test_tokens_around_texts_that_are_no_begin_token_are_told(corpus: Path) -> None:
    from tokenizers import processors

    small = small_model("llama")
    tokenizer = bytes_with_begin(0)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <s>", special_tokens=[("<s>", 0)]
    )
    with pytest.raises(SaeflowError) as caught:
        Contexts(with_tokenizer(small, tokenizer), corpus, ContextSettings(separator="bos"))
    check_sentence(
        caught.value, "puts the tokens [0, 0] around every text", "bos: true or bos: false"
    )


@pytest.mark.parametrize("contents", [[], [""], ["", ""]])
def test_corpus_without_tokens_is_told(
    model: CodiModel, tmp_path: Path, contents: list[str]
) -> None:
    corpus = write_corpus(tmp_path / "none.parquet", contents, ["held out"])
    contexts = Contexts(model, corpus, ContextSettings())
    with pytest.raises(SaeflowError) as caught:
        contexts.next()
    check_sentence(caught.value, "none.parquet holds no token of the split 'train'")


def test_other_files_are_told(model: CodiModel, tmp_path: Path) -> None:
    with pytest.raises(SaeflowError, match=r"absent\.parquet does not exist"):
        Contexts(model, tmp_path / "absent.parquet", ContextSettings())
    corpus = write_corpus(tmp_path / "damaged.parquet", [str(n) * 50 for n in range(40)])
    data = bytearray(corpus.read_bytes())
    data[40:60] = bytes(20)
    corpus.write_bytes(bytes(data))
    with pytest.raises(SaeflowError) as caught:
        Contexts(model, corpus, ContextSettings())
    check_sentence(caught.value, "damaged.parquet cannot be read as Parquet")
