"""Models from the Hugging Face hub: which files, by what commit, and what happens when it goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from pydantic import TypeAdapter, ValidationError

from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import read_table
from saeflow.config.datasets import HubDataset, TextHub
from saeflow.config.models import HubModel, ModelSettings
from saeflow.datasets.sources import download
from saeflow.datasets.texts.hub import hub_sources
from saeflow.errors import SaeflowError
from saeflow.models import hub as client
from saeflow.models.fetching import fetch_model
from saeflow.models.repository_files import (
    TOKENIZER_FILES,
    MissingWeightsError,
    check_fetched,
    lacking,
    model_names,
)
from tests.fake_hub import COMMIT, FakeHub, git, running, use
from tests.hub_cache import offline, put_repo
from tests.sentences import check_sentence

ROOT = Path(__file__).resolve().parents[2]
REPO = "someone/tiny"
CONFIG = json.dumps({"model_type": "gpt2", "n_layer": 2}).encode()
WEIGHTS = os.urandom(300_000)
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": b"{}",
    "merges.txt": b"a b\n",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"b" * 5000,
    "tf_model.h5": b"t" * 5000,
    "original/consolidated.00.pth": b"o" * 5000,
    "onnx/config.json": b"{}",
    "tiny.Q4.gguf": b"g" * 5000,
}
WANTED = ["config.json", "merges.txt", "model.safetensors", "tokenizer.json"]
TOKEN = "hf_notForAnyonesEyes0123"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with running(FakeHub({REPO: FILES})) as served:
        use(monkeypatch, served, tmp_path / "cache")
        monkeypatch.setattr(client, "WAITS", (0.01, 0.01, 0.01))
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield served


def model(**changes: object) -> HubModel:
    values = {"weights": "hub", "repo": REPO, "revision": COMMIT} | changes
    return HubModel.model_validate(values)


def fetch(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    fetch_model(model(**changes), folder, lambda _: None)
    return folder


@pytest.mark.parametrize("revision", [COMMIT, "main"])
def test_needed_files_alone_come_with_their_digests(
    hub: FakeHub, tmp_path: Path, revision: str
) -> None:
    table = read_table(fetch(tmp_path / "m", revision=revision) / FILES_TABLE, MODEL_FILES_TABLE)
    rows = {row["file"]: row for row in table.to_pylist()}
    assert sorted(rows) == sorted(hub.sent) == WANTED
    for name, row in rows.items():
        assert (tmp_path / "m" / name).read_bytes() == FILES[name]
        assert row["bytes"] == len(FILES[name])
        assert row["sha256"] == hashlib.sha256(FILES[name]).hexdigest()
        assert (row["repo"], row["revision"]) == (REPO, COMMIT)
    assert check_fetched(tmp_path / "m") == COMMIT
    assert set(hub.authorizations) == {""}


def test_second_fetch_sends_nothing_and_takes_no_disk(hub: FakeHub, tmp_path: Path) -> None:
    first, second = fetch(tmp_path / "m"), fetch(tmp_path / "n")
    assert set(hub.sent.values()) == {1}
    assert (first / "model.safetensors").samefile(second / "model.safetensors")


def test_branch_is_found_offline_afterwards(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(tmp_path / "m", revision="main")
    offline(monkeypatch, tmp_path / "cache")
    asked = len(hub.authorizations)
    assert check_fetched(fetch(tmp_path / "n", revision="main")) == COMMIT
    assert len(hub.authorizations) == asked


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (
            ["model.safetensors", "codi_projection.safetensors", "adapter_model.safetensors"],
            ["model.safetensors", "codi_projection.safetensors"],
        ),
        (["pytorch_model.bin", "rust_model.ot", "flax_model.msgpack"], ["pytorch_model.bin"]),
        (
            [
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "pytorch_model-00001-of-00001.bin",
                "pytorch_model.bin.index.json",
                "consolidated.safetensors",
                "model.fp16.safetensors",
            ],
            [
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
            ],
        ),
    ],
)
def test_one_form_of_the_weights_is_chosen(names: list[str], chosen: list[str]) -> None:
    assert sorted(model_names([*names, "config.json"])) == sorted([*chosen, "config.json"])


def test_settings_of_an_adapter_come_with_checkpoints_alone(hub: FakeHub, tmp_path: Path) -> None:
    """transformers would look for the adapter's weights, which are not fetched."""
    hub.repos = {REPO: {**FILES, "adapter_config.json": b"{}", "adapter_model.safetensors": b"a"}}
    folder = fetch(tmp_path / "m")
    assert (folder / "config.json").is_file()
    assert not (folder / "adapter_config.json").exists()
    assert "adapter_config.json" in model_names(["adapter_config.json"], adapter=True)


