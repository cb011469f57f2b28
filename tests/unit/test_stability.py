"""Matching of features across SAE seeds: planted twins, unrelated banks, labels against slow counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.calibration import DISCOVERIES, MATCHES, STABILITY
from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.studies import StabilitySettings
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.gsm8k.stability import SeedFeatures, match_runs, match_seeds

LAYERS, STEPS = (1, 3), (0, 2)
SITES = tuple(Site(layer, step) for layer in LAYERS for step in STEPS)
D_IN, D_SAE, TWINS, DEAD, MORE_DEAD = 64, 24, 15, 2, 5
ALIVE, FEWER = D_SAE - DEAD, D_SAE - MORE_DEAD
FIRST = range(DEAD, DEAD + TWINS)
PROBLEMS = np.arange(300)
HELD_OUT = PROBLEMS[PROBLEMS % 3 > 0]
RUN = {"dataset": "some", "dictionary": "small"}
SETTINGS = StabilitySettings()

Arrays = dict[Site, np.ndarray]


def sparse(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(len(PROBLEMS), D_SAE)) * (rng.random((len(PROBLEMS), D_SAE)) < 0.3)


def discoveries(rows: list[dict[str, Any]]) -> pa.Table:
    blank = {each.name: "" if each.type == pa.string() else 0 for each in DISCOVERIES.columns}
    filled = [blank | {"carried": False, "target": "token", "rank": 0} | row for row in rows]
    return pa.Table.from_pylist(filled, schema=DISCOVERIES.schema())


def seed_features(
    seed: int,
    directions: Arrays,
    values: Arrays,
    found: pa.Table | None = None,
    architecture: str = "abstopk",
) -> SeedFeatures:
    layers = []
    for layer in LAYERS:
        parts = []
        for step in STEPS:
            dense = values[Site(layer, step)].astype(np.float32)
            rows, feature = dense.nonzero()
            columns = {
                "problem": PROBLEMS[rows].astype(np.int32),
                "layer": np.full(len(rows), layer, np.int16),
                "step": np.full(len(rows), step, np.int16),
                "feature": feature.astype(np.int32),
                "value": dense[rows, feature],
            }
            parts.append(pa.table(columns))
        layers.append(LayerTable(layer, STEPS, D_SAE, pa.concat_tables(parts)))
    decoder = torch.tensor(np.stack([directions[site] for site in SITES]), dtype=torch.float32)
    bank = Bank(
        Recipe(architecture, D_SAE, 8),
        SITES,
        torch.zeros(len(SITES), D_IN, D_SAE),
        torch.zeros(len(SITES), D_SAE),
        decoder,
        torch.zeros(len(SITES), D_IN),
    )
    return SeedFeatures(seed, bank, iter(layers), discoveries([]) if found is None else found)


def bank_arrays(seed: int, dead: int = DEAD) -> tuple[Arrays, Arrays]:
    """Random directions and activations; the first features are dead on the held-out problems."""
    rng = np.random.default_rng(seed)
    directions = {site: rng.normal(size=(D_SAE, D_IN)) for site in SITES}
    values = {site: sparse(rng) for site in SITES}
    for each in values.values():
        each[np.ix_(HELD_OUT, range(dead))] = 0
    return directions, values


def planted(seed: int) -> tuple[Arrays, Arrays, Arrays, Arrays]:
    """Shuffled, negated, scaled and noisy twins of the features FIRST of `bank_arrays(0)`.

    Also gives where each twin went and its sign. Problems that are not held out have no twins.
    """
    rng = np.random.default_rng(seed)
    ours, fires = bank_arrays(0)
    directions, values = bank_arrays(seed, MORE_DEAD)
    places, signs = {}, {}
    for site in SITES:
        places[site] = rng.permutation(range(MORE_DEAD, D_SAE))[:TWINS]
        signs[site] = rng.choice([-1, 1], TWINS)
        noise = 0.1 * rng.normal(size=(TWINS, D_IN))
        directions[site][places[site]] = 3 * signs[site][:, None] * (ours[site][FIRST] + noise)
        own = fires[site][np.ix_(HELD_OUT, FIRST)] * rng.uniform(0.8, 1.2, (len(HELD_OUT), TWINS))
        values[site][np.ix_(HELD_OUT, places[site])] = 2 * signs[site] * own
    return directions, values, places, signs


def values_of(stability: pa.Table, metric: str, control: str = "none") -> dict[Any, float | None]:
    return {
        (row["layer"], row["step"]): row["value"]
        for row in stability.to_pylist()
        if row["metric"] == metric and row["control"] == control
    }


def test_planted_twins_are_found_exactly() -> None:
    directions, values, places, signs = planted(1)
    first = seed_features(0, *bank_arrays(0))
    second = seed_features(1, directions, values)
    matches, stability = match_seeds(first, second, HELD_OUT, SETTINGS, RUN)
    rows = matches.to_pandas()
    assert len(rows) == FEWER * len(SITES)
    assert (rows["seed"] == 0).all()
    assert (rows["other_seed"] == 1).all()
    for site in SITES:
        here = rows[(rows["layer"] == site.layer) & (rows["step"] == site.step)]
        assert set(here["feature"]) <= set(range(DEAD, D_SAE))
        assert set(here["other_feature"]) == set(range(MORE_DEAD, D_SAE))
        twins = here[here["recurs"]]
        assert twins["feature"].tolist() == list(FIRST)
        np.testing.assert_array_equal(twins["other_feature"], places[site])
        np.testing.assert_array_equal(np.sign(twins["cosine"]), signs[site])
        np.testing.assert_array_equal(np.sign(twins["correlation"]), signs[site])
        assert twins[["cosine", "correlation"]].abs().min(axis=None) > 0.95
    shares = values_of(stability, "recurring_share")
    everywhere = [(layer, step) for layer in (None, *LAYERS) for step in (None, *STEPS)]
    assert shares == dict.fromkeys(everywhere, pytest.approx(TWINS / ALIVE))
    whole = stability.to_pandas().query("metric == 'recurring_share' and layer.isna()")
    assert whole[whole["step"].isna()]["n"].tolist() == [ALIVE * len(SITES)] * 3
    np.testing.assert_allclose(
        values_of(stability, "mean_cosine")[None, None], rows["cosine"].abs().mean()
    )
    np.testing.assert_allclose(
        values_of(stability, "mean_correlation")[3, None],
        rows[rows["layer"] == 3]["correlation"].abs().mean(),
    )


def test_controls_find_none_of_the_planted_twins() -> None:
    directions, values, *_ = planted(1)
    first = seed_features(0, *bank_arrays(0))
    second = seed_features(1, directions, values)
    _, stability = match_seeds(first, second, HELD_OUT, SETTINGS, RUN)
    for metric, controls in (
        ("recurring_share", ("permuted", "random_directions")),
        ("recurring_share.activation", ("permuted",)),
        ("recurring_share.direction", ("random_directions",)),
    ):
        assert values_of(stability, metric)[None, None] == pytest.approx(TWINS / ALIVE)
        for control in controls:
            assert values_of(stability, metric, control)[None, None] == 0


@pytest.mark.parametrize("alike", ["direction", "activation"])
def test_features_alike_on_one_side_recur_by_that_side_only(alike: str) -> None:
    directions, values, *_ = planted(2)
    other_directions, other_values = bank_arrays(3)
    mixed = (directions, other_values) if alike == "direction" else (other_directions, values)
    first, second = seed_features(0, *bank_arrays(0)), seed_features(1, *mixed)
    _, stability = match_seeds(first, second, HELD_OUT, SETTINGS, RUN)
    for by in ("direction", "activation"):
        share = values_of(stability, f"recurring_share.{by}")[None, None]
        assert share == pytest.approx(TWINS / ALIVE if by == alike else 0)
    assert values_of(stability, "recurring_share")[None, None] == 0


def test_unsigned_features_do_not_come_back_negated() -> None:
    directions, values, _, signs = planted(4)
    first = seed_features(0, *bank_arrays(0), architecture="topk")
    second = seed_features(1, directions, values, architecture="topk")
    matches, _ = match_seeds(first, second, HELD_OUT, SETTINGS, RUN)
    expected = sum(int((each > 0).sum()) for each in signs.values())
    assert 0 < expected < TWINS * len(SITES)
    assert matches["recurs"].to_numpy().sum() == expected


def test_unrelated_banks_look_like_their_controls() -> None:
    first, second = seed_features(0, *bank_arrays(0)), seed_features(1, *bank_arrays(5))
    matches, stability = match_seeds(first, second, HELD_OUT, SETTINGS, RUN)
    assert not matches["recurs"].to_numpy().any()
    for ending, controls in (
        ("", ("permuted", "random_directions")),
        (".direction", ("random_directions",)),
        (".activation", ("permuted",)),
    ):
        for control in controls:
            for name in ("mean_cosine", "mean_correlation"):
                found = values_of(stability, name + ending)[None, None]
                chance = values_of(stability, name + ending, control)[None, None]
                assert found == pytest.approx(chance, rel=0.15)


def random_discoveries(seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for site in SITES:
        for feature in range(D_SAE):
            for sign in "+-":
                p_value = rng.random() / 1000
                for rank in range(rng.integers(3)):
                    given = {"sign": sign, "rank": rank, "label": str(rng.choice(list("1234*")))}
                    place = {**site._asdict(), "feature": feature}
                    rows.append({**place, **given, "p_value": p_value})
            operator = {"target": "operator", "rank": 0, "label": "+", "sign": "+", "p_value": 0.0}
            rows.append({**site._asdict(), "feature": feature, **operator})
    return rows


def slow_label(rows: list[dict[str, Any]], layer: int, step: int, feature: int) -> str | None:
    own = [
        (row["p_value"], row["label"])
        for row in rows
        if (row["layer"], row["step"], row["feature"]) == (layer, step, feature)
        and row.get("target", "token") == "token"
        and row["rank"] == 0
    ]
    return min(own)[1] if own else None


def test_label_agreement_equals_a_slow_count_and_its_chance_a_shuffle() -> None:
    directions, values, *_ = planted(1)
    found = random_discoveries(6), random_discoveries(7)
    first = seed_features(0, *bank_arrays(0), discoveries(found[0]))
    second = seed_features(1, directions, values, discoveries(found[1]))
    matches, stability = match_seeds(first, second, HELD_OUT, SETTINGS, RUN)
    labels: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for row in matches.to_pylist():
        site = row["layer"], row["step"]
        one = slow_label(found[0], *site, row["feature"])
        other = slow_label(found[1], *site, row["other_feature"])
        if one is None or other is None:
            assert row["same_label"] is None
            continue
        assert row["same_label"] == (one == other)
        if row["recurs"]:
            labels.setdefault(site, []).append((one, other))
    agreement = values_of(stability, "label_agreement")
    chance = values_of(stability, "label_agreement", "permuted")
    rng = np.random.default_rng(8)
    for layer, step in agreement:
        here = [
            pairs
            for site, pairs in labels.items()
            if layer in (None, site[0]) and step in (None, site[1])
        ]
        n = sum(map(len, here))
        same = sum(one == other for pairs in here for one, other in pairs)
        assert agreement[layer, step] == pytest.approx(same / n)
        shuffled = [
            sum(
                (
                    np.array([one for one, _ in pairs]) == rng.permutation([b for _, b in pairs])
                ).sum()
                for pairs in here
            )
            / n
            for _ in range(1500)
        ]
        error = np.std(shuffled) / np.sqrt(len(shuffled))
        assert abs(chance[layer, step] - np.mean(shuffled)) < 4 * error
    assert 0 < agreement[None, None] < 1


def test_without_labels_agreement_is_missing() -> None:
    directions, values, *_ = planted(1)
    first = seed_features(0, *bank_arrays(0))
    second = seed_features(1, directions, values)
    matches, stability = match_seeds(first, second, HELD_OUT, SETTINGS, RUN)
    assert matches["same_label"].null_count == len(matches)
    assert set(values_of(stability, "label_agreement").values()) == {None}


def test_only_runs_alike_are_paired_and_tables_fit(tmp_path: Path) -> None:
    arrays = [bank_arrays(seed) for seed in range(4)]
    runs: list[dict[str, Any]] = [
        {"dataset": "some", "dictionary": "small", "seed": 0},
        {"dataset": "some", "dictionary": "small", "seed": 1},
        {"dataset": "some", "dictionary": "other", "seed": 0},
        {"dataset": "some", "dictionary": "small", "seed": 2},
    ]

    def opened(place: int) -> SeedFeatures:
        return seed_features(runs[place]["seed"], *arrays[place])

    held_out = [HELD_OUT] * len(runs)
    found = match_runs(runs, opened, held_out, SETTINGS)
    again = match_runs(runs, opened, held_out, SETTINGS)
    for table, repeated, artifact in zip(found, again, (MATCHES, STABILITY), strict=True):
        assert table.equals(repeated)
        frame = table.to_pandas()
        assert set(frame["dictionary"]) == {"small"}
        pairs = set(zip(frame["seed"], frame["other_seed"], strict=True))
        assert pairs == {(0, 1), (0, 2), (1, 2)}
        assert not frame.duplicated([*artifact.keys]).any()
        path = tmp_path / f"{artifact.name}.parquet"
        write_table(table, path, artifact, Provenance(config="none"))
        assert len(read_table(path, artifact)) == len(table)
    alone = match_runs(runs[1:3], opened, held_out[1:3], SETTINGS)
    assert [len(table) for table in alone] == [0, 0]
