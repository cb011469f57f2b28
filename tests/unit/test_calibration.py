"""Every rate beside its controls, and what the calibrated mode runs."""

from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from saeflow.artifacts.calibration import CALIBRATION
from saeflow.artifacts.catalog import SUMMARY
from saeflow.config.calibration import (
    analysed_layers,
    bank_layer_contradictions,
    calibrated_banks,
    calibrated_models,
    calibration_contradictions,
    grid_datasets,
    named_controls,
    published_only,
)
from saeflow.config.held_out import held_out_problems
from saeflow.config.root import parse_config
from saeflow.studies.compare.calibration import calibration_table
from tests.configs import default_values

STUDIED = [
    {
        "model": "m",
        "dictionary": "k4",
        "untrained": ["m_untrained"],
        "controls": {"pca": "k4_pca", "frozen_decoder": "k4_frozen"},
    }
]


def row(
    dictionary: str, seed: int, metric: str, value: float | None, **more: Any
) -> dict[str, Any]:
    mode = "published" if "interpretable" in metric else "calibrated"
    run = {"dataset": "d", "dictionary": dictionary, "seed": seed, "mode": mode}
    place = {"target": "token", "control": "none", "layer": None, "step": None}
    ends = {"ci_low": None, "ci_high": None, "interval": "none", "n": 10}
    return {**run, **place, "metric": metric, "value": value, **ends, **more}


def summaries() -> dict[str, pa.Table]:
    band = {"control": "permuted", "interval": "permutation_range"}
    own = [
        row("k4", 0, "discovered_rate", 0.30),
        row("k4", 1, "discovered_rate", 0.40),
        row("k4", 0, "discovered_rate", 0.02, ci_low=0.0, ci_high=0.05, **band),
        row("k4", 1, "discovered_rate", 0.04, ci_low=0.01, ci_high=0.06, **band),
        row(
            "k4", 0, "discovered_excess", 0.28, ci_low=0.25, ci_high=0.30, interval="permutation_95"
        ),
        row(
            "k4", 1, "discovered_excess", 0.36, ci_low=0.35, ci_high=0.40, interval="permutation_95"
        ),
        row("k4", 0, "discovered_rate", 0.9, layer=2),
        row("k4", 1, "discovered_rate", 0.7, layer=2),
        row("k4", 0, "discovered_rate", None, layer=3),
        row("k4", 0, "discovered_rate", 0.1, layer=1),
        row("k4", 0, "n_tests", 77.0),
        row("k4", 0, "interpretable_rate", 0.6),
        row("k4", 0, "interpretable_rate", 0.5, control="frequency_matched"),
        row("k4_frozen", 0, "discovered_rate", 0.35),
        row("k4_frozen", 0, "interpretable_rate", 0.2),
        row("k4_frozen", 0, "discovered_rate", 0.6, layer=2),
        row("k4_frozen", 0, "discovered_rate", 0.1, layer=1),
        # Over its own layers, which are fewer than the model's.
        row("k4_pca", 0, "discovered_rate", 0.15),
        row("k4_pca", 1, "discovered_rate", 0.15),
        row("k4_pca", 0, "discovered_rate", 0.1, layer=2),
        row("k4_pca", 1, "discovered_rate", 0.2, layer=2),
    ]
    untrained = [
        row("k4", 0, "discovered_rate", 0.0),
        row("k4", 0, "discovered_rate", 0.1, layer=2),
        row("k4", 0, "discovered_rate", 0.1, layer=1),
        row("k4", 0, "discovered_excess", 0.05, interval="permutation_95"),
        row("other", 0, "discovered_rate", 1.0),
    ]
    return {
        "m": pa.Table.from_pylist(own, SUMMARY.schema()),
        "m_untrained": pa.Table.from_pylist(untrained, SUMMARY.schema()),
    }


