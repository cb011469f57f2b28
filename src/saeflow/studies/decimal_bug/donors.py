"""Prompts whose activations are put in place of others', and how their tokens correspond.

A donor is named for what its prompt is. Tokens of the same pair correspond where numbers have the
same value; those of another pair where they have the same place (methods/4, section 5.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.datasets.generated import generate_problems
from saeflow.interventions.donors import Donor, Table
from saeflow.interventions.patching import PatchRun
from saeflow.interventions.prompts import PromptRun
from saeflow.interventions.units import Units
from saeflow.models.alignment import BEGIN, Key, Numbers, align_prompts, prompt_keys
from saeflow.models.candidates import candidate_tokens
from saeflow.models.conventions import HookedLayer
from saeflow.models.language_model import LanguageModel
from saeflow.seeds import derive_seed
from saeflow.studies.decimal_bug.names import (
    BUGGY,
    IDENTITY,
    MEAN,
    OTHER_PAIR,
    OWN,
    SAME_PAIR,
    UNLIKE_PAIR,
    WORD_PROBLEM,
)
from saeflow.studies.decimal_bug.pairing import (
    other_pairs,
    own_prompts,
    prone_prompts,
    unlike_prompts,
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


@dataclass(frozen=True)
class HalfRuns:
    """What a model carried while it answered prompts about the pairs of one half.

    Attributes
    ----------
    model : LanguageModel
        The model.
    asked : dict of str to Asked
        By ``buggy`` and ``plain``; the same pairs in the same order.
    others : list of int
        For each pair the number of another one (`other_pairs`); the study's own has only itself.
    problems : PromptRun
        As many word problems.
    unlike : dict of str to Asked
        For each pair one whose answer looks other (`unlike_prompts`), likewise; empty where none is
        wanted.
    """

    model: LanguageModel
    asked: dict[str, Asked]
    others: list[int]
    problems: PromptRun
    unlike: dict[str, Asked]

    @classmethod
    def read(
        cls,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        half: str,
        *,
        pairs: int,
        max_new_tokens: int,
        seed: int,
        unlike: bool = True,
    ) -> HalfRuns:
        """Read and answer the prompts of one half, and word problems.

        Parameters
        ----------
        model : LanguageModel
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
        unlike : bool
            Whether pairs whose answers look other are read, too; never for the study's own pair.

        Raises
        ------
        SaeflowError
            As `prone_prompts`, `own_prompts`, `other_pairs` and `unlike_prompts` do.
        """
        own = half == OWN
        chosen = own_prompts(prompts) if own else prone_prompts(prompts, half, pairs)
        asked = _asked(model, chosen, max_new_tokens)
        keys = {form: each.keys for form, each in asked.items()}
        beside = {}
        if unlike and not own:
            others = unlike_prompts(chosen, keys, prompts, model.tokenizer, seed)
            beside = _asked(model, others, max_new_tokens)
        questions = _word_problems(len(chosen[BUGGY]), derive_seed(seed, "decimal_bug", half))
        problems = PromptRun(
            model.language_model,
            [list(model.tokenizer(question)["input_ids"]) for question in questions],
            max_new_tokens=max_new_tokens,
            ends=model.ends,
            vocabulary=model.vocabulary,
        )
        rows = [0] if own else other_pairs(chosen, keys, seed)
        return cls(model, asked, rows, problems, beside)

    def turned_round(self) -> HalfRuns:
        """Each unlike pair by itself, with a prone pair that gets its activations for its unlike one."""
        rows: dict[int, int] = {}
        for row, each in enumerate(self.unlike[BUGGY].prompts):
            rows.setdefault(each.item, row)

        def of(given: Mapping[str, Asked]) -> dict[str, Asked]:
            prompts = {
                form: [each.prompts[row] for row in rows.values()] for form, each in given.items()
            }
            return _asked(self.model, prompts, self.problems.max_new_tokens)

        others = list(range(len(rows)))
        return replace(self, asked=of(self.unlike), unlike=of(self.asked), others=others)

    def donor(self, recipient: str, name: str, means: HalfRuns) -> Donor:
        """Return what each prompt of a format gets.

        Parameters
        ----------
        recipient : str
            ``buggy`` or ``plain``: the prompts that are patched.
        name : str
            ``same_pair_plain``, ``same_pair_buggy``, ``other_pair_plain``, ``other_pair_buggy``,
            ``unlike_pair_plain``, ``unlike_pair_buggy``, ``mean_plain``, ``mean_buggy``,
            ``word_problem`` or ``identity``.
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
        source = (self.unlike if kind == UNLIKE_PAIR else self.asked)[form]
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

    def prompts(self, name: str) -> Sequence[Prompt | None]:
        """Prompts about the pair that each donor has; None of word problems and means, which have none."""
        kind, _ = _kind_and_form(name, BUGGY)
        if kind not in _NUMBERS:
            return [None] * len(self.others)
        source = self.unlike if kind == UNLIKE_PAIR else self.asked
        return [source[BUGGY].prompts[row] for row in self._rows(kind)]

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


_NUMBERS: dict[str, Numbers] = {SAME_PAIR: "value", OTHER_PAIR: "place", UNLIKE_PAIR: "place"}


def _asked(
    model: LanguageModel, prompts: Mapping[str, Sequence[Prompt]], max_new_tokens: int
) -> dict[str, Asked]:
    found = {}
    for form, some in prompts.items():
        candidates = [
            candidate_tokens(model.tokenizer, each.text, each.truth, each.other) for each in some
        ]
        run = PatchRun.of(model, candidates, max_new_tokens=max_new_tokens)
        keys = [prompt_keys(model.tokenizer, each) for each in some]
        found[form] = Asked(list(some), keys, run)
    return found


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
