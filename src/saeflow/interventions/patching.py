"""Activations of one run in place of another's, and what is then answered (methods/4, section 5.6).

A run reads and answers its prompts once. Patches of one layer share forward passes and resume from
what the run kept: neither the blocks before the layer nor the tokens before the first that a patch
changes are computed again, and prompts of which it changes nothing not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.interventions.patches import (
    Blends,
    Live,
    Patch,
    PatchOutcome,
    Plan,
    check_patch,
    plan_patch,
)
from saeflow.interventions.prompts import PromptRun
from saeflow.interventions.readings import cut
from saeflow.models.candidates import Candidates
from saeflow.models.conventions import HookedLayer, same_between_blocks
from saeflow.models.hooks import editing
from saeflow.models.language_model import LanguageModel
from saeflow.models.reader import Reader

WAITING = 4
"""Patched prompts wait until so many forward passes are full, and those whose first changed tokens
are near each other then go together."""


class PatchRun(PromptRun):
    """A batch of prompts, each with two possible answers, that patches are tried on.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model; what patches do to it is undone behind each.
    rows : sequence of sequence of int
        Token ids of the prompts.
    candidates : torch.Tensor of int, shape (rows, 2)
        Tokens of the true answer and of the other one that decide between them.
    forced : sequence of sequence of int, optional
        What both answers begin with: the logit difference is read behind it. None: nothing.
    others
        As for `PromptRun`.

    Attributes
    ----------
    candidates : torch.Tensor of int, shape (rows, 2)
        As given.
    logit_difference : torch.Tensor of shape (rows,)
        Logit of the true answer's token minus that of the other's, in nats, without any patch.

    Raises
    ------
    SaeflowError
        As `PromptRun` does, or if the candidates are not two tokens per prompt.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Sequence[Sequence[int]],
        candidates: Int[Tensor, "rows 2"] | Sequence[Sequence[int]],
        **others: Any,
    ) -> None:
        super().__init__(model, rows, **others)
        self.candidates = torch.as_tensor(candidates, dtype=torch.long).to(model.device)
        known = (self.candidates >= 0) & (self.candidates < int(model.config.vocab_size))
        if self.candidates.shape != (self.n_rows, 2) or not bool(known.all()):
            raise SaeflowError(
                f"the candidates have the shape {tuple(self.candidates.shape)} and "
                f"{int(known.sum())} are tokens of the model; expected two for each of "
                f"{self.n_rows} prompts."
            )
        with torch.no_grad():
            self.logit_difference = self._writer.difference(self._deciding, self.candidates)
        # How much of each track is read: greedy answers but for their last token, led ones as far
        # as they are given.
        self._needed = self.lengths - 1
        self._needed[self.n_rows :] = 0
        self._needed[self.led] = torch.maximum(self._needed[self.led], self.n_forced)

    @classmethod
    def of(cls, model: LanguageModel, candidates: Sequence[Candidates], **others: Any) -> PatchRun:
        """Read prompts with their candidates, as `saeflow.models.candidates` finds them.

        Answers end and are spelt as those of `saeflow.models.language_model.LanguageModel.continue_rows`.
        """
        return cls(
            model.language_model,
            [each.prompt for each in candidates],
            [[each.true, each.other] for each in candidates],
            forced=[each.shared for each in candidates],
            ends=model.ends,
            vocabulary=model.vocabulary,
            **others,
        )

    def outcomes(
        self, patches: Sequence[Patch], *, rows: int = 512
    ) -> Iterator[tuple[int, PatchOutcome]]:
        """Try each patch by itself, many in one forward pass.

        Parameters
        ----------
        patches : sequence of Patch
            Those of one layer share forward passes.
        rows : int
            Prompts times patches per forward pass; memory grows with it and not with the number of
            patches.

        Yields
        ------
        number : int
            Which patch; they come ordered by layer.
        PatchOutcome
            What it did.

        Raises
        ------
        SaeflowError
            If a patch asks for a layer, unit, phase, weight or prompt that there is not, for
            activations that a run does not keep, or its donor was made for another run.
        """
        for patch in patches:
            check_patch(self, patch)
        order = sorted(range(len(patches)), key=lambda number: patches[number].layer)
        for layer, group in groupby(order, key=lambda number: patches[number].layer):
            waiting: dict[int, Plan] = {}
            for number in group:
                waiting[number] = self._plan(patches[number])
                full = sum(len(each.live.rows) for each in waiting.values()) >= WAITING * rows
                if full or len(waiting) >= WAITING * rows:
                    yield from self._finish(waiting, layer, rows)
                    waiting = {}
            if waiting:
                yield from self._finish(waiting, layer, rows)

    def _entrances(self) -> list[HookedLayer]:
        return [_entrance(layer) for layer in {place.layer for place in self._kept}]

    # Not on the generator above, whose caller would compute without gradients between outcomes.
    @torch.no_grad()
    def _plan(self, patch: Patch) -> Plan:
        return plan_patch(self, patch)

    @torch.no_grad()
    def _finish(
        self, waiting: Mapping[int, Plan], layer: int, rows: int
    ) -> list[tuple[int, PatchOutcome]]:
        """Read on from patches of one layer, so many prompts in one forward pass."""
        plans = list(waiting.values())
        sizes = [len(plan.rows) for plan in plans]
        every = torch.cat([plan.rows for plan in plans])
        live = Live.joined([plan.live for plan in plans], sizes)
        counts = torch.tensor([len(plan.live.rows) for plan in plans], device=every.device)
        number = torch.arange(len(plans), device=every.device).repeat_interleave(counts)
        blends = Blends([plan.blend for plan in plans], number)
        before, clean = self.logit_difference[every], [self.answers[row] for row in every.tolist()]
        weighed, answers = before.clone(), list(clean)
        for part in cut(live.first.argsort(stable=True), rows) if len(live.rows) else []:
            some = live.some(part)
            difference, written = self._read_on(some, blends.some(part), layer)
            weighed[some.slots[some.weighs]] = difference[some.weighs]
            for slot, answer in zip(some.slots.tolist(), written, strict=True):
                answers[slot] = answer
        other = [new != old for new, old in zip(answers, clean, strict=True)]
        changed = torch.tensor(other, device=every.device)
        return [
            (
                each,
                PatchOutcome(
                    every[start:end],
                    weighed[start:end],
                    (weighed - before)[start:end],
                    answers[start:end],
                    changed[start:end],
                ),
            )
            for each, (start, end) in zip(
                waiting, pairwise(torch.tensor([0, *sizes]).cumsum(0).tolist()), strict=True
            )
        ]

    def _read_on(
        self, live: Live, blends: Blends, layer: int
    ) -> tuple[Float[Tensor, " live"], list[list[int]]]:
        """Logit differences, meaningless where they cannot change, and answers.

        An answer is the same if each of its tokens still is the likeliest behind those before it,
        which one pass tells; only where it is not the rest is written token by token.
        """
        reader, last = self._prefill(live, blends, layer)
        behind = reader.n_read
        every = torch.arange(len(live.rows), device=last.device)
        apart = live.apart.nonzero()[:, 0]
        # Led answers that differ from greedy ones are rows of their own behind all others.
        sequences = torch.cat([every, apart])
        tracks = torch.cat([live.rows, self.led[live.rows[apart]]])
        entries = torch.cat([live.answer, live.led[apart]])
        reader = reader.fork(rows=sequences) if len(apart) else reader
        needed = self._needed[tracks]
        span = int(needed.max())
        hidden = last[sequences][:, None]
        if span:
            edits = blends.some(sequences).edits(entries[:, :span], answers=True)
            with editing(self.model, edits):
                read = self._writer.read(reader, self.tokens[tracks, :span], needed)
            hidden = torch.cat([hidden, read], dim=1)
        deciding = every.clone()
        deciding[apart] = torch.arange(len(every), len(sequences), device=last.device)
        place = self.n_forced[live.rows].clamp(max=span)
        difference = self._writer.difference(hidden[deciding, place], self.candidates[live.rows])
        greedy = hidden[: len(every)]
        return difference, self._rewrite(live, blends, reader, behind, greedy)

    def _prefill(
        self, live: Live, blends: Blends, layer: int
    ) -> tuple[Reader, Float[Tensor, "live d_in"]]:
        """Read patched prompts; a reader behind them, and what answers begin from."""
        rows, begin = live.rows, int(live.first.min())
        reader, last = self._reader.fork(begin, rows), self._last[rows]
        if begin == self.length:
            return reader, last
        ending = torch.arange(begin, self.length, device=rows.device) == self.final[rows, None]
        entering = self.activations[_entrance(layer)][rows, begin:]
        with editing(self.model, blends.edits(live.prompt[:, begin:], answers=False)):
            hidden = reader.resume(entering, layer, self._reader, rows, wanted=ending)
        last[ending.any(1)] = hidden[ending]
        return reader, last

    def _rewrite(
        self,
        live: Live,
        blends: Blends,
        reader: Reader,
        behind: int,
        hidden: Float[Tensor, "live new d_in"],
    ) -> list[list[int]]:
        """Answers of patched prompts.

        Parameters
        ----------
        live, blends
            The prompts.
        reader : Reader
            It has read the old answers behind so many positions.
        behind : int
            That number.
        hidden : torch.Tensor of shape (live, new, d_in)
            What each token of the old answers is read from.
        """
        lengths = self.lengths[live.rows]
        tokens = self.tokens[live.rows, : int(lengths.max())]
        inside = torch.arange(tokens.shape[1], device=lengths.device) < lengths[:, None]
        likeliest = tokens.clone()
        likeliest[inside] = self._writer.likeliest(hidden[:, : tokens.shape[1]][inside])
        n_same = (likeliest == tokens).int().cumprod(1).sum(1)
        answers = [self.answers[row] for row in live.rows.tolist()]
        other = (live.writes & (n_same < tokens.shape[1])).nonzero()[:, 0]
        if len(other):
            start = int(n_same[other].min())
            entries, some = live.answer[other, start:], blends.some(other)
            further = self._writer.go_on(
                reader.fork(behind + start, other),
                likeliest[other, start],
                self.max_new_tokens - start,
                lambda number: some.edits(entries[:, number : number + 1], answers=True),
            )
            for row, rest in zip(other.tolist(), further, strict=True):
                answers[row] = [*answers[row][:start], *rest]
        return answers


def _entrance(layer: int) -> HookedLayer:
    """Where what a block reads is kept."""
    return same_between_blocks(HookedLayer("resid_pre", layer))
