"""Patches, and what of them has to be computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.donors import NOTHING, Donor, Table
from saeflow.interventions.prompts import PromptRun
from saeflow.interventions.units import units_of
from saeflow.interventions.writing import Edits
from saeflow.models.conventions import HookedLayer, check_place

PHASES = ("prefill", "decode", "both")
"""Whether tokens of the prompt, tokens of the answer or both get other activations."""


@dataclass(frozen=True)
class Patch:
    """What is put in place in one intervention.

    Attributes
    ----------
    donor : Donor
        Where activations come from; made for the run.
    layer : int
        Block, from 0.
    kind : str
        Kind of units (`saeflow.interventions.units.Units`).
    units : sequence of int, optional
        Which of them, all at once; None: all.
    phase : str
        ``prefill``: while the prompt is read; ``decode``: while tokens of the answer are, given ones
        included; ``both``.
    weight : float
        Share of the donor, 0 to 1: activations become ``(1 - weight) * own + weight * donor``.
    rows : sequence of int, optional
        Prompts of the run that it is done on; None: all.
    """

    donor: Donor
    layer: int
    kind: str
    units: Sequence[int] | None = None
    phase: str = "both"
    weight: float = 1.0
    rows: Sequence[int] | None = None


@dataclass(frozen=True)
class PatchOutcome:
    """What a patch did, prompt by prompt.

    Attributes
    ----------
    rows : torch.Tensor of int, shape (rows,)
        Numbers of the prompts in the run.
    logit_difference : torch.Tensor of shape (rows,)
        Logit of the true answer's token minus that of the other's, in nats.
    change : torch.Tensor of shape (rows,)
        What the patch added to it, in nats.
    answers : list of list of int
        Greedy answers, the end included where one is written in time.
    changed : torch.Tensor of bool, shape (rows,)
        Whether the answer is another one.
    """

    rows: Int[Tensor, " rows"]
    logit_difference: Float[Tensor, " rows"]
    change: Float[Tensor, " rows"]
    answers: list[list[int]]
    changed: Bool[Tensor, " rows"]


@dataclass(frozen=True)
class Blend:
    """How a patch changes what tokens carry.

    Attributes
    ----------
    patch : Patch
        The patch.
    place : HookedLayer
        Where its units are.
    mask : torch.Tensor of bool, shape (width,)
        Coordinates of its units.
    """

    patch: Patch
    place: HookedLayer
    mask: Bool[Tensor, " width"]

    def patched(
        self, own: Float[Tensor, "rows new width"], entries: Int[Tensor, "rows new"], table: Table
    ) -> Float[Tensor, "rows new width"]:
        """What tokens carry that get entries of a table."""
        given = table(self.place)[entries.clamp(min=0)].to(own)
        # Exact at both ends, and where both are equal.
        blended = torch.lerp(own, given, self.patch.weight)
        return torch.where((entries != NOTHING)[..., None] & self.mask, blended, own)

    def touches(
        self, own: Float[Tensor, "rows new width"], entries: Int[Tensor, "rows new"], table: Table
    ) -> Bool[Tensor, "rows new"]:
        """Whether tokens would carry something else."""
        if not bool((entries != NOTHING).any()):
            return torch.zeros_like(entries, dtype=torch.bool)
        return (self.patched(own, entries, table) != own).any(-1)


@dataclass(frozen=True)
class Live:
    """Prompts of which something has to be computed.

    Attributes
    ----------
    slots : torch.Tensor of int, shape (live,)
        Their numbers among the prompts of the patch, or of several patches.
    rows : torch.Tensor of int, shape (live,)
        Their numbers in the run.
    prompt, answer, led : torch.Tensor of int, shape (live, length) or (live, n_written)
        Entries of the donor for each token; -1 in phases that are left alone.
    first : torch.Tensor of int, shape (live,)
        First place of the prompt that changes; behind all if none does.
    weighs, writes : torch.Tensor of bool, shape (live,)
        Whether the logit difference may change, and the answer.
    apart : torch.Tensor of bool, shape (live,)
        Whether the led answer has to be read apart from the greedy one.
    """

    slots: Int[Tensor, " live"]
    rows: Int[Tensor, " live"]
    prompt: Int[Tensor, "live length"]
    answer: Int[Tensor, "live n_written"]
    led: Int[Tensor, "live n_written"]
    first: Int[Tensor, " live"]
    weighs: Bool[Tensor, " live"]
    writes: Bool[Tensor, " live"]
    apart: Bool[Tensor, " live"]

    def some(self, chosen: Int[Tensor, " some"]) -> Live:
        """Choose some of them."""
        return Live(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Live], sizes: Sequence[int]) -> Live:
        """Join those of several patches that are done on so many prompts each."""
        values = {
            each.name: torch.cat([getattr(part, each.name) for part in parts])
            for each in fields(cls)
        }
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0).to(values["slots"].device)
        counts = torch.tensor([len(part.rows) for part in parts]).to(offsets.device)
        return cls(**values | {"slots": values["slots"] + offsets.repeat_interleave(counts)})


@dataclass(frozen=True)
class Plan:
    """A patch, the prompts of the run that it is done on, and those that it changes."""

    blend: Blend
    rows: Int[Tensor, " rows"]
    live: Live


def check_patch(run: PromptRun, patch: Patch) -> None:
    """Refuse what cannot be done.

    Raises
    ------
    SaeflowError
        If a patch asks for a layer, unit, phase, weight or prompt that there is not, for activations
        that the run does not keep, or its donor was made for another run.
    """
    units = units_of(run.model, patch.kind)
    units.mask(patch.units)
    check_place(units.hook, patch.layer, run.n_layers, inside=True)
    run.kept(HookedLayer(units.hook, patch.layer))
    if patch.phase not in PHASES or not 0 <= patch.weight <= 1:
        raise SaeflowError(
            f"a patch has the phase {patch.phase!r} and the weight {patch.weight}; expected one of "
            f"{PHASES} and a weight of 0 to 1."
        )
    chosen = range(run.n_rows) if patch.rows is None else patch.rows
    if not len(chosen) or min(chosen) < 0 or max(chosen) >= run.n_rows:
        raise SaeflowError(
            f"a patch is to be done on the prompts {list(chosen)}; expected some of 0 to "
            f"{run.n_rows - 1}."
        )
    made_for = (*patch.donor.prompt_entry.shape, patch.donor.answer_entry.shape[1])
    expected = (run.n_rows, run.length, run.n_written)
    if made_for != expected:
        raise SaeflowError(
            f"a donor was made for prompts, their places and those of answers {made_for}; expected "
            f"{expected}, those of the run that is patched."
        )


def plan_patch(run: PromptRun, patch: Patch) -> Plan:
    """Find the prompts and tokens of which a patch changes something.

    Parameters
    ----------
    run : PromptRun
        The run that is patched.
    patch : Patch
        What is done to it.
    """
    donor, device = patch.donor, run.mask.device
    units = units_of(run.model, patch.kind)
    place = HookedLayer(units.hook, patch.layer)
    blend = Blend(patch, place, units.mask(patch.units).to(device))
    rows = torch.tensor(list(range(run.n_rows) if patch.rows is None else patch.rows)).to(device)
    prompt = _in_phase(patch, "prefill", donor.prompt_entry[rows])
    answer = _in_phase(patch, "decode", donor.answer_entry[rows])
    led = _in_phase(patch, "decode", donor.led_entry[rows])
    touched = blend.touches(run.kept(place)[rows], prompt, donor.prompt)
    if patch.layer == run.n_layers - 1:
        # No later token looks at what the last block writes.
        touched &= torch.arange(run.length, device=device) == run.final[rows, None]
    token = torch.arange(run.n_written, device=device)
    forced = token < run.n_forced[rows, None]
    # The last token of an answer is written, and not read.
    read = token < run.lengths[rows, None] - 1
    written = run.kept(place, answers=True)
    in_led = blend.touches(written[run.led[rows]], led, donor.answer) & forced
    in_answer = blend.touches(written[rows], answer, donor.answer) & read
    weighs = touched.any(1) | in_led.any(1)
    differs = (run.led[rows] != rows) | ((answer != led) & forced).any(1)
    every = Live(
        slots=torch.arange(len(rows), device=device),
        rows=rows,
        prompt=prompt,
        answer=answer,
        led=led,
        first=torch.where(touched.any(1), touched.int().argmax(1), run.length),
        weighs=weighs,
        writes=touched.any(1) | in_answer.any(1),
        apart=weighs & differs & forced.any(1),
    )
    return Plan(blend, rows, every.some((every.weighs | every.writes).nonzero()[:, 0]))


def _in_phase(patch: Patch, phase: str, entries: Int[Tensor, "rows new"]) -> Tensor:
    if patch.phase in (phase, "both"):
        return entries
    return torch.full_like(entries, NOTHING)


@dataclass(frozen=True)
class Blends:
    """Patches that some rows of a forward pass belong to.

    Attributes
    ----------
    blends : sequence of Blend
        Patches of one layer.
    number : torch.Tensor of int, shape (rows,)
        Which of them each row belongs to.
    """

    blends: Sequence[Blend]
    number: Int[Tensor, " rows"]

    def some(self, chosen: Int[Tensor, " some"]) -> Blends:
        """Choose some of the rows, in any order, perhaps several times."""
        return Blends(self.blends, self.number[chosen])

    def edits(self, entries: Int[Tensor, "rows new"], *, answers: bool) -> Edits:
        """By hook and layer, one function that changes each row as its patch says.

        Parameters
        ----------
        entries : torch.Tensor of shape (rows, new)
            Entries of their donors for the tokens that are read.
        answers : bool
            Whether these are tokens of answers.
        """
        places: dict[HookedLayer, dict[int, Int[Tensor, " _"]]] = {}
        for number in sorted(set(self.number.tolist())):
            where = (self.number == number).nonzero()[:, 0]
            if bool((entries[where] != NOTHING).any()):
                places.setdefault(self.blends[number].place, {})[number] = where
        return {place: self._edit(rows, entries, answers) for place, rows in places.items()}

    def _edit(
        self,
        rows: Mapping[int, Int[Tensor, " _"]],
        entries: Int[Tensor, "rows new"],
        answers: bool,
    ) -> Any:
        def edit(hidden: Tensor) -> Tensor:
            hidden = hidden.clone()
            for number, where in rows.items():
                blend, donor = self.blends[number], self.blends[number].patch.donor
                table = donor.answer if answers else donor.prompt
                hidden[where] = blend.patched(hidden[where], entries[where], table)
            return hidden

        return edit
