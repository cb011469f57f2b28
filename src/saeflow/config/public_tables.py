"""Names of the tables that are gathered for readers from the parts of a model's banks."""

from __future__ import annotations

RECORD_TABLES = ("association", "examples", "labels")
"""Of the GSM8K study's published mode."""
SUMMARY_TABLES = ("summary",)
"""Of either mode."""
DISCOVERY_TABLES = ("discoveries",)
"""Of its calibrated mode."""
RANK_TABLES = ("ranks", "swap_pairs")
"""Of the hierarchy study's published mode."""
TAXONOMY_TABLES = ("specialists", "coactivation", "modules", "levels")
"""Of its calibrated mode."""
CAUSAL_TABLES = ("trials", "screen", "effects", "maximal")
"""Of its interventions."""
DECIMAL_TABLES = ("overlap", "layer_features", "attribution")
"""Of the study of the decimal bug, of each bank."""
SPECIALIST_TABLES = ("features", "similarities", "activations", "behaviour", "effects", "examples")
"""Of the study of specialists, of each bank; its numbers, and what was tried, become the summary."""


def _paths(study: str, tables: tuple[str, ...]) -> list[str]:
    return [f"results/{study}/{{model}}/{table}.parquet" for table in tables]


GATHERED = {
    "gather_gsm8k": _paths("gsm8k", (*RECORD_TABLES, *SUMMARY_TABLES, *DISCOVERY_TABLES)),
    "gather_hierarchy": _paths(
        "hierarchy", (*RANK_TABLES, *SUMMARY_TABLES, *TAXONOMY_TABLES, *CAUSAL_TABLES)
    ),
    "gather_decimals": _paths("decimal_bug", DECIMAL_TABLES),
    "gather_specialists": _paths("specialists", SPECIALIST_TABLES),
}
"""Paths that each rule makes for every model, by the rule's name; some only where a mode runs."""
