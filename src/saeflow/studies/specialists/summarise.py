"""All numbers of a model put together, and what they say of the published sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.artifacts.specialists import SPECIALISTS
from saeflow.seeds import numpy_generator
from saeflow.studies.rows import CALIBRATED, NO_BANK, PUBLISHED, mean_row, row
from saeflow.studies.specialists.claims import judge_claims
from saeflow.studies.specialists.rows import CHANCE, bank_key, clustered_share_row
from saeflow.studies.specialists.texts import ALL, StudyTexts, class_name


class ModelTables(NamedTuple):
    """What was measured of one model.

    Attributes
    ----------
    tasks, answers : pyarrow.Table
        Columns of `SPECIALIST_TASKS` and `SPECIALIST_ANSWERS`.
    numbers : sequence of pyarrow.Table
        Columns of `SPECIALISTS`, of every bank, from pooled features and with the model at hand.
    behaviour, effects : sequence of pyarrow.Table
        Columns of `SPECIALIST_BEHAVIOUR` and `SPECIALIST_EFFECTS`, of every bank.
    """

    tasks: pa.Table
    answers: pa.Table
    numbers: Sequence[pa.Table]
    behaviour: Sequence[pa.Table]
    effects: Sequence[pa.Table]


class Summary(NamedTuple):
    """Tables of one model: `SPECIALISTS` and `saeflow.artifacts.claims.CLAIMS`."""

    numbers: pa.Table
    claims: pa.Table


def summarise(
    texts: StudyTexts,
    found: ModelTables,
    words: pa.Table,
    alignment: pa.Table,
    *,
    own_weights: str,
    pair: tuple[str, str] | None,
    seed: int,
) -> Summary:
    """Put the numbers of one model together, words beside features, and judge the published sentences.

    Parameters
    ----------
    texts : StudyTexts
        What was read.
    found : ModelTables
        What was measured.
    words : pyarrow.Table
        Columns of `SPECIALISTS`: what words alone give.
    alignment : pyarrow.Table
        Columns of `FEATURE_ALIGNMENT`, of all models.
    own_weights : str
        Which of the study's models it is, so that claims about its weights are decided; empty: none.
    pair : (str, str), optional
        Models that sentences across models are held against; None: there are none.
    seed : int
        Seed of resamples.
    """
    rows = [*task_rows(found.tasks, seed), *answer_rows(texts, found.answers, seed)]
    numbers = pa.concat_tables(
        [pa.Table.from_pylist(rows, SPECIALISTS.schema()), words, *found.numbers]
    )
    claims = judge_claims(
        numbers.to_pylist(),
        [each for table in found.behaviour for each in table.to_pylist()],
        [each for table in found.effects for each in table.to_pylist()],
        alignment.to_pylist(),
        own_weights=own_weights,
        pair=pair,
    )
    return Summary(numbers, claims)


def task_rows(tasks: pa.Table, seed: int) -> Iterator[dict[str, Any]]:
    """How many tasks a model does, by kind and by level, beside chance.

    Parameters
    ----------
    tasks : pyarrow.Table
        Columns of `SPECIALIST_TASKS`.
    seed : int
        Seed of the resamples; the forms of a content are resampled as one.

    Yields
    ------
    dict
        Columns of `SPECIALISTS`: ``right``, with the control chance, and ``margin``.
    """
    given = tasks.to_pydict()
    kinds = np.array([f"{a} {b}" for a, b in zip(given["part"], given["group"], strict=True)])
    levels = np.array(given["level"])
    right, margin, chance = (
        np.array(given[name], np.float64) for name in ("correct", "margin", "chance")
    )
    contents = np.array(given["item"])
    for kind in dict.fromkeys(kinds.tolist()):
        places = {kind: kinds == kind}
        own = sorted(set(levels[kinds == kind].tolist()))
        if len(own) > 1:
            places |= {f"{kind}, level {each}": (kinds == kind) & (levels == each) for each in own}
        for name, chosen in places.items():
            key = {"part": "tasks", **bank_key(NO_BANK, CALIBRATED, None, ""), "group": name}
            clusters = contents[chosen].tolist()
            for metric, values in (("right", right), ("margin", margin)):
                generator = numpy_generator(seed, "specialists", "tasks", name, metric)
                yield mean_row(key, metric, values[chosen], clusters, generator)
            mean = float(chance[chosen].mean())
            yield row(key, "right", mean, n=int(chosen.sum()), control=CHANCE)


def answer_rows(texts: StudyTexts, answers: pa.Table, seed: int) -> Iterator[dict[str, Any]]:
    """How many of the study's own prompts are answered right, of all and by class.

    Parameters
    ----------
    texts : StudyTexts
        What the prompts are of.
    answers : pyarrow.Table
        Columns of `SPECIALIST_ANSWERS`.
    seed : int
        Seed of the resamples; the forms of a content are resampled as one.

    Yields
    ------
    dict
        Columns of `SPECIALISTS`: ``contained``, published, and ``judged``, calibrated. Nothing where
        nothing was asked.
    """
    given = answers.to_pydict()
    rows = [texts.pairs[each] for each in given["text"]]
    names = np.array([class_name(each.topic, each.form) for each in rows])
    places = {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}
    if places:
        places = {ALL: np.arange(len(names)), **places}
    for name, own in places.items():
        for mode, metric in ((PUBLISHED, "contained"), (CALIBRATED, "judged")):
            key = {"part": "tasks", **bank_key(NO_BANK, mode, None, ""), "group": name}
            known = [each for each in own.tolist() if given[metric][each] is not None]
            values = np.array([given[metric][each] for each in known], np.float64)
            generator = numpy_generator(seed, "specialists", "answers", name, metric)
            contents = [rows[each].content for each in known]
            if mode == PUBLISHED or not known:
                share = float(values.mean()) if known else None
                yield row(key, metric, share, n=len(known))
            else:
                yield clustered_share_row(key, metric, values, contents, generator)
