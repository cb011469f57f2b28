"""How likely a model finds given texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from saeflow.models.language_model import LanguageModel
from saeflow.models.reader import Reader
from saeflow.models.reference.examples import IGNORED, TextExample


class Score(NamedTuple):
    """Log-probability of the labelled tokens of a text, in nats, and how many there are."""

    log_probability: float
    n_tokens: int

    @property
    def per_token(self) -> float:
        """Mean log-probability of a token."""
        return self.log_probability / max(1, self.n_tokens)


@torch.no_grad()
def score_texts(
    model: LanguageModel, examples: Sequence[TextExample], *, batch_size: int
) -> list[Score]:
    """Score texts, in batches of similar length.

    Parameters
    ----------
    model : LanguageModel
        The model.
    examples : sequence of TextExample
        Encoded texts; only labelled tokens count, and a first token has nothing before it.
    batch_size : int
        Texts per forward pass.

    Returns
    -------
    list of Score
        In the order of `examples`.
    """
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].ids))
    scores: dict[int, Score] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        found = _score_batch(model, [examples[row] for row in rows])
        scores.update(zip(rows, found, strict=True))
    return [scores[index] for index in range(len(examples))]


def score_endings(
    model: LanguageModel, endings: Sequence[Sequence[TextExample]], *, batch_size: int
) -> list[list[float]]:
    """Mean log-probability of a token of each ending of each prompt, in nats.

    Parameters
    ----------
    model : LanguageModel
        The model.
    endings : sequence of sequence of TextExample
        By prompt: each ending encoded behind it, so that its tokens alone are labelled.
    batch_size : int
        Endings per forward pass.
    """
    every = [example for each in endings for example in each]
    scores = iter(score_texts(model, every, batch_size=batch_size))
    return [[next(scores).per_token for _ in each] for each in endings]


def _score_batch(model: LanguageModel, batch: Sequence[TextExample]) -> list[Score]:
    ids, mask = model.pad([example.ids for example in batch], left_pad=False)
    labels, _ = model.pad([example.labels for example in batch], left_pad=False)
    labels = labels.masked_fill(mask == 0, IGNORED)
    embedded = model.language_model.get_input_embeddings()(ids)
    hidden = Reader(model.language_model, mask).read(embedded).last_hidden_state[:, :-1]
    labels = labels[:, 1:]
    where = labels != IGNORED
    logits = model.logits(hidden[where]).float()
    chosen = logits.log_softmax(-1).gather(1, labels[where][:, None])[:, 0]
    totals = torch.zeros(labels.shape, device=labels.device)
    totals[where] = chosen
    sums, counts = totals.sum(1).tolist(), where.sum(1).tolist()
    return [Score(total, count) for total, count in zip(sums, counts, strict=True)]
