"""Top texts of specialists against a loop over single texts, and cuts of texts between tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers, processors
from tokenizers.decoders import Metaspace
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from saeflow.artifacts.specialists import SPECIALIST_EXAMPLES
from saeflow.artifacts.tables import read_table, write_table
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.tokenizer import byte_tokenizer, train_tokenizer
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.specialists.examples import _pieces, top_texts
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, small_model
from tests.unit.test_pooling import bytes_with_begin, with_tokenizer
from tests.unit.test_tables import PROVENANCE

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH, D_SAE, K, LAYERS = 16, 24, 4, (0, 1)
RUN = {"dictionary": "tokens", "seed": 7}
TEXTS = [
    "2",
    "this is 3+4=7",
    "so 😀🎉 happy",
    "今日は良い天気",
    "",
    "def f(x):\n  return x",
    "dies ist ein Haus",
    "é",
    "today",
    "12 and 5",
]
SILENT = 23
FEATURES = [(1, 3), (0, 5), (0, SILENT), (1, 3), (0, 11), (1, 2)]


def bank() -> Bank:
    """Values of either sign; the last feature never fires."""
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.randn(len(LAYERS), *shape, generator=generator)

    w_enc, b_enc = draw(WIDTH, D_SAE), draw(D_SAE)
    w_enc[:, :, SILENT] = b_enc[:, SILENT] = 0.0
    recipe = Recipe("abstopk", D_SAE, K, hook="resid_post")
    sites = tuple(Site(layer) for layer in LAYERS)
    return Bank(recipe, sites, w_enc, b_enc, draw(D_SAE, WIDTH), draw(WIDTH))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    """A token for each byte; the Llama's tokenizer puts one before every text, whose id is 0."""
    made = small_model(request.param)
    if request.param == "gpt2":
        return made
    return with_tokenizer(made, bytes_with_begin(0, eos_token="<s>"))


def features_of(model: CodiModel, text: str, layer: int) -> np.ndarray:
    """Features of one text's tokens, begin-of-text token included, by the formula."""
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        hidden = model.language_model(ids, output_hidden_states=True).hidden_states[layer + 1][0]
    made, site = bank(), LAYERS.index(layer)
    pre = (hidden.double() @ made.W_enc[site].double() + made.b_enc[site].double()).numpy()
    found = np.zeros(pre.shape)
    for row, values in enumerate(pre):
        chosen = np.argsort(np.abs(values))[-K:]
        found[row, chosen] = values[chosen]
    return found


def expected_rows(model: CodiModel, layer: int, feature: int) -> list[tuple[float, int, list]]:
    """By rank: size, number, and pairs of a character and its activation."""
    begin = len(model.tokenizer("")["input_ids"])
    rows = []
    for number, text in enumerate(TEXTS):
        if not text:
            continue
        values = features_of(model, text, layer)[begin:, feature]
        pieces: list[tuple[str, float | None]] = [("<s>", None)] * begin
        place = 0
        for character in text:
            own = values[place : place + len(character.encode())]
            place += len(own)
            pieces.append((character, max(own, key=abs)))
        size = max(abs(value) for value in values)
        if size > 0:
            rows.append((size, number, pieces))
    return sorted(rows, key=lambda row: (-row[0], row[1]))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("keep", [1, 4, 100])
def test_top_texts_are_those_of_a_loop(model: CodiModel, keep: int, batch_size: int) -> None:
    table = top_texts(model, bank(), TEXTS, FEATURES, RUN, keep=keep, batch_size=batch_size)
    assert table.schema == SPECIALIST_EXAMPLES.schema()
    rows = table.to_pylist()
    assert {(each["dictionary"], each["seed"]) for each in rows} == {("tokens", 7)}
    negative, listed = False, 0
    for layer, feature in dict.fromkeys(FEATURES):
        found = [each for each in rows if (each["layer"], each["feature"]) == (layer, feature)]
        expected = expected_rows(model, layer, feature)[:keep]
        assert [each["rank"] for each in found] == list(range(len(expected)))
        assert [each["text"] for each in found] == [number for _, number, _ in expected]
        for each, (size, _, pieces) in zip(found, expected, strict=True):
            assert abs(each["value"]) == pytest.approx(size, abs=1e-4)
            assert each["value"] in each["activations"]
            assert each["tokens"] == [shown for shown, _ in pieces]
            for value, (_, wanted) in zip(each["activations"], pieces, strict=True):
                assert (value is None) == (wanted is None)
                assert wanted is None or value == pytest.approx(wanted, abs=1e-4)
            negative |= each["value"] < 0
        listed += len(found)
        assert bool(found) == (feature != SILENT)
    assert listed == len(rows), "a feature that is asked for twice is listed once"
    assert negative


