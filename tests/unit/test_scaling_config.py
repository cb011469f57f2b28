"""What the configuration may say about wide SAEs, their streams and their study, and what it may not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from saeflow.config.datasets import TextFile, TextHub
from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.root import Config, parse_config, resolve_dictionary
from saeflow.config.scaling_runs import (
    main_bank,
    prompt_datasets,
    prompt_files,
    scaling_banks,
    scaling_contradictions,
    scaling_models,
    search_controls,
    studied_weights,
    trained_models,
    wide_groups,
)
from saeflow.config.scaling_search import PromptFiles
from saeflow.config.streams import SHARED, StreamSettings
from saeflow.config.token_banks import TokenBank, captured_hooks
from saeflow.errors import SaeflowError
from saeflow.preflight import check_paths
from tests.configs import changed, default_values, merged, read_yaml
from tests.conftest import ROOT
from tests.sentences import check_sentence

STUDY = "studies.scaling"
MODELS = f"{STUDY}.published.models"
LLAMA = f"{MODELS}.llama.dictionaries"
SETS = f"{STUDY}.calibrated.search.sets"
STEERING = f"{STUDY}.calibrated.steering"
EXPLANATIONS = f"{STUDY}.calibrated.explanations"
WIDE = "dictionaries.llama_wide"
GROUPS = {"source": "groups", "dataset": "documents"}
OTHER = {"dataset": "documents", "hook": "resid_post", "layers": [1], "stream": {}}
LISTED = {"source": "list", "positive": ["One."], "negative": ["Two."]}


VALUES = default_values()


def checked(changes: dict[str, Any]) -> Config:
    """The default configuration with changes, as a run checks it."""
    config = parse_config(changed(changes, VALUES))
    check_paths(config, ROOT)
    return config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {f"{MODELS}.lama": {"dictionaries": ["llama_wide"]}},
            f"{MODELS}.lama names no model of the models block; did you mean 'llama'?",
        ),
        (
            {LLAMA: ["llama_wde"]},
            f"{LLAMA} holds 'llama_wde', which is no dictionary; did you mean 'llama_wide'?",
        ),
        (
            {LLAMA: ["llama_k100"]},
            f"{LLAMA} holds 'llama_k100', whose SAEs read latent thoughts; expected one with hook: "
            "resid_post or resid_pre or mlp_out or attn_out or attn_z.",
        ),
        (
            {LLAMA: ["llama_resid"]},
            f"{LLAMA} holds 'llama_resid', which is trained on captured activations; expected one "
            "with a block stream.",
        ),
        (
            {"dictionaries.lower": OTHER, LLAMA: ["llama_wide", "lower"]},
            f"{LLAMA} holds 'llama_wide' and 'lower', which read resid_post of layer 2 on "
            "'documents' and resid_post of layer 1 on 'documents'; expected SAEs of one place and "
            "data set.",
        ),
        (
            {
                "dictionaries.read": {**OTHER, "layers": [2], "dataset": "read_texts"},
                LLAMA: ["llama_wide", "read"],
            },
            f"{LLAMA} holds 'llama_wide' and 'read', which read resid_post of layer 2 on 'documents' "
            "and resid_post of layer 2 on 'read_texts'; expected SAEs of one place and data set.",
        ),
        (
            {LLAMA: ["llama_wide_frozen_decoder", "llama_wide"]},
            f"{LLAMA} begins with 'llama_wide_frozen_decoder', which is a control; expected a "
            "dictionary without control first.",
        ),
        (
            {f"{SETS}": {"mine": LISTED}},
            f"{STEERING} needs topics, but {SETS} holds no set with source: groups; expected one, or "
            "steering: null.",
        ),
        (
            {f"{SETS}.topics": {**GROUPS, "dataset": "document"}},
            f"{SETS} names the data set 'document', which does not exist; did you mean 'documents'?",
        ),
        (
            {f"{SETS}.topics": {**GROUPS, "dataset": "generated"}},
            f"{SETS} names the data set 'generated', which holds problems; expected one of texts.",
        ),
        (
            {f"{SETS}.mine": {"source": "files", "positive": "no/such.txt"}},
            f"{SETS}.mine.positive is 'no/such.txt', which does not exist; relative paths start at ",
        ),
        (
            {f"{SETS}.mine": {"source": "files", "positive": "README.md", "negative": "none.txt"}},
            f"{SETS}.mine.negative is 'none.txt', which does not exist; relative paths start at ",
        ),
        (
            {f"{STEERING}.prompt_file": "no/such.txt"},
            f"{STEERING}.prompt_file is 'no/such.txt', which does not exist; relative paths start at ",
        ),
        (
            {f"{EXPLANATIONS}.explainer": {"kind": "local", "path": "no/model"},
             f"{EXPLANATIONS}.scorer": {"kind": "local", "path": "no/model"}},
            f"{EXPLANATIONS}.explainer.path is 'no/model', which does not exist; relative paths ",
        ),
        (
            {"datasets.elsewhere": {"source": "text_file", "path": "no/texts.jsonl", "group": "topic"},
             f"{SETS}.topics": {**GROUPS, "dataset": "elsewhere"}},
            "datasets.elsewhere.path is 'no/texts.jsonl', which does not exist; relative paths start ",
        ),
        *(
            (
                {"datasets.mine": block, f"{SETS}.topics": {**GROUPS, "dataset": "mine"}},
                f"datasets.mine.group is null, but {SETS} takes groups of texts from 'mine'; expected "
                "the column or key that names them.",
            )
            for block in (
                {"source": "text_file", "path": "no/texts.jsonl"},
                {"source": "text_hub", "repo": "a/b", "revision": "0" * 40, "files": ["x.jsonl"],
                 "group": None},
            )
        ),
        (
            {f"{WIDE}.layers": [3], f"{WIDE}_published.layers": [3]},
            f"{STEERING}.published.bugs holds 'block_output', which adds behind the next block, but of "
            "model 'llama' no block reads what 'llama_wide' does: resid_post of layer 3 on "
            "'documents'; expected resid_pre, resid_post before the last block, or bugs without it.",
        ),
        (
            {f"{WIDE}.hook": "mlp_out", f"{WIDE}_published.hook": "mlp_out"},
            f"{STEERING}.published.bugs holds 'block_output', which adds behind the next block, but of "
            "model 'llama' no block reads what 'llama_wide' does: mlp_out of layer 2 on ",
        ),
        (
            {
                "models.llama": {"weights": "fresh", "family": "llama", "num_hidden_layers": 3},
                "dictionaries.llama_k100.layers": [0],
                f"{WIDE}.layers": [2],
            },
            f"{STEERING}.published.bugs holds 'block_output', which adds behind the next block, but of ",
        ),
        ({f"{SETS}.topics": GROUPS, f"{MODELS}": {}}, f"{MODELS}: expected entries, at least 1."),
    ],
)  # fmt: skip
def test_what_the_study_cannot_run_is_told(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SaeflowError) as caught:
        checked(changes)
    check_sentence(caught.value)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {f"{SETS}.mine": {"source": "lists", "positive": ["a"]}},
            f"{SETS}.mine.source is 'lists'; expected one of 'list', 'files', 'groups'.",
        ),
        (
            {f"{SETS}.mine": {"positive": ["a"]}},
            f"{SETS}.mine.source is missing; expected one of 'list', 'files', 'groups'.",
        ),
        (
            {f"{SETS}.mine": {"source": "list"}},
            f"{SETS}.mine.positive is missing; expected prompts that share what is searched.",
        ),
        (
            {f"{SETS}.mine": {"source": "list", "positive": ["a", ""]}},
            f"{SETS}.mine.positive.1 is '': expected text that is not empty.",
        ),
        (
            {f"{SETS}.mine": {**LISTED, "negatives": ["a"]}},
            f"{SETS}.mine.negatives is no known key; did you mean 'negative'?",
        ),
        (
            {f"{SETS}.topics": {**GROUPS, "groups": []}},
            f"{SETS}.topics.groups is []: expected entries, at least 1, or null.",
        ),
        (
            {f"{SETS}.topics": {**GROUPS, "groups": ["law", "law"]}},
            f"{SETS}.topics.groups is ['law', 'law']: ['law', 'law'] names something twice.",
        ),
        (
            {f"{SETS}.topics": {**GROUPS, "split": "held_out"}},
            f"{SETS}.topics.split is 'held_out': expected 'train' or 'validation'.",
        ),
        (
            {f"{SETS}": {"a/b": LISTED}},
            f"{SETS}.a/b is no name; expected letters, digits, '_', '-' and '.', since it becomes "
            "part of a path.",
        ),
        (
            {f"{STUDY}.calibrated.search.level": ["token"]},
            f"{STUDY}.calibrated.search.level is no known key; did you mean 'levels'?",
        ),
        (
            {f"{STUDY}.calibrated.search.published": {"scores": ["ranks"]}},
            f"{STUDY}.calibrated.search.published.scores.0 is 'ranks': expected ",
        ),
        (
            {f"{STEERING}.doses": [1.0, 2.0]},
            f"{STEERING}.doses is [1.0, 2.0]: [1.0, 2.0] lacks the dose 0, which all others are held "
            "against.",
        ),
        (
            {f"{STEERING}.doses": [0.0]},
            f"{STEERING}.doses is [0.0]: expected entries, at least 2.",
        ),
        (
            {f"{STEERING}.permutations": 9},
            f"{STEERING}.permutations is 9: expected 19 or more.",
        ),
        (
            {f"{STUDY}.calibrated.reading.cosines": [0.9, 1.1]},
            f"{STUDY}.calibrated.reading.cosines.1 is 1.1: expected 1 or less.",
        ),
        (
            {f"{EXPLANATIONS}.explainer": {"kind": "token"}},
            f"{EXPLANATIONS}.explainer.kind is 'token'; expected one of 'tokens', 'local', 'endpoint'.",
        ),
        (
            {f"{EXPLANATIONS}.explainer": {"kind": "local", "path": "docs"}},
            f"{EXPLANATIONS}: scorer.kind is tokens, but explainer.kind is local; expected local or "
            "endpoint, since only a language model reads another one's phrases.",
        ),
        (
            {f"{STUDY}.calibrated.explanation": {}},
            f"{STUDY}.calibrated.explanation is no known key; did you mean 'explanations'?",
        ),
    ],
)
def test_settings_that_make_no_sense_are_told(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SaeflowError) as caught:
        checked(changes)
    check_sentence(caught.value)
    assert str(caught.value).startswith(expected)


CONTROLLED = {"of": "llama_wide", "control": "frozen_decoder"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {f"{WIDE}.hook": None},
            "dictionaries.llama_wide: stream reads tokens of texts, but hook is null; expected a hook.",
        ),
        (
            {f"{WIDE}.layers": [1, 2]},
            "dictionaries.llama_wide: layers is [1, 2], but stream trains one SAE; expected one layer.",
        ),
        (
            {f"{WIDE}.layers": "all"},
            "dictionaries.llama_wide: layers is all, but stream trains one SAE; expected one layer.",
        ),
        (
            {f"{WIDE}.layers": [4], f"{WIDE}_published.layers": [4]},
            "dictionaries.llama_wide.layers holds 4, but model 'llama' has the layers 0 to 3.",
        ),
        (
            {f"{WIDE}.k": 2049},
            "dictionaries.llama_wide: k is 2049, but only 2048 latents exist (d_sae).",
        ),
        *(
            (
                {f"{WIDE}.{key}": value},
                f"dictionaries.llama_wide: {key} is given beside stream, which has settings of its "
                "own; leave it out.",
            )
            for key, value in (
                ("architecture", "topk"),
                ("training", {"epochs": 3}),
                ("rows", "all"),
            )
        ),
        (
            {f"{WIDE}.stream.tokens": 511},
            "dictionaries.llama_wide.stream: batch_size is 512, but tokens is 511.",
        ),
        (
            {f"{WIDE}.stream.buffer_tokens": 511},
            "dictionaries.llama_wide.stream: batch_size is 512, but buffer_tokens is 511.",
        ),
        (
            {f"{WIDE}.stream": {"warm_up_share": 0.6, "decay_share": 0.5}},
            "dictionaries.llama_wide.stream: warm_up_share and decay_share are 0.6 and 0.5, together "
            "more than 1.",
        ),
        (
            {f"{WIDE}.stream.contexts": {"packing": "packed", "pieces": "first"}},
            "dictionaries.llama_wide.stream.contexts: pieces is 'first', but packed documents are not "
            "cut one by one.",
        ),
        (
            {f"{WIDE}.stream.checkpoint_minute": 1},
            "dictionaries.llama_wide.stream.checkpoint_minute is no known key; did you mean "
            "'checkpoint_minutes'?",
        ),
        (
            {f"{WIDE}.stream.architecture": "abstopk"},
            "dictionaries.llama_wide.stream.architecture is 'abstopk': expected 'topk', 'batchtopk' or "
            "'relu'.",
        ),
        (
            {"dictionaries.p": {**CONTROLLED, "control": "pca"}},
            "dictionaries.p: control is pca, but 'llama_wide' is trained on a stream; expected "
            "frozen_decoder, soft_frozen_decoder or frozen_encoder.",
        ),
        (
            {"dictionaries.p": {**CONTROLLED, "layers": [1]}},
            "dictionaries.p: layers is given, but 'llama_wide' has the one of its stream; leave it "
            "out.",
        ),
        (
            {"dictionaries.p": {**CONTROLLED, "stream": {}}},
            "dictionaries.p: stream is given, but a control shares it with the dictionary that it is "
            "of; leave it out.",
        ),
        (
            {"dictionaries.p": {**CONTROLLED, "k": 4096}},
            "dictionaries.p: k is 4096, but 'llama_wide' has only 2048 latents (d_sae).",
        ),
    ],
)
def test_streams_that_make_no_sense_are_told(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SaeflowError) as caught:
        checked(changes)
    check_sentence(caught.value)
    assert str(caught.value).startswith(expected)


def test_the_last_block_can_be_steered_at_without_the_bug() -> None:
    last = {f"{WIDE}.layers": [3], f"{WIDE}_published.layers": [3]}
    checked({**last, STEERING: {"published": {"bugs": ["normalised_scale"]}}})
    checked({**last, STEERING: None})


def test_a_recipe_on_a_stream_survives_its_way_to_a_job() -> None:
    block = resolve_dictionary(checked({}), "llama_wide")
    assert DictionarySettings.model_validate(block.model_dump(mode="json")) == block


def test_what_saes_on_a_stream_share_are_settings_of_it() -> None:
    assert set(SHARED) < set(StreamSettings.model_fields)


def test_without_the_study_nothing_of_it_is_asked_for() -> None:
    config = checked({STUDY: None})
    assert scaling_models(config) == {}
    assert scaling_banks(config) == trained_models(config) == []
    assert wide_groups(config) == {}
    assert prompt_files(config) == {}
    assert prompt_datasets(config) == []


def test_streams_are_captured_by_nobody() -> None:
    assert captured_hooks(checked({}), "documents") == []


def test_the_first_dictionary_and_seed_of_a_model_are_its_main_sae() -> None:
    run = {"dictionaries": ["llama_wide_published", "llama_wide"], "seeds": [3, 1]}
    config = checked({f"{MODELS}.llama": run})
    assert main_bank(config, "llama") == ("llama", "llama_wide_published", 3)
    assert scaling_banks(config)[0] == main_bank(config, "llama")
    assert main_bank(config, "llama_untrained") == ("llama_untrained", "llama_wide", 0)


def test_models_come_in_the_order_of_their_block() -> None:
    models = {
        "llama_untrained": {"dictionaries": ["llama_wide"]},
        "gpt2": {"dictionaries": ["llama_wide"]},
        "llama": {"dictionaries": ["llama_wide"]},
    }
    config = checked({MODELS: models})
    assert list(scaling_models(config)) == ["llama", "gpt2", "llama_untrained"]
    assert trained_models(config) == ["llama", "gpt2"]


def test_untrained_and_frozen_saes_stand_beside_the_search() -> None:
    config = checked({})
    assert search_controls(config, "llama") == {
        "untrained": TokenBank("llama_untrained", "llama_wide", 0),
        "frozen_decoder": TokenBank("llama", "llama_wide_frozen_decoder", 0),
    }
    # Whatever the study does not read anyway is not made for the search.
    alone = checked({MODELS: {"llama": {"dictionaries": ["llama_wide"]}}})
    assert search_controls(alone, "llama") == {}
    other = checked(
        {
            f"{MODELS}.llama.seeds": [4],
            f"{MODELS}.llama_untrained": {"dictionaries": ["llama_wide_published"]},
        }
    )
    assert search_controls(other, "llama") == {
        "frozen_decoder": TokenBank("llama", "llama_wide_frozen_decoder", 4)
    }


def test_the_search_is_beside_the_untrained_model_that_is_its_own() -> None:
    run = {"dictionaries": ["llama_wide"]}
    config = checked({MODELS: {"llama": run, "gpt2": run, "gpt2_untrained": run}})
    assert search_controls(config, "llama") == {}
    assert list(search_controls(config, "gpt2")) == ["untrained"]


def banks_of(config: Config) -> dict[str, list[tuple[str, int]]]:
    return {
        name: [(bank.dictionary, bank.seed) for bank in group.banks]
        for name, group in wide_groups(config).items()
    }


TWO = [("llama_wide", 0), ("llama_wide", 1)]
ALL = [*TWO, *(("llama_wide_frozen_decoder", n) for n in (0, 1)),
       *(("llama_wide_published", n) for n in (0, 1))]  # fmt: skip


def test_one_job_trains_all_that_read_one_stream() -> None:
    groups = wide_groups(checked({}))
    assert [(each.model, each.dataset) for each in groups.values()] == [
        ("llama", "documents"),
        ("llama_untrained", "documents"),
    ]
    assert banks_of(checked({})) == {
        "llama_documents_0": ALL,
        "llama_untrained_documents_0": [("llama_wide", 0)],
    }


@pytest.mark.parametrize("size", [1, 2, 4, 6, 9])
def test_jobs_share_what_one_would_train(size: int) -> None:
    changes = {
        f"dictionaries.{name}.stream.saes_per_job": size
        for name in ("llama_wide", "llama_wide_published")
    }
    found = banks_of(checked(changes))
    own = [banks for name, banks in found.items() if name.startswith("llama_documents_")]
    assert [bank for banks in own for bank in banks] == ALL
    assert [len(banks) for banks in own[:-1]] == [size] * (len(own) - 1)
    assert list(found) == [
        *(f"llama_documents_{place}" for place in range(len(own))),
        "llama_untrained_documents_0",
    ]


def test_unlike_streams_have_jobs_of_their_own() -> None:
    for key, value in (
        ("batch_size", 256),
        ("tokens", 1024),
        ("start_batches", 3),
        ("buffer_tokens", 4096),
        ("precision", "bfloat16"),
        ("cached", True),
        ("contexts", {"packing": "packed"}),
        ("saes_per_job", 6),
    ):
        found = banks_of(checked({f"dictionaries.llama_wide_published.stream.{key}": value}))
        assert list(found) == [
            "llama_documents_0", "llama_documents_1", "llama_untrained_documents_0"
        ]  # fmt: skip
        assert found["llama_documents_0"] == ALL[:4], key
    for key, value in (("learning_rate", 1e-4), ("scale", 3.0), ("checkpoint_minutes", 1.0)):
        found = banks_of(checked({f"dictionaries.llama_wide_published.stream.{key}": value}))
        assert found["llama_documents_0"] == ALL, key


def test_names_of_jobs_are_identifiers_and_differ() -> None:
    llama = VALUES["models"]["llama"]
    run = {"dictionaries": ["llama_wide"]}
    changes = {"models": {**VALUES["models"], "a-b": llama, "a.b": llama}}
    config = checked({**changes, MODELS: {"a-b": run, "a.b": run, "llama": run}})
    groups = wide_groups(config)
    assert all(name.isidentifier() for name in groups)
    assert sorted(each.model for each in groups.values()) == ["a-b", "a.b", "llama"]


def test_other_studies_may_read_streams_and_share_their_banks() -> None:
    key = "studies.specialists.published.models.llama.dictionaries"
    config = checked({key: ["llama_wide"]})
    assert banks_of(config)["llama_documents_0"] == ALL
    alone = checked({key: ["llama_wide"], STUDY: None})
    assert banks_of(alone) == {"llama_documents_0": [("llama_wide", 0)]}


def test_files_of_prompts_are_named_once_each_positive_first() -> None:
    files = {"source": "files", "positive": "README.md", "negative": "docs/judge.md"}
    config = checked(
        {
            f"{SETS}.mine": files,
            f"{SETS}.few": {"source": "files", "positive": "CHANGELOG.md"},
            f"{STEERING}.prompt_file": "LICENSE",
        }
    )
    assert list(prompt_files(config).items()) == [
        (f"{STEERING}.prompt_file", "LICENSE"),
        (f"{SETS}.mine.positive", "README.md"),
        (f"{SETS}.mine.negative", "docs/judge.md"),
        (f"{SETS}.few.positive", "CHANGELOG.md"),
    ]
    assert prompt_datasets(config) == ["documents"]


def test_an_overlay_adds_prompts_and_drops_what_is_null() -> None:
    search = {"sets": {"topics": None, "mine": {"source": "files", "positive": "README.md"}}}
    over = {"studies": {"scaling": {"calibrated": {"search": search, "steering": None}}}}
    config = parse_config(merged(VALUES, over))
    check_paths(config, ROOT)
    study = config.studies.scaling
    assert study is not None
    assert study.calibrated.search.sets == {
        "mine": PromptFiles(source="files", positive="README.md")
    }
    assert prompt_datasets(config) == []


def test_the_studied_weights_are_those_of_the_hub() -> None:
    hub = {"weights": "hub", "repo": "meta-llama/Llama-3.2-3B", "revision": "0" * 40}
    control = {"of": "studied", "weights": "fresh"}
    config = parse_config(changed({"models.studied": hub, "models.control": control}, VALUES))
    assert studied_weights(config, "studied")
    assert not studied_weights(config, "control")
    assert not studied_weights(config, "llama")


def recipes(text: str) -> list[dict[str, Any]]:
    """Blocks of YAML that begin with a data set, with a commit for its placeholder."""
    found = re.findall(r"^(datasets:\n(?:.+\n)+)", text.replace("COMMIT", "f" * 40), re.M)
    return [yaml.safe_load(each.split("```")[0]) for each in found]


def commented(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "".join(f"{line[4:]}\n" for line in lines if line.startswith("#"))


PRESET = ROOT / "workflow/presets/scaling.yaml"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (VALUES, (ROOT / "docs/scaling.md").read_text(encoding="utf-8")),
        (merged(VALUES, read_yaml(PRESET)), commented(PRESET)),
    ],
    ids=["docs", "preset"],
)
def test_a_corpus_of_ones_own_is_used_as_told(values: dict[str, Any], text: str) -> None:
    own, hub = (parse_config(merged(values, recipe)) for recipe in recipes(text))
    for config, topics in ((own, "mine"), (hub, "documents")):
        assert list(scaling_contradictions(config)) == []
        assert {bank.dataset for bank in wide_groups(config).values()} == {"mine"}
        assert prompt_datasets(config) == [topics]
    assert isinstance(own.datasets["mine"], TextFile)
    assert isinstance(hub.datasets["mine"], TextHub)


def test_a_corpus_without_topics_needs_none_where_nothing_is_steered() -> None:
    hub = recipes((ROOT / "docs/scaling.md").read_text(encoding="utf-8"))[1]
    over = {"search": {"sets": {"topics": None, "own": LISTED}}, "steering": None}
    config = parse_config(
        merged(merged(VALUES, hub), {"studies": {"scaling": {"calibrated": over}}})
    )
    assert list(scaling_contradictions(config)) == []
    assert prompt_datasets(config) == []
