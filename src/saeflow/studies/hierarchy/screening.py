"""Screening: the attributed effect of every feature on one half of the problems, and whom it picks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int

from saeflow.artifacts.hierarchy import SCREEN
from saeflow.artifacts.unit_tables import SCREENED
from saeflow.config.hierarchy import CausalSettings
from saeflow.config.models import RunnableModel
from saeflow.interventions.attribution import answer_gradients, feature_effects
from saeflow.interventions.thoughts import Place
from saeflow.models.codi import CodiModel
from saeflow.models.conventions import LayerConvention, hooked_layers
from saeflow.saes.bank import Bank, Site

MIN_ACTIVE = 10
"""Features active on fewer problems of the first half are not picked: their effect is of a few."""


@dataclass(frozen=True)
class Subject:
    """A model, its SAEs, and how it thinks and answers.

    Attributes
    ----------
    model : CodiModel
        The model.
    bank : Bank
        SAEs of all sites, on the model's device.
    convention : LayerConvention
        What "layer l" means to the bank.
    places : dict of Site to Place
        Where in the model each site is.
    latents, max_new_tokens : int
        Latent thoughts, and longest greedy answer.
    batch_size : int
        Problems per run.
    """

    model: CodiModel
    bank: Bank
    convention: LayerConvention
    places: dict[Site, Place]
    latents: int
    max_new_tokens: int
    batch_size: int

    @classmethod
    def of(
        cls, model: CodiModel, bank: Bank, convention: LayerConvention, settings: RunnableModel
    ) -> Subject:
        """Put a model and a bank together, with the model's own settings."""
        hooked = hooked_layers(convention, model.n_layers)
        places = {site: Place(site.step, *hooked[site.layer]) for site in bank.sites}
        thoughts = settings.thoughts
        sizes = thoughts.latents, thoughts.max_new_tokens, settings.batch_size
        return cls(model, bank, convention, places, *sizes)

    def sae(self, site: Site) -> Bank:
        """SAE of one site."""
        return self.bank.select([site])


@dataclass(frozen=True)
class Screening:
    """What some problems say about every feature.

    Attributes
    ----------
    sites : tuple of Site
        Order of the first axis.
    effect : numpy.ndarray of float64, shape (sites, d_sae)
        Mean attributed effect of ablation on the right answer's log-probability, in nats.
    n_active : numpy.ndarray of int, shape (sites, d_sae)
        Problems on which a feature is not zero.
    mean : numpy.ndarray of float64, shape (sites, d_sae)
        Mean activation, zeros included.
    n_problems : int
        How many problems.
    """

    sites: tuple[Site, ...]
    effect: Float[np.ndarray, "sites d_sae"]
    n_active: Int[np.ndarray, "sites d_sae"]
    mean: Float[np.ndarray, "sites d_sae"]
    n_problems: int

    def __add__(self, other: Screening) -> Screening:
        """Both on all of their problems."""
        total = self.n_problems + other.n_problems
        share = self.n_problems / max(1, total)
        return Screening(
            self.sites,
            share * self.effect + (1 - share) * other.effect,
            self.n_active + other.n_active,
            share * self.mean + (1 - share) * other.mean,
            total,
        )

    def table(self) -> pa.Table:
        """Return columns of `saeflow.artifacts.unit_tables.SCREENED`."""
        n_sites, d_sae = self.effect.shape
        columns = {
            "layer": np.repeat([site.layer for site in self.sites], d_sae),
            "step": np.repeat([site.step for site in self.sites], d_sae),
            "feature": np.tile(np.arange(d_sae), n_sites),
            "effect": self.effect.ravel(),
            "n_active": self.n_active.ravel(),
            "mean": self.mean.ravel(),
            "n_problems": np.full(self.effect.size, self.n_problems),
        }
        return pa.table(columns).cast(SCREENED.schema())

    @classmethod
    def read(cls, table: pa.Table, sites: Sequence[Site]) -> Screening:
        """Read such a table of these sites."""
        effect, active, mean = (
            table[name].to_numpy().reshape(len(sites), -1)
            for name in ("effect", "n_active", "mean")
        )
        return cls(tuple(sites), effect, active, mean, int(table["n_problems"][0].as_py()))

    def shortlist(self, site: Site, count: int) -> list[int]:
        """Features of a site with the largest attributed effect, of either sign."""
        return self._first(site, -np.abs(self.effect), count)

    def harmful(self, site: Site, count: int) -> list[int]:
        """Features of a site whose ablation lowers the log-probability most, as attributed."""
        return self._first(site, self.effect, count)

    def strongest(self, settings: CausalSettings, count: int) -> list[tuple[Site, int]]:
        """Features of the shortlists of all sites with the largest attributed effect."""
        listed = [
            (-abs(float(self.effect[place, feature])), site, feature)
            for place, site in enumerate(self.sites)
            for feature in self.shortlist(site, settings.shortlist)
        ]
        return [(site, feature) for _, site, feature in sorted(listed)[:count]]

    def _first(self, site: Site, order: Float[np.ndarray, "sites d_sae"], count: int) -> list[int]:
        place = self.sites.index(site)
        possible = np.flatnonzero(self.n_active[place] >= MIN_ACTIVE)
        chosen = possible[np.argsort(order[place, possible], kind="stable")[:count]]
        return [int(feature) for feature in chosen]


