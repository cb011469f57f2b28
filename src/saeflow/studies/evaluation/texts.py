"""Held-out texts: how well they are predicted, continued and told apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from saeflow.datasets.texts.decimals import FORMATS, PRONE
from saeflow.datasets.texts.judge import RIGHT, WRONG, called_bigger, judge
from saeflow.datasets.texts.text import TRAIN, Text
from saeflow.models.language_model import LanguageModel
from saeflow.models.reference.examples import IGNORED, Encoder, TextExample
from saeflow.models.scoring import score_endings, score_texts
from saeflow.studies.evaluation.measures import Measure, What, constant, mean, share

READ = ("categories", "pairs", "documents")
ASKED = ("cloze", "choices")
FREQUENCIES, CHANCE = "token_frequencies", "chance"
_ANSWER_TOKENS = 16


def evaluate_texts(
    model: LanguageModel, texts: Sequence[Text], *, n_texts: int, batch_size: int
) -> Iterator[Measure]:
    """Loss on held-out texts, and choice among matched continuations.

    Parameters
    ----------
    model : LanguageModel
        The model.
    texts : sequence of Text
        The whole mixture; what is held out is measured, the rest gives token frequencies.
    n_texts : int
        Texts of each part; the first of each group.
    batch_size : int
        Texts per forward pass.

    Yields
    ------
    Measure
        ``loss`` in nats per token, with the control ``token_frequencies``; for prompts also
        ``chosen``: share whose right continuation is the likeliest per token, with ``chance``.
        Intervals are over contents: a pair in three forms counts once.
    """
    encoder = Encoder(model.tokenizer)
    for part in (*READ, *ASKED):
        held_out = _first(texts, part, n_texts)
        examples = [encoder.text(text) for text in held_out]
        train = (encoder.text(t) for t in texts if t.part == part and t.split == TRAIN)
        common = _Frequencies(train, len(model.tokenizer))
        scores = score_texts(model, examples, batch_size=batch_size)
        chosen = chosen_rightly(model, encoder, held_out, batch_size) if part in ASKED else []
        for group, rows in _by_group(held_out, levels=part in ASKED).items():
            content = [(held_out[row].group, held_out[row].item) for row in rows]
            what = What(part, "", group, "loss")
            yield mean(what, [-scores[row].per_token for row in rows], content)
            trivial = [common.loss(examples[row]) for row in rows]
            yield mean(what._replace(control=FREQUENCIES), trivial, content)
            if part in ASKED:
                what = What(part, "", group, "chosen")
                yield mean(what, [chosen[row] for row in rows], content)
                levels = [1 / (1 + len(held_out[row].distractors)) for row in rows]
                yield constant(what._replace(control=CHANCE), sum(levels) / len(rows), len(rows))


def evaluate_decimals(
    model: LanguageModel, texts: Sequence[Text], *, n_texts: int, batch_size: int
) -> Iterator[Measure]:
    """Answers to held-out pairs of numbers in all six formats.

    Yields
    ------
    Measure
        ``right`` and ``wrong``: share of pairs whose answer calls the true, or the other, number
        the bigger one and not both; by format, for each kind of pair.
    """
    for name in FORMATS:
        held_out = [
            text for text in texts if (text.part, text.form) == ("decimals", name)
            if text.split != TRAIN
        ][:n_texts]  # fmt: skip
        verdicts = _verdicts(model, held_out, batch_size)
        groups = _by_group(held_out)
        groups[PRONE] = [row for row, text in enumerate(held_out) if text.group.startswith(PRONE)]
        for group, rows in groups.items():
            for metric in (RIGHT, WRONG):
                hits = [verdicts[row] == metric for row in rows]
                yield share(What("decimals", name, group, metric), hits)


class _Frequencies:
    """Predicts every token by how often training texts hold it: the trivial baseline."""

    def __init__(self, examples: Iterable[TextExample], vocabulary: int) -> None:
        self._counts: Counter[int] = Counter()
        for example in examples:
            self._counts.update(label for label in example.labels if label != IGNORED)
        self._total = self._counts.total() + vocabulary

    def loss(self, example: TextExample) -> float:
        """Mean negative log-probability of the labelled tokens, one added to every count."""
        labels = [label for label in example.labels[1:] if label != IGNORED]
        if not labels:
            return 0.0
        found = sum(math.log((self._counts[label] + 1) / self._total) for label in labels)
        return -found / len(labels)


def _first(texts: Sequence[Text], part: str, n: int) -> list[Text]:
    """First held-out texts of a part, the same number of each group."""
    held_out = [text for text in texts if text.part == part and text.split != TRAIN]
    groups = {text.group for text in held_out}
    taken: Counter[str] = Counter()
    kept = []
    for text in held_out:
        if taken[text.group] < n // len(groups):
            taken[text.group] += 1
            kept.append(text)
    return kept


def _by_group(texts: Sequence[Text], *, levels: bool = False) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {"all": list(range(len(texts)))}
    for row, text in enumerate(texts):
        groups.setdefault(text.group, []).append(row)
        if levels:
            groups.setdefault(f"{text.group}, level {text.level}", []).append(row)
    return groups


def chosen_rightly(
    model: LanguageModel, encoder: Encoder, texts: Sequence[Text], batch_size: int
) -> list[bool]:
    """Tell for each prompt whether its right continuation is the likeliest per token."""
    endings = [
        [encoder.continuation(text.prompt, each) for each in (text.target, *text.distractors)]
        for text in texts
    ]
    scores = score_endings(model, endings, batch_size=batch_size)
    return [right > max(wrong) for right, *wrong in scores]


def _verdicts(model: LanguageModel, texts: Sequence[Text], batch_size: int) -> list[str]:
    rows = [model.tokenizer(text.prompt)["input_ids"] for text in texts]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    verdicts = [""] * len(texts)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        answers = model.continue_rows([rows[row] for row in batch], max_new_tokens=_ANSWER_TOKENS)
        for row, answer in zip(batch, answers, strict=True):
            told = (texts[row].target, *texts[row].distractors)
            (truth,), (other,) = (called_bigger(each) for each in told)
            verdicts[row] = judge(answer, truth, other)
    return verdicts
