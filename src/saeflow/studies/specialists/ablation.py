"""Ablation of specialists while a model reads prompts, beside controls that change as much.

At every token on which a specialist is active, what it adds to the reconstruction is taken away, the
SAE's error kept (methods/3, section 4.7). The same is done with another feature that the prompt has
active, with a specialist of another domain and with a random direction, each at the length of what
the specialist adds: the study's features were chosen by their largest activation, and what is large
does more damage whatever it means (section 4.7, point 6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.artifacts.unit_tables import ABLATED
from saeflow.artifacts.units import Unit, Units
from saeflow.datasets.matched.contrast import subject_of
from saeflow.errors import SaeflowError
from saeflow.interventions.edits import Change, Splice, ablate, redirect
from saeflow.interventions.readings import TextOutcome
from saeflow.interventions.texts import TextCondition, TextRun
from saeflow.models.capture import cut_batches
from saeflow.models.conventions import HookedLayer, same_between_blocks
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import token_sae
from saeflow.seeds import numpy_generator, torch_generator
from saeflow.studies.matched import matched_features
from saeflow.studies.specialists.ablated import METRICS, AblationTrials, read_trials
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
    units: Units | None = None,
    name: str = "ablated",
) -> AblationTrials:
    """Ablate every specialist on every prompt, with controls.

    Parameters
    ----------
    model, bank, prompts, specialists, means, draws, batch_size, rows, seed, name
        As of `ablation_units`.
    units : Units, optional
        Where batches of prompts are kept; None: nowhere.

    Raises
    ------
    SaeflowError
        As `ablation_units` does.
    """
    planned = ablation_units(
        model,
        bank,
        prompts,
        specialists,
        means=means,
        draws=draws,
        batch_size=batch_size,
        rows=rows,
        seed=seed,
        name=name,
    )
    tables = (units or Units()).tables(planned, f"ablating on {name}")
    return read_trials(specialists, len(prompts), _names(means), tables)


def ablation_units(
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
    name: str = "ablated",
) -> list[Unit]:
    """Plan ablations of every specialist on every prompt, with controls; a unit is a batch of prompts.

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
    name : str
        Of these units among others.

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
    lengths = np.array([len(each.ids) + max(len(each.target) - 1, 0) for each in prompts])
    names = _names(means)

    def ablate_on(numbers: Int[np.ndarray, " prompts"]) -> pa.Table:
        batch = _Read(model, bank, [prompts[n] for n in numbers], numbers, seed)
        log = _Log(specialists, batch, names)
        plan = [
            (number, name, condition)
            for number, each in enumerate(specialists)
            for name, condition in batch.conditions(each, specialists, means, draws)
        ]
        conditions = [condition for _, _, condition in plan]
        for place, outcome in batch.run.outcomes(conditions, rows=rows):
            log.add(*plan[place][:2], outcome)
        return log.table()

    return [
        Unit(f"{name}{place}", ABLATED, partial(ablate_on, numbers))
        for place, numbers in enumerate(cut_batches(lengths, batch_size))
    ]


def _names(means: Mapping[int, Float[Tensor, " d_sae"]] | None) -> list[str]:
    return [*CONTROLS, ZERO, *([] if means is None else [MEAN])]


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
    """Sums of effects on a batch of prompts, by condition."""

    def __init__(
        self, specialists: Sequence[SpecialistFeature], batch: _Read, names: Sequence[str]
    ) -> None:
        shape = len(specialists), len(batch.numbers)
        self._numbers = batch.numbers
        self._sums = {name: np.zeros((len(METRICS), *shape)) for name in names}
        self._draws = {name: np.zeros(shape, np.int64) for name in names}
        self._mass = np.zeros(shape)
        for number, each in enumerate(specialists):
            self._mass[number] = batch.sizes[each.layer][:, each.feature]
        clean = batch.run.clean
        texts = clean.at.nonzero()[:, 0].cpu().numpy()
        self._log_probability = _mean_by(texts, clean.log_probability)
        first = torch.from_numpy(np.unique(texts, return_index=True)[1]).to(clean.at.device)
        expected, target = clean.expected[first], clean.targets[first, None]
        others = expected.scatter(1, target, -torch.inf).amax(1)
        margin = expected.gather(1, target)[:, 0] - others
        self._margin = margin.double().cpu().numpy()

    def add(self, specialist: int, name: str, outcome: TextOutcome) -> None:
        """Add one draw of a condition on some of the prompts."""
        texts = outcome.texts.cpu().numpy()
        different, first = np.unique(texts, return_index=True)
        sums = self._sums[name]
        sums[0, specialist, different] += _mean_by(texts, outcome.log_probability)
        sums[1, specialist, different] += outcome.kl.double().cpu().numpy()[first]
        sums[2, specialist, different] += outcome.changed.cpu().numpy()[first]
        sums[3, specialist, different] += outcome.rank.cpu().numpy()[first]
        self._draws[name][specialist, different] += 1

    def table(self) -> pa.Table:
        """Return columns of `saeflow.artifacts.unit_tables.ABLATED`, a row for every cell."""
        specialists, prompts = self._mass.shape
        parts = [
            {
                "prompt": np.tile(self._numbers, specialists),
                "specialist": np.repeat(np.arange(specialists), prompts),
                "condition": [name] * self._mass.size,
                "draws": self._draws[name].ravel(),
                **dict(zip(METRICS, sums.reshape(len(METRICS), -1), strict=True)),
                "mass": self._mass.ravel(),
                "clean": np.tile(self._log_probability, specialists),
                "margin": np.tile(self._margin, specialists),
            }
            for name, sums in self._sums.items()
        ]
        return pa.concat_tables([pa.table(part).cast(ABLATED.schema()) for part in parts])


def _mean_by(
    texts: Int[np.ndarray, " readings"], values: Float[Tensor, " readings"]
) -> Float[np.ndarray, " texts"]:
    """Mean of each text's readings, texts ascending."""
    place = np.unique(texts, return_inverse=True)[1]
    total = np.bincount(place, weights=values.double().cpu().numpy())
    found: Float[np.ndarray, " texts"] = total / np.bincount(place)
    return found
