"""Which data sets and dictionaries fit together: thoughts about problems, tokens of texts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from saeflow.config.dictionaries import DictionarySettings, DictionarySpec
from saeflow.config.root import (
    Config,
    holds_texts,
    named_paths,
    parse_config,
    resolve_dictionary,
)
from saeflow.config.token_banks import (
    captured_hooks,
    token_bank_contradictions,
    token_dictionaries,
)
from saeflow.errors import SaeflowError
from saeflow.preflight import check_paths, input_files
from tests.configs import changed
from tests.conftest import ROOT
from tests.sentences import check_sentence

RUN = "studies.gsm8k.published.models.llama"
TOKENS: dict[str, Any] = {
    "datasets.texts": {"source": "mixture", "parts": ["decimals", "pairs"]},
    "dictionaries.mlp": {"dataset": "texts", "hook": "mlp_out", "d_sae": 64, "k": 8},
    "studies.scaling": None,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"dictionaries.mlp.hook": None},
            "dictionaries.mlp.dataset is 'texts', which holds texts; expected problems to think "
            "about, or a hook at which tokens of texts are read.",
        ),
        (
            {"dictionaries.mlp.dataset": "generated"},
            "dictionaries.mlp.hook is 'mlp_out', at which tokens of texts are read, but the data "
            "set 'generated' holds problems; expected one of texts, or hook: null.",
        ),
        (
            {f"{RUN}.datasets": ["generated", "texts"]},
            f"{RUN}.datasets holds 'texts', which holds texts; expected problems.",
        ),
        (
            {f"{RUN}.dictionaries": ["llama_k100", "mlp"]},
            f"{RUN}.dictionaries holds 'mlp', whose SAEs read tokens of texts (hook: mlp_out); "
            "expected one of latent thoughts.",
        ),
        (
            {"studies.hierarchy.published.models.llama.dictionaries": ["mlp"]},
            "studies.hierarchy.published.models.llama.dictionaries holds 'mlp', whose SAEs read "
            "tokens of texts (hook: mlp_out); expected one of latent thoughts.",
        ),
        (
            {"dictionaries.mlp.steps": [3]},
            "dictionaries.mlp: steps is [3], but hook 'mlp_out' reads tokens of texts, which are no "
            "thoughts; leave it out.",
        ),
        (
            {"dictionaries.mlp.layer_convention": "hidden_states_after"},
            "dictionaries.mlp: layer_convention is 'hidden_states_after', but hook 'mlp_out' reads "
            "tokens of texts, which are no thoughts; leave it out.",
        ),
        (
            {"dictionaries.mlp.hook": "mlp"},
            "dictionaries.mlp.hook is 'mlp': expected 'resid_post', 'resid_pre', "
            "'mlp_out', 'attn_out' or 'attn_z', or null.",
        ),
        (
            {"dictionaries.p": {"of": "mlp", "control": "pca", "hook": "mlp_out"}},
            "dictionaries.p: hook is given, but a control shares it with the dictionary that it is "
            "of; leave it out.",
        ),
        ({"datasets.texts.parts": []}, "datasets.texts.parts is []: expected entries, at least 1."),
        (
            {"datasets.texts.parts": ["pairs", "pairs"]},
            "datasets.texts: parts ['pairs', 'pairs'] names something twice.",
        ),
        (
            {"datasets.texts.n_texts": 3},
            "datasets.texts.n_texts is no known key; known are 'n_train', 'n_validation', 'parts', "
            "'seed', 'source'.",
        ),
        (
            {"datasets.f": {"source": "text_file"}},
            "datasets.f.path is missing; expected json lines or parquet with a column of texts, or "
            "plain text with one text per line (.jsonl, .parquet, .txt",
        ),
        (
            {"datasets.f": {"source": "text_file", "path": 3}},
            "datasets.f.path is 3: expected text or a list.",
        ),
        (
            {"datasets.f": {"source": "text_file", "path": ["a.txt", ""]}},
            "datasets.f.path.1 is '': expected text that is not empty.",
        ),
        (
            {
                "datasets.f": {
                    "source": "text_hub",
                    "repo": "a/b",
                    "revision": "main",
                    "files": ["x"],
                }
            },
            "datasets.f.revision is 'main': expected text of the form ^[0-9a-f]{40}$.",
        ),
        (
            {"studies.hierarchy.calibrated.balanced": "texts"},
            "studies.hierarchy.calibrated.balanced is 'texts', which is no data set with source: "
            "balanced",
        ),
        (
            {"studies.gsm8k.calibrated.capacity.datasets": ["texts"]},
            "studies.gsm8k.calibrated.capacity.datasets holds 'texts', which has not both train and "
            "validation problems",
        ),
    ],
)
def test_mismatch_is_told(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SaeflowError) as caught:
        check_paths(parse_config(changed({**copy.deepcopy(TOKENS), **changes})), ROOT)
    check_sentence(caught.value)
    assert str(caught.value).startswith(expected)


def test_texts_and_tokens_are_found_by_name() -> None:
    more = {
        "datasets.mine": {"source": "text_file", "path": "mine.jsonl"},
        "dictionaries.block": {"dataset": "texts", "hook": "resid_post"},
        "dictionaries.attention": {"dataset": "mine", "hook": "attn_out"},
        "dictionaries.pca": {"of": "mlp", "control": "pca"},
    }
    config = parse_config(changed({**copy.deepcopy(TOKENS), **more}))
    texts = [name for name in config.datasets if holds_texts(config, name)]
    assert texts == ["read_texts", "studied_texts", "documents", "texts", "mine"]
    tokens = ["llama_mlp", "gpt2_mlp", "llama_resid", "gpt2_resid"]
    tokens += ["llama_wide", "llama_wide_frozen_decoder", "llama_wide_published"]
    tokens += ["mlp", "block", "attention", "pca"]
    assert token_dictionaries(config) == tokens
    assert resolve_dictionary(config, "pca").hook == "mlp_out"
    assert captured_hooks(config, "texts") == ["mlp_out", "resid_post"]
    assert captured_hooks(config, "mine") == ["attn_out"]
    assert captured_hooks(config, "generated") == []
    assert dict(named_paths(config))["datasets.mine.path"] == "mine.jsonl"
    assert [path.split("/")[-1] for path in input_files(config.datasets["mine"], ROOT)] == [
        "mine.jsonl"
    ]
    assert input_files(config.datasets["texts"], ROOT) == []


def test_recipe_of_tokens_survives_its_way_to_a_job() -> None:
    block = DictionarySettings.model_validate(TOKENS["dictionaries.mlp"])
    spec = {"dictionary": block.model_dump(mode="json"), "threads": 1}
    assert DictionarySpec.model_validate(spec).dictionary == block


@pytest.mark.parametrize(
    ("changes", "names", "expected"),
    [
        ({}, ["mlp"], None),
        ({}, ["mpl"], "KEY.dictionaries holds 'mpl', which is no dictionary; did you mean 'mlp'?"),
        (
            {},
            ["mlp", "llama_k100"],
            "KEY.dictionaries holds 'llama_k100', whose SAEs read latent thoughts; expected one "
            "with hook: mlp_out.",
        ),
        (
            {"dictionaries.mlp.hook": "resid_post"},
            ["mlp"],
            "KEY.dictionaries holds 'mlp', whose SAEs read the hook resid_post; expected one with "
            "hook: mlp_out.",
        ),
        (
            {"dictionaries.mlp.layers": [1, 4]},
            ["mlp"],
            "dictionaries.mlp.layers holds 4, but model 'llama' has the layers 0 to 3.",
        ),
        (
            {"dictionaries.raw": {"of": "mlp", "control": "raw_neurons", "k": 129}},
            ["raw"],
            "dictionaries.raw.k is 129, but raw_neurons has one latent per dimension and model "
            "'llama' has 128.",
        ),
    ],
)
def test_study_of_tokens_refuses_what_it_cannot_read(
    changes: dict[str, Any], names: list[str], expected: str | None
) -> None:
    config = parse_config(changed({**copy.deepcopy(TOKENS), **changes}))
    found = token_bank_contradictions(config, "KEY", "llama", names, hooks=["mlp_out"])
    assert next(found, None) == expected


def test_corpus_of_several_paths_is_found_or_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def config_with(path: Any) -> Config:
        dataset = {"datasets.texts": {"source": "text_file", "path": path}}
        return parse_config(changed({**copy.deepcopy(TOKENS), **dataset}))

    config = config_with(["docs/*.md", "README.md"])
    keys = [path for key, path in named_paths(config) if key == "datasets.texts.path"]
    assert keys == ["docs/*.md", "README.md"]
    monkeypatch.setattr("saeflow.preflight._used_keys", lambda config: {"datasets.texts.path"})
    check_paths(config, ROOT)
    check_paths(config_with("docs"), ROOT)
    for path in ("docs/*.absent", ["README.md", "absent"]):
        with pytest.raises(SaeflowError) as caught:
            check_paths(config_with(path), ROOT)
        check_sentence(caught.value, "datasets.texts.path is '", "absent', which does not exist")
    hub = {"source": "text_hub", "repo": "a/b", "revision": "0" * 40, "files": ["*.parquet"]}
    config = parse_config(changed({**copy.deepcopy(TOKENS), "datasets.mine": hub}))
    assert holds_texts(config, "mine")
    assert input_files(config.datasets["mine"], ROOT) == []
