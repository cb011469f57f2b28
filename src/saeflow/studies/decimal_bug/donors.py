"""Prompts whose activations are put in place of others', and how their tokens correspond.

A donor is named for what its prompt is. Tokens of the same pair correspond where numbers have the
same value; those of another pair where they have the same place (methods/4, section 5.6).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from saeflow.datasets.comparisons.formats import GIVEN
from saeflow.datasets.comparisons.pairs import PUBLISHED_ITEM
from saeflow.datasets.comparisons.prompts import FIELDS, Prompt
from saeflow.datasets.generated import generate_problems
from saeflow.errors import SaeflowError
from saeflow.interventions.donors import Donor, Table
from saeflow.interventions.patching import PatchRun
from saeflow.interventions.prompts import PromptRun
from saeflow.interventions.units import Units
from saeflow.models.alignment import BEGIN, Key, Numbers, align_prompts, prompt_keys
from saeflow.models.candidates import candidate_tokens
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import HookedLayer
from saeflow.seeds import derive_seed
from saeflow.studies.decimal_bug.bug import is_prone
from saeflow.studies.decimal_bug.names import (
    BUGGY,
    FORMS,
    IDENTITY,
    MEAN,
    OTHER_PAIR,
    OWN,
    PLAIN,
    SAME_PAIR,
    WORD_PROBLEM,
)

_LARGEST_NUMBER = 100
_STEP_WEIGHTS = (1, 1, 0, 0)


class Asked(NamedTuple):
    """Prompts of one format that a model has read and answered.

    Attributes
    ----------
    prompts : list of Prompt
        One per pair.
    keys : list of list of tuple
        What their tokens are (`saeflow.models.alignment.prompt_keys`).
    run : PatchRun
        What the model carried.
    """

    prompts: list[Prompt]
    keys: list[list[Key]]
    run: PatchRun


def prone_prompts(prompts: Sequence[Prompt], half: str, count: int) -> dict[str, list[Prompt]]:
    """Ask about the first prone pairs of a half, in the buggy and in the plain format.

    Pairs are not chosen by how they are answered, so that a share of right answers is one of all.

    Parameters
    ----------
    prompts : sequence of Prompt
        What can be asked.
    half : str
        ``choose`` or ``report``.
    count : int
        Most pairs.

    Returns
    -------
    dict of str to list of Prompt
        By ``buggy`` and ``plain``, the same pairs in the same order, numbers as they were drawn.

    Raises
    ------
    SaeflowError
        If the half has no prone pair in one of both formats.
    """
    found: dict[str, dict[int, Prompt]] = {form: {} for form in FORMS}
    for each in prompts:
        for form, name in FORMS.items():
            if is_prone(each) and (each.half, each.form, each.order) == (half, name, GIVEN):
                found[form][each.item] = each
    items = [item for item in found[BUGGY] if item in found[PLAIN]][:count]
    if not items:
        raise SaeflowError(
            f"the half {half} has no prone pair in the formats {' and '.join(FORMS.values())}; "
            "expected one at least."
        )
    return {form: [each[item] for item in items] for form, each in found.items()}


def own_prompts(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Ask about the study's own pair, as `prone_prompts` asks about others.

    Raises
    ------
    SaeflowError
        If it is not among the prompts in both formats.
    """
    own = {
        each.form: each for each in prompts if (each.item, each.order) == (PUBLISHED_ITEM, GIVEN)
    }
    if not {*FORMS.values()} <= own.keys():
        raise SaeflowError(
            "the study's own pair is not among the prompts in the formats "
            f"{' and '.join(FORMS.values())}; expected it in both."
        )
    return {form: [own[name]] for form, name in FORMS.items()}


