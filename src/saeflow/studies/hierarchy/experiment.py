"""Interventions on a model's thoughts, in units that any job may do (methods/2, section 3.7).

A unit is a batch of problems at the sites of one layer: only interventions at one place share forward
passes, so that none is of two units. Which sites get doses is chosen by what the first ones found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int

from saeflow.artifacts.hierarchy import TRIALS
from saeflow.artifacts.units import Unit, name_of
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.balanced import story_numbers, swap_partners, whole_stories
from saeflow.interventions.thoughts import ThoughtRun
from saeflow.models.capture import cut_batches
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.plans import (
    Planned,
    SiteState,
    plan_doses,
    plan_feature,
    plan_set,
    plan_swap,
)
from saeflow.studies.hierarchy.screening import Screening, Subject
from saeflow.studies.hierarchy.trials import (
    CHOSEN,
    NONE,
    REPORTED,
    SET,
    Key,
    TrialLog,
    in_chunks,
)


class Batch(NamedTuple):
    """Problems of a run.

    Attributes
    ----------
    name : str
        Its own among all batches of an experiment.
    number : int
        Which of its kind, for seeds.
    numbers : numpy.ndarray of int, shape (problems,)
        Running numbers.
    ids, questions, answers : list of str
        What they are.
    """

    name: str
    number: int
    numbers: Int[np.ndarray, " problems"]
    ids: list[str]
    questions: list[str]
    answers: list[str]


class Experiment:
    """Plans interventions and does them, unit by unit.

    Parameters
    ----------
    subject : Subject
        Model and SAEs.
    settings : CausalSettings
        How many features, doses, problems.
    screening : Screening
        What all problems that are not reported say about features.
    sets : mapping of Site to list of int
        Features that are ablated together.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    """

    def __init__(
        self,
        subject: Subject,
        settings: CausalSettings,
        screening: Screening,
        sets: Mapping[Site, list[int]],
        run: Mapping[str, object],
    ) -> None:
        self.subject, self.settings = subject, settings
        self.screening, self.sets, self.run = screening, sets, run
        self._thought: tuple[str, ThoughtRun] | None = None

    def choosing(self, batches: Sequence[Batch]) -> list[Unit]:
        """Ablate the set of every site on problems that sites are chosen on."""
        return self._by_layer(batches, self._choose, lambda layer: [])

    def reporting(self, batches: Sequence[Batch], best: Site | None) -> list[Unit]:
        """Intervene at every site on problems that are reported.

        Parameters
        ----------
        batches : sequence of Batch
            The problems.
        best : Site or None
            The site whose set gets doses, too; None leaves single features and doses out.
        """
        return self._by_layer(
            batches,
            partial(self._report, best),
            lambda layer: [] if best is None else self._shown(layer, best),
        )

    def swapping(self, batches: Sequence[Batch], best: Site, dataset: str) -> list[Unit]:
        """Give the strongest features, and the chosen set, the values of partner problems."""
        what = dataset, list(self._units(best, self.settings.swapped))
        return [
            self._unit(each.name, partial(self._swap, each, best, dataset), *what)
            for each in batches
        ]

    def _choose(self, batch: Batch, layer: Sequence[Site]) -> pa.Table:
        run = self._think(batch)
        states = [SiteState.of(self.subject, run, site, batch.number) for site in layer]
        return self._done(run, batch, [each for s in states for each in self._set(s, CHOSEN)])

    def _report(self, best: Site | None, batch: Batch, layer: Sequence[Site]) -> pa.Table:
        run = self._think(batch)
        states = [SiteState.of(self.subject, run, site, batch.number) for site in layer]
        plan = [each for state in states for each in self._set(state, REPORTED)]
        if best is not None:
            plan += [each for state in states for each in self._features(state)]
            plan += [each for state in states for each in self._doses(state, best)]
        return self._done(run, batch, plan)

    def _swap(self, batch: Batch, best: Site, dataset: str) -> pa.Table:
        run = self._think(batch)
        parts = []
        for kind, partners in swap_partners(batch.ids).items():
            others = [batch.answers[row] for row in partners]
            toward = self._run(batch.questions, others)
            index = torch.from_numpy(partners).to(self.subject.model.device)
            plan: list[Planned] = []
            for site, unit, members in self._units(best, self.settings.swapped):
                state = SiteState.of(self.subject, run, site, batch.number)
                key = Key(dataset, *site, unit, f"swap.{kind}", None, NONE, REPORTED)
                plan += plan_swap(state, members, state.features[index], self.settings, key)
            parts.append(self._done(run, batch, plan, toward))
        return pa.concat_tables([TRIALS.schema().empty_table(), *parts])

    def _by_layer(
        self,
        batches: Sequence[Batch],
        compute: Callable[[Batch, Sequence[Site]], pa.Table],
        also: Callable[[Sequence[Site]], list[object]],
    ) -> list[Unit]:
        """A unit for each batch and layer, about the layer's sets and what else it is about."""
        return [
            self._unit(
                f"{batch.name}_layer{layer[0].layer}",
                partial(compute, batch, layer),
                [(site, self.sets[site]) for site in layer],
                *also(layer),
            )
            for batch in batches
            for layer in self._layers()
        ]

    def _unit(self, name: str, compute: partial[pa.Table], *does: object) -> Unit:
        # Where features tie, what they are picked by differs between devices in its last bits.
        return Unit(name_of(name, *does), TRIALS, compute)

    def _shown(self, layer: Sequence[Site], best: Site) -> list[object]:
        """Single features of a layer, and whose doses are tried."""
        shortlist = self.settings.shortlist
        return [
            [(site, self.screening.shortlist(site, shortlist)) for site in layer],
            list(self._units(best, self.settings.dosed)),
        ]

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

    def _done(
        self,
        run: ThoughtRun,
        batch: Batch,
        plan: Sequence[Planned],
        toward: ThoughtRun | None = None,
    ) -> pa.Table:
        keys, conditions = [key for key, _ in plan], [condition for _, condition in plan]
        rows, log = self.settings.rows, TrialLog()
        moved = {} if toward is None else dict(toward.outcomes(conditions, rows=rows))
        for number, outcome in run.outcomes(conditions, rows=rows):
            numbers = batch.numbers[outcome.problems.cpu().numpy()]
            closer = moved[number].log_probability if moved else None
            log.add(keys[number], numbers, outcome, closer)
        return log.table(self.run)

    def _think(self, batch: Batch) -> ThoughtRun:
        """Think about a batch once for all of its layers, which follow each other."""
        if self._thought is None or self._thought[0] != batch.name:
            self._thought = None
            self._thought = batch.name, self._run(batch.questions, batch.answers)
        return self._thought[1]

    def _run(self, questions: list[str], answers: list[str]) -> ThoughtRun:
        subject = self.subject
        return ThoughtRun(
            subject.model,
            questions,
            answers,
            latents=subject.latents,
            max_new_tokens=subject.max_new_tokens,
        )

    def _units(self, best: Site, count: int) -> Iterator[tuple[Site, str, list[int]]]:
        for site, feature in self.screening.strongest(self.settings, count):
            yield site, f"F{feature}", [feature]
        if count:
            yield best, SET, self.sets[best]

    def _key(self, site: Site, half: str) -> Key:
        return Key(str(self.run["dataset"]), *site, "", "", None, NONE, half)

    def _mean(self, site: Site) -> Float[np.ndarray, " d_sae"]:
        mean: Float[np.ndarray, " d_sae"]
        mean = self.screening.mean[self.screening.sites.index(site)]
        return mean


