"""The grid of SAE sizes: SAEs of every d_sae and k at the same relative depths of every model.

The study compared its models at different k, layers, problems and numbers of training rows, which
moves even the rates of random features further apart than what it found (methods/1, section 2.9).
Here all of them are the same, and every rate stands beside what permuted tokens give.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.artifacts.calibration import CAPACITY
from saeflow.artifacts.captures import count_layers
from saeflow.config.runs import ExactSettings
from saeflow.config.studies import CapacitySettings, Gsm8kCriteria
from saeflow.errors import SaeflowError
from saeflow.progress import progress
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.parallel import one_thread_each
from saeflow.saes.quality import site_quality
from saeflow.saes.sites import read_sites
from saeflow.saes.train import train_bank
from saeflow.studies.chance import band, excess
from saeflow.studies.depths import CONVENTION, layers_at
from saeflow.studies.gsm8k.association import LayerFeatures, TokenMatrix, token_matrix
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest
from saeflow.studies.gsm8k.permutations import outcome_of_layers, permuted_rows, published_tests
from saeflow.studies.gsm8k.summary import measure
from saeflow.studies.gsm8k.targets import Target

QUALITY = ("explained_variance", "fvu", "l0_mean", "dead_share")
PUBLISHED_RATES = ("interpretable_rate", "monosemantic_rate")

Rate = tuple[float | None, int]
"""Value, None where there is nothing to divide by, and the number that it is a share of."""
Rates = dict[tuple[str, str], Rate]
"""By mode and metric."""


@dataclass(frozen=True)
class GridCriteria:
    """Everything that decides a grid's numbers, besides the activations.

    Attributes
    ----------
    grid : CapacitySettings
        Sizes and sites.
    exact : ExactSettings
        What a discovery is.
    published : Gsm8kCriteria
        Criteria and label rule of the study; its permutations are not used.
    """

    grid: CapacitySettings
    exact: ExactSettings
    published: Gsm8kCriteria

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> GridCriteria:
        """Criteria from the plain blocks ``capacity``, ``association`` and ``published``."""
        return cls(
            CapacitySettings.model_validate(spec["capacity"]),
            ExactSettings.model_validate(spec["association"]),
            Gsm8kCriteria.model_validate(spec["published"]),
        )


def capacity_table(
    capture: Path,
    problems: pa.Table,
    cot_tokens: pa.Table,
    criteria: GridCriteria,
    *,
    model: str,
    dataset: str,
    device: torch.device,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> pa.Table:
    """Train an SAE of every d_sae and k at every site, and measure it on held-out problems.

    SAEs are trained with the published recipe (abstopk) on the problems of the split ``train`` and
    measured on those of the split ``validation`` alone. A k larger than a d_sae is left out there.

    Parameters
    ----------
    capture : Path
        Folder of the capture.
    problems, cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS` and `COT_TOKENS`.
    criteria : GridCriteria
        Sizes, sites and thresholds.
    model, dataset : str
        Their names in the configuration.
    device : torch.device
        Where to train and to multiply.
    sizes : sequence of (int, int), optional
        Those of `grid_sizes` that are wanted, in its order; by default all.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.CAPACITY`. Mode ``published`` holds interpretable_rate
        (of d_sae) and monosemantic_rate (of the interpretable), mode ``calibrated`` discovered_rate:
        the share of the d_sae features of which either half has a discovery, all tests of one SAE
        being corrected together. Each has a row with control ``permuted``, the mean over joint
        permutations with their smallest and largest value (``permutation_range``), and an excess:
        observed minus that mean, with the observed minus the 97.5 % and the 2.5 % quantile of the
        permuted values (``permutation_95``). Rates over nothing are null. The quality of the SAEs
        (see `saeflow.saes.quality.site_quality`) is in mode ``calibrated``, for the study measured
        it on training rows, too.

    Raises
    ------
    SaeflowError
        If a split is empty or the capture lacks a step.
    """
    grid = criteria.grid
    numbers, split = problems["problem"].to_numpy(), np.array(problems["split"].to_pylist(), str)
    learned, held_out = numbers[split == "train"], numbers[split == "validation"]
    if not len(learned) or not len(held_out):
        raise SaeflowError(
            f"data set {dataset} has {len(learned)} problems in the split train and "
            f"{len(held_out)} in the split validation; expected at least 1 of each to compare "
            "sizes of SAEs."
        )
    layers = layers_at(grid.depths, count_layers(capture))
    sites = [
        Site(layer, step) for layer in sorted({*layers.values()}) for step in sorted({*grid.steps})
    ]
    train, test = (read_sites(capture, CONVENTION, sites, rows) for rows in (learned, held_out))
    tokens = token_matrix(cot_tokens, held_out)
    key = {"model": model, "dataset": dataset, "seed": grid.seed}
    rows: list[dict[str, object]] = []

    def measure_size(size: tuple[int, int]) -> list[dict[str, object]]:
        d_sae, k = size
        bank = train_bank(train, sites, Recipe("abstopk", d_sae, k), seed=grid.seed, device=device)
        return [
            {**key, "d_sae": d_sae, "k": k, "layer": site.layer, "step": site.step, **row}
            for site, x in zip(sites, test, strict=True)
            for row in _site_rows(bank.select([site]).to(device), x, tokens, criteria)
        ]

    sizes = grid_sizes(grid) if sizes is None else sizes
    # One site's SAE keeps one core busy, so that on a CPU several sizes are trained at a time.
    with one_thread_each(device) as pool:
        parts = pool.map(measure_size, sizes)
        for part in progress(parts, description="sizes", total=len(sizes), unit="sizes"):
            rows += part
    # Two depths of a shallow model may be one layer; each has its rows.
    rows = [
        {**row, "depth": depth}
        for depth, layer in layers.items()
        for row in rows
        if row["layer"] == layer
    ]
    return pa.Table.from_pylist(rows, CAPACITY.schema())


def join_sizes(parts: pa.Table) -> pa.Table:
    """Order the rows of parts of the sizes as they are when all sizes are asked for at once.

    Parameters
    ----------
    parts : pyarrow.Table
        What `capacity_table` gives for each part and data set, one below the other: first that of the
        smallest sizes.
    """
    # A data set comes before the next, and in it a depth.
    keys = [_first_seen(parts[name].to_pylist()) for name in ("depth", "dataset")]
    return parts.take(np.lexsort(keys))


def _first_seen(values: Sequence[object]) -> Int[np.ndarray, " rows"]:
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return np.array([places[value] for value in values], np.int64)


def grid_sizes(grid: CapacitySettings) -> list[tuple[int, int]]:
    """All pairs of a d_sae and a k that fits it, ascending; the log names those that do not."""
    for d_sae in sorted({*grid.d_sae}):
        for k in sorted(k for k in {*grid.k} if k > d_sae):
            logging.getLogger("saeflow").info(
                "k %d is left out for d_sae %d, which has fewer latents.", k, d_sae
            )
    return grid.sizes


class _Tests:
    """Both procedures on the features of one SAE, whichever way the token rows are permuted."""

    def __init__(
        self,
        site: Site,
        values: Float[np.ndarray, "problems features"],
        tokens: TokenMatrix,
        criteria: GridCriteria,
        device: torch.device,
    ) -> None:
        d_sae, self.criteria = values.shape[1], criteria.published
        self.layers = [LayerFeatures(site.layer, (site.step,), d_sae, values != 0)]
        self.published = published_tests(self.layers, tokens, self.criteria, device)
        at, index = np.zeros(d_sae, np.int64), np.arange(d_sae)
        features = BankFeatures(at + site.layer, at + site.step, index, values)
        labels = Target("token", tokens.tokens, tokens.present, None)
        self.exact = BankTest(features, [labels], criteria.exact, device)
        self.observed = self.exact.counts(self.exact.candidates())

    def rates(self, tokens: TokenMatrix) -> Rates:
        """Rates that these tokens give, permuted or not.

        Permuted tokens are held against the p-value up to which the measurement discovers.
        """
        outcome = outcome_of_layers(self.layers, self.published, tokens, self.criteria)
        overall = {
            row.metric: (row.value, row.n)
            for row in measure(outcome, self.criteria.labels)
            if row.layer is None and row.step is None
        }
        rates: Rates = {("published", name): overall[name] for name in PUBLISHED_RATES}
        counts = self.exact.counts(self.exact.candidates(tokens.present), self.observed)
        whole = counts[0].n_features
        rates["calibrated", "discovered_rate"] = (counts[0].n_discovered / whole, whole)
        return rates


def _site_rows(
    sae: Bank, x: Float[Tensor, "problems d_in"], tokens: TokenMatrix, criteria: GridCriteria
) -> Iterator[dict[str, object]]:
    measured = site_quality(sae, x)
    for metric in QUALITY:
        value = measured[metric]
        yield _row("calibrated", "none", metric, value if np.isfinite(value) else None, len(x))
    yield from _rate_rows(sae, x, tokens, criteria)


def _rate_rows(
    sae: Bank, x: Float[Tensor, "problems d_in"], tokens: TokenMatrix, criteria: GridCriteria
) -> Iterator[dict[str, object]]:
    values = sae.encode(x.to(sae.device).unsqueeze(0))[0].cpu().numpy()
    tests = _Tests(sae.sites[0], values, tokens, criteria, sae.device)
    observed = tests.rates(tokens)
    null: list[Rates] = []
    for index in range(criteria.grid.permutations):
        order = permuted_rows(len(values), criteria.grid.seed, index)
        null.append(tests.rates(TokenMatrix(tokens.tokens, tokens.present[order])))
    for place, rate in observed.items():
        chance = [each[place][0] for each in null]
        yield from beside_chance(*place, rate, [value for value in chance if value is not None])


def beside_chance(
    mode: str, metric: str, rate: Rate, chance: Sequence[float]
) -> Iterator[dict[str, object]]:
    """Rows of one rate: observed, permuted, and the excess of the one over the other.

    Parameters
    ----------
    mode, metric : str
        What names the rate; a metric ``NAME_rate`` has the excess ``NAME_excess``.
    rate : Rate
        Observed.
    chance : sequence of float
        Its value in each permutation that has one.

    Yields
    ------
    dict
        Columns mode, control, metric, value, ci_low, ci_high, interval, n; the n of a permuted
        row is the number of permutations.
    """
    value, n = rate
    yield _row(mode, "none", metric, value, n)
    name = f"{metric.removesuffix('_rate')}_excess"
    yield {"mode": mode, "control": "permuted", "metric": metric, **band(chance)}
    if chance and value is not None:
        yield {"mode": mode, **excess(name, value, chance, n)}
    else:
        yield _row(mode, "none", name, None, n)


def _row(mode: str, control: str, metric: str, value: float | None, n: int) -> dict[str, object]:
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {"mode": mode, "control": control, "metric": metric, "value": value, **nothing, "n": n}
