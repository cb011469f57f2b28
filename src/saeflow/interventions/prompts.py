"""A batch of prompts that a model has read and answered once, and what it carried meanwhile.

Activations come from such runs, and are put in place of those of others (`saeflow.interventions.
donors`, `saeflow.interventions.patching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.interventions.writing import Writer, padded
from saeflow.models.conventions import HookedLayer, check_place
from saeflow.models.hooks import listening, transformer_blocks
from saeflow.models.reader import Reader

PATCHED_HOOKS = ("attn_z", "attn_out", "mlp_out", "resid_post")
"""Hooks of all units (`saeflow.interventions.units`)."""


class PromptRun:
    """A batch of prompts that a model has read and answered once.

    Two answers of each prompt are kept: the greedy one, and the *led* one, which is made to begin
    with given tokens and goes on greedily. Where the greedy answer begins with them, it is both.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    rows : sequence of sequence of int
        Token ids of the prompts, none empty, of any lengths.
    max_new_tokens : int
        Longest greedy answer.
    forced : sequence of sequence of int, optional
        What the led answer to each prompt begins with, perhaps nothing; None: nothing.
    ends : sequence of int, optional
        Tokens that end an answer; None: those of the model's generation settings.
    vocabulary : int, optional
        Only tokens before this one are written; None: all.
    hooks : sequence of str
        What is kept: some of ``attn_z``, ``attn_out``, ``mlp_out`` and ``resid_post``.
    layers : sequence of int, optional
        Blocks of which it is kept; None: all. Memory grows with both.
    left_pad : bool
        On which side shorter prompts are padded; results do not depend on it.

    Attributes
    ----------
    mask : torch.Tensor of bool, shape (rows, length)
        Which places are tokens of prompts. This is the run's layout.
    begin, final : torch.Tensor of int, shape (rows,)
        Where each prompt begins, and its last token.
    activations : dict of HookedLayer to torch.Tensor of shape (rows, length, width)
        Of the prompts, in the run's layout; what padding has means nothing.
    answers : list of list of int
        Greedy answers, the end included where one is written in time.
    tokens : torch.Tensor of int, shape (tracks, n_written)
        All answers: greedy ones, row by row, then led ones that are not greedy.
    lengths : torch.Tensor of int, shape (tracks,)
        Their tokens.
    led : torch.Tensor of int, shape (rows,)
        Which track is the led answer to each prompt.
    n_forced : torch.Tensor of int, shape (rows,)
        How many tokens it was made to begin with.
    written : dict of HookedLayer to torch.Tensor of shape (tracks, n_written, width)
        What was carried while the answers' own tokens were read, the last one, too.

    Raises
    ------
    SaeflowError
        If a prompt is empty, does not fit the model's positions with its answer, `forced` has
        another number of rows, or a hook or layer does not exist.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        forced: Sequence[Sequence[int]] | None = None,
        ends: Sequence[int] | None = None,
        vocabulary: int | None = None,
        hooks: Sequence[str] = PATCHED_HOOKS,
        layers: Sequence[int] | None = None,
        left_pad: bool = True,
    ) -> None:
        self.model, self.max_new_tokens = model, max_new_tokens
        self.n_layers = len(transformer_blocks(model))
        self._writer = Writer(model, ends, vocabulary)
        self._forced = [list(each) for each in ([[]] * len(rows) if forced is None else forced)]
        self.n_written = max([max_new_tokens, *map(len, self._forced)])
        self._check_rows(rows)
        blocks = range(self.n_layers) if layers is None else layers
        self._kept = [HookedLayer(hook, layer) for hook in hooks for layer in blocks]
        for place in self._kept:
            check_place(place.hook, place.layer, self.n_layers, inside=True)
        ids, lengths = padded(rows, model.device, left=left_pad)
        self.begin = ids.shape[1] - lengths if left_pad else torch.zeros_like(lengths)
        self.final = self.begin + lengths - 1
        where = torch.arange(ids.shape[1], device=ids.device)
        self.mask = (where >= self.begin[:, None]) & (where <= self.final[:, None])
        self._read(ids)
        self._answer()

    @property
    def n_rows(self) -> int:
        """Prompts of the run."""
        return len(self.mask)

    @property
    def length(self) -> int:
        """Places of the run's layout: tokens of its longest prompt."""
        return self.mask.shape[1]

    def at(self, hook: str, layer: int) -> Float[Tensor, "rows length width"]:
        """Activations of the prompts by token, from 0, on whichever side they are padded.

        What is behind a prompt's last token means nothing.

        Raises
        ------
        SaeflowError
            If the run does not keep them.
        """
        found = self.kept(HookedLayer(hook, layer))
        where = self.begin[:, None] + torch.arange(self.length, device=found.device)
        every = torch.arange(self.n_rows, device=found.device)[:, None]
        return found[every, where.clamp(max=self.length - 1)]

    def kept(
        self, place: HookedLayer, *, answers: bool = False
    ) -> Float[Tensor, "rows length width"]:
        """Activations of prompts, in the run's layout, or of answers, by track.

        Raises
        ------
        SaeflowError
            If the run does not keep them.
        """
        if place not in self._kept:
            raise SaeflowError(
                f"the run does not keep the layer {place.layer} of {place.hook}; name it in hooks "
                "and layers."
            )
        return self.written[place] if answers else self.activations[place]

    def _check_rows(self, rows: Sequence[Sequence[int]]) -> None:
        if len(self._forced) != len(rows):
            raise SaeflowError(
                f"there are {len(rows)} prompts and tokens forced on {len(self._forced)}; expected "
                "as many."
            )
        lengths = [len(row) for row in rows]
        limit = int(self.model.config.max_position_embeddings) - self.n_written
        if not lengths or min(lengths) == 0 or max(lengths) > limit or self.max_new_tokens < 1:
            raise SaeflowError(
                f"the prompts take {lengths} positions and answers {self.max_new_tokens}; expected "
                f"prompts of 1 to {limit} and answers of 1 at least."
            )

    def _entrances(self) -> list[HookedLayer]:
        """Further places at which activations of the prompts are kept."""
        return []

    @torch.no_grad()
    def _read(self, ids: Int[Tensor, "rows length"]) -> None:
        """Read the prompts; keep the reader, which goes no further, and where answers begin."""
        self._reader = Reader(self.model, self.mask.long())
        self.activations = dict[HookedLayer, Tensor]()
        with _keeping(self.model, [*self._kept, *self._entrances()], self.activations):
            hidden = self._reader.read(self.model.get_input_embeddings()(ids)).last_hidden_state
        every = torch.arange(self.n_rows, device=ids.device)
        self._last: Float[Tensor, "rows d_in"] = hidden[every, self.final]

    @torch.no_grad()
    def _answer(self) -> None:
        """Write the answers, then read each track in one piece."""
        device = self.model.device
        first = self._writer.likeliest(self._last)
        self.answers = self._writer.go_on(self._reader.fork(), first, self.max_new_tokens)
        pairs = enumerate(zip(self.answers, self._forced, strict=True))
        away = [row for row, (answer, lead) in pairs if answer[: len(lead)] != lead]
        self.led = torch.arange(self.n_rows, device=device)
        tracks = self.led.clone()
        if away:
            tracks = torch.cat([tracks, torch.tensor(away, device=device)])
            self.led[away] = torch.arange(self.n_rows, len(tracks), device=device)
        self.n_forced = torch.tensor([len(lead) for lead in self._forced], device=device)
        self.tokens, self.lengths = padded([*self.answers, *self._lead(away)], device)
        spare = self.n_written - self.tokens.shape[1]
        self.written = dict[HookedLayer, Tensor]()
        with _keeping(self.model, self._kept, self.written):
            reader = self._reader.fork(rows=tracks)
            hidden = self._writer.read(reader, self.tokens, self.lengths)
        # Where a token is read from, for every token of a track: the place before it.
        hidden = torch.cat([self._last[tracks][:, None], hidden], dim=1)
        self._deciding: Float[Tensor, "rows d_in"] = hidden[self.led, self.n_forced]
        self.tokens = torch.nn.functional.pad(self.tokens, (0, spare))
        for place, values in self.written.items():
            self.written[place] = torch.nn.functional.pad(values, (0, 0, 0, spare))

    def _lead(self, away: Sequence[int]) -> list[list[int]]:
        """Led answers to some prompts."""
        if not away:
            return []
        forced = [self._forced[row] for row in away]
        ids, lengths = padded(forced, self.model.device)
        reader = self._reader.fork(rows=torch.tensor(away, device=self.model.device))
        hidden = self._writer.read(reader, ids, lengths)
        every = torch.arange(len(away), device=lengths.device)
        first = self._writer.likeliest(hidden[every, lengths - 1])
        limit = max(1, self.n_written - min(map(len, forced)))
        further = self._writer.go_on(reader, first, limit)
        pairs = zip(forced, further, strict=True)
        return [[*lead, *rest][: self.n_written] for lead, rest in pairs]


def _keeping(
    model: PreTrainedModel, places: Sequence[HookedLayer], kept: dict[HookedLayer, Tensor]
) -> AbstractContextManager[None]:
    """Listen at places within a ``with`` block, and keep what one forward pass carries there."""
    sites: dict[str, list[int]] = {}
    for place in dict.fromkeys(places):
        sites.setdefault(place.hook, []).append(place.layer)

    def keep(hook: str, layer: int, hidden: Tensor) -> None:
        kept[HookedLayer(hook, layer)] = hidden

    return listening(model, sites, keep)
