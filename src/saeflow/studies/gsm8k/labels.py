"""Names for features, by the published rule (methods/1, section 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.config.studies import LabelSettings
from saeflow.datasets.tokens import OPERATORS

OPERATOR_NAMES = {
    "+": "addition",
    "-": "subtraction",
    "*": "multiplication",
    "/": "division",
    "=": "equals",
    "(": "parentheses",
    ")": "parentheses",
}
TOP = 10
"""Pairs that the rule looks at."""
SHOWN = 5
"""Tokens stored with a label."""


class Label(NamedTuple):
    """Name of a feature.

    Attributes
    ----------
    name : str
        The label.
    monosemantic : bool
        Whether the rule calls the feature monosemantic.
    explanation : str
        Which part of the rule decided.
    """

    name: str
    monosemantic: bool
    explanation: str

    @property
    def type(self) -> str:
        """Label up to its first underscore, as the study's histogram counts."""
        return self.name.split("_", 1)[0]

    @property
    def number(self) -> bool:
        """Whether the study counts it as a number feature.

        Quirk: any label that contains the letters "number" counts, which includes
        ``polysemantic_numbers`` and the composites (methods/1, section 2.7).
        """
        return "number" in self.name


def number_size(token: str) -> str:
    """Size class of a number token."""
    value = float(token)
    for limit, name in ((0, "zero"), (1, "one"), (2, "two")):
        if value == limit:
            return name
    for limit, name in ((10, "small"), (100, "medium"), (1000, "large")):
        if value <= limit:
            return name
    return "very_large"


def label_feature(tokens: Sequence[str], top_enrichment: float, settings: LabelSettings) -> Label:
    """Name a feature from its most enriched tokens.

    Where the study's text is silent, two readings are ours: ``operators_{a}_{b}`` names the first
    two operators, and a tie among the top five is ``mixed``.

    Parameters
    ----------
    tokens : sequence of str
        The feature's pairs, most enriched first; only the first ten count.
    top_enrichment : float
        Enrichment of the first.
    settings : LabelSettings
        Threshold of the first rule.

    Returns
    -------
    Label
        The name and what decided it.
    """
    top = list(tokens[:TOP])
    operators = [token in OPERATORS for token in top]
    if top_enrichment >= settings.monosemantic_enrichment:
        name = f"operator_{OPERATOR_NAMES[top[0]]}" if operators[0] else f"number_{top[0]}"
        return Label(name, True, f"the top token is enriched {top_enrichment:.1f} times")
    if len(top) >= 3 and len(set(operators[:3])) == 1:
        return Label(_shared_name(top, operators[0]), True, "the top three tokens share a category")
    if len(top) >= 2 and operators[0] != operators[1]:
        operator, number = top[:2] if operators[0] else reversed(top[:2])
        name = f"{OPERATOR_NAMES[operator]}_with_{number_size(number)}_numbers"
        # The published text does not mention that these count as monosemantic; the code does it.
        return Label(name, True, "the top two tokens are an operator and a number")
    n_operators = sum(operators[:5])
    n_numbers = len(operators[:5]) - n_operators
    kind = "mixed"
    if n_operators != n_numbers:
        kind = "operators" if n_operators > n_numbers else "numbers"
    return Label(f"polysemantic_{kind}", False, "no rule for one meaning applies")


def _shared_name(top: Sequence[str], operators: bool) -> str:
    """Name of a feature whose top three tokens are all operators or all numbers."""
    if operators:
        return f"operators_{OPERATOR_NAMES[top[0]]}_{OPERATOR_NAMES[top[1]]}"
    sizes = {number_size(token) for token in top[:3]}
    return f"numbers_{sizes.pop()}" if len(sizes) == 1 else "numbers_mixed"


def label_table(association: pa.Table, tested: pa.Table, settings: LabelSettings) -> pa.Table:
    """Label every feature that has a pair.

    Parameters
    ----------
    association, tested : pyarrow.Table
        As `saeflow.studies.gsm8k.association.associate` gives them for one bank.
    settings : LabelSettings
        Thresholds.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.LABELS`.
    """
    pairs = association.to_pandas()
    keys = ["dataset", "dictionary", "seed", "mode", "layer", "step", "feature"]
    grouped = pairs.groupby(keys, sort=False)
    rows = grouped.agg(
        tokens=("token", list),
        max_enrichment=("enrichment", "first"),
        min_p_value=("p_value", "min"),
    ).reset_index()
    rows = rows.merge(tested.to_pandas(), on=keys, how="left", validate="one_to_one")
    labels = [
        label_feature(tokens, top, settings)
        for tokens, top in zip(rows["tokens"], rows["max_enrichment"], strict=True)
    ]
    rows["feature_id"] = [
        f"L{layer}_P{step}_F{feature}"
        for layer, step, feature in zip(rows["layer"], rows["step"], rows["feature"], strict=True)
    ]
    rows["label"] = [label.name for label in labels]
    rows["label_type"] = [label.type for label in labels]
    rows["monosemantic"] = np.array([label.monosemantic for label in labels], bool)
    rows["explanation"] = [label.explanation for label in labels]
    rows["activation_rate"] = rows["n_active"] / rows["n_problems"]
    # Typed here, for a column without rows would pass for one of numbers.
    top = pa.array([tokens[:SHOWN] for tokens in rows["tokens"]], pa.list_(pa.string()))
    columns = rows.drop(columns=["tokens", "n_problems", "tested"])
    return pa.Table.from_pandas(columns, preserve_index=False).append_column("top_tokens", top)
