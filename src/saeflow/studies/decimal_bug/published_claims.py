"""Sentences published about the decimal bug, and which numbers of a run they are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SURGEON, MATS = "surgeon (methods/4)", "MATS 9_8_research (methods/4)"
LAYER_7, LAYER_10, LAYER_20 = 8 / 32, 11 / 32, 21 / 32
"""Relative depths of layers that the study names, of 32 (`saeflow.studies.depths`)."""


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
    below : bool
        Whether the statement holds where the number is below its control.
    """

    claim: str
    source: str
    statement: str
    published: str
    scope: Literal["procedure", "model", "none"]
    found: Wanted | None = None
    by_procedure: Wanted | None = None
    null: Wanted | None = None
    below: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which row of the summary: the first whose columns are these.

    Attributes
    ----------
    part, metric, mode, control : str
        As in the summary.
    group : str
        Regular expression that the whole group is.
    layer : str, float or None
        None: a number of the whole model; ``chosen``: of the layer whose attention is patched; a
        number: of the layer at that relative depth, as of one that the study names.
    """

    part: str
    group: str
    metric: str
    mode: str = "calibrated"
    control: str = "none"
    layer: Literal["chosen"] | float | None = None


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
        "other_phrases",
        MATS,
        "The effect is confined to this very phrase.",
        "9 paraphrases",
        "model",
        Wanted("behaviour", "qa_number, prone", "wrong"),
        None,
        Wanted("behaviour", "qa_which, prone", "wrong"),
        below=True,
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
        Wanted("overlap", "last", "overlap_percent", "published"),
        Wanted("overlap", "last", "jaccard", control="wording"),
    ),
    Published(
        "layers_discriminate",
        SURGEON,
        "Early layers (7 and 8) tell the formats apart, with 10 and 20 % of overlap.",
        "10 %, 20 %",
        "model",
        Wanted("overlap", "last", "jaccard", layer=LAYER_7),
        Wanted("overlap", "last", "overlap_percent", "published", layer=LAYER_7),
        Wanted("overlap", "last", "jaccard", control="wording", layer=LAYER_7),
        below=True,
    ),
    Published(
        "bottleneck",
        SURGEON,
        "Layer 10 is a bottleneck in which 80 % of the features are shared.",
        "80 %",
        "model",
        Wanted("overlap", "last", "jaccard", layer=LAYER_10),
        Wanted("overlap", "last", "overlap_percent", "published", layer=LAYER_10),
        Wanted("overlap", "last", "jaccard", control="wording", layer=LAYER_10),
    ),
    Published(
        "amplification",
        SURGEON,
        "Shared features are stronger in the wrong format.",
        "1.208 on average",
        "model",
        None,
        Wanted("overlap", "last", "amplification", "published"),
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
            "own: plain_to_buggy, attn_out, both",
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
        Wanted(
            "patching",
            "own: plain_to_buggy, attn_out, both, weight 0.6",
            "right",
            "published",
            layer="chosen",
        ),
    ),
    Published(
        "reverse",
        SURGEON,
        "The same output taken from Q&A makes Simple wrong.",
        "100 % wrong",
        "model",
        Wanted("patching", "buggy_to_plain, attn_out, both", "right", layer="chosen"),
        Wanted(
            "patching", "own: buggy_to_plain, attn_out, both", "right", "published", layer="chosen"
        ),
        Wanted(
            "patching",
            "buggy_to_plain, attn_out, both",
            "right",
            control="other_pair_plain",
            layer="chosen",
        ),
        below=True,
    ),
    Published(
        "mlp_suffices",
        MATS,
        "The output of a late layer's MLP suffices as well.",
        "works in layers 8, 15 and 20",
        "model",
        Wanted("patching", "plain_to_buggy, mlp_out, both", "right", layer=LAYER_20),
        None,
        Wanted(
            "patching",
            "plain_to_buggy, mlp_out, both",
            "right",
            control="other_pair_buggy",
            layer=LAYER_20,
        ),
    ),
    Published(
        "residual_swap",
        MATS,
        "Exchanging the whole residual stream does nothing.",
        "0 % right",
        "model",
        Wanted("patching", "plain_to_buggy, resid_post, both", "right", layer="chosen"),
        None,
        Wanted(
            "patching",
            "plain_to_buggy, resid_post, both",
            "right",
            control="identity",
            layer="chosen",
        ),
        below=True,
    ),
    Published(
        "first_half",
        SURGEON,
        "The first 16 heads do not suffice, though eight even ones of them do: size alone is no account.",
        "0 % right for heads 0 to 15",
        "model",
        Wanted(
            "patching",
            r"published: plain_to_buggy, block [\d,]+ \(first_\d+\), both",
            "right",
            "published",
            layer="chosen",
        ),
        Wanted(
            "patching",
            r"own: plain_to_buggy, block [\d,]+ \(first_\d+\), both",
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
