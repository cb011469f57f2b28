"""Released SAEs: the exact files of each release, read offline, against SAELens' own SAE."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config

from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.released import RELEASED
from saeflow.artifacts.tables import read_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.errors import SaeflowError
from saeflow.models.shape import ModelShape
from saeflow.saes.bank import Bank, Site
from saeflow.saes.storage import bank_digests, load_bank
from tests.fake_hub import COMMIT as HUB_COMMIT
from tests.fake_hub import FakeHub, running, use
from tests.hub_cache import offline, put_repo
from tests.lookalikes.saes import (
    GEMMA_SCOPE,
    LLAMA_SCOPE,
    RES_JB,
    Weights,
    gemma_scope_files,
    llama_scope_files,
    random_weights,
    res_jb_files,
    saelens_files,
)
from tests.sentences import check_sentence

pytestmark = pytest.mark.filterwarnings(r"ignore:\s*This SAE has non-empty:UserWarning")

D_IN, D_SAE, LAYERS = 16, 40, 12
COMMIT, OTHER = "a" * 40, "b" * 40
GPT2 = ModelShape("openai-community/gpt2", "gpt2", LAYERS, D_IN, D_IN)
GEMMA = ModelShape("google/gemma-2-9b", "gemma2", 42, D_IN, D_IN)
LLAMA = ModelShape("meta-llama/Llama-3.1-8B", "llama", 32, D_IN, D_IN)
CANONICAL = {9: "layer_9/width_16k/average_l0_100", 20: "layer_20/width_16k/average_l0_68"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def sae_lens():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformer_lens warns of itself
        import sae_lens
    return sae_lens


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    offline(monkeypatch, tmp_path / "hub")
    return tmp_path / "hub"


def dictionary(hook: str, layers: list[int], **released: object) -> DictionarySettings:
    block = {"dataset": "texts", "hook": hook, "layers": layers, "released": released}
    return DictionarySettings.model_validate(block)


def fetch(settings: DictionarySettings, shape: ModelShape, folder: Path) -> tuple[Bank, list[dict]]:
    from saeflow.saes.released.fetch import fetch_bank

    folder.mkdir()
    fetch_bank(settings, shape, folder, provenance=Provenance("test"))
    table = read_table(folder / "released.parquet", RELEASED)
    digests = json.loads(metadata_of(table.schema)["files_sha256"])
    assert digests == bank_digests(folder)
    return load_bank(folder, digests=digests), table.to_pylist()


def activations(mean: float = 3.0) -> torch.Tensor:
    # Off centre, so that a mean over dimensions that is forgotten shows.
    return torch.randn(60, D_IN, generator=torch.Generator().manual_seed(5)) + mean


def assert_same_sae(
    ours: Bank, layer: int, theirs, x: torch.Tensor, theirs_x: torch.Tensor
) -> None:
    sae = ours.select([Site(layer)])
    features = sae.encode(x.unsqueeze(0))[0]
    expected = theirs.encode(theirs_x)
    assert 0.05 < (expected > 0).float().mean() < 0.95
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    decoded = sae.decode(features.unsqueeze(0))[0]
    torch.testing.assert_close(decoded, theirs.decode(expected), atol=1e-5, rtol=1e-5)


def put_res_jb(cache: Path, commit: str = COMMIT, seed: int = 0, d_in: int = D_IN) -> None:
    files: dict[str, bytes] = {}
    for layer in (6, 8):
        files |= res_jb_files(random_weights(d_in, D_SAE, seed + layer), layer)
    put_repo(cache, RES_JB, commit, files)


RES_JB_RELEASED = {"release": "gpt2-small-res-jb", "sae_id": "blocks.{layer}.hook_resid_pre"}


def test_res_jb_reads_plain_activations_as_saelens_reads_centred_ones(sae_lens, cache, tmp_path):
    put_res_jb(cache)
    bank, rows = fetch(dictionary("resid_pre", [8, 6], **RES_JB_RELEASED), GPT2, tmp_path / "bank")
    assert (bank.recipe.architecture, bank.recipe.hook) == ("standard", "resid_pre")
    assert bank.sites == (Site(6), Site(8))
    x = activations()
    for layer in (6, 8):
        theirs = sae_lens.SAE.from_pretrained("gpt2-small-res-jb", f"blocks.{layer}.hook_resid_pre")
        assert theirs.cfg.apply_b_dec_to_input
        assert_same_sae(bank, layer, theirs, x, x - x.mean(1, keepdim=True))
    row = rows[1]
    expected = {
        "layer": 8, "hook": "resid_pre", "release": "gpt2-small-res-jb", "repo": RES_JB,
        "revision": COMMIT, "hook_name": "blocks.8.hook_resid_pre", "model_name": "gpt2-small",
        "other_model": False, "k": None, "centred": True, "scale": None, "prepend_bos": True,
        "context_size": 128, "neuronpedia_id": "gpt2-small/8-res-jb",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert row["l0"] > 10
    assert 0.5 < row["explained_variance"] < 1


def test_families_without_layer_norm_are_not_centred(sae_lens, cache, tmp_path):
    put_res_jb(cache)
    settings = dictionary("resid_pre", [8], **RES_JB_RELEASED)
    shape = ModelShape(None, "llama", LAYERS, D_IN, D_IN)
    bank, rows = fetch(settings, shape, tmp_path / "bank")
    theirs = sae_lens.SAE.from_pretrained("gpt2-small-res-jb", "blocks.8.hook_resid_pre")
    assert_same_sae(bank, 8, theirs, activations(), activations())
    assert (rows[0]["centred"], rows[0]["other_model"]) == (False, None)


def test_gemma_scope(sae_lens, cache, tmp_path):
    from sae_lens.loading.pretrained_sae_loaders import gemma_2_sae_huggingface_loader

    from saeflow.saes.released.loading import _sized_by_weights

    files: dict[str, bytes] = {}
    weights = {}
    for layer, path in CANONICAL.items():
        weights[layer] = random_weights(D_IN, D_SAE, layer, threshold=0.8)
        files |= gemma_scope_files(weights[layer], path)
    put_repo(cache, GEMMA_SCOPE, COMMIT, files)
    release, sae_id = "gemma-scope-9b-pt-res-canonical", "layer_{layer}/width_16k/canonical"
    settings = dictionary("resid_post", [9, 20], release=release, sae_id=sae_id)
    bank, rows = fetch(settings, GEMMA, tmp_path / "bank")
    x = activations(0.2)
    for layer in CANONICAL:
        # SAELens takes the sizes from the folder's name; the tensors here are smaller.
        theirs = sae_lens.SAE.from_pretrained(
            release, f"layer_{layer}/width_16k/canonical",
            converter=_sized_by_weights(gemma_2_sae_huggingface_loader),
        )  # fmt: skip
        assert_same_sae(bank, layer, theirs, x, x)
        for name, value in weights[layer].named().items():
            assert torch.equal(bank.select([Site(layer)]).weights[name][0], value)
    assert [row["l0"] for row in rows] == [100, 68]
    assert [row["path"] for row in rows] == [*CANONICAL.values()]
    assert not rows[0]["centred"]
    assert rows[0]["prepend_bos"]
    assert rows[0]["other_model"] is False


def put_llama_scope(cache: Path, layers: list[int], sublayer: str = "M") -> dict[int, Weights]:
    from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor

    files: dict[str, bytes] = {}
    weights = {}
    for layer in layers:
        scale = get_norm_scaling_factor(f"llama_scope_lx{sublayer.lower()}_8x", f"l{layer}m_8x"
                                        if sublayer == "M" else f"l{layer}r_8x")  # fmt: skip
        drawn = random_weights(D_IN, D_SAE, layer)
        weights[layer] = Weights(drawn.W_enc, drawn.b_enc, drawn.W_dec, drawn.b_dec,
                                 torch.full((D_SAE,), 0.3))  # fmt: skip
        files |= llama_scope_files(weights[layer], layer, scale, sublayer=sublayer)
    put_repo(cache, LLAMA_SCOPE.format(sublayer=sublayer), COMMIT, files)
    return weights


@pytest.mark.parametrize(("sublayer", "hook"), [("M", "mlp_out"), ("R", "resid_post")])
def test_llama_scope_is_in_the_unit_of_activations(sae_lens, cache, tmp_path, sublayer, hook):
    weights = put_llama_scope(cache, [0, 10, 31], sublayer)
    release, sae_id = f"llama_scope_lx{sublayer.lower()}_8x", f"l{{layer}}{sublayer.lower()}_8x"
    settings = dictionary(hook, [0, 10, 31], release=release, sae_id=sae_id)
    bank, rows = fetch(settings, LLAMA, tmp_path / "bank")
    x = activations(0.1)
    for layer, given in weights.items():
        theirs = sae_lens.SAE.from_pretrained(release, sae_id.replace("{layer}", str(layer)))
        assert theirs.cfg.normalize_activations == "none"
        assert_same_sae(bank, layer, theirs, x, x)
        for name, value in given.named().items():
            torch.testing.assert_close(
                bank.select([Site(layer)]).weights[name][0], value, atol=1e-6, rtol=1e-5
            )
    assert [row["l0"] for row in rows] == [50] * 3
    assert rows[0]["scale"] > 1
    assert rows[0]["model_name"] == "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("topk", {"k": 6, "rescale_acts_by_decoder_norm": True}),
        ("topk", {"k": 6}),
        ("jumprelu", {"apply_b_dec_to_input": True}),
        ("standard", {"reshape_activations": "hook_z"}),
        ("standard", {"reshape_activations": "hook_z", "centred": True}),
    ],
)
@pytest.mark.parametrize("by", ["directory", "repository"])
def test_folders_of_saelens(sae_lens, cache, tmp_path, architecture, config, by):
    threshold = 0.5 if architecture == "jumprelu" else None
    weights = random_weights(D_IN, D_SAE, 3, threshold=threshold)
    z = config.get("reshape_activations") == "hook_z"
    place, hook = ("attn.hook_z", "attn_z") if z else ("hook_mlp_out", "mlp_out")
    told = {"hook_name": f"blocks.2.{place}", "model_name": "gpt2", "prepend_bos": False}
    config = dict(config)
    if config.pop("centred", False):
        # Centres what is written to the residual stream, which z is not yet.
        told["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    files = saelens_files(weights, "saes/layer2", architecture, told, **config)
    snapshot = put_repo(cache, "someone/saes", COMMIT, files)
    theirs = sae_lens.SAE.load_from_disk(snapshot / "saes/layer2")
    theirs.save_model(tmp_path / "again")
    for name in ("cfg.json", "sae_weights.safetensors"):
        files[f"saes/layer2/{name}"] = (tmp_path / "again" / name).read_bytes()
    put_repo(cache, "someone/saes", COMMIT, files)
    given = {"path": str(snapshot)} if by == "directory" else {"release": "someone/saes"}
    settings = dictionary(hook, [2], sae_id="saes/layer{layer}", **given)
    bank, rows = fetch(settings, GPT2, tmp_path / "bank")
    x = activations(0.3)
    if z:
        theirs.turn_off_forward_pass_hook_z_reshaping()
    assert_same_sae(bank, 2, theirs, x, x)
    assert (rows[0]["k"], rows[0]["prepend_bos"]) == (config.get("k"), False)
    assert rows[0]["centred"] is False
    assert rows[0]["repo"] == (None if by == "directory" else "someone/saes")
    assert rows[0]["revision"] == (None if by == "directory" else COMMIT)


def test_files_of_a_hub_that_answers(tmp_path, monkeypatch):
    files = {}
    for layer in (6, 8):
        files |= res_jb_files(random_weights(D_IN, D_SAE, layer), layer)
    with running(FakeHub({RES_JB: files})) as hub:
        use(monkeypatch, hub, tmp_path / "hub")
        settings = dictionary("resid_pre", [6, 8], **RES_JB_RELEASED)
        bank, rows = fetch(settings, GPT2, tmp_path / "bank")
        assert [row["revision"] for row in rows] == [HUB_COMMIT] * 2
        assert torch.equal(bank.W_dec[1], random_weights(D_IN, D_SAE, 8).W_dec)
        # Listing a repository of thousands of files takes the hub a while.
        assert hub.listed[RES_JB] == 1
        with pytest.raises(SaeflowError) as error:
            fetch(dictionary("resid_pre", [7], **RES_JB_RELEASED), GPT2, tmp_path / "other")
    check_sentence(error.value, f"{RES_JB}@{HUB_COMMIT} holds no file blocks.7.hook_resid_pre/")


@pytest.mark.parametrize("name", ["transformer.h.2.mlp", "h.2.mlp"])
def test_a_release_may_name_the_module_that_it_reads(cache, tmp_path, name):
    """SAELens trains on any model of transformers, whose hooks are names of modules."""
    told = {"hook_name": name, "model_name": "gpt2"}
    files = saelens_files(random_weights(D_IN, D_SAE, 3), "saes/layer2", "topk", told, k=6)
    snapshot = put_repo(cache, "someone/saes", COMMIT, files)
    config = GPT2Config(n_layer=LAYERS, n_embd=D_IN, n_head=2, vocab_size=40)
    shape = replace(GPT2, config=config)
    fitting = dictionary("mlp_out", [2], sae_id="saes/layer{layer}", path=str(snapshot))
    _, rows = fetch(fitting, shape, tmp_path / "bank")
    assert (rows[0]["hook"], rows[0]["hook_name"]) == ("mlp_out", name)
    other = dictionary("resid_post", [2], sae_id="saes/layer{layer}", path=str(snapshot))
    with pytest.raises(SaeflowError, match="which is mlp_out of layer 2; found hook resid_post"):
        fetch(other, shape, tmp_path / "other")


def test_a_commit_is_read_even_when_the_branch_has_moved(cache, tmp_path):
    put_res_jb(cache, COMMIT, seed=0)
    put_res_jb(cache, OTHER, seed=50)  # main points here now
    pinned = dictionary("resid_pre", [8], revision=COMMIT, **RES_JB_RELEASED)
    old, rows = fetch(pinned, GPT2, tmp_path / "old")
    new, newer = fetch(dictionary("resid_pre", [8], **RES_JB_RELEASED), GPT2, tmp_path / "new")
    assert (rows[0]["revision"], newer[0]["revision"]) == (COMMIT, OTHER)
    assert not torch.equal(old.W_dec, new.W_dec)
    assert torch.equal(old.W_dec[0], random_weights(D_IN, D_SAE, 8).W_dec)


def test_a_copy_of_the_repository_in_a_directory(cache, tmp_path):
    copy = tmp_path / "copy"
    for name, content in res_jb_files(random_weights(D_IN, D_SAE, 8), 8).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    settings = dictionary("resid_pre", [8], path=str(copy), **RES_JB_RELEASED)
    _, rows = fetch(settings, GPT2, tmp_path / "bank")
    assert (rows[0]["repo"], rows[0]["revision"], rows[0]["centred"]) == (None, None, True)


LXM = {"release": "llama_scope_lxm_8x", "sae_id": "l{layer}m_8x"}
INSTRUCT = ModelShape("meta-llama/Llama-3.1-8B-Instruct", "llama", 32, D_IN, D_IN)


def test_another_model_is_read_when_that_is_said(cache, tmp_path):
    put_llama_scope(cache, [10])
    with pytest.raises(SaeflowError, match=r"trained on meta-llama/Llama-3.1-8B, but the model is "
                       r"meta-llama/Llama-3.1-8B-Instruct; .*other_model: true"):  # fmt: skip
        fetch(dictionary("mlp_out", [10], **LXM), INSTRUCT, tmp_path / "refused")
    settings = dictionary("mlp_out", [10], other_model=True, **LXM)
    _, rows = fetch(settings, INSTRUCT, tmp_path / "bank")
    assert rows[0]["other_model"] is True


@pytest.mark.parametrize(
    ("hook", "layers", "released", "shape", "told"),
    [
        ("resid_pre", [8], {"release": "gpt2-small-res-jp"}, GPT2, "did you mean 'gpt2-small-res-jb'"),
        ("resid_pre", [8], {"release": "zzz"}, GPT2, r"it holds \d+, such as"),
        ("resid_pre", [8], {"sae_id": "blocks.{layer}.hook_resid_prae"}, GPT2,
         "gives 'blocks.8.hook_resid_prae', .*did you mean 'blocks.8.hook_resid_pre'"),
        ("resid_post", [8], {}, GPT2, "which is resid_pre of layer 8; found hook resid_post"),
        ("resid_pre", [7], {"sae_id": "blocks.8.hook_resid_pre"}, GPT2, r"expected .*layers: \[8\]"),
        ("resid_pre", [8], {}, ModelShape(None, "gpt2", 12, 64, 64),
         "reads activations of 16 dimensions, but the model has 64"),
        ("resid_pre", [8], {}, ModelShape("EleutherAI/pythia-70m", "gpt_neox", 12, 16, 16),
         "trained on gpt2-small, but the model is EleutherAI/pythia-70m"),
        ("resid_pre", [6, 8], {}, ModelShape(None, "gpt2", 8, 16, 16),
         "layers hold 8, but the model has the layers 0 to 7"),
        ("resid_pre", [7], {}, GPT2, "holds no file blocks.7.hook_resid_pre/cfg.json"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(cache, tmp_path, hook, layers, released, shape, told):
    put_res_jb(cache)
    settings = dictionary(hook, layers, **(RES_JB_RELEASED | released))
    with pytest.raises(SaeflowError, match=told) as error:
        fetch(settings, shape, tmp_path / "bank")
    check_sentence(error.value)
    assert str(error.value).endswith((".", "?"))


@pytest.mark.parametrize(
    ("architecture", "config", "told"),
    [
        (
            "gated",
            {},
            "has the architecture gated; expected one of abstopk, topk, jumprelu, standard",
        ),
        (
            "standard",
            {"normalize_activations": "layer_norm"},
            "by layer_norm, whose factor differs",
        ),
        (
            "standard",
            {"normalize_activations": "constant_norm_rescale"},
            "constant_norm_rescale, who",
        ),
        ("standard", {"normalize_activations": "expected_average_only_in"}, "without a factor"),
        ("nonsense", {}, "cannot be read by SAELens"),
    ],
)
def test_kinds_that_are_not_kept(cache, tmp_path, architecture, config, told):
    weights = random_weights(D_IN, D_SAE, 3)
    files = saelens_files(weights, "layer2", architecture, {}, **config)
    if architecture == "gated":
        from safetensors.torch import save

        gated = {name: weights.b_enc.clone() for name in ("b_gate", "b_mag", "r_mag")}
        named = {name: value for name, value in weights.named().items() if name != "b_enc"}
        files["layer2/sae_weights.safetensors"] = save(named | gated)
    put_repo(cache, "someone/saes", COMMIT, files)
    settings = dictionary("mlp_out", [2], release="someone/saes", sae_id="layer{layer}")
    with pytest.raises(SaeflowError, match=told):
        fetch(settings, GPT2, tmp_path / "bank")


def test_layers_of_several_kinds_are_no_bank(cache, tmp_path):
    files: dict[str, bytes] = {}
    for layer, k in ((1, 5), (2, 7)):
        told = {"hook_name": f"blocks.{layer}.hook_mlp_out"}
        weights = random_weights(D_IN, D_SAE, layer)
        files |= saelens_files(weights, f"layer{layer}", "topk", told, k=k)
    put_repo(cache, "someone/saes", COMMIT, files)
    settings = dictionary("mlp_out", [1, 2], release="someone/saes", sae_id="layer{layer}")
    with pytest.raises(
        SaeflowError, match="layer 2 is topk of k 7 with 40 latents, but that of layer 1"
    ):
        fetch(settings, GPT2, tmp_path / "bank")


def test_saelens_downloads_as_before_when_a_bank_is_fetched(sae_lens, cache, tmp_path):
    from sae_lens.loading import pretrained_sae_loaders as loaders

    before = loaders.hf_hub_download
    put_res_jb(cache)
    fetch(dictionary("resid_pre", [8], **RES_JB_RELEASED), GPT2, tmp_path / "bank")
    assert loaders.hf_hub_download is before


def test_reading_a_bank_does_not_import_saelens():
    told = (
        "import sys, saeflow.saes.encoding, saeflow.saes.tokens, saeflow.config.root; "
        "assert 'sae_lens' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", told], check=True)
