"""Texts on which specialists are strongest, their tokens marked by activation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from saeflow.report.shades import shade
from saeflow.report.specialists.effects import cells_of
from saeflow.report.specialists.numbers import SETS, Bank, Numbers, of_bank

NAMED = 3
"""Classes of one feature that are named at most."""


def top_texts(numbers: Numbers, bank: Bank) -> list[dict[str, Any]]:
    """Top texts of each specialist of a bank, those that are tested first.

    Parameters
    ----------
    numbers : Numbers
        Of one model.
    bank : Bank
        SAEs.

    Returns
    -------
    list of dict
        ``title``, ``layer``, ``feature``, ``most``: the largest value as text, ``tested``: whether it
        was ablated and not only found by the study's rule, and ``texts``, each with ``value``
        and ``tokens``; a token has ``text``, ``mark`` (class of its shade, empty where it is silent)
        and ``value`` as text. Tokens are as the table has them: a template escapes them.
    """
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in of_bank(numbers.tables.examples, bank):
        found.setdefault((row["layer"], row["feature"]), []).append(row)
    names = _names(numbers, bank)
    order = [each for each in names if each in found] + [
        each for each in found if each not in names
    ]
    tested = {(layer, feature) for layer, _, feature in cells_of(numbers, bank).rows}
    return [
        {**_specialist(place, names.get(place, []), found[place]), "tested": place in tested}
        for place in order
    ]


def _names(numbers: Numbers, bank: Bank) -> dict[tuple[int, int], list[str]]:
    """Classes that a feature stands for: those that were ablated first, then any that was found."""
    found: dict[tuple[int, int], list[str]] = {}
    for layer, name, feature in cells_of(numbers, bank).rows:
        found.setdefault((layer, feature), []).append(name)
    for table in (numbers.tables.activations, numbers.tables.behaviour):
        for layer, name, feature in dict.fromkeys(_places(table, bank)):
            listed = found.setdefault((layer, feature), [])
            listed += [name] * (name not in listed)
    for row in of_bank(numbers.tables.features, bank):
        if row["found"] and row["feature"] >= 0 and row["criterion"] in ("specialist", "best"):
            listed = found.setdefault((row["layer"], row["feature"]), [])
            told = f"{row['class']} ({SETS[row['set']]})" if row["set"] == "forms" else row["class"]
            listed += [told] * (told not in listed and row["class"] not in listed)
    return found


def _places(table: Any, bank: Bank) -> Iterator[tuple[int, str, int]]:
    columns = (
        table[name].to_pylist() for name in ("dictionary", "seed", "layer", "class", "feature")
    )
    for dictionary, seed, layer, name, feature in zip(*columns, strict=True):
        if (dictionary, seed) == bank:
            yield layer, name, feature


def _specialist(
    place: tuple[int, int], names: Sequence[str], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    layer, feature = place
    ordered = sorted(rows, key=lambda row: row["rank"])
    known = [abs(value) for row in ordered for value in row["activations"] if value is not None]
    most = max(known, default=0.0)
    return {
        "title": _title(names),
        "layer": layer,
        "feature": feature,
        "most": _text(most),
        "texts": [
            {
                "value": _text(row["value"]),
                "tokens": _joined(zip(row["tokens"], row["activations"], strict=True), most),
            }
            for row in ordered
        ],
    }


def _title(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    told = "; ".join(names[:NAMED]) or "named by no class"
    return f"{told}; and {more} more" if more > 0 else told


def _joined(tokens: Any, most: float) -> list[dict[str, str]]:
    """Tokens with their marks; silent ones beside each other are written as one."""
    found: list[dict[str, str]] = []
    for text, value in tokens:
        mark = shade(value, most)
        if found and mark == found[-1]["mark"] and mark in ("", "begin"):
            found[-1]["text"] += text
        else:
            found.append({"text": text, "mark": mark, "value": _text(value) if mark else ""})
    return found


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}".replace("-", "−")
