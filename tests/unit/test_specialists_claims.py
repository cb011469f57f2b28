"""What a model's tables say of the sentences published about specialists, on hand-made rows."""

from __future__ import annotations

import pandas as pd
import pytest

from saeflow.studies.claims.judge import OTHER_SIZES
from saeflow.studies.claims.sentences import Wanted
from saeflow.studies.claims.verdicts import NEVER_MEASURED, NOT_TESTABLE, VERDICTS
from saeflow.studies.specialists.claims import OTHER_SAES, OTHER_WEIGHTS
from saeflow.studies.specialists.published_claims import PUBLISHED
from tests.specialist_claims import LAYERS, SAID, Row, judged, measured, verdict


def test_every_sentence_has_a_verdict_and_is_named_once() -> None:
    found = judged([])
    frame = pd.DataFrame(found.values())
    assert list(frame["claim"]) == [each.claim for each in PUBLISHED]
    assert frame["claim"].is_unique
    assert set(frame["study"]) == {"specialists"}
    assert set(frame["scope"]) == {"procedure", "model"}
    assert frame[["source", "statement", "published", "rule"]].map(bool).all(axis=None)
    assert set(frame["verdict"]) == {NOT_TESTABLE, NEVER_MEASURED}
    assert set(frame["verdict"]) <= set(VERDICTS)


def test_what_no_code_does_was_never_measured() -> None:
    never = [each.claim for each in PUBLISHED if each.scope == "none"]
    assert never == ["strength_weighting"]
    assert verdict("strength_weighting", [], own_weights="gpt2") == NEVER_MEASURED


def every_row() -> list[Row]:
    """A row for everything that any sentence wants; what claims are of several rows they share."""
    wanted = [
        each
        for said in PUBLISHED
        for each in (said.found, said.by_procedure, said.null, *said.further)
        if each is not None
    ]
    rows = []
    for each in dict.fromkeys(wanted):
        more = {"part": each.part} if each.part != "alignment" else {}
        rows.append(measured(each, 0.4, **more))
    return rows


def test_claims_of_other_weights_saes_and_sizes_have_an_analogue_and_no_verdict() -> None:
    rows = [each for each in every_row() if each["part"] != "alignment"]
    for own in ("", "gpt2"):
        found = judged(rows, own_weights=own)
        for said in PUBLISHED:
            if said.scope != "model" or (own and not said.saes and not said.sizes):
                continue
            row = found[said.claim]
            assert row["verdict"] == NOT_TESTABLE, said.claim
            assert row["value"] is None
            if said.found is not None and said.found.part != "alignment":
                assert row["analogue_value"] == 0.4, said.claim
                assert row["metric"] == said.found.metric
            measures = said.found is not None or said.by_procedure is not None
            rule = OTHER_SIZES if said.sizes else OTHER_SAES if own else OTHER_WEIGHTS
            assert row["rule"] == (rule if measures else "This run does not measure it.")


def test_own_weights_decide_what_specialists_do_and_no_features_of_other_saes() -> None:
    decided = {
        "no_right_answers", "scored_answers", "cloze", "cloze_correlation", "ablations", "flips",
        "selective_is_not_causal",
    }  # fmt: skip
    model = {each.claim for each in PUBLISHED if each.scope == "model"}
    assert {name for name in model if not (SAID[name].saes or SAID[name].sizes)} - decided == {
        "math_feature", "without_mask",
    }  # fmt: skip


def test_claims_about_the_small_model_are_not_decided_by_the_large_one() -> None:
    rows = [each for each in every_row() if each["part"] != "alignment"]
    small = {each.claim for each in PUBLISHED if each.about == "gpt2"}
    assert small == {"no_right_answers", "selective_is_not_causal"}
    for name in small:
        assert judged(rows, own_weights="gemma-2-9b")[name]["rule"] == OTHER_WEIGHTS
        assert judged(rows, own_weights="gpt2")[name]["rule"] != OTHER_WEIGHTS


