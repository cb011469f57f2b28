"""Tables of the study of wide SAEs, looked up number by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.scaling_examples import (
    SCALING_DENSITIES,
    SCALING_EXAMPLES,
    SCALING_FEATURES,
    SCALING_MAP,
    SCALING_NEIGHBOURS,
    SCALING_QUALITY,
    SCALING_TOKENS,
)
from saeflow.artifacts.scaling_explanations import (
    EXPLANATION_SCORES,
    EXPLANATION_SUMMARY,
    EXPLANATIONS,
)
from saeflow.artifacts.scaling_search import SEARCH, SEARCH_TARGETS
from saeflow.artifacts.scaling_steering import SCALING_CONTINUATIONS, SCALING_STEERING
from saeflow.artifacts.scaling_training import SCALING_TRAINING
from saeflow.artifacts.schema import Artifact
from saeflow.report.controls import without_nan

NONE, RANDOM = "none", "random_directions"
PUBLISHED, CALIBRATED = "published", "calibrated"
TRAIN, ALL = "train", "all"
TABLES: dict[str, Artifact] = {
    "quality": SCALING_QUALITY,
    "training": SCALING_TRAINING,
    "features": SCALING_FEATURES,
    "densities": SCALING_DENSITIES,
    "examples": SCALING_EXAMPLES,
    "tokens": SCALING_TOKENS,
    "neighbours": SCALING_NEIGHBOURS,
    "map": SCALING_MAP,
    "search": SEARCH,
    "search_targets": SEARCH_TARGETS,
    "continuations": SCALING_CONTINUATIONS,
    "steering": SCALING_STEERING,
    "explanations": EXPLANATIONS,
    "explanation_scores": EXPLANATION_SCORES,
    "explanation_summary": EXPLANATION_SUMMARY,
    "claims": CLAIMS,
}
"""Tables that pages read, by the names of their files."""

Row = Mapping[str, Any]
Figure = dict[str, Any]
Table = dict[str, Any]


class Sae(NamedTuple):
    """An SAE, by its recipe and seed."""

    dictionary: str = ""
    seed: int = 0

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.dictionary}, seed {self.seed}"


class Key(NamedTuple):
    """What tells rows of the quality apart."""

    sae: Sae
    metric: str
    split: str
    control: str
    other_seed: int


@dataclass(frozen=True)
class Numbers:
    """What was measured of one model.

    Attributes
    ----------
    tables : mapping of str to pyarrow.Table
        Those of `TABLES`, all of them; what was not made is empty.
    rows : dict of Key to mapping
        Rows of the quality; a number that is none is None.
    controls : dict of Sae to str
        SAEs in the order of the pages, the main one first, and their controls.
    claims : dict of str to mapping
        Rows of the claims, by claim.
    """

    tables: Mapping[str, pa.Table]
    rows: dict[Key, Row] = field(default_factory=dict)
    controls: dict[Sae, str] = field(default_factory=dict)
    claims: dict[str, Row] = field(default_factory=dict)

    @property
    def main(self) -> Sae | None:
        """The SAE that is searched, steered and explained; None where nothing was read."""
        return next(iter(self.controls), None)

    @property
    def held_out(self) -> str:
        """Split whose documents trained no SAE; the other where all did."""
        splits = dict.fromkeys(key.split for key in self.rows if key.split != ALL)
        return next((name for name in splits if name != TRAIN), TRAIN)

    @property
    def layer(self) -> int | None:
        """Block that the SAEs read."""
        return next((int(row["layer"]) for row in self.rows.values()), None)

    def quality(
        self,
        sae: Sae | None,
        metric: str,
        *,
        split: str | None = None,
        control: str | None = None,
        other_seed: int = -1,
    ) -> Row | None:
        """Row of a number that is defined, by default on the held-out split; None where there is none."""
        if sae is None:
            return None
        own = self.controls.get(sae, NONE) if control is None else control
        key = Key(sae, metric, self.held_out if split is None else split, own, other_seed)
        found = self.rows.get(key)
        return None if found is None or found["value"] is None else found

    def of_control(self, control: str) -> Sae | None:
        """The first SAE that is this control of the main dictionary."""
        return next((sae for sae, own in self.controls.items() if own == control), None)

    def latents(self, sae: Sae) -> int | None:
        """How many features an SAE has; None where they are not listed."""
        counts: dict[str, int] = {}
        for row in of_sae(self.tables["densities"], sae, self.controls.get(sae)):
            counts[row["split"]] = counts.get(row["split"], 0) + row["n_features"]
        return next(iter(counts.values()), None)


def read_numbers(tables: Mapping[str, pa.Table]) -> Numbers:
    """Read the tables of one model.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table
        Any of `TABLES`.
    """
    whole = {
        name: tables.get(name, artifact.schema().empty_table()) for name, artifact in TABLES.items()
    }
    found = Numbers(whole, claims={row["claim"]: row for row in plain_rows(whole["claims"])})
    controls: dict[Sae, str] = {}
    for row in plain_rows(whole["quality"]):
        sae = Sae(row["dictionary"], row["seed"])
        key = Key(sae, row["metric"], row["split"], row["control"], row["other_seed"])
        found.rows[key] = row
        if row["control"] != RANDOM:
            controls[sae] = row["control"]
    found.controls.update(_ordered(controls, whole))
    return found


def _ordered(controls: Mapping[Sae, str], tables: Mapping[str, pa.Table]) -> dict[Sae, str]:
    """SAEs with the main one first: what examples and explanations are of."""
    shown = (tables[name] for name in ("map", "examples", "neighbours", "explanations"))
    named = [
        Sae(each["dictionary"][0].as_py(), each["seed"][0].as_py()) for each in shown if len(each)
    ]
    plain = [sae for sae, control in controls.items() if control == NONE]
    main = next((sae for sae in [*named, *plain, *controls] if sae in controls), None)
    if main is None:
        return {}

    def place(sae: Sae) -> tuple[bool, bool, bool, Sae]:
        alike = sae.dictionary == main.dictionary
        return sae != main, not alike, controls[sae] != NONE, sae

    return {sae: controls[sae] for sae in sorted(controls, key=place)}


def plain_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows of a table, None for what is no number."""
    return map(without_nan, table.to_pylist())


def of_sae(
    table: pa.Table, sae: Sae | None, control: str | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a table that are of one SAE, and of one control where one is named."""
    if sae is None:
        return iter(())
    chosen = pc.and_(
        pc.equal(table["dictionary"], sae.dictionary), pc.equal(table["seed"], sae.seed)
    )
    if control is not None:
        chosen = pc.and_(chosen, pc.equal(table["control"], control))
    return plain_rows(table.filter(chosen))


def holds(row: Row | None, level: float, adjusted: str) -> bool:
    """Whether a number is above 0 by its whole interval and by its adjusted p-value.

    Parameters
    ----------
    row : mapping or None
        ``value``, ``ci_low``, ``p_value`` and the column that is named.
    level : float
        Largest p-value.
    adjusted : str
        Column with the adjusted one.
    """
    if row is None:
        return False
    p_value = row["p_value"] if row[adjusted] is None else row[adjusted]
    low = row["value"] if row["ci_low"] is None else row["ci_low"]
    return p_value is not None and p_value <= level and bool(low > 0)
