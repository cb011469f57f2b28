"""Tables of listed features: examples, tokens, neighbours and a map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from saeflow.artifacts.scaling_examples import (
    SCALING_EXAMPLES,
    SCALING_MAP,
    SCALING_NEIGHBOURS,
    SCALING_TOKENS,
)
from saeflow.config.scaling_reading import ReadingSettings
from saeflow.models.capture import token_texts
from saeflow.models.language_model import LanguageModel
from saeflow.saes.wide.maps import neighbour_map, principal_map
from saeflow.saes.wide.neighbours import decoder_neighbours, nearest
from saeflow.saes.wide.redundancy import unit_rows
from saeflow.saes.wide.top_examples import Examples
from saeflow.studies.scaling.keyed import columns_table, feature_columns, key_of
from saeflow.studies.scaling.reading import CorpusSums
from saeflow.studies.scaling.shown import shown_windows


def example_tables(
    model: LanguageModel, found: CorpusSums, settings: ReadingSettings
) -> Iterator[pa.Table]:
    """Tables of `SCALING_EXAMPLES`, one or more of each split; the first is empty."""
    run, listed = found.runs[0], found.listed.cpu().numpy()
    yield SCALING_EXAMPLES.schema().empty_table()
    for name, split in found.splits.items():
        assert split.bins is not None
        bins = split.bins.counts.shape[1]
        counts = split.bins.counts.flatten().cpu().numpy()
        key = key_of(run, split=name)
        for kind, examples in (
            ("top", split.top.examples()),
            ("silent", split.silent.examples(settings.examples.silent)),
            ("bin", split.bins.examples()),
        ):
            cell = examples.cell.cpu().numpy()
            drawn = kind == "bin"
            columns = {
                "feature": listed[cell // bins if drawn else cell],
                "bin": cell % bins if drawn else np.full(len(cell), -1),
                "bin_tokens": counts[cell] if drawn else pa.nulls(len(cell), pa.int64()),
                "group": pa.array(
                    [found.groups[number] for number in examples.document.tolist()], pa.string()
                ),
                **_shown(model, examples),
            }
            yield columns_table(SCALING_EXAMPLES, key | {"kind": kind}, columns)


def _shown(model: LanguageModel, examples: Examples) -> dict[str, Any]:
    windows = (each.cpu().numpy() for each in examples.windows)
    names = ("rank", "document", "position", "value")
    columns = {name: getattr(examples, name).cpu().numpy() for name in names}
    return columns | shown_windows(model, *windows)._asdict()


def token_tables(
    model: LanguageModel, found: CorpusSums, settings: ReadingSettings
) -> Iterator[pa.Table]:
    """Tables of `SCALING_TOKENS`, two of each split; the first is empty."""
    yield SCALING_TOKENS.schema().empty_table()
    for name, split in found.splits.items():
        occurrences = split.tokens.occurrences.cpu().numpy()
        density = feature_columns(split.sums[0])["density"]
        for by in ("count", "total"):
            feature, rank, token, fires, total = split.tokens.top(settings.tokens, by)
            columns = {
                "feature": feature,
                "rank": rank,
                "token_id": token,
                "token": pa.array(token_texts(model, token) if len(token) else [], pa.string()),
                "count": fires,
                "total": total,
                "occurrences": occurrences[token],
                "expected": density[feature] * occurrences[token],
            }
            yield columns_table(SCALING_TOKENS, key_of(found.runs[0], split=name, by=by), columns)


def neighbour_tables(found: CorpusSums, settings: ReadingSettings) -> Iterator[pa.Table]:
    """Tables of `SCALING_NEIGHBOURS`, over all splits, one by each similarity."""
    run, listed = found.runs[0], found.listed
    directions = run.bank.W_dec[0]
    unit = unit_rows(directions)
    correlation = found.pairs.correlation(found.merged(0))
    near = {
        "correlation": nearest(correlation, listed, settings.neighbours),
        "cosine": decoder_neighbours(directions, listed, settings.neighbours),
    }
    for by, (feature, rank, other, similarity) in near.items():
        row_of: Int[Tensor, " rows"] = torch.searchsorted(listed, feature)
        cosine = (unit[feature] * unit[other]).sum(1)
        others = cosine if by == "correlation" else correlation[row_of, other]
        columns = {
            "feature": feature,
            "rank": rank,
            "other": other,
            "similarity": similarity,
            "other_similarity": others.clamp(-1, 1),
        }
        arrays = {name: values.cpu().numpy() for name, values in columns.items()}
        yield columns_table(SCALING_NEIGHBOURS, key_of(run, by=by), arrays)


def map_table(found: CorpusSums) -> pa.Table:
    """Places of listed features that fire; what never fires is nowhere."""
    run = found.runs[0]
    chosen = found.listed[found.merged(0).largest[found.listed] > 0]
    directions = run.bank.W_dec[0][chosen]
    (x, y), (first, second) = (
        each.T.numpy() for each in (neighbour_map(directions), principal_map(directions))
    )
    columns = {
        "feature": chosen.cpu().numpy(),
        "x": x,
        "y": y,
        "first": first,
        "second": second,
    }
    return columns_table(SCALING_MAP, key_of(run), columns)
