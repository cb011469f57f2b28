"""Each published sentence about the decimal bug, beside what this run supports (design, section 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from saeflow.artifacts.decimal_bug import CLAIMS

SUPPORTED = "supported"
CHANCE = "not distinguishable from chance"
CONTRADICTED = "contradicted"
NOT_TESTABLE = "not testable in this run"
NEVER_MEASURED = "reported but never measured"
STUDY = "decimal_bug"
SURGEON, MATS = "surgeon (methods/4)", "MATS 9_8_research (methods/4)"
OTHER_WEIGHTS = (
    "The claim is about Llama-3.1-8B-Instruct, whose weights this run does not read; what its own "
    "model shows stands beside it without a verdict."
)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """A published sentence.

    Attributes
    ----------
    claim : str
        Short name.
    source, statement, published : str
        Where, what and which number.
    scope : str
        ``procedure`` or ``model``.
    found : Wanted, optional
        Row of the summary that says the same of this run's model.
    by_procedure : Wanted, optional
        Row that the published procedure gives in this run.
    null : Wanted, optional
        Row of the control.
    """

    claim: str
    source: str
    statement: str
    published: str
    scope: Literal["procedure", "model", "none"]
    found: Wanted | None = None
    by_procedure: Wanted | None = None
    null: Wanted | None = None


@dataclass(frozen=True)
class Wanted:
    """Which row of the summary: the first whose columns are these."""

    part: str
    group: str
    metric: str
    mode: str = "calibrated"
    control: str = "none"
    layer: Literal["chosen", "none"] | None = None


PUBLISHED = (
    Published(
        "qa_wrong",
        SURGEON,
        "Asked in the format Q&A, the model always calls 9.11 bigger than 9.8.",
        "100 % wrong",
        "model",
        Wanted("behaviour", "qa_which, prone", "wrong"),
        Wanted("behaviour", "Q&A", "wrong", "published"),
        Wanted("behaviour", "qa_which, unequal_digits", "wrong"),
    ),
    Published(
        "simple_right",
        SURGEON,
        "Asked in the format Simple, it is always right.",
        "100 % right",
        "model",
        Wanted("behaviour", "plain_which, prone", "right"),
        Wanted("behaviour", "Simple", "right", "published"),
        Wanted("behaviour", "plain_which, prone", "right", control="chance"),
    ),
    Published(
        "chat_wrong",
        SURGEON,
        "Asked in the format Chat, it is wrong as in Q&A.",
        "95 to 100 % wrong",
        "model",
        Wanted("behaviour", "chat, prone", "wrong"),
        Wanted("behaviour", "Chat", "wrong", "published"),
    ),
    Published(
        "sampling",
        MATS,
        "Sampled at temperature 0.6, Simple is right less often: the contrast is one of greedy answers.",
        "78.8 % right",
        "model",
        Wanted("behaviour", "plain_which, prone", "right", control="sampled"),
        None,
        Wanted("behaviour", "plain_which, prone", "right"),
    ),
    Published(
        "repeats",
        SURGEON,
        "A thousand repeats of a greedy answer are a thousand trials (binomial p = 9.3e-302).",
        "n = 1,000",
        "procedure",
        Wanted("behaviour", "Q&A", "wrong", "published"),
    ),
    Published(
        "overlap_is_shared_features",
        SURGEON,
        "The overlap of top-20 lists says how many features two formats share.",
        "10 to 80 % by layer, mean 50.6 %",
        "procedure",
        Wanted("overlap", "last", "jaccard"),
        Wanted("overlap", "last", "overlap_percent", "published", layer="none"),
        Wanted("overlap", "last", "jaccard", control="wording"),
    ),
    Published(
        "layers_discriminate",
        SURGEON,
        "Early layers (7 and 8) tell the formats apart, with 10 and 20 % of overlap.",
        "10 %, 20 %",
        "model",
        Wanted("overlap", "last", "jaccard_below_wording"),
    ),
    Published(
        "bottleneck",
        SURGEON,
        "Layer 10 is a bottleneck in which 80 % of the features are shared.",
        "80 %",
        "model",
        Wanted("overlap", "last", "jaccard"),
    ),
    Published(
        "amplification",
        SURGEON,
        "Shared features are stronger in the wrong format.",
        "1.208 on average",
        "model",
        Wanted("overlap", "last", "amplification", "published", layer="none"),
    ),
    Published(
        "one_layer_suffices",
        SURGEON,
        "Attention's output of one layer, taken from Simple, makes every answer right.",
        "100 % right at layer 10",
        "model",
        Wanted("patching", "plain_to_buggy, attn_out, both", "right", layer="chosen"),
        Wanted(
            "patching",
            "blend: plain_to_buggy, attn_out, both",
            "right",
            "published",
            layer="chosen",
        ),
        Wanted(
            "patching",
            "plain_to_buggy, attn_out, both",
            "right",
            control="other_pair_buggy",
            layer="chosen",
        ),
    ),
    Published(
        "blending",
        SURGEON,
        "Blending the module with a weight of 0.6 suffices, 0.4 does not.",
        "0 % at 0.4, 100 % at 0.6",
        "model",
        Wanted(
            "patching",
            "blend: plain_to_buggy, attn_out, both, weight 0.6",
            "right",
            "published",
            layer="chosen",
        ),
    ),
    Published(
        "even_heads",
        SURGEON,
        "Eight even-numbered heads are necessary and sufficient.",
        "100 % for 8 even, 0 % for odd",
        "model",
        Wanted("subsets", "head, even minus odd units", "shapley", layer="chosen"),
        Wanted("subsets", "block, even minus odd units", "shapley", layer="chosen"),
    ),
    Published(
        "blocks_are_heads",
        SURGEON,
        "Blocks of 128 coordinates behind the output projection are attention heads.",
        "32 heads",
        "procedure",
        Wanted("attribution", "block", "share_of_own_head"),
        None,
        Wanted("attribution", "block", "share_of_own_head", control="equal_shares"),
    ),
    Published(
        "mixed_features",
        MATS,
        "Of the features that heads change, all are changed by even and by odd heads.",
        "100 of 100 mixed",
        "model",
        Wanted("attribution", "head", "mixed_share"),
    ),
    Published(
        "feature_head_correlations",
        SURGEON,
        "Features correlate with heads with r = 0.82 to 0.92.",
        "0.82 to 0.92",
        "none",
    ),
    Published(
        "feature_ids",
        SURGEON,
        "Features 25523, 22441, 11813, 20139 and others of layer 10 carry the difference.",
        "18 feature numbers",
        "none",
    ),
)
"""What is judged; of those with the scope ``none`` the study holds no measurement."""

_NEVER = {
    "feature_head_correlations": "The published figures are draws of a random generator with the seed "
    "42 (methods/4, section 5.6.6).",
    "feature_ids": "Two of these numbers are of layer 13 and five of layer 25; the others are in no "
    "result of the study (methods/4, section 5.6.6).",
}


def judge_claims(
    rows: Iterable[Row], *, own_weights: bool, chosen: int | None
) -> list[dict[str, Any]]:
    """Judge every published sentence by a model's summary.

    Parameters
    ----------
    rows : iterable of mapping
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`, of one model and bank.
    own_weights : bool
        Whether the model is the study's own, so that claims about its weights are decided.
    chosen : int, optional
        Block whose attention is patched; None where no bug was found.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.decimal_bug.CLAIMS`.
    """
    known = list(rows)
    return [_claim(known, each, own_weights, chosen) for each in PUBLISHED]


def claims_table(claims: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return claims as a table with the columns of `CLAIMS`."""
    return pa.Table.from_pylist([dict(each) for each in claims], CLAIMS.schema())


