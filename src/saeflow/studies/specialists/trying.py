"""What chosen specialists do, of one bank: how they go with answers, and what changes without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.artifacts.specialists import SPECIALIST_EXAMPLES
from saeflow.artifacts.units import Units
from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.datasets.texts.text import Text
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.studies.rows import CALIBRATED, NONE, PUBLISHED
from saeflow.studies.specialists.ablating import (
    TASKS,
    TEXTS,
    ablate_specialists,
    effects_table,
    specialist_units,
)
from saeflow.studies.specialists.ablation_prompts import Prompt, item_prompts, text_prompts
from saeflow.studies.specialists.answering import answering
from saeflow.studies.specialists.behaviour import SpecialistFeature, token_mass
from saeflow.studies.specialists.cascade import cascade_rows, relative_change
from saeflow.studies.specialists.chosen import (
    Chosen,
    choose_specialists,
    half_b,
    items_to_read,
    published_specialists,
    texts_to_read,
)
from saeflow.studies.specialists.cloze import held_out_items, training_lines
from saeflow.studies.specialists.examples import top_texts
from saeflow.studies.specialists.names import RANDOM_DIRECTION
from saeflow.studies.specialists.pooled import PooledFeatures
from saeflow.studies.specialists.rows import numbers_table
from saeflow.studies.specialists.syntax import syntactic_rows
from saeflow.studies.specialists.texts import StudyTexts, class_name

PACKAGES = ("torch", "transformers", "scipy")
"""What decides the numbers."""
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
    model : LanguageModel
        The model.
    bank : Bank
        SAEs of its tokens, behind blocks.
    batch_size : int
        Most rows per forward pass.
    """

    model: LanguageModel
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
    units: Units | None = None,
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
    units : Units, optional
        Where ablations are kept; None: nowhere.
    """
    model, bank, batch_size = subject
    tasks, answers = asked
    records = features.to_pylist()
    chosen = choose_specialists(records, texts, settings.tasks.pooling)
    specialists = [each.specialist for each in chosen]
    answered = answering(
        model,
        bank,
        tasks,
        answers,
        texts,
        pooled,
        records,
        chosen,
        settings.tasks,
        run,
        batch_size=batch_size,
    )
    prompts, reference = read_while_ablated(model, texts, mixture, settings)
    ablated = ablate_specialists(
        model,
        bank,
        prompts,
        chosen,
        reference,
        settings.ablation,
        batch_size=batch_size,
        units=units,
    )
    published = published_choices(records, texts, pooled)
    numbers = [
        *({**run, **each} for each in ablated.numbers),
        *syntax_of_tokens(subject, texts, chosen, published, settings, run),
        *cascade_of(subject, prompts[TEXTS], chosen, settings, run),
    ]
    shown = [(each.layer, each.feature) for each in [*published, *specialists]]
    return Tried(
        answered.activations,
        answered.behaviour,
        effects_table(ablated.effects, run),
        examples_of(subject, texts, shown, settings.examples, run),
        numbers_table(numbers),
    )


def try_or_share(
    subject: Subject,
    texts: StudyTexts,
    mixture: Sequence[Text],
    asked: Sequence[pa.Table],
    pooled: PooledFeatures,
    features: pa.Table,
    settings: SpecialistsCalibrated,
    run: Mapping[str, Any],
    units: Units,
) -> Sequence[pa.Table]:
    """Do what `try_specialists` does, with the same parameters; of a shard its ablations, and no table."""
    if units.portion is None:
        return try_specialists(
            subject, texts, mixture, asked, pooled, features, settings, run, units
        )
    ablate_shard(subject, texts, mixture, features, settings, units)
    return ()


def ablate_shard(
    subject: Subject,
    texts: StudyTexts,
    mixture: Sequence[Text],
    features: pa.Table,
    settings: SpecialistsCalibrated,
    units: Units,
) -> None:
    """Do a shard's ablations; `try_specialists` makes tables of those of all shards.

    Parameters
    ----------
    subject, texts, mixture, features, settings, units
        As of `try_specialists`.
    """
    model, bank, batch_size = subject
    chosen = choose_specialists(features.to_pylist(), texts, settings.tasks.pooling)
    prompts, reference = read_while_ablated(model, texts, mixture, settings)
    kinds = specialist_units(
        model, bank, prompts, chosen, reference, settings.ablation, batch_size=batch_size
    )
    units.tables(units.mine(*kinds), "ablating")


def read_while_ablated(
    model: LanguageModel,
    texts: StudyTexts,
    mixture: Sequence[Text],
    settings: SpecialistsCalibrated,
) -> tuple[dict[str, list[Prompt]], Sequence[str]]:
    """What is read while specialists are ablated, by kind, and texts over which features are averaged."""
    items = items_to_read(held_out_items(mixture), settings.ablation.items, settings.ablation.seed)
    prompts = {
        TEXTS: read_prompts(model, texts, settings),
        TASKS: item_prompts(model, items),
    }
    lines = training_lines(mixture)
    return prompts, lines[:: max(1, len(lines) // REFERENCE)][:REFERENCE]


def syntax_of_tokens(
    subject: Subject,
    texts: StudyTexts,
    chosen: Sequence[Chosen],
    published: Sequence[SpecialistFeature],
    settings: SpecialistsCalibrated,
    run: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Where specialists' activation falls: as published on all texts, ours on those of half B.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`.
    """
    for mode, specialists, pooling, places in (
        (PUBLISHED, published, "", np.arange(len(texts.pairs))),
        (
            CALIBRATED,
            [each.specialist for each in chosen],
            settings.tasks.pooling,
            half_b(texts, settings),
        ),
    ):
        rows = [texts.pairs[each] for each in places.tolist()]
        mass = token_mass(
            subject.model,
            subject.bank,
            [each.text for each in rows],
            [each.form for each in rows],
            specialists,
            batch_size=subject.batch_size,
        )
        key = {**run, "mode": mode, "pooling": pooling}
        contents = [each.content for each in rows]
        yield from syntactic_rows(key, mass, specialists, contents, seed=settings.seed)