def cells(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas().fillna({"layer": -1})
    return frame.set_index(["metric", "layer", "control", "interval"]).sort_index()


def test_each_rate_stands_beside_its_controls() -> None:
    table = calibration_table(summaries(), STUDIED)
    assert table.schema == CALIBRATION.schema()
    found = cells(table)
    ends = ["value", "ci_low", "ci_high"]
    rate = found.loc["discovered_rate", -1]
    assert rate.loc[("none", "seed_range"), ends].tolist() == pytest.approx([0.35, 0.3, 0.4])
    permuted = rate.loc[("permuted", "permutation_range"), ends]
    assert permuted.tolist() == pytest.approx([0.03, 0.0, 0.06])
    # One seed has no range.
    assert rate.loc[("untrained", "none"), "value"] == 0.0
    assert rate.loc[("frozen_decoder", "none"), "value"] == 0.35
    assert set(rate.index.get_level_values(0)) == {
        "none", "permuted", "untrained", "frozen_decoder"
    }  # fmt: skip
    assert found.loc[("interpretable_rate", -1, "frequency_matched", "none"), "value"] == 0.5


def test_what_a_control_is_beaten_by_is_the_worst_seed_against_its_best() -> None:
    found = cells(calibration_table(summaries(), STUDIED))
    ends = ["value", "ci_low", "ci_high", "n"]
    over = found.loc["discovered_over"]
    frozen = over.loc[(-1, "frozen_decoder", "seed_range"), ends]
    assert frozen.tolist() == pytest.approx([0.0, -0.05, 0.05, 2])
    # A control on one layer stands beside the model at that layer, and nowhere else.
    pca = over.loc[(2, "pca", "seed_range"), ends]
    assert pca.tolist() == pytest.approx([0.65, 0.5, 0.8, 4])
    assert (-1, "pca") not in over.index.droplevel("interval")
    assert (-1, "pca") not in found.loc["discovered_rate"].index.droplevel("interval")
    # With one seed of each nothing tells how far seeds lie apart.
    interpretable = found.loc[("interpretable_over", -1, "frozen_decoder", "none"), ends]
    assert interpretable["value"] == pytest.approx(0.4)
    assert interpretable[["ci_low", "ci_high"]].isna().all()


def test_an_excess_has_both_intervals() -> None:
    excess = cells(calibration_table(summaries(), STUDIED)).loc[("discovered_excess", -1, "none")]
    ends = ["value", "ci_low", "ci_high"]
    assert excess.loc["seed_range", ends].tolist() == pytest.approx([0.32, 0.28, 0.36])
    assert excess.loc["permutation_95", ends].tolist() == pytest.approx([0.32, 0.30, 0.35])
    untrained = cells(calibration_table(summaries(), STUDIED)).loc[
        ("discovered_excess", -1, "untrained", "none")
    ]
    assert untrained["value"] == 0.05


def test_rows_without_a_value_and_counts_are_left_out() -> None:
    frame = calibration_table(summaries(), STUDIED).to_pandas()
    assert not (frame.layer == 3).any()
    assert not (frame.metric == "n_tests").any()
    assert not frame.duplicated(list(CALIBRATION.keys)).any()


def changed(**blocks: Any) -> dict[str, Any]:
    values = copy.deepcopy(default_values())
    values["dictionaries"] = {
        **values["dictionaries"],
        **blocks.get("dictionaries", {}),
    }
    values["studies"]["gsm8k"]["calibrated"] = {
        **values["studies"]["gsm8k"]["calibrated"],
        **blocks.get("calibrated", {}),
    }
    return values


def test_controls_are_found_by_what_they_are_of() -> None:
    config = parse_config(changed())
    controls = named_controls(config, "llama_k100")
    assert set(controls) == {
        "frozen_decoder", "soft_frozen_decoder", "frozen_encoder", "random_rotation", "pca",
        "raw_neurons",
    }  # fmt: skip
    banks = [bank for bank in calibrated_banks(config) if bank.model == "llama"]
    assert {bank.seed for bank in banks if not bank.control} == {0, 1}
    assert {bank.dictionary for bank in banks if bank.control} == set(controls.values())
    assert {bank.seed for bank in banks if bank.control} == {0}
    assert not any(bank.control for bank in calibrated_banks(config) if "untrained" in bank.model)


def test_two_controls_of_a_kind_go_by_their_names() -> None:
    more = {"other_pca": {"of": "llama_k100", "control": "pca", "k": 3}}
    controls = named_controls(parse_config(changed(dictionaries=more)), "llama_k100")
    assert {"other_pca", "llama_pca", "raw_neurons"} <= set(controls)
    assert "pca" not in controls


def test_some_controls_or_none_can_be_asked_for() -> None:
    config = parse_config(changed(calibrated={"controls": ["llama_pca"]}))
    assert named_controls(config, "llama_k100") == {"pca": "llama_pca"}
    assert named_controls(config, "gpt2_k150") == {}
    values = changed()
    values["studies"]["gsm8k"]["calibrated"] = None
    config = parse_config(values)
    assert calibrated_models(config) == {}
    assert list(calibrated_banks(config)) == []


def test_a_data_set_that_shares_its_source_with_the_training_is_refused() -> None:
    values = changed()
    values["datasets"]["x"] = {**values["datasets"]["generated"], "n_train": 400}
    llama = values["studies"]["gsm8k"]["published"]["models"]["llama"]
    llama["datasets"] = ["generated", "x"]
    sentences = list(calibration_contradictions(parse_config(values)))
    assert "datasets.x is drawn from where datasets.generated is" in sentences[0]
    values["datasets"]["x"]["seed"] = 1
    assert list(calibration_contradictions(parse_config(values))) == []


def test_a_bank_is_calibrated_once_and_knows_who_measures_its_rates() -> None:
    values = changed()
    llama = values["studies"]["gsm8k"]["published"]["models"]["llama"]
    llama["dictionaries"] = ["llama_k100", "llama_frozen_decoder"]
    config = parse_config(values)
    banks = calibrated_banks(config)
    assert len(banks) == len({bank[:4] for bank in banks})
    measured_here = {bank.dictionary for bank in banks if published_only(config, bank)}
    assert {"llama_pca", "gpt2_frozen_decoder"} <= measured_here
    assert not {"llama_k100", "llama_frozen_decoder"} & measured_here


def test_grids_need_both_splits() -> None:
    values = changed()
    assert grid_datasets(parse_config(values), "llama") == ["generated"]
    values["datasets"]["x"] = {**values["datasets"]["generated"], "n_train": 0, "seed": 1}
    values["studies"]["gsm8k"]["published"]["models"]["llama"]["datasets"] = ["x"]
    assert grid_datasets(parse_config(values), "llama") == []
    values["studies"]["gsm8k"]["calibrated"]["capacity"]["datasets"] = ["x"]
    sentences = list(calibration_contradictions(parse_config(values)))
    assert "holds 'x', which has not both" in sentences[0]


def test_what_is_held_out_depends_on_where_the_saes_were_trained() -> None:
    values = changed()
    values["datasets"]["x"] = values["datasets"]["generated"]
    config = parse_config(values)
    assert held_out_problems(config, "llama_k100", "generated") == "validation"
    assert held_out_problems(config, "llama_pca", "generated") == "validation"
    assert held_out_problems(config, "llama_k100", "x") == "analysed"


@pytest.mark.parametrize(
    ("blocks", "part"),
    [
        ({"calibrated": {"controls": ["llama_pcb"]}}, "'llama_pcb', which is no control"),
        (
            {"dictionaries": {"llama_k100": {"dataset": "generated", "rows": "all"}}},
            "dictionaries.llama_k100.rows is 'all', so no problem of 'generated' is held out",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_told(blocks: dict[str, Any], part: str) -> None:
    sentences = list(calibration_contradictions(parse_config(changed(**blocks))))
    assert part in sentences[0]
    values = changed()
    values["datasets"]["generated"]["n_validation"] = 0
    (first, *_) = calibration_contradictions(parse_config(values))
    assert "n_validation is 0" in first


def test_a_control_is_analysed_where_the_study_and_its_saes_are() -> None:
    values = changed()
    assert analysed_layers(parse_config(values), "llama_pca") == (2,)
    assert analysed_layers(parse_config(values), "llama_k100") == "all"
    values["studies"]["gsm8k"]["published"]["layers"] = [3, 2]
    assert analysed_layers(parse_config(values), "llama_pca") == (2,)
    assert analysed_layers(parse_config(values), "llama_k100") == (3, 2)
    values["studies"]["gsm8k"]["published"]["layers"] = [1]
    config = parse_config(values)
    assert named_controls(config, "llama_k100") == {"frozen_decoder": "llama_frozen_decoder"}
    values["dictionaries"]["llama_k100"]["layers"] = [0, 2]
    sentences = list(calibration_contradictions(parse_config(values)))
    assert "llama_k100.layers holds none of the analysed layers [1]" in sentences[0]


def test_a_layer_that_a_model_lacks_is_told_before_anything_runs() -> None:
    config = parse_config(changed())
    assert list(bank_layer_contradictions(config, "llama", 4)) == []
    (first, *_) = bank_layer_contradictions(config, "llama", 2)
    assert "layers holds 2, but model 'llama' has the layers 0 to 1" in first
