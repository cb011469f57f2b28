"""A wide SAE read over a corpus, in two passes whose memory does not grow with the documents."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from saeflow.config.scaling_reading import ReadingSettings
from saeflow.errors import SaeflowError
from saeflow.interventions.splicing import spliced_cross_entropy
from saeflow.models.language_model import LanguageModel
from saeflow.models.tokens import TokenActivations
from saeflow.saes.bank import Bank
from saeflow.saes.wide.neighbours import Coactivations
from saeflow.saes.wide.reading import (
    DocumentQuality,
    FeatureSums,
    TokenBlock,
    check_wide,
    encode_block,
    read_corpus,
)
from saeflow.saes.wide.token_counts import TokenCounts
from saeflow.saes.wide.top_examples import BinSamples, SilentPool, TopExamples
from saeflow.seeds import derive_seed, torch_generator
from saeflow.stats.streaming import ResampledSums, document_weights
from saeflow.studies.scaling.reading_state import ReadingState

CHUNK = 256
"""Documents that are held at a time; batches are cut within them."""


class Document(NamedTuple):
    """One document of a corpus.

    Attributes
    ----------
    number : int
        Running number, from 0; no other document has it.
    content : str
        Its text.
    split : str
        ``train`` if its tokens trained the SAEs, else another name.
    group : str
        Such as its topic; empty where not known.
    """

    number: int
    content: str
    split: str
    group: str = ""


@dataclass(frozen=True)
class WideRun:
    """A trained SAE or a control of it.

    Attributes
    ----------
    dictionary, seed
        What it is called in tables.
    bank : Bank
        Of one site.
    """

    dictionary: str
    seed: int
    bank: Bank

    @property
    def control(self) -> str:
        """``none`` or the name of the control."""
        return self.bank.recipe.control or "none"


class SplitSums:
    """What one split of a corpus gives of all runs; examples, tokens and bins of the first run alone.

    Attributes
    ----------
    sums : list of FeatureSums
        By run.
    quality : list of DocumentQuality
        By run.
    top, tokens, silent, bins
        Of the first run's listed features; `bins` is None before the second pass.
    losses : ResampledSums
        Documents, predicted tokens and summed cross-entropies of spliced documents, by condition.
    conditions : list of str
        Names of the conditions, in the order of `losses`.
    """

    def __init__(
        self,
        runs: Sequence[WideRun],
        listed: Int[Tensor, " listed"],
        vocabulary: int,
        settings: ReadingSettings,
    ) -> None:
        self._runs, self._listed, self._settings = runs, listed, settings
        bank, examples = runs[0].bank, settings.examples
        self.sums = [FeatureSums(run.bank.d_sae, bank.device) for run in runs]
        self.quality = [DocumentQuality(run.bank) for run in runs]
        self.tokens = TokenCounts(listed, bank.d_sae, vocabulary, bank.device)
        self._context, self._once = examples.context, examples.once_per_document
        self.top = TopExamples(
            listed, bank.d_sae, keep=examples.top, context=self._context, per_document=self._once
        )
        self.silent = SilentPool(
            listed,
            bank.d_sae,
            size=examples.pool,
            seed=self._drawn("silent"),
            context=self._context,
            per_document=self._once,
        )
        self.bins: BinSamples | None = None
        self.conditions: list[str] = []
        self.losses = ResampledSums(0)
        self._spliced: list[tuple[int, int, str]] = []

    def _drawn(self, what: str) -> int:
        return derive_seed(self._settings.seed, "reading", what)

    def read(
        self,
        model: LanguageModel,
        documents: Sequence[Document],
        pairs: Coactivations,
        batch_size: int,
    ) -> None:
        """Take some documents into everything that one pass can give."""
        for batch in _read(model, self._runs, documents, batch_size):
            numbers = torch.unique(batch.text).cpu().numpy()
            weights = document_weights(numbers, self._settings.seed, "reading")
            for place, run in enumerate(self._runs):
                block = encode_block(model, run.bank, batch)
                self.sums[place].add(block)
                self.quality[place].add(block, weights)
                if not place:
                    self._add(block, pairs)
        for document in documents:
            # Those with the smallest numbers are a random choice, whatever the order they come in.
            drawn = derive_seed(self._settings.seed, "spliced", document.number)
            heapq.heappush(self._spliced, (-drawn, document.number, document.content))
            if len(self._spliced) > self._settings.spliced_documents:
                heapq.heappop(self._spliced)

    def _add(self, block: TokenBlock, pairs: Coactivations) -> None:
        for each in (self.top, self.tokens, self.silent, pairs):
            each.add(block)

    def draw_bins(self, largest: Tensor) -> None:
        """Make ready for the second pass, the largest value of every feature known."""
        examples = self._settings.examples
        self.bins = BinSamples(
            self._listed,
            self._runs[0].bank.d_sae,
            largest[self._listed],
            bins=examples.bins,
            keep=examples.per_bin,
            seed=self._drawn("bins"),
            context=self._context,
            per_document=self._once,
        )

    def read_again(
        self, model: LanguageModel, documents: Sequence[Document], batch_size: int
    ) -> None:
        """Take some documents into what needs the first pass."""
        assert self.bins is not None
        for batch in _read(model, self._runs[:1], documents, batch_size):
            self.bins.add(encode_block(model, self._runs[0].bank, batch))

    def splice(self, model: LanguageModel, mean: Tensor, batch_size: int) -> None:
        """Measure the cross-entropy of the documents that were drawn for it."""
        chosen = sorted((number, content) for _, number, content in self._spliced)
        numbers = np.array([number for number, _ in chosen], np.int64)
        saes = {str(place): run.bank for place, run in enumerate(self._runs)}
        batches = spliced_cross_entropy(
            model, saes, [content for _, content in chosen], mean=mean, batch_size=batch_size
        )
        for batch in batches:
            if not self.conditions:
                self.conditions = list(batch.sums)
                self.losses = ResampledSums(2 + len(self.conditions))
            weights = document_weights(numbers[batch.document], self._settings.seed, "reading")
            ones = np.ones(len(batch.tokens))
            columns = [ones, batch.tokens.astype(np.float64), *batch.sums.values()]
            self.losses.add(np.stack(columns, 1), weights)

    def shown_documents(self) -> set[int]:
        """Numbers of the documents that examples of the first pass are of."""
        shown = self.top.examples(), self.silent.examples(self._settings.examples.silent)
        return {number for each in shown for number in each.document.tolist()}

    def drawn_documents(self) -> set[int]:
        """Numbers of those that examples of the second pass are of so far."""
        return set() if self.bins is None else set(self.bins.examples().document.tolist())


@dataclass(frozen=True)
class CorpusSums:
    """What both passes gave.

    Attributes
    ----------
    runs : sequence of WideRun
        On the model's device.
    listed : Tensor of int64, shape (listed,)
        Features of the first run that have examples, ascending.
    splits : dict of str to SplitSums
        By split.
    pairs : Coactivations
        Of listed features with all, over all splits.
    groups : dict of int to str
        Groups of the documents that examples are of.
    """

    runs: Sequence[WideRun]
    listed: Int[Tensor, " listed"]
    splits: dict[str, SplitSums]
    pairs: Coactivations
    groups: dict[int, str]

    def fill(self, state: ReadingState) -> None:
        """Take what was kept, where a killed job had come as far."""
        kept = state.fill(self._state(), self.runs[0].bank.device)
        self.groups.update(kept["groups"])

    def keep(self, state: ReadingState, number: int, chunk: int) -> None:
        """Keep what is there, if it is time."""
        state.keep(number, chunk, list(self.splits), self._state(), WideRun)

    def _state(self) -> dict[str, Any]:
        return {"splits": self.splits, "pairs": self.pairs, "groups": self.groups}

    def between_passes(self) -> CorpusSums:
        """The same, in an order that documents do not decide, ready for the second pass."""
        found = replace(self, splits=dict(sorted(self.splits.items())))
        if not found.splits or not found.merged(0).tokens:
            raise SaeflowError(
                "the corpus has no token that counts; expected documents that are not empty."
            )
        largest = found.merged(0).largest
        for each in found.splits.values():
            each.draw_bins(largest)
        return found

    def merged(self, place: int) -> FeatureSums:
        """Sums of one run over all splits."""
        return FeatureSums.merged([split.sums[place] for split in self.splits.values()])


def sum_corpus(
    model: LanguageModel,
    runs: Sequence[WideRun],
    documents: Callable[[], Iterator[Document]],
    settings: ReadingSettings,
    *,
    features: Sequence[int] = (),
    batch_size: int = 32,
    state: ReadingState | None = None,
) -> CorpusSums:
    """Read a corpus twice; `saeflow.studies.scaling.reading_tables.read_wide` makes tables of it.

    The second pass draws from bins, which need each feature's largest value, and splices, which needs
    the mean activation: that of the split ``train`` where there is one, else of all.

    Parameters
    ----------
    model, runs, documents, settings, features, batch_size, state
        As of `read_wide`.

    Raises
    ------
    SaeflowError
        As `read_wide` does.
    """
    runs, state = _checked(model, runs), state or ReadingState()
    listed = _listed(runs[0].bank, features, settings)
    vocabulary = int(model.language_model.config.vocab_size)
    found = CorpusSums(runs, listed, {}, Coactivations(listed, runs[0].bank.d_sae), {})
    number, done, names = state.begin()
    for name in names:
        found.splits[name] = SplitSums(runs, listed, vocabulary, settings)
        if number == 2:
            bank = runs[0].bank
            found.splits[name].draw_bins(torch.zeros(bank.d_sae, device=bank.device))
    if done:
        found.fill(state)
    if number == 1:
        for chunk, (split, part) in enumerate(_chunks(documents()), start=1):
            if chunk > done:
                if split not in found.splits:
                    found.splits[split] = SplitSums(runs, listed, vocabulary, settings)
                found.splits[split].read(model, part, found.pairs, batch_size)
                found.keep(state, 1, chunk)
        found, done = found.between_passes(), 0
    _second_pass(model, found, documents(), settings, batch_size, state, done)
    return found


def _second_pass(
    model: LanguageModel,
    found: CorpusSums,
    documents: Iterator[Document],
    settings: ReadingSettings,
    batch_size: int,
    state: ReadingState,
    done: int,
) -> None:
    splits = found.splits.values()
    shown = {number for each in splits for number in each.shown_documents()}
    slots = len(found.listed) * settings.examples.bins * settings.examples.per_bin
    limit = 2 * (len(shown) + len(splits) * slots + CHUNK)
    for chunk, (split, part) in enumerate(_chunks(documents), start=1):
        if chunk <= done:
            continue
        if settings.examples.per_bin:
            found.splits[split].read_again(model, part, batch_size)
        found.groups.update((document.number, document.group) for document in part)
        # What is kept is half of the limit at most, so this is done seldom.
        if len(found.groups) > limit:
            _forget(found, shown)
        found.keep(state, 2, chunk)
    _forget(found, shown)
    if settings.spliced_documents:
        mean = _mean(found).to(model.device)
        for each in splits:
            each.splice(model, mean, batch_size)


def _forget(found: CorpusSums, shown: set[int]) -> None:
    """Drop the groups of documents that no example is of."""
    kept = shown.union(*(each.drawn_documents() for each in found.splits.values()))
    for number in [number for number in found.groups if number not in kept]:
        del found.groups[number]


def _mean(found: CorpusSums) -> Tensor:
    splits = found.splits
    used = [splits["train"]] if "train" in splits and splits["train"].sums[0].tokens else []
    used = used or [each for each in splits.values() if each.sums[0].tokens]
    tokens = np.array([each.sums[0].tokens for each in used], np.float64)
    means = np.stack([each.quality[0].mean for each in used])
    return torch.from_numpy(tokens @ means / tokens.sum()).float()


def _read(
    model: LanguageModel, runs: Sequence[WideRun], documents: Sequence[Document], batch_size: int
) -> Iterator[TokenActivations]:
    numbers = [document.number for document in documents]
    contents = [document.content for document in documents]
    return read_corpus(model, runs[0].bank, numbers, contents, batch_size=batch_size)


def _chunks(documents: Iterator[Document]) -> Iterator[tuple[str, list[Document]]]:
    """Documents of one split each, some at a time."""
    while chunk := list(islice(documents, CHUNK)):
        for split in sorted({document.split for document in chunk}):
            yield split, [document for document in chunk if document.split == split]


def _checked(model: LanguageModel, runs: Sequence[WideRun]) -> list[WideRun]:
    """Runs on the model's device; they must be of one site."""
    places = {(check_wide(run.bank), run.bank.sites[0].layer) for run in runs}
    if len(places) != 1:
        told = ", ".join(f"{hook} {layer}" for hook, layer in sorted(places))
        raise SaeflowError(
            f"the SAEs read {told or 'nothing'}; expected SAEs of one site, to be read together."
        )
    return [WideRun(run.dictionary, run.seed, run.bank.to(model.device)) for run in runs]


def _listed(
    bank: Bank, features: Sequence[int], settings: ReadingSettings
) -> Int[Tensor, " listed"]:
    """Features with examples: those asked for and random ones, ascending."""
    wrong = [feature for feature in features if not 0 <= feature < bank.d_sae]
    if wrong:
        raise SaeflowError(
            f"examples of feature {wrong[0]} are asked for; the SAE has features 0 to "
            f"{bank.d_sae - 1}."
        )
    generator = torch_generator(settings.seed, "reading", "features")
    drawn = torch.randperm(bank.d_sae, generator=generator)[: settings.features]
    asked = torch.tensor(list(features), dtype=torch.long)
    listed: Tensor = torch.unique(torch.cat([asked, drawn])).to(bank.device)
    return listed
