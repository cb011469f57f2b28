"""Interventions on a model's thoughts, at every site of a bank (methods/2, section 3.7).

What is screened and chosen on one half of the held-out problems is done on the other, and reported
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int

from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.balanced import swap_partners
from saeflow.interventions.thoughts import ThoughtRun
from saeflow.models.capture import cut_batches
from saeflow.progress import progress
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.plans import (
    Planned,
    SiteState,
    plan_doses,
    plan_feature,
    plan_set,
    plan_swap,
)
from saeflow.studies.hierarchy.screening import Screening, Subject, screen, screen_table
from saeflow.studies.hierarchy.trials import (
    CHOSEN,
    NONE,
    REPORTED,
    SET,
    Key,
    TrialLog,
    choose_site,
    problem_halves,
)


class Batch(NamedTuple):
    """Problems of a run: running numbers, ids, questions, answers."""

    numbers: Int[np.ndarray, " problems"]
    ids: list[str]
    questions: list[str]
    answers: list[str]


class Interventions(NamedTuple):
    """What the interventions gave.

    Attributes
    ----------
    trials : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.TRIALS`.
    screen : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SCREEN`, exact effects missing.
    strongest : list of (Site, int)
        Features of the largest attributed effect, for which inputs are searched.
    """

    trials: pa.Table
    screen: pa.Table
    strongest: list[tuple[Site, int]]


def intervene(
    subject: Subject,
    problems: pa.Table,
    balanced: pa.Table,
    settings: CausalSettings,
    run: Mapping[str, object],
    *,
    dataset: str,
    balanced_dataset: str,
    numbers: Int[np.ndarray, " problems"],
    sets_only: bool,
) -> Interventions:
    """Screen all features, choose on one half of the problems, intervene on the other.

    Parameters
    ----------
    subject : Subject
        Model and SAEs.
    problems, balanced : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    settings : CausalSettings
        How many features, doses, problems.
    run : mapping
        Values of the key columns dictionary, seed, mode.
    dataset, balanced_dataset : str
        Names of the two data sets.
    numbers : numpy.ndarray of int
        Held-out problems, ascending.
    sets_only : bool
        Leave single features out, as for a control.
    """
    chosen, reported = problem_halves(numbers, settings.problems, settings.seed)
    first, second = (_batches(subject, problems, half) for half in (chosen, reported))
    screening = screen(subject, [(each.questions, each.answers) for each in first])
    experiment = _Experiment(subject, settings, screening, dataset)
    for number, batch in enumerate(progress(first, description="choosing", total=len(first))):
        experiment.ablate_sets(batch, number, CHOSEN)
    best = choose_site(experiment.log.table(run))
    for number, batch in enumerate(progress(second, description="reporting", total=len(second))):
        experiment.ablate_sets(batch, number, REPORTED)
        if not sets_only:
            experiment.ablate_features(batch, number)
            experiment.dose(batch, number, best)
    if not sets_only:
        stories = _stories(balanced, settings.stories)
        for number, batch in enumerate(progress(stories, description="swaps", total=len(stories))):
            experiment.swap(batch, number, best, balanced_dataset)
    return Interventions(
        experiment.log.table(run),
        screen_table(screening, {**run, "dataset": dataset}),
        screening.strongest(settings, settings.maximal),
    )


class _Experiment:
    """Plans and does interventions, batch by batch, and keeps a log of them."""

    def __init__(
        self, subject: Subject, settings: CausalSettings, screening: Screening, dataset: str
    ) -> None:
        self.subject, self.settings, self.screening = subject, settings, screening
        self.dataset, self.log = dataset, TrialLog()
        self._last: tuple[Batch, ThoughtRun] | None = None

    def ablate_sets(self, batch: Batch, number: int, half: str) -> None:
        """Ablate the set of every site."""
        run = self._think(batch)
        for site in self.subject.places:
            state, key = SiteState.of(self.subject, run, site, number), self._key(site, half)
            members = self.screening.harmful(site, self.settings.set_size)
            mean, full = self._mean(site), half == REPORTED
            plan = plan_set(state, members, mean, self.settings, key, controls=full)
            self._do(run, batch, plan)

    def ablate_features(self, batch: Batch, number: int) -> None:
        """Ablate each feature of the shortlists."""
        run = self._think(batch)
        for site in self.subject.places:
            state, key = SiteState.of(self.subject, run, site, number), self._key(site, REPORTED)
            listed = self.screening.shortlist(site, self.settings.shortlist)
            plans = (
                plan_feature(state, each, self._mean(site), self.settings, key) for each in listed
            )
            self._do(run, batch, [planned for plan in plans for planned in plan])

    def dose(self, batch: Batch, number: int, best: Site) -> None:
        """Multiply the strongest features, and the set of the chosen site, by each dose."""
        run = self._think(batch)
        for site, unit, members in self._units(best, self.settings.dosed):
            state = SiteState.of(self.subject, run, site, number)
            key = self._key(site, REPORTED)._replace(unit=unit)
            self._do(run, batch, plan_doses(state, members, self.settings, key))

    def swap(self, batch: Batch, number: int, best: Site, dataset: str) -> None:
        """Give the strongest features, and the chosen set, the values of partner problems."""
        run = self._think(batch)
        for kind, partners in swap_partners(batch.ids).items():
            toward = self._think(batch._replace(answers=[batch.answers[row] for row in partners]))
            index = torch.from_numpy(partners).to(self.subject.model.device)
            for site, unit, members in self._units(best, self.settings.swapped):
                state = SiteState.of(self.subject, run, site, number)
                key = Key(dataset, *site, unit, f"swap.{kind}", None, NONE, REPORTED)
                partner = state.features[index]
                plan = list(plan_swap(state, members, partner, self.settings, key))
                self._do(run, batch, plan, toward)

    def _do(
        self,
        run: ThoughtRun,
        batch: Batch,
        plan: Iterable[Planned],
        toward: ThoughtRun | None = None,
    ) -> None:
        keys, conditions = zip(*plan, strict=True) if (plan := list(plan)) else ((), ())
        rows = self.settings.rows
        moved = {} if toward is None else dict(toward.outcomes(conditions, rows=rows))
        for number, outcome in run.outcomes(conditions, rows=rows):
            numbers = batch.numbers[outcome.problems.cpu().numpy()]
            closer = moved[number].log_probability if moved else None
            self.log.add(keys[number], numbers, outcome, closer)

    def _think(self, batch: Batch) -> ThoughtRun:
        # The last batch is asked for again and again.
        if self._last is None or self._last[0] is not batch:
            subject = self.subject
            run = ThoughtRun(
                subject.model,
                batch.questions,
                batch.answers,
                latents=subject.latents,
                max_new_tokens=subject.max_new_tokens,
            )
            self._last = batch, run
        return self._last[1]

    def _units(self, best: Site, count: int) -> Iterator[tuple[Site, str, list[int]]]:
        for site, feature in self.screening.strongest(self.settings, count):
            yield site, f"F{feature}", [feature]
        if count:
            yield best, SET, self.screening.harmful(best, self.settings.set_size)

    def _key(self, site: Site, half: str) -> Key:
        return Key(self.dataset, *site, "", "", None, NONE, half)

    def _mean(self, site: Site) -> Float[np.ndarray, " d_sae"]:
        mean: Float[np.ndarray, " d_sae"]
        mean = self.screening.mean[self.screening.sites.index(site)]
        return mean


def _batches(
    subject: Subject, problems: pa.Table, numbers: Int[np.ndarray, " problems"]
) -> list[Batch]:
    """Problems in batches of similar length."""
    chosen = problems.filter(pa.array(np.isin(problems["problem"].to_numpy(), numbers)))
    ids, questions, answers = (
        chosen[name].to_pylist() for name in ("problem_id", "question", "answer")
    )
    lengths = np.array([len(subject.model.question_ids(question)) for question in questions])
    return [
        Batch(
            numbers[rows],
            [ids[row] for row in rows],
            [questions[row] for row in rows],
            [answers[row] for row in rows],
        )
        for rows in cut_batches(lengths, subject.batch_size)
    ]


def _stories(balanced: pa.Table, count: int) -> list[Batch]:
    """Whole stories of the balanced problems, spread over their numbers of steps."""
    ids = balanced["problem_id"].to_pylist()
    story = np.array([int(each.rsplit("_", 3)[1]) for each in ids])
    known = np.unique(story)
    spread = np.unique(np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(int))
    columns = [balanced[name].to_pylist() for name in ("question", "answer")]
    found = []
    for each in known[spread]:
        rows = np.flatnonzero(story == each)
        numbers = balanced["problem"].to_numpy()[rows]
        texts = ([column[row] for row in rows] for column in (ids, *columns))
        found.append(Batch(numbers, *texts))
    return found