def cascade_of(
    subject: Subject,
    prompts: Sequence[Prompt],
    chosen: Sequence[Chosen],
    settings: SpecialistsCalibrated,
    run: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """How far what an ablation takes away travels, beside a random direction of the same length.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`.
    """
    if not prompts:
        return
    model, bank, batch_size = subject
    specialists = [each.specialist for each in chosen]
    changes = {
        control: relative_change(
            model,
            bank,
            prompts,
            specialists,
            batch_size=batch_size,
            at_random=control != NONE,
            seed=settings.ablation.seed,
        )
        for control in (NONE, RANDOM_DIRECTION)
    }
    key = {**run, "mode": CALIBRATED, "pooling": settings.tasks.pooling}
    contents = [each.content for each in prompts]
    yield from cascade_rows(key, changes, specialists, contents, seed=settings.ablation.seed)


def examples_of(
    subject: Subject,
    texts: StudyTexts,
    features: Sequence[tuple[int, int]],
    keep: int,
    run: Mapping[str, Any],
) -> pa.Table:
    """Texts on which specialists are strongest; none where none is to be kept."""
    if not keep:
        return SPECIALIST_EXAMPLES.schema().empty_table()
    model, bank, batch_size = subject
    return top_texts(model, bank, texts.contents, features, run, keep=keep, batch_size=batch_size)


def published_choices(
    records: Sequence[Mapping[str, Any]], texts: StudyTexts, pooled: PooledFeatures
) -> list[SpecialistFeature]:
    """What the study's rule calls a specialist of a topic and form, by the first published pooling."""
    classes = {class_name(each.topic, each.form): (each.topic, each.form) for each in texts.pairs}
    poolings = pooled.shape.poolings.get(PUBLISHED, ())
    return [
        SpecialistFeature(layer, feature, *classes[name])
        for pooling in poolings[:1]
        for name, layer, feature in published_specialists(records, pooling)
    ]


def read_prompts(
    model: LanguageModel, texts: StudyTexts, settings: SpecialistsCalibrated
) -> list[Prompt]:
    """Matched texts that are read while specialists are ablated, grouped by topic."""
    rows = [texts.pairs[each] for each in texts_to_read(texts, settings).tolist()]
    return text_prompts(
        model,
        [each.text for each in rows],
        [each.topic for each in rows],
        [each.content for each in rows],
    )
