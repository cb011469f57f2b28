"""The report's first paragraph says what its table says, and names every control not beaten."""

from __future__ import annotations

import copy
from typing import Any

import pyarrow as pa

from saeflow.report.controls import DISCOVERED, MONOSEMANTIC, read_calibration
from saeflow.report.finding import NO_BREAK, finding
from tests.calibrated_tables import RATES, Numbers, calibration


def said(*tables: pa.Table) -> dict[str, Any] | None:
    models = [name for table in tables for name in table["model"].unique().to_pylist()]
    return finding(read_calibration(pa.concat_tables(tables), models))


def text_of(found: dict[str, Any] | None) -> str:
    assert found is not None
    parts = (f"{part['word']}: {' '.join(part['sentences'])}" for part in found["parts"])
    return " ".join([found["lead"], *parts]).replace(NO_BREAK, " ")


def changed(metric: str, **controls: Numbers) -> dict[str, dict[str, Numbers]]:
    rates = copy.deepcopy(RATES)
    rates[metric] |= controls
    return rates


def without(*names: str) -> dict[str, dict[str, Numbers]]:
    return {
        metric: {control: row for control, row in rows.items() if control not in names}
        for metric, rows in RATES.items()
    }


def test_controls_that_are_not_beaten_are_named_with_their_numbers() -> None:
    assert text_of(said(calibration())) == (
        "Not every control is beaten: 2 of 3 rates fail against one or more. "
        "Supported: 12.0 % of the features of toy follow a token on unseen problems, by exact tests, "
        "more than every control: permuted tokens (0.1 %) and the untrained model (2.0 %); in layer 1, "
        "where it is 12.0 %, PCA (6.0 %). "
        "Not supported: 45.0 % of the features of toy are interpretable by the published criteria. "
        "Not beaten: the untrained model (50.0 %). Beaten: permuted tokens (36.0 %) and features that "
        "fire at random, just as often (37.0 %); in layer 1, where it is 45.0 %, PCA (25.0 %). "
        "60.0 % of the interpretable features of toy are monosemantic by the published rule, which beats "
        "no control: permuted tokens (75.0 %), features that fire at random, just as often (72.0 %) and "
        "the untrained model (66.0 %); in layer 1, where it is 60.0 %, PCA (70.0 %)."
    )


def test_when_every_control_is_beaten_it_says_so() -> None:
    rates = without("untrained", "pca")
    rates["monosemantic_rate"]["none"] = (0.9, 0.89, 0.91)
    found = said(calibration(rates))
    assert found is not None
    assert found["lead"] == "Every control is beaten."
    assert [part["word"] for part in found["parts"]] == ["Supported"]
    assert len(found["parts"][0]["sentences"]) == 3


def test_without_controls_only_chance_stands_beside() -> None:
    text = text_of(said(calibration(without("untrained", "pca", "frequency_matched"))))
    assert "1 of 3 rates fails against one or more" in text
    assert "which does not beat its one control: permuted tokens (75.0 %)." in text
    assert "more than its one control: permuted tokens (36.0 %)." in text
    for word in ("untrained", "PCA", "at random"):
        assert word not in text


def test_nothing_is_said_without_anything_beside() -> None:
    only = {metric: {"none": rows["none"]} for metric, rows in RATES.items()}
    assert said(calibration(only)) is None
    assert finding([]) is None


def test_without_published_rows_only_discoveries_are_told() -> None:
    text = text_of(said(calibration({"discovered_rate": RATES["discovered_rate"]})))
    assert text.startswith("Every control is beaten. Supported: 12.0 %")
    assert "interpretable" not in text
    assert "monosemantic" not in text


def test_a_lead_within_the_range_of_the_seeds_beats_nothing() -> None:
    found = said(calibration(changed("discovered_rate", untrained=(0.1, 0.09, 0.11))))
    assert "Not beaten: the untrained model (10.0 %)." in text_of(found)
    higher = said(calibration(changed("discovered_rate", untrained=(0.1, 0.09, 0.1099))))
    assert "Not beaten: the untrained model (10.0 %)." not in text_of(higher)


def test_a_rate_or_a_control_that_is_not_defined_is_told() -> None:
    rates = copy.deepcopy(RATES)
    del rates["monosemantic_rate"]["pca"]
    assert "Not defined for PCA in layer 1." in text_of(said(calibration(rates)))
    table = calibration()
    kept = pa.compute.not_equal(table["metric"], "monosemantic_rate")
    assert "Not defined: The monosemantic rate of toy." in text_of(said(table.filter(kept)))


def test_several_models_and_their_dictionaries_are_told_apart() -> None:
    one, two = calibration(), calibration(model="other")
    assert "of the features of other follow" in text_of(said(one, two))
    second = one.set_column(2, one.schema.field("dictionary"), pa.array(["k8"] * len(one)))
    text = text_of(said(one, second))
    assert "of the features of toy (tiny_k4 on small) follow" in text
    assert "of the features of toy (k8 on small) follow" in text
    assert "4 of 6 rates fail" in text


def test_controls_stand_where_they_are_measured() -> None:
    (beside,) = read_calibration(calibration(), ["toy"])
    assert beside.everywhere() == ["untrained"]
    assert beside.local() == {1: ["pca"]}
    places = [(each.control, each.layer) for each in beside.against(DISCOVERED)]
    assert places == [("permuted", None), ("untrained", None), ("pca", 1)]
    permuted = next(beside.against(MONOSEMANTIC))
    assert permuted.difference is not None
    assert permuted.difference["interval"] == "permutation_95"
