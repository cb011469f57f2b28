"""Which tokens follow which features, in the published way (methods/1, sections 2.3 to 2.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Int

from saeflow.artifacts.features import LayerTable
from saeflow.config.studies import AssociationSettings
from saeflow.stats.contingency import Pairs, published_pairs


@dataclass(frozen=True)
class TokenMatrix:
    """Which problem holds which token, anywhere in any step.

    Attributes
    ----------
    tokens : list of str
        In the order in which the data set first shows them, which decides ties of enrichment. The
        study saw its problems in the order of its shuffled split instead (methods/1, 2.3), so a
        tied feature may carry the name of another of its tied tokens (12 of 398 random features in
        a trial, none of which changed between monosemantic and not).
    present : numpy.ndarray of bool, shape (problems, tokens)
        Rows are the analysed problems in the order of the data set.
    """

    tokens: list[str]
    present: Bool[np.ndarray, "problems tokens"]


@dataclass(frozen=True)
class LayerFeatures:
    """Where the features of one layer fire.

    Attributes
    ----------
    layer : int
        Layer number.
    steps : tuple of int
        Thought steps.
    d_sae : int
        Features per step; column ``i * d_sae + f`` is feature f of the i-th step.
    active : numpy.ndarray of bool, shape (problems, steps * d_sae)
        Not zero, either sign, as the study counts.
    """

    layer: int
    steps: tuple[int, ...]
    d_sae: int
    active: Bool[np.ndarray, "problems features"]


def token_matrix(cot_tokens: pa.Table, problems: Int[np.ndarray, " problems"]) -> TokenMatrix:
    """Presence of tokens in some problems, such as the analysed ones.

    Parameters
    ----------
    cot_tokens : pyarrow.Table
        Columns problem and token, in the order of the data set; those of other problems do not
        count.
    problems : numpy.ndarray of shape (problems,)
        Their running numbers, ascending; a problem without a calculation keeps its row.

    Returns
    -------
    TokenMatrix
        Tokens in first-seen order among these problems.
    """
    cot_tokens = cot_tokens.filter(pa.array(np.isin(cot_tokens["problem"].to_numpy(), problems)))
    column = cot_tokens["token"].combine_chunks().dictionary_encode()
    encoded = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    present = np.zeros((len(problems), len(encoded.dictionary)), bool)
    rows = np.searchsorted(problems, cot_tokens["problem"].to_numpy())
    present[rows, encoded.indices.to_numpy()] = True
    return TokenMatrix(encoded.dictionary.to_pylist(), present)


def layer_features(source: LayerTable, problems: Int[np.ndarray, " problems"]) -> LayerFeatures:
    """Dense activity of one layer from its long table, in which zeros are not stored.

    Parameters
    ----------
    source : LayerTable
        Activations of the layer's features, which may hold other problems, too.
    problems : numpy.ndarray of shape (problems,)
        Running numbers of the analysed problems, ascending.

    Returns
    -------
    LayerFeatures
        Rows in the order of `problems`.
    """
    width = len(source.steps) * source.d_sae
    row, column, _ = source.cells(problems)
    active = np.zeros(len(problems) * width, bool)
    active[row * width + column] = True
    shaped = active.reshape(len(problems), width)
    return LayerFeatures(source.layer, source.steps, source.d_sae, shaped)


def association_inputs(
    problems: pa.Table, cot_tokens: pa.Table, features: Iterable[LayerTable]
) -> tuple[list[LayerFeatures], TokenMatrix]:
    """Features and tokens of the analysed problems, row by row.

    Parameters
    ----------
    problems, cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS` and `COT_TOKENS`.
    features : iterable of LayerTable
        Activations, layer by layer.

    Returns
    -------
    layers : list of LayerFeatures
        Where features fire.
    tokens : TokenMatrix
        Where tokens occur.
    """
    numbers = problems["problem"].to_numpy()[problems["analysed"].to_numpy()]
    layers = [layer_features(source, numbers) for source in features]
    return layers, token_matrix(cot_tokens, numbers)


def associate(
    layers: list[LayerFeatures],
    tokens: TokenMatrix,
    criteria: AssociationSettings,
    run: Mapping[str, object],
    device: torch.device,
) -> tuple[pa.Table, pa.Table]:
    """Test every feature against every token.

    Parameters
    ----------
    layers : list of LayerFeatures
        Features to test.
    tokens : TokenMatrix
        Tokens to test them against.
    criteria : AssociationSettings
        Thresholds.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    device : torch.device
        Where to multiply.

    Returns
    -------
    tested : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.TESTED`.
    association : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.ASSOCIATION`; at most ``criteria.keep`` per feature.
    """
    tested, kept = [], []
    for features in layers:
        pairs = published_pairs(features.active, tokens.present, criteria, device)
        tested.append(_tested_table(features, pairs, criteria, run))
        kept.append(_pair_table(features, pairs, tokens, criteria.keep, run))
    return pa.concat_tables(tested), pa.concat_tables(kept)


def rank_within(feature: Int[np.ndarray, " pairs"]) -> Int[np.ndarray, " pairs"]:
    """Place of each pair among its feature's pairs, from 0, for pairs sorted by feature."""
    starts = np.flatnonzero(np.r_[True, feature[1:] != feature[:-1]]) if len(feature) else feature
    lengths = np.diff(np.r_[starts, len(feature)])
    rank: Int[np.ndarray, " pairs"] = np.arange(len(feature)) - np.repeat(starts, lengths)
    return rank


def _tested_table(
    features: LayerFeatures, pairs: Pairs, criteria: AssociationSettings, run: Mapping[str, object]
) -> pa.Table:
    count = features.active.shape[1]
    n_active = features.active.sum(0)
    columns = {
        **_keys(run, features, np.arange(count)),
        "n_active": n_active,
        "n_problems": np.full(count, len(features.active)),
        "tested": n_active >= criteria.min_active,
        "n_kept": np.bincount(pairs.feature, minlength=count),
    }
    return pa.table(columns)


def _pair_table(
    features: LayerFeatures, pairs: Pairs, tokens: TokenMatrix, keep: int, run: Mapping[str, object]
) -> pa.Table:
    rank = rank_within(pairs.feature)
    stored = rank < keep
    columns = {
        **_keys(run, features, pairs.feature[stored]),
        "rank": rank[stored],
        "token": np.array(tokens.tokens, dtype=object)[pairs.label[stored]],
    }
    for name in ("a", "b", "c", "d", "chi2", "p_value", "enrichment"):
        columns[name] = getattr(pairs, name)[stored]
    columns["token"] = pa.array(columns["token"], pa.string())
    return pa.table(columns)


def _keys(
    run: Mapping[str, object], features: LayerFeatures, columns: Int[np.ndarray, " rows"]
) -> dict[str, object]:
    texts = {
        name: pa.repeat(
            pa.scalar(value, pa.int32() if name == "seed" else pa.string()), len(columns)
        )
        for name, value in run.items()
    }
    return {
        **texts,
        "layer": np.full(len(columns), features.layer),
        "step": np.array(features.steps)[columns // features.d_sae],
        "feature": columns % features.d_sae,
    }
