"""Tables of the study of specialists, looked up number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.report.controls import without_nan

NONE = "none"
PUBLISHED, CALIBRATED = "published", "calibrated"
POOLINGS = {
    "average_then_encode": "average, then encode",
    "encode_then_average": "encode, then average",
    "max": "maximum",
    "last": "last token",
}
"""Ways to pool, in words; one that is not named here goes by its own name."""
BASELINES = {
    "words": "words",
    "trigrams": "letter trigrams",
    "characters": "characters",
    "word_length": "length in words",
    "character_length": "length in characters",
}
"""What texts are compared by without a model, in words."""
SETS = {"pairs": "topic and form", "forms": "form within its topic", "categories": "categories"}
"""Sets of classes, in words."""

Row = Mapping[str, Any]
Figure = dict[str, Any]
Table = dict[str, Any]


class Bank(NamedTuple):
    """SAEs that numbers are of, by their recipe and seed."""

    dictionary: str = ""
    seed: int = 0

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.dictionary}, seed {self.seed}"


NO_BANK = Bank()
"""Key of what reads no SAE: words and tasks."""


class Key(NamedTuple):
    """What tells rows of a summary apart; fields as its columns."""

    part: str
    bank: Bank
    mode: str
    layer: int | None
    pooling: str
    group: str
    metric: str
    control: str


class SpecialistTables(NamedTuple):
    """Tables of one model.

    Attributes
    ----------
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`: of all banks, of words and of tasks.
    claims : pyarrow.Table
        Columns of `CLAIMS`.
    features, similarities, examples : pyarrow.Table
        Columns of `SPECIALIST_FEATURES`, `SIMILARITIES` and `SPECIALIST_EXAMPLES`.
    activations, behaviour, effects, tasks, answers : pyarrow.Table
        Columns of the tables of the same names in `saeflow.artifacts.specialist_effects`.
    """

    summary: pa.Table
    claims: pa.Table
    features: pa.Table
    similarities: pa.Table
    activations: pa.Table
    behaviour: pa.Table
    effects: pa.Table
    examples: pa.Table
    tasks: pa.Table
    answers: pa.Table


@dataclass(frozen=True)
class Numbers:
    """What was measured of one model.

    Attributes
    ----------
    rows : dict of Key to mapping
        Rows of the summary; a number that is none is None.
    claims : dict of str to mapping
        Rows of the claims, by claim.
    tables : SpecialistTables
        The other tables, which are read where they are shown.
    blocks : dict of Bank to list of int
        Blocks that were read, ascending.
    """

    tables: SpecialistTables
    rows: dict[Key, Row] = field(default_factory=dict)
    claims: dict[str, Row] = field(default_factory=dict)
    blocks: dict[Bank, list[int]] = field(default_factory=dict)

    def row(
        self,
        part: str,
        group: str,
        metric: str,
        control: str = NONE,
        *,
        bank: Bank = NO_BANK,
        mode: str = CALIBRATED,
        layer: int | None = None,
        pooling: str = "",
    ) -> Row | None:
        """Row of a number that is defined; None where there is none."""
        found = self.rows.get(Key(part, bank, mode, layer, pooling, group, metric, control))
        return None if found is None or found["value"] is None else found

    def of_part(self, part: str, bank: Bank | None = None) -> dict[Key, Row]:
        """Rows of one part that have a value, in the order of the table; of one bank, or of all."""
        return {
            key: row
            for key, row in self.rows.items()
            if key.part == part and bank in (None, key.bank) and row["value"] is not None
        }

    def by_layer(
        self, place: Place, part: str, group: str, metric: str, control: str = NONE
    ) -> dict[int, Row]:
        """Rows of a number by block, ascending; blocks without it are left out."""
        bank, mode, pooling = place
        key = {"bank": bank, "mode": mode, "pooling": pooling}
        found = {
            layer: self.row(part, group, metric, control, layer=layer, **key)  # type: ignore[arg-type]
            for layer in self.layers(bank)
        }
        return {layer: row for layer, row in found.items() if row is not None}

    def banks(self) -> list[Bank]:
        """Banks that any number is of, in the order of the table."""
        return list(dict.fromkeys(key.bank for key in self.rows if key.bank.dictionary))

    def layers(self, bank: Bank) -> list[int]:
        """Blocks that were read of a bank, ascending."""
        return self.blocks.get(bank, [])

    def poolings(self, bank: Bank, mode: str = CALIBRATED) -> list[str]:
        """Ways to pool that were analysed of a bank in a mode, in the order of `POOLINGS`."""
        found = dict.fromkeys(
            key.pooling for key in self.rows if (key.bank, key.mode) == (bank, mode) and key.pooling
        )
        return [
            *(each for each in POOLINGS if each in found),
            *(x for x in found if x not in POOLINGS),
        ]


class Place(NamedTuple):
    """A bank, a mode and a way to pool."""

    bank: Bank
    mode: str
    pooling: str


def read_numbers(tables: SpecialistTables) -> Numbers:
    """Read the tables of one model."""
    found = Numbers(tables, claims={row["claim"]: row for row in plain_rows(tables.claims)})
    for row in plain_rows(tables.summary):
        names = ("mode", "layer", "pooling", "group", "metric", "control")
        found.rows[Key(row["part"], bank_of(row), *(row[name] for name in names))] = row
    places = {(key.bank, key.layer) for key in found.rows if key.pooling and key.layer is not None}
    for bank, layer in sorted(places):
        found.blocks.setdefault(bank, []).append(layer)
    return found


def plain_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of a table, None for what is no number."""
    return map(without_nan, table.to_pylist())


def of_bank(table: pa.Table, bank: Bank) -> Iterator[dict[str, Any]]:
    """Rows of a table that are of one bank."""
    return (row for row in plain_rows(table) if bank_of(row) == bank)


def bank_of(row: Row) -> Bank:
    """Bank that a row is of."""
    return Bank(row["dictionary"], row["seed"])


def pooling_title(pooling: str) -> str:
    """Name of a way to pool, in words."""
    return POOLINGS.get(pooling, pooling.replace("_", " "))


def holds(row: Row | None, level: float, least: float = 0.0) -> bool:
    """Whether a number is above one by its whole interval and by its adjusted p-value."""
    if row is None:
        return False
    p_value = row["p_value"] if row["q_value"] is None else row["q_value"]
    low = row["value"] if row["ci_low"] is None else row["ci_low"]
    return p_value is not None and p_value <= level and bool(low > least)
