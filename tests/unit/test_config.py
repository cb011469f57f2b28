"""Every sentence of the configuration, and what its blocks resolve to."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from saeflow.config.models import (
    SMALL_MB,
    FreshModel,
    HubModel,
    UntrainedControl,
    is_small,
)
from saeflow.config.root import (
    evaluated_models,
    layer_contradictions,
    named_paths,
    parse_config,
    resolve_model,
)
from saeflow.errors import SaeflowError, nearest
from tests.configs import GONE, changed, default_values, merged, read_yaml
from tests.conftest import ROOT

RUN = "studies.gsm8k.published"
LLAMA = f"{RUN}.models.llama"
OVERLAYS = sorted(
    path
    for path in [*ROOT.glob("tests/config/*.yaml"), *ROOT.glob("workflow/presets/*.yaml")]
    if path.stem != "mixture"
)
FRESH = {"weights": "fresh", "family": "llama"}
MIXTURE = ("reference_models.mixture", "resources/mixture.yaml")
CONTROL = {"of": "llama", "weights": "fresh"}


def sentence_of(values: Any) -> str:
    with pytest.raises(SaeflowError) as caught:
        parse_config(values)
    text = str(caught.value)
    assert "\n" not in text
    assert text
    return text


def test_default_configuration_is_valid() -> None:
    config = parse_config(default_values())
    assert set(config.models) == {"llama", "gpt2", "llama_untrained", "gpt2_untrained"}
    assert set(evaluated_models(config)) == set(config.models)
    assert dict(named_paths(config))["models.gpt2.path"] == "resources/models/gpt2"


def test_studied_models_keep_the_order_of_the_models() -> None:
    # As Snakemake merges an overlay that names the control first.
    values = copy.deepcopy(default_values())
    published = values["studies"]["gsm8k"]["published"]
    published["models"] = dict(reversed(published["models"].items()))
    before = copy.deepcopy(values)
    config = parse_config(values)
    assert list(config.studies.gsm8k.published.models) == list(config.models)
    assert list(published["models"]) == list(before["studies"]["gsm8k"]["published"]["models"])


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_overlay_is_valid_over_the_default(path: Any) -> None:
    parse_config(merged(default_values(), read_yaml(path)))


def test_there_are_overlays_to_check() -> None:
    assert {path.stem for path in OVERLAYS} >= {"smoke", "gsm8k", "gsm8k_test", "gsm8k_train"}


@pytest.mark.parametrize(
    ("change", "key", "meant"),
    [
        ({"dataset": {}}, "dataset", "datasets"),
        ({"compute.thread": 2}, "compute.thread", "threads"),
        ({"models.llama.famly": 1}, "models.llama.famly", "family"),
        ({"models.llama.thoughts": {"latent": 3}}, "models.llama.thoughts.latent", "latents"),
        ({"models.c": {**CONTROL, "sede": 1}}, "models.c.sede", "seed"),
        ({"models.p": {"weights": "path", "pth": "x"}}, "models.p.pth", "path"),
        ({"models.h": {"weights": "hub", "rep": "x"}}, "models.h.rep", "repo"),
        ({"datasets.generated.n_trains": 3}, "datasets.generated.n_trains", "n_train"),
        ({"datasets.generated.subset.knd": "all"}, "datasets.generated.subset.knd", "kind"),
        ({"datasets.p": {"source": "path", "paths": "x"}}, "datasets.p.paths", "path"),
        ({"datasets.h": {"source": "hub", "filee": "x"}}, "datasets.h.filee", "file"),
        (
            {"datasets.h": {"source": "hub", "split": {"sed": 1}}},
            "datasets.h.split.sed",
            "seed",
        ),
        ({"dictionaries.llama_k100.kk": 1}, "dictionaries.llama_k100.kk", "k"),
        (
            {"dictionaries.llama_k100.training": {"epoch": 1}},
            "dictionaries.llama_k100.training.epoch",
            "epochs",
        ),
        ({f"{LLAMA}.seed": 1}, f"{LLAMA}.seed", "seeds"),
        ({f"{RUN}.layer": 1}, f"{RUN}.layer", "layers"),
        ({f"{RUN}.association.minactive": 1}, f"{RUN}.association.minactive", "min_active"),
        ({"studies.gsm9k": {}}, "studies.gsm9k", "gsm8k"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unknown_key_names_the_nearest(change: dict[str, Any], key: str, meant: str) -> None:
    assert sentence_of(changed(change)) == f"{key} is no known key; did you mean {meant!r}?"


def test_unknown_key_without_a_near_one_lists_all() -> None:
    assert sentence_of(changed({"xylophone": 1})).endswith(
        "known are 'compute', 'datasets', 'dictionaries', 'models', 'reference_models', 'studies'."
    )


@pytest.mark.parametrize(
    ("change", "start"),
    [
        ({"models": GONE}, "models is missing; expected "),
        ({"models.llama.family": GONE}, "models.llama.family is missing; expected "),
        ({"models.p": {"weights": "path"}}, "models.p.path is missing; expected "),
        ({"models.h": {"weights": "hub", "repo": "x"}}, "models.h.revision is missing; expected "),
        ({"models.c": {"of": "llama"}}, "models.c.weights is missing; expected "),
        ({"datasets.p": {"source": "path"}}, "datasets.p.path is missing; expected "),
        ({"dictionaries.llama_k100.dataset": GONE}, "dictionaries.llama_k100.dataset is missing"),
        ({f"{LLAMA}.datasets": GONE}, f"{LLAMA}.datasets is missing; expected "),
        ({"models.p": {}}, "models.p.weights is missing; expected one of 'fresh', 'path', 'hub'."),
        (
            {"datasets.p": {}},
            "datasets.p.source is missing; expected one of 'generated', 'balanced', 'path', 'hub', "
            "'mixture', 'text_file', 'text_hub'.",
        ),
    ],
)
def test_missing_key(change: dict[str, Any], start: str) -> None:
    assert sentence_of(changed(change)).startswith(start)


@pytest.mark.parametrize(
    ("change", "start"),
    [
        ({"compute.threads": "two"}, "compute.threads is 'two': expected an integer."),
        ({"compute.threads": 0}, "compute.threads is 0: expected 1 or more."),
        ({"compute": None}, "compute is null: expected a block of settings."),
        ({"compute": []}, "compute is []: expected a block of settings."),
        ({"studies.gsm8k": None}, "studies.gsm8k is null: expected a block of settings."),
        (
            {"studies.gsm8k.calibrated": 3},
            "studies.gsm8k.calibrated is 3: expected a block of settings, or null.",
        ),
        (
            {"reference_models": {"evaluate": 3}},
            "reference_models.evaluate is 3: expected 'all' or a list.",
        ),
        ({"models.p": {"weights": "path", "path": None}}, "models.p.path is null: expected text."),
        ({"models": []}, "models is []: "),
        ({"models": {}}, "models: expected entries, at least 1."),
        ({"models.p": {"weights": "ptah"}}, "models.p.weights is 'ptah'; expected one of 'fresh',"),
        ({"datasets.p": {"source": "pth"}}, "datasets.p.source is 'pth'; expected one of 'gener"),
        ({"datasets.p": [1]}, "datasets.p is [1]: "),
        ({"models.llama.hidden_size": 1.5}, "models.llama.hidden_size is 1.5: "),
        ({"models.llama.dtype": "float8"}, "models.llama.dtype is 'float8': "),
        ({"dictionaries.llama_k100.architecture": "top"}, "dictionaries.llama_k100.architecture"),
        (
            {"datasets.generated.step_weights": [float("nan")] * 4},
            "datasets.generated.step_weights",
        ),
        ({"dictionaries.llama_k100.training": {"learning_rate": float("inf")}}, "dictionaries.l"),
        ({f"{LLAMA}.seeds": 3}, f"{LLAMA}.seeds is 3: "),
        ({f"{LLAMA}.seeds": []}, f"{LLAMA}.seeds is []: "),
        ({f"{RUN}.layers": "al"}, f"{RUN}.layers is 'al': expected 'all' or a list."),
        ({f"{RUN}.layers": ["a"]}, f"{RUN}.layers.0 is 'a': "),
        ({f"{RUN}.layers": None}, f"{RUN}.layers is null: expected 'all' or a list."),
        ({f"{RUN}.association.p_value": 2}, f"{RUN}.association.p_value is 2: "),
        ({"datasets.h": {"source": "hub", "content_sha256": "ab"}}, "datasets.h.content_sha256"),
    ],
)
def test_wrong_type_or_value_names_key_and_value(change: dict[str, Any], start: str) -> None:
    assert sentence_of(changed(change)).startswith(start)


RAW = {"dictionaries.llama_k100.control": "raw_neurons"}
CONTROLS_OF_LLAMA = {
    f"dictionaries.{name}": None
    for name, block in default_values()["dictionaries"].items()
    if block.get("of") == "llama_k100"
}
"""A control has no controls of its own."""


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"dictionaries.llama_k100.k": 513}, ["k is 513, but only 512 latents"]),
        (RAW, ["d_sae is 512, but raw_neurons", "d_sae: null"]),
        (
            {
                **RAW,
                **CONTROLS_OF_LLAMA,
                "dictionaries.llama_k100.d_sae": None,
                "dictionaries.llama_k100.k": 129,
            },
            ["dictionaries.llama_k100.k is 129", "'llama' has 128"],
        ),
        ({"dictionaries.llama_k100.d_sae": None}, ["d_sae is missing"]),
        ({"dictionaries.llama_k100.steps": [0, 0]}, ["steps [0, 0] must be different"]),
        ({"dictionaries.llama_k100.steps": [-1]}, ["not negative"]),
        ({"dictionaries.llama_k100.steps": [7]}, ["steps holds 7", "'llama'", "0 to 6"]),
        ({f"{RUN}.layers": [0, 4]}, [f"{RUN}.layers holds 4", "'llama'", "0 to 3"]),
        ({f"{RUN}.layers": [-1]}, [f"{RUN}.layers holds -1"]),
        ({f"{RUN}.layers": []}, ["no layer is named"]),
        ({f"{RUN}.layers": [1, 1]}, ["names a layer twice"]),
        ({f"{LLAMA}.seeds": [0, 1, 0]}, [f"{LLAMA}.seeds is [0, 1, 0]", "twice"]),
        ({f"{LLAMA}.seeds": [-1]}, ["outside 0 to"]),
        ({f"{LLAMA}.seeds": [2**31]}, ["outside 0 to"]),
        ({f"{LLAMA}.datasets": ["generated"] * 2}, ["names something twice"]),
        ({f"{LLAMA}.datasets": ["generatd"]}, ["'generatd'", "no data set", "mean 'generated'"]),
        ({f"{LLAMA}.dictionaries": ["llama_k10"]}, ["no dictionary", "mean 'llama_k100'"]),
        (
            {f"{RUN}.models.lama": {"datasets": ["generated"], "dictionaries": ["llama_k100"]}},
            [f"{RUN}.models.lama names no model", "mean 'llama'"],
        ),
        ({"dictionaries.llama_k100.dataset": "generate"}, ["no data set", "mean 'generated'"]),
        ({"models.c": {**CONTROL, "of": "lama"}}, ["models.c.of is 'lama'", "mean 'llama'"]),
        ({"models.c": CONTROL, "models.cc": {**CONTROL, "of": "c"}}, ["models.cc.of is 'c'"]),
        ({"models.c": {**CONTROL, "of": "c"}}, ["models.c.of is 'c'"]),
        ({"models.llama.num_attention_heads": 3}, ["hidden_size 128", "num_attention_heads 3"]),
        ({"models.llama.num_key_value_heads": 3}, ["multiple of num_key_value_heads 3"]),
        ({"datasets.generated.n_train": 0}, ["dictionaries.llama_k100", "its n_train is 0"]),
        (
            {"datasets.generated.n_train": 0, "datasets.generated.n_validation": 0},
            ["n_train and n_validation are both 0"],
        ),
        ({"datasets.generated.step_weights": [0, 0, 0, 0]}, ["not all zero"]),
        ({"datasets.generated.subset": {"kind": "first"}}, ["n is missing", "'first'"]),
        ({"datasets.generated.subset": {"kind": "all", "n": 3}}, ["leave n out"]),
        ({"models.a b": FRESH}, ["models.a b is no name"]),
        ({"models/..": FRESH}, ["is no name"]),
        ({"datasets/": {"source": "generated"}}, ["is no name"]),
        ({"dictionaries/" + "x" * 65: {"dataset": "generated"}}, ["dictionaries.xxx"]),
    ],
)
def test_contradiction_is_told_with_its_parts(change: dict[str, Any], parts: list[str]) -> None:
    text = sentence_of(changed(change))
    for part in parts:
        assert part in text


@pytest.mark.parametrize("values", [{}, {1: 2}, {None: {}}, {"models": {7: FRESH}}])
def test_foreign_values_are_told_in_a_sentence(values: Any) -> None:
    sentence_of(values)


def test_newline_in_a_key_stays_one_line() -> None:
    sentence_of(changed({"models/llama/fam\nily": 1}))


def test_null_drops_a_block_and_sources_can_be_exchanged() -> None:
    run = {f"{RUN}.models.gpt2": None, "models.gpt2": None, "dictionaries.gpt2_k150": None}
    for study in ("hierarchy", "decimal_bug", "specialists"):
        run[f"studies.{study}.published.models.gpt2"] = None
    run |= {"dictionaries.gpt2_mlp": None, "dictionaries.gpt2_resid": None}
    config = parse_config(changed({**run, "datasets.x": None}))
    assert set(config.models) == {"llama"}
    texts = {"read_texts", "studied_texts", "documents"}
    assert set(config.datasets) == {"generated", "balanced", *texts}
    assert not any(name.startswith("gpt2") for name in config.dictionaries)  # nor their controls
    assert "no model of the models block" in sentence_of(changed({"models.gpt2": None}))
    hub = changed({"datasets.x": {"source": "hub", "file": "f", "revision": "r", "repo": "o/n"}})
    over = {"datasets": {"x": {"source": "path", "path": "p"}}}
    found = parse_config(merged(hub, over))
    assert list(named_paths(found)) == [("datasets.x.path", "p"), MIXTURE]
    assert list(named_paths(parse_config(hub))) == [MIXTURE]


def test_a_directory_becomes_fresh_weights_by_naming_them() -> None:
    over = {"models": {"llama": FRESH}}
    block = parse_config(merged(default_values(), over)).models["llama"]
    assert isinstance(block, FreshModel)


def test_evaluated_models_must_exist() -> None:
    text = sentence_of(changed({"reference_models.evaluate": ["lama"]}))
    assert "reference_models.evaluate holds 'lama'" in text
    assert "'llama'" in text


def test_all_evaluated_models_are_those_of_every_study() -> None:
    run = {"datasets": ["generated"], "dictionaries": ["llama_k100"]}
    values = default_values()
    values["studies"]["scaling"] = None
    gsm8k, hierarchy = values["studies"]["gsm8k"], values["studies"]["hierarchy"]["published"]
    for study, dictionary in (("decimal_bug", "llama_mlp"), ("specialists", "llama_resid")):
        values["studies"][study]["published"]["models"] = {"llama": {"dictionaries": [dictionary]}}
    gsm8k["published"]["models"] = {"gpt2": {**run, "dictionaries": ["gpt2_k150"]}}
    hierarchy["models"] = {"llama_untrained": run, "llama": run}
    assert evaluated_models(parse_config(values)) == ["llama", "gpt2", "llama_untrained"]
    gsm8k["calibrated"]["models"] = {"gpt2_untrained": {**run, "dictionaries": ["gpt2_k150"]}}
    assert evaluated_models(parse_config(values)) == list(values["models"])
    values["studies"]["hierarchy"] = None
    assert evaluated_models(parse_config(values)) == ["llama", "gpt2", "gpt2_untrained"]
    values["studies"]["decimal_bug"] = None
    assert evaluated_models(parse_config(values)) == ["llama", "gpt2", "gpt2_untrained"]
    values["studies"]["specialists"] = None
    assert evaluated_models(parse_config(values)) == ["gpt2", "gpt2_untrained"]
    values["reference_models"]["evaluate"] = ["llama"]
    assert evaluated_models(parse_config(values)) == ["llama"]


def test_layers_of_one_study_are_not_asked_of_models_that_only_another_reads() -> None:
    small = {"datasets": ["generated"], "dictionaries": ["llama_k100"]}
    shallow = {**FRESH, "num_hidden_layers": 2}
    only = {f"{RUN}.layers": [0, 3], "models.s": shallow}
    config = parse_config(changed({**only, "studies.hierarchy.published.models.s": small}))
    assert list(layer_contradictions(config, "s", 2)) == []
    for studied in (f"{RUN}.models.s", "studies.gsm8k.calibrated.models.s"):
        text = sentence_of(changed({**only, studied: small}))
        assert text == f"{RUN}.layers holds 3, but model 's' has the layers 0 to 1."


def test_limits_themselves_are_allowed() -> None:
    parse_config(changed({"dictionaries.llama_k100.k": 512, f"{RUN}.layers": [0, 3]}))
    raw = {**RAW, **CONTROLS_OF_LLAMA, "dictionaries.llama_k100.d_sae": None}
    parse_config(changed({**raw, "dictionaries.llama_k100.k": 128}))
    parse_config(changed({"dictionaries.llama_k100.steps": [6], f"{LLAMA}.seeds": [2**31 - 1]}))


def test_control_resolves_to_the_block_it_is_of() -> None:
    config = parse_config(changed({"models.c": {**CONTROL, "seed": 5}}))
    settings, control = resolve_model(config, "c")
    assert isinstance(settings, FreshModel)
    assert isinstance(control, UntrainedControl)
    assert (settings, control.seed) == (config.models["llama"], 5)
    assert resolve_model(config, "llama") == (config.models["llama"], None)


def test_analysed_layers_are_checked_against_a_given_number() -> None:
    config = parse_config(changed({f"{RUN}.layers": [0, 3]}))
    assert list(layer_contradictions(config, "llama", 4)) == []
    assert len(list(layer_contradictions(config, "llama", 3))) == 1


def test_named_paths_are_those_of_path_blocks() -> None:
    config = parse_config(
        changed(
            {
                "models.p": {"weights": "path", "path": "some/model"},
                "datasets.p": {"source": "path", "path": "some/file"},
            }
        )
    )
    assert list(named_paths(config)) == [
        ("datasets.p.path", "some/file"),
        MIXTURE,
        ("models.p.path", "some/model"),
    ]


def test_plain_form_validates_again_to_the_same() -> None:
    config = parse_config(default_values())
    plain = config.model_dump(mode="json")
    assert parse_config(json.loads(json.dumps(plain))) == config


def test_nearest_offers_or_lists() -> None:
    assert nearest("lama", ["llama", "gpt2"]) == "; did you mean 'llama'?"
    assert nearest("zzz", ["b", "a"]) == "; known are 'a', 'b'."
    assert nearest("zzz", []) == "; none is known."


def test_small_models_are_those_that_any_machine_holds_twice() -> None:
    config = parse_config(default_values())
    settings = resolve_model(config, "llama")[0]
    assert resolve_model(config, "llama_untrained")[0] == settings
    assert is_small(settings, float(SMALL_MB))
    assert not is_small(settings, SMALL_MB + 1.0)
    fresh = FreshModel(weights="fresh", family="llama")
    assert is_small(fresh, 0.0)
    large = fresh.model_copy(
        update={"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}
    )
    assert not is_small(large, 0.0)
    assert not is_small(HubModel(weights="hub", repo="a/b", revision="c"), 0.0)
