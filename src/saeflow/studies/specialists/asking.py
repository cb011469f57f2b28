"""What a model answers: cloze lines and questions, and the study's own prompts, once for all its banks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.artifacts.specialist_effects import SPECIALIST_ANSWERS
from saeflow.datasets.texts.text import Text
from saeflow.models.language_model import LanguageModel
from saeflow.models.writers.writer import Writer
from saeflow.studies.specialists.cloze import (
    cloze_table,
    contained,
    ending_covariates,
    held_out_items,
    published_answers,
    published_prompts,
    score_cloze,
    training_lines,
)
from saeflow.studies.specialists.judge import judge_answers
from saeflow.studies.specialists.texts import StudyTexts


class Asked(NamedTuple):
    """Tables `SPECIALIST_TASKS` and `SPECIALIST_ANSWERS` of `saeflow.artifacts.specialist_effects`."""

    tasks: pa.Table
    answers: pa.Table


def ask(
    model: LanguageModel,
    texts: StudyTexts,
    mixture: Sequence[Text],
    judge: Writer | None,
    judge_name: str,
    *,
    answer_tokens: int,
    batch_size: int,
) -> Asked:
    """Score every held-out task, and let the model write behind every text that asks for something.

    Parameters
    ----------
    model : LanguageModel
        The model; its thoughts are not used.
    texts : StudyTexts
        The study's texts, of which those with an expected answer ask.
    mixture : sequence of Text
        The training mixture, of which the tasks are the held-out part.
    judge : Writer or None
        Says whether an answer is right; None: an exact match does.
    judge_name : str
        What the table calls it.
    answer_tokens : int
        Greedy tokens of an answer that are read.
    batch_size : int
        Most rows per forward pass.

    Raises
    ------
    SaeflowError
        If the mixture holds too few tasks, or a prompt does not fit the model.
    """
    items = held_out_items(mixture)
    scores = score_cloze(model, items, batch_size=batch_size)
    covariates = ending_covariates(model, items, training_lines(mixture))
    places = [number for number, row in enumerate(texts.pairs) if row.expected]
    asking = published_prompts(texts.pairs)
    prompts = [each.prompt for each in asking]
    expected = [each.target for each in asking]
    answers = published_answers(model, prompts, batch_size=batch_size, max_new_tokens=answer_tokens)
    judged = judge_answers(judge, prompts, expected, answers)
    columns = {
        "text": places,
        "prompt": prompts,
        "expected": expected,
        "answer": answers,
        "contained": contained(expected, answers).tolist(),
        "judged": [None if np.isnan(each) else bool(each) for each in judged.tolist()],
        "judge": [judge_name] * len(prompts),
    }
    return Asked(
        cloze_table(items, scores, covariates),
        pa.table(columns, schema=SPECIALIST_ANSWERS.schema()),
    )
