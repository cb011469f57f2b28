"""Patches, subsets and attribution on the pages of the decimal bug: what is drawn is what tables hold."""

from __future__ import annotations

import pytest

from saeflow.report.decimal_bug import patching, subsets
from saeflow.report.decimal_bug.numbers import Site, Units
from tests.decimal_tables import NO_BUG, OWN, WHOLE, numbers, shown
from tests.report_tables import EVIL


@pytest.mark.parametrize("direction", ["plain_to_buggy", "buggy_to_plain"])
def test_the_map_has_a_panel_per_donor(direction: str) -> None:
    figure = patching.map_figure(numbers(), direction)
    assert figure is not None
    titles = [each["text"] for each in figure["layout"]["annotations"]]
    assert titles == [
        "from same pair, other format",
        "from another pair, plain format",
        "from another pair, Q/A format",
        "from the prompt itself: nothing changes",
    ]
    same, plain, _, identity = figure["data"]
    assert same["x"] == ["attention", "MLP", "residual stream", "H0", "H1", "H10", "KV0", "B0"]
    assert same["y"] == ["0", "1"]
    assert same["z"][1] == [(4 * place + 1) / 40 for place in range(8)]
    assert plain["z"][0][4] == 17 / 40
    base = {"plain_to_buggy": 0.03, "buggy_to_plain": 0.97}[direction]
    assert identity["z"][0] == [base] * 3 + [None] * 5
    # A line parts whole modules, heads, groups and blocks in each of four panels.
    assert sorted({line["x0"] for line in figure["layout"]["shapes"]}) == [2.5, 5.5, 6.5]


def test_phases_are_told_apart_for_whole_modules() -> None:
    figure = patching.phases_figure(numbers())
    assert figure is not None
    same = figure["data"][0]
    assert same["x"][:3] == ["attention, both", "attention, prompt", "attention, answer"]
    assert same["z"][0][:4] == [0.0, 0.0, None, 0.1]
    assert same["z"][1][:2] == [1 / 40, 0.5 / 40]
    assert len(figure["data"]) == 4


def test_the_chosen_site_stands_with_every_donor() -> None:
    heads, *lines = shown(patching.site_table(numbers()))
    assert heads[:3] == ["Activations from", "Right", "Names the donor’s number"]
    assert [line[0] for line in lines] == list(patching.DONORS.values())
    assert lines[0][1:] == ["80.0 % [78.0, 82.0]", "–", "+3.000 [+2.980, +3.020]", "30"]
    # Only another pair has a number that the prompt does not hold.
    assert [line[2] for line in lines[1:]] == [
        "5.0 % [3.0, 7.0]",
        "15.0 % [13.0, 17.0]",
        "25.0 % [23.0, 27.0]",
        "20.0 % [18.0, 22.0]",
        *["–"] * 4,
    ]
    assert numbers().site() == Site(1, Units("kv_group", "1"))


def test_differences_from_unrelated_donors_are_tested() -> None:
    _, *lines = shown(patching.beyond_table(numbers()))
    attention, mlp = "chosen layer: attention, layer 1", "chosen layer: MLP, layer 1"
    site = "chosen site: KV group 1, layer 1"
    assert sorted(lines) == sorted(
        [
            [attention, "another pair, Q/A format", "+65.4 [+63.4, +67.4]", "0.0003", "0.0005"],
            [mlp, "another pair, Q/A format", "+65.4 [+63.4, +67.4]", "0.450", "0.900"],
            [site, "another pair, Q/A format", "+70.0 [+40.0, +100.0]", "0.0021", "0.0042"],
            [site, "a word problem", "+60.0 [+40.0, +80.0]", "0.0021", "0.0042"],
            [
                *(site, "a pair whose answer looks other, Q/A format", "+45.0 [+40.0, +50.0]"),
                *("0.0031", "0.0062"),
            ],
            [
                *(site, "unlike pairs: plain format against Q/A format", "+25.0 [+20.0, +30.0]"),
                *("0.0031", "0.0062"),
            ],
        ]
    )


def test_chosen_sets_are_beside_random_and_exchanged_ones() -> None:
    assert shown(patching.random_table(numbers())) == [
        [
            *("Chosen units", "Layer", "Same pair", "Other pair, Q/A"),
            *("Random sets of as many", "All units exchanged"),
        ],
        ["heads 0, 10", "1", "71.2 % [70.2, 72.2]", "11.2 %", "1.2 to 31.2 %", "41.2 %"],
    ]


