"""CODI's losses: teacher, student and distillation in one pass (methods/0, section 1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

from saeflow.models.codi import CodiModel
from saeflow.models.language_model import last_of
from saeflow.models.reader import Reader
from saeflow.models.reference.examples import IGNORED, TextExample, ThoughtExample

_SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class ThoughtLosses:
    """Losses of a batch of problems, each a mean.

    Attributes
    ----------
    teacher, student : torch.Tensor of shape ()
        Cross-entropy of rationale and answer, and of the answer after latent thoughts; nats.
    distillation : torch.Tensor of shape ()
        Distance of hidden states at the anchor, over their spread.
    """

    teacher: Float[Tensor, ""]
    student: Float[Tensor, ""]
    distillation: Float[Tensor, ""]

    def total(self, distillation: float) -> Float[Tensor, ""]:
        """Sum that is minimised."""
        return self.teacher + self.student + distillation * self.distillation


def thought_losses(
    model: CodiModel, batch: Sequence[ThoughtExample], *, latents: int, with_student: bool
) -> ThoughtLosses:
    """Losses of a batch of problems.

    Teacher and student share the pass over the question: both go on from its cache, which gives
    the losses of two separate passes at half the cost.

    Parameters
    ----------
    model : CodiModel
        The model, with gradients.
    batch : sequence of ThoughtExample
        Problems of similar length.
    latents : int
        Latent thoughts of the student.
    with_student : bool
        Whether the student takes part; without it, its losses are 0.

    Returns
    -------
    ThoughtLosses
        With gradients; none flows from the distillation into the teacher.
    """
    ids, mask = model.pad([example.question for example in batch], left_pad=True)
    embed = model.language_model.get_input_embeddings()
    asked = Reader(model.language_model, mask)
    question = last_of(asked, embed(ids))
    taught = asked.fork() if with_student else asked
    rows = [example.rationale + example.answer for example in batch]
    ids, mask = model.pad(rows, left_pad=False)
    output = taught.read(embed(ids), mask, hidden_states=with_student)
    hidden = torch.cat([question[:, None], output.last_hidden_state[:, :-1]], dim=1)
    teacher = _loss(model, hidden, ids.masked_fill(mask == 0, IGNORED))
    if not with_student:
        return ThoughtLosses(teacher, teacher.new_zeros(()), teacher.new_zeros(()))
    begin = torch.full((len(batch), 1), model.tokens.begin, device=model.device)
    thought = last_of(asked, embed(begin))
    for _ in range(latents):
        thought = last_of(asked, model.projection(thought)[:, None])
    rows = [[model.tokens.end, *example.answer] for example in batch]
    ids, mask = model.pad(rows, left_pad=False)
    answered = asked.read(embed(ids), mask, hidden_states=True)
    labels = ids.masked_fill(mask == 0, IGNORED)[:, 1:]
    student = _loss(model, answered.last_hidden_state[:, :-1], labels)
    distance = _distillation(batch, output.hidden_states, answered.hidden_states)
    return ThoughtLosses(teacher, student, distance)


def text_loss(model: CodiModel, batch: Sequence[TextExample]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the labelled tokens of plain texts, in nats."""
    ids, mask = model.pad([example.ids for example in batch], left_pad=False)
    labels, _ = model.pad([example.labels for example in batch], left_pad=False)
    labels = labels.masked_fill(mask == 0, IGNORED)
    embed = model.language_model.get_input_embeddings()
    output = Reader(model.language_model, mask).read(embed(ids))
    return _loss(model, output.last_hidden_state[:, :-1], labels[:, 1:])


def _loss(
    model: CodiModel,
    hidden: Float[Tensor, "batch length d_in"],
    labels: Int[Tensor, "batch length"],
) -> Float[Tensor, ""]:
    """Cross-entropy at labelled positions; the output embedding reads no others."""
    where = labels != IGNORED
    logits = model.language_model.get_output_embeddings()(hidden[where])
    return cross_entropy(logits, labels[where])


def _distillation(
    batch: Sequence[ThoughtExample],
    taught: Sequence[Float[Tensor, "batch _ d_in"]],
    answered: Sequence[Float[Tensor, "batch _ d_in"]],
) -> Float[Tensor, ""]:
    keep = [row for row, example in enumerate(batch) if example.distilled]
    if len(keep) < 2:  # one row has no spread over the batch
        return taught[0].new_zeros(())
    device = taught[0].device
    rows = torch.tensor(keep, device=device)
    theirs = torch.tensor([len(batch[r].rationale) + batch[r].anchor for r in keep], device=device)
    ours = torch.tensor([1 + batch[r].anchor for r in keep], device=device)
    distances = []
    for teacher, student in zip(taught, answered, strict=True):
        target = teacher[rows, theirs].detach()
        spread = target.std().clamp(min=_SMALLEST_SPREAD)
        distances.append(smooth_l1_loss(student[rows, ours], target) / spread)
    return torch.stack(distances).mean()