def _claim(
    rows: Sequence[Row], published: Published, own_weights: bool, chosen: int | None
) -> dict[str, Any]:
    found, procedure, null = (
        _find(rows, wanted, chosen)
        for wanted in (published.found, published.by_procedure, published.null)
    )
    analogue = published.scope == "model" and not own_weights
    value = None if analogue or found is None else found["value"]
    verdict, rule = _verdict(published, own_weights, found, null)
    shown = found if value is not None else None
    return {
        "study": STUDY,
        "claim": published.claim,
        "source": published.source,
        "statement": published.statement,
        "scope": "model" if published.scope == "none" else published.scope,
        "published": published.published,
        "published_value": procedure["value"] if procedure else None,
        "value": value,
        "ci_low": shown["ci_low"] if shown else None,
        "ci_high": shown["ci_high"] if shown else None,
        "interval": shown["interval"] if shown else "none",
        "null": null["value"] if null else None,
        "analogue_value": found["value"] if analogue and found else None,
        "verdict": verdict,
        "rule": rule,
    }


def _verdict(
    published: Published, own_weights: bool, found: Row | None, null: Row | None
) -> tuple[str, str]:
    if published.scope == "none":
        return NEVER_MEASURED, _NEVER[published.claim]
    if published.scope == "model" and not own_weights:
        return NOT_TESTABLE, OTHER_WEIGHTS
    if found is None or found["value"] is None:
        return NOT_TESTABLE, "This run does not measure it."
    decide = _PROCEDURES.get(published.claim, _beyond_null)
    return decide(found, null)


