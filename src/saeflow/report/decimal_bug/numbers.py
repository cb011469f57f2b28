"""Tables of the study of the decimal bug, looked up number by number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.report.controls import without_nan

NONE = "none"
PUBLISHED, CALIBRATED = "published", "calibrated"
TO_BUGGY, TO_PLAIN = "plain_to_buggy", "buggy_to_plain"
MODULES = {
    "attn_out": "attention",
    "mlp_out": "MLP",
    "resid_post": "residual stream",
}
"""Whole modules, in words."""
PARTS = {"head": "head", "kv_group": "KV group", "block": "block"}
"""Parts of what attention writes, in words: heads and their groups in front of the projection."""
_PATCH = re.compile(
    r"(?:(?P<part>choice|site|spared|random|blend|published|own): )?"
    r"(?P<direction>plain_to_buggy|buggy_to_plain), (?P<kind>\w+)(?: (?P<units>[\d,]*))?"
    r"(?: \((?P<set>.*)\))?, (?P<phase>prefill|decode|both)(?:, weight (?P<weight>[\d.e-]+))?"
)
_SITE = re.compile(r"chosen site: (?P<kind>\w+)(?: (?P<units>[\d,]+))?")
_CHOSEN = re.compile(r"chosen, (?P<kind>\w+)")

Row = Mapping[str, Any]


class Bank(NamedTuple):
    """SAEs that numbers are of, by their recipe and seed."""

    dictionary: str = ""
    seed: int = 0


NO_BANK = Bank()
"""Key of what reads no SAE."""


class Key(NamedTuple):
    """What tells rows of a summary apart; fields as its columns."""

    part: str
    bank: Bank
    mode: str
    layer: int | None
    group: str
    metric: str
    control: str


class Units(NamedTuple):
    """Units of a layer: their kind, and their numbers as text; none for a whole module."""

    kind: str
    units: str = ""

    @property
    def title(self) -> str:
        """In words."""
        if self.kind in PARTS:
            plural = "s" if "," in self.units else ""
            numbers = self.units.replace(",", ", ")
            return f"{PARTS[self.kind]}{plural} {numbers}".rstrip()
        return MODULES.get(self.kind, self.kind)


class Site(NamedTuple):
    """Units of one layer of the model."""

    layer: int
    where: Units

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.where.title}, layer {self.layer}"


class Patch(NamedTuple):
    """A patch, as the group of a row names it.

    Attributes
    ----------
    part : str
        ``map``, ``choice``, ``random``, ``blend``, ``published`` or ``own``.
    direction : str
        ``plain_to_buggy`` or ``buggy_to_plain``.
    where : Units
        What is patched.
    phase : str
        ``prefill``, ``decode`` or ``both``.
    weight : float
        Share of the donor.
    set : str
        Name of the set of units; empty where it has none.
    """

    part: str
    direction: str
    where: Units
    phase: str
    weight: float
    set: str


def patch_of(group: str) -> Patch | None:
    """Read what a group of the part ``patching`` says; None where it is about something else."""
    found = _PATCH.fullmatch(group)
    if found is None:
        return None
    return Patch(
        found["part"] or "map",
        found["direction"],
        Units(found["kind"], found["units"] or ""),
        found["phase"],
        float(found["weight"] or 1),
        found["set"] or "",
    )


def site_of(group: str) -> Units | None:
    """Read which units were chosen together with a layer; None where a group says nothing of it."""
    found = _SITE.fullmatch(group)
    return None if found is None else Units(found["kind"], found["units"] or "")


def chosen_kind(group: str) -> str | None:
    """Read of which kind of module a layer was chosen; None where a group says nothing of it."""
    found = _CHOSEN.fullmatch(group)
    return None if found is None else found["kind"]


@dataclass(frozen=True)
class DecimalTables:
    """Tables of one model.

    Attributes
    ----------
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`.
    claims : pyarrow.Table
        Columns of `CLAIMS` there.
    lists : pyarrow.Table
        Columns of `LAYER_FEATURES` there.
    """

    summary: pa.Table
    claims: pa.Table
    lists: pa.Table


@dataclass
class Numbers:
    """Everything about one model.

    Attributes
    ----------
    rows : dict of Key to mapping
        Rows of the summary.
    claims : dict of str to mapping
        Rows of the claims, by name.
    lists : list of mapping
        Rows of the published lists.
    """

    rows: dict[Key, Row] = field(default_factory=dict)
    claims: dict[str, Row] = field(default_factory=dict)
    lists: list[Row] = field(default_factory=list)

    def row(
        self,
        part: str,
        group: str,
        metric: str,
        control: str = NONE,
        *,
        layer: int | None = None,
        mode: str = CALIBRATED,
        bank: Bank = NO_BANK,
    ) -> Row | None:
        """Row of a number that is defined; None where there is none."""
        found = self.rows.get(Key(part, bank, mode, layer, group, metric, control))
        return None if found is None or found["value"] is None else found

    def of_part(self, part: str) -> dict[Key, Row]:
        """Rows of one part that have a value, in the order of the table."""
        return {
            key: row
            for key, row in self.rows.items()
            if key.part == part and row["value"] is not None
        }

    def bug(self, metric: str = "bug", half: str = "report") -> Row | None:
        """Row of what tells whether there is a bug; None where nothing was asked."""
        return self.row("behaviour", f"bug, {half}", metric)

    def site(self) -> Site | None:
        """Units and layer that were chosen on one half and are reported on the other."""
        for key in self.of_part("patching"):
            where = site_of(key.group)
            if where is not None and key.layer is not None:
                return Site(key.layer, where)
        return None

    def of_site(self) -> list[Row]:
        """Rows of the chosen site, in the order of the table."""
        rows = self.of_part("patching").items()
        return [row for key, row in rows if site_of(key.group) is not None]

    def at_site(self, metric: str, control: str = NONE) -> Row | None:
        """Row of a number of the chosen site; None where there is none."""
        wanted = (metric, control)
        found = (row for row in self.of_site() if (row["metric"], row["control"]) == wanted)
        return next(found, None)

    def spared(self, metric: str = "right", control: str = "unlike_pair_plain") -> Row | None:
        """Row of what the chosen site does to pairs that are not prone; None where none were tried."""
        site = self.site()
        if site is None:
            return None
        where = " ".join(filter(None, (site.where.kind, site.where.units)))
        group = f"spared: {TO_BUGGY}, {where}, both"
        return self.row("patching", group, metric, control, layer=site.layer)

    def banks(self) -> list[Bank]:
        """Banks that any number is of, in the order of the table."""
        return list(dict.fromkeys(key.bank for key in self.rows if key.bank.dictionary))

    def layers(self, part: str, bank: Bank = NO_BANK) -> list[int]:
        """Layers of the model that a part tells of."""
        found = {key.layer for key in self.rows if (key.part, key.bank) == (part, bank)}
        return sorted(layer for layer in found if layer is not None)


def read_numbers(tables: DecimalTables) -> Numbers:
    """Read the tables of one model.

    Parameters
    ----------
    tables : DecimalTables
        Those of one model.
    """
    found = Numbers(
        claims={row["claim"]: row for row in map(without_nan, tables.claims.to_pylist())},
        lists=tables.lists.to_pylist(),
    )
    for row in map(without_nan, tables.summary.to_pylist()):
        bank = Bank(row["dictionary"], row["seed"])
        names = ("mode", "layer", "group", "metric", "control")
        found.rows[Key(row["part"], bank, *(row[name] for name in names))] = row
    return found
