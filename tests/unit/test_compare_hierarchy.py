"""The hierarchy study's numbers of trained models, each beside its untrained control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import ttest_ind

from saeflow.artifacts.hierarchy import HIERARCHY, HIERARCHY_COMPARISON
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.stats.exact import holm
from saeflow.studies.compare.hierarchy import COMBINED, Compared, compare_hierarchy
from saeflow.studies.hierarchy.bins import BIN_LABELS

EFFECT, P_VALUE = "largest_set_effect", "largest_set_effect.p_value"
ADJUSTED = "largest_set_effect.p_holm"
DIFFERENCE, BEYOND = f"{EFFECT}.difference", f"{EFFECT}.beyond_untrained"
SPECIALISTS = "n_specialists.operators"


def row(metric: str, value: float | None, **changes: Any) -> dict[str, Any]:
    run = {"dataset": "d", "dictionary": "k4", "seed": 0, "mode": "calibrated"}
    place = {"layer": None, "step": None, "group": "all", "control": "none"}
    ends = {"ci_low": None, "ci_high": None, "interval": "none", "n": 10}
    return {**run, **place, "metric": metric, "value": value, **ends, **changes}


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), HIERARCHY.schema())


def set_rows(p_value: float, layer: int = 2, **changes: Any) -> list[dict[str, Any]]:
    """What the causal part says of the chosen site."""
    where = {"layer": layer, "step": 1, "group": "set", **changes}
    ends = {"ci_low": -0.5, "ci_high": -0.1, "interval": "cluster bootstrap 95 %"}
    return [
        row(EFFECT, -0.3, **where, **ends),
        row(P_VALUE, p_value, **where),
        row(f"{EFFECT}.chosen", -0.4, **where),
    ]


def compared(summaries: dict[str, pa.Table], *trained: Compared) -> pd.DataFrame:
    """The comparison, as a reader of the file has it."""
    found = compare_hierarchy(summaries, trained)
    assert found.schema == HIERARCHY_COMPARISON.schema()
    return found.to_pandas()


def values(frame: pd.DataFrame, metric: str, control: str) -> dict[str, float]:
    chosen = frame[(frame.metric == metric) & (frame.control == control)]
    assert not chosen.model.duplicated().any()
    return dict(zip(chosen.model, chosen.value, strict=True))


TRAINED = (Compared("b", ["b_untrained"]), Compared("a", ["a_untrained"]))


def summaries() -> dict[str, pa.Table]:
    return {
        "a": table(
            row(SPECIALISTS, 30.0),
            row(SPECIALISTS, 2.0, control="permuted", ci_low=0.0, ci_high=5.0),
            row("share_specialised", 0.5, group="50-200", mode="published"),
            row("screen_rank_correlation", 0.8, group="shortlist"),
            *set_rows(0.04, layer=1),
        ),
        "b": table(row(SPECIALISTS, 20.0), *set_rows(0.03)),
        "a_untrained": table(row(SPECIALISTS, 6.0), *set_rows(0.001, layer=3)),
        "b_untrained": table(row(SPECIALISTS, 4.0), *set_rows(0.9)),
    }


def test_p_values_are_adjusted_over_trained_models_alone() -> None:
    frame = compared(summaries(), *TRAINED)
    expected = holm(np.array([0.03, 0.04])).tolist()
    # Twice the smaller, which the larger is not below; four tests would make it four times.
    assert expected == pytest.approx([0.06, 0.06])
    assert values(frame, ADJUSTED, "none") == pytest.approx(dict(zip("ba", expected, strict=True)))
    # Untrained models are a family of their own.
    apart = dict(zip("ab", holm(np.array([0.001, 0.9])).tolist(), strict=True))
    assert values(frame, ADJUSTED, "untrained") == pytest.approx(apart)
    assert values(frame, P_VALUE, "untrained") == {"a": 0.001, "b": 0.9}
    adjusted = frame[(frame.metric == ADJUSTED) & (frame.model == "a")].iloc[0]
    assert (adjusted.layer, adjusted.step, adjusted.group) == (1, 1, "set")


def test_every_bank_of_a_trained_model_counts_among_the_adjusted() -> None:
    own = table(*set_rows(0.01), *set_rows(0.02, seed=1))
    frame = compared({**summaries(), "a": own}, *TRAINED)
    adjusted = frame[(frame.metric == ADJUSTED) & (frame.control == "none")]
    chosen = adjusted.set_index(["model", "seed"]).value
    assert chosen.to_dict() == pytest.approx({("a", 0): 0.03, ("a", 1): 0.04, ("b", 0): 0.04})


def test_the_untrained_model_stands_beside_the_trained_one() -> None:
    frame = compared(summaries(), *TRAINED)
    assert set(frame.model) == {"a", "b"}
    assert values(frame, SPECIALISTS, "none") == {"a": 30.0, "b": 20.0}
    assert values(frame, SPECIALISTS, "untrained") == {"a": 6.0, "b": 4.0}
    assert values(frame, SPECIALISTS, "permuted") == {"a": 2.0}
    band = frame[frame.control == "permuted"].iloc[0]
    assert (band.ci_low, band.ci_high) == (0.0, 5.0)
    # The site of its set is its own.
    own = frame[(frame.metric == EFFECT) & (frame.model == "a")].set_index("control").layer
    assert own.to_dict() == {"none": 1, "untrained": 3}


def test_controls_of_the_control_and_other_banks_are_left_out() -> None:
    more = table(
        row(SPECIALISTS, 6.0),
        row(SPECIALISTS, 5.0, control="permuted"),
        row(SPECIALISTS, 7.0, seed=1),
        row(SPECIALISTS, 8.0, dictionary="other"),
        row(SPECIALISTS, 9.0, dataset="other"),
    )
    frame = compared({**summaries(), "a_untrained": more}, *TRAINED)
    beside = frame[(frame.model == "a") & (frame.control == "untrained")]
    assert beside.value.tolist() == [6.0]


def test_of_several_untrained_models_the_first_with_the_bank_is_told() -> None:
    one = table(row(SPECIALISTS, 1.0, seed=1), row("n_tested", 3.0, seed=1))
    two = table(row(SPECIALISTS, 2.0), row(SPECIALISTS, 2.5, seed=1))
    own = table(row(SPECIALISTS, 30.0), row(SPECIALISTS, 31.0, seed=1))
    found = {"a": own, "one": one, "two": two}
    frame = compared(found, Compared("a", ["one", "two"]))
    beside = frame[(frame.metric == SPECIALISTS) & (frame.control == "untrained")]
    assert dict(zip(beside.seed, beside.value, strict=True)) == {0: 2.0, 1: 1.0}
    # Which of them it is stands in the same row, and in no row of the trained model's own.
    assert dict(zip(beside.seed, beside.other, strict=True)) == {0: "two", 1: "one"}
    assert set(frame[frame.control == "none"].other) == {""}


def test_control_dictionaries_stand_beside_the_bank_that_they_are_of() -> None:
    frozen = {"dictionary": "frozen"}
    own = [row(SPECIALISTS, 30.0), row(SPECIALISTS, 31.0, seed=1), row(SPECIALISTS, 9.0, **frozen)]
    left_out = [
        row(SPECIALISTS, 5.0, control="permuted", **frozen),
        row(SPECIALISTS, 8.0, seed=2, **frozen),
        row(SPECIALISTS, 8.0, dataset="other", **frozen),
        row(SPECIALISTS, 7.0, layer=2, step=1, **frozen),
        # Of a control that is studied by itself.
        row("n_specialised", 7.0, mode="published", **frozen),
        *set_rows(0.5, **frozen),
    ]
    tables = {"a": table(*own, *left_out), "u": table(row(SPECIALISTS, 6.0))}
    controls = {"k4": {"frozen_decoder": "frozen"}, "k8": {"frozen_decoder": "other"}}
    frame = compared(tables, Compared("a", ["u"], controls))
    named = ["metric", "dictionary", "seed", "control", "other"]
    assert set(frame[named].itertuples(index=False, name=None)) == {
        (SPECIALISTS, "k4", 0, "none", ""),
        (SPECIALISTS, "k4", 1, "none", ""),
        (SPECIALISTS, "k4", 0, "untrained", "u"),
        (SPECIALISTS, "k4", 0, "frozen_decoder", "frozen"),
    }
    assert values(frame[frame.seed == 0], SPECIALISTS, "frozen_decoder") == {"a": 9.0}
    # Studied by itself, it has rows of its own, too.
    both = compared(tables, Compared("a", ["u"], {**controls, "frozen": {}}))
    assert set(both[both.dictionary == "frozen"].control) == {"none", "permuted"}
    assert values(both[both.dictionary == "k4"], SPECIALISTS, "frozen_decoder") == {"a": 9.0}


def test_single_sites_bins_and_sizes_of_the_sweep_are_left_out() -> None:
    bins = [row(SPECIALISTS, 1.0, group=name) for name in BIN_LABELS]
    kept = [row(SPECIALISTS, 30.0), row("n_live", 9.0, group="400-512"), *set_rows(0.5)]
    left_out = [
        *bins,
        row(SPECIALISTS, 1.0, layer=2, step=1),
        row(SPECIALISTS, 1.0, layer=2),
        row(SPECIALISTS, 1.0, step=1),
        row("screen_same_sign", 1.0, group="shortlist", layer=0),
        row("n_live", 1.0, group="top"),
        row("n_live", 1.0, group="k=50", layer=2, step=3),
        row("n_live", 1.0, group="k=50 n=2", layer=2, step=3),
        # A dictionary with one site has sizes of no site of their own, either.
        row("n_live", 1.0, group="k=75"),
    ]
    frame = compared({"a": table(*kept, *left_out)}, Compared("a", []))
    # The p-value of the chosen set brings two more rows.
    assert len(frame) == len(kept) + 2
    told = [each["metric"] for each in kept] + [ADJUSTED, f"{EFFECT}.holds"]
    assert sorted(frame.metric) == sorted(told)
    assert set(frame.group) == {"all", "400-512", "set"}


def test_without_a_causal_part_nothing_is_adjusted() -> None:
    found = {"a": table(row(SPECIALISTS, 30.0)), "a_untrained": table(row(SPECIALISTS, 6.0))}
    frame = compared(found, Compared("a", ["a_untrained"]))
    assert frame.metric.tolist() == [SPECIALISTS] * 2
    assert frame.control.tolist() == ["none", "untrained"]
    assert len(compared(found)) == 0


def test_rows_are_sorted_by_their_keys_and_can_be_written(tmp_path: Path) -> None:
    found = compare_hierarchy(summaries(), TRAINED)
    keys = list(HIERARCHY_COMPARISON.keys)
    frame = found.to_pandas()
    assert not frame.duplicated(keys).any()
    filled = frame.fillna({"layer": 99, "step": 99})[keys]
    assert list(filled.itertuples(index=False, name=None)) == sorted(
        filled.itertuples(index=False, name=None)
    )
    reverse = dict(reversed(summaries().items()))
    assert compare_hierarchy(reverse, TRAINED[::-1]).equals(found)
    path = tmp_path / "hierarchy.parquet"
    write_table(found, path, HIERARCHY_COMPARISON, Provenance("c"))
    assert read_table(path, HIERARCHY_COMPARISON).num_rows == len(frame)


@pytest.mark.parametrize(
    ("p_values", "ends", "holds"),
    [
        ((0.01, 0.04), (-0.1, -0.1), (1, 1)),
        ((0.03, 0.04), (-0.1, -0.1), (0, 0)),
        ((0.01, 0.2), (0.1, -0.1), (0, 0)),
        ((0.01, 0.2), (None, -0.1), (0, 0)),
        ((0.01, 0.2), (-0.1, -0.1), (1, 0)),
    ],
)
def test_an_effect_holds_by_its_adjusted_p_value_and_its_whole_interval(
    p_values: tuple[float, float],
    ends: tuple[float | None, float | None],
    holds: tuple[int, int],
) -> None:
    tables = {}
    for name, p_value, end in zip(("a", "b"), p_values, ends, strict=True):
        rows = [{**each, "ci_high": end} for each in set_rows(p_value)]
        tables[name] = table(*rows)
    frame = compared(tables, Compared("a", []), Compared("b", []))
    assert values(frame, "largest_set_effect.holds", "none") == dict(zip("ab", holds, strict=True))
    assert (frame[frame.metric == ADJUSTED].n == 2).all()


def effect_rows(value: float, low: float | None, high: float | None, n: int) -> pa.Table:
    """A chosen site's effect with its interval."""
    interval = "none" if low is None else "cluster bootstrap 95 %"
    ends = {"ci_low": low, "ci_high": high, "interval": interval, "n": n}
    rows = set_rows(0.01)
    return table({**rows[0], "value": value, **ends}, *rows[1:])