def _beyond_null(found: Row, null: Row | None) -> tuple[str, str]:
    if null is None or null["value"] is None or found["ci_low"] is None:
        return NOT_TESTABLE, "This run has no interval and control for it."
    if found["ci_low"] <= null["value"] <= found["ci_high"]:
        return CHANCE, "The control is inside the interval."
    if found["value"] > null["value"]:
        return SUPPORTED, "The whole interval is above the control."
    return CONTRADICTED, "The whole interval is below the control."


def _repeats(found: Row, null: Row | None) -> tuple[str, str]:
    return CONTRADICTED, (
        "A greedy answer is the same in every repeat, bit for bit, so one prompt is one trial; "
        f"the published procedure has n = {found['n']} here."
    )


def _fillers(found: Row, null: Row | None) -> tuple[str, str]:
    return CONTRADICTED, (
        "Lists of 20 are filled up with features of value 0, the same ones in both prompts: of hand-made "
        "prompts with a Jaccard index of 0.5, 80 % is called shared (methods/4, section 5.6.5; a test "
        "holds it)."
    )


def _own_head(found: Row, null: Row | None) -> tuple[str, str]:
    if null is None or null["value"] is None:
        return NOT_TESTABLE, "This run does not measure it."
    if found["value"] < 0.5:
        return CONTRADICTED, (
            "Of what a block of coordinates writes, its own head gives "
            f"{found['value']:.0%}; equal shares of all heads would be {null['value']:.0%}."
        )
    return SUPPORTED, "Most of what a block of coordinates writes comes from its own head."


_PROCEDURES: dict[str, Callable[[Row, Row | None], tuple[str, str]]] = {
    "repeats": _repeats,
    "overlap_is_shared_features": _fillers,
    "blocks_are_heads": _own_head,
}


def _find(rows: Sequence[Row], wanted: Wanted | None, chosen: int | None) -> Row | None:
    if wanted is None or (wanted.layer == "chosen" and chosen is None):
        return None
    for each in rows:
        same = all(
            each[name] == getattr(wanted, name)
            for name in ("part", "group", "metric", "mode", "control")
        )
        if same and _layer_fits(each["layer"], wanted.layer, chosen):
            return each
    return None


def _layer_fits(layer: int | None, wanted: str | None, chosen: int | None) -> bool:
    if wanted == "chosen":
        return layer == chosen
    return layer is None if wanted == "none" else True
