"""A model's own code runs only where its block says so, and nothing that a pickle holds ever does."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from saeflow.config.models import HubModel, PathModel, UntrainedControl
from saeflow.config.writers import LocalSettings
from saeflow.errors import SaeflowError
from saeflow.models.checkpoint_files import read_state
from saeflow.models.codi_checkpoint import convert_checkpoint
from saeflow.models.directories import any_config, directory_revision, load_directory
from saeflow.models.fetching import fetch_model
from saeflow.models.loading import load_model
from saeflow.models.own_code import check_code
from saeflow.models.shape import model_shape
from saeflow.models.writers.local import load_local
from tests.fake_hub import COMMIT, FakeHub, running, use
from tests.small_models import settings_of

MODEL = """
import os
from pathlib import Path
Path(os.environ["SAEFLOW_TEST_MARKER"]).write_text("run")
from transformers import LlamaForCausalLM

class OwnModel(LlamaForCausalLM):
    own = True
"""
CONFIG = """
import os
from pathlib import Path
Path(os.environ["SAEFLOW_TEST_MARKER"]).write_text("run")
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "llama"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
TOKENIZER = """
import os
from pathlib import Path
Path(os.environ["SAEFLOW_TEST_MARKER"]).write_text("run")
from transformers import PreTrainedTokenizerFast

class OwnTokenizer(PreTrainedTokenizerFast):
    own = True
"""
CODE = {
    "config.json: AutoModelForCausalLM": ("modeling_own", MODEL, "OwnModel"),
    "config.json: AutoConfig": ("configuration_own", CONFIG, "OwnConfig"),
    "tokenizer_config.json: AutoTokenizer": ("tokenization_own", TOKENIZER, "OwnTokenizer"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a Llama without thoughts."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    made = load_model(settings_of("llama", seed=1))
    made.language_model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once code was run which a model or a pickle brought along."""
    monkeypatch.setenv("SAEFLOW_TEST_MARKER", str(tmp_path / "marker"))
    # The modules of one test must not be found by the next.
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    return tmp_path / "marker"


@pytest.fixture(params=CODE)
def own(request: pytest.FixtureRequest, plain: Path, tmp_path: Path) -> Path:
    """The same directory with code of its own; a name of its own, for modules are known by it."""
    folder = Path(shutil.copytree(plain, tmp_path / f"own_{abs(hash(request.node.nodeid))}"))
    file, kind = request.param.split(": ")
    module, text, name = CODE[request.param]
    values = json.loads((folder / file).read_text())
    reference = f"{module}.{name}"
    values["auto_map"] = {kind: [reference, None] if kind == "AutoTokenizer" else reference}
    if kind == "AutoConfig":
        values["auto_map"]["AutoModelForCausalLM"] = f"{module}.OwnModel"
    (folder / file).write_text(json.dumps(values))
    (folder / f"{module}.py").write_text(text)
    return folder


def block(folder: Path, **changes: Any) -> PathModel:
    return PathModel(weights="path", path=str(folder), **changes)


CONTROL = UntrainedControl(of="own", weights="fresh", seed=2)
LOADERS: dict[str, Callable[[Path], object]] = {
    "weights": lambda folder: load_model(block(folder)),
    "the first blocks": lambda folder: load_model(block(folder), last_layer=0),
    "an untrained control": lambda folder: load_model(block(folder), CONTROL),
    "a directory": lambda folder: load_directory(folder, "float32", "r"),
    "its configuration": any_config,
    "its shape": lambda folder: model_shape([folder]),
}


@pytest.mark.parametrize("name", LOADERS)
def test_own_code_is_refused(own: Path, marker: Path, name: str) -> None:
    with pytest.raises(SaeflowError, match=r"set models.NAME.trust_remote_code: true") as refused:
        LOADERS[name](own)
    assert "names Python code of its own (Auto" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not marker.exists()


def test_own_code_runs_where_it_is_trusted(own: Path, marker: Path) -> None:
    model = load_model(block(own, trust_remote_code=True))
    assert marker.exists()
    classes = [type(each).__name__ for each in (model.language_model, model.tokenizer)]
    classes.append(type(model.language_model.config).__name__)
    assert any(name.startswith("Own") for name in classes)
    marker.unlink()
    control = load_model(block(own, trust_remote_code=True), CONTROL)
    assert type(control.language_model).__name__ == classes[0]


def test_only_the_trusted_model_runs_its_code(own: Path, plain: Path, marker: Path) -> None:
    load_model(block(plain, trust_remote_code=True))
    assert not marker.exists()
    with pytest.raises(SaeflowError, match="trust_remote_code"):
        load_model(block(own))
    assert not marker.exists()


@pytest.mark.usefixtures("marker")
def test_own_code_is_part_of_what_a_model_is(own: Path) -> None:
    trusted = block(own, trust_remote_code=True)
    path = next(own.glob("*.py"))
    before = load_model(trusted).revision
    untrusted = directory_revision(own)
    path.write_text(path.read_text() + "\nEDITED = True\n")
    assert load_model(trusted).revision != before
    assert directory_revision(own) == untrusted


@pytest.mark.parametrize("reference", ["someone/else--modeling.Model", "../modeling.Model"])
def test_code_of_another_repository_is_refused(plain: Path, tmp_path: Path, reference: str) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    values = json.loads((folder / "config.json").read_text())
    values["auto_map"] = {"AutoModelForCausalLM": reference}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(SaeflowError, match="which lies in another repository"):
        check_code(folder, trusted=True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auto_map": null}', '{"auto_map": {}}', "[" * 100_000]
)
def test_damaged_descriptions_name_no_code(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    check_code(tmp_path, trusted=False)


def test_writers_run_no_code(own: Path, marker: Path) -> None:
    settings = LocalSettings(kind="local", path=str(own))
    # Classes of transformers' own serve, or the model is refused.
    with contextlib.suppress(SaeflowError):
        load_local(settings, torch.device("cpu"))
    assert not marker.exists()


@pytest.mark.parametrize("trusted", [False, True])
def test_code_of_a_repository(
    own: Path, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    files = {path.name: path.read_bytes() for path in own.iterdir()}
    settings = HubModel(
        weights="hub", repo="someone/own", revision=COMMIT, trust_remote_code=trusted
    )
    target = tmp_path / f"fetched_{own.name}"
    target.mkdir()
    with running(FakeHub({"someone/own": files})) as hub:
        use(monkeypatch, hub, tmp_path / "cache")
        if not trusted:
            with pytest.raises(SaeflowError, match="trust_remote_code"):
                fetch_model(settings, target, lambda _: None)
            assert not any(name.endswith((".py", ".safetensors")) for name in hub.sent)
        else:
            fetch_model(settings, target, lambda _: None)
            load_model(settings, None, target)
    assert marker.exists() == trusted


@pytest.fixture(scope="module")
def read_released() -> Callable[[Path, str, str], object]:
    """Read an SAE of a release from a directory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from saeflow.saes.released.loading import ReleasedFiles, load_released
    return lambda folder, release, sae_id: load_released(
        ReleasedFiles(folder=folder), release, sae_id
    )


class Payload:
    """What a pickle makes anew by calling something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ('touch "$SAEFLOW_TEST_MARKER"',)


def payload(folder: Path, name: str, beside: dict[str, Any] | None = None) -> Path:
    torch.save({**(beside or {}), "payload": Payload()}, folder / name)
    return folder


def test_the_payload_works(tmp_path: Path, marker: Path) -> None:
    torch.load(payload(tmp_path, "x.bin") / "x.bin", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
def test_pickled_weights_of_a_model(
    plain: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch,
    sharded: bool, unsafe: bool,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(plain, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if unsafe:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    if sharded:
        index = {"metadata": {}, "weight_map": dict.fromkeys(weights, name)}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    payload(folder, name, weights)
    for load in (
        lambda: load_model(block(folder)),
        lambda: load_model(block(folder), last_layer=0),
    ):
        with pytest.raises(SaeflowError, match="the weights cannot be read") as refused:
            load()
        assert "\n" not in str(refused.value)
    settings = LocalSettings(kind="local", path=str(folder))
    with pytest.raises(SaeflowError, match="the model cannot be read"):
        load_local(settings, torch.device("cpu"))
    assert not marker.exists()


def test_pickled_checkpoint(plain: Path, tmp_path: Path, marker: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    payload(folder, "pytorch_model.bin", {"codi.lm_head.weight": torch.zeros(2, 2)})
    for load in (
        lambda: read_state(folder),
        lambda: convert_checkpoint(folder, tmp_path / "out", base=plain),
    ):
        with pytest.raises(SaeflowError, match="which could run code"):
            load()
    assert not marker.exists()


@pytest.mark.parametrize("unsafe", [False, True])
def test_pickled_released_sae(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, read_released: Any, unsafe: bool
) -> None:
    """SAELens reads some releases with torch.load and leaves it to torch what that makes."""
    if unsafe:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    release, sae_id = "gpt2-small-hook-z-kk", "blocks.0.hook_z"
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    path = get_pretrained_saes_directory()[release].saes_map[sae_id]
    assert path.endswith(".pt")
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    payload(tmp_path, path, {"W_enc": torch.zeros(2, 4)})
    config = (tmp_path / path).parent / Path(path).name.replace(".pt", "_cfg.json")
    sizes = {"d_in": 2, "d_sae": 4, "act_name": "x", "act_size": 2, "dict_size": 4, "dict_mult": 2}
    config.write_text(json.dumps(sizes))
    with pytest.raises(SaeflowError, match="cannot be read by SAELens"):
        read_released(tmp_path, release, sae_id)
    assert not marker.exists()


def test_pickled_numpy_sae(tmp_path: Path, marker: Path, read_released: Any) -> None:
    release, sae_id = "gemma-scope-2b-pt-res-canonical", "layer_0/width_16k/canonical"
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    path = tmp_path / get_pretrained_saes_directory()[release].saes_map[sae_id] / "params.npz"
    path.parent.mkdir(parents=True)
    objects = np.array([Payload()], dtype=object)
    np.savez(path, W_enc=objects, W_dec=objects, b_enc=objects, b_dec=objects, threshold=objects)
    with pytest.raises(SaeflowError, match="cannot be read by SAELens"):
        read_released(tmp_path, release, sae_id)
    assert not marker.exists()
