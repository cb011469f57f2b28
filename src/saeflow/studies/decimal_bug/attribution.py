"""Which heads, groups of heads and blocks of coordinates move the features that formats differ in.

The study drew its correlations of heads and features from a random generator (methods/4, section
5.6.6). Here two things are measured (section 5.6, "Do instead"):

- *Direct write*: what a unit adds to the residual stream at the last token, along the feature's
  encoder direction, in the buggy prompt minus in the plain one. The encoder reads the output of an
  MLP, which no head writes to. So this tells how far two directions agree, and is no path through
  which the unit reaches the feature. For blocks of coordinates it is that part of what attention
  writes.
- *Effect*: how the feature at the last token changes when the unit is set to its mean at all
  tokens of the buggy prompt and the model reads on. This is causal, by whatever path, and is tested
  beside other units of the same block and kind.

Features and means come from pairs of the half that chooses, all numbers from the other half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.artifacts.decimal_bug import ATTRIBUTION
from saeflow.config.decimal_bug import AttributionSettings
from saeflow.datasets.comparisons.pairs import CHOOSE, REPORT
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.errors import SaeflowError
from saeflow.interventions.unit_writes import last_mlp_outputs, replacing, unit_writes
from saeflow.interventions.units import Units, units_of
from saeflow.interventions.writing import Edits
from saeflow.models.alignment import BEGIN, Key, prompt_keys
from saeflow.models.conventions import HookedLayer, same_between_blocks
from saeflow.models.language_model import LanguageModel
from saeflow.models.tokens import TokenActivations, read_tokens
from saeflow.progress import progress
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import TokenSaes
from saeflow.stats.exact import adjusted
from saeflow.stats.resampling import cluster_averages
from saeflow.stats.unit_effects import unit_effects
from saeflow.studies.decimal_bug.differing import (
    PromptPair,
    differing_features,
    last_tokens,
    prone_pairs,
)

UNIT_HOOKS = ("attn_z", "attn_out")
Effects = dict[tuple[str, int], Float[np.ndarray, "prompts units features"]]
"""By kind of units and block of the features: change of each feature without each unit."""


@dataclass(frozen=True)
class _Means:
    """What tokens of plain prompts carry on average, by what the tokens are.

    Attributes
    ----------
    number : dict of Key to int
        Entry of a key; tokens of other keys get the last entry, the mean over all tokens.
    tables : dict of str to torch.Tensor of shape (entries, width)
        By hook.
    """

    number: dict[Key, int]
    tables: dict[str, Float[Tensor, "entries width"]]

    def given(
        self, keys: Sequence[Sequence[Key]], length: int
    ) -> dict[str, Float[Tensor, "rows length width"]]:
        """What tokens of prompts get, by hook."""
        rows = [[self.number.get(key, len(self.number)) for key in each] for each in keys]
        entries = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        return {hook: table[entries.to(table.device)] for hook, table in self.tables.items()}


def attribute(
    model: LanguageModel,
    bank: Bank,
    prompts: Sequence[Prompt],
    settings: AttributionSettings,
    run: Mapping[str, Any],
    *,
    batch_size: int,
) -> pa.Table:
    """Measure what units write along features, and what features lose without them.

    A unit is set to its mean over tokens of the same kind in plain prompts of the half that chooses
    (`saeflow.models.alignment.token_keys`); a token that these lack gets the mean over all of their
    tokens but the begin-of-text ones. Blocks before a unit cannot change and are left out. Groups of
    heads are left out where each is one head, or all heads are one group.

    Parameters
    ----------
    model : LanguageModel
        Of one of `saeflow.models.families.FAMILIES`.
    bank : Bank
        Of tokens, on the output of the MLP.
    prompts : sequence of Prompt
        In all formats and both orders; orders of one pair count as one.
    settings : AttributionSettings
        How many features, and how units are compared.
    run : mapping
        Values of the key columns dictionary and seed.
    batch_size : int
        Most prompts per forward pass.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.ATTRIBUTION`. The q-values are Benjamini-Hochberg's
        over all rows.

    Raises
    ------
    SaeflowError
        If the bank reads something else, does not fit the model, there are no prone pairs, or the
        model lacks a module.
    """
    if bank.recipe.hook != "mlp_out":
        raise SaeflowError(
            f"the bank's SAEs read {bank.recipe.hook or 'latent thoughts'}; expected a bank of a "
            "dictionary with the hook mlp_out."
        )
    kinds = [units_of(model.language_model, kind) for kind in ("head", "kv_group", "block")]
    heads = kinds[0].n_units
    # One unit has no others to stand beside.
    kinds = [each for each in kinds if each.n_units > 1]
    kinds = [each for each in kinds if each.kind != "kv_group" or each.n_units < heads]
    features = differing_features(model, bank, prompts, settings.features, batch_size=batch_size)
    features = {layer: features[layer] for layer in sorted(features) if len(features[layer])}
    study = _Study(
        model=model,
        saes=TokenSaes(bank, model.device),
        features=features,
        kinds=kinds,
        pairs=prone_pairs(prompts, REPORT),
        reference=[each.plain for each in prone_pairs(prompts, CHOOSE)],
        batch_size=batch_size,
    )
    rows: list[dict[str, Any]] = []
    layers = range(max(features, default=-1) + 1)
    for layer in progress(layers, description="blocks ablated", total=len(layers), unit="blocks"):
        rows += study.rows(layer, settings, run)
    q_values = adjusted(np.array([each["p_value"] for each in rows], np.float64), len(rows))
    table = [each | {"q_value": float(q)} for each, q in zip(rows, q_values, strict=True)]
    return pa.Table.from_pylist(table, ATTRIBUTION.schema())


@dataclass(frozen=True)
class _Study:
    """What every block is asked about; fields as in `attribute`."""

    model: LanguageModel
    saes: Mapping[int, Bank]
    features: dict[int, Int[np.ndarray, " features"]]
    kinds: list[Units]
    pairs: list[PromptPair]
    reference: list[Prompt]
    batch_size: int

    def rows(
        self, layer: int, settings: AttributionSettings, run: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Rows of one block's units, without q-values."""
        differences, changes = self._differences(layer), self._effects(layer)
        items = [each.buggy.item for each in self.pairs]
        for units in self.kinds:
            writes = unit_writes(
                self.model.language_model, units, layer, differences[units.hook][None]
            )[0]
            for later in self._later(layer):
                chosen = self.features[later]
                encoder = self.saes[later].W_enc[0][:, torch.from_numpy(chosen)]
                direct = (writes @ encoder).cpu().numpy()
                found = unit_effects(
                    changes[units.kind, later],
                    items,
                    permutations=settings.permutations,
                    seed=settings.seed,
                )
                for unit, place in np.ndindex(direct.shape):
                    yield {
                        **run,
                        "layer": layer,
                        "kind": units.kind,
                        "units": str(unit),
                        "feature_layer": later,
                        "feature": int(chosen[place]),
                        "direct_write": float(direct[unit, place]),
                        "effect": float(found.effect[unit, place]),
                        "p_value": float(found.p_value[unit, place]),
                        "n": found.n,
                    }

    def _later(self, layer: int) -> list[int]:
        return [each for each in self.features if each >= layer]

    def _read(
        self, prompts: Sequence[Prompt], hooks: Sequence[str], layers: Sequence[int]
    ) -> Iterator[TokenActivations]:
        texts = [each.text for each in prompts]
        return read_tokens(
            self.model, texts, hooks=hooks, layers=layers, batch_size=self.batch_size
        )

    def _differences(self, layer: int) -> dict[str, Float[Tensor, " width"]]:
        """What the last token of the buggy prompt carries more than that of the plain one."""
        items = [each.buggy.item for each in self.pairs]
        carried: list[dict[str, Float[np.ndarray, "prompts width"]]] = []
        for side in zip(*self.pairs, strict=True):
            values: dict[str, list[Tensor]] = {hook: [] for hook in UNIT_HOOKS}
            order: list[int] = []
            for batch in self._read(side, UNIT_HOOKS, [layer]):
                numbers, last = last_tokens(batch.text)
                order += numbers.tolist()
                for hook, kept in values.items():
                    kept.append(batch.activations[hook][0, last].cpu())
            back = np.argsort(order)
            carried.append({hook: torch.cat(kept).numpy()[back] for hook, kept in values.items()})
        return {
            hook: torch.from_numpy(
                cluster_averages(carried[0][hook] - carried[1][hook], items).mean(0)
            ).to(self.model.device, torch.float32)
            for hook in UNIT_HOOKS
        }

    def _means(self, layer: int) -> _Means:
        keys = [prompt_keys(self.model.tokenizer, each) for each in self.reference]
        number: dict[Key, int] = {}
        for each in keys:
            for key in each:
                number.setdefault(key, len(number))
        sums: dict[str, Any] = dict.fromkeys(UNIT_HOOKS, 0)
        counts: Any = 0
        for batch in self._read(self.reference, UNIT_HOOKS, [layer]):
            places = zip(batch.text.tolist(), batch.position.tolist(), strict=True)
            found = [keys[text][position] for text, position in places]
            member = torch.zeros(len(found), len(number) + 1)
            member[torch.arange(len(found)), torch.tensor([number[key] for key in found])] = 1
            member[:, -1] = torch.tensor([key != (BEGIN,) for key in found])
            # A product adds in the same order every time, unlike scattered additions on a GPU.
            member = member.T.to(self.model.device)
            counts = counts + member.sum(1, keepdim=True)
            for hook in UNIT_HOOKS:
                sums[hook] = sums[hook] + member @ batch.activations[hook][0]
        return _Means(number, {hook: total / counts for hook, total in sums.items()})

    def _effects(self, layer: int) -> Effects:
        """How features at the last token of the buggy prompts change without each unit."""
        means, later = self._means(layer), self._later(layer)
        prompts = [each.buggy for each in self.pairs]
        keys = [prompt_keys(self.model.tokenizer, each) for each in prompts]
        found: Effects = {
            (units.kind, each): np.empty((len(prompts), units.n_units, len(self.features[each])))
            for units in self.kinds
            for each in later
        }
        hook, block = same_between_blocks(HookedLayer("resid_pre", layer))
        for batch in self._read(prompts, (hook,), [block]):
            entering, mask = _rows_of(batch, hook)
            numbers = last_tokens(batch.text)[0].tolist()
            given = means.given([keys[number] for number in numbers], mask.shape[1])
            # Read anew in batches of the same shape, so that what does not change is equal.
            clean = self._features(layer, entering, mask)
            for units in self.kinds:
                for unit in range(units.n_units):
                    edits = {(units.hook, layer): replacing(units, unit, given[units.hook])}
                    without = self._features(layer, entering, mask, edits)
                    for each in later:
                        found[units.kind, each][numbers, unit] = without[each] - clean[each]
        return found

    def _features(
        self,
        layer: int,
        entering: Float[Tensor, "rows length d_model"],
        mask: Bool[Tensor, "rows length"],
        edits: Edits | None = None,
    ) -> dict[int, Float[np.ndarray, "rows features"]]:
        """Chosen features at the last token, by block, read from the input of a block on."""
        later = self._later(layer)
        outputs = last_mlp_outputs(self.model.language_model, layer, entering, mask, later, edits)
        found = {}
        for each, output in zip(later, outputs, strict=True):
            values = self.saes[each].encode(output[None])[0]
            found[each] = values[:, torch.from_numpy(self.features[each])].cpu().numpy()
        return found


def _rows_of(
    batch: TokenActivations, hook: str
) -> tuple[Float[Tensor, "rows length width"], Bool[Tensor, "rows length"]]:
    """Activations of the one layer read, a row per text, and which places are tokens."""
    _, row, counts = torch.unique_consecutive(batch.text, return_inverse=True, return_counts=True)
    values = batch.activations[hook][0]
    hidden = values.new_zeros(len(counts), int(counts.max()), values.shape[1])
    hidden[row, batch.position] = values
    places = torch.arange(hidden.shape[1], device=hidden.device)
    return hidden, places < counts[:, None]
