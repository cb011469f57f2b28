"""Interventions while a model reads texts, and what it then expects to come next.

A run reads a batch of texts once. Conditions resume from what it kept: neither the blocks before the
first edited layer nor the tokens before the first that an edit changes are computed again, and texts
in which it changes nothing not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.interventions.edits import Edit
from saeflow.interventions.readings import ChangedReadings, Readings, TextOutcome, cut
from saeflow.models.conventions import HookedLayer, check_place
from saeflow.models.hooks import editing, listening, transformer_blocks
from saeflow.models.reader import Reader

WAITING = 4
"""Edited texts wait until so many forward passes are full, and those whose first changed tokens are
near each other then go together."""


@dataclass(frozen=True)
class TextCondition:
    """What is done in one intervention.

    Attributes
    ----------
    edits : mapping of HookedLayer to Edit
        One or several; none gives the run itself again. The first, in the model's order, must be
        at a place that the run keeps.
    tokens : torch.Tensor of bool, shape (texts, length), optional
        Which tokens of the run are edited; None: all.
    texts : torch.Tensor of int, shape (rows,), optional
        Texts of the run that it is done on; None: all.
    """

    edits: Mapping[HookedLayer, Edit]
    tokens: Bool[Tensor, "texts length"] | None = None
    texts: Int[Tensor, " rows"] | None = None


class TextRun:
    """A batch of texts that a model has read once.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model; what conditions do to it is undone behind each.
    texts : sequence of sequence of int
        Token ids, none empty. Texts of similar length waste least.
    keep : sequence of HookedLayer, optional
        Where conditions may start; None: everywhere. Memory grows with it.
    at : torch.Tensor of bool, shape (texts, length), optional
        Behind which tokens the next is read; None: the last of each text.
    targets : torch.Tensor of int, shape (readings,), optional
        Token whose log-probability is followed, one per reading, text by text; None: the likeliest
        without any edit.

    Attributes
    ----------
    mask : torch.Tensor of bool, shape (texts, length)
        Which places are tokens; shorter texts end in padding.
    activations : dict of HookedLayer to torch.Tensor of shape (texts, length, d_in)
        Without any edit; what padding has means nothing.
    clean : Readings
        What is expected without any edit.

    Raises
    ------
    SaeflowError
        If a text is empty or does not fit the model's positions, or `keep`, `at` or `targets` ask
        for what there is not.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        texts: Sequence[Sequence[int]],
        *,
        keep: Sequence[HookedLayer] | None = None,
        at: Bool[Tensor, "texts length"] | None = None,
        targets: Int[Tensor, " _"] | None = None,
    ) -> None:
        self.model = model
        blocks = range(len(transformer_blocks(model)))
        # In the model's order: the index is the number of blocks that are done there.
        self._places = [HookedLayer("embed", 0), *(HookedLayer("resid_post", n) for n in blocks)]
        self._places.append(HookedLayer("final_norm", 0))
        ids, self.mask = _padded(model, texts)
        kept = self._places if keep is None else list(keep)
        self._check_places(kept)
        if at is None:
            at = _positions(self.mask) == self.mask.sum(1, keepdim=True) - 1
        at = at.to(model.device)
        if at.shape != self.mask.shape or bool((at & ~self.mask).any()):
            raise SaeflowError(
                f"at has the shape {tuple(at.shape)} or marks padding; expected marks at tokens of "
                f"texts of the shape {tuple(self.mask.shape)}."
            )
        hidden = self._read(ids, kept)
        self.clean = self._expected(at, hidden, targets)

    def outcomes(
        self, conditions: Sequence[TextCondition], *, rows: int = 32, expected: bool = False
    ) -> Iterator[tuple[int, TextOutcome]]:
        """Do each intervention by itself, many in one forward pass.

        Parameters
        ----------
        conditions : sequence of TextCondition
            Those whose first edit is at the same place share forward passes.
        rows : int
            Texts times conditions per forward pass; memory grows with it and not with the number
            of conditions.
        expected : bool
            Whether to give the log-probabilities of all tokens, too.

        Yields
        ------
        number : int
            Which condition; they come ordered by the place of their first edit.
        TextOutcome
            What it did.

        Raises
        ------
        SaeflowError
            If a condition edits a place that there is not, or starts where the run keeps nothing.
        """
        starts = [self._start(condition) for condition in conditions]
        order = sorted(range(len(conditions)), key=starts.__getitem__)
        for start, group in groupby(order, key=starts.__getitem__):
            waiting: dict[int, _Edited] = {}
            for number in group:
                waiting[number] = self._edit(conditions[number], start)
                if sum(len(each.live) for each in waiting.values()) >= WAITING * rows:
                    yield from self._finish(waiting, start, rows, expected)
                    waiting = {}
            if waiting:
                yield from self._finish(waiting, start, rows, expected)

    def _check_places(self, places: Sequence[HookedLayer]) -> None:
        for place in places:
            check_place(place.hook, place.layer, len(self._places) - 2)

    def _start(self, condition: TextCondition) -> int:
        """Number of the first edited place; of none, the one behind all."""
        self._check_places(list(condition.edits))
        start = min(map(self._places.index, condition.edits), default=len(self._places))
        if condition.edits and self._places[start] not in self.activations:
            place = self._places[start]
            raise SaeflowError(
                f"a condition starts at the layer {place.layer} of {place.hook}, which the run "
                "does not keep; name it in keep."
            )
        return start

    @torch.no_grad()
    def _read(
        self, ids: Int[Tensor, "texts length"], places: Sequence[HookedLayer]
    ) -> Float[Tensor, "texts length d_in"]:
        """Read the texts and keep what conditions resume from."""
        # Nothing real looks at padding behind it, so no mask is needed that would slow attention.
        reader = Reader(self.model, torch.ones_like(ids))
        self.activations: dict[HookedLayer, Tensor] = {}
        sites: dict[str, list[int]] = {}
        for place in dict.fromkeys(places):
            sites.setdefault(place.hook, []).append(place.layer)

        def keep(hook: str, layer: int, hidden: Tensor) -> None:
            self.activations[HookedLayer(hook, layer)] = hidden

        with listening(self.model, sites, keep):
            hidden: Tensor = reader.read(self.model.get_input_embeddings()(ids)).last_hidden_state
        first = min(map(self._places.index, places), default=len(self._places))
        self._reader = reader.fork(first_block=first) if first else reader
        return hidden

    @torch.no_grad()
    def _expected(
        self,
        at: Bool[Tensor, "texts length"],
        hidden: Float[Tensor, "texts length d_in"],
        targets: Int[Tensor, " _"] | None,
    ) -> Readings:
        return Readings(self.model, at, hidden[at], targets)

    # Not on the generator above, whose caller would compute without gradients between outcomes.
    @torch.no_grad()
    def _edit(self, condition: TextCondition, start: int) -> _Edited:
        """Do the first edit, and find the texts and tokens that must be read again."""
        texts = torch.arange(len(self.mask), device=self.model.device)
        texts = texts if condition.texts is None else condition.texts
        tokens = self.mask if condition.tokens is None else condition.tokens & self.mask
        tokens = tokens[texts]
        if not condition.edits:
            none, nothing = texts[:0], self.clean.expected.new_empty(0, 0, 0)
            return _Edited(condition, texts, tokens[:0], none, none, nothing)
        place = self._places[start]
        before = self.activations[place][texts]
        hidden = _edited(condition.edits[place], before, tokens, texts)
        touched = (hidden != before).any(-1)
        if len(condition.edits) > 1:
            touched |= tokens
        first = touched.int().argmax(1)
        behind = self.clean.at[texts] & (_positions(tokens) >= first[:, None])
        live = (touched.any(1) & behind.any(1)).nonzero()[:, 0]
        return _Edited(condition, texts, tokens[live], first[live], live, hidden[live])

    @torch.no_grad()
    def _finish(
        self, waiting: Mapping[int, _Edited], start: int, rows: int, with_expected: bool
    ) -> list[tuple[int, TextOutcome]]:
        """Read on from first edits, so many rows in one forward pass."""
        batch = _Batch(list(waiting.values()))
        found = ChangedReadings(self.clean, batch.all_texts, with_expected)
        if len(batch.texts):
            for part in cut(batch.first.argsort(stable=True), rows):
                self._read_on(batch, part, start, found)
        sizes = [int(self.clean.at[each.texts].sum()) for each in waiting.values()]
        return list(zip(waiting, found.outcomes(sizes), strict=True))

    def _read_on(
        self, batch: _Batch, part: Int[Tensor, " rows"], start: int, found: ChangedReadings
    ) -> None:
        texts, first = batch.texts[part], batch.first[part]
        at = self.clean.at[texts] & (_positions(self.mask) >= first[:, None])
        begin, end = int(first.min()), int(at.any(0).nonzero().max()) + 1
        span = slice(begin, end)
        reader = self._reader.fork(begin, texts, first_block=start)
        later = batch.edits_at(self._places[start + 1 :], part, span)
        with editing(self.model, later):
            edited = batch.hidden[part, span]
            hidden = reader.resume(edited, start, self._reader, texts, wanted=at[:, span])
        found.fill(hidden[at[:, span]], found.slots[batch.rows[part]][at])


