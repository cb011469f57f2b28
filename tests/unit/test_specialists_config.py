"""What the configuration may say about the study of specialists, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from saeflow.config.root import Config, parse_config
from saeflow.config.specialist_runs import trained_pair
from saeflow.config.specialists import PairsFile, PublishedPools
from saeflow.errors import SaeflowError
from saeflow.preflight import check_paths
from tests.configs import changed, default_values, merged, read_yaml
from tests.conftest import ROOT
from tests.sentences import check_sentence

STUDY = "studies.specialists"
LLAMA = f"{STUDY}.published.models.llama.dictionaries"
FILES = {"source": "path", "pairs": "docs/judge.md"}


def checked(changes: dict[str, Any]) -> Config:
    """The default configuration with changes, as a run checks it."""
    config = parse_config(changed(changes, default_values()))
    check_paths(config, ROOT)
    return config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {f"{STUDY}.published.models.lama": {"dictionaries": ["llama_resid"]}},
            f"{STUDY}.published.models.lama names no model of the models block; did you mean 'llama'?",
        ),
        (
            {LLAMA: ["llama_resd"]},
            f"{LLAMA} holds 'llama_resd', which is no dictionary; did you mean 'llama_resid'?",
        ),
        (
            {LLAMA: ["llama_k100"]},
            f"{LLAMA} holds 'llama_k100', whose SAEs read latent thoughts; expected one with hook: "
            "resid_post or resid_pre.",
        ),
        (
            {LLAMA: ["llama_mlp"]},
            f"{LLAMA} holds 'llama_mlp', whose SAEs read the hook mlp_out; expected one with hook: "
            "resid_post or resid_pre.",
        ),
        (
            {f"{STUDY}.calibrated.pooling": {"poolings": ["max"]}},
            f"{STUDY}.calibrated.tasks.pooling holds 'encode_then_average', by which "
            f"{STUDY}.calibrated.pooling.poolings does not pool; expected one of max.",
        ),
        (
            {
                f"{STUDY}.calibrated.pooling": {"poolings": ["max", "encode_then_average"]},
                f"{STUDY}.alignment.poolings": ["max", "last"],
            },
            f"{STUDY}.alignment.poolings holds 'last', by which {STUDY}.calibrated.pooling.poolings "
            "does not pool; expected one of max, encode_then_average.",
        ),
        (
            {f"{STUDY}.calibrated.tasks": {"pooling": "mean"}},
            f"{STUDY}.calibrated.tasks.pooling is 'mean': expected ",
        ),
        (
            {f"{STUDY}.texts": {**FILES, "pairs": "no/pairs.json"}},
            f"{STUDY}.texts.pairs is 'no/pairs.json', which does not exist; relative paths start at ",
        ),
        (
            {f"{STUDY}.texts": {**FILES, "categories": "no/such.json"}},
            f"{STUDY}.texts.categories is 'no/such.json', which does not exist; ",
        ),
        (
            {f"{STUDY}.texts": {"source": "path"}},
            f"{STUDY}.texts.pairs is missing; expected ",
        ),
        (
            {f"{STUDY}.published.judge": {"kind": "local", "path": "no/judge"}},
            f"{STUDY}.published.judge.path is 'no/judge', which does not exist; ",
        ),
        (
            {f"{STUDY}.published.treshold": 4.0},
            f"{STUDY}.published.treshold is no known key; did you mean 'threshold'?",
        ),
        (
            {f"{STUDY}.calibrated.permutation": 99},
            f"{STUDY}.calibrated.permutation is no known key; did you mean 'permutations'?",
        ),
        (
            {f"{STUDY}.texts.per_topics": 9},
            f"{STUDY}.texts.per_topics is no known key; did you mean 'per_topic'?",
        ),
        (
            {f"{STUDY}.texts": {"per_topic": 9}},
            f"{STUDY}.texts.source is missing; expected one of 'bundled', 'path'.",
        ),
        (
            {f"{STUDY}.texts": {**FILES, "path": "x"}},
            f"{STUDY}.texts.path is no known key; known are 'categories', 'pairs', ",
        ),
        (
            {f"{STUDY}.alignments": {}},
            f"{STUDY}.alignments is no known key; did you mean 'alignment'?",
        ),
        (
            {f"{STUDY}.calibrated.splits": 0},
            f"{STUDY}.calibrated.splits is 0: expected 1 or more.",
        ),
    ],
)
def test_what_the_study_cannot_run_is_told(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SaeflowError) as caught:
        checked(changes)
    check_sentence(caught.value)
    assert str(caught.value).startswith(expected)


def test_an_overlay_puts_files_in_the_place_of_bundled_texts() -> None:
    over = {"studies": {"specialists": {"texts": FILES}}}
    study = parse_config(merged(default_values(), over)).studies.specialists
    assert study is not None
    assert isinstance(study.texts, PairsFile)
    assert (study.texts.pairs, study.texts.categories) == ("docs/judge.md", None)


def test_an_overlay_changes_one_setting_of_the_published_pooling_alone() -> None:
    study = checked({f"{STUDY}.published.pooling": {"masking": "begin"}}).studies.specialists
    assert study is not None
    assert study.published.pooling == PublishedPools(masking="begin")
    assert study.published.pooling.prepend_bos


def test_without_the_study_its_models_and_files_are_not_asked_for() -> None:
    checked({STUDY: None})


def test_the_preset_runs_all_held_out_pairs() -> None:
    values = merged(default_values(), read_yaml(ROOT / "workflow/presets/specialists.yaml"))
    config = parse_config(values)
    check_paths(config, ROOT)
    study = config.studies.specialists
    assert study is not None
    assert (study.texts.per_topic, study.published.threshold) == (None, 5.0)
    assert {run.seeds for run in study.published.models.values()} == {(0, 1)}


@pytest.mark.parametrize(
    ("studied", "expected"),
    [
        # An untrained control is none of the two, wherever it stands in the block `models`.
        ({"gpt2": "gpt2_resid", "llama": "llama_resid", "llama_untrained": "llama_resid"}, True),
        ({"llama": "llama_resid", "llama_untrained": "llama_resid"}, False),
        ({"gpt2": "gpt2_resid"}, False),
    ],
)
def test_claims_across_models_are_about_the_first_two_that_are_trained(
    studied: dict[str, str], expected: bool
) -> None:
    models = {name: {"dictionaries": [bank]} for name, bank in studied.items()}
    values = changed({f"{STUDY}.published.models": models}, default_values())
    order = ["llama_untrained", *(name for name in values["models"] if name != "llama_untrained")]
    for names in (list(values["models"]), order):
        values["models"] = {name: values["models"][name] for name in names}
        assert trained_pair(parse_config(values)) == (("llama", "gpt2") if expected else None)