def other_pairs(
    asked: Mapping[str, Sequence[Prompt]], keys: Mapping[str, Sequence[Sequence[Key]]], seed: int
) -> list[int]:
    """Choose for each pair another one whose tokens can be put in place of its own.

    It has no number in common with the pair, and as many tokens in each number and in the adjective.
    Its bigger number comes in the other place, so that a model that copies which place the donor's
    answer had is wrong and cannot pass for one that got rid of the bug. Where no pair is like that,
    one whose bigger number has the same place is taken, and the log tells. Of several the same
    adjective is preferred.

    Parameters
    ----------
    asked : mapping of str to sequence of Prompt
        As `prone_prompts` gives them.
    keys : mapping of str to sequence of sequence of tuple
        What their tokens are.
    seed : int
        Seed of the choice.

    Returns
    -------
    list of int
        For each pair the number of the other one.

    Raises
    ------
    SaeflowError
        If there is none.
    """
    pairs = asked[BUGGY]
    shapes = [
        tuple(_tokens_of_fields(keys[form][row]) for form in FORMS) for row in range(len(pairs))
    ]
    chosen, alike = [], 0
    for row, pair in enumerate(pairs):
        candidates = [
            (_place(other) == _place(pair), other.adjective != pair.adjective, drawn, number)
            for number, other in enumerate(pairs)
            if shapes[number] == shapes[row] and not _numbers(pair) & _numbers(other)
            for drawn in [derive_seed(seed, "decimal_bug", "other pair", pair.item, other.item)]
        ]
        if not candidates:
            raise SaeflowError(
                f"pair {pair.item} has no other prone pair of the half {pair.half} beside it whose "
                "numbers and adjective take as many tokens and are not its own; ask for more pairs."
            )
        same_place, *_, number = min(candidates)
        alike += same_place
        chosen.append(number)
    if alike:
        logging.getLogger("saeflow").info(
            "%d of %d pairs of the half %s get another pair whose bigger number has the same place, "
            "because the tokenizer leaves none where it has the other one",
            alike,
            len(pairs),
            pairs[0].half,
        )
    return chosen


@dataclass(frozen=True)
class HalfRuns:
    """What a model carried while it answered prompts about the pairs of one half.

    Attributes
    ----------
    model : CodiModel
        The model.
    asked : dict of str to Asked
        By ``buggy`` and ``plain``; the same pairs in the same order.
    others : list of int
        For each pair the number of another one (`other_pairs`); the study's own has only itself.
    problems : PromptRun
        As many word problems.
    """

    model: CodiModel
    asked: dict[str, Asked]
    others: list[int]
    problems: PromptRun

    @classmethod
    def read(
        cls,
        model: CodiModel,
        prompts: Sequence[Prompt],
        half: str,
        *,
        pairs: int,
        max_new_tokens: int,
        seed: int,
    ) -> HalfRuns:
        """Read and answer the prompts of one half, and word problems.

        Parameters
        ----------
        model : CodiModel
            The model; it answers without latent thoughts.
        prompts : sequence of Prompt
            What can be asked.
        half : str
            ``choose`` or ``report``; or ``own``, of the study's own pair.
        pairs : int
            Most pairs.
        max_new_tokens : int
            Longest answer.
        seed : int
            Seed of the other pairs and of the word problems.

        Raises
        ------
        SaeflowError
            As `prone_prompts`, `own_prompts` and `other_pairs` do.
        """
        own = half == OWN
        chosen = own_prompts(prompts) if own else prone_prompts(prompts, half, pairs)
        keys = {
            form: [prompt_keys(model.tokenizer, each) for each in some]
            for form, some in chosen.items()
        }
        asked = {}
        for form, some in chosen.items():
            candidates = [
                candidate_tokens(model.tokenizer, each.text, each.truth, each.other)
                for each in some
            ]
            run = PatchRun.of(model, candidates, max_new_tokens=max_new_tokens)
            asked[form] = Asked(some, keys[form], run)
        questions = _word_problems(len(chosen[BUGGY]), derive_seed(seed, "decimal_bug", half))
        problems = PromptRun(
            model.language_model,
            [list(model.tokenizer(question)["input_ids"]) for question in questions],
            max_new_tokens=max_new_tokens,
            ends=[model.tokenizer.eos_token_id],
            vocabulary=model.tokens.end,
        )
        others = [0] if own else other_pairs(chosen, keys, seed)
        return cls(model, asked, others, problems)

    def donor(self, recipient: str, name: str, means: HalfRuns) -> Donor:
        """Return what each prompt of a format gets.

        Parameters
        ----------
        recipient : str
            ``buggy`` or ``plain``: the prompts that are patched.
        name : str
            ``same_pair_plain``, ``same_pair_buggy``, ``other_pair_plain``, ``other_pair_buggy``,
            ``mean_plain``, ``mean_buggy``, ``word_problem`` or ``identity``.
        means : HalfRuns
            Over whose prompts means are taken.
        """
        target = self.asked[recipient]
        if name == WORD_PROBLEM:
            pairs = [self._from_the_end(row, keys) for row, keys in enumerate(target.keys)]
            return Donor.aligned(target.run, self.problems, pairs)
        kind, form = _kind_and_form(name, recipient)
        if kind == MEAN:
            over = means.asked[form]
            return Donor.mean(target.run, over.run, target.keys, over.keys)
        source = self.asked[form]
        rows, numbers = self._rows(kind), _NUMBERS[kind]
        pairs = [
            align_prompts(self.model.tokenizer, source.prompts[row], own, numbers=numbers)
            for row, own in zip(rows, target.prompts, strict=True)
        ]
        return Donor.aligned(target.run, source.run, pairs, rows)

    def published(self, recipient: str, name: str) -> Donor:
        """Return the published form of a donor: token i gets what token i has, whatever they are."""
        kind, form = _kind_and_form(name, recipient)
        return Donor.published(self.asked[recipient].run, self.asked[form].run, self._rows(kind))

    def numbers(self, name: str) -> list[frozenset[str]]:
        """Tell the numbers of each donor's pair; none of word problems and means."""
        kind, _ = _kind_and_form(name, "")
        if kind not in _NUMBERS:
            return [frozenset()] * len(self.others)
        return [_numbers(self.asked[BUGGY].prompts[row]) for row in self._rows(kind)]

    def _rows(self, kind: str) -> list[int]:
        return self.others if kind == OTHER_PAIR else list(range(len(self.others)))

    def _from_the_end(self, row: int, keys: Sequence[Key]) -> list[tuple[int, int]]:
        """Last token with last, as far as both go; the begin of text is left alone."""
        begins = int(keys[0] == (BEGIN,))
        count = min(self._n_tokens[row], len(keys)) - begins
        return [(self._n_tokens[row] - back, len(keys) - back) for back in range(count, 0, -1)]

    @cached_property
    def _n_tokens(self) -> list[int]:
        lengths: list[int] = self.problems.mask.sum(1).tolist()
        return lengths


