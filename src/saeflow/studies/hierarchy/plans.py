"""Interventions at one site: features and sets, each beside its controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.config.hierarchy import CausalSettings
from saeflow.interventions.edits import (
    Change,
    Edit,
    Splice,
    ablate,
    amplify,
    reconstruct,
    redirect,
    replace_where,
    steer,
    swap,
)
from saeflow.interventions.thoughts import Condition, Place, ThoughtRun
from saeflow.saes.bank import Bank, Site
from saeflow.seeds import numpy_generator, torch_generator
from saeflow.studies.hierarchy.screening import Subject
from saeflow.studies.hierarchy.trials import (
    ALL,
    NONE,
    OTHER_STEP,
    RANDOM_DIRECTION,
    RANDOM_FEATURE,
    RECONSTRUCTION,
    SET,
    Key,
)
from saeflow.studies.matched import matched_features

Planned = tuple[Key, Condition]


@dataclass(frozen=True)
class SiteState:
    """What a site holds on a batch of problems before anything is done to it.

    Attributes
    ----------
    site : Site
        The site.
    place, other : Place
        Where it is, and the same layer at another step.
    sae : Bank
        Its SAE.
    x : torch.Tensor of shape (problems, d_in)
        Activations.
    features : torch.Tensor of shape (problems, d_sae)
        Values of its features.
    batch : int
        Number of the batch, for seeds.
    """

    site: Site
    place: Place
    other: Place
    sae: Bank
    x: Float[Tensor, "problems d_in"]
    features: Float[Tensor, "problems d_sae"]
    batch: int

    @classmethod
    def of(cls, subject: Subject, run: ThoughtRun, site: Site, batch: int) -> SiteState:
        """Read a site from a run."""
        steps = sorted(other.step for other in subject.places if other.layer == site.layer)
        later = [step for step in steps if step > site.step] or steps[-2:-1] or steps
        sae, place = subject.sae(site), subject.places[site]
        x = run.at(place).float()
        features = sae.encode(x[None])[0]
        return cls(site, place, place._replace(step=later[0]), sae, x, features, batch)

    def sizes(self, values: Float[Tensor, "problems d_sae"]) -> Float[np.ndarray, "problems d_sae"]:
        """Length of what values of features add to the reconstruction."""
        norm = torch.linalg.vector_norm(self.sae.W_dec[0], dim=1)
        sizes: Float[np.ndarray, "problems d_sae"] = (values.abs() * norm).double().cpu().numpy()
        return sizes

    def matched(
        self,
        values: Float[Tensor, "problems d_sae"],
        members: Sequence[int],
        settings: CausalSettings,
        *names: str,
    ) -> Bool[Tensor, "problems d_sae"]:
        """Random features whose values weigh as much as those of the members, problem by problem."""
        excluded = np.zeros(self.sae.d_sae, bool)
        excluded[list(members)] = True
        removed = np.broadcast_to(excluded, values.shape)
        where = (self.site.layer, self.site.step, *sorted(members), self.batch)
        generator = numpy_generator(settings.seed, "hierarchy", *names, *where)
        chosen = matched_features(self.sizes(values), removed, excluded, generator)
        return torch.from_numpy(chosen).to(values.device)


def plan_set(
    state: SiteState,
    members: Sequence[int],
    mean: Float[np.ndarray, " d_sae"],
    settings: CausalSettings,
    key: Key,
    *,
    controls: bool,
) -> Iterator[Planned]:
    """Ablate a set on all problems, beside matched random features and, if asked, other controls.

    Parameters
    ----------
    state : SiteState
        The site.
    members : sequence of int
        The set.
    mean : numpy.ndarray of float, shape (d_sae,)
        Mean values, to which the set is ablated, too.
    settings : CausalSettings
        Seed of the controls.
    key : Key
        Data set, site and half.
    controls : bool
        Whether to plan more than the matched random features.
    """
    splice = Splice(state.sae, ablate(members))
    yield from _ablations(state, splice, members, settings, key._replace(unit=SET), None)
    if controls:
        yield from _further(state, splice, members, mean, settings, key._replace(unit=SET), None)
        everything = key._replace(unit=ALL, edit=NONE, dose=None, control=RECONSTRUCTION)
        yield everything, Condition({state.place: reconstruct(state.sae)})


def plan_feature(
    state: SiteState,
    feature: int,
    mean: Float[np.ndarray, " d_sae"],
    settings: CausalSettings,
    key: Key,
) -> Iterator[Planned]:
    """Ablate a feature where it is active, beside its controls there; to its mean, everywhere."""
    rows = state.features[:, feature].nonzero()[:, 0]
    if not len(rows):
        return
    splice, named = Splice(state.sae, ablate([feature])), key._replace(unit=f"F{feature}")
    yield from _ablations(state, splice, [feature], settings, named, rows)
    yield from _further(state, splice, [feature], mean, settings, named, rows)


def plan_doses(
    state: SiteState, members: Sequence[int], settings: CausalSettings, key: Key
) -> Iterator[Planned]:
    """Multiply features by each dose, beside random directions of the same length."""
    active = (state.features[:, list(members)] != 0).any(1)
    rows = active.nonzero()[:, 0]
    if not len(rows):
        return
    for dose in settings.doses:
        splice = Splice(state.sae, amplify(members, dose))
        named = key._replace(edit="scale", dose=dose)
        yield named, Condition({state.place: splice}, rows)
        turned = redirect(splice, _directions(state, key.unit, settings))
        control = named._replace(control=RANDOM_DIRECTION)
        yield control, Condition({state.place: turned}, rows)


def plan_swap(
    state: SiteState,
    members: Sequence[int],
    partner: Float[Tensor, "problems d_sae"],
    settings: CausalSettings,
    key: Key,
) -> Iterator[Planned]:
    """Give features the values of a partner problem, beside others of as large a change.

    Parameters
    ----------
    state : SiteState
        The site.
    members : sequence of int
        The features.
    partner : torch.Tensor of shape (problems, d_sae)
        Features of each problem's partner.
    settings : CausalSettings
        Seed of the control.
    key : Key
        What is done, the control left out.
    """
    change = partner - state.features
    rows = (change[:, list(members)] != 0).any(1).nonzero()[:, 0]
    if not len(rows):
        return
    splice = Splice(state.sae, swap(members, partner))
    yield key, Condition({state.place: splice}, rows)
    mask = state.matched(change, members, settings, key.edit)
    other = redirect(splice, Splice(state.sae, replace_where(mask, partner)))
    beside = _with_partners(mask, change, members, rows)
    yield from _where_any(key._replace(control=RANDOM_FEATURE), state.place, other, beside)


def _ablations(
    state: SiteState,
    splice: Splice,
    members: Sequence[int],
    settings: CausalSettings,
    key: Key,
    rows: Tensor | None,
) -> Iterator[Planned]:
    named = key._replace(edit="zero", dose=0.0)
    yield named, Condition({state.place: splice}, rows)
    mask = state.matched(state.features, members, settings, RANDOM_FEATURE)
    # The largest features have no equals, so that what the others add together is brought to length.
    other = redirect(splice, Splice(state.sae, replace_where(mask)))
    beside = _with_partners(mask, state.features, members, rows)
    yield from _where_any(named._replace(control=RANDOM_FEATURE), state.place, other, beside)


def _with_partners(
    mask: Bool[Tensor, "problems d_sae"],
    values: Float[Tensor, "problems d_sae"],
    members: Sequence[int],
    rows: Int[Tensor, " rows"] | None,
) -> Int[Tensor, " some"]:
    """Rows without those on which members do something and no other feature can.

    A control that changes nothing there would make the whole effect one beyond it.
    """
    alone = (values[:, list(members)] != 0).any(1) & ~mask.any(1)
    rows = torch.arange(len(alone), device=alone.device) if rows is None else rows
    return rows[~alone[rows]]


def _where_any(key: Key, place: Place, edit: Edit, rows: Int[Tensor, " rows"]) -> Iterator[Planned]:
    if len(rows):
        yield key, Condition({place: edit}, rows)


def _further(
    state: SiteState,
    splice: Splice,
    members: Sequence[int],
    mean: Float[np.ndarray, " d_sae"],
    settings: CausalSettings,
    key: Key,
    rows: Tensor | None,
) -> Iterator[Planned]:
    named = key._replace(edit="zero", dose=0.0)
    turned = redirect(splice, _directions(state, key.unit, settings))
    yield named._replace(control=RANDOM_DIRECTION), Condition({state.place: turned}, rows)
    if state.other != state.place:
        everywhere = torch.arange(len(state.x), device=state.x.device)
        elsewhere: Edit = steer(splice.difference(state.x, everywhere))
        yield named._replace(control=OTHER_STEP), Condition({state.other: elsewhere}, rows)
    to_mean: Change = ablate(members, torch.from_numpy(mean).float().to(state.x.device))
    averaged = Splice(state.sae, to_mean)
    # A mean is not what a silent feature has, so that this changes every problem.
    yield key._replace(edit="mean", dose=None), Condition({state.place: averaged})


def _directions(
    state: SiteState, unit: str, settings: CausalSettings
) -> Float[Tensor, "problems d_in"]:
    """One per problem: a single one for all would be told apart from chance by its luck."""
    where = (state.site.layer, state.site.step, unit, state.batch)
    generator = torch_generator(settings.seed, "hierarchy", RANDOM_DIRECTION, *where)
    return torch.randn(state.x.shape, generator=generator).to(state.x.device)