@pytest.mark.parametrize("name", [each.claim for each in PUBLISHED if each.scope == "procedure"])
def test_what_is_missing_is_not_testable(name: str) -> None:
    assert verdict(name, []) == NOT_TESTABLE
    said = SAID[name]
    assert verdict(name, [measured(said.found, 0.0) | {"value": None}]) == NOT_TESTABLE
    assert verdict(name, [measured(said.found, 0.3, None)]) == NOT_TESTABLE


@pytest.mark.parametrize("name", ["forms_share_few", "ceiling_below_one", "cloze_correlation"])
def test_intervals_are_held_against_a_fixed_number(name: str) -> None:
    said = SAID[name]
    assert said.fixed is not None
    away = -0.2 if said.below else 0.2
    for shift, expected in (
        (away, "supported"),
        (0.03, "not distinguishable from chance"),
        (-away, "contradicted"),
    ):
        row = measured(said.found, said.fixed + shift)
        found = judged([row], own_weights="gpt2")[name]
        assert found["verdict"] == expected
        assert (found["value"], found["null"]) == (row["value"], said.fixed)
    assert verdict(name, [measured(said.found, 3.0, None)], own_weights="gpt2") == NOT_TESTABLE


def test_layers_are_those_at_the_same_place_among_the_blocks_that_are_read() -> None:
    said = [SAID[f"categories_layer_{layer}"] for layer in (6, 8, 10, 11)]
    rows = [measured(each.found, layer / 20) for each, layer in zip(said, LAYERS, strict=True)]
    # Another part may name blocks that no SAE reads.
    cascade = Wanted("cascade", "all", "relative_change_31")
    found = judged([*rows, measured(cascade, 1.0, None, layer=31)])
    for each, layer in zip(said, LAYERS, strict=True):
        assert found[each.claim]["layer"] == layer
        assert found[each.claim]["analogue_value"] == layer / 20


def test_the_first_bank_is_read_and_words_belong_to_none() -> None:
    said = SAID["words_cluster"]
    row = measured(said.found, 0.3, None, p_value=0.01)
    assert verdict("words_cluster", [row | {"dictionary": "", "seed": 0}]) == "supported"
    assert verdict("words_cluster", [row | {"seed": 1}]) == NOT_TESTABLE


def across(*values: tuple[str, str, float], **columns: object) -> list[Row]:
    """Rows of the alignment that the sentence on sparsity reads, by two models."""
    wanted = SAID["sparsity"].found
    assert wanted is not None
    row = measured(wanted, 0.0, layer=4, other_layer=1) | columns
    del row["part"]
    return [row | {"model": one, "other_model": two, "value": value} for one, two, value in values]


def test_claims_across_models_read_the_pair_that_is_told() -> None:
    # Tables are sorted by their keys, whatever the order of the configuration is.
    rows = across(("gpt2", "control", 0.1), ("llama", "control", 0.2), ("llama", "gpt2", 0.87))
    rows += across(("llama", "gpt2", 0.3), layer=0)
    for pair in (("llama", "gpt2"), ("gpt2", "llama")):
        found = judged([], alignment=rows, pair=pair, own_weights="gpt2")["sparsity"]
        assert (found["analogue_value"], found["layer"]) == (0.87, 4)
        assert found["verdict"] == NOT_TESTABLE
    for other in (None, ("gpt2", "gemma")):
        found = judged([], alignment=rows, pair=other, own_weights="gpt2")["sparsity"]
        assert found["analogue_value"] is None


def test_claims_across_models_read_every_token_encoded() -> None:
    """Of encoded means as many features are active of every text, so that nothing is to correlate."""
    pair = ("llama", "gpt2")
    rows = across((*pair, 0.1), pooling="average_then_encode")
    rows += across((*pair, 0.87))
    found = judged([], alignment=rows, pair=pair)["sparsity"]
    assert found["analogue_value"] == 0.87
    for said in PUBLISHED:
        pooled = [
            each for each in (said.found, said.by_procedure) if each and each.layer is not None
        ]
        if said.sizes:
            assert {each.pooling for each in pooled} <= {"encode_then_average"}, said.claim
