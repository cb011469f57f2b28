"""The page of a wide SAE's features: what it says and draws is what the tables hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from saeflow.errors import SaeflowError
from saeflow.report.scaling import features, features_map
from saeflow.report.scaling.features_details import feature_details, shown
from saeflow.report.scaling.features_rows import feature_rows, main_tables, topic_titles
from saeflow.report.shades import shade
from tests.report_tables import EVIL
from tests.scaling_feature_tables import LARGEST, SAID, feature_tables, make_features
from tests.unit.test_report import Page, chunk

LEVEL = "document_max"


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return feature_tables()


@pytest.fixture(scope="module")
def page(tables: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        # Few features per chunk, so that finding a feature's chunk is put to use.
        patch.setattr(features, "BLOCK", 2)
        return make_features(tmp_path_factory.mktemp("features"), tables)


def test_rows_tell_what_is_held_out(tables: dict[str, pa.Table]) -> None:
    rows = feature_rows(main_tables(tables, LEVEL), [0, 1, 3, 4])
    silent, hostile, sport, second = rows
    # Density of documents that trained no SAE, largest over all documents, no search, nothing to explain.
    assert silent == [0, 0.0, 1.0, *[None] * 6, "", 0.875, 0.5, 0.875, 0.5]
    assert hostile[:6] == [1, 0.001, LARGEST, EVIL, 1, 0.91]
    assert hostile[6:9] == [0.01, 0.7, "untrained"]
    assert hostile[9] == SAID.replace("\0", "�")
    assert hostile[10:] == [0.874, 0.499, 0.874, 0.499]
    assert sport[3:6] == ["sport", 1, 0.91]
    # Second for all topics: the topic whose half A speaks most for it, whatever the other half says.
    assert second[3:6] == ["sport", 2, 0.92]


def test_another_level_is_told_where_it_is_asked_for(tables: dict[str, pa.Table]) -> None:
    (row,) = feature_rows(main_tables(tables, "token"), [3])
    assert row[3:6] == ["sport", 1, 0.81]
    # One that was not searched by gives way to the first that was.
    assert main_tables(tables, "document_mean").level == "document_max"


def test_details_hold_every_example_once(tables: dict[str, pa.Table]) -> None:
    main = main_tables(tables, LEVEL)
    found = feature_details(main, [1, 2])
    assert list(found["features"]) == ["1", "2"]
    one = found["features"]["1"]
    held_out = one["examples"]["validation"]
    assert [len(held_out[kind]) for kind in ("top", "bin", "silent")] == [2, 4, 1]
    number, value, active = held_out["top"][0]
    document, position, group, centre, tokens = found["windows"][number]
    own = tables["examples"].filter(
        pc.and_(
            pc.equal(tables["examples"]["document"], document),
            pc.equal(tables["examples"]["feature"], 1),
        )
    )
    (row,) = own.to_pylist()
    assert (row["position"], row["centre"], value) == (position, centre, LARGEST)
    assert group == f"topic {EVIL}"
    assert [found["tokens"][token] for token in tokens] == [shown(each) for each in row["tokens"]]
    assert active == [0, None, 2, LARGEST, 3, -1.0]
    bins = held_out["bin"]
    assert [bins[place][0] for place in range(4)] == [1234] * 4
    assert [bins[place][1][0][1] for place in range(4)] == [0.5, 1.5, 2.5, 3.5]
    # Windows are listed once, however many features are silent there.
    keys = [tuple(window[:2]) for window in found["windows"]]
    assert len(keys) == len(set(keys))
    assert one["tokens"]["train"]["count"][0] == [" the", 20, 50.5, 400, 2.5]
    assert one["neighbours"]["cosine"] == [[2, 0.9, 0.3], [3, 0.89, None], [11, 0.88, None]]
    assert [split[0] for split in one["splits"]] == ["train", "validation"]


def test_details_put_controls_beside(tables: dict[str, pa.Table]) -> None:
    found = feature_details(main_tables(tables, LEVEL), [1, 5])["features"]
    search = found["1"]["search"]
    assert [(row[0], row[3], row[5]) for row in search] == [
        (EVIL, "document_max", 1),
        (EVIL, "token", 1),
    ]
    assert search[0][10] == [["words", 0.625], ["length", 0.5], ["untrained", 0.7]]
    # What holds nothing out has no number that a control could stand beside.
    assert [(row[1], row[7], row[10]) for row in found["5"]["search"]] == [
        ("published", None, [])
    ] * 3
    own, other = found["1"]["explanations"]
    assert (own["explainer"], other["explainer"]) == ("tokens", "local")
    assert own["swapped"] == [2, "tokens word 2"]
    assert len(own["scores"]) == 4
    assert other["scores"] == []
    scorer, method, kind, *counts = own["scores"][0]
    assert (scorer, method, kind, counts[:3]) == ("tokens", "detection", "random", [20, 40, 0])
    assert [each[0] for each in counts[3:]] == [0.874, 0.499, 0.499]


def test_every_character_of_a_token_is_seen() -> None:
    assert shown("a\0\n\t\x01\x7f b") == "a�⏎⇥␁␡ b"


def test_topics_go_by_their_group_where_all_are_groups_of_one_set() -> None:
    def titles(*names: str) -> list[str]:
        return list(topic_titles(pa.table({"prompts": list(names)})).values())

    assert titles("topics/a", "topics/b") == ["a", "b"]
    assert titles("own", "topics/b") == ["own", "topics/b"]
    assert titles("one/a", "two/a") == ["one/a", "two/a"]
    assert topic_titles(None) == {}


def test_the_map_has_a_point_per_feature_and_way_of_colouring(tables: dict[str, pa.Table]) -> None:
    figure = features_map.map_figure(main_tables(tables, LEVEL))
    assert figure is not None
    (choice,) = figure["layout"]["meta"]["choices"]
    assert [option["title"] for option in choice["options"]] == ["Topic of the search", "Density"]
    for option in choice["options"]:
        shown_features = [f for t in option["traces"] for f in figure["data"][t]["customdata"]]
        # Feature 0 never fires, so it is nowhere.
        assert sorted(shown_features) == [1, 2, 3, 4, 5]
    hover = next(t for t in figure["data"] if t["customdata"] == [1])["text"][0]
    assert "place 1, held-out AUROC 0.910" in hover
    assert "<script" not in hover
    density = figure["data"][choice["options"][1]["traces"][0]]
    assert density["marker"]["color"][0] == pytest.approx(-3)


def test_few_of_many_features_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_map, "DRAWN", 7)
    figure = features_map.map_figure(main_tables(feature_tables(60, 80), LEVEL))
    assert figure is not None
    drawn = {feature for trace in figure["data"] for feature in trace["customdata"]}
    assert len(drawn) == 7
    assert {1, 2, 3, 4} <= drawn


def test_densities_of_listed_features_stand_beside_all(tables: dict[str, pa.Table]) -> None:
    figure = features_map.density_figure(main_tables(tables, LEVEL), range(6))
    assert figure is not None
    every, listed, frozen = figure["data"]
    assert list(every["customdata"]) == [1, 10, 1]
    assert list(listed["customdata"]) == [1, 5, 0]
    assert listed["name"] == "listed above (6)"
    assert list(every["x"]) == ["never", "1 %", "100 %"]
    assert list(frozen["y"]) == pytest.approx([1 / 12, 10 / 12, 1 / 12])


def test_page_is_whole_and_holds_nothing_unescaped(page: Path) -> None:
    found = Page(page)
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "\0" not in text
    assert "6 of 12 features of wide, seed 0, layer 2" in found.text
    figures = {attrs["data-target"] for _, attrs in found.tags if "data-target" in attrs}
    drawn = {a["id"] for _, a in found.tags if "plot" in (a.get("class") or "").split()}
    assert figures == drawn == {"map", "densities"}
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for target in [str(attrs["href"]) for tag, attrs in found.tags if tag == "a"]:
        assert target[1:] in ids if target.startswith("#") else (page.parent / target).is_file()
    # Below 0 there are activations, so shades of both signs are explained.
    assert "−100 to −80 %" in found.text
    manifest = found.data("id", "manifest")
    assert (manifest["splits"], manifest["bins"]) == (["validation", "train"], 4)
    rows = chunk(page.parent, manifest["chunk"])
    assert [row[0] for row in rows] == list(range(6))
    for number in range(3):
        details = chunk(page.parent, f"{manifest['chunk']}-{number}")["features"]
        assert list(details) == [str(2 * number), str(2 * number + 1)]


def test_a_model_without_search_and_explanations_has_a_page(
    tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    bare = {name: tables[name] for name in ("features", "densities", "neighbours")}
    bare["explanations"] = tables["explanations"].slice(0, 0)
    page = make_features(tmp_path, bare)
    found = Page(page)
    assert found.data("id", "manifest")["searched"] is False
    assert "Detection" not in found.text.split("Clear filters")[1]
    assert "map" not in {attrs.get("data-target") for _, attrs in found.tags}
    row = chunk(page.parent, "scaling-toy-features")[1]
    assert row == [1, 0.001, LARGEST, *[None] * 11]


def test_features_of_two_saes_are_refused(tables: dict[str, pa.Table]) -> None:
    other = tables["map"].set_column(1, tables["map"].field(1), pa.array([1] * 5, pa.int32()))
    with pytest.raises(SaeflowError, match="wide seed 0, wide seed 1 are listed; expected"):
        main_tables({**tables, "map": other}, LEVEL)


def test_200_features_take_few_megabytes(tmp_path: Path) -> None:
    letters = np.random.default_rng(1).integers(97, 123, (4000, 6))
    words = tuple(
        " " + "".join(map(chr, word[: 1 + place % 6])) for place, word in enumerate(letters)
    )
    big = feature_tables(
        200, 2048, words=words, width=31, top=10, per_bin=2, silent=5, neighbours=10
    )
    page = make_features(tmp_path, big)
    sizes = {each.name: each.stat().st_size for each in (tmp_path / "data").iterdir()}
    assert len(sizes) == 5
    total = page.stat().st_size + sum(sizes.values())
    assert total < 4e6, json.dumps(sizes)
    # What is read before anything is opened.
    assert sizes["scaling-toy-features.js"] + page.stat().st_size < 3e5


@pytest.mark.parametrize(
    ("value", "mark"),
    [(None, "begin"), (0.0, ""), (0.1, "p1"), (-4.0, "n5"), (4.0, "p5"), (2.0, "p3")],
)
def test_shades_are_steps_of_the_largest_value(value: float | None, mark: str) -> None:
    assert shade(value, LARGEST) == mark
