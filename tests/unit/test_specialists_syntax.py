"""Shares on syntactic tokens: planted masses, and controls on a specialist's own texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saeflow.artifacts.specialists import SPECIALISTS
from saeflow.artifacts.tables import write_table
from saeflow.datasets.matched.token_classes import CLASSES, SYNTACTIC
from saeflow.models.codi import CodiModel
from saeflow.stats.resampling import BOOTSTRAP
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED
from saeflow.studies.specialists.behaviour import SpecialistFeature, TokenMass, token_mass
from saeflow.studies.specialists.rows import numbers_table
from saeflow.studies.specialists.syntax import ALL_FEATURES, TOKENS, syntactic_rows
from tests.unit.test_specialists_behaviour import FORMS, TEXTS, bank
from tests.unit.test_specialists_behaviour import SPECIALISTS as OF_BANK
from tests.unit.test_specialists_behaviour import model as model
from tests.unit.test_tables import PROVENANCE

pytestmark = pytest.mark.usefixtures("one_thread")
KEY = {"dictionary": "tokens", "seed": 7, "mode": CALIBRATED, "pooling": "max"}
CONTROLS = (NONE, ALL_FEATURES, TOKENS)
PLANTED = [
    SpecialistFeature(2, 0, "Math", "symbolic"),
    SpecialistFeature(2, 1, "Math", "prose"),
    SpecialistFeature(0, 2, "Social"),
    SpecialistFeature(0, 3, "Formal", "plain"),
]
N = 40


def planted() -> tuple[TokenMass, list[int]]:
    """Syntactic tokens alone; as many as there are; content alone, on the second half; and silent.

    Texts of the second half have fewer syntactic tokens.
    """
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 6, size=(N, len(CLASSES)))
    tokens[N // 2 :, CLASSES.index("content")] += 30
    mass = np.zeros((N, len(PLANTED), len(CLASSES)))
    syntactic = [CLASSES.index(name) for name in SYNTACTIC]
    mass[:, 0, syntactic] = tokens[:, syntactic]
    mass[:, 1] = tokens * rng.uniform(0.9, 1.1, size=tokens.shape)
    mass[N // 2 :, 2, CLASSES.index("content")] = 1.0
    features = tokens[:, None] * rng.uniform(1, 2, size=(N, 2, len(CLASSES)))
    return TokenMass(mass, features, tokens, (0, 2)), [number // 2 for number in range(N)]


def share(values: np.ndarray) -> float:
    """By a loop over classes."""
    total = sum(
        values[:, place].sum() for place, name in enumerate(CLASSES) if name in set(SYNTACTIC)
    )
    return float(total / values.sum())


def by_control(rows: list[dict[str, Any]], group: str) -> list[dict[str, Any]]:
    found = [each for each in rows if each["group"] == group]
    assert [each["control"] for each in found] == list(CONTROLS)
    return found


def test_planted_shares_stand_beside_their_controls() -> None:
    mass, contents = planted()
    rows = list(syntactic_rows(KEY, mass, PLANTED, contents))
    own, features, tokens = by_control(rows, "Math: symbolic")
    assert own["value"] == 1.0
    assert own["ci_low"] is None, "nothing varies"
    for found, values in ((features, mass.features[:, 1]), (tokens, mass.tokens)):
        assert found["value"] == pytest.approx(share(values))
        assert found["ci_low"] < found["value"] < found["ci_high"] < own["value"]
        assert found["interval"] == BOOTSTRAP
    plain, _, tokens = by_control(rows, "Math: prose")
    assert plain["ci_low"] < tokens["value"] < plain["ci_high"], "it does not look at classes"
    content, features, tokens = by_control(rows, "Social")
    half = slice(N // 2, None)
    assert content["value"] == 0.0
    assert content["n"] == features["n"] == tokens["n"] == N // 4, "contents of two texts each"
    assert features["value"] == pytest.approx(share(mass.features[half, 0]))
    assert tokens["value"] == pytest.approx(share(mass.tokens[half]))
    assert tokens["value"] < share(mass.tokens) - 0.1
    for silent in by_control(rows, "Formal: plain"):
        assert (silent["value"], silent["n"], silent["ci_low"]) == (None, 0, None)
    assert {(each["group"], each["layer"]) for each in rows} == {
        (each.name, each.layer) for each in PLANTED
    }
    assert {each["metric"] for each in rows} == {"syntactic_share"}


def test_contents_are_resampled_as_one() -> None:
    mass, _ = planted()
    apart, together = (
        by_control(list(syntactic_rows(KEY, mass, PLANTED, each)), "Math: prose")[0]
        for each in (list(range(N)), [n % 4 for n in range(N)])
    )
    assert apart["value"] == pytest.approx(together["value"])
    assert (apart["n"], together["n"]) == (N, 4)
    # Of classes of texts that differ, four contents tell less than forty.
    halves = by_control(
        list(syntactic_rows(KEY, mass, PLANTED, [n // 10 for n in range(N)])), "Math: prose"
    )[0]
    assert halves["ci_high"] - halves["ci_low"] > 1.5 * (apart["ci_high"] - apart["ci_low"])


def test_published_shares_have_no_interval() -> None:
    mass, contents = planted()
    rows, other = (
        list(syntactic_rows(KEY | {"mode": mode}, mass, PLANTED, contents))
        for mode in (PUBLISHED, CALIBRATED)
    )
    assert [each["value"] for each in rows] == [each["value"] for each in other]
    assert {(each["ci_low"], each["interval"]) for each in rows} == {(None, NONE)}


def test_rows_of_a_bank_fit_their_table(model: CodiModel, tmp_path: Path) -> None:
    mass = token_mass(model, bank(), TEXTS, FORMS, OF_BANK)
    rows = list(syntactic_rows(KEY, mass, OF_BANK, range(len(TEXTS))))
    table = numbers_table(rows)
    write_table(table, tmp_path / "a.parquet", SPECIALISTS, PROVENANCE)
    keys = table.select(SPECIALISTS.keys).to_pylist()
    assert len({tuple(each.values()) for each in keys}) == len(rows) == 3 * len(OF_BANK)
    for number, each in enumerate(OF_BANK):
        own, features, tokens = by_control(rows, each.name)
        active = mass.specialists[:, number].any(1)
        assert own["n"] == active.sum()
        place = mass.layers.index(each.layer)
        assert own["value"] == pytest.approx(share(mass.specialists[:, number]))
        assert features["value"] == pytest.approx(share(mass.features[active, place]))
        assert tokens["value"] == pytest.approx(share(mass.tokens[active]))
