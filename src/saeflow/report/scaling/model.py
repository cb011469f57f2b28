"""A model of the study of wide SAEs, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.tables import read_table
from saeflow.report.scaling.numbers import TABLES, Numbers, Row, Sae, read_numbers
from saeflow.report.studied import StudiedModel
from saeflow.report.study import weights_of


class ScalingModel(StudiedModel[Numbers]):
    """One model of the study."""

    @property
    def href(self) -> str:
        """File name of its page."""
        return f"scaling-{self.name}.html"

    @property
    def beside(self) -> Sae | None:
        """SAE of the untrained model that stands beside the main one; None where there is none."""
        if self.control is None:
            return None
        main = self.numbers.main
        return main if main in self.control.controls else self.control.main

    def untrained(self, metric: str) -> Row | None:
        """Quality of the untrained model's SAE on its held-out split; None where there is none."""
        return None if self.control is None else self.control.quality(self.beside, metric)


def read_scaling_models(
    files: Sequence[Path], names: Sequence[str], untrained: Mapping[str, str]
) -> list[ScalingModel]:
    """Read every model's tables, and put the untrained model of its shape beside each.

    Parameters
    ----------
    files : sequence of Path
        ``{model}/{table}.parquet``; what `saeflow.report.scaling.numbers.TABLES` does not name is passed
        over.
    names : sequence of str
        Models in the order of the pages.
    untrained : mapping of str to str
        Names of untrained models by that of the model whose shape they have.

    Raises
    ------
    SaeflowError
        If a table does not fit its schema.
    """
    found: dict[str, dict[str, pa.Table]] = {name: {} for name in names}
    for path in files:
        if path.stem in TABLES and path.parent.name in found:
            found[path.parent.name][path.stem] = read_table(path, TABLES[path.stem])
    return join_scaling_models(found, untrained)


def join_scaling_models(
    found: Mapping[str, Mapping[str, pa.Table]], untrained: Mapping[str, str]
) -> list[ScalingModel]:
    """Put the untrained model of its shape beside each model.

    Parameters
    ----------
    found : mapping of str to mapping of str to pyarrow.Table
        Tables by name, by model in the order of the pages.
    untrained : mapping of str to str
        As of `read_scaling_models`.
    """
    measured = {name: read_numbers(tables) for name, tables in found.items()}
    return [
        ScalingModel(
            name,
            numbers,
            weights_of(numbers.tables["quality"]),
            measured.get(untrained.get(name, "")),
            untrained.get(name, "") if untrained.get(name) in measured else "",
        )
        for name, numbers in measured.items()
    ]
