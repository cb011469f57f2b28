"""What a model answers when it is asked which of two numbers is bigger (methods/4, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from saeflow.artifacts.decimal_bug import ALIGNMENT, DECIMAL_ANSWERS
from saeflow.config.decimal_bug import BehaviourSettings, PairSettings
from saeflow.datasets.comparisons.formats import FORMS, GIVEN, PLAIN_COUNTERPARTS, usable_forms
from saeflow.datasets.comparisons.pairs import PUBLISHED_ITEM, comparison_pairs, published_pair
from saeflow.datasets.comparisons.prompts import Prompt, comparison_prompts
from saeflow.datasets.texts.judge import full_judgement
from saeflow.models.alignment import alignment_rows
from saeflow.models.candidates import candidate_tokens, logit_differences
from saeflow.models.capture import cut_batches
from saeflow.models.chat import chat_renderer
from saeflow.models.language_model import LanguageModel
from saeflow.models.sampling import Sampling
from saeflow.progress import progress
from saeflow.seeds import numpy_generator
from saeflow.studies.decimal_bug.records import GREEDY


class Asked(NamedTuple):
    """What can be asked of a model.

    Attributes
    ----------
    prompts : list of Prompt
        Of the published pair and of drawn ones, in every format that the tokenizer can write.
    note : str
        What is left out and why; empty where nothing is.
    """

    prompts: list[Prompt]
    note: str


def draw_prompts(
    model: LanguageModel, seed: int, settings: PairSettings, numbers: tuple[str, str]
) -> Asked:
    """Ask about held-out pairs and about the study's own, in all formats and both orders.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer may bring a chat template.
    seed : int
        Seed of the mixture.
    settings : PairSettings
        How many pairs.
    numbers : (str, str)
        The published pair.
    """
    render = chat_renderer(model.tokenizer)
    usable = usable_forms(FORMS, has_template=render is not None)
    pairs = [
        published_pair(*numbers),
        *comparison_pairs(seed, settings.drawn, settings.per_stratum),
    ]
    return Asked(comparison_prompts(pairs, usable.forms, render=render), usable.note)


def alignment_table(model: LanguageModel, prompts: Sequence[Prompt]) -> pa.Table:
    """Tell how the tokens of the study's pair correspond between formats.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer cuts the prompts.
    prompts : sequence of Prompt
        They hold the study's own pair.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.ALIGNMENT`: each format beside the plain one that
        asks in the same words.
    """
    own = {
        each.form: each for each in prompts if (each.item, each.order) == (PUBLISHED_ITEM, GIVEN)
    }
    rows = [
        row._asdict()
        for form, other in PLAIN_COUNTERPARTS.items()
        if form in own and other in own
        for row in alignment_rows(model.tokenizer, own[form], own[other], numbers="value")
    ]
    return pa.Table.from_pylist(rows, ALIGNMENT.schema())


def ask(
    model: LanguageModel, prompts: Sequence[Prompt], settings: BehaviourSettings, *, batch_size: int
) -> pa.Table:
    """Write greedy and sampled answers, judge them, and weigh the two numbers where they differ.

    Parameters
    ----------
    model : LanguageModel
        The model; it answers without latent thoughts.
    prompts : sequence of Prompt
        What is asked.
    settings : BehaviourSettings
        Length and number of answers.
    batch_size : int
        Most prompts per forward pass.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_ANSWERS`. A greedy answer is one
        deterministic run, so prompts count, never repeats (methods/4, section 5.6).
    """
    candidates = [
        candidate_tokens(model.tokenizer, each.text, each.truth, each.other) for each in prompts
    ]
    differences = logit_differences(model, candidates, batch_size=batch_size)
    rows = []
    ids = [each.prompt for each in candidates]
    samples = range(settings.samples + 1)
    for sample in progress(samples, description="answers to all prompts", total=len(samples)):
        answers = _write(model, prompts, ids, settings, sample, batch_size)
        for prompt, answer, difference in zip(prompts, answers, differences, strict=True):
            weighed = float(difference) if sample == GREEDY else None
            rows.append(_row(prompt, sample, answer, weighed))
    return pa.Table.from_pylist(rows, DECIMAL_ANSWERS.schema())


def _write(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    ids: Sequence[list[int]],
    settings: BehaviourSettings,
    sample: int,
    batch_size: int,
) -> list[str]:
    answers = [""] * len(prompts)
    for batch in cut_batches(np.array([len(each) for each in ids]), batch_size):
        sampling = (
            None if sample == GREEDY else _sampling(prompts, batch.tolist(), settings, sample)
        )
        written = model.continue_rows(
            [ids[n] for n in batch], max_new_tokens=settings.max_new_tokens, sampling=sampling
        )
        for number, answer in zip(batch, written, strict=True):
            answers[number] = answer
    return answers


def _sampling(
    prompts: Sequence[Prompt], batch: Sequence[int], settings: BehaviourSettings, sample: int
) -> Sampling:
    """Numbers that belong to the prompt and the sample, so that no batch changes them."""

    def drawn(prompt: Prompt) -> Any:
        names = ("decimal_bug", prompt.form, prompt.order, prompt.item, sample)
        return numpy_generator(settings.seed, *names).random(settings.max_new_tokens)

    uniform = np.stack([drawn(prompts[n]) for n in batch])
    return Sampling(settings.temperature, torch.from_numpy(uniform))


def _row(prompt: Prompt, sample: int, answer: str, difference: float | None) -> dict[str, Any]:
    found = full_judgement(answer, prompt.truth, prompt.other)
    return {
        "form": prompt.form,
        "order": prompt.order,
        "item": prompt.item,
        "sample": sample,
        "answer": answer,
        "verdict": found.verdict,
        "fallback": found.fallback,
        "gibberish": bool(found.gibberish),
        "logit_difference": difference,
    }
