"""CODI directories: what is saved is loaded, and what is damaged is told in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from saeflow.config.models import FreshModel, PathModel, UntrainedControl
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.directories import load_directory, save_directory
from saeflow.models.loading import load_model
from tests.conftest import ROOT

FAMILIES = ("llama", "gpt2")


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = FreshModel(weights="fresh", family=request.param, hidden_size=16, num_hidden_layers=2,
                          num_attention_heads=2, num_key_value_heads=1, intermediate_size=24,
                          projection_size=8, max_position_embeddings=96, seed=3)  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / request.param
    save_directory(load_model(settings), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def state_of(model: CodiModel) -> list[Tensor]:
    parts = (model.language_model, model.projection)
    return [tensor for part in parts for tensor in part.state_dict().values()]


def use_bin(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_saved_model_thinks_the_same(folder: Path, form: str) -> None:
    if form == "bin":
        use_bin(folder)
    family: Any = json.loads((folder / "config.json").read_text())["model_type"]
    original = load_model(FreshModel(
        weights="fresh", family=family, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=24, projection_size=8, max_position_embeddings=96,
        seed=3))  # fmt: skip
    loaded = load_directory(folder, "float32", "r")
    assert loaded.revision == "r"
    assert loaded.tokens == original.tokens
    for found, expected in zip(state_of(loaded), state_of(original), strict=True):
        assert torch.equal(found, expected)
    before, after = (
        m.think(["1+1?", "x"], latents=2, max_new_tokens=4) for m in (original, loaded)
    )
    assert after.answers == before.answers
    assert torch.equal(after.activations["resid_post"], before.activations["resid_post"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_directory_in_another_precision(saved: Path, dtype: Any) -> None:
    model = load_model(PathModel(weights="path", path=str(saved), dtype=dtype))
    assert {tensor.dtype for tensor in state_of(model)} == {getattr(torch, dtype)}
    exact = load_directory(saved, "float32", "r").think(["1+1?"], latents=2).activations
    rough = model.think(["1+1?"], latents=2).activations["final_norm"]
    torch.testing.assert_close(rough.float(), exact["final_norm"], atol=0.1, rtol=0.1)


def test_revision_of_a_directory_follows_its_content(folder: Path) -> None:
    settings = PathModel(weights="path", path="elsewhere")
    first = load_model(settings, folder=folder).revision
    moved = Path(shutil.move(folder, folder.with_name("moved")))
    assert load_model(settings, folder=moved).revision == first
    (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
    second = load_model(settings, folder=moved).revision
    # transformers writes it beside the tokenizer, and prompts are put into it.
    (moved / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert len({first, second, load_model(settings, folder=moved).revision}) == 3


def test_untrained_control_has_the_shape_and_tokenizer_but_other_weights(folder: Path) -> None:
    codi = json.loads((folder / "codi.json").read_text())
    codi["pad_token_id"], codi["end_token_id"] = codi["end_token_id"], codi["pad_token_id"]
    (folder / "codi.json").write_text(json.dumps(codi))
    trained = load_directory(folder, "float32", "r")
    control = UntrainedControl(of="x", weights="fresh", seed=9)
    (folder / "model.safetensors").unlink()
    settings = PathModel(weights="path", path=str(folder))
    fresh, again = (load_model(settings, control) for _ in range(2))
    assert fresh.tokens == trained.tokens
    assert fresh.revision == "fresh:9"
    pairs = list(zip(state_of(fresh), state_of(again), state_of(trained), strict=True))
    assert all(torch.equal(a, b) and a.shape == c.shape for a, b, c in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)
    assert fresh.think(["a"], latents=1, max_new_tokens=2).answers


def write(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def update(name: str, **values: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def lose_a_tensor(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state[next(name for name in sorted(state) if "mlp" in name)]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def damage_bin(folder: Path) -> None:
    use_bin(folder)
    (folder / "pytorch_model.bin").write_bytes(b"garbage")


PROJECTION = "codi_projection.safetensors"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (remove("config.json"), "holds no config.json"),
        (write("config.json", b"{"), "config.json cannot be read"),
        (write("config.json", b"\xff"), "config.json cannot be read"),
        (write("config.json", b"{}"), "config.json cannot be read"),
        (update("config.json", model_type="bert"), "names the family 'bert'; expected one of gpt2"),
        (update("config.json", model_type="zzz"), "config.json cannot be read"),
        (update("config.json", vocab_size="x"), "config.json cannot be read"),
        (remove("model.safetensors"), "holds no weights; expected model.safetensors or"),
        (cut("model.safetensors", 300), "the weights cannot be read"),
        (write("model.safetensors", b""), "the weights cannot be read"),
        (damage_bin, "the weights cannot be read"),
        (lose_a_tensor, "the weights lack 1 tensors, such as "),
        (remove("codi.json"), "holds no codi.json with codi_projection.safetensors"),
        (remove(PROJECTION), "holds no codi.json with codi_projection.safetensors"),
        (write("codi.json", b"{"), "codi.json is malformed"),
        (write("codi.json", b"[]"), "codi.json is malformed"),
        (write("codi.json", b"{}"), "codi.json is malformed (KeyError: 'pad_token_id')"),
        (update("codi.json", begin_token_id=10**6), "codi.json is malformed"),
        (update("codi.json", end_token_id=-1), "codi.json is malformed"),
        (update("codi.json", projection_size=-3), "codi.json is malformed"),
        (update("codi.json", projection_size=9), "does not fit a projection of 16 → 9"),
        (cut(PROJECTION, 100), "the weights cannot be read"),
        (remove("tokenizer.json"), "holds no readable tokenizer"),
        (write("tokenizer.json", b"[]"), "holds no readable tokenizer"),
        (write("tokenizer_config.json", b"[]"), "holds no readable tokenizer"),
        (update("tokenizer_config.json", eos_token=None), "no end-of-text token"),
    ],
)
@pytest.mark.parametrize("saved", ["llama"], indirect=True)
def test_damaged_directory_is_told(folder: Path, change: Callable[[Path], Any], part: str) -> None:
    change(folder)
    with pytest.raises(SaeflowError) as caught:
        load_directory(folder, "float32", "r")
    assert part in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_or_nothing_in_place_of_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(SaeflowError, match="is no directory"):
        load_directory(tmp_path / "absent", "float32", "r")


OFFLINE = """
from saeflow.config.models import HubModel
from saeflow.errors import SaeflowError
from saeflow.models.loading import load_model

try:
    load_model(HubModel(weights="hub", repo="zen-E/CODI-gpt2", revision="0" * 40))
except SaeflowError as error:
    print(error)
"""


def test_hub_model_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.startswith("zen-E/CODI-gpt2@")
    assert "weights: path with path: DIRECTORY" in done.stdout
    assert len(done.stdout.splitlines()) == 1
