"""Tables of a wide SAE read over a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool
from torch import Tensor

from saeflow.artifacts.scaling_examples import (
    SCALING_DENSITIES,
    SCALING_FEATURES,
    SCALING_QUALITY,
)
from saeflow.config.scaling_reading import ReadingSettings
from saeflow.interventions.splicing import ABLATIONS, CLEAN, recovered
from saeflow.models.language_model import LanguageModel
from saeflow.saes.wide.reading import density_counts
from saeflow.saes.wide.redundancy import (
    LargestCosine,
    largest_cosines,
    random_directions,
    returning,
    share_at_least,
)
from saeflow.stats.streaming import POISSON, drawn_ends
from saeflow.studies.rows import row
from saeflow.studies.scaling.keyed import columns_table, feature_columns, key_of, rows_table
from saeflow.studies.scaling.listed import (
    example_tables,
    map_table,
    neighbour_tables,
    token_tables,
)
from saeflow.studies.scaling.reading import (
    CorpusSums,
    Document,
    SplitSums,
    WideRun,
    sum_corpus,
)
from saeflow.studies.scaling.reading_state import ReadingState

PACKAGES = ("torch", "transformers", "scipy", "scikit-learn")
"""What decides the numbers, beside our own code."""
RANDOM = "random_directions"
"""Control of what the decoder alone gives: as many random directions of as many dimensions."""
ALL = "all"


class Reading(NamedTuple):
    """Tables, as `saeflow.artifacts.scaling_examples` describes them.

    Attributes
    ----------
    quality, features, densities : pyarrow.Table
        Of all runs.
    examples, tokens, neighbours, map : pyarrow.Table
        Of the first run's listed features.
    """

    quality: pa.Table
    features: pa.Table
    densities: pa.Table
    examples: pa.Table
    tokens: pa.Table
    neighbours: pa.Table
    map: pa.Table


def read_wide(
    model: LanguageModel,
    runs: Sequence[WideRun],
    documents: Callable[[], Iterator[Document]],
    settings: ReadingSettings,
    *,
    features: Sequence[int] = (),
    batch_size: int = 32,
    state: ReadingState | None = None,
) -> Reading:
    """Measure wide SAEs of one site over a corpus, and show what the first of them found in it.

    The corpus is read twice, and held never. Tokens that the tokenizer puts before a document do not
    count. What is listed of features does not depend on the order of documents; sums do in their last
    bits.

    Parameters
    ----------
    model : LanguageModel
        The model that the SAEs were trained on.
    runs : sequence of WideRun
        The SAE, then controls and other seeds of it. One of the same dictionary and control, but
        another seed, is compared with it.
    documents : callable
        Gives the documents anew, in the same order.
    settings : ReadingSettings
        What is kept.
    features : sequence of int
        Features of the first run that are listed whatever `settings` draws, such as those of a search.
    batch_size : int
        Most documents per forward pass; fewer where they are long.
    state : ReadingState, optional
        Where a killed job had come, and where this one keeps how far it is.

    Returns
    -------
    Reading
        The metrics of `quality` are those of `saeflow.saes.quality.site_quality`, ``dead_share`` of all
        splits together, too: the more tokens are read, the less it is; ``d_in``; ``ce_clean``,
        ``ce_zero``, ``ce_mean`` and ``ce_spliced``, nats per token; ``ce_recovered_zero`` and
        ``ce_recovered_mean`` (`saeflow.interventions.splicing.recovered`); of features that fire,
        ``largest_cosine``, the mean of their largest cosines, and ``redundant_share_...`` of those that
        reach a cosine; ``returning_share`` and ``matched_share``
        (`saeflow.saes.wide.redundancy.Returning`).

    Raises
    ------
    SaeflowError
        If the SAEs are not of one site, do not fit the model or lack a feature, or a document does not
        fit the model's positions, or no token is read.
    """
    found = sum_corpus(
        model, runs, documents, settings, features=features, batch_size=batch_size, state=state
    )
    cosines = [_cosines(found, place) for place in range(len(found.runs))]
    return Reading(
        rows_table(SCALING_QUALITY, list(_quality(found, cosines, settings))),
        pa.concat_tables(list(_features(found, cosines))),
        rows_table(SCALING_DENSITIES, list(_densities(found, settings))),
        pa.concat_tables(list(example_tables(model, found, settings))),
        pa.concat_tables(list(token_tables(model, found, settings))),
        pa.concat_tables(list(neighbour_tables(found, settings))),
        map_table(found),
    )


class _Cosines(NamedTuple):
    """Features of a run that fire, and their largest cosines with another of them."""

    fires: Bool[Tensor, " d_sae"]
    largest: LargestCosine


def _cosines(found: CorpusSums, place: int) -> _Cosines:
    fires = found.merged(place).largest > 0
    return _Cosines(fires, largest_cosines(found.runs[place].bank.W_dec[0][fires]))


def _quality(
    found: CorpusSums, cosines: Sequence[_Cosines], settings: ReadingSettings
) -> Iterator[dict[str, Any]]:
    for place, run in enumerate(found.runs):
        for name, split in found.splits.items():
            yield from _reconstruction(place, key_of(run, split=name, other_seed=-1), split)
        merged = found.merged(place)
        key = key_of(run, split=ALL, other_seed=-1)
        yield _row(key, "d_in", float(run.bank.d_in), n=1)
        yield _row(key, "dead_share", merged.dead_share, n=merged.tokens)
        yield from _redundancy(run, cosines[place], settings)
    first = found.runs[0]
    for place, run in enumerate(found.runs):
        alike = (run.dictionary, run.control) == (first.dictionary, first.control)
        if alike and run.seed != first.seed:
            yield from _seeds(first, run, cosines[0].fires, cosines[place].fires, settings)


def _row(key: Mapping[str, Any], metric: str, value: float, **more: Any) -> dict[str, Any]:
    return row(key, metric, value, **({"control": key["control"]} | more))


def _reconstruction(
    place: int, key: Mapping[str, Any], split: SplitSums
) -> Iterator[dict[str, Any]]:
    for name, value, ends, n in split.quality[place].metrics():
        yield _row(key, name, value, n=n, ends=ends, interval=POISSON)
    dead = split.sums[place].dead_share
    yield _row(key, "dead_share", dead, n=split.sums[place].tokens)
    if not split.conditions:
        return
    columns = {"spliced": 2 + split.conditions.index(str(place))}
    columns |= {name: 2 + split.conditions.index(name) for name in (CLEAN, *ABLATIONS)}
    # First the sums themselves, then those of every resample.
    sums = np.concatenate([split.losses.total[None], split.losses.drawn])
    losses = {name: sums[:, column] for name, column in columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {f"ce_{name}": each / sums[:, 1] for name, each in losses.items()}
    for name in ABLATIONS:
        found[f"ce_recovered_{name}"] = recovered(losses[name], losses["spliced"], losses[CLEAN])
    documents, tokens = split.losses.total[:2]
    for metric, values in found.items():
        ends = drawn_ends(values[1:], documents)
        value = float(values[0])
        yield _row(key, metric, value, n=int(tokens), ends=ends, interval=POISSON)


def _redundancy(
    run: WideRun, cosines: _Cosines, settings: ReadingSettings
) -> Iterator[dict[str, Any]]:
    """What the decoder has twice, beside random directions of as many features that fire."""
    n = len(cosines.largest.value)
    conditions = {run.control: cosines.largest}
    if run.control == "none":
        drawn = random_directions(n, run.bank.d_in, settings.seed, "reading", "redundancy")
        conditions[RANDOM] = largest_cosines(drawn.to(run.bank.device))
    for control, largest in conditions.items():
        key = key_of(run, split=ALL, other_seed=-1) | {"control": control}
        mean = float(largest.value.mean()) if n else float("nan")
        yield _row(key, "largest_cosine", mean, n=n)
        for least in settings.cosines:
            yield _row(key, f"redundant_share_{least:g}", share_at_least(largest.value, least), n=n)


def _seeds(
    first: WideRun,
    second: WideRun,
    fires: Bool[Tensor, " d_sae"],
    others_fire: Bool[Tensor, " d_sae"],
    settings: ReadingSettings,
) -> Iterator[dict[str, Any]]:
    """How many features that fire return, beside random directions in place of the other seed's."""
    ours, theirs = first.bank.W_dec[0][fires], second.bank.W_dec[0][others_fire]
    if not len(ours) or not len(theirs):
        return
    drawn = random_directions(*theirs.shape, settings.seed, "reading", "seeds", second.seed)
    conditions = {first.control: theirs, RANDOM: drawn.to(theirs.device)}
    for control, directions in conditions.items():
        key = key_of(first, split=ALL, other_seed=second.seed) | {"control": control}
        pairs = returning(ours, directions)
        yield _row(key, "returning_share", pairs.mutual_share(settings.same), n=len(ours))
        yield _row(key, "matched_share", pairs.matched_share(settings.same), n=len(ours))


