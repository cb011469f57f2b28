"""Where patched activations come from, token by token."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.prompts import PromptRun
from saeflow.models.conventions import HookedLayer

Table = Callable[[HookedLayer], Float[Tensor, "entries width"]]
"""Gives all activations of a place that tokens may get."""
NOTHING = -1
"""Entry of a token that keeps its own activations."""


@dataclass(frozen=True)
class Donor:
    """For every token of a run, the activations that it would get.

    It holds numbers of tokens, not activations: these stay in the run that they come from, so many
    donors take no memory.

    Attributes
    ----------
    prompt_entry : torch.Tensor of int, shape (rows, length)
        Entry of `prompt` for each place of the prompts, in the layout of the run that is patched;
        -1 where nothing is written.
    answer_entry, led_entry : torch.Tensor of int, shape (rows, n_written)
        Entry of `answer` for each token of the greedy answer, and of one that is led.
    prompt, answer : callable
        Give a table of activations by place.
    """

    prompt_entry: Int[Tensor, "rows length"]
    answer_entry: Int[Tensor, "rows n_written"]
    led_entry: Int[Tensor, "rows n_written"]
    prompt: Table
    answer: Table

    @property
    def at(self) -> Bool[Tensor, "rows length"]:
        """Which places of the prompts are written, in the run's layout."""
        return self.prompt_entry != NOTHING

    @classmethod
    def aligned(
        cls,
        run: PromptRun,
        other: PromptRun,
        pairs: Sequence[Sequence[tuple[int, int]]],
        rows: Sequence[int] | None = None,
    ) -> Donor:
        """Tokens of a run get what tokens of another run carry that are named for each.

        Token number t of an answer gets what the other run's answer carries at its token number t,
        and what it carries at its last token from there on; a led answer gets it from a led one.

        Parameters
        ----------
        run : PromptRun
            The run that is patched.
        other : PromptRun
            Where activations come from; perhaps the same.
        pairs : sequence of sequence of (int, int)
            For each row of `run`, tokens of the other prompt and of its own, from 0, as
            `saeflow.models.alignment.align_prompts` gives them.
        rows : sequence of int, optional
            For each row of `run`, the row of `other`; None: the same number.

        Raises
        ------
        SaeflowError
            If rows or tokens do not exist, or a token is to get two activations.
        """
        source = _source_rows(run, other, rows)
        if len(pairs) != run.n_rows:
            raise SaeflowError(
                f"tokens of {len(pairs)} prompts are aligned; expected those of {run.n_rows}."
            )
        triples = [(row, *pair) for row, each in enumerate(pairs) for pair in each]
        row, there, here = (
            torch.tensor(triples, dtype=torch.long).reshape(-1, 3).T.to(source.device)
        )
        _check_tokens(run, row, here)
        _check_tokens(other, source[row], there)
        if len({(each[0], each[2]) for each in triples}) < len(triples):
            raise SaeflowError(
                "a token is aligned with two tokens of the other prompt; expected one at most."
            )
        entry = torch.full_like(run.mask, NOTHING, dtype=torch.long)
        entry[row, run.begin[row] + here] = _prompt_entries(other, source[row], there)
        answer, led = (_answer_entries(run, other, each) for each in (source, other.led[source]))
        return cls(entry, answer, led, _prompts_of(other), _answers_of(other))

    @classmethod
    def published(
        cls, run: PromptRun, other: PromptRun, rows: Sequence[int] | None = None
    ) -> Donor:
        """Return the published form, in which the same numbers of tokens belong together.

        Token i of the prompt gets what token i of the other prompt carries, whatever they are, as
        far as both reach; every token of an answer gets what the other prompt's token 0 carries
        (methods/4, sections 5.3 and 5.6, points 2 and 3).

        Parameters
        ----------
        run, other, rows
            As for `aligned`.

        Raises
        ------
        SaeflowError
            If rows do not exist.
        """
        source = _source_rows(run, other, rows)
        count = torch.minimum(_lengths(run), _lengths(other)[source])
        token = torch.arange(run.length, device=source.device) - run.begin[:, None]
        there = _prompt_entries(other, source[:, None], token)
        inside = (token >= 0) & (token < count[:, None])
        entry = torch.where(inside, there, torch.full_like(there, NOTHING))
        first = _prompt_entries(other, source, torch.zeros_like(source))
        answers = first[:, None].expand(-1, run.n_written)
        return cls(entry, answers, answers, _prompts_of(other), _prompts_of(other))

    @classmethod
    def mean(
        cls,
        run: PromptRun,
        other: PromptRun,
        keys: Sequence[Sequence[Hashable]],
        other_keys: Sequence[Sequence[Hashable]],
        rows: Sequence[int] | None = None,
    ) -> Donor:
        """Tokens of a run get the mean of what tokens of the same key carry in another run.

        Token number t of an answer gets the mean over what answers of the other run carry at their
        token number t, or at their last one.

        Parameters
        ----------
        run : PromptRun
            The run that is patched.
        other : PromptRun
            Over which means are taken; perhaps the same.
        keys, other_keys : sequence of sequence of hashable
            What each token of each prompt is, as `saeflow.models.alignment.prompt_keys` says; a
            token whose key is not in the other run keeps its own activations.
        rows : sequence of int, optional
            Rows of `other` over which means are taken; None: all.

        Raises
        ------
        SaeflowError
            If a row does not exist, or there is not one key per token.
        """
        device = run.mask.device
        chosen = _known_rows(other, range(other.n_rows) if rows is None else rows).to(device)
        _check_keys(run, keys)
        _check_keys(other, other_keys)
        numbers: dict[Hashable, int] = {}
        for row in chosen.tolist():
            for key in other_keys[row]:
                numbers.setdefault(key, len(numbers))
        entry = _by_token(run, keys, numbers)
        group = _by_token(other, other_keys, numbers)[chosen].flatten()
        tracks = [chosen] if torch.equal(other.led[chosen], chosen) else [chosen, other.led[chosen]]
        token = torch.arange(run.n_written, device=device).expand(run.n_rows, -1)

        def prompt(place: HookedLayer) -> Tensor:
            return _means(other.kept(place)[chosen].flatten(0, 1), group, len(numbers))

        def answer(place: HookedLayer) -> Tensor:
            table = _answers_of(other)(place)
            entries = [_answer_entries(run, other, each) for each in tracks]
            return torch.cat([table[each].float().mean(0) for each in entries]).to(table.dtype)

        led = token + run.n_written * (len(tracks) - 1)
        return cls(entry, token, led, prompt, answer)


