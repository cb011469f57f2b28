"""Ablation of specialists while a model reads prompts, beside controls that change as much.

At every token on which a specialist is active, what it adds to the reconstruction is taken away, the
SAE's error kept (methods/3, section 4.7). The same is done with another feature that the prompt has
active, with a specialist of another domain and with a random direction, each at the length of what
the specialist adds: the study's features were chosen by their largest activation, and what is large
does more damage whatever it means (section 4.7, point 6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.datasets.matched.contrast import subject_of
from saeflow.errors import SaeflowError
from saeflow.interventions.edits import Change, Splice, ablate, redirect
from saeflow.interventions.readings import TextOutcome
from saeflow.interventions.texts import TextCondition, TextRun
from saeflow.models.capture import cut_batches
from saeflow.models.conventions import HookedLayer, same_between_blocks
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.progress import progress
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import token_sae
from saeflow.seeds import numpy_generator, torch_generator
from saeflow.studies.matched import matched_features
from saeflow.studies.specialists.ablation_prompts import Prompt
from saeflow.studies.specialists.behaviour import SpecialistFeature, check_specialists
from saeflow.studies.specialists.names import (
    CONTROLS,
    CROSS_DOMAIN,
    MEAN,
    RANDOM_DIRECTION,
    RANDOM_FEATURE,
    ZERO,
)

METRICS = ("log_probability", "kl", "flip", "rank")


class Effects(NamedTuple):
    """What one condition did, specialist by specialist and prompt by prompt.

    NaN where a control has nothing to take away; 0 where the specialist is silent and so nothing was
    done.

    Attributes
    ----------
    log_probability : numpy.ndarray of float64, shape (specialists, prompts)
        Change of the target's log-probability, mean over its tokens, in nats.
    kl : numpy.ndarray of float64, shape (specialists, prompts)
        Kullback-Leibler divergence of the next token behind the prompt, in nats.
    flip : numpy.ndarray of float64, shape (specialists, prompts)
        Whether another token is the likeliest there; of several draws, the share.
    rank : numpy.ndarray of float64, shape (specialists, prompts)
        Change of the number of tokens that are likelier there than the target's first.
    """

    log_probability: Float[np.ndarray, "specialists prompts"]
    kl: Float[np.ndarray, "specialists prompts"]
    flip: Float[np.ndarray, "specialists prompts"]
    rank: Float[np.ndarray, "specialists prompts"]


@dataclass(frozen=True)
class AblationTrials:
    """What ablations of specialists did.

    Attributes
    ----------
    specialists : tuple of SpecialistFeature
        First axis.
    effects : dict of str to Effects
        By condition: `ZERO`, those of `CONTROLS`, and `MEAN` if means were given.
    mass : numpy.ndarray of float64, shape (specialists, prompts)
        Length of what each specialist adds, summed over tokens; 0 where it is silent.
    log_probability : numpy.ndarray of float64, shape (prompts,)
        Of the target without any edit, mean over its tokens, in nats.
    margin : numpy.ndarray of float64, shape (prompts,)
        Log-probability of the target's first token less that of the likeliest other, without an edit.
    """

    specialists: tuple[SpecialistFeature, ...]
    effects: dict[str, Effects]
    mass: Float[np.ndarray, "specialists prompts"]
    log_probability: Float[np.ndarray, " prompts"]
    margin: Float[np.ndarray, " prompts"]

    @property
    def active(self) -> Bool[np.ndarray, "specialists prompts"]:
        """Where a specialist has something to take away."""
        found: Bool[np.ndarray, "specialists prompts"] = self.mass > 0
        return found


def ablation_trials(
    model: LanguageModel,
    bank: Bank,
    prompts: Sequence[Prompt],
    specialists: Sequence[SpecialistFeature],
    *,
    means: Mapping[int, Float[Tensor, " d_sae"]] | None = None,
    draws: int = 3,
    batch_size: int = 32,
    rows: int = 64,
    seed: int = 0,
) -> AblationTrials:
    """Ablate every specialist on every prompt, with controls.

    Specialists must have been chosen on other texts. A control is drawn `draws` times for each prompt,
    from a seed of its own, and its effects are averaged.

    Parameters
    ----------
    model, bank
        Model and SAEs of its tokens, behind blocks (resid_post), where interventions can start.
    prompts : sequence of Prompt
        Either all with a target or all without.
    specialists : sequence of SpecialistFeature
        Features of the bank.
    means : mapping of int to torch.Tensor of shape (d_sae,), optional
        By block, as `mean_features` gives them on other texts; None: no ablation to the mean.
    draws : int
        Draws of each random control.
    batch_size : int
        Prompts read at once.
    rows : int
        Prompts times conditions per forward pass.
    seed : int
        Seed of the controls.

    Raises
    ------
    SaeflowError
        If a specialist is not of the bank, prompts differ in having a target, or a prompt has no token
        or does not fit the model's positions.
    """
    check_specialists(bank, specialists)
    if len({bool(prompt.target) for prompt in prompts}) != 1:
        some = sum(bool(prompt.target) for prompt in prompts)
        raise SaeflowError(
            f"{some} of {len(prompts)} prompts have a target; expected all of them or none, and one "
            "prompt at least."
        )
    log = _Log(specialists, len(prompts), [*CONTROLS, ZERO, *([] if means is None else [MEAN])])
    lengths = np.array([len(each.ids) + max(len(each.target) - 1, 0) for each in prompts])
    batches = list(cut_batches(lengths, batch_size))
    for numbers in progress(batches, description="ablating", total=len(batches)):
        batch = _Read(model, bank, [prompts[n] for n in numbers], numbers, seed)
        log.read(batch)
        plan = [
            (number, name, condition)
            for number, each in enumerate(specialists)
            for name, condition in batch.conditions(each, specialists, means, draws)
        ]
        conditions = [condition for _, _, condition in plan]
        for place, outcome in batch.run.outcomes(conditions, rows=rows):
            log.add(*plan[place][:2], batch, outcome)
    return log.trials()


class _Read:
    """Some prompts that were read, what their features are, and what to do with them."""

    def __init__(
        self,
        model: LanguageModel,
        bank: Bank,
        prompts: Sequence[Prompt],
        numbers: Int[np.ndarray, " prompts"],
        seed: int,
    ) -> None:
        self.numbers, self._seed = numbers, seed
        hook = str(bank.recipe.hook)
        layers = [site.layer for site in bank.sites]
        self._places = {layer: same_between_blocks(HookedLayer(hook, layer)) for layer in layers}
        self._saes = {layer: token_sae(bank, layer).to(model.device) for layer in layers}
        rows = [[*each.ids, *each.target[:-1]] for each in prompts]
        at = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.bool)
        for row, each in enumerate(prompts):
            at[row, len(each.ids) - 1 : len(rows[row])] = True
        targets = [token for each in prompts for token in each.target]
        self.run = TextRun(
            model.language_model,
            rows,
            keep=list(self._places.values()),
            at=at,
            targets=torch.tensor(targets) if targets else None,
        )
        positions = torch.arange(at.shape[1], device=model.device)
        self._tokens = self.run.mask & (positions >= begin_tokens(model))
        self.sizes = {layer: self._sizes(layer) for layer in layers}

    def conditions(
        self,
        specialist: SpecialistFeature,
        specialists: Sequence[SpecialistFeature],
        means: Mapping[int, Float[Tensor, " d_sae"]] | None,
        draws: int,
    ) -> Iterator[tuple[str, TextCondition]]:
        """Everything that is done with one specialist."""
        layer, feature = specialist.layer, specialist.feature
        sae, place = self._saes[layer], self._places[layer]
        splice = Splice(sae, ablate([feature]))
        if means is not None:
            # Where a feature is silent its mean is a change, too, so that this is done everywhere.
            to_mean = Splice(sae, ablate([feature], means[layer].to(sae.device)))
            yield MEAN, TextCondition({place: to_mean}, self._tokens)
        live = np.flatnonzero(self.sizes[layer][:, feature] > 0)
        if not len(live):
            return
        chosen = torch.from_numpy(live).to(sae.device)
        yield ZERO, TextCondition({place: splice}, self._tokens, chosen)
        for draw in range(draws):
            mask, factor = self._partners(specialist, live, draw)
            partnered = torch.from_numpy(np.flatnonzero(mask.any(1))).to(sae.device)
            if len(partnered):
                edit = Splice(sae, _weaken(mask.to(sae.device), factor.to(sae.device)))
                yield RANDOM_FEATURE, TextCondition({place: edit}, self._tokens, partnered)
            turned = redirect(splice, self._random_directions(specialist, live, draw))
            yield RANDOM_DIRECTION, TextCondition({place: turned}, self._tokens, chosen)
        own = subject_of(specialist.topic)
        others = [
            each for each in specialists if each.layer == layer and subject_of(each.topic) != own
        ]
        if others:
            turned = redirect(splice, self._other_directions(specialist, others, live))
            yield CROSS_DOMAIN, TextCondition({place: turned}, self._tokens, chosen)

    def _sizes(self, layer: int) -> Float[np.ndarray, "prompts d_sae"]:
        """Length of what each feature adds, summed over tokens, prompt by prompt."""
        sae, x = self._saes[layer], self.run.activations[self._places[layer]]
        features = sae.encode(x[self._tokens].float()[None])[0].abs()
        lengths = self._tokens.sum(1).tolist()
        sums = torch.stack([each.sum(0) for each in torch.split(features, lengths)])
        norm = torch.linalg.vector_norm(sae.W_dec[0], dim=1)
        sizes: Float[np.ndarray, "prompts d_sae"] = (sums * norm).double().cpu().numpy()
        return sizes

    def _partners(
        self, specialist: SpecialistFeature, live: Int[np.ndarray, " live"], draw: int
    ) -> tuple[Bool[Tensor, "prompts d_sae"], Float[Tensor, " prompts"]]:
        """Another feature of each prompt, and by how much it is weakened to take away as much."""
        sizes = self.sizes[specialist.layer]
        own = np.zeros(sizes.shape[1], bool)
        own[specialist.feature] = True
        mask = np.zeros(sizes.shape, bool)
        for row in live:
            generator = numpy_generator(*self._where(RANDOM_FEATURE, specialist, int(row), draw))
            mask[row] = matched_features(sizes[[row]], own[None], own, generator)[0]
        found = (sizes * mask).sum(1)
        factor = sizes[:, specialist.feature] / np.where(found > 0, found, 1.0)
        return torch.from_numpy(mask), torch.from_numpy(factor).float()

    def _random_directions(
        self, specialist: SpecialistFeature, live: Int[np.ndarray, " live"], draw: int
    ) -> Float[Tensor, "prompts d_in"]:
        sae = self._saes[specialist.layer]
        found = torch.zeros(len(self.numbers), sae.d_in)
        for row in live.tolist():
            generator = torch_generator(*self._where(RANDOM_DIRECTION, specialist, row, draw))
            found[row] = torch.randn(sae.d_in, generator=generator)
        return found.to(sae.device)

    def _other_directions(
        self,
        specialist: SpecialistFeature,
        others: Sequence[SpecialistFeature],
        live: Int[np.ndarray, " live"],
    ) -> Float[Tensor, "prompts d_in"]:
        """Away from where another specialist points, one drawn for each prompt."""
        sae = self._saes[specialist.layer]
        drawn = np.zeros(len(self.numbers), np.int64)
        for row in live.tolist():
            generator = numpy_generator(*self._where(CROSS_DOMAIN, specialist, row, 0))
            drawn[row] = others[int(generator.integers(len(others)))].feature
        return -sae.W_dec[0][torch.from_numpy(drawn).to(sae.device)]

    def _where(
        self, name: str, specialist: SpecialistFeature, row: int, draw: int
    ) -> tuple[int | str, ...]:
        # By prompt, so that nothing depends on how prompts are cut into batches.
        number = int(self.numbers[row])
        return (self._seed, "specialists", name, specialist.layer, specialist.feature, number, draw)


def _weaken(mask: Bool[Tensor, "prompts d_sae"], factor: Float[Tensor, " prompts"]) -> Change:
    """Take away so many times what some features of each prompt are; 1 ablates them."""

    def change(values: Tensor, rows: Tensor) -> Tensor:
        return torch.where(mask[rows], values * (1 - factor[rows, None]), values)

    return change


class _Log:
    """Sums of effects, by condition."""

    def __init__(
        self, specialists: Sequence[SpecialistFeature], n_prompts: int, names: Sequence[str]
    ) -> None:
        self._specialists = tuple(specialists)
        shape = len(self._specialists), n_prompts
        self._sums = {name: np.zeros((len(METRICS), *shape)) for name in names}
        self._draws = {name: np.zeros(shape, np.int64) for name in names}
        self._mass = np.zeros(shape)
        self._log_probability, self._margin = np.zeros((2, n_prompts))

    def read(self, batch: _Read) -> None:
        """Keep what prompts are without any edit."""
        clean, numbers = batch.run.clean, batch.numbers
        texts = clean.at.nonzero()[:, 0].cpu().numpy()
        self._log_probability[numbers] = _mean_by(texts, clean.log_probability)
        first = torch.from_numpy(np.unique(texts, return_index=True)[1]).to(clean.at.device)
        expected, target = clean.expected[first], clean.targets[first, None]
        others = expected.scatter(1, target, -torch.inf).amax(1)
        margin = expected.gather(1, target)[:, 0] - others
        self._margin[numbers] = margin.double().cpu().numpy()
        for number, each in enumerate(self._specialists):
            self._mass[number, numbers] = batch.sizes[each.layer][:, each.feature]

    def add(self, specialist: int, name: str, batch: _Read, outcome: TextOutcome) -> None:
        """Add one draw of a condition on some of the prompts."""
        texts = outcome.texts.cpu().numpy()
        different, first = np.unique(texts, return_index=True)
        numbers = batch.numbers[different]
        sums = self._sums[name]
        sums[0, specialist, numbers] += _mean_by(texts, outcome.log_probability)
        sums[1, specialist, numbers] += outcome.kl.double().cpu().numpy()[first]
        sums[2, specialist, numbers] += outcome.changed.cpu().numpy()[first]
        sums[3, specialist, numbers] += outcome.rank.cpu().numpy()[first]
        self._draws[name][specialist, numbers] += 1

    def trials(self) -> AblationTrials:
        """Means over draws."""
        active = self._mass > 0
        effects = {}
        for name, sums in self._sums.items():
            draws = self._draws[name]
            # Nothing was done where the specialist is silent; elsewhere there is no such control.
            missing = np.where(active, np.nan, 0.0)
            effects[name] = Effects(*np.where(draws > 0, sums / np.maximum(draws, 1), missing))
        return AblationTrials(
            self._specialists, effects, self._mass, self._log_probability, self._margin
        )


def _mean_by(
    texts: Int[np.ndarray, " readings"], values: Float[Tensor, " readings"]
) -> Float[np.ndarray, " texts"]:
    """Mean of each text's readings, texts ascending."""
    place = np.unique(texts, return_inverse=True)[1]
    total = np.bincount(place, weights=values.double().cpu().numpy())
    found: Float[np.ndarray, " texts"] = total / np.bincount(place)
    return found
