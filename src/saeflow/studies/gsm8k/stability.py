"""Which features come back under another SAE seed, and with the same label (methods/1, section 2.9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Float32, Int

from saeflow.artifacts.calibration import MATCHES, STABILITY
from saeflow.artifacts.features import LayerTable
from saeflow.config.studies import StabilitySettings
from saeflow.saes.bank import Bank, Site
from saeflow.seeds import numpy_generator
from saeflow.stats.matching import (
    best_matching,
    chance_agreement,
    correlations,
    cosines,
    shared_similarity,
)
from saeflow.studies.chance import places

Place = tuple[int, int, int]
"""Layer, step and feature."""
Sums = dict[str, tuple[float, int]]
"""Sum over units and their number, by metric."""


@dataclass(frozen=True)
class SeedFeatures:
    """What is known of the features of one SAE seed.

    Attributes
    ----------
    seed : int
        Seed of the SAEs.
    bank : Bank
        The SAEs, on the CPU.
    layers : iterable of LayerTable
        Activations, layer by layer; gone through once.
    discoveries : pyarrow.Table
        Columns of `saeflow.artifacts.calibration.DISCOVERIES`.
    """

    seed: int
    bank: Bank
    layers: Iterable[LayerTable]
    discoveries: pa.Table


class Alive(NamedTuple):
    """Features of one site that are active on one of the problems or more.

    Attributes
    ----------
    feature : numpy.ndarray of int64, shape (alive,)
        Index in the SAE, ascending.
    directions : numpy.ndarray of float32, shape (d_in, alive)
        Decoder directions.
    values : numpy.ndarray of float32, shape (problems, alive)
        Activations.
    """

    feature: Int[np.ndarray, " alive"]
    directions: Float[np.ndarray, "d_in alive"]
    values: Float[np.ndarray, "problems alive"]


class Partners(NamedTuple):
    """Matched features of one site.

    Attributes
    ----------
    feature, other_feature : numpy.ndarray of int64, shape (matches,)
        Index in either SAE.
    cosine, correlation : numpy.ndarray of float64, shape (matches,)
        Of their directions and activations, signed.
    recurs : numpy.ndarray of bool, shape (matches,)
        Whether both are large enough, with one sign.
    """

    feature: Int[np.ndarray, " matches"]
    other_feature: Int[np.ndarray, " matches"]
    cosine: Float[np.ndarray, " matches"]
    correlation: Float[np.ndarray, " matches"]
    recurs: Bool[np.ndarray, " matches"]


class Condition(NamedTuple):
    """Which features are like which, of two seeds at one site.

    Attributes
    ----------
    control : str
        ``none`` for the measurement itself.
    by : {"both", "direction", "activation"}
        What they are matched by.
    cosine, correlation : numpy.ndarray of float64, shape (ours, theirs)
        Of directions and activations.
    """

    control: str
    by: str
    cosine: Float[np.ndarray, "ours theirs"]
    correlation: Float[np.ndarray, "ours theirs"]

    @property
    def compared(self) -> tuple[Float[np.ndarray, "ours theirs"], Float[np.ndarray, "ours theirs"]]:
        """The two similarities that both must be large."""
        one = self.correlation if self.by == "activation" else self.cosine
        other = self.cosine if self.by == "direction" else self.correlation
        return one, other


class Total(NamedTuple):
    """Sum of a metric over the units of a site; sites add up to layers, steps and all."""

    layer: int
    step: int
    control: str
    metric: str
    total: float
    n: int


def match_runs(
    runs: Sequence[Mapping[str, Any]],
    opened: Callable[[int], SeedFeatures],
    held_out: Sequence[Int[np.ndarray, " _"]],
    settings: StabilitySettings,
) -> tuple[pa.Table, pa.Table]:
    """Match every two seeds of the same data set and dictionary; see `match_seeds`.

    Parameters
    ----------
    runs : sequence of mapping
        Values of the key columns dataset, dictionary and seed.
    opened : callable
        Gives the features of a run by its place in `runs`; called anew for every pair, so that no
        more than two runs are in memory.
    held_out : sequence of numpy.ndarray of int
        Running numbers of each run's held-out problems, ascending.
    settings : StabilitySettings
        Which partners count as the same feature.

    Returns
    -------
    matches, stability : pyarrow.Table
        As `match_seeds` gives them, of all pairs; without rows where no two runs are alike.
    """
    matches, stability = [MATCHES.schema().empty_table()], [STABILITY.schema().empty_table()]
    for one, other in combinations(range(len(runs)), 2):
        keys, others = (
            {key: runs[place][key] for key in ("dataset", "dictionary")} for place in (one, other)
        )
        if keys == others:
            found = match_seeds(opened(one), opened(other), held_out[one], settings, keys)
            matches.append(found[0])
            stability.append(found[1])
    return pa.concat_tables(matches), pa.concat_tables(stability)


def match_seeds(
    first: SeedFeatures,
    second: SeedFeatures,
    problems: Int[np.ndarray, " problems"],
    settings: StabilitySettings,
    run: Mapping[str, str],
) -> tuple[pa.Table, pa.Table]:
    """Match the features of two seeds one to one, site by site, and count those that recur.

    Features are matched by direction and activation together, and again by either alone: these
    metrics end in ``.direction`` and ``.activation``. SAEs whose features fire alike may still
    write in unlike directions, and then no feature recurs by both.

    Two controls break one side each and match anew: ``permuted`` exchanges the second seed's
    activations among problems, ``random_directions`` puts random directions in place of its
    decoder. The ``permuted`` ``label_agreement`` is what is expected when the recurring partners of
    a site are exchanged among themselves.

    Parameters
    ----------
    first, second : SeedFeatures
        Seeds of one dictionary and data set.
    problems : numpy.ndarray of shape (problems,)
        Running numbers of the held-out problems, ascending; activations on others do not count.
    settings : StabilitySettings
        Which partners count as the same feature.
    run : mapping
        Values of the key columns dataset and dictionary.

    Returns
    -------
    matches : pyarrow.Table
        Columns of `saeflow.artifacts.calibration.MATCHES`: every alive feature of the first seed
        that has a partner, matched by both.
    stability : pyarrow.Table
        Columns of `saeflow.artifacts.calibration.STABILITY`. ``recurring_share`` is taken over the
        alive features of the first seed, ``mean_cosine`` and ``mean_correlation`` (of absolute
        values) over matches, ``label_agreement`` over recurring matches with two labels.
    """
    signed = first.bank.recipe.architecture == "abstopk"
    labels = best_tokens(first.discoveries), best_tokens(second.discoveries)
    keys: dict[str, str | int] = {**run, "seed": first.seed, "other_seed": second.seed}
    matches, totals = [MATCHES.schema().empty_table()], list[Total]()
    for site, ours, theirs in _sites(first, second, problems):
        names = (first.seed, "gsm8k", "stability", second.seed, *site)
        for condition in _conditions(ours, theirs, names):
            pairs = best_matching(shared_similarity(*condition.compared, signed=signed))
            found = Partners(
                ours.feature[pairs.first],
                theirs.feature[pairs.second],
                condition.cosine[pairs.first, pairs.second],
                condition.correlation[pairs.first, pairs.second],
                pairs.similarity >= settings.min_similarity,
            )
            sums = _sums(found, len(ours.feature))
            totals += _totals(site, condition, condition.control, sums)
            if condition.control == "none":
                given = _labels(site, found, *labels)
                for control, sums in _agreement(found.recurs, given).items():
                    totals += _totals(site, condition, control, sums)
                if condition.by == "both":
                    matches.append(_match_table(keys, site, found, given))
    return pa.concat_tables(matches), _stability_table(keys, totals)


def best_tokens(discoveries: pa.Table) -> dict[Place, str]:
    """Token with the smallest p-value of every feature that has one.

    Which half of the feature it follows does not matter: the sign of a feature is an accident of its
    seed, and a token that follows both halves is the same label whichever of them comes first.

    Parameters
    ----------
    discoveries : pyarrow.Table
        Columns of `saeflow.artifacts.calibration.DISCOVERIES`.

    Returns
    -------
    dict of (int, int, int) to str
        Layer, step and feature to token.
    """
    rows = discoveries.to_pandas()
    rows = rows[(rows["target"] == "token") & (rows["rank"] == 0)]
    place = ["layer", "step", "feature"]
    best = rows.sort_values(["p_value", "label"]).drop_duplicates(place)
    columns = [best[name].tolist() for name in place]
    return dict(zip(zip(*columns, strict=True), best["label"].tolist(), strict=True))


def _sites(
    first: SeedFeatures, second: SeedFeatures, problems: Int[np.ndarray, " problems"]
) -> Iterator[tuple[Site, Alive, Alive]]:
    for one, other in zip(first.layers, second.layers, strict=True):
        ours, theirs = _dense(one, problems), _dense(other, problems)
        for place, step in enumerate(one.steps):
            site = Site(one.layer, step)
            partner = _alive(second.bank, site, theirs[place])
            yield site, _alive(first.bank, site, ours[place]), partner


def _dense(
    source: LayerTable, problems: Int[np.ndarray, " problems"]
) -> Float32[np.ndarray, "steps problems features"]:
    values = np.zeros((len(problems), len(source.steps) * source.d_sae), np.float32)
    row, column, value = source.cells(problems)
    values[row, column] = value
    return values.reshape(len(problems), len(source.steps), source.d_sae).swapaxes(0, 1)


def _alive(bank: Bank, site: Site, values: Float32[np.ndarray, "problems features"]) -> Alive:
    feature = np.flatnonzero(values.any(0))
    directions = bank.select([site]).W_dec[0].numpy()
    return Alive(feature, directions[feature].T, values[:, feature])


def _conditions(ours: Alive, theirs: Alive, names: tuple[int | str, ...]) -> Iterator[Condition]:
    cosine = cosines(ours.directions, theirs.directions)
    correlation = correlations(ours.values, theirs.values)
    for by in ("both", "direction", "activation"):
        yield Condition("none", by, cosine, correlation)
    order = numpy_generator(*names, "permuted").permutation(len(theirs.values))
    permuted = correlations(ours.values, theirs.values[order])
    for by in ("both", "activation"):
        yield Condition("permuted", by, cosine, permuted)
    drawn = numpy_generator(*names, "random_directions").normal(size=theirs.directions.shape)
    random = cosines(ours.directions, drawn)
    for by in ("both", "direction"):
        yield Condition("random_directions", by, random, correlation)


def _sums(found: Partners, n_alive: int) -> Sums:
    return {
        "recurring_share": (float(found.recurs.sum()), n_alive),
        "mean_cosine": (float(np.abs(found.cosine).sum()), len(found.cosine)),
        "mean_correlation": (float(np.abs(found.correlation).sum()), len(found.cosine)),
    }


def _totals(site: Site, condition: Condition, control: str, sums: Sums) -> list[Total]:
    ending = "" if condition.by == "both" else f".{condition.by}"
    return [Total(*site, control, name + ending, total, n) for name, (total, n) in sums.items()]


def _labels(
    site: Site, found: Partners, first: Mapping[Place, str], second: Mapping[Place, str]
) -> list[tuple[str | None, str | None]]:
    pairs = zip(found.feature.tolist(), found.other_feature.tolist(), strict=True)
    return [(first.get((*site, one)), second.get((*site, other))) for one, other in pairs]


def _agreement(
    recurs: Bool[np.ndarray, " matches"], given: Sequence[tuple[str | None, str | None]]
) -> dict[str, Sums]:
    """Equal labels among recurring pairs, and what chance gives, by control."""
    both = [pair for pair, kept in zip(given, recurs, strict=True) if kept and None not in pair]
    ours, theirs = [str(one) for one, _ in both], [str(other) for _, other in both]
    same = float(sum(one == other for one, other in both))
    counts = {"none": same, "permuted": chance_agreement(ours, theirs)}
    return {name: {"label_agreement": (count, len(both))} for name, count in counts.items()}


def _match_table(
    keys: Mapping[str, str | int],
    site: Site,
    found: Partners,
    given: Sequence[tuple[str | None, str | None]],
) -> pa.Table:
    same = [None if None in pair else pair[0] == pair[1] for pair in given]
    columns: dict[str, str | int] = {**keys, **site._asdict()}
    repeated = {name: [value] * len(same) for name, value in columns.items()}
    return pa.table({**repeated, **found._asdict(), "same_label": same}, schema=MATCHES.schema())


def _stability_table(keys: Mapping[str, str | int], totals: list[Total]) -> pa.Table:
    frame = pd.DataFrame(totals, columns=Total._fields)
    rows = []
    for layer, step, chosen in places(frame["layer"].to_numpy(), frame["step"].to_numpy()):
        sums = frame[chosen].groupby(["control", "metric"])[["total", "n"]].sum()
        for control, metric, total, n in sums.reset_index().itertuples(index=False):
            row = {"control": control, "metric": metric, "value": total / n if n else None, "n": n}
            rows.append({**keys, "layer": layer, "step": step, **row})
    shared = {"mode": "calibrated", "interval": "none"}
    return pa.Table.from_pylist([shared | row for row in rows], schema=STABILITY.schema())
