"""A model of the study of specialists, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from saeflow.report.specialists.numbers import Bank, Numbers, Place, SpecialistTables, read_numbers
from saeflow.report.studied import StudiedModel
from saeflow.report.study import weights_of


class SpecialistModel(StudiedModel[Numbers]):
    """One model of the study."""

    @property
    def href(self) -> str:
        """File name of its page."""
        return f"specialists-{self.name}.html"

    def beside(self, bank: Bank) -> Bank | None:
        """Bank of the control that stands beside one: the same recipe, or else its first."""
        banks = [] if self.control is None else self.control.banks()
        return bank if bank in banks else next(iter(banks), None)

    def untrained(self, place: Place) -> tuple[Numbers, Place] | None:
        """Numbers of the untrained model, and the place there; None where there is none."""
        other = self.beside(place.bank)
        if self.control is None or other is None:
            return None
        return self.control, place._replace(bank=other)


def read_specialist_models(
    found: Mapping[str, SpecialistTables], untrained: Mapping[str, str]
) -> list[SpecialistModel]:
    """Read every model's tables, and put the untrained model of its shape beside each.

    Parameters
    ----------
    found : mapping of str to SpecialistTables
        By model, in the order of the pages.
    untrained : mapping of str to str
        Names of untrained models by that of the model whose shape they have.
    """
    measured = {name: read_numbers(tables) for name, tables in found.items()}
    return [
        SpecialistModel(
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
    return [""] * len(banks) if len(banks) < 2 else [bank.title for bank in banks]