def test_dropped_connection_goes_on_where_it_stopped(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # huggingface_hub keeps whole chunks, by default of 10 MB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4096)
    hub.break_off["model.safetensors"] = 100_000
    folder = fetch(tmp_path / "m")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [int(each.removeprefix("bytes=")[:-1]) for each in hub.ranges] == [
        100_000 // 4096 * 4096
    ]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_hub_is_asked_again(hub: FakeHub, tmp_path: Path, status: int) -> None:
    hub.busy = [status, status]
    assert check_fetched(fetch(tmp_path / "m")) == COMMIT


def test_tries_have_an_end(hub: FakeHub, tmp_path: Path) -> None:
    hub.busy = [503] * 1000
    with pytest.raises(SaeflowError, match="cannot be had from the Hugging Face hub"):
        fetch(tmp_path / "m")
    assert len(hub.authorizations) < 50


def test_other_content_than_the_hub_names_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.told["model.safetensors"] = "0" * 64
    with pytest.raises(SaeflowError, match=r"model\.safetensors is not what the hub has.* delete "):
        fetch(tmp_path / "m")


@pytest.mark.parametrize("token", ["", TOKEN])
def test_gated_repository_says_where_to_accept(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    hub.gated.add(REPO)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SaeflowError) as caught:
        fetch(tmp_path / "m")
    text = str(caught.value)
    assert f"https://huggingface.co/{REPO}" in text
    assert "HF_TOKEN" in text
    assert TOKEN not in text
    assert "\n" not in text


def test_unknown_names_are_told_with_the_nearest(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(SaeflowError, match=r"no revision 'mian'; did you mean 'main'"):
        fetch(tmp_path / "m", revision="mian")
    with pytest.raises(SaeflowError, match=r"someone/tinny is no .* did you mean 'someone/tiny'"):
        fetch(tmp_path / "n", repo="someone/tinny")


def test_missing_shards_of_an_offline_cache_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    index = json.dumps({"weight_map": dict(zip("abc", shards, strict=True))}).encode()
    files = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors.index.json": index,
             shards[1]: b"x"}  # fmt: skip
    put_repo(tmp_path / "cache", REPO, COMMIT, files)
    offline(monkeypatch, tmp_path / "cache")
    with pytest.raises(
        SaeflowError, match=rf"cache lacks {shards[0]}, {shards[2]} in .*snakemake fetch"
    ):
        fetch(tmp_path / "m")


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_without_their_index_are_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Shards come before their index by name, so that a killed download leaves them without one."""
    whole = "model.safetensors" if ending == "safetensors" else "pytorch_model.bin"
    stem = whole.partition(".")[0]
    shards = [f"{stem}-0000{n}-of-00003.{ending}" for n in (1, 2, 3)]
    files = {"config.json": CONFIG, "tokenizer.json": b"{}", shards[0]: b"x", shards[1]: b"y"}
    put_repo(tmp_path / "cache", REPO, COMMIT, files)
    offline(monkeypatch, tmp_path / "cache")
    with pytest.raises(SaeflowError) as caught:
        fetch(tmp_path / "m")
    check_sentence(caught.value, f"cache lacks {shards[2]}, {whole}.index.json in ")
    put_repo(tmp_path / "cache", REPO, COMMIT, {shards[2]: b"z"})
    with pytest.raises(SaeflowError) as caught:
        fetch(tmp_path / "n")
    check_sentence(caught.value, f"cache lacks {whole}.index.json in ")


def test_index_alone_names_all_shards(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "s1.bin", "b": "s2.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    tokenizer = "a tokenizer (tokenizer.json, tokenizer.model, vocab.json)"
    assert lacking(tmp_path) == ["config.json", tokenizer, "s1.bin", "s2.bin"]
    assert lacking(tmp_path, config=False, weights=False) == []


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"weight_map": {"a": "../x.bin"}}'])
def test_damaged_index_of_an_offline_cache_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    files = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors.index.json": damage}
    put_repo(tmp_path / "cache", REPO, COMMIT, files)
    offline(monkeypatch, tmp_path / "cache")
    with pytest.raises(SaeflowError) as caught:
        fetch(tmp_path / "m")
    check_sentence(caught.value, "model.safetensors.index.json is malformed", "expected weight_map")


def test_index_comes_before_its_shards(hub: FakeHub, tmp_path: Path) -> None:
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    small = {"config.json": CONFIG, "tokenizer.json": b"{}"}
    hub.repos = {REPO: {shards[0]: b"x", shards[1]: b"y", "model.safetensors.index.json": index}
                 | small}  # fmt: skip
    fetch(tmp_path / "m")
    assert list(hub.sent)[-2:] == shards


@pytest.mark.parametrize("name", TOKENIZER_FILES)
def test_offline_cache_without_a_tokenizer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "tokenizer_config.json": b"{}"}
    put_repo(tmp_path / "cache", REPO, COMMIT, files)
    offline(monkeypatch, tmp_path / "cache")
    with pytest.raises(SaeflowError) as caught:
        fetch(tmp_path / "m")
    check_sentence(caught.value, "cache lacks a tokenizer (tokenizer.json, ")
    put_repo(tmp_path / "cache", REPO, COMMIT, {name: b"{}"})
    assert check_fetched(fetch(tmp_path / "n")) == COMMIT


@pytest.mark.parametrize("whole", [True, False])
def test_checkpoint_is_converted_with_its_base(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    bases: list[Path | None] = []

    def convert(checkpoint: Path, target: Path, *, base: Path | None) -> None:
        bases.append(base)
        if base is None or not (whole or (base / "model.safetensors").is_file()):
            raise MissingWeightsError("the checkpoint lacks its base's weights")
        (target / "config.json").write_bytes((base / "config.json").read_bytes())
        content = (checkpoint / "pytorch_model.bin").read_bytes()
        (target / "model.safetensors").write_bytes(content)

    let_convert(monkeypatch, convert)
    hub.repos = {REPO: {"pytorch_model.bin": b"w" * 2000}, "someone/base": FILES}
    base = {"repo": "someone/base", "revision": "main"}
    folder = fetch(tmp_path / "m", checkpoint="codi", base=base)
    assert (folder / "model.safetensors").read_bytes() == b"w" * 2000
    assert check_fetched(folder) == COMMIT
    assert hub.sent["model.safetensors"] == (0 if whole else 1)
    with pytest.raises(SaeflowError, match="lacks its base"):
        fetch(tmp_path / "n", checkpoint="codi")
    assert bases[-1] is None


def let_convert(monkeypatch: pytest.MonkeyPatch, convert: Callable[..., None]) -> None:
    module = ModuleType("saeflow.models.codi_checkpoint")
    vars(module)["convert_checkpoint"] = convert
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_weights_of_the_base_come_for_lack_of_them_alone(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(checkpoint: Path, target: Path, *, base: Path | None) -> None:
        raise SaeflowError("the checkpoint is damaged")

    let_convert(monkeypatch, convert)
    hub.repos = {REPO: {"pytorch_model.bin": b"w" * 2000}, "someone/base": FILES}
    base = {"repo": "someone/base", "revision": "main"}
    with pytest.raises(SaeflowError, match="is damaged"):
        fetch(tmp_path / "m", checkpoint="codi", base=base)
    assert hub.sent["model.safetensors"] == 0


def test_base_of_a_checkpoint_is_part_of_its_provenance(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(checkpoint: Path, target: Path, *, base: Path | None) -> None:
        (target / "config.json").write_bytes(CONFIG)

    let_convert(monkeypatch, convert)
    hub.repos = {REPO: {"pytorch_model.bin": b"w" * 2000}, "someone/base": FILES,
                 "someone/other": FILES}  # fmt: skip
    told = []
    for name in ("base", "other"):
        base = {"repo": f"someone/{name}", "revision": "main"}
        folder = fetch(tmp_path / name, checkpoint="codi", base=base)
        told.append(metadata_of(read_table(folder / FILES_TABLE, MODEL_FILES_TABLE).schema))
        assert told[-1]["base"] == f"someone/{name}@{COMMIT}"
    assert told[0]["config"] != told[1]["config"]


def test_layers_are_checked_before_weights_come(hub: FakeHub, tmp_path: Path) -> None:
    def refuse(n_layers: int) -> None:
        raise SaeflowError(f"only {n_layers}")

    with pytest.raises(SaeflowError, match="only 2"):
        fetch_model(model(), tmp_path, refuse)
    assert "model.safetensors" not in hub.sent


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("truncated", "has 1000 bytes; expected 300000 bytes"),
        ("deleted", "is missing"),
        ("flipped", "is damaged; expected the sha256"),
    ],
)
def test_damaged_file_says_what_to_delete(
    hub: FakeHub, tmp_path: Path, damage: str, told: str
) -> None:
    folder = fetch(tmp_path / "m")
    path = folder / "model.safetensors"
    if damage == "deleted":
        path.unlink()
    elif damage == "truncated":
        os.truncate(path, 1000)
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(SaeflowError, match=f"{told}.*fetch it anew with: rm -r {folder}"):
        check_fetched(folder)


@pytest.mark.parametrize(
    ("name", "kind"), [("model.safetensors", "SHA-256"), ("tokenizer.json", "git digest")]
)
def test_damaged_file_of_an_offline_cache_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    content = {key: FILES[key] for key in WANTED}
    blob = (put_repo(tmp_path / "cache", REPO, COMMIT, content) / name).resolve()
    blob.write_bytes(b"?")
    offline(monkeypatch, tmp_path / "cache")
    with pytest.raises(SaeflowError) as caught:
        fetch(tmp_path / "m")
    digest = hashlib.sha256(b"?").hexdigest() if kind == "SHA-256" else git(b"?")
    told = f"its {kind} is {digest[:12]}, but the cache's own name for it says {blob.name[:12]}"
    check_sentence(caught.value, f"{name} is damaged", told, f"delete {blob} ")
    assert "None" not in str(caught.value)


def test_blobs_that_repositories_share_are_read_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of Xet storage lie once for all repositories, named by another digest than SHA-256."""
    cache = tmp_path / "cache"
    snapshot = put_repo(cache, REPO, COMMIT, {key: FILES[key] for key in WANTED})
    blob = (snapshot / "model.safetensors").resolve()
    shared = cache / "blobs/ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    offline(monkeypatch, cache)
    assert (fetch(tmp_path / "m") / "model.safetensors").read_bytes() == WEIGHTS
    shared.write_bytes(b"?")
    with pytest.raises(SaeflowError, match=r"model\.safetensors is damaged: its SHA-256 is "):
        fetch(tmp_path / "n")


@pytest.mark.parametrize("connected", [True, False])
def test_no_file_that_fits_is_told(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connected: bool
) -> None:
    """The folder of no file would be the current one."""
    hub.repos = {REPO: {"README.md": b"x"}}
    if not connected:
        put_repo(tmp_path / "cache", REPO, COMMIT, {"README.md": b"x"})
        offline(monkeypatch, tmp_path / "cache")
    with pytest.raises(SaeflowError) as caught:
        client.hub_folder(REPO, COMMIT, ("*.json", "*.txt"), instead="name its folder as path")
    check_sentence(caught.value, f"{REPO}@{COMMIT} holds no file that fits *.json, *.txt; expected")


ONE = """
import sys
from pathlib import Path
from saeflow.config.models import HubModel
from saeflow.models.fetching import fetch_model
folder = Path(sys.argv[1])
folder.mkdir()
settings = HubModel(weights="hub", repo="someone/tiny", revision=sys.argv[2])
fetch_model(settings, folder, lambda _: None)
"""


def test_concurrent_jobs_download_once_and_keep_the_token_to_themselves(
    hub: FakeHub, tmp_path: Path
) -> None:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        **hub.environment(tmp_path / "cache"),
        "HF_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT / "src"),
    }
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", ONE, str(tmp_path / name), COMMIT],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name in ("first", "second")
    ]
    said = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert hub.sent == dict.fromkeys(WANTED, 1)
    assert f"Bearer {TOKEN}" in hub.authorizations
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in each for each in (*written, *said))


