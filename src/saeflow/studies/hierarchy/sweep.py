"""How many specialists SAEs of other k have at one site, each count beside its chance level.

The study trained larger k and found fewer specialists (methods/2, section 3.6): fewer of their
features fire on so few problems that any few would pass its rule. Here the expected number from
random problems stands beside each count, and exact tests beside the rule.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Float32, Int

from saeflow.artifacts.captures import count_layers
from saeflow.artifacts.hierarchy import HIERARCHY
from saeflow.config.dictionaries import FIXED_CONTROLS, DictionarySettings
from saeflow.config.hierarchy import (
    HierarchyRules,
    SpecialistTarget,
    SpecialistTests,
    SweepSettings,
)
from saeflow.errors import SaeflowError
from saeflow.models.conventions import LayerConvention, hooked_layers
from saeflow.saes.bank import Recipe, Site
from saeflow.saes.parallel import one_thread_each
from saeflow.saes.sites import read_sites
from saeflow.saes.train import train_bank
from saeflow.studies.depths import CONVENTION, layers_at
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest
from saeflow.studies.gsm8k.targets import Target
from saeflow.studies.hierarchy.patterns import problem_patterns
from saeflow.studies.hierarchy.ranking import strongest
from saeflow.studies.hierarchy.rule_counts import RANDOM_PROBLEMS, Number, specialist_numbers
from saeflow.studies.hierarchy.specialised import both_rules, random_sets
from saeflow.studies.hierarchy.specialist_tests import (
    count_specialists,
    feature_groups,
    specialist_rows,
    specialist_targets,
)

TARGETS: tuple[SpecialistTarget, ...] = ("operators", "operands")
RARE = 4
"""Features active on no more problems are what the study's specialists turned out to be."""


@dataclass(frozen=True)
class SweepCriteria:
    """Everything that decides a sweep's numbers, besides the activations.

    Attributes
    ----------
    sweep : SweepSettings
        Which k, and where.
    published : HierarchyRules
        The study's rule for specialists, whatever the rank; nothing else of it is read.
    specialists : SpecialistTests
        Exact tests and their permutations; their targets are `TARGETS`.
    """

    sweep: SweepSettings
    published: HierarchyRules
    specialists: SpecialistTests

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> SweepCriteria:
        """Criteria from the plain blocks ``sweep``, ``published`` and ``specialists``."""
        return cls(
            SweepSettings.model_validate(spec["sweep"]),
            HierarchyRules.model_validate(spec["published"]),
            SpecialistTests.model_validate(spec["specialists"]),
        )


@dataclass(frozen=True)
class Specialised:
    """What the published rule says of all features of an SAE.

    Attributes
    ----------
    n_active : numpy.ndarray of int, shape (features,)
        Problems on which each is not zero.
    found : dict of str to numpy.ndarray of bool, shape (features,)
        Which are specialised, by ending of the metric: "" as published, "_untied" with ties counted.
    chance : dict of str to numpy.ndarray of float64, shape (features,)
        Chance that as many random problems are, likewise.
    """

    n_active: Int[np.ndarray, " features"]
    found: dict[str, Bool[np.ndarray, " features"]]
    chance: dict[str, Float[np.ndarray, " features"]]


def sweep_table(
    capture: Path,
    problems: pa.Table,
    cot_tokens: pa.Table,
    dictionary: DictionarySettings,
    criteria: SweepCriteria,
    run: Mapping[str, object],
    device: torch.device,
    pieces: Callable[[int], range] = range,
) -> pa.Table:
    """Train a dictionary's SAE of every k at one site, and count specialists on held-out problems.

    SAEs are trained on the problems of the split ``train`` and measured on those of ``validation``.
    A k that is not below the dictionary's d_sae is left out.

    Parameters
    ----------
    capture : Path
        Folder of the capture.
    problems, cot_tokens : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS` and `COT_TOKENS`.
    dictionary : DictionarySettings
        Recipe of one that is trained; its k, rows, layers and steps are not read.
    criteria : SweepCriteria
        Which k, site and thresholds.
    run : mapping
        Values of the key columns dataset, dictionary, mode; the seed is the sweep's.
    device : torch.device
        Where to train and to multiply.
    pieces : callable
        Gives the places of those k that are wanted among so many usable ones; by default all.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`. The group ``k=50`` holds all features
        that fire, ``k=50 n=1`` those of a bin. Each has n_specialised and share_specialised by the
        published rule, ``_untied`` with ties counted, beside what random problems would give
        (control ``random_problems``; the interval ``independent_95`` of a count holds 95 % of
        sums of independent features), and what `specialist_rows` counts. All features also have
        n_live, of d_sae, and share_at_most_4_active, of the specialised ones.

    Raises
    ------
    SaeflowError
        If a split is empty, the dictionary is not trained, the capture lacks the step or no k is
        small enough.
    """
    sweep = criteria.sweep
    numbers, split = problems["problem"].to_numpy(), np.array(problems["split"].to_pylist(), str)
    learned, held_out = numbers[split == "train"], numbers[split == "validation"]
    if not len(learned) or not len(held_out):
        raise SaeflowError(
            f"data set {run['dataset']} has {len(learned)} problems in the split train and "
            f"{len(held_out)} in the split validation; expected at least 1 of each to train SAEs of "
            "other k."
        )
    convention = dictionary.layer_convention
    site = Site(layer_at(sweep.depth, convention, count_layers(capture)), sweep.step)
    train, test = (read_sites(capture, convention, [site], rows) for rows in (learned, held_out))
    recipe = _recipe(dictionary, train.shape[-1])
    labels = specialist_targets(TARGETS, cot_tokens, held_out)
    patterns = problem_patterns(problems, held_out).specialists

    def encoded(k: int) -> Float32[np.ndarray, "problems features"]:
        own = replace(recipe, k=k)
        bank = train_bank(train, [site], own, seed=sweep.seed, device=device).to(device)
        return bank.encode(test.to(device))[0].cpu().numpy()

    usable = usable_k(sweep.k, recipe.d_sae)
    sizes = [usable[place] for place in pieces(len(usable))]
    key = {**run, "seed": sweep.seed, "layer": site.layer, "step": site.step}
    rows: list[dict[str, Any]] = []
    # One SAE keeps one core busy, so that on a CPU several are trained at a time.
    with one_thread_each(device) as pool:
        for k, values in zip(sizes, pool.map(encoded, sizes), strict=True):
            found = _k_rows(f"k={k}", site, values, patterns, labels, criteria, device)
            rows += [{**row, **key} for row in found]
    return pa.Table.from_pylist(rows, HIERARCHY.schema())


