"""Interventions while a model thinks; what follows, the answer included, is computed anew.

A run thinks once about a batch of problems. Conditions resume from what it kept: the question, the
steps before the first edit, and at its step the blocks before it are not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.answers import AnswerKey
from saeflow.interventions.edits import Edit
from saeflow.interventions.outcomes import Outcome
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import check_place
from saeflow.models.hooks import editing
from saeflow.models.language_model import last_of
from saeflow.models.reader import Reader


class Place(NamedTuple):
    """Where a thought is edited.

    Attributes
    ----------
    step : int
        Thought step.
    hook : str
        ``embed``, ``resid_post`` or ``final_norm`` (`saeflow.models.hooks.HOOKS`).
    layer : int
        Block of ``resid_post``; 0 else.
    """

    step: int
    hook: str
    layer: int


@dataclass(frozen=True)
class Condition:
    """What is done in one intervention.

    Attributes
    ----------
    edits : mapping of Place to Edit
        One or several; none gives the run itself again.
    problems : torch.Tensor of int, shape (rows,), optional
        Problems of the run that it is done on; None: all.
    """

    edits: Mapping[Place, Edit]
    problems: Int[Tensor, " rows"] | None = None


class ThoughtRun:
    """A batch of problems that a model has thought about once.

    Parameters
    ----------
    model : CodiModel
        The model; what conditions do to it is undone behind each.
    questions, answers : list of str
        Problems in GSM8K's form; an answer ends in a ``####`` line.
    latents : int
        Latent thoughts.
    max_new_tokens : int
        Longest greedy answer.

    Attributes
    ----------
    activations : dict of str to torch.Tensor of shape (problems, steps, layers, d_in)
        By hook, without any edit.
    clean : Reading
        What the model answers without any edit.

    Raises
    ------
    SaeflowError
        If a question, its thoughts and its answer do not fit the model's positions.
    """

    def __init__(
        self,
        model: CodiModel,
        questions: list[str],
        answers: list[str],
        *,
        latents: int,
        max_new_tokens: int,
    ) -> None:
        self.model, self.latents = model, latents
        self._key = AnswerKey(model, answers, max_new_tokens)
        self._reader, self.activations = model.read_thoughts(
            questions, latents=latents, further=self._key.longest
        )
        self._first = self._reader.n_read - latents - 1
        self.clean = self._key.open(self._reader)

    @property
    def n_problems(self) -> int:
        """Problems of the run."""
        return len(self._reader.mask)

    def at(self, place: Place) -> Float[Tensor, "problems d_in"]:
        """Activations at a place, without any edit."""
        found: Float[Tensor, "problems d_in"]
        found = self.activations[place.hook][:, place.step, place.layer]
        return found

    def outcomes(
        self, conditions: Sequence[Condition], *, rows: int = 512
    ) -> Iterator[tuple[int, Outcome]]:
        """Do each intervention by itself, many in one forward pass.

        Parameters
        ----------
        conditions : sequence of Condition
            Those whose first edit is at the same place share forward passes.
        rows : int
            Problems times conditions per forward pass; memory grows with it and not with the
            number of conditions.

        Yields
        ------
        number : int
            Which condition; they come ordered by the place of their first edit.
        Outcome
            What it did.

        Raises
        ------
        SaeflowError
            If an edit is at a place that the model or the run does not have.
        """
        for condition in conditions:
            self._check_places(condition)
        order = sorted(range(len(conditions)), key=lambda n: self._order(conditions[n]))
        for group in self._groups(order, conditions, rows):
            yield from zip(group, self._run([conditions[n] for n in group]), strict=True)

    def _check_places(self, condition: Condition) -> None:
        for place in condition.edits:
            check_place(place.hook, place.layer, self.model.n_layers)
            if not 0 <= place.step <= self.latents:
                raise SaeflowError(
                    f"there is no thought step {place.step}; expected 0 to {self.latents}."
                )

    def _order(self, condition: Condition) -> tuple[int, int]:
        return min(map(self._progress, condition.edits), default=(self.latents, self._end))

    @property
    def _end(self) -> int:
        return self.model.n_layers + 1

    def _progress(self, place: Place) -> tuple[int, int]:
        """Step, and how many blocks of it are done at a place, the final norm counted as one."""
        blocks = {"embed": 0, "final_norm": self._end}
        return place.step, blocks.get(place.hook, place.layer + 1)

    def _groups(
        self, order: Sequence[int], conditions: Sequence[Condition], rows: int
    ) -> Iterator[list[int]]:
        group: list[int] = []
        size = 0
        for number in order:
            needed = len(self._problems(conditions[number]))
            same = group and self._order(conditions[group[0]]) == self._order(conditions[number])
            if group and not (same and size + needed <= rows):
                yield group
                group, size = [], 0
            group.append(number)
            size += needed
        if group:
            yield group

    def _problems(self, condition: Condition) -> Int[Tensor, " rows"]:
        if condition.problems is None:
            return torch.arange(self.n_problems, device=self.model.device)
        return condition.problems

    # Not on the generator above, whose caller would compute without gradients between outcomes.
    @torch.no_grad()
    def _run(self, conditions: Sequence[Condition]) -> list[Outcome]:
        """Think on from the place of the first edit, which all conditions share."""
        parts = [self._problems(condition) for condition in conditions]
        batch = _Batch(conditions, parts)
        step, block = self._order(conditions[0])
        reader = self._reader.fork(self._first + step, batch.problems)
        hidden, latent = self._resume(batch, reader, step, block)
        first = latent
        for later in range(step + 1, self.latents + 1):
            with editing(self.model.language_model, batch.edits_at(later)):
                hidden = last_of(reader, latent[:, None])
            latent = self.model.projection(hidden)
        found = self._key.read(reader, batch.problems, self.clean)
        cosine = torch.cosine_similarity(first.float(), self._latent(step)[batch.problems])
        before = self.clean.log_probability[batch.problems]
        right = self.clean.correct[batch.problems]
        whole = Outcome(
            batch.problems,
            found.log_probability - before,
            found.kl,
            cosine,
            found.changed,
            found.correct.int() - right.int(),
            right,
        )
        return [whole.rows(part) for part in batch.slices]

    def _resume(
        self, batch: _Batch, reader: Reader, step: int, block: int
    ) -> tuple[Float[Tensor, "rows d_in"], Float[Tensor, "rows d_in"]]:
        edits = batch.edits_at(step)
        start = {0: ("embed", 0), self._end: ("final_norm", 0)}.get(
            block, ("resid_post", block - 1)
        )
        hook, layer = start
        hidden = self.activations[hook][batch.problems, step, layer][:, None]
        if start in edits:
            hidden = edits.pop(start)(hidden)
        with editing(self.model.language_model, edits):
            hidden = reader.resume(hidden, block, self._reader, batch.problems)[:, -1]
        return hidden, self.model.projection(hidden)

    def _latent(self, step: int) -> Float[Tensor, "problems d_in"]:
        hidden = self.activations["final_norm"][:, step, 0]
        latent: Tensor = self.model.projection(hidden)
        return latent.float()


class _Batch:
    """Conditions side by side: rows are problems, condition by condition."""

    def __init__(self, conditions: Iterable[Condition], parts: Sequence[Int[Tensor, " _"]]) -> None:
        self.conditions = list(conditions)
        self.problems = torch.cat(list(parts))
        ends = torch.tensor([len(part) for part in parts]).cumsum(0).tolist()
        self.slices = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def edits_at(self, step: int) -> dict[tuple[str, int], Callable[[Tensor], Tensor]]:
        """By hook and layer, one function that edits each row as its condition says."""
        places = {
            (place.hook, place.layer): place
            for condition in self.conditions
            for place in condition.edits
            if place.step == step
        }
        return {key: self._edit(place) for key, place in places.items()}

    def _edit(self, place: Place) -> Callable[[Tensor], Tensor]:
        def edit(hidden: Tensor) -> Tensor:
            hidden = hidden.clone()
            for condition, rows in zip(self.conditions, self.slices, strict=True):
                if place in condition.edits:
                    edited = condition.edits[place](hidden[rows, -1], self.problems[rows])
                    hidden[rows, -1] = edited
            return hidden

        return edit