def _known_rows(run: PromptRun, rows: Sequence[int]) -> Int[Tensor, " _"]:
    if not len(rows) or min(rows) < 0 or max(rows) >= run.n_rows:
        raise SaeflowError(
            f"the rows {list(rows)} of a run were asked for; expected some of 0 to "
            f"{run.n_rows - 1}."
        )
    return torch.tensor(list(rows), dtype=torch.long)


def _source_rows(
    run: PromptRun, other: PromptRun, rows: Sequence[int] | None
) -> Int[Tensor, " rows"]:
    source = _known_rows(other, range(other.n_rows) if rows is None else rows)
    if len(source) != run.n_rows:
        raise SaeflowError(
            f"activations of {len(source)} prompts were given for {run.n_rows} prompts; expected "
            "as many."
        )
    return source.to(run.mask.device)


def _lengths(run: PromptRun) -> Int[Tensor, " rows"]:
    """Tokens of each prompt."""
    return run.final - run.begin + 1


def _check_tokens(run: PromptRun, rows: Int[Tensor, " some"], tokens: Int[Tensor, " some"]) -> None:
    wrong = ((tokens < 0) | (tokens >= _lengths(run)[rows])).nonzero()[:, 0]
    if len(wrong):
        row = int(rows[wrong[0]])
        raise SaeflowError(
            f"there is no token {int(tokens[wrong[0]])} in the prompt {row}; expected 0 to "
            f"{int(_lengths(run)[row]) - 1}."
        )


def _check_keys(run: PromptRun, keys: Sequence[Sequence[Hashable]]) -> None:
    counts, expected = [len(each) for each in keys], _lengths(run).tolist()
    if counts != expected:
        raise SaeflowError(
            f"the keys of prompts are {counts} in number; expected one per token, {expected}."
        )


def _by_token(
    run: PromptRun, keys: Sequence[Sequence[Hashable]], numbers: dict[Hashable, int]
) -> Int[Tensor, "rows length"]:
    """Number of each token's key, in the run's layout; -1 where it has none."""
    found = torch.full(run.mask.shape, NOTHING)
    flat = [numbers.get(key, NOTHING) for each in keys for key in each]
    found[run.mask.cpu()] = torch.tensor(flat, dtype=torch.long)
    return found.to(run.mask.device)


def _means(
    values: Float[Tensor, "tokens width"], group: Int[Tensor, " tokens"], n_groups: int
) -> Float[Tensor, "groups width"]:
    """Mean of each group, float32 within; tokens of no group count nowhere."""
    some = group != NOTHING
    total = values.new_zeros(n_groups, values.shape[1], dtype=torch.float32)
    total.index_add_(0, group[some], values[some].float())
    count = torch.bincount(group[some], minlength=n_groups)
    return (total / count[:, None]).to(values.dtype)


def _prompt_entries(
    run: PromptRun, rows: Int[Tensor, "*#some"], tokens: Int[Tensor, "*#some"]
) -> Int[Tensor, "*some"]:
    """Numbers that tokens of prompts have in a table of all of them."""
    found: Tensor = rows * run.length + run.begin[rows] + tokens
    return found


def _answer_entries(
    run: PromptRun, other: PromptRun, tracks: Int[Tensor, " rows"]
) -> Int[Tensor, "rows n_written"]:
    """Numbers that tokens of answers have in a table of all of them; the last one is repeated."""
    token = torch.arange(run.n_written, device=tracks.device)
    last = other.lengths[tracks][:, None] - 1
    found: Tensor = tracks[:, None] * other.n_written + torch.minimum(token, last)
    return found


def _prompts_of(run: PromptRun) -> Table:
    return lambda place: run.kept(place).flatten(0, 1)


def _answers_of(run: PromptRun) -> Table:
    return lambda place: run.kept(place, answers=True).flatten(0, 1)
