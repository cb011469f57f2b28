"""All numbers of one model, and what they say of the published sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.artifacts.decimal_bug import DECIMAL_BUG
from saeflow.config.decimal_bug import DecimalCalibrated
from saeflow.datasets.comparisons.pairs import CHOOSE, REPORT
from saeflow.stats.resampling import WILSON
from saeflow.studies import rows
from saeflow.studies.claims.judge import claims_table
from saeflow.studies.decimal_bug.behaviour_summary import behaviour_rows
from saeflow.studies.decimal_bug.bug import Bug, find_bug
from saeflow.studies.decimal_bug.choice import choose_layer, choose_site
from saeflow.studies.decimal_bug.claims import judge_claims
from saeflow.studies.decimal_bug.names import MODULES
from saeflow.studies.decimal_bug.patching_summary import (
    chosen_rows,
    patch_rows,
    subset_rows,
)
from saeflow.studies.decimal_bug.records import read_prompts
from saeflow.studies.rows import row


class Summary(NamedTuple):
    """Tables of one model: `saeflow.artifacts.decimal_bug.DECIMAL_BUG`, and `CLAIMS`."""

    numbers: pa.Table
    claims: pa.Table


def summarise(
    prompts: pa.Table,
    answers: pa.Table,
    patches: pa.Table,
    banks: Sequence[pa.Table],
    settings: DecimalCalibrated,
    *,
    own_weights: bool,
) -> Summary:
    """Summarise answers, patches and what was found with each bank.

    Parameters
    ----------
    prompts, answers, patches : pyarrow.Table
        Columns of `PROMPTS`, `DECIMAL_ANSWERS` and `PATCHES` of `saeflow.artifacts.decimal_bug`.
    banks : sequence of pyarrow.Table
        Columns of `DECIMAL_BUG`: numbers of each bank.
    settings : DecimalCalibrated
        Seeds, permutations and plans.
    own_weights : bool
        Whether the model is the study's own.
    """
    asked = read_prompts(prompts)
    found = list(behaviour_rows(prompts, answers, settings.overlap.seed))
    for half in (CHOOSE, REPORT):
        found += bug_rows(find_bug(asked, answers, half))
    chosen = {kind: choose_layer(patches, kind) for kind in MODULES} if len(patches) else {}
    if chosen:
        found += patch_rows(patches, settings.patching)
        found += chosen_rows(patches, chosen, choose_site(patches), settings.patching)
        found += subset_rows(patches, settings.subsets)
    found += [each for bank in banks for each in bank.to_pylist()]
    table = pa.Table.from_pylist(found, DECIMAL_BUG.schema())
    claims = judge_claims(found, own_weights=own_weights, chosen=chosen.get("attn_out"))
    return Summary(table, claims_table(claims))


def bug_rows(bug: Bug) -> Iterator[dict[str, Any]]:
    """Whether there is a bug on one half of the pairs, and what decides it.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`; ``bug`` is 1 if Wilson's intervals of
        the Q/A and the plain formats are disjoint, the former below.
    """
    key: Mapping[str, Any] = {
        "part": "behaviour",
        **rows.NO_BANK,
        "mode": rows.CALIBRATED,
        "layer": None,
        "group": f"bug, {bug.half}",
    }
    yield row(key, "bug", float(bug.found), n=bug.n)
    for metric, each in (("right_qa", bug.buggy), ("right_plain", bug.plain)):
        yield row(key, metric, each.share, n=bug.n, ends=(each.low, each.high), interval=WILSON)