def _features(found: CorpusSums, cosines: Sequence[_Cosines]) -> Iterator[pa.Table]:
    for place, run in enumerate(found.runs):
        fires, largest = cosines[place]
        places = fires.nonzero()[:, 0]
        cosine = torch.full((run.bank.d_sae,), float("nan"), dtype=torch.float64)
        partner = torch.full((run.bank.d_sae,), -1)
        cosine[places.cpu()] = largest.value.cpu()
        known = largest.other >= 0
        partner[places[known].cpu()] = places[largest.other[known]].cpu()
        for name, split in found.splits.items():
            sums = split.sums[place]
            columns = {
                "feature": np.arange(run.bank.d_sae),
                **feature_columns(sums),
                "cosine": pa.array(cosine.numpy(), from_pandas=True),
                "cosine_with": partner.numpy(),
            }
            if sums.tokens:
                yield columns_table(SCALING_FEATURES, key_of(run, split=name), columns)


def _densities(found: CorpusSums, settings: ReadingSettings) -> Iterator[dict[str, Any]]:
    for place, run in enumerate(found.runs):
        for name, split in found.splits.items():
            sums = split.sums[place]
            counts = density_counts(
                feature_columns(sums)["density"],
                per_decade=settings.density_bins,
                decades=settings.density_decades,
            )
            for low, high, n in counts:
                yield key_of(run, split=name) | {"low": low, "high": high, "n_features": n}