@dataclass(frozen=True)
class _Edited:
    """A condition behind its first edit.

    Attributes
    ----------
    texts : torch.Tensor of int, shape (rows,)
        Those of the condition.
    tokens : torch.Tensor of bool, shape (live, length)
        What it edits.
    first : torch.Tensor of int, shape (live,)
        First token that may carry something else.
    live : torch.Tensor of int, shape (live,)
        Rows in which a reading may change.
    hidden : torch.Tensor of shape (live, length, d_in)
        What is at the place of the first edit.
    """

    condition: TextCondition
    texts: Int[Tensor, " rows"]
    tokens: Bool[Tensor, "live length"]
    first: Int[Tensor, " live"]
    live: Int[Tensor, " live"]
    hidden: Float[Tensor, "live _ d_in"]


class _Batch:
    """Live rows of several conditions, one after the other."""

    def __init__(self, parts: Sequence[_Edited]) -> None:
        self._conditions = [each.condition for each in parts]
        offsets = torch.tensor([0, *(len(each.texts) for each in parts[:-1])]).cumsum(0).tolist()
        pairs = list(zip(offsets, parts, strict=True))
        self.all_texts = torch.cat([each.texts for each in parts])
        self.rows = torch.cat([offset + each.live for offset, each in pairs])
        self.texts = self.all_texts[self.rows]
        self.first = torch.cat([each.first for each in parts])
        self.hidden = torch.cat([each.hidden for each in parts])
        self._tokens = torch.cat([each.tokens for each in parts])
        lengths = torch.tensor([len(each.live) for each in parts], device=self.rows.device)
        self._number = torch.arange(len(parts), device=lengths.device).repeat_interleave(lengths)

    def edits_at(
        self, places: Sequence[HookedLayer], part: Int[Tensor, " rows"], span: slice
    ) -> dict[tuple[str, int], Callable[[Tensor], Tensor]]:
        """By hook and layer, one function that edits some of the rows as their conditions say."""
        wanted = {place for each in self._conditions for place in each.edits}
        return {place: self._edit(place, part, span) for place in places if place in wanted}

    def _edit(
        self, place: HookedLayer, part: Int[Tensor, " rows"], span: slice
    ) -> Callable[[Tensor], Tensor]:
        def edit(hidden: Tensor) -> Tensor:
            hidden = hidden.clone()
            for number, condition in enumerate(self._conditions):
                if place in condition.edits:
                    rows = (self._number[part] == number).nonzero()[:, 0]
                    tokens, texts = self._tokens[part[rows], span], self.texts[part[rows]]
                    change = condition.edits[place]
                    hidden[rows] = _edited(change, hidden[rows], tokens, texts)
            return hidden

        return edit