def test_equal_texts_come_in_their_order(model: CodiModel) -> None:
    rows = top_texts(model, bank(), ["a b"] * 5, [(0, 5), (1, 3)], RUN, keep=3).to_pylist()
    assert [each["text"] for each in rows] == [0, 1, 2] * (len(rows) // 3)
    assert rows


def test_examples_come_back_from_their_file(model: CodiModel, tmp_path: Path) -> None:
    """A list with a null in it does, too."""
    table = top_texts(model, bank(), TEXTS, FEATURES, RUN, keep=2)
    write_table(table, tmp_path / "a.parquet", SPECIALIST_EXAMPLES, PROVENANCE)
    found = read_table(tmp_path / "a.parquet", SPECIALIST_EXAMPLES).to_pylist()
    keys = SPECIALIST_EXAMPLES.keys
    assert found == sorted(table.to_pylist(), key=lambda row: [row[key] for key in keys])
    empty = top_texts(model, bank(), TEXTS, [(0, SILENT)], RUN)
    write_table(empty, tmp_path / "b.parquet", SPECIALIST_EXAMPLES, PROVENANCE)
    assert read_table(tmp_path / "b.parquet", SPECIALIST_EXAMPLES).num_rows == 0


def test_what_cannot_be_listed(model: CodiModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SaeflowError) as error:
        top_texts(model, bank(), TEXTS, [(2, 0)], RUN)
    check_sentence(error.value, "feature 0 of block 2", "[0, 1]")
    with pytest.raises(SaeflowError) as error:
        top_texts(model, bank(), TEXTS, FEATURES, RUN, keep=0)
    check_sentence(error.value, "0 texts", "1 or more")
    monkeypatch.setattr(type(model.tokenizer), "is_fast", False)
    with pytest.raises(SaeflowError) as error:
        top_texts(model, bank(), TEXTS, FEATURES, RUN)
    check_sentence(error.value, "does not tell", "fast tokenizer")


def merged(*, trimmed: bool = False) -> PreTrainedTokenizerBase:
    """Byte-level BPE with merges; trimmed: its tokens' places leave out blanks before a word."""
    made = train_tokenizer(["this is the day, 今日は 今日"] * 9, 1500, adds_begin=False)
    assert isinstance(made, PreTrainedTokenizerFast)
    if trimmed:
        made.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return made


def words() -> PreTrainedTokenizerBase:
    """Blanks are part of a token, as SentencePiece has them, and the first gets one of its own."""
    made = merged()
    assert isinstance(made, PreTrainedTokenizerFast)
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.backend_tokenizer.decoder = Metaspace()
    return made


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "bytes": byte_tokenizer,
    "begin": lambda: bytes_with_begin(5),
    "merged": merged,
    "trimmed": lambda: merged(trimmed=True),
    "words": words,
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_parts_give_the_text_when_joined(name: str) -> None:
    """Whatever the text, and no character is cut."""
    tokenizer = TOKENIZERS[name]()
    read = with_tokenizer(small_model("gpt2"), tokenizer)
    begin = len(tokenizer("")["input_ids"])
    rng = np.random.default_rng(0)
    alphabet = [*"ab ,  \n\té今日👍", "👩\u200d👧", "e\u0301", "this is", " the", "今日は"]
    texts = ["", " ", "  a", "this is the day", "day  "]
    texts += ["".join(rng.choice(alphabet, size=rng.integers(1, 12))) for _ in range(60)]
    for text in texts:
        pieces, ids = _pieces(read, text), tokenizer(text)["input_ids"]
        assert pieces.shown[:begin] == ["<s>"] * begin
        assert "".join(pieces.shown[begin:]) == text
        assert len(pieces.of_token) == len(ids)
        assert (np.diff(pieces.of_token) >= 0).all()
        assert np.unique(pieces.of_token).tolist() == list(range(len(pieces.shown)))
        assert all(pieces.shown)
    if name in ("merged", "trimmed"):
        assert _pieces(read, "this is 今日").shown[:2] == ["this", " is"]
