"""A model of the study, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from saeflow.report.decimal_bug.numbers import Bank, DecimalTables, Numbers, Row, read_numbers
from saeflow.report.studied import StudiedModel
from saeflow.report.study import weights_of


class DecimalModel(StudiedModel[Numbers]):
    """One model of the study."""

    @property
    def href(self) -> str:
        """File name of its page."""
        return f"decimal_bug-{self.name}.html"

    @property
    def found(self) -> bool:
        """Whether the half that is reported shows the bug."""
        row = self.numbers.bug()
        return row is not None and row["value"] == 1

    @property
    def patched(self) -> bool:
        """Whether anything was patched: the half that chooses shows the bug."""
        return bool(self.numbers.of_part("patching"))

    def beside(self, bank: Bank) -> Bank | None:
        """Bank of the control that stands beside one: the same recipe, or else its first."""
        banks = [] if self.control is None else self.control.banks()
        return bank if bank in banks else next(iter(banks), None)

    def untrained(
        self, part: str, group: str, metric: str, bank: Bank, layer: int | None = None
    ) -> Row | None:
        """Row of the untrained model that stands beside one of a bank; None where there is none."""
        other = self.beside(bank)
        if self.control is None or other is None:
            return None
        return self.control.row(part, group, metric, layer=layer, bank=other)


def read_decimal_models(
    found: Mapping[str, DecimalTables], untrained: Mapping[str, str]
) -> list[DecimalModel]:
    """Read every model's tables, and put the untrained model of its shape beside each.

    Parameters
    ----------
    found : mapping of str to DecimalTables
        By model, in the order of the pages.
    untrained : mapping of str to str
        Names of untrained models by that of the model whose shape they have.
    """
    measured = {name: read_numbers(tables) for name, tables in found.items()}
    return [
        DecimalModel(
            name,
            measured[name],
            weights_of(tables.summary),
            measured.get(untrained.get(name, "")),
            untrained.get(name, "") if untrained.get(name) in measured else "",
        )
        for name, tables in found.items()
    ]


def bank_titles(banks: Sequence[Bank]) -> list[str]:
    """What tells banks of one model apart; empty where there is one."""
    if len(banks) < 2:
        return [""] * len(banks)
    return [f"{bank.dictionary}, seed {bank.seed}" for bank in banks]