def layer_at(depth: float, convention: LayerConvention, n_blocks: int) -> int:
    """Number of the layer at a relative depth; where a convention lacks the last block, its last.

    Parameters
    ----------
    depth : float
        Above 0; 1 is the last block's output.
    convention : {"block_output", "hidden_states_after", "hidden_states_before"}
        How the dictionary counts layers.
    n_blocks : int
        Blocks of the model.
    """
    wanted = hooked_layers(CONVENTION, n_blocks)[layers_at([depth], n_blocks)[depth]]
    counted = hooked_layers(convention, n_blocks)
    return counted.index(wanted) if wanted in counted else len(counted) - 1


def usable_k(wanted: Sequence[int], d_sae: int) -> list[int]:
    """Numbers of active latents below d_sae, ascending; the log names the others.

    Raises
    ------
    SaeflowError
        If there is none.
    """
    for k in sorted({*wanted}):
        if k >= d_sae:
            logging.getLogger("saeflow").info(
                "k %d is left out of the sweep: the dictionary has %d latents.", k, d_sae
            )
    found = sorted({k for k in wanted if k < d_sae})
    if not found:
        raise SaeflowError(
            f"sweep.k holds {', '.join(map(str, wanted))}, but the dictionary has {d_sae} latents "
            "(d_sae); expected a smaller k."
        )
    return found


def published_rule(
    values: Float32[np.ndarray, "problems features"],
    patterns: Bool[np.ndarray, "problems patterns"],
    settings: HierarchyRules,
) -> Specialised:
    """Apply the study's rule to all features of an SAE, and to random problems.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (problems, features)
        Signed activations.
    patterns : numpy.ndarray of bool, shape (problems, 9)
        As `saeflow.studies.hierarchy.patterns.Patterns.specialists` gives them.
    settings : HierarchyRules
        The rule.
    """
    samples = strongest(np.abs(values).T, settings.samples)
    n_active = np.count_nonzero(values, axis=0)
    rules = both_rules(samples, patterns, settings.specialists)
    found = {ending: each.any for ending, each in rules.items()}
    chance = random_sets(patterns, n_active, settings.samples, settings.specialists)
    return Specialised(n_active, found, chance)


def rare_share(
    n_active: Int[np.ndarray, " features"], weight: Float[np.ndarray, " features"]
) -> float | None:
    """Share of a number of features that fire on at most `RARE` problems; None where there is none.

    Parameters
    ----------
    n_active : numpy.ndarray of int, shape (features,)
        Problems on which each fires.
    weight : numpy.ndarray of float64, shape (features,)
        What each adds to the number: 1, 0 or a chance.
    """
    total = float(weight.sum())
    return float(weight[n_active <= RARE].sum()) / total if total else None


def _recipe(dictionary: DictionarySettings, d_in: int) -> Recipe:
    if dictionary.control in FIXED_CONTROLS:
        raise SaeflowError(
            f"the sweep is asked for a dictionary with the control {dictionary.control}, which is "
            "not trained; expected one that is."
        )
    return Recipe.from_settings(dictionary, d_in)


def _k_rows(
    name: str,
    site: Site,
    values: Float32[np.ndarray, "problems features"],
    patterns: Bool[np.ndarray, "problems patterns"],
    labels: Sequence[Target],
    criteria: SweepCriteria,
    device: torch.device,
) -> Iterator[dict[str, Any]]:
    rule = published_rule(values, patterns, criteria.published)
    yield from (each._asdict() for each in _live_numbers(name, rule))
    at, index = np.zeros(len(rule.n_active), np.int64), np.arange(len(rule.n_active))
    bank = BankFeatures(at + site.layer, at + site.step, index, values)
    groups = list(feature_groups(bank, name))
    for group in groups:
        found, chance = (
            {ending: each[group.chosen] for ending, each in columns.items()}
            for columns in (rule.found, rule.chance)
        )
        for number in specialist_numbers(group.label, found, chance):
            yield number._asdict()
    test = BankTest(bank, labels, criteria.specialists.tests, device)
    counted = count_specialists(test, test.candidates(), criteria.specialists)
    yield from specialist_rows(counted, groups)


def _live_numbers(name: str, rule: Specialised) -> Iterator[Number]:
    n_live = int(np.count_nonzero(rule.n_active))
    yield Number(name, "n_live", float(n_live), len(rule.n_active))
    for ending, found in rule.found.items():
        n, metric = int(np.count_nonzero(found)), f"share_at_most_{RARE}_active{ending}"
        own = rare_share(rule.n_active, found.astype(np.float64))
        yield Number(name, metric, own, n)
        chance = rare_share(rule.n_active, rule.chance[ending])
        yield Number(name, metric, chance, n, RANDOM_PROBLEMS)
