"""Explained features of each SAE, gathered from the tables of a run for other tools."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.artifacts.scaling_explanations import (
    EXPLANATION_EXAMPLES,
    EXPLANATION_SCORES,
    EXPLANATIONS,
    VERDICTS,
)
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.tables import read_schema, read_table
from saeflow.errors import SaeflowError

READ = (EXPLANATIONS, EXPLANATION_EXAMPLES, VERDICTS, EXPLANATION_SCORES)
"""Tables that an export is made from; only the first two must be given."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Site:
    """Where an SAE reads.

    Attributes
    ----------
    dictionary : str
        Recipe of the SAE.
    seed, layer : int
        Its seed, and the block it reads.
    """

    dictionary: str
    seed: int
    layer: int


@dataclass(frozen=True)
class ExplainedFeature:
    """One feature with everything that an export tells of it.

    Attributes
    ----------
    explanation : mapping
        A row of `EXPLANATIONS`.
    contexts : sequence of mapping
        Rows of `EXPLANATION_EXAMPLES`.
    verdicts, scores : sequence of mapping
        Rows of `VERDICTS` and `EXPLANATION_SCORES` with the feature's own explanation.
    """

    explanation: Row
    contexts: Sequence[Row]
    verdicts: Sequence[Row]
    scores: Sequence[Row]

    @property
    def feature(self) -> int:
        """Return the index of the latent in its SAE."""
        return int(self.explanation["feature"])

    def activating(self) -> list[Row]:
        """Return the contexts on which it fires, of both sets."""
        return [each for each in self.contexts if each["kind"] == "activating"]


def read_explained(paths: Sequence[Path]) -> dict[Site, list[ExplainedFeature]]:
    """Read the tables of a run, in any order.

    Parameters
    ----------
    paths : sequence of Path
        Files of explanations and their examples; where verdicts and scores are given, they are told, too.

    Returns
    -------
    dict of Site to list of ExplainedFeature
        Sites and features in ascending order.

    Raises
    ------
    SaeflowError
        If a file is of another kind, one that is needed is missing, or features are explained or scored
        twice, by different models.
    """
    tables: dict[str, list[pa.Table]] = defaultdict(list)
    by_kind = {artifact.name: artifact for artifact in READ}
    for path in paths:
        kind, _ = read_schema(path)
        if kind not in by_kind:
            raise SaeflowError(
                f"{path} is a table of kind {kind!r}; expected one of {', '.join(by_kind)}."
            )
        tables[kind].append(read_table(path, by_kind[kind]))
    for artifact in (EXPLANATIONS, EXPLANATION_EXAMPLES):
        if artifact.name not in tables:
            file = f"{artifact.name.removeprefix('scaling_')}.parquet"
            raise SaeflowError(
                f"No table of kind {artifact.name!r} is given; expected one, such as {file}. The last "
                "argument is the folder to write to."
            )
    rows = {artifact.name: _by_feature(tables[artifact.name], artifact) for artifact in READ}
    found: dict[Site, list[ExplainedFeature]] = defaultdict(list)
    for (site, feature), own in sorted(
        rows[EXPLANATIONS.name].items(), key=lambda each: (_order(each[0][0]), each[0][1])
    ):
        of = f"Feature {feature} of {site.dictionary} (seed {site.seed}, layer {site.layer})"
        if len(own) > 1:
            raise SaeflowError(
                f"{of} is explained by {own[0]['explainer']} and by {own[1]['explainer']}; expected one."
            )
        told = [
            [
                row
                for row in rows[artifact.name].get((site, feature), [])
                if row["control"] == "none"
            ]
            for artifact in (VERDICTS, EXPLANATION_SCORES)
        ]
        scorers = {(row["explainer"], row["scorer"]) for some in told for row in some}
        if len(scorers) > 1 or scorers - {(own[0]["explainer"], scorer) for _, scorer in scorers}:
            raise SaeflowError(
                f"{of} is scored by different models, {sorted(scorers)}; expected one."
            )
        contexts = rows[EXPLANATION_EXAMPLES.name].get((site, feature), [])
        found[site].append(ExplainedFeature(own[0], contexts, *told))
    return dict(found)


def _by_feature(
    tables: Sequence[pa.Table], artifact: Artifact
) -> dict[tuple[Site, int], list[Row]]:
    found: dict[tuple[Site, int], list[Row]] = defaultdict(list)
    for table in tables:
        ordered = table.sort_by([(key, "ascending") for key in artifact.keys])
        for row in ordered.to_pylist():
            site = Site(row["dictionary"], row["seed"], row["layer"])
            found[site, row["feature"]].append(row)
    return dict(found)


def _order(site: Site) -> tuple[str, int, int]:
    return site.dictionary, site.seed, site.layer


def plain_floats(values: Sequence[float]) -> list[float]:
    """Give float32 as the shortest decimals that read back as the same number."""
    return [float(str(value)) for value in np.array(values, np.float32)]
