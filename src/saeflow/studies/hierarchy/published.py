"""The published hierarchy study, bug for bug: ranks, types, specialists, impact (methods/2, 3.1-3.5).

Nothing here runs a model, and nothing is compared with chance except in the summary, where the
control stands beside the published count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.hierarchy import RANKS, SWAP_PAIRS
from saeflow.config.hierarchy import HierarchyRules, TaxonomySettings
from saeflow.datasets.selection import HeldOut, held_out_numbers
from saeflow.saes.bank import Bank, Site
from saeflow.studies.hierarchy.impact import ablation_impact, impact_level
from saeflow.studies.hierarchy.patterns import Patterns, problem_patterns
from saeflow.studies.hierarchy.published_summary import Beside, published_summary
from saeflow.studies.hierarchy.ranking import Ranking, rank_features
from saeflow.studies.hierarchy.sanity import Sanity, check_sanity
from saeflow.studies.hierarchy.specialised import (
    Specialisation,
    both_rules,
    pattern_counts,
    random_sets,
    swap_pairs,
)
from saeflow.studies.hierarchy.taxonomy import TYPES, feature_types, random_types

ReadActivations = Callable[[Sequence[Site], Int[np.ndarray, " problems"]], Tensor]
"""Gives activations (sites, problems, d_in), such as `saeflow.saes.sites.read_sites` of a capture."""


class PublishedTables(NamedTuple):
    """What the published mode writes.

    Attributes
    ----------
    ranks : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.RANKS`.
    swap_pairs : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SWAP_PAIRS`.
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`.
    """

    ranks: pa.Table
    swap_pairs: pa.Table
    summary: pa.Table


@dataclass(frozen=True)
class _Inputs:
    """What is the same for all sites."""

    bank: Bank
    numbers: Int[np.ndarray, " problems"]
    patterns: Patterns
    settings: HierarchyRules
    run: Mapping[str, object]


def published_hierarchy(
    problems: pa.Table,
    features: Iterable[LayerTable],
    bank: Bank,
    read: ReadActivations,
    settings: HierarchyRules,
    run: Mapping[str, object],
    held_out: HeldOut,
) -> PublishedTables:
    """Analyse one bank as the study did, at all of its sites, one layer in memory at a time.

    Parameters
    ----------
    problems : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    features : iterable of LayerTable
        Activations of the bank's features, which may span other problems, too.
    bank : Bank
        Its SAEs, on the device on which impact is measured.
    read : callable
        Gives the activations of sites of one layer on problems.
    settings : HierarchyRules
        The rules.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    held_out : {"validation", "analysed"}
        Which problems are held out; see `held_out_numbers`.

    Returns
    -------
    PublishedTables
        Ranks and swap pairs by layer, step and feature; summary by place.

    Raises
    ------
    SaeflowError
        If no problem is held out, or the bank has no SAE for a site of the features.
    """
    numbers = held_out_numbers(problems, held_out)
    inputs = _Inputs(bank, numbers, problem_patterns(problems, numbers), settings, run)
    tables: list[pa.Table] = []
    pairs: list[dict[str, object]] = []
    decoder: list[Float[np.ndarray, " features"]] = []
    sanity: dict[Site, Sanity] = {}
    for layer in features:
        sites = [Site(layer.layer, step) for step in layer.steps]
        vectors = read(sites, numbers)
        for site, x, magnitude in zip(sites, vectors, _magnitudes(layer, numbers), strict=True):
            sae = bank.select([site])
            ranks, swaps = _analyse(inputs, site, sae, x, magnitude)
            tables.append(ranks)
            pairs += swaps
            decoder.append(sae.W_dec[0].abs().double().mean(1).cpu().numpy())
            sanity[site] = check_sanity(sae, x)
    ranks = pa.concat_tables(tables)
    n_active = ranks["n_active"].to_numpy()
    beside = Beside(
        random_sets(inputs.patterns.specialists, n_active, settings.samples, settings.specialists),
        _random_types(ranks, inputs.patterns, settings),
        np.concatenate(decoder),
        sanity,
    )
    return PublishedTables(
        ranks,
        pa.Table.from_pylist(pairs, schema=SWAP_PAIRS.schema()),
        published_summary(ranks, beside, settings, run),
    )


def _random_types(
    ranks: pa.Table, patterns: Patterns, settings: HierarchyRules
) -> Float[np.ndarray, "features types"]:
    """Chance of each type; 0 where a feature gets none."""
    top = ranks["rank"].to_numpy() <= settings.taxonomy.top
    chance = np.zeros((len(ranks), len(TYPES)))
    chance[top] = random_types(patterns.taxonomy, ranks["n_samples"].to_numpy()[top], settings)
    return chance


def _magnitudes(
    layer: LayerTable, numbers: Int[np.ndarray, " problems"]
) -> Float32[np.ndarray, "steps features problems"]:
    row, column, value = layer.cells(numbers)
    dense = np.zeros((len(layer.steps) * layer.d_sae, len(numbers)), np.float32)
    dense[column, row] = np.abs(value)
    return dense.reshape(len(layer.steps), layer.d_sae, len(numbers))


def _analyse(
    inputs: _Inputs,
    site: Site,
    sae: Bank,
    x: Float[Tensor, "problems d_in"],
    magnitude: Float32[np.ndarray, "features problems"],
) -> tuple[pa.Table, list[dict[str, object]]]:
    """Rows of `RANKS` and of `SWAP_PAIRS` of one site."""
    settings = inputs.settings
    ranking = rank_features(magnitude, settings.samples)
    sizes = np.count_nonzero(ranking.samples, axis=1)
    rules = both_rules(ranking.samples, inputs.patterns.specialists, settings.specialists)
    found = rules[""]
    ranges = _rank_ranges(ranking.rank, settings.specialists.rank_ranges)
    in_range = ranges.astype(bool)
    rank = ranking.rank
    columns = {
        "feature": np.arange(len(rank)),
        "rank": rank,
        "n_active": ranking.n_active,
        "activation_rate": ranking.n_active / len(inputs.numbers),
        "mean_magnitude": ranking.mean_magnitude,
        "n_samples": sizes,
        "top_problems": [inputs.numbers[rows] for rows in ranking.top],
        **_type_columns(ranking, inputs.patterns, settings.taxonomy),
        "rank_range": ranges,
        **_specialist_columns(found, in_range & (sizes > 0)),
        **{f"specialised{ending}": each.any for ending, each in rules.items()},
        **_impact_columns(inputs, sae, x, (rank <= settings.impact.top) | (in_range & found.any)),
    }
    keys = {**inputs.run, **site._asdict()}
    swaps = [
        {**keys, "rank_range": name, **pair}
        for name in _range_names(settings.specialists.rank_ranges)
        for pair in swap_pairs(found, rank, ranges == name)
    ]
    columns |= {name: [value] * len(rank) for name, value in keys.items()}
    schema = RANKS.schema()
    return pa.table([pa.array(columns[each.name], each.type) for each in schema], schema), swaps


def _range_names(ranges: Sequence[tuple[int, int]]) -> list[str]:
    return [f"{first}-{last}" for first, last in ranges]


def _rank_ranges(
    rank: Int[np.ndarray, " features"], ranges: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Name of each feature's rank range, or None."""
    names = np.full(len(rank), None, object)
    for (first, last), name in zip(ranges, _range_names(ranges), strict=True):
        names[(first <= rank) & (rank <= last)] = name
    return names


def _type_columns(
    ranking: Ranking, patterns: Patterns, settings: TaxonomySettings
) -> dict[str, list[Any]]:
    names = ("type", "confidence", "patterns")
    columns: dict[str, list[Any]] = {name: [None] * len(ranking.rank) for name in names}
    top = np.flatnonzero(ranking.rank <= settings.top)
    types = feature_types(pattern_counts(ranking.samples[top], patterns.taxonomy), settings)
    for feature, found in zip(top.tolist(), types, strict=True):
        for name, value in zip(names, found, strict=True):
            columns[name][feature] = value
    return columns


def _specialist_columns(
    found: Specialisation, judged: Bool[np.ndarray, " features"]
) -> dict[str, list[str | None]]:
    places = [place if asked else None for place, asked in enumerate(judged.tolist())]
    return {
        "specialisation": [None if place is None else found.kind(place) for place in places],
        "name": [None if place is None else found.name(place) for place in places],
    }


def _impact_columns(
    inputs: _Inputs,
    sae: Bank,
    x: Float[Tensor, "problems d_in"],
    chosen: Bool[np.ndarray, " features"],
) -> dict[str, np.ndarray]:
    impact = ablation_impact(sae, x, np.flatnonzero(chosen))
    levels = [impact_level(mean, inputs.settings.impact) for mean in impact.mean.tolist()]
    columns = {
        "mean_impact": impact.mean,
        "max_impact": impact.largest,
        "mean_l2": impact.mean_l2,
        "impact_level": levels,
    }
    filled = {}
    for name, values in columns.items():
        filled[name] = np.full(len(chosen), None, object)
        filled[name][chosen] = values
    return filled
