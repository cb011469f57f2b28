import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from saeflow.errors import SaeflowError
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.fixed import fixed_bank
from saeflow.saes.storage import bank_digests, load_bank, save_bank
from tests.unit.test_saes_bank import random_bank, sites_of

NAME = "layer0_step1/sae_weights.safetensors"


@pytest.fixture(scope="module")
def sae_lens():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformer_lens warns of itself
        import sae_lens
    return sae_lens


@pytest.fixture(scope="module")
def saved(sae_lens, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bank") / "seed0"
    save_bank(random_bank("abstopk", k=5, d_in=12, d_sae=20), folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit_config(folder: Path, site: str = "layer0_step1", **changes: object) -> None:
    path = folder / site / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def assert_same(found: Bank, expected: Bank) -> None:
    assert (found.sites, found.recipe) == (expected.sites, expected.recipe)
    for name, each in found.weights.items():
        assert torch.equal(each, expected.weights[name])


ARCHITECTURES = ["abstopk", "topk", "jumprelu", "standard"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sae_lens_reads_ours_and_computes_the_same(sae_lens, tmp_path, architecture):
    bank = random_bank(architecture, k=6, d_in=12, d_sae=20)
    save_bank(bank, tmp_path)
    x = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(0))
    features = bank.encode(x)
    decoded = bank.decode(features)
    for place, site in enumerate(bank.sites):
        theirs = sae_lens.SAE.load_from_disk(tmp_path / site.name)
        assert theirs.cfg.architecture() == architecture
        torch.testing.assert_close(theirs.encode(x[place]), features[place], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(theirs(x[place]), decoded[place], atol=1e-5, rtol=1e-5)
        for name, each in bank.weights.items():
            assert torch.equal(getattr(theirs, name), each[place])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_files_are_those_that_sae_lens_writes(sae_lens, tmp_path, architecture):
    bank = random_bank(architecture, k=6, d_in=12, d_sae=20)
    save_bank(bank, tmp_path)
    for site in bank.sites:
        read = sae_lens.SAE.load_from_disk(tmp_path / site.name)
        read.save_model(tmp_path / "theirs" / site.name)
        for name in ("cfg.json", "sae_weights.safetensors"):
            ours = (tmp_path / site.name / name).read_bytes()
            assert (tmp_path / "theirs" / site.name / name).read_bytes() == ours


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_we_read_what_sae_lens_wrote(sae_lens, tmp_path, architecture):
    sae_class, config_class = {
        "abstopk": (sae_lens.AbsTopKSAE, sae_lens.AbsTopKSAEConfig),
        "topk": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig),
        "jumprelu": (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig),
        "standard": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig),
    }[architecture]
    limited = architecture in ("abstopk", "topk")
    torch.manual_seed(0)
    theirs = []
    for name in ("layer10_step0", "layer2_step3"):
        sizes = {"d_in": 12, "d_sae": 20} | ({"k": 6} if limited else {})
        sae = sae_class(config_class(**sizes, apply_b_dec_to_input=False))
        torch.nn.init.normal_(sae.b_enc)
        torch.nn.init.normal_(sae.b_dec)
        if architecture == "jumprelu":
            torch.nn.init.uniform_(sae.threshold, -0.5, 1.0)
        sae.save_model(tmp_path / name)
        theirs.insert(0, sae)
    bank = load_bank(tmp_path)
    assert bank.sites == (Site(2, 3), Site(10, 0)), "in natural order"
    assert bank.recipe == Recipe(architecture, d_sae=20, k=6 if limited else 20)
    x = torch.randn(2, 40, 12)
    features = bank.encode(x)
    for place, sae in enumerate(theirs):
        torch.testing.assert_close(sae.encode(x[place]), features[place], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            sae(x[place]), bank.decode(features)[place], atol=1e-5, rtol=1e-5
        )


def test_round_trip_and_equal_bytes(saved, tmp_path):
    bank = random_bank("abstopk", k=5, d_in=12, d_sae=20)
    digests = bank_digests(saved)
    names = ("cfg.json", "sae_weights.safetensors")
    assert sorted(digests) == [f"{site.name}/{name}" for site in bank.sites for name in names]
    assert digests[NAME] == hashlib.sha256((saved / NAME).read_bytes()).hexdigest()
    assert_same(load_bank(saved, digests=digests), bank)
    save_bank(bank, tmp_path)
    for path in saved.rglob("*.*"):
        assert (tmp_path / path.relative_to(saved)).read_bytes() == path.read_bytes()


def test_recipe_survives(sae_lens, tmp_path):
    recipe = Recipe("topk", 12, 4, "raw_neurons", epochs=3, batch_size=7, learning_rate=0.25)
    bank = fixed_bank(torch.zeros(2, 1, 12), sites_of(2), recipe, seed=0)
    save_bank(bank, tmp_path)
    assert_same(load_bank(tmp_path), bank)


def test_some_sites_in_the_order_asked_for(saved):
    bank = random_bank("abstopk", k=5, d_in=12, d_sae=20)
    chosen = [bank.sites[2], bank.sites[0]]
    assert_same(load_bank(saved, digests=bank_digests(saved), sites=chosen), bank.select(chosen))


def test_saving_leaves_the_random_state_alone(sae_lens, tmp_path):
    state = torch.get_rng_state()
    save_bank(random_bank("topk", k=5, d_in=12, d_sae=20), tmp_path)
    assert torch.equal(state, torch.get_rng_state())


def test_reading_and_writing_do_not_import_sae_lens(saved, tmp_path):
    code = (
        "import sys; from pathlib import Path; from saeflow.saes import bank, encode, quality, "
        "storage, train; read = storage.load_bank(Path(sys.argv[1])); "
        "storage.save_bank(read, Path(sys.argv[2])); assert 'sae_lens' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(saved), str(tmp_path)], check=True)


def refused(folder: Path, **arguments: object) -> str:
    with pytest.raises(SaeflowError) as caught:
        load_bank(folder, **arguments)
    message = str(caught.value)
    assert message.endswith("."), message
    assert "\n" not in message
    return message


def test_missing_things(copy, tmp_path):
    digests = bank_digests(copy)
    assert "does not exist; expected the folder of a bank" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds no SAE; expected folders such as layer0_step0" in refused(tmp_path / "empty")
    message = refused(copy, sites=[Site(0, 0), Site(7, 7)])
    assert "layer7_step7 does not exist; the bank has layer0_step0, layer0_step1" in message
    (copy / NAME).unlink()
    assert f"{copy / NAME} does not exist" in refused(copy)
    with pytest.raises(SaeflowError, match="does not exist; expected a file of a bank"):
        bank_digests(copy)
    shutil.rmtree(copy / "layer0_step1")
    assert "layer0_step1 does not exist" in refused(copy, digests=digests)
    (copy / "layer0_step0" / "cfg.json").unlink()
    assert "cfg.json does not exist" in refused(copy)


def test_one_flipped_bit_is_found(copy):
    digests = bank_digests(copy)
    content = bytearray((copy / NAME).read_bytes())
    content[-5] ^= 1
    (copy / NAME).write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    message = refused(copy, digests=digests)
    assert f"{copy / NAME} has the sha256 {found}; expected {digests[NAME]}" in message
    assert load_bank(copy, digests=digests, sites=[Site(0, 2)]).sites == (Site(0, 2),)


def test_a_file_without_a_checksum_is_refused(copy):
    digests = bank_digests(copy)
    del digests[NAME]
    assert f"{copy / NAME} is none of the 5 files of its bank" in refused(copy, digests=digests)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncated_weights(copy, length):
    (copy / NAME).write_bytes((copy / NAME).read_bytes()[:length])
    assert f"{copy / NAME} is damaged" in refused(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "gated"}, "names the architecture 'gated'; expected one of 'abst"),
        ({"architecture": "standard"}, "describes another SAE than"),
        ({"architecture": "jumprelu"}, "W_enc [12, 20], b_dec [12], b_enc [20], threshold [20]"),
        ({"architecture": None}, "names the architecture None"),
        ({"apply_b_dec_to_input": True}, "has apply_b_dec_to_input = True; expected False"),
        ({"rescale_acts_by_decoder_norm": True}, "has rescale_acts_by_decoder_norm = True"),
        ({"normalize_activations": "layer_norm"}, "has normalize_activations = 'layer_norm'"),
        ({"reshape_activations": "hook_z"}, "has reshape_activations = 'hook_z'"),
        ({"d_sae": 21}, "b_enc [20]; expected W_dec [21, 12], W_enc [12, 21]"),
        ({"k": 21}, "cannot be used: k is 21, but there are 20 latents"),
        ({"k": 6}, "describes another SAE than"),
        ({"k": "many"}, "cannot be read (ValueError"),
        ({"d_in": None}, "cannot be read (TypeError"),
        ({"metadata": None}, None),
        ({"metadata": []}, None),
    ],
)
def test_configurations(copy, change, message):
    edit_config(copy, **change)
    if message is None:
        assert load_bank(copy).sites[1] == Site(0, 1)
        return
    found = refused(copy)
    assert str(copy / "layer0_step1") in found
    assert message in found


@pytest.mark.parametrize("text", ["", "{", "[]", '"abstopk"', "{}"])
def test_unreadable_configurations(copy, text):
    (copy / "layer0_step0" / "cfg.json").write_text(text)
    assert "layer0_step0/cfg.json cannot be read" in refused(copy)


def test_a_default_of_sae_lens_counts_where_the_entry_is_missing(copy):
    path = copy / "layer0_step0" / "cfg.json"
    config = json.loads(path.read_text())
    del config["apply_b_dec_to_input"]
    path.write_text(json.dumps(config))
    assert "has apply_b_dec_to_input = True; expected False" in refused(copy)
