"""Cloze lines and multiple choice: how much likelier a model finds the right ending than matched ones.

The study judged five greedy tokens by whether they contain the expected answer, and its small model
was right on none of 54 prompts (methods/3, section 4.5, E). A margin in log-probability needs no right
answer to differ between prompts (section 4.7, "Do instead"); both are here, side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from saeflow.artifacts.specialist_effects import SPECIALIST_TASKS
from saeflow.datasets.matched.published import MatchedText
from saeflow.datasets.texts import choices, cloze
from saeflow.datasets.texts.cloze import ARITHMETIC, OTHER
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError
from saeflow.models.capture import cut_batches
from saeflow.models.language_model import LanguageModel
from saeflow.models.reference.examples import Encoder, TextExample
from saeflow.models.scoring import score_endings

PARTS = (cloze.PART, choices.PART)
LEAST = {ARITHMETIC: 250, OTHER: 100}
"""Items of either group, at least; the study has 264 and 108 (methods/3, section 4.6)."""
PUBLISHED_TOKENS = 5
"""Greedy tokens that the published form reads."""
PUBLISHED_ENDINGS = {"symbolic": "=", "verbal": " is", "prose": " is"}
"""What is put behind a matched text to make a prompt, by form: the study puts "=" or a template that
cannot be reached any more, so that the other two are ours."""


@dataclass(frozen=True)
class ClozeScores:
    """Log-probabilities of endings, a row per item in the order given.

    Attributes
    ----------
    target : numpy.ndarray of float64, shape (items,)
        Mean log-probability of a token of the right ending, in nats.
    distractors : numpy.ndarray of float64, shape (items, most)
        The same of each wrong ending; NaN behind those of an item that has fewer.
    prompt_tokens, target_tokens : numpy.ndarray of int64, shape (items,)
        Tokens of the prompt, a begin-of-text token included, and of the right ending.
    """

    target: Float[np.ndarray, " items"]
    distractors: Float[np.ndarray, "items most"]
    prompt_tokens: Int[np.ndarray, " items"]
    target_tokens: Int[np.ndarray, " items"]

    @property
    def margin(self) -> Float[np.ndarray, " items"]:
        """How much likelier the right ending is than the likeliest wrong one, nats per token."""
        found: Float[np.ndarray, " items"] = self.target - np.nanmax(self.distractors, axis=1)
        return found

    @property
    def mean_margin(self) -> Float[np.ndarray, " items"]:
        """How much likelier it is than the wrong ones on average, nats per token."""
        found: Float[np.ndarray, " items"] = self.target - np.nanmean(self.distractors, axis=1)
        return found

    @property
    def correct(self) -> Bool[np.ndarray, " items"]:
        """Whether the right ending is likelier than every wrong one."""
        found: Bool[np.ndarray, " items"] = self.margin > 0
        return found


def held_out_items(texts: Iterable[Text], *, least: dict[str, int] | None = None) -> list[Text]:
    """Cloze lines and questions that no training text holds.

    Parameters
    ----------
    texts : iterable of Text
        The mixture.
    least : dict of str to int, optional
        Items by group, at least; by default `LEAST`.

    Returns
    -------
    list of Text
        In the order given.

    Raises
    ------
    SaeflowError
        If a group has fewer.
    """
    found = [text for text in texts if text.part in PARTS and text.split == HELD_OUT]
    counted = Counter(text.group for text in found)
    for group, wanted in (LEAST if least is None else least).items():
        if counted[group] < wanted:
            raise SaeflowError(
                f"The mixture has {counted[group]} held-out {group} items of {' and '.join(PARTS)}; "
                f"expected {wanted} at least. Draw more of them."
            )
    return found


def content_of(item: Text) -> tuple[str, str, int]:
    """Part, group and number of an item: what is resampled and permuted as one."""
    return item.part, item.group, item.item


def score_cloze(model: LanguageModel, items: Sequence[Text], *, batch_size: int) -> ClozeScores:
    """Score the right ending of each item and its distractors.

    Parameters
    ----------
    model : LanguageModel
        The model; its thoughts are not used.
    items : sequence of Text
        Prompts with a target and at least one distractor.
    batch_size : int
        Endings per forward pass.

    Raises
    ------
    SaeflowError
        If an item has no distractor, a prompt or an ending has no token, or the two together do not
        fit the model's positions.
    """
    encoder = Encoder(model.tokenizer)
    endings: list[list[TextExample]] = []
    for item in items:
        if not item.distractors:
            raise SaeflowError(
                f"The prompt {item.prompt!r} has no distractor; expected one at least."
            )
        every = (item.target, *item.distractors)
        endings.append([_example(model, encoder, item.prompt, ending) for ending in every])
    sizes = np.array([_lengths(each[0]) for each in endings], np.int64).reshape(-1, 2)
    target = np.zeros(len(items))
    distractors = np.full((len(items), max([len(each) - 1 for each in endings], default=1)), np.nan)
    scores = score_endings(model, endings, batch_size=batch_size)
    for row, (right, *wrong) in enumerate(scores):
        target[row] = right
        distractors[row, : len(wrong)] = wrong
    return ClozeScores(target, distractors, sizes[:, 0], sizes[:, 1])


def cloze_table(
    items: Sequence[Text], scores: ClozeScores, covariates: Float[np.ndarray, "items 3"]
) -> pa.Table:
    """Items, their scores and `ending_covariates`, with the columns of `SPECIALIST_TASKS`."""
    fields = ("part", "group", "form", "item", "level", "prompt", "target")
    columns: dict[str, object] = {name: [getattr(item, name) for item in items] for name in fields}
    columns |= {
        "task": range(len(items)),
        "target_tokens": scores.target_tokens,
        "log_probability": scores.target,
        "best_distractor": scores.target - scores.margin,
        "mean_distractor": scores.target - scores.mean_margin,
        "margin": scores.margin,
        "mean_margin": scores.mean_margin,
        "correct": scores.correct,
        "chance": chance_of(items),
        "prompt_tokens": covariates[:, 0].astype(np.int32),
        "log_frequency": covariates[:, 2],
    }
    schema = SPECIALIST_TASKS.schema()
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def chance_of(items: Sequence[Text]) -> Float[np.ndarray, " items"]:
    """Chance to be correct when all endings are alike: one of as many as there are."""
    return np.array([1 / (1 + len(item.distractors)) for item in items], np.float64)


def ending_covariates(
    model: LanguageModel, items: Sequence[Text], training: Iterable[str]
) -> Float[np.ndarray, "items 3"]:
    """What may go with both a margin and an activation, and is held fixed (methods/3, section 4.7).

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer counts.
    items : sequence of Text
        Prompts with endings.
    training : iterable of str
        Texts whose tokens are counted, such as those of training.

    Returns
    -------
    numpy.ndarray of float64, shape (items, 3)
        Tokens of the prompt, tokens of the right ending, and the mean log-frequency of a token of the
        right ending less that of all its distractors, one added to every count.
    """
    encoder = Encoder(model.tokenizer)
    counts: Counter[int] = Counter()
    for text in training:
        counts.update(encoder.continuation("", text).ids)

    def log_frequency(item: Text, ending: str) -> float:
        ids = encoder.continuation(item.prompt, ending).ids[prompt:]
        return float(np.mean(np.log([counts[token] + 1 for token in ids])))

    found = np.zeros((len(items), 3))
    for row, item in enumerate(items):
        prompt, target = _lengths(encoder.continuation(item.prompt, item.target))
        wrong = [log_frequency(item, ending) for ending in item.distractors]
        found[row] = prompt, target, log_frequency(item, item.target) - np.mean(wrong)
    return found


def published_prompts(rows: Sequence[MatchedText]) -> list[Text]:
    """Matched texts with an expected answer, as prompts in the published form.

    Parameters
    ----------
    rows : sequence of MatchedText
        The texts; those that ask for nothing are left out.
    """
    return [
        Text(
            part="pairs",
            group=row.topic,
            form=row.form,
            item=row.pair,
            split=HELD_OUT,
            prompt=row.text + PUBLISHED_ENDINGS.get(row.form, ""),
            target=row.expected,
        )
        for row in rows
        if row.expected
    ]


def published_answers(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    batch_size: int,
    max_new_tokens: int = PUBLISHED_TOKENS,
) -> list[str]:
    """Continue prompts greedily by a few tokens.

    Raises
    ------
    SaeflowError
        If a prompt has no token, or does not fit the model's positions with its answer.
    """
    rows: list[list[int]] = [list(model.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        if not row:
            raise SaeflowError(f"The prompt {prompt!r} has no token; expected one at least.")
    answers = [""] * len(rows)
    for batch in cut_batches(np.array([len(row) for row in rows], np.int64), batch_size):
        found = model.continue_rows([rows[n] for n in batch], max_new_tokens=max_new_tokens)
        for number, answer in zip(batch.tolist(), found, strict=True):
            answers[number] = answer
    return answers


def contained(expected: Sequence[str], answers: Sequence[str]) -> Bool[np.ndarray, " items"]:
    """Whether each answer contains what is expected, as the study judges.

    As published, ``5`` is right where the answer is ``15``.
    """
    pairs = zip(expected, answers, strict=True)
    return np.array([right.strip() in answer for right, answer in pairs], bool)


def training_lines(texts: Iterable[Text]) -> list[str]:
    """Everything that training reads of the mixture's plain texts, prompts and endings together."""
    return [text.text for text in texts if text.split == TRAIN]


def _example(model: LanguageModel, encoder: Encoder, prompt: str, ending: str) -> TextExample:
    example = encoder.continuation(prompt, ending)
    before, behind = _lengths(example)
    if not before or not behind:
        what = f"ending {ending!r}" if before else f"prompt {prompt!r}"
        raise SaeflowError(f"The {what} has no token; expected one at least.")
    limit = int(model.language_model.config.max_position_embeddings)
    if before + behind > limit:
        raise SaeflowError(
            f"The prompt {prompt[:40]!r} takes {before + behind} positions with its ending; the model "
            f"has {limit}. Leave it out."
        )
    return example


def _lengths(example: TextExample) -> tuple[int, int]:
    """Tokens of the prompt and of the ending."""
    behind = sum(label >= 0 for label in example.labels)
    return len(example.ids) - behind, behind
