"""Which layers and units carry the difference between formats (methods/4, sections 5.3 and 5.6).

A layer and units are chosen on one half of the pairs and reported on the other (design, section 8).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import Any

import pyarrow as pa

from saeflow.artifacts.decimal_bug import PATCHES
from saeflow.artifacts.units import Unit, Units, name_of
from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.datasets.comparisons.pairs import CHOOSE, REPORT
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.datasets.texts.judge import judge
from saeflow.interventions.donors import Donor
from saeflow.interventions.patches import Patch
from saeflow.interventions.units import KINDS, units_of
from saeflow.interventions.units import Units as ModelUnits
from saeflow.models.language_model import LanguageModel
from saeflow.stats.subsets import exchanged_units
from saeflow.studies.decimal_bug import patch_plan
from saeflow.studies.decimal_bug.bug import find_bug
from saeflow.studies.decimal_bug.choice import choose_layer, choose_site, rank_units
from saeflow.studies.decimal_bug.donors import Asked, HalfRuns, exchanged
from saeflow.studies.decimal_bug.names import (
    EXCHANGED,
    NO_ITEM,
    OWN,
    RECIPIENT,
    SPARED,
    UNLIKE_PAIR,
)
from saeflow.studies.decimal_bug.pairing import numbers_of
from saeflow.studies.decimal_bug.patch_plan import Trial
from saeflow.studies.rows import PUBLISHED

TOGETHER = 512
"""Patches of one layer that are done together at most, so that subsets of the chosen one can be shared."""
_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def patch(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    answers: pa.Table,
    patching: PatchSettings,
    subsets: SubsetSettings,
    *,
    weights: Sequence[float],
    max_new_tokens: int,
    units: Units | None = None,
) -> pa.Table:
    """Patch prompts of the buggy format and of the plain one, and see what is answered.

    Parameters
    ----------
    model : LanguageModel
        The model; it answers without latent thoughts.
    prompts : sequence of Prompt
        What was asked.
    answers : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_ANSWERS`: they tell whether there is a bug.
    patching, subsets : PatchSettings, SubsetSettings
        Which patches are tried.
    weights : sequence of float
        At which whole modules are blended in the published form.
    max_new_tokens : int
        Longest answer.
    units : Units, optional
        Where patches are kept that were tried together; None: nowhere. A shard tries its part of those
        that are reported.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.PATCHES`; empty if there is no bug in the half
        that chooses.

    Raises
    ------
    SaeflowError
        If prompts cannot be aligned, or the model lacks a module.
    """
    unlike = any(each.startswith(UNLIKE_PAIR) for each in patching.donors)
    bug = find_bug(prompts, answers, CHOOSE)
    logging.getLogger("saeflow").info(bug.sentence)
    if not bug.found:
        return PATCHES.schema().empty_table()
    halves = {
        half: HalfRuns.read(
            model,
            prompts,
            half,
            pairs=patching.pairs,
            max_new_tokens=max_new_tokens,
            seed=patching.seed,
            unlike=unlike,
        )
        for half in (CHOOSE, REPORT, OWN)
    }
    if unlike:
        halves[SPARED] = halves[REPORT].turned_round()
    tried, kept = _Tried(halves, patching), units or Units()
    choice = kept.joined(
        tried.planned("layers", patch_plan.layer_choice(model.n_layers)), "layers", PATCHES
    )
    layer = choose_layer(choice)
    single = kept.joined(
        tried.planned("single", patch_plan.unit_choice(tried.units, layer, patching)),
        "single units",
        PATCHES,
    )
    site = choose_site(pa.concat_tables([choice, single]))
    ranked = {kind: rank_units(single, kind) for kind in patch_plan.kinds_of_parts(tried.units)}
    blends = list(patch_plan.blends(layer, weights))
    sets = list(patch_plan.published_sets(tried.units, layer, subsets))
    report = tried.planned(
        "report",
        [
            *patch_plan.chosen_site(site, patching),
            *(patch_plan.spared_pairs(site) if unlike else ()),
            *patch_plan.full_map(tried.units, model.n_layers, patching),
            *blends,
            *patch_plan.subsets(tried.units, layer, subsets),
            *patch_plan.chosen_sets(tried.units, layer, ranked, patching),
            *sets,
            *patch_plan.own_pair([*blends, *sets], model.n_layers),
        ],
    )
    return pa.concat_tables([choice, single, kept.joined(kept.mine(report), "patches", PATCHES)])


def names_only(answer: str, numbers: Set[str], others: Set[str]) -> bool:
    """Whether an answer holds one of some numbers, read whole, and none of some others."""
    named = set(_NUMBER.findall(answer))
    return bool(named & numbers) and not named & others


class _Tried:
    """Tries patches and writes down what comes of them."""

    def __init__(self, halves: Mapping[str, HalfRuns], settings: PatchSettings) -> None:
        self._halves, self._settings = halves, settings
        self._model = halves[CHOOSE].model
        self._donors: dict[tuple[Any, ...], Donor] = {}
        self._texts: dict[tuple[int, ...], str] = {}
        language_model = self._model.language_model
        self.units: dict[str, ModelUnits] = {kind: units_of(language_model, kind) for kind in KINDS}

    def planned(self, name: str, trials: Iterable[Trial]) -> list[Unit]:
        """Units of trials; those of one half, direction and layer share forward passes, if not too many."""
        groups: dict[tuple[str, str, int], list[Trial]] = {}
        for trial in trials:
            groups.setdefault((trial.half, trial.direction, trial.layer), []).append(trial)
        parts = [
            some[start : start + TOGETHER]
            for some in groups.values()
            for start in range(0, len(some), TOGETHER)
        ]
        return [
            Unit(name_of(f"{name}{number}", *some), PATCHES, partial(self._table, some))
            for number, some in enumerate(parts)
        ]

    def _table(self, trials: Sequence[Trial]) -> pa.Table:
        schema = PATCHES.schema()
        parts = [pa.Table.from_pylist(rows, schema) for rows in self._rows(trials)]
        return pa.concat_tables([schema.empty_table(), *parts])

    def _rows(self, trials: Sequence[Trial]) -> Iterator[list[dict[str, Any]]]:
        """Rows of one trial after the other, all of one half and direction."""
        asked = self._halves[trials[0].half].asked[RECIPIENT[trials[0].direction]]
        run = asked.run
        # Nothing is put in place where no unit is named.
        for trial in trials:
            if trial.units == ():
                yield self._judged(trial, asked, run.answers, run.logit_difference.tolist())
        some = [trial for trial in trials if trial.units != ()]
        patches = [Patch(self._donor(t), t.layer, t.kind, t.units, t.phase, t.weight) for t in some]
        for number, found in run.outcomes(patches, rows=self._settings.rows):
            yield self._judged(some[number], asked, found.answers, found.logit_difference.tolist())

    def _donor(self, trial: Trial) -> Donor:
        special = trial.kind if trial.set == EXCHANGED else trial.mode
        key = (trial.half, trial.direction, trial.donor, special)
        if key not in self._donors:
            half, recipient = self._halves[trial.half], RECIPIENT[trial.direction]
            if special == PUBLISHED:
                donor = half.published(recipient, trial.donor)
            else:
                donor = half.donor(recipient, trial.donor, self._halves[CHOOSE])
            if special == trial.kind:
                units = self.units[trial.kind]
                order = exchanged_units(units.n_units, seed=self._settings.seed).tolist()
                donor = exchanged(donor, units, order)
            self._donors[key] = donor
        return self._donors[key]

    def _judged(
        self,
        trial: Trial,
        asked: Asked,
        answers: Sequence[Sequence[int]],
        differences: Sequence[float],
    ) -> list[dict[str, Any]]:
        """Rows of a trial, one per prompt."""
        fields = trial._asdict() | {"units": trial.units_text}
        donors = self._halves[trial.half].prompts(trial.donor)
        clean = asked.run.logit_difference.tolist()
        rows = []
        for row, (prompt, donor) in enumerate(zip(asked.prompts, donors, strict=True)):
            answer = self._text(tuple(answers[row]))
            donated = frozenset[str]() if donor is None else numbers_of(donor)
            rows.append(
                {
                    **fields,
                    "form": prompt.form,
                    "order": prompt.order,
                    "item": prompt.item,
                    "verdict": judge(answer, prompt.truth, prompt.other),
                    "logit_difference": differences[row],
                    "clean_logit_difference": clean[row],
                    "wrote_donor": names_only(answer, donated, {prompt.truth, prompt.other}),
                    "donor_item": NO_ITEM if donor is None else donor.item,
                }
            )
        return rows

    def _text(self, answer: tuple[int, ...]) -> str:
        if answer not in self._texts:
            (self._texts[answer],) = self._model.texts([list(answer)])
        return self._texts[answer]
