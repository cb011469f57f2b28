"""Interventions on a model's thoughts, at every site of a bank (methods/2, section 3.7).

On some of the held-out problems features are screened and sets picked, on others a site is chosen, and
what they do is reported on the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int

from saeflow.artifacts.features import LayerTable
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.balanced import story_numbers, swap_partners, whole_stories
from saeflow.errors import SaeflowError
from saeflow.interventions.thoughts import ThoughtRun
from saeflow.models.capture import cut_batches
from saeflow.progress import progress
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.maximal import maximal_inputs
from saeflow.studies.hierarchy.plans import (
    Planned,
    SiteState,
    plan_doses,
    plan_feature,
    plan_set,
    plan_swap,
)
from saeflow.studies.hierarchy.screening import (
    MIN_ACTIVE,
    Screening,
    Subject,
    screen,
    screen_table,
)
from saeflow.studies.hierarchy.trials import (
    CHOSEN,
    NONE,
    REPORTED,
    SET,
    Key,
    TrialLog,
    choose_site,
    in_chunks,
    problem_parts,
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
    names: tuple[str, str],
    numbers: Int[np.ndarray, " problems"],
    sets_only: bool,
) -> Interventions:
    """Screen all features, choose a site on other problems, intervene and report on the rest.

    Parameters
    ----------
    subject : Subject
        Model and SAEs.
    problems, balanced : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    settings : CausalSettings
        How many features, doses, problems.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    names : (str, str)
        Names of the two data sets.
    numbers : numpy.ndarray of int
        Held-out problems, ascending.
    sets_only : bool
        Leave single features out, as for a control.

    Raises
    ------
    SaeflowError
        If the problems are too few for any feature to be picked.
    """
    dataset, balanced_dataset = names
    parts = problem_parts(numbers, settings.problems, settings.seed)
    batches = [_batches(subject, problems, part) for part in parts]
    screened = [screen(subject, [(b.questions, b.answers) for b in part]) for part in batches]
    sets = {site: screened[0].harmful(site, settings.set_size) for site in subject.places}
    if not any(sets.values()):
        raise SaeflowError(
            f"data set {dataset} has {len(numbers)} held-out problems, of which {len(parts.screened)} "
            f"screen features, and no feature is active on {MIN_ACTIVE} of these; expected more "
            "held-out problems, or fewer in studies.hierarchy.calibrated.causal.problems."
        )
    screening = screened[0] + screened[1]
    experiment = _Experiment(subject, settings, screening, sets, dataset)
    _, first, second = batches
    for number, batch in enumerate(progress(first, description="choosing", total=len(first))):
        experiment.choose(batch, number)
    best = choose_site(experiment.log.table(run))
    for number, batch in enumerate(progress(second, description="reporting", total=len(second))):
        experiment.report(batch, number, None if sets_only else best)
    if not sets_only:
        stories = _stories(balanced, settings.stories, subject.batch_size)
        for number, batch in enumerate(progress(stories, description="swaps", total=len(stories))):
            experiment.swap(batch, number, best, balanced_dataset)
    return Interventions(
        experiment.log.table(run),
        screen_table(screening, screened[2], sets, run),
        screening.strongest(settings, settings.maximal),
    )


def search_inputs(
    subject: Subject,
    problems: pa.Table,
    features: Sequence[LayerTable],
    numbers: Int[np.ndarray, " problems"],
    wanted: Sequence[tuple[Site, int]],
    settings: CausalSettings,
    run: Mapping[str, object],
) -> pa.Table:
    """Search the input on which each of some features is largest, beside the best held-out problem.

    Parameters
    ----------
    subject : Subject
        Model and SAEs.
    problems : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    features : sequence of LayerTable
        Activations on these problems.
    numbers : numpy.ndarray of int
        Held-out problems, ascending.
    wanted : sequence of (Site, int)
        Features.
    settings : CausalSettings
        How long to search.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.MAXIMAL`.
    """
    corpus = problems.filter(pa.array(np.isin(problems["problem"].to_numpy(), numbers)))
    columns = []
    for site, feature in wanted:
        (layer,) = (each for each in features if each.layer == site.layer)
        row, column, value = layer.cells(numbers)
        own = column == layer.steps.index(site.step) * layer.d_sae + feature
        values = np.zeros(len(numbers))
        values[row[own]] = value[own]
        columns.append(values)
    return maximal_inputs(
        subject.model,
        subject.bank,
        wanted,
        corpus,
        np.stack(columns, axis=1) if columns else np.zeros((len(numbers), 0)),
        settings,
        subject.convention,
        subject.batch_size,
        run,
    )


class _Experiment:
    """Plans and does interventions, batch by batch, and keeps a log of them."""

    def __init__(
        self,
        subject: Subject,
        settings: CausalSettings,
        screening: Screening,
        sets: Mapping[Site, list[int]],
        dataset: str,
    ) -> None:
        self.subject, self.settings = subject, settings
        self.screening, self.sets = screening, sets
        self.dataset, self.log = dataset, TrialLog()

    def choose(self, batch: Batch, number: int) -> None:
        """Ablate the set of every site on problems that sites are chosen on."""
        run = self._think(batch)
        for layer in self._layers():
            states = [SiteState.of(self.subject, run, site, number) for site in layer]
            self._do(run, batch, [each for state in states for each in self._set(state, CHOSEN)])

    def report(self, batch: Batch, number: int, best: Site | None) -> None:
        """Intervene at every site on problems that are reported.

        Parameters
        ----------
        batch : Batch
            The problems.
        number : int
            Its number.
        best : Site or None
            The site whose set gets doses, too; None leaves single features and doses out.
        """
        run = self._think(batch)
        for layer in self._layers():
            states = [SiteState.of(self.subject, run, site, number) for site in layer]
            plan = [each for state in states for each in self._set(state, REPORTED)]
            if best is not None:
                plan += [each for state in states for each in self._features(state)]
                plan += [each for state in states for each in self._doses(state, best)]
            self._do(run, batch, plan)

    def swap(self, batch: Batch, number: int, best: Site, dataset: str) -> None:
        """Give the strongest features, and the chosen set, the values of partner problems."""
        run = self._think(batch)
        for kind, partners in swap_partners(batch.ids).items():
            toward = self._think(batch._replace(answers=[batch.answers[row] for row in partners]))
            index = torch.from_numpy(partners).to(self.subject.model.device)
            plan: list[Planned] = []
            for site, unit, members in self._units(best, self.settings.swapped):
                state = SiteState.of(self.subject, run, site, number)
                key = Key(dataset, *site, unit, f"swap.{kind}", None, NONE, REPORTED)
                plan += plan_swap(state, members, state.features[index], self.settings, key)
            self._do(run, batch, plan, toward)

    def _layers(self) -> list[list[Site]]:
        # Interventions at one place share forward passes, and controls go to another step.
        sites = sorted(self.subject.places)
        return [list(layer) for _, layer in groupby(sites, key=lambda site: site.layer)]

    def _set(self, state: SiteState, half: str) -> Iterator[Planned]:
        members = self.sets[state.site]
        if not members:
            return
        key, full = self._key(state.site, half), half == REPORTED
        mean = self._mean(state.site)
        yield from plan_set(state, members, mean, self.settings, key, controls=full)

    def _features(self, state: SiteState) -> Iterator[Planned]:
        key, mean = self._key(state.site, REPORTED), self._mean(state.site)
        for feature in self.screening.shortlist(state.site, self.settings.shortlist):
            yield from plan_feature(state, feature, mean, self.settings, key)

    def _doses(self, state: SiteState, best: Site) -> Iterator[Planned]:
        for site, unit, members in self._units(best, self.settings.dosed):
            if site == state.site:
                key = self._key(site, REPORTED)._replace(unit=unit)
                yield from plan_doses(state, members, self.settings, key)

    def _do(
        self,
        run: ThoughtRun,
        batch: Batch,
        plan: Sequence[Planned],
        toward: ThoughtRun | None = None,
    ) -> None:
        keys, conditions = [key for key, _ in plan], [condition for _, condition in plan]
        rows = self.settings.rows
        moved = {} if toward is None else dict(toward.outcomes(conditions, rows=rows))
        for number, outcome in run.outcomes(conditions, rows=rows):
            numbers = batch.numbers[outcome.problems.cpu().numpy()]
            closer = moved[number].log_probability if moved else None
            self.log.add(keys[number], numbers, outcome, closer)

    def _think(self, batch: Batch) -> ThoughtRun:
        subject = self.subject
        return ThoughtRun(
            subject.model,
            batch.questions,
            batch.answers,
            latents=subject.latents,
            max_new_tokens=subject.max_new_tokens,
        )

    def _units(self, best: Site, count: int) -> Iterator[tuple[Site, str, list[int]]]:
        for site, feature in self.screening.strongest(self.settings, count):
            yield site, f"F{feature}", [feature]
        if count:
            yield best, SET, self.sets[best]

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


def _stories(balanced: pa.Table, count: int, batch_size: int) -> list[Batch]:
    """Whole stories of the balanced problems, spread over their numbers of steps."""
    ids = balanced["problem_id"].to_pylist()
    chosen = whole_stories(ids, count)
    story = story_numbers([ids[row] for row in chosen])
    known, sizes = np.unique(story, return_counts=True)
    columns = [balanced[name].to_pylist() for name in ("question", "answer")]
    together = max(1, batch_size // int(sizes.max()))
    found = []
    for part in in_chunks(len(known), together):
        rows = chosen[np.isin(story, known[part])]
        numbers = balanced["problem"].to_numpy()[rows]
        texts = ([column[row] for row in rows] for column in (ids, *columns))
        found.append(Batch(numbers, *texts))
    return found