def test_the_effect_is_held_against_that_of_the_untrained_model() -> None:
    generator = np.random.default_rng(0)
    # As many problems as differ most, so that the two intervals are of different lengths.
    one, other = generator.normal(-0.5, 1.0, 400), generator.normal(-0.1, 0.4, 90)
    ends = [
        np.quantile(generator.choice(values, (2000, len(values))).mean(1), [0.025, 0.975])
        for values in (one, other)
    ]
    tables = {
        "a": effect_rows(float(one.mean()), *ends[0].tolist(), 400),
        "u": effect_rows(float(other.mean()), *ends[1].tolist(), 90),
    }
    frame = compared(tables, Compared("a", ["u"]))
    found = frame[frame.metric == DIFFERENCE].iloc[0]
    expected = ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(expected), abs=0.01)
    assert (found.control, found.other, found.interval, found.n) == ("none", "u", COMBINED, 90)
    assert (found.layer, found.step, found.group) == (2, 1, "set")
    assert values(frame, BEYOND, "none") == {"a": 1.0}


@pytest.mark.parametrize(
    ("own", "control", "beyond"),
    [
        # Harm that holds against matched features, and that the untrained model shows as much.
        ((-0.10, -0.20, -0.01), (-0.11, -0.13, -0.09), 0),
        ((-0.30, -0.35, -0.25), (-0.11, -0.13, -0.09), 1),
        # Less harm than without training is not beyond it.
        ((-0.02, -0.03, -0.01), (-0.11, -0.13, -0.09), 0),
        # The intervals overlap, yet that of the difference, 0.2 long to either side, is below 0.
        ((-0.40, -0.52, -0.28), (-0.19, -0.35, -0.03), 1),
        ((-0.30, None, None), (0.0, -0.01, 0.01), 0),
        ((-0.30, -0.35, -0.25), (0.0, None, None), 0),
    ],
)
def test_harm_that_the_untrained_model_shows_as_much_is_told(
    own: tuple[float, float | None, float | None],
    control: tuple[float, float | None, float | None],
    beyond: int,
) -> None:
    tables = {"a": effect_rows(*own, 100), "u": effect_rows(*control, 54)}
    frame = compared(tables, Compared("a", ["u"]))
    assert values(frame, BEYOND, "none") == {"a": beyond}
    assert values(frame, DIFFERENCE, "none") == pytest.approx({"a": own[0] - control[0]})
    unknown = None in (*own, *control)
    difference = frame[frame.metric == DIFFERENCE].iloc[0]
    assert pd.isna(difference.ci_low) == pd.isna(difference.ci_high) == unknown
    assert (difference.interval == "none") == unknown
    # Against matched features nothing changes.
    alone = compared({"a": tables["a"]}, Compared("a", []))
    holds = f"{EFFECT}.holds"
    assert values(frame, holds, "none") == values(alone, holds, "none")


def test_nothing_is_held_against_an_untrained_model_without_the_bank_or_its_set() -> None:
    own = table(row(SPECIALISTS, 30.0), *set_rows(0.01), *set_rows(0.01, seed=1))
    for without in (table(row(SPECIALISTS, 6.0)), table(*set_rows(0.5, dictionary="other"))):
        frame = compared({"a": own, "u": without}, Compared("a", ["u"]))
        assert not frame.metric.isin([DIFFERENCE, BEYOND]).any()
    one_seed = compared({"a": own, "u": table(*set_rows(0.5))}, Compared("a", ["u"]))
    assert one_seed[one_seed.metric == BEYOND].seed.tolist() == [0]
