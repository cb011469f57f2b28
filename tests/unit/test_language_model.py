"""Models as they come: read and written as transformers does, with no more blocks than needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
)

from saeflow.config.models import PathModel, UntrainedControl
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.directories import load_directory
from saeflow.models.language_model import LanguageModel
from saeflow.models.loading import last_block, load_model, thinking
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.models.tokens import read_tokens
from tests.conftest import ROOT
from tests.sentences import check_sentence

INDEX_FILE = "model.safetensors.index.json"
TEXTS = ["Rain fell.", "The end of it, and more."]
EXTRA = 7  # columns of logits behind the tokenizer's last id


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(family: str, **more: Any) -> PretrainedConfig:
    tokenizer = byte_tokenizer()
    ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    size = len(tokenizer) + EXTRA
    if family == "gpt2":
        return GPT2Config(vocab_size=size, n_positions=96, n_embd=16, n_layer=4, n_head=2, **ends)
    shape = {"vocab_size": size, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4,
             "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 96,
             **ends, **more}  # fmt: skip
    if family == "gemma2":
        return Gemma2Config(head_dim=8, final_logit_softcapping=0.5, sliding_window=8, **shape)
    return LlamaConfig(**shape)


def save(folder: Path, family: str, *, shard: str = "1GB", **more: Any) -> Path:
    torch.manual_seed(5)
    config = config_of(family, initializer_range=0.5) if family != "gpt2" else config_of(family)
    model = AutoModelForCausalLM.from_config(config)
    if more:
        model.generation_config.update(**more)
    model.save_pretrained(folder, max_shard_size=shard)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("plain") / request.param, request.param, shard="6KB")


def test_logits_are_those_of_transformers(plain: Path) -> None:
    model = load_directory(plain, "float32", "r")
    assert not isinstance(model, CodiModel)
    original = AutoModelForCausalLM.from_pretrained(plain).eval()
    ids, mask = model.pad([[5, 6, 7], [8]], left_pad=False)
    with torch.no_grad():
        expected = original(input_ids=ids, attention_mask=mask).logits
        hidden = original.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(model.logits(hidden), expected, rtol=0, atol=0)
    assert expected.shape[-1] == len(model.tokenizer) + EXTRA
    assert model.vocabulary == len(model.tokenizer)


def test_greedy_continuations_are_those_of_transformers(plain: Path) -> None:
    model = load_directory(plain, "float32", "r")
    original = AutoModelForCausalLM.from_pretrained(plain).eval()
    # Columns that no token has cannot be written; generate() would write them.
    never = list(range(model.vocabulary, original.config.vocab_size))
    rows = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    ids, mask = model.pad(rows, left_pad=True)
    found = original.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False,
        suppress_tokens=never, pad_token_id=model.pad_id,
    )[:, ids.shape[1] :]  # fmt: skip
    expected = [model.tokenizer.decode(row, skip_special_tokens=True) for row in found]
    assert model.continue_rows(rows, max_new_tokens=6) == expected


def ids_written(model: LanguageModel, row: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(model, "texts", lambda rows: [json.dumps(each) for each in rows])
    (text,) = model.continue_rows([row], max_new_tokens=6)
    found: list[int] = json.loads(text)
    return found


def test_any_of_several_ends_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path / "m", "llama")
    free = load_directory(folder, "float32", "r")
    row = free.tokenizer(TEXTS[0])["input_ids"]
    written = ids_written(free, row, monkeypatch)
    other = next(token for token in written if token != written[0])
    first = written.index(other)
    assert first < len(written) - 1, "choose another seed: nothing is written that could be cut"
    path, end = folder / "generation_config.json", free.tokenizer.eos_token_id
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [end, other]}))
    stopped = load_directory(folder, "float32", "r")
    assert stopped.ends == [end, other]
    assert ids_written(stopped, row, monkeypatch) == written[: first + 1]


def test_without_generation_config_the_ends_of_config_stop(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "llama")
    (folder / "generation_config.json").unlink()
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [4, 9]}))
    model = load_directory(folder, "float32", "r")
    assert model.ends == [model.tokenizer.eos_token_id, 4, 9]


def test_studies_of_thoughts_refuse_it(plain: Path) -> None:
    model = load_directory(plain, "float32", "abc")
    with pytest.raises(SaeflowError, match=r"^the model abc does not think in latent steps, .*\.$"):
        thinking(model)


def test_untrained_control_is_whole_or_cut_with_the_same_weights(plain: Path) -> None:
    settings = PathModel(weights="path", path=str(plain))
    control = UntrainedControl(of="x", weights="fresh", seed=9)
    whole = load_model(settings, control).language_model.state_dict()
    cut = load_model(settings, control, last_layer=1)
    assert (cut.n_layers, cut.revision) == (2, "fresh:9")
    found = cut.language_model.state_dict()
    assert len(found) < len(whole)
    assert all(torch.equal(whole[name], value) for name, value in found.items())
    trained = load_model(settings).language_model.state_dict()
    assert any(not torch.equal(trained[name], whole[name]) for name in whole)


def later_shards(folder: Path, last_layer: int) -> set[str]:
    """Names of the files that hold blocks behind one alone."""
    weights = json.loads((folder / INDEX_FILE).read_text())["weight_map"]

    def behind(name: str) -> bool:
        return any(f".{part}.{layer}." in name for part in ("layers", "h")
                   for layer in range(last_layer + 1, 4))  # fmt: skip

    return set(weights.values()) - {shard for name, shard in weights.items() if not behind(name)}


@pytest.mark.parametrize("damage", ["omitted", "corrupt"])
def test_shards_of_later_blocks_are_not_read(plain: Path, tmp_path: Path, damage: str) -> None:
    whole = load_directory(plain, "float32", "r")
    later = later_shards(plain, 1)
    assert later
    folder = tmp_path / "cut"
    folder.mkdir()
    for path in plain.iterdir():
        if path.name not in later:
            (folder / path.name).symlink_to(path)
        elif damage == "corrupt":
            (folder / path.name).write_bytes(b"garbage")
    with pytest.raises(SaeflowError):
        load_directory(folder, "float32", "r")
    cut = load_directory(folder, "float32", "r", last_layer=1)
    assert cut.n_layers == 2
    for hook in ("resid_post", "mlp_out"):
        found, expected = (
            [batch.activations[hook] for batch in read_tokens(
                model, TEXTS, hooks=(hook,), layers=[0, 1], batch_size=2)]
            for model in (cut, whole)
        )  # fmt: skip
        for left, right in zip(found, expected, strict=True):
            assert torch.equal(left, right)


def use_bin(folder: Path) -> None:
    """Turn shards of safetensors into those of PyTorch."""
    index = folder / INDEX_FILE
    listed = json.loads(index.read_text())
    for shard in set(listed["weight_map"].values()):
        torch.save(load_file(folder / shard), folder / as_bin(shard))
        (folder / shard).unlink()
    weights = {name: as_bin(shard) for name, shard in listed["weight_map"].items()}
    told = json.dumps({**listed, "weight_map": weights})
    (folder / "pytorch_model.bin.index.json").write_text(told)
    index.unlink()


def as_bin(shard: str) -> str:
    return "pytorch_" + shard.replace(".safetensors", ".bin")


def test_pytorch_shards_of_later_blocks_are_not_read(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "llama", shard="6KB")
    whole = load_directory(folder, "float32", "r").language_model.state_dict()
    later = later_shards(folder, 1)
    use_bin(folder)
    for shard in later:
        (folder / as_bin(shard)).write_bytes(b"garbage")
    with pytest.raises(SaeflowError):
        load_directory(folder, "float32", "r")
    cut = load_directory(folder, "float32", "r", last_layer=1)
    assert cut.n_layers == 2
    assert all(torch.equal(whole[key], value)
               for key, value in cut.language_model.state_dict().items())  # fmt: skip


def test_one_file_goes_before_shards_however_many_blocks_are_read(tmp_path: Path) -> None:
    """transformers takes the whole file where a folder holds both."""
    folder = save(tmp_path / "m", "llama", shard="6KB")
    state = load_directory(folder, "float32", "r").language_model.state_dict()
    other = {key: value + 1 for key, value in state.items()}
    save_file(other, folder / "model.safetensors", metadata={"format": "pt"})
    for last in (None, 1):
        model = load_directory(folder, "float32", "r", last_layer=last)
        assert torch.equal(
            model.language_model.get_input_embeddings().weight, other["model.embed_tokens.weight"]
        )


@pytest.mark.parametrize("shard", ["../x.safetensors", "sub/x.safetensors", "..", INDEX_FILE, 3])
def test_index_that_names_other_files_is_told(tmp_path: Path, shard: object) -> None:
    folder = save(tmp_path / "m", "llama", shard="6KB")
    index = folder / INDEX_FILE
    listed = json.loads(index.read_text())
    listed["weight_map"]["model.norm.weight"] = shard
    index.write_text(json.dumps(listed))
    with pytest.raises(SaeflowError) as caught:
        load_directory(folder, "float32", "r", last_layer=1)
    check_sentence(caught.value, f"{index} is malformed", "expected weight_map with a file")
    assert json.loads(index.read_text()) == listed


def test_one_file_is_cut_too_and_foreign_layers_are_told(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", "llama")
    assert load_directory(folder, "float32", "r", last_layer=0).n_layers == 1
    with pytest.raises(SaeflowError, match=r"layer 4 was asked for, .* layers 0 to 3"):
        load_directory(folder, "float32", "r", last_layer=4)


def test_texts_that_do_not_fit_are_told_as_texts(plain: Path) -> None:
    model = load_directory(plain, "float32", "r")
    with pytest.raises(SaeflowError) as caught:
        model.continue_rows([[5] * 90], max_new_tokens=10)
    told = "a text with its continuation takes 100 positions; the model has 96"
    check_sentence(caught.value, told, "Shorten max_new_tokens")


def test_the_final_norm_needs_every_block() -> None:
    assert last_block("resid_post", (2, 0)) == 2
    assert last_block("embed", (0,)) == 0
    assert last_block("final_norm", (0,)) is None
    assert last_block(None, (1,)) is None


def test_bfloat16_on_the_cpu_reads_and_writes(plain: Path) -> None:
    model = load_directory(plain, "bfloat16", "r", device=torch.device("cpu"))
    assert {value.dtype for value in model.language_model.parameters()} == {torch.bfloat16}
    assert len(model.continue_rows([[5, 6]], max_new_tokens=2)) == 1
    exact = load_directory(plain, "float32", "r")
    (rough,), (fine,) = (
        list(read_tokens(each, TEXTS, hooks=("resid_post",), layers=[0], batch_size=2))
        for each in (model, exact)
    )
    left, right = rough.activations["resid_post"].float(), fine.activations["resid_post"].float()
    assert torch.nn.functional.cosine_similarity(left, right, dim=-1).min() > 0.99


MEASURE = """
import sys, resource
from pathlib import Path
import torch
from saeflow.models.directories import load_directory
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
def now():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
torch.set_num_threads(1)
load_directory(Path(sys.argv[1]), "bfloat16", "r", device=torch.device("cpu"))
before = now()
model = load_directory(Path(sys.argv[2]), "bfloat16", "r", device=torch.device("cpu"))
size = sum(p.numel() * p.element_size() for p in model.language_model.parameters())
print(peak() - before, size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_is_one_copy_and_a_shard(tmp_path: Path) -> None:
    small = save(tmp_path / "small", "llama")
    config = LlamaConfig(
        vocab_size=300, hidden_size=1024, intermediate_size=4096, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=64,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "large", max_shard_size="40MB")
    byte_tokenizer().save_pretrained(tmp_path / "large")
    largest = max(path.stat().st_size for path in (tmp_path / "large").glob("*.safetensors"))
    del model
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(tmp_path / "large")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    rise, size = map(int, done.stdout.split())
    assert size > 250e6
    assert rise < size + largest + 32e6, (rise / 1e6, size / 1e6, largest / 1e6)
