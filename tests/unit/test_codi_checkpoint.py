"""CODI checkpoints: what is converted gives what the trained wrapper gives, to the last answer."""

from __future__ import annotations

import copy
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from saeflow.cli import main
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.codi_checkpoint import convert_checkpoint
from saeflow.models.codi_parts import known_config
from saeflow.models.directories import load_directory
from saeflow.models.repository_files import MissingWeightsError
from saeflow.models.tokenizer import byte_tokenizer
from tests.lookalikes.codi import (
    Family,
    Form,
    Run,
    Sizes,
    Wrapper,
    base_files,
    base_model,
    base_tokenizer,
    checkpoint_files,
    make_wrapper,
    run_wrapper,
    state_of,
    tokenizer_files,
    weight_files,
    write_files,
)
from tests.sentences import check_sentence

pytestmark = pytest.mark.usefixtures("one_thread")
FAMILIES = ("gpt2", "llama")
FORMS = ("safetensors", "bin")
QUESTIONS = ("There are 3 boxes.  How many apples? ", "12+7?", " ünï \n each lays 2 eggs a day.")
EMBEDDINGS = {"gpt2": "transformer.wte.weight", "llama": "model.embed_tokens.weight"}
INNER = "codi.base_model.model."


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def wrapper(family: Family) -> Wrapper:
    return make_wrapper(family)


@pytest.fixture(scope="module")
def expected(wrapper: Wrapper) -> list[Run]:
    """What the original gives; in float32, as the conversion keeps the sum of both parts."""
    exact = copy.deepcopy(wrapper).float()
    return [run_wrapper(exact, question) for question in QUESTIONS]


@pytest.fixture
def base(family: Family, tmp_path: Path) -> Path:
    return write_files(base_files(family, weights=False), tmp_path / "base")


def converted(checkpoint: Path, tmp_path: Path, base: Path | None, **options: Any) -> CodiModel:
    convert_checkpoint(checkpoint, tmp_path / "out", base=base, **options)
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out"]
    return load_directory(tmp_path / "out", "float32", "r")


def largest_difference(model: CodiModel, expected: list[Run]) -> tuple[float, bool]:
    """Of hidden states of s0 … s6 and of logits, as a share of the largest; whether answers agree."""
    found, same = 0.0, True
    for question, run in zip(QUESTIONS, expected, strict=True):
        thoughts = model.think([question], latents=6, max_new_tokens=8)
        steps = thoughts.activations["final_norm"][0, :, -1]
        assert steps.shape == run.steps.shape
        logits = answer_logits(model, question, len(run.logits))
        for ours, theirs in ((steps, run.steps), (logits, run.logits)):
            found = max(found, float((ours - theirs).abs().max() / theirs.abs().max()))
        same = same and thoughts.answers == [run.answer]
    return found, same


@torch.no_grad()
def answer_logits(model: CodiModel, question: str, count: int) -> Tensor:
    """Logits behind the thoughts, the last columns included, read with our reader."""
    reader, _ = model.read_thoughts([question], latents=6, further=count)
    network, rows = model.language_model, []
    token = model.tokens.end
    for _ in range(count):
        embedded = network.get_input_embeddings()(torch.tensor([[token]]))
        rows.append(network.get_output_embeddings()(reader.read(embedded).last_hidden_state[:, -1]))
        token = int(rows[-1][0, : model.tokens.end].argmax())
    return torch.cat(rows)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_thinks_and_answers_as_the_wrapper(
    form: Form, shards: int, wrapper: Wrapper, expected: list[Run], base: Path, tmp_path: Path
) -> None:
    files = weight_files(state_of(wrapper), form, shards=shards)
    model = converted(write_files(files, tmp_path / "checkpoint"), tmp_path, base)
    difference, same = largest_difference(model, expected)
    assert difference < 1e-5
    assert same
    vocabulary = wrapper.codi.config.vocab_size - 3
    assert model.tokens.pad == wrapper.pad == vocabulary == len(wrapper.tokenizer)
    assert (model.tokens.begin, model.tokens.end) == (wrapper.bot, wrapper.eot)
    for question in QUESTIONS:
        ids = wrapper.tokenizer(question)["input_ids"]
        assert model.tokenizer(question)["input_ids"] == ids


