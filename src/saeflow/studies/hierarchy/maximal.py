"""The input on which a feature is largest: searched, and beside it what others would have found.

A latent that is not among the k selected is exactly 0, so over most questions the activation is flat
and gives a search no direction. There, and only there, the search goes by the pre-activation; what is
reported is the activation itself.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from saeflow.artifacts.hierarchy import MAXIMAL
from saeflow.artifacts.units import Unit, Units, name_of
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.composed import Design, compose, random_design
from saeflow.datasets.gsm8k import Problem
from saeflow.datasets.search import greedy_search
from saeflow.models.capture import cut_batches
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import HookedLayer, LayerConvention, hooked_layers
from saeflow.saes.bank import Bank, Site
from saeflow.seeds import derive_seed
from saeflow.studies.hierarchy.patterns import calculation_text

LENGTHS = (1, 2, 3)
"""Calculations of random problems, in turn."""


class Measured(NamedTuple):
    """What features do on questions.

    Attributes
    ----------
    values : numpy.ndarray of float64, shape (features, questions)
        Activations.
    scores : numpy.ndarray of float64, shape (features, questions)
        What a search goes by; see `search_scores`.
    """

    values: Float[np.ndarray, "features questions"]
    scores: Float[np.ndarray, "features questions"]


class Best(NamedTuple):
    """The best of some problems for a feature.

    Attributes
    ----------
    value : float
        The feature's activation.
    problem : Problem
        Its question and worked answer.
    evaluations : int
        How many problems it is the best of.
    """

    value: float
    problem: Problem
    evaluations: int


@dataclass(frozen=True)
class Probe:
    """A feature whose activation is wanted.

    Attributes
    ----------
    sae : Bank
        Bank of its site alone, on the model's device.
    place : HookedLayer
        Where that site's layer is read.
    index : int
        Its latent.
    sign : int
        1 or -1: which activations are wanted.
    """

    sae: Bank
    place: HookedLayer
    index: int
    sign: int

    @property
    def site(self) -> Site:
        """Layer and step."""
        return self.sae.sites[0]

    def measure(
        self, activations: Mapping[str, Float[Tensor, "batch steps layers d_in"]]
    ) -> Measured:
        """Measure the feature where a model has thought, as `CodiModel.read_thoughts` gives it."""
        x = activations[self.place.hook][:, self.site.step, self.place.layer].float()
        values = self.sae.encode(x[None])[:, :, self.index]
        pre = x @ self.sae.W_enc[0, :, self.index] + self.sae.b_enc[0, self.index]
        own, before = (each.double().cpu().numpy() for each in (values, pre[None]))
        return Measured(own, search_scores(own, before, self.sign))


@dataclass(frozen=True)
class Laboratory:
    """A model that is asked questions, and how.

    Attributes
    ----------
    model : CodiModel
        The model.
    convention : {"block_output", "hidden_states_after", "hidden_states_before"}
        What "layer l" means.
    batch_size : int
        Most questions at a time.
    """

    model: CodiModel
    convention: LayerConvention
    batch_size: int

    def probe(self, bank: Bank, site: Site, index: int, sign: int) -> Probe:
        """Feature of a bank."""
        places = hooked_layers(self.convention, self.model.n_layers)
        sae = bank.select([site]).to(self.model.device)
        return Probe(sae, places[site.layer], index, sign)

    def measure(self, questions: list[str], probes: Sequence[Probe]) -> Measured:
        """Let the model think about questions, each once for all features, and measure these."""
        shape = len(probes), len(questions)
        found = Measured(np.empty(shape), np.empty(shape))
        lengths = np.array([len(self.model.question_ids(question)) for question in questions])
        latents = max(probe.site.step for probe in probes)
        for rows in cut_batches(lengths, self.batch_size):
            batch = [questions[row] for row in rows]
            _, activations = self.model.read_thoughts(batch, latents=latents)
            for number, probe in enumerate(probes):
                measured = probe.measure(activations)
                found.values[number, rows] = measured.values[0]
                found.scores[number, rows] = measured.scores[0]
        return found


@dataclass(frozen=True)
class InputSearch:
    """Features whose inputs are searched, each by itself.

    Attributes
    ----------
    laboratory : Laboratory
        The model.
    probes : list of Probe
        The features.
    bests : list of Best
        The best of the corpus for each.
    settings : CausalSettings
        Its block of the search, its sweeps and its seed.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    """

    laboratory: Laboratory
    probes: list[Probe]
    bests: list[Best]
    settings: CausalSettings
    run: Mapping[str, object]

    @classmethod
    def of(
        cls,
        model: CodiModel,
        bank: Bank,
        features: Sequence[tuple[Site, int]],
        corpus: pa.Table,
        values: Float[np.ndarray, "problems features"],
        settings: CausalSettings,
        convention: LayerConvention,
        batch_size: int,
        run: Mapping[str, object],
    ) -> InputSearch:
        """Say what is searched.

        Parameters
        ----------
        model : CodiModel
            The model.
        bank : Bank
            SAEs of its thoughts.
        features : sequence of (Site, int)
            Sites and latents. Of each the sign is wanted that its largest activation on the corpus
            has; the positive one where it never fires there.
        corpus : pyarrow.Table
            Columns question and answer of `saeflow.artifacts.catalog.PROBLEMS`: held-out problems.
        values : numpy.ndarray of shape (problems, features)
            Activations of these features on the corpus.
        settings : CausalSettings
            Its block of the search, its sweeps and its seed.
        convention : {"block_output", "hidden_states_after", "hidden_states_before"}
            What "layer l" means to the bank.
        batch_size : int
            Most questions at a time.
        run : mapping
            Values of the key columns dataset, dictionary, seed, mode.
        """
        laboratory = Laboratory(model, convention, batch_size)
        bests = [_best_of_corpus(corpus, column) for column in values.T]
        probes = [
            laboratory.probe(bank, site, index, -1 if best.value < 0 else 1)
            for (site, index), best in zip(features, bests, strict=True)
        ]
        return cls(laboratory, probes, bests, settings, run)

    def units(self) -> list[Unit]:
        """One search for each feature."""
        return [
            Unit(
                name_of(f"search{number}", probe.site, probe.index, probe.sign),
                MAXIMAL,
                partial(self._searched, probe),
            )
            for number, probe in enumerate(self.probes)
        ]

    def table(self, units: Units) -> pa.Table:
        """Four rows for each feature.

        The random problems are the same for all features; those that a search starts from are its own.

        Parameters
        ----------
        units : Units
            Where searches are kept.

        Returns
        -------
        pyarrow.Table
            Columns of `saeflow.artifacts.hierarchy.MAXIMAL`.
        """
        searched = [
            {row["source"]: row for row in table.to_pylist()}
            for table in units.tables(self.units(), "searching inputs")
        ]
        counts = [rows["search"]["evaluations"] for rows in searched]
        drawn = _random_bests(self.laboratory, self.probes, counts, self.settings)
        found = []
        for probe, rows, random_best, best in zip(
            self.probes, searched, drawn, self.bests, strict=True
        ):
            found += [rows["search"], rows["start"]]
            found.append(_row(probe, "random", random_best, self.run))
            found.append(_row(probe, "corpus", best, self.run))
        return pa.Table.from_pylist(found, schema=MAXIMAL.schema())

    def _searched(self, probe: Probe) -> pa.Table:
        search, start = _search(self.laboratory, probe, self.settings)
        rows = [_row(probe, "search", search, self.run), _row(probe, "start", start, self.run)]
        return pa.Table.from_pylist(rows, schema=MAXIMAL.schema())


def search_scores(
    values: Float[np.ndarray, "*questions"], pre: Float[np.ndarray, "*questions"], sign: int
) -> Float[np.ndarray, "*questions"]:
    """Score questions for a search.

    Parameters
    ----------
    values : numpy.ndarray of any shape
        A feature's activations.
    pre : numpy.ndarray of the same shape
        What they were before the k largest of each question were selected.
    sign : int
        1 or -1: which activations are wanted.

    Returns
    -------
    numpy.ndarray of the same shape
        Where the feature fires with that sign, the size of its activation; where it is silent a
        number from -2 to 0, and where it fires with the other sign one from -3 to -2, which rise
        with the pre-activation. So a better score never is a worse activation.
    """
    wanted, toward = sign * values, sign * pre
    return np.where(wanted > 0, wanted, toward / (1 + np.abs(toward)) - 1 - (wanted < 0))


def random_problems(
    rng: random.Random, count: int, max_number: int
) -> list[tuple[Design, Problem]]:
    """Draw different problems of one to three calculations, as often each.

    Parameters
    ----------
    rng : random.Random
        Where the draws come from. More problems only append to fewer.
    count : int
        How many.
    max_number : int
        Largest operand or result.
    """
    drawn: dict[str, tuple[Design, Problem]] = {}
    while len(drawn) < count:
        design = random_design(rng, LENGTHS[len(drawn) % len(LENGTHS)], max_number)
        made = compose(design, max_number=max_number)
        assert made is not None, "designs are drawn until one can be composed"
        drawn.setdefault(made.question, (design, Problem(made.question, made.answer)))
    return list(drawn.values())


def _search(laboratory: Laboratory, probe: Probe, settings: CausalSettings) -> tuple[Best, Best]:
    """Search the best input of a feature; the best of its starts comes second."""
    limits, site = settings.search, probe.site
    rng = random.Random(
        derive_seed(settings.seed, "hierarchy", "maximal", site.layer, site.step, probe.index)
    )
    start = random_problems(rng, limits.starts, limits.max_number)
    value_of: dict[str, float] = {}
    score_of: dict[str, float] = {}

    def score(questions: list[str]) -> Float[np.ndarray, " questions"]:
        (values,), (scores,) = laboratory.measure(questions, [probe])
        value_of.update(zip(questions, values.tolist(), strict=True))
        score_of.update(zip(questions, scores.tolist(), strict=True))
        return np.asarray(scores)

    found = greedy_search(
        [design for design, _ in start],
        score,
        settings.sweeps,
        rng,
        climbs=limits.climbs,
        max_number=limits.max_number,
    )
    best = Problem(found.problem.question, found.problem.answer)
    first = max((problem for _, problem in start), key=lambda each: score_of[each.question])
    return (
        Best(value_of[best.question], best, found.evaluations),
        Best(value_of[first.question], first, len(start)),
    )


def _random_bests(
    laboratory: Laboratory, probes: Sequence[Probe], counts: Sequence[int], settings: CausalSettings
) -> list[Best]:
    """Best of as many random problems as each feature's search has tried."""
    rng = random.Random(derive_seed(settings.seed, "hierarchy", "maximal", "random"))
    drawn = random_problems(rng, max(counts, default=0), settings.search.max_number)
    problems = [problem for _, problem in drawn]
    if not problems:
        return []
    measured = laboratory.measure([problem.question for problem in problems], probes)
    bests = []
    for values, scores, count in zip(measured.values, measured.scores, counts, strict=True):
        place = int(scores[:count].argmax())
        bests.append(Best(float(values[place]), problems[place], count))
    return bests


def _best_of_corpus(corpus: pa.Table, values: Float[np.ndarray, " problems"]) -> Best:
    """Problem on which a feature is largest in size; an empty one where it never fires."""
    place = int(np.abs(values).argmax())
    value = float(values[place])
    texts = [corpus[name][place].as_py() if value else "" for name in ("question", "answer")]
    return Best(value, Problem(*texts), len(values))


def _row(probe: Probe, source: str, best: Best, run: Mapping[str, object]) -> dict[str, Any]:
    return {
        **run,
        "layer": probe.site.layer,
        "step": probe.site.step,
        "feature": probe.index,
        "source": source,
        "value": best.value,
        "question": best.problem.question,
        "calculations": calculation_text(best.problem),
        "evaluations": best.evaluations,
    }