PROBLEMS = HubDataset(source="hub", repo=REPO, revision=COMMIT, file="train.parquet")
TEXTS = TextHub(source="text_hub", repo=REPO, revision=COMMIT, files=("*.jsonl",))


def test_stored_token_is_not_used(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    fetch(tmp_path / "m")
    asking: list[Callable[[], object]] = [
        lambda: fetch(tmp_path / "n", revision="mian"),
        lambda: fetch(tmp_path / "o", repo="someone/tinny"),
        lambda: download(PROBLEMS),
        lambda: hub_sources(TEXTS),
    ]
    for ask in asking:
        before = len(hub.authorizations)
        with pytest.raises(SaeflowError):
            ask()
        assert len(hub.authorizations) > before
    assert set(hub.authorizations) == {""}


def test_errors_of_data_sets_do_not_tell_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(f"refused Bearer {TOKEN}")

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(SaeflowError) as caught:
        download(PROBLEMS)
    check_sentence(caught.value, "train.parquet", "refused Bearer ***")
    with pytest.raises(SaeflowError) as caught:
        hub_sources(TEXTS, SimpleNamespace(glob=refuse))
    check_sentence(caught.value, REPO, "refused Bearer ***")


SETTINGS = TypeAdapter(ModelSettings)


def test_base_without_a_checkpoint_is_refused() -> None:
    base = {"repo": "openai-community/gpt2", "revision": "main"}
    values = {"weights": "hub", "repo": REPO, "revision": "main", "base": base}
    assert SETTINGS.validate_python({**values, "checkpoint": "codi"}).base is not None
    with pytest.raises(ValidationError, match="expected checkpoint: codi beside it"):
        SETTINGS.validate_python(values)
    for wrong in ({"repo": "a b"}, {"weights_gb": 0}, {"checkpoint": "lora"}):
        with pytest.raises(ValidationError):
            SETTINGS.validate_python({**values, "checkpoint": "codi", **wrong})