@pytest.mark.parametrize("alpha", [16, 31])
def test_oracle_sees_a_wrong_alpha(
    alpha: int, wrapper: Wrapper, expected: list[Run], base: Path, tmp_path: Path
) -> None:
    checkpoint = write_files(weight_files(state_of(wrapper), "bin"), tmp_path / "checkpoint")
    difference, _ = largest_difference(converted(checkpoint, tmp_path, base, alpha=alpha), expected)
    assert difference > 1e-3


def test_answers_of_the_wrapper_tell_models_apart(expected: list[Run]) -> None:
    assert len({run.answer for run in expected}) == len(QUESTIONS)
    assert all(run.answer for run in expected)


def test_head_that_differs_wins_as_in_the_original(
    family: Family, wrapper: Wrapper, base: Path, tmp_path: Path
) -> None:
    state = state_of(wrapper)
    state[f"{INNER}lm_head.weight"] += 0.25
    original = copy.deepcopy(wrapper).float()
    original.load_state_dict(state, strict=False)
    original.codi.tie_weights()
    runs = [run_wrapper(original, question) for question in QUESTIONS]
    model = converted(write_files(weight_files(state, "bin"), tmp_path / "c"), tmp_path, base)
    assert largest_difference(model, runs)[0] < 1e-5
    assert torch.equal(
        model.language_model.get_input_embeddings().weight, state[f"{INNER}lm_head.weight"].float()
    )


def test_folder_with_all_in_it_needs_no_base(
    family: Family, expected: list[Run], tmp_path: Path
) -> None:
    files = checkpoint_files(family, form="safetensors", tokenizer=True, config=True)
    model = converted(write_files(files, tmp_path / "checkpoint"), tmp_path, None)
    assert largest_difference(model, expected)[0] < 1e-5


def test_configuration_that_is_resized_already(
    wrapper: Wrapper, expected: list[Run], tmp_path: Path
) -> None:
    files = weight_files(state_of(wrapper), "bin") | tokenizer_files(wrapper.tokenizer)
    files["config.json"] = wrapper.codi.config.to_json_string(use_diff=False).encode()
    model = converted(write_files(files, tmp_path / "checkpoint"), tmp_path, None)
    assert largest_difference(model, expected)[0] < 1e-5
    assert model.tokens.pad == wrapper.pad


def test_tokenizer_that_got_its_padding_token(
    wrapper: Wrapper, expected: list[Run], base: Path, tmp_path: Path
) -> None:
    padded = copy.deepcopy(wrapper.tokenizer)
    padded.add_special_tokens({"pad_token": "[PAD]"})
    assert padded.pad_token_id == wrapper.pad
    files = weight_files(state_of(wrapper), "bin") | tokenizer_files(padded)
    model = converted(write_files(files, tmp_path / "checkpoint"), tmp_path, base)
    difference, same = largest_difference(model, expected)
    assert difference < 1e-5
    assert same


def test_weights_of_the_base_where_the_checkpoint_has_none(
    family: Family, wrapper: Wrapper, expected: list[Run], tmp_path: Path
) -> None:
    kept = {
        name: tensor
        for name, tensor in state_of(wrapper).items()
        if ".lora_" in name or name.startswith("prj.") or EMBEDDINGS[family] in name
    }
    checkpoint = write_files(weight_files(kept, "bin"), tmp_path / "checkpoint")
    base = write_files(base_files(family), tmp_path / "base")
    assert largest_difference(converted(checkpoint, tmp_path, base), expected)[0] < 1e-5
    shutil.rmtree(tmp_path / "out")
    (base / "model.safetensors").write_bytes(b"short")
    assert "those in" in refused(checkpoint, tmp_path, base)
    (base / "model.safetensors").unlink()
    with pytest.raises(MissingWeightsError) as caught:
        convert_checkpoint(checkpoint, tmp_path / "out", base=base)
    check_sentence(caught.value, f"no weights of the base model, and {base} lacks weights (model.")
    assert "name its base" in refused(
        write_files(tokenizer_files(wrapper.tokenizer)
                    | {"config.json": (base / "config.json").read_bytes()}, checkpoint),
        tmp_path, None)  # fmt: skip


