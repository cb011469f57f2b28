"""What chosen specialists do, of one bank: how they go with answers, and what changes without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.datasets.texts.text import Text
from saeflow.models.codi import CodiModel
from saeflow.saes.bank import Bank
from saeflow.studies.specialists.ablating import (
    TASKS,
    TEXTS,
    ablate_specialists,
    effects_table,
)
from saeflow.studies.specialists.ablation_prompts import Prompt, item_prompts, text_prompts
from saeflow.studies.specialists.answering import answering
from saeflow.studies.specialists.chosen import (
    choose_specialists,
    items_to_read,
    texts_to_read,
)
from saeflow.studies.specialists.cloze import held_out_items, training_lines
from saeflow.studies.specialists.pooled import PooledFeatures
from saeflow.studies.specialists.rows import numbers_table
from saeflow.studies.specialists.texts import StudyTexts

REFERENCE = 200
"""Training texts, evenly spaced, over which a feature's mean is taken."""


class Tried(NamedTuple):
    """Tables of `saeflow.artifacts.specialist_effects.TRIED`, in that order."""

    activations: pa.Table
    behaviour: pa.Table
    effects: pa.Table
    examples: pa.Table
    numbers: pa.Table


class Subject(NamedTuple):
    """A model, its SAEs and how much it reads at once.

    Attributes
    ----------
    model : CodiModel
        The model.
    bank : Bank
        SAEs of its tokens, behind blocks.
    batch_size : int
        Most rows per forward pass.
    """

    model: CodiModel
    bank: Bank
    batch_size: int


def try_specialists(
    subject: Subject,
    texts: StudyTexts,
    mixture: Sequence[Text],
    asked: Sequence[pa.Table],
    pooled: PooledFeatures,
    features: pa.Table,
    settings: SpecialistsCalibrated,
    run: Mapping[str, Any],
) -> Tried:
    """Test the specialists of one bank on what chose none of them.

    Parameters
    ----------
    subject : Subject
        Model and SAEs.
    texts : StudyTexts
        Matched texts; those of half B are read while specialists are ablated.
    mixture : sequence of Text
        The training mixture: its held-out tasks are read, its training texts give means.
    asked : sequence of pyarrow.Table
        What the model makes of tasks and texts: `SPECIALIST_TASKS` and `SPECIALIST_ANSWERS`.
    pooled : PooledFeatures
        Features of `texts`.
    features : pyarrow.Table
        Columns of `SPECIALIST_FEATURES`: what was found.
    settings : SpecialistsCalibrated
        Splits, tasks and ablations.
    run : mapping
        Values of the key columns dictionary and seed.
    """
    model, bank, batch_size = subject
    records = features.to_pylist()
    chosen = choose_specialists(records, texts, settings.tasks.pooling)
    answered = answering(
        model,
        bank,
        *asked,
        texts,
        pooled,
        records,
        chosen,
        settings.tasks,
        run,
        batch_size=batch_size,
    )
    prompts = {
        TEXTS: read_prompts(model, texts, settings),
        TASKS: item_prompts(
            model,
            items_to_read(held_out_items(mixture), settings.ablation.items, settings.ablation.seed),
        ),
    }
    lines = training_lines(mixture)
    reference = lines[:: max(1, len(lines) // REFERENCE)][:REFERENCE]
    ablated = ablate_specialists(
        model, bank, prompts, chosen, reference, settings.ablation, batch_size=batch_size
    )
    return Tried(
        answered.activations,
        answered.behaviour,
        effects_table(ablated.effects, run),
        numbers_table([{**run, **each} for each in ablated.numbers]),
    )


def read_prompts(
    model: CodiModel, texts: StudyTexts, settings: SpecialistsCalibrated
) -> list[Prompt]:
    """Matched texts that are read while specialists are ablated, grouped by topic."""
    rows = [texts.pairs[each] for each in texts_to_read(texts, settings).tolist()]
    return text_prompts(
        model,
        [each.text for each in rows],
        [each.topic for each in rows],
        [each.content for each in rows],
    )
