"""Interventions on a model's thoughts, at every site of a bank (methods/2, section 3.7).

On some of the held-out problems features are screened and sets picked, on others a site is chosen, and
what they do is reported on the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.hierarchy import TRIALS
from saeflow.artifacts.unit_tables import SCREENED
from saeflow.artifacts.units import Unit, Units
from saeflow.config.hierarchy import CausalSettings
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.experiment import (
    Experiment,
    problem_batches,
    story_batches,
)
from saeflow.studies.hierarchy.maximal import InputSearch
from saeflow.studies.hierarchy.screening import (
    MIN_ACTIVE,
    Screening,
    Subject,
    screen,
    screen_table,
)
from saeflow.studies.hierarchy.trials import choose_site, problem_parts

CHOOSING, REPORTING = "choosing", "reporting"
"""Stages whose units shards share; what is reported depends on what was chosen."""


class Interventions(NamedTuple):
    """What the interventions gave.

    Attributes
    ----------
    trials : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.TRIALS`.
    screen : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SCREEN`, exact effects missing.
    maximal : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.MAXIMAL`: the inputs on which the features of the largest
        attributed effect are largest.
    """

    trials: pa.Table
    screen: pa.Table
    maximal: pa.Table


@dataclass(frozen=True)
class Study:
    """What is intervened on.

    Attributes
    ----------
    subject : Subject
        Model and SAEs.
    problems, balanced : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    features : sequence of LayerTable
        Activations on `problems`.
    numbers : numpy.ndarray of int, shape (held_out,)
        Held-out problems, ascending.
    settings : CausalSettings
        How many features, doses, problems.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    balanced_name : str
        Name of the balanced data set.
    sets_only : bool
        Leave single features out, as for a control.
    """

    subject: Subject
    problems: pa.Table
    balanced: pa.Table
    features: Sequence[LayerTable]
    numbers: Int[np.ndarray, " held_out"]
    settings: CausalSettings
    run: Mapping[str, object]
    balanced_name: str
    sets_only: bool = False


def intervene(study: Study, units: Units) -> Interventions:
    """Screen all features, choose a site on other problems, intervene and report on the rest.

    Parameters
    ----------
    study : Study
        What is intervened on.
    units : Units
        Where what is done is kept.

    Raises
    ------
    SaeflowError
        If the problems are too few for any feature to be picked.
    """
    work = _Work(study, units)
    chosen, best = work.choose()
    reported = units.joined(work.reporting(best), REPORTING, TRIALS)
    swapped = units.joined(work.swapping(best), "swaps", TRIALS)
    trials = _sorted(pa.concat_tables([chosen, reported, swapped]))
    found, seen = work.screening, work.screened(2)
    return Interventions(
        trials, screen_table(found, seen, work.sets, study.run), work.search.table(units)
    )


def intervene_shard(study: Study, units: Units, stage: str) -> None:
    """Do a shard's units of a stage.

    Parameters
    ----------
    study, units
        As of `intervene`, which makes the tables of what all shards have done.
    stage : {"choosing", "reporting"}
        Which stage; units of an earlier one that no shard has made are done, too.
    """
    work = _Work(study, units)
    if stage == CHOOSING:
        kinds = [[work.screening_unit(1)], work.choosing()]
    else:
        _, best = work.choose()
        kinds = [
            [work.screening_unit(2)],
            work.reporting(best),
            work.swapping(best),
            work.search.units(),
        ]
    units.tables(units.mine(*kinds), stage)


class _Work:
    """Units of a study, planned as far as what was found allows."""

    def __init__(self, study: Study, units: Units) -> None:
        self.study, self.units = study, units
        subject, settings = study.subject, study.settings
        parts = problem_parts(study.numbers, settings.problems, settings.seed)
        self._batches = [
            problem_batches(subject, study.problems, part, name)
            for name, part in parts._asdict().items()
        ]
        self._screened: dict[int, Screening] = {}
        first = self.screened(0)
        self.sets = {site: first.harmful(site, settings.set_size) for site in subject.places}
        if not any(self.sets.values()):
            raise SaeflowError(
                f"data set {study.run['dataset']} has {len(study.numbers)} held-out problems, of which "
                f"{len(parts.screened)} screen features, and no feature is active on {MIN_ACTIVE} of "
                "these; expected more held-out problems, or fewer in "
                "studies.hierarchy.calibrated.causal.problems."
            )

    def screening_unit(self, part: int) -> Unit:
        """Screening on one of the three parts of the problems."""
        return Unit(f"screening{part}", SCREENED, partial(self._screen, part))

    def screened(self, part: int) -> Screening:
        """What one of the three parts says about features."""
        if part not in self._screened:
            table = self.units.table(self.screening_unit(part))
            self._screened[part] = Screening.read(table, tuple(self.study.subject.places))
        return self._screened[part]

    @cached_property
    def screening(self) -> Screening:
        """What all problems say that are not reported."""
        return self.screened(0) + self.screened(1)

    def choosing(self) -> list[Unit]:
        """What sites are chosen by."""
        return self._experiment(self.screened(0)).choosing(self._batches[1])

    def choose(self) -> tuple[pa.Table, Site]:
        """Trials that a site is chosen by, and the site."""
        trials = _sorted(self.units.joined(self.choosing(), CHOOSING, TRIALS))
        return trials, choose_site(trials)

    def reporting(self, best: Site) -> list[Unit]:
        """What is reported at every site."""
        doses = None if self.study.sets_only else best
        return self._experiment(self.screening).reporting(self._batches[2], doses)

    def swapping(self, best: Site) -> list[Unit]:
        """What partner problems are tried for."""
        study = self.study
        if study.sets_only:
            return []
        stories = story_batches(
            study.balanced, study.settings.stories, study.subject.batch_size, "story"
        )
        return self._experiment(self.screening).swapping(stories, best, study.balanced_name)

    @cached_property
    def search(self) -> InputSearch:
        """Which inputs are searched."""
        study = self.study
        count = 0 if study.sets_only else study.settings.maximal
        wanted = self.screening.strongest(study.settings, count)
        corpus = study.problems.filter(
            pa.array(np.isin(study.problems["problem"].to_numpy(), study.numbers))
        )
        values = np.zeros((len(study.numbers), len(wanted)))
        for number, (site, feature) in enumerate(wanted):
            (layer,) = (each for each in study.features if each.layer == site.layer)
            row, column, value = layer.cells(study.numbers)
            own = column == layer.steps.index(site.step) * layer.d_sae + feature
            values[row[own], number] = value[own]
        subject = study.subject
        return InputSearch.of(
            subject.model,
            subject.bank,
            wanted,
            corpus,
            values,
            study.settings,
            subject.convention,
            subject.batch_size,
            study.run,
        )

    def _experiment(self, screening: Screening) -> Experiment:
        study = self.study
        return Experiment(study.subject, study.settings, screening, self.sets, study.run)

    def _screen(self, part: int) -> pa.Table:
        batches = self._batches[part]
        found = screen(self.study.subject, [(each.questions, each.answers) for each in batches])
        return found.table()


def _sorted(trials: pa.Table) -> pa.Table:
    return trials.sort_by([(key, "ascending") for key in TRIALS.keys]).combine_chunks()