def problem_batches(
    subject: Subject, problems: pa.Table, numbers: Int[np.ndarray, " problems"], name: str
) -> list[Batch]:
    """Cut problems of these numbers, ascending, into batches of similar length."""
    chosen = problems.filter(pa.array(np.isin(problems["problem"].to_numpy(), numbers)))
    ids, questions, answers = (
        chosen[name].to_pylist() for name in ("problem_id", "question", "answer")
    )
    lengths = np.array([len(subject.model.question_ids(question)) for question in questions])
    return [
        Batch(
            f"{name}{number}",
            number,
            numbers[rows],
            [ids[row] for row in rows],
            [questions[row] for row in rows],
            [answers[row] for row in rows],
        )
        for number, rows in enumerate(cut_batches(lengths, subject.batch_size))
    ]


def story_batches(balanced: pa.Table, count: int, batch_size: int, name: str) -> list[Batch]:
    """Cut whole stories of the balanced problems, spread over their numbers of steps, into batches."""
    ids = balanced["problem_id"].to_pylist()
    chosen = whole_stories(ids, count)
    story = story_numbers([ids[row] for row in chosen])
    known, sizes = np.unique(story, return_counts=True)
    columns = [balanced[name].to_pylist() for name in ("question", "answer")]
    together = max(1, batch_size // int(sizes.max()))
    found = []
    for number, part in enumerate(in_chunks(len(known), together)):
        rows = chosen[np.isin(story, known[part])]
        numbers = balanced["problem"].to_numpy()[rows]
        texts = ([column[row] for row in rows] for column in (ids, *columns))
        found.append(Batch(f"{name}{number}", number, numbers, *texts))
    return found
