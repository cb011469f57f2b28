"""What a model answers behind its thoughts: likelihood of the right answer, and greedy answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.interventions.readings import cut, most_readings
from saeflow.models.codi import CodiModel, answer_number
from saeflow.models.reader import Reader
from saeflow.models.reference.examples import Encoder


@dataclass(frozen=True)
class Reading:
    """Answers of rows.

    Attributes
    ----------
    log_probability : torch.Tensor of shape (rows,)
        Of the right answer's text with its end, in nats.
    kl : torch.Tensor of shape (rows,)
        Divergence of the first token of its number from the run without edits, in nats.
    changed : torch.Tensor of bool, shape (rows,)
        Whether the greedy answer is not that of the run without edits.
    correct : torch.Tensor of bool, shape (rows,)
        Whether its number is right.
    """

    log_probability: Float[Tensor, " rows"]
    kl: Float[Tensor, " rows"]
    changed: Bool[Tensor, " rows"]
    correct: Bool[Tensor, " rows"]


class AnswerKey:
    """Right answers of the problems of a run, and those that the model gives without edits.

    Parameters
    ----------
    model : CodiModel
        The model.
    answers : list of str
        In GSM8K's form.
    max_new_tokens : int
        Longest greedy answer.
    """

    def __init__(self, model: CodiModel, answers: list[str], max_new_tokens: int) -> None:
        self._model, self._max_new_tokens = model, max_new_tokens
        encoder = Encoder(model.tokenizer)
        examples = [encoder.thought("", answer) for answer in answers]
        self._gold = [example.answer for example in examples]
        self._anchor = torch.tensor([example.anchor + 1 for example in examples]).to(model.device)
        self._numbers = [float(each.rsplit("####", 1)[1].replace(",", "")) for each in answers]
        self._given: list[list[int]] = []
        self._first: Tensor = torch.empty(0)

    @property
    def longest(self) -> int:
        """Positions that reading or writing an answer takes at most."""
        return max(self._max_new_tokens, *map(len, self._gold))

    def log_probability(self, reader: Reader) -> Float[Tensor, " problems"]:
        """Log-probability of the right answers behind the thoughts of all problems of the run."""
        return _Scores.of(self._model, reader, self._gold).total

    @torch.no_grad()
    def open(self, reader: Reader) -> Reading:
        """Let the model answer without edits.

        Parameters
        ----------
        reader : Reader
            It has read all problems of the run and their thoughts, and is left as it is.

        Returns
        -------
        Reading
            What it gives without edits, with which `read` compares; it has no divergence, and
            nothing is changed.
        """
        self._given = self._model.write(reader.fork(), max_new_tokens=self._max_new_tokens)
        texts = self._model.texts(self._given)
        rows = torch.arange(len(self._gold), device=self._model.device)
        scored = _Scores.of(self._model, reader.fork(), self._gold)
        self._first = scored.log_probabilities_at(self._anchor)
        correct = [
            answer_number(text) == number for text, number in zip(texts, self._numbers, strict=True)
        ]
        nothing = torch.zeros(len(rows), device=self._model.device)
        right = torch.tensor(correct, device=self._model.device)
        return Reading(scored.total, nothing, nothing > 0, right)

    def read(self, reader: Reader, problems: Int[Tensor, " rows"], clean: Reading) -> Reading:
        """Read the answers of rows after an edit.

        The greedy answer is the same if each of its tokens still is the likeliest behind those
        before it, which one pass tells; only changed answers are written token by token.

        Parameters
        ----------
        reader : Reader
            It has read the thoughts of the rows; it goes on from there.
        problems : torch.Tensor of shape (rows,)
            Which problem of the run each row is.
        clean : Reading
            Of all problems of the run, without edits.
        """
        numbers = problems.tolist()
        read = reader.n_read
        scored = _Scores.of(self._model, reader, [self._gold[n] for n in numbers])
        before = self._first[problems]
        after = scored.log_probabilities_at(self._anchor[problems])
        kl = (before.exp() * (before - after)).sum(-1)
        same = scored.greedy.clone()
        other = [row for row, n in enumerate(numbers) if self._given[n] != self._gold[n]]
        if other:
            index = torch.tensor(other, device=self._model.device)
            given = [self._given[numbers[row]] for row in other]
            again = reader.fork(read, index)
            same[index] = _Scores.of(self._model, again, given).greedy
        correct = torch.where(same, clean.correct[problems], scored.greedy)
        unknown = (~same & ~scored.greedy).nonzero()[:, 0]
        if len(unknown):
            written = self._model.write(
                reader.fork(read, unknown), max_new_tokens=self._max_new_tokens
            )
            texts = self._model.texts(written)
            right = [
                answer_number(text) == self._numbers[numbers[row]]
                for text, row in zip(texts, unknown.tolist(), strict=True)
            ]
            correct[unknown] = torch.tensor(right, device=self._model.device)
        return Reading(scored.total, kl, ~same, correct)


@dataclass(frozen=True)
class _Scores:
    """Log-probabilities of given answers, token by token, the right one's fed to the model.

    Attributes
    ----------
    hidden : torch.Tensor of shape (rows, length, d_in)
        After the final norm, where each token is read from.
    total : torch.Tensor of shape (rows,)
        Log-probability of the whole text, in nats.
    greedy : torch.Tensor of bool, shape (rows,)
        Whether every token is the likeliest.
    """

    model: CodiModel
    hidden: Float[Tensor, "rows length d_in"]
    total: Float[Tensor, " rows"]
    greedy: Bool[Tensor, " rows"]

    @classmethod
    def of(cls, model: CodiModel, reader: Reader, answers: list[list[int]]) -> _Scores:
        ids, mask = model.pad(answers, left_pad=False)
        end = torch.full_like(ids[:, :1], model.tokens.end)
        embed = model.language_model.get_input_embeddings()
        inputs = torch.cat([end, ids[:, :-1]], dim=1)
        hidden = reader.read(embed(inputs), mask).last_hidden_state
        where = mask.bool()
        chosen, greedy = [], []
        step = most_readings(model.tokens.end)
        for part, tokens in zip(cut(hidden[where], step), cut(ids[where], step), strict=True):
            logits = written_logits(model, part)
            chosen.append(logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1))
            greedy.append(logits.argmax(-1) == tokens)
        totals = hidden.new_zeros(ids.shape, dtype=chosen[0].dtype)
        totals[where] = torch.cat(chosen)
        likeliest = torch.ones_like(where)
        likeliest[where] = torch.cat(greedy)
        return cls(model, hidden, totals.sum(1), likeliest.all(1))

    def log_probabilities_at(self, position: Int[Tensor, " rows"]) -> Float[Tensor, "rows tokens"]:
        """Log-probabilities of all tokens at one place of each answer."""
        rows = torch.arange(len(position), device=position.device)
        return written_logits(self.model, self.hidden[rows, position]).log_softmax(-1)


def written_logits(
    model: CodiModel, hidden: Float[Tensor, "rows d_in"]
) -> Float[Tensor, "rows tokens"]:
    """Logits of the tokens that can be written, float32 or finer; the end of thoughts cannot."""
    logits = model.logits(hidden)
    return logits[:, : model.tokens.end].to(torch.promote_types(logits.dtype, torch.float32))