def _edited(
    edit: Edit,
    hidden: Float[Tensor, "rows length d_in"],
    tokens: Bool[Tensor, "rows length"],
    texts: Int[Tensor, " rows"],
) -> Float[Tensor, "rows length d_in"]:
    """Activations of which those of some tokens are edited."""
    x = hidden[tokens]
    hidden = hidden.clone()
    if len(x):
        hidden[tokens] = edit(x, texts[:, None].expand_as(tokens)[tokens])
    return hidden


def _padded(
    model: PreTrainedModel, texts: Sequence[Sequence[int]]
) -> tuple[Int[Tensor, "texts length"], Bool[Tensor, "texts length"]]:
    """Ids, shorter texts followed by whatever token has the number 0, and which are the texts'."""
    lengths = torch.tensor([len(text) for text in texts])
    limit = int(model.config.max_position_embeddings)
    if not len(lengths) or int(lengths.min()) == 0 or int(lengths.max()) > limit:
        raise SaeflowError(
            f"the texts take {lengths.tolist()} positions; expected some texts of 1 to {limit}."
        )
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.zeros(mask.shape, dtype=torch.long)
    ids[mask] = torch.tensor([token for text in texts for token in text])
    return ids.to(model.device), mask.to(model.device)


def _positions(mask: Bool[Tensor, "texts length"]) -> Int[Tensor, "1 length"]:
    return torch.arange(mask.shape[1], device=mask.device)[None]