def test_constants_of_older_releases_are_left_out(
    wrapper: Wrapper, expected: list[Run], base: Path, tmp_path: Path
) -> None:
    state = state_of(wrapper)
    gpt2 = f"{INNER}transformer.h.0.attn."
    state |= {f"{gpt2}bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
              f"{gpt2}masked_bias": torch.tensor(-1e4),
              f"{INNER}model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}  # fmt: skip
    model = converted(write_files(weight_files(state, "bin"), tmp_path / "c"), tmp_path, base)
    assert largest_difference(model, expected)[0] < 1e-5


def test_same_bytes_from_another_place(wrapper: Wrapper, family: Family, tmp_path: Path) -> None:
    found = []
    for place, form in (("one", "bin"), ("two", "safetensors")):
        at = tmp_path / place
        checkpoint = write_files(weight_files(state_of(wrapper), form), at / f"{place}-c")  # type: ignore[arg-type]
        base = write_files(base_files(family, weights=False), at / f"{place}-b")
        convert_checkpoint(checkpoint, at / "out", base=base)
        found.append({p.name: p.read_bytes() for p in (at / "out").iterdir()})
    assert found[0] == found[1]
    assert {"codi.json", "model.safetensors", "codi_projection.safetensors"} <= set(found[0])


def test_global_random_state_is_left_alone(wrapper: Wrapper, base: Path, tmp_path: Path) -> None:
    checkpoint = write_files(weight_files(state_of(wrapper), "bin"), tmp_path / "checkpoint")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    convert_checkpoint(checkpoint, tmp_path / "out", base=base)
    assert torch.equal(torch.get_rng_state(), before)


def test_published_configurations() -> None:
    with torch.device("meta"):
        from transformers import AutoModelForCausalLM

        counts = {
            family: sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
            for family, config in ((each, known_config(each)) for each in FAMILIES)
        }
    assert counts == {"gpt2": 124_439_808, "llama": 1_235_814_400}


def refused(checkpoint: Path, tmp_path: Path, base: Path | None, **options: Any) -> str:
    """The one sentence of a conversion that fails; nothing is left behind."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SaeflowError) as caught:
        convert_checkpoint(checkpoint, tmp_path / "out", base=base, **options)
    assert sorted(tmp_path.iterdir()) == before
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 500
    return text


Change = Callable[[dict[str, Tensor]], None]
LAYER = {"gpt2": f"{INNER}transformer.h.1.attn.c_attn.",
         "llama": f"{INNER}model.layers.1.self_attn.q_proj."}  # fmt: skip


def drop(pattern: str) -> Change:
    def change(state: dict[str, Tensor]) -> None:
        names = [name for name in state if re.search(pattern, name)]
        assert names
        for name in names:
            del state[name]

    return change


def put(pattern: str, make: Callable[[Tensor], Tensor]) -> Change:
    def change(state: dict[str, Tensor]) -> None:
        names = [name for name in state if re.search(pattern, name)]
        assert names
        for name in names:
            state[name] = make(state[name])

    return change


def at_first(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[0] = value
        return tensor

    return change


EMBEDDED = r"wte|embed_tokens|lm_head"
FIRST = r"\.1\.\S*(c_attn|q_proj)\."


def rename(pattern: str, change: Callable[[str], str], *, keep: bool = True) -> Change:
    def changed(state: dict[str, Tensor]) -> None:
        names = [name for name in state if re.search(pattern, name)]
        assert names
        for name in names:
            state[change(name)] = state[name].clone() if keep else state.pop(name)

    return changed


MALFORMED: dict[str, tuple[Change, str]] = {
    "no projection": (drop(r"^prj\."), r"holds no prj\.1\.weight"),
    "no norm of the projection": (drop(r"^prj\.ln"), r"lacks 2 tensors, such as prj\.ln\.bias"),
    "no second layer of the projection": (drop(r"^prj\.3\.w"), r"lacks 1 .* prj\.3\.weight"),
    "projection of another width": (
        put(r"^prj\.3\.w", lambda t: t[:-1]),
        r"prj\.3\.weight has the shape \(15, 12\); expected \(16, 12\)",
    ),
    "no LoRA": (drop("lora_"), "holds no LoRA matrices"),
    "one LoRA matrix missing": (drop(FIRST + "lora_B"), r"lacks 1 tensors, such as codi\..*lora_B"),
    "another rank in one matrix": (
        put(FIRST + "lora_A", lambda t: t[:-1]),
        "expected one rank of LoRA",
    ),
    "ranks of A and B differ": (
        put("lora_A", lambda t: t[:-1]),
        r"has the shape \(\d+, 4\); expected \(\d+, 3\)",
    ),
    "LoRA transposed": (put("lora_A", lambda t: t.T), "expected one rank of LoRA|has the shape"),
    "one base weight missing": (
        drop(FIRST + "base_layer.w"),
        r"lacks 1 tensors, such as codi\..*base_layer\.weight",
    ),
    "a final norm missing": (drop(r"ln_f|model\.norm"), r"lacks . tensors, such as codi\."),
    "no embeddings": (drop(EMBEDDED), "holds no embeddings"),
    "embeddings not resized": (
        put(EMBEDDED, lambda t: t[:-3]),
        r"holds \d+ embeddings; expected \d+, the base's",
    ),
    "embeddings of another width": (put(EMBEDDED, lambda t: t[:, 1:]), "has the shape"),
    "embeddings and head of two sizes": (
        put("lm_head", lambda t: t[:-1]),
        "embeddings have the shapes",
    ),
    "not a number": (put(FIRST + "base_layer.w", at_first(float("nan"))), "no finite"),
    "infinite": (put("lora_A", at_first(float("inf"))), "no finite"),
    "not a number in the projection": (
        put("^prj.1.b", at_first(float("nan"))),
        r"prj\.1\.bias holds values",
    ),
    "whole numbers": (put(r"^prj\.ln\.w", lambda t: t.long()), "no finite floating-point"),
    "another layer": (
        rename(FIRST + "base_layer.w", lambda name: name.replace(".1.", ".9.")),
        r"holds unexpected 1 tensors, such as codi\..*\.9\.",
    ),
    "a foreign tensor": (
        lambda state: state.update({"optimizer.step": torch.ones(1)}),
        r"unexpected tensors, such as optimizer\.step",
    ),
    "another adapter": (
        rename("lora_A", lambda name: name.replace("default", "second")),
        "holds unexpected",
    ),
    "names without the wrapper": (
        rename("^codi", lambda name: name.removeprefix("codi."), keep=False),
        "is no CODI checkpoint",
    ),
    "nothing": (lambda state: state.clear(), "is no CODI checkpoint"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_state_is_told_in_one_sentence(
    case: str, form: Form, wrapper: Wrapper, base: Path, tmp_path: Path
) -> None:
    if case == "embeddings and head of two sizes" and form == "safetensors":
        pytest.skip("safetensors hold one of the two")
    change, expected = MALFORMED[case]
    state = state_of(wrapper)
    change(state)
    checkpoint = write_files(weight_files(state, form), tmp_path / "checkpoint")
    assert re.search(expected, refused(checkpoint, tmp_path, base))


class Harmful:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_code_in_a_pickle_is_not_run(wrapper: Wrapper, base: Path, tmp_path: Path) -> None:
    for protocol in ({}, {"_use_new_zipfile_serialization": False}):
        harmful = {**state_of(wrapper), "codi.extra": Harmful(tmp_path / "touched")}
        (tmp_path / "checkpoint").mkdir(exist_ok=True)
        torch.save(harmful, tmp_path / "checkpoint" / "pytorch_model.bin", **protocol)
        assert "could run code" in refused(tmp_path / "checkpoint", tmp_path, base)
    assert not (tmp_path / "touched").exists()
    # What would be run is real.
    torch.load(tmp_path / "checkpoint" / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize("value", [[1, 2], {"state": {"a": torch.ones(1)}}, {3: torch.ones(1)}, 7])
def test_pickle_of_something_else(value: Any, base: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    torch.save(value, tmp_path / "checkpoint" / "pytorch_model.bin")
    assert "expected a state dict" in refused(tmp_path / "checkpoint", tmp_path, base)


def test_file_of_an_older_torch(
    wrapper: Wrapper, expected: list[Run], base: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoint").mkdir()
    path = tmp_path / "checkpoint" / "pytorch_model.bin"
    torch.save(state_of(wrapper), path, _use_new_zipfile_serialization=False)
    model = converted(tmp_path / "checkpoint", tmp_path, base)
    assert largest_difference(model, expected)[0] < 1e-5


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_damaged_file(form: Form, wrapper: Wrapper, data: Any) -> None:
    (name, content), = weight_files(state_of(wrapper), form).items()  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        base = write_files(
            base_files(wrapper.codi.config.model_type, weights=False), place / "base"
        )
        cut = data.draw(st.integers(0, len(content) - 1), label="length")
        checkpoint = write_files({name: content[:cut]}, place / "checkpoint")
        assert "fetch it again" in refused(checkpoint, place, base)


@pytest.mark.parametrize("form", FORMS)
def test_damaged_shards(form: Form, wrapper: Wrapper, base: Path, tmp_path: Path) -> None:
    files = weight_files(state_of(wrapper), form, shards=3)
    (index,) = (name for name in files if name.endswith(".json"))
    first, second, _ = sorted(name for name in files if name != index)
    for change, expected in (
        ({first: None}, "is missing"),
        ({first: files[second]}, "its shards lack"),
        ({index: b"{"}, "is malformed"),
        ({index: b"[]"}, "is malformed"),
        ({index: b'{"weight_map": {}}'}, "is malformed"),
        ({index: b'{"weight_map": {"a": "../x.bin"}}'}, "is malformed"),
        ({index: b'{"weight_map": {"a": 3}}'}, "is malformed"),
    ):
        kept = {name: content for name, content in (files | change).items() if content is not None}
        checkpoint = write_files(kept, tmp_path / "checkpoint")
        assert expected in refused(checkpoint, tmp_path, base)
        shutil.rmtree(checkpoint)


def test_base_and_tokenizer_that_do_not_fit(
    family: Family, wrapper: Wrapper, base: Path, tmp_path: Path
) -> None:
    checkpoint = write_files(weight_files(state_of(wrapper), "bin"), tmp_path / "checkpoint")
    other = "llama" if family == "gpt2" else "gpt2"
    (tmp_path / "empty").mkdir()
    write_files(base_files(other, weights=False), tmp_path / "other")
    bare = write_files(base_files(family, weights=False), tmp_path / "bare")
    for path in bare.glob("tokenizer*"):
        path.unlink()
    for given_base, expected in (
        (None, r"its base is not (openai|meta)"),
        (tmp_path / "absent", "is no directory"),
        (tmp_path / "empty", r"its base is not (openai|meta)"),
        (tmp_path / "other", f"names the family '{other}'"),
        (bare, r"hold no tokenizer .* HF_TOKEN"),
    ):
        assert re.search(expected, refused(checkpoint, tmp_path, given_base))
    wider = write_files(base_files(family, Sizes(hidden=32), weights=False), tmp_path / "wider")
    assert "has the shape" in refused(checkpoint, tmp_path, wider)
    write_files(tokenizer_files(base_tokenizer(family, 1390)), base)
    assert "the tokenizer has 1390 tokens" in refused(checkpoint, tmp_path, base)
    write_files({"tokenizer.json": b"{"}, base)
    assert "no readable tokenizer" in refused(checkpoint, tmp_path, base)
    (base / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(checkpoint, tmp_path, base)


def test_settings_of_lora_are_checked(wrapper: Wrapper, base: Path, tmp_path: Path) -> None:
    checkpoint = write_files(weight_files(state_of(wrapper), "bin"), tmp_path / "checkpoint")
    place = checkpoint / "adapter_config.json"
    for text, expected in (
        ('{"r": 8}', "r 8; expected 4"),
        ('{"lora_alpha": 16}', "lora_alpha 16; expected 32"),
        ('{"use_dora": true}', "use_dora True"),
        ("{", "cannot be read"),
        ("3", "cannot be read"),
    ):
        place.write_text(text)
        assert expected in refused(checkpoint, tmp_path, base)
    place.write_text('{"lora_alpha": 32, "r": 4}')
    assert "alpha is 0" in refused(checkpoint, tmp_path, base, alpha=0)
    convert_checkpoint(checkpoint, tmp_path / "out", base=base)


def test_a_merge_that_changes_the_model_is_not_written(
    wrapper: Wrapper, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import LoraLayer

    checkpoint = write_files(weight_files(state_of(wrapper), "bin"), tmp_path / "checkpoint")
    for scaled in (0.0, 0.5, float("nan")):
        with monkeypatch.context() as patch:
            for kind in LoraLayer.__subclasses__():
                if "get_delta_weight" in vars(kind):
                    of = kind.get_delta_weight
                    patch.setattr(kind, "get_delta_weight",
                                  lambda self, name, of=of, by=scaled: of(self, name) * by)  # fmt: skip
            assert "merging LoRA changed logits" in refused(checkpoint, tmp_path, base)


def test_a_full_folder_is_not_overwritten(wrapper: Wrapper, base: Path, tmp_path: Path) -> None:
    checkpoint = write_files(weight_files(state_of(wrapper), "bin"), tmp_path / "checkpoint")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    assert "is not empty" in refused(checkpoint, tmp_path, base)
    with pytest.raises(SaeflowError, match="is not empty"):
        convert_checkpoint(checkpoint, checkpoint, base=base)
    (tmp_path / "out" / "thesis.tex").unlink()
    assert "no directory" in refused(tmp_path / "absent", tmp_path, base)
    assert "holds no weights" in refused(base, tmp_path, base)
    convert_checkpoint(checkpoint, tmp_path / "out", base=base)


@pytest.mark.parametrize("option", [[], ["--base"]])
def test_command_line(
    option: list[str], family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = not option
    files = checkpoint_files(family, tokenizer=alone, config=alone)
    checkpoint = write_files(files, tmp_path / "checkpoint")
    base = write_files(base_files(family, weights=False), tmp_path / "base")
    options = [*option, str(base)] if option else []
    command = ["convert-codi", str(checkpoint), str(tmp_path / "out"), *options]
    assert main([*command, "--alpha", "-1"]) == 1
    assert "alpha is -1" in capsys.readouterr().err
    assert main(command) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    load_directory(tmp_path / "out", "float32", "r")
    capsys.readouterr()
    assert main(command) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'out'} is not empty")


@pytest.mark.slow
@pytest.mark.skipif("SAEFLOW_SOAK" not in os.environ, reason="half a minute and 2 GB")
def test_released_sizes_of_gpt2(tmp_path: Path) -> None:
    config = known_config("gpt2")
    sizes = Sizes(hidden=768, layers=12, heads=12, positions=1024, projection=768, rank=128)
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<{number}>" for number in range(config.vocab_size - len(tokenizer))])
    wrapper = Wrapper(base_model("gpt2", sizes, tokenizer, seed=0), tokenizer, sizes, seed=1)
    trained = sum(p.numel() for p in wrapper.parameters() if p.requires_grad)
    assert trained == 20_057_088  # methods/0, section 1.1
    files = weight_files(state_of(wrapper), "bin")
    # The released file's size: a base in bfloat16, LoRA in float32, the head stored apart.
    assert round(len(files["pytorch_model.bin"]) / 2**20) == 388
    checkpoint = write_files(files | tokenizer_files(tokenizer), tmp_path / "checkpoint")
    model = converted(checkpoint, tmp_path, None)
    exact = wrapper.float()
    runs = [run_wrapper(exact, question) for question in QUESTIONS]
    assert largest_difference(model, runs)[0] < 1e-4