def test_chosen_sets_stand_in_the_order_of_their_size() -> None:
    told = numbers()
    (key,) = (each for each in told.rows if "(chosen_2)" in each.group and each.control == "none")
    for size in (16, 4):
        units = ",".join(map(str, range(size)))
        group = f"random: plain_to_buggy, head {units} (chosen_{size}), both"
        told.rows[key._replace(group=group)] = told.rows[key]
    _, *rows = shown(patching.random_table(told))
    assert [row[0].count(",") + 1 for row in rows] == [2, 4, 16]


def test_blending_has_a_line_and_each_phase_alone() -> None:
    figure = patching.blend_figure(numbers())
    assert figure is not None
    right = {line["name"]: line for line in figure["data"] if line["xaxis"] == "x"}
    both = right["patched: prompt and answer"]
    assert (both["x"], both["y"]) == ([0.2, 0.6, 1.0], [0.125, 0.5, 0.875])
    assert both["error_y"]["array"] == [pytest.approx(0.05)] * 3
    assert right["patched: prompt"]["y"] == [0.0625]
    assert right["patched: answer"]["y"] == [0.8125]
    change = [line["y"] for line in figure["data"] if line["xaxis"] == "x2"]
    assert change == [[0.375, 1.5, 2.625]]


def test_success_grows_with_units_inside_its_band() -> None:
    figure = subsets.sizes_figure(numbers())
    assert figure is not None
    titles = [each["text"] for each in figure["layout"]["annotations"]]
    assert titles == ["3 heads", "2 blocks"]
    band, heads, _, blocks = figure["data"]
    assert (heads["x"], heads["y"]) == ([0, 1, 2, 3], [0.0, 1 / 3, 2 / 3, 1.0])
    assert band["y"][:4] == [pytest.approx(each / 3 + 0.06) for each in range(4)]
    assert heads["text"][2] == (
        "<b>2 heads</b><br>right 66.7 % of 30 pairs<br>from 60.7 to 72.7 %<br>3 subsets"
    )
    assert blocks["y"] == [0.0, 0.5, 1.0]


def test_values_of_units_have_intervals() -> None:
    figure = subsets.values_figure(numbers())
    assert figure is not None
    shapley, banzhaf, *blocks = figure["data"]
    assert shapley["y"] == [0.1, 0.2, 0.3]
    assert banzhaf["y"] == [0.05, 0.1, 0.15]
    assert shapley["error_y"]["arrayminus"] == [pytest.approx(0.03)] * 3
    assert len(blocks) == 2
    assert shown(subsets.parity_table(numbers()))[1] == [
        *("heads", "1", "+20.0 [+16.0, +24.0]", "0.333", "+10.0 [+6.0, +14.0]", "0.333")
    ]


def test_what_was_done_to_the_studys_own_pair_has_answers_and_no_interval() -> None:
    both, into_plain = "prompt and answer", "From Q/A prompts into plain prompts"
    into_buggy = "From plain prompts into Q/A prompts"
    assert shown(subsets.own_pair_table(numbers()))[1:] == [
        ["attention", "0", into_plain, both, "1", "not right", "+0.500"],
        ["attention", "1", into_plain, both, "1", "right", "−0.500"],
        ["blocks 0, 2 (even 2)", "1", into_buggy, both, "0.6", "right", "–"],
    ]


def test_sets_of_the_study_are_told_with_its_donor_alone() -> None:
    assert shown(subsets.sets_table(numbers()))[1:] == [
        [EVIL, "blocks 0, 2", "1", "as published", "56.8 % [54.8, 58.8]", "−0.789 [−0.809, −0.769]"]
    ]


def test_attribution_is_beside_units_drawn_at_random() -> None:
    assert shown(subsets.attribution_table(numbers(), OWN))[1] == [
        *("heads", "17 of 320", "11 of 40", "45.5 %", "43.2 %")
    ]
    assert subsets.attribution_table(numbers(NO_BUG), OWN) is None


def test_nothing_patched_gives_no_figure_and_no_table() -> None:
    found = numbers(NO_BUG)
    for make in (
        patching.phases_figure,
        patching.blend_figure,
        subsets.sizes_figure,
        subsets.values_figure,
    ):
        assert make(found) is None
    assert patching.map_figure(found, "plain_to_buggy") is None
    for table in (
        patching.site_table,
        patching.beyond_table,
        patching.random_table,
        subsets.parity_table,
        subsets.sets_table,
        subsets.own_pair_table,
    ):
        assert table(found) is None
    assert found.site() is None
    assert patching.baseline(found, "plain_to_buggy") is None


def test_modules_are_told_before_their_parts() -> None:
    assert patching.KINDS[: len(WHOLE)] == WHOLE