def screen(subject: Subject, batches: Sequence[tuple[list[str], list[str]]]) -> Screening:
    """Attribute an effect to every feature of every site.

    Parameters
    ----------
    subject : Subject
        Model and SAEs.
    batches : sequence of (list of str, list of str)
        Questions and answers.
    """
    shape = (len(subject.bank.sites), subject.bank.d_sae)
    effect, mean = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
    active = torch.zeros(shape, dtype=torch.int64)
    for questions, answers in batches:
        gradients = answer_gradients(
            subject.model,
            questions,
            answers,
            list(subject.places.values()),
            latents=subject.latents,
        )
        for number, (site, place) in enumerate(subject.places.items()):
            effects, features = feature_effects(subject.sae(site), *gradients[place])
            effect[number] += effects.sum(0, dtype=torch.float64).cpu()
            mean[number] += features.sum(0, dtype=torch.float64).cpu()
            active[number] += (features != 0).sum(0).cpu()
    count = sum(len(questions) for questions, _ in batches)
    effect, mean = effect / max(1, count), mean / max(1, count)
    return Screening(tuple(subject.places), effect.numpy(), active.numpy(), mean.numpy(), count)


def screen_table(
    found: Screening,
    reported: Screening,
    sets: Mapping[Site, Sequence[int]],
    run: Mapping[str, object],
) -> pa.Table:
    """Every feature that fires, ranked by its attributed effect.

    Parameters
    ----------
    found, reported : Screening
        On the problems that features are picked on, and on those that are reported.
    sets : mapping of Site to sequence of int
        Members of each site's set.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.SCREEN`, exact effects still missing.
    """
    parts = []
    for place, site in enumerate(found.sites):
        fires = np.flatnonzero(found.n_active[place])
        effect = found.effect[place, fires]
        rank = np.empty(len(fires), np.int32)
        rank[np.argsort(-np.abs(effect), kind="stable")] = np.arange(1, len(fires) + 1)
        columns = {
            **{name: [value] * len(fires) for name, value in run.items()},
            "layer": [site.layer] * len(fires),
            "step": [site.step] * len(fires),
            "feature": fires,
            "n_active": found.n_active[place, fires],
            "attribution": effect,
            "attribution_reported": reported.effect[place, fires],
            "in_set": np.isin(fires, sets[site]),
            "rank": rank,
            "exact": pa.nulls(len(fires), pa.float64()),
            "n_exact": pa.nulls(len(fires), pa.int32()),
        }
        parts.append(pa.table(columns).select(SCREEN.column_names()).cast(SCREEN.schema()))
    return pa.concat_tables(parts)