def exchanged(donor: Donor, units: Units, order: Sequence[int]) -> Donor:
    """Give each unit what another one carries in the donor.

    Parameters
    ----------
    donor : Donor
        Where activations come from.
    units : Units
        Units that are exchanged; patches must be of the same kind.
    order : sequence of int
        For each unit, whose activations it is given.
    """
    parts = torch.arange(units.width).reshape(units.n_units, -1)
    coordinates = parts[torch.tensor(list(order))].flatten()

    def of(table: Table) -> Table:
        def given(place: HookedLayer) -> Tensor:
            found = table(place)
            return found[:, coordinates.to(found.device)]

        return given

    return replace(donor, prompt=of(donor.prompt), answer=of(donor.answer))


_NUMBERS: dict[str, Numbers] = {SAME_PAIR: "value", OTHER_PAIR: "place"}


def _kind_and_form(donor: str, recipient: str) -> tuple[str, str]:
    if donor == IDENTITY:
        return SAME_PAIR, recipient
    kind, _, form = donor.rpartition("_")
    return kind, form


def _word_problems(count: int, seed: int) -> list[str]:
    """Draw short word problems without decimals."""
    drawn = generate_problems(
        n_train=0,
        n_validation=count,
        seed=seed,
        max_number=_LARGEST_NUMBER,
        step_weights=_STEP_WEIGHTS,
        decimal_share=0,
    )
    return [problem.question for problem in drawn]


def _tokens_of_fields(keys: Sequence[Key]) -> tuple[int, ...]:
    counts = Counter(key[0] for key in keys)
    return tuple(counts[field] for field in FIELDS)


def _place(prompt: Prompt) -> bool:
    """Whether the bigger number comes first."""
    return prompt.first == prompt.truth


def _numbers(prompt: Prompt) -> frozenset[str]:
    return frozenset((prompt.first, prompt.second))
