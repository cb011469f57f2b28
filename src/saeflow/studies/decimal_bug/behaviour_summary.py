"""How often each format is answered rightly, on each kind of pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float

from saeflow.datasets.comparisons.formats import GIVEN, PUBLISHED
from saeflow.datasets.comparisons.pairs import PUBLISHED_ITEM
from saeflow.datasets.texts.decimals import PRONE
from saeflow.datasets.texts.judge import RIGHT, UNCLEAR, WRONG
from saeflow.seeds import numpy_generator
from saeflow.studies import rows
from saeflow.studies.rows import mean_row, row, share_row

SAMPLED, CHANCE = "sampled", "chance"
"""Controls: answers drawn at a temperature, and naming one of the two numbers by a coin."""
ALL = "all"
_COIN = 0.5


def behaviour_rows(prompts: pa.Table, answers: pa.Table, seed: int) -> Iterator[dict[str, Any]]:
    """Shares of verdicts and mean logit differences by format and kind of pair.

    A pair counts once, however many orders and samples there are: repeats of a deterministic run are
    no examples (methods/4, section 5.6.4).

    Parameters
    ----------
    prompts, answers : pyarrow.Table
        Columns of `PROMPTS` and `DECIMAL_ANSWERS` of `saeflow.artifacts.decimal_bug`.
    seed : int
        Seed of the resamples.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`.
    """
    keys = ["form", "order", "item"]
    frame = answers.to_pandas().merge(prompts.to_pandas(), on=keys, validate="many_to_one")
    yield from _published(frame[frame["item"] == PUBLISHED_ITEM])
    drawn = frame[frame["item"] != PUBLISHED_ITEM]
    for form, of_form in drawn.groupby("form", sort=False):
        for group, some in _groups(of_form):
            key = _key(rows.CALIBRATED, f"{form}, {group}")
            yield from _shares(key, some)
            greedy = some[some["sample"] == 0]
            values = greedy["logit_difference"].to_numpy(np.float64)
            generator = numpy_generator(seed, "decimal_bug", "behaviour", str(form), group)
            clusters = greedy["item"].tolist()
            yield mean_row(key, "logit_difference", values, clusters, generator)


def _published(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The study's own pair: one prompt per format, so nothing that an interval could be of."""
    chosen = frame[(frame["sample"] == 0) & (frame["order"] == GIVEN)]
    greedy = {answer["form"]: answer for answer in chosen.to_dict("records")}
    for name, form in PUBLISHED.items():
        if form in greedy:
            answer, key = greedy[form], _key(rows.PUBLISHED, name)
            for verdict in (RIGHT, WRONG, UNCLEAR):
                yield row(key, verdict, float(answer["verdict"] == verdict), n=1)
            yield row(key, "logit_difference", float(answer["logit_difference"]), n=1)


def _groups(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield ALL, frame
    yield PRONE, frame[frame["stratum"].str.startswith(PRONE)]
    for stratum, some in frame.groupby("stratum", sort=True):
        yield str(stratum), some


def _shares(key: Mapping[str, Any], frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    greedy, drawn = frame[frame["sample"] == 0], frame[frame["sample"] > 0]
    for verdict in (RIGHT, WRONG, UNCLEAR):
        yield share_row(key, verdict, pair_shares(greedy, greedy["verdict"] == verdict))
        if len(drawn):
            shares = pair_shares(drawn, drawn["verdict"] == verdict)
            yield share_row(key, verdict, shares, SAMPLED)
    yield row(key, RIGHT, _COIN, n=greedy["item"].nunique(), control=CHANCE)
    yield share_row(key, "right_fallback", pair_shares(greedy, greedy["fallback"] == RIGHT))
    yield share_row(key, "gibberish", pair_shares(greedy, greedy["gibberish"]))


def pair_shares(frame: pd.DataFrame, hits: pd.Series) -> Float[np.ndarray, " pairs"]:
    """Share of the rows of each pair that are hits, in the order of the pairs' numbers."""
    return hits.astype(float).groupby(frame["item"]).mean().to_numpy(np.float64)


def _key(mode: str, group: str) -> dict[str, Any]:
    return {
        "part": "behaviour",
        **rows.NO_BANK,
        "mode": mode,
        "layer": None,
        "group": group,
    }
