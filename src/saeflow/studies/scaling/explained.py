"""Explanations of an SAE's features from the documents of a corpus, in one pass that keeps a sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float, Int

from saeflow.config.scaling_explanations import (
    ExplanationSettings,
    TokenStatistics,
    WindowSettings,
)
from saeflow.errors import SaeflowError
from saeflow.models.capture import token_texts
from saeflow.models.language_model import LanguageModel
from saeflow.models.writers.writer import Writer, load_writer
from saeflow.saes.bank import Bank
from saeflow.saes.wide.neighbours import decoder_neighbours
from saeflow.saes.wide.reading import check_wide, encode_block, read_corpus
from saeflow.saes.wide.top_examples import BinSamples, Examples, SilentPool
from saeflow.seeds import derive_seed
from saeflow.studies.scaling.contexts import FeatureContexts, contexts_table
from saeflow.studies.scaling.explanations import (
    ExplanationTables,
    choose_features,
    explain_and_score,
)
from saeflow.studies.scaling.gathering import (
    PARTS,
    Pool,
    Window,
    gather_contexts,
    half_of,
    read_windows,
)
from saeflow.studies.scaling.reading import CHUNK, Document, WideRun

TELLERS = ("explainer", "scorer")
"""Who explains, and who scores."""


class ExplainedBank(NamedTuple):
    """What is known of the features of one SAE, and what is said of them.

    Attributes
    ----------
    examples : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_explanations.EXPLANATION_EXAMPLES`.
    tables : ExplanationTables
        Explanations, verdicts, scores and their summary.
    """

    examples: pa.Table
    tables: ExplanationTables

    @property
    def written(self) -> tuple[pa.Table, ...]:
        """All tables, in the order of `saeflow.artifacts.scaling_explanations.EXPLANATION_ARTIFACTS`."""
        return self.examples, *self.tables


def explain_bank(
    model: LanguageModel,
    run: WideRun,
    documents: Callable[[], Iterator[Document]],
    known: pa.Table,
    settings: ExplanationSettings,
    *,
    features: Sequence[int] = (),
    split: str = "train",
    explainer: Writer | None = None,
    scorer: Writer | None = None,
    batch_size: int = 32,
) -> ExplainedBank:
    """Explain features of a wide SAE and score what is said on other documents of the corpus.

    Which features are explained follows from a table that was made before, best of documents that are
    not read here; half of the documents read here explain, the other half score.

    Parameters
    ----------
    model : LanguageModel
        The model that the SAE was trained on, or an untrained one with its own SAE.
    run : WideRun
        The SAE.
    documents : callable
        Gives the documents; they are read once. What is kept does not depend on their order.
    known : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_examples.SCALING_FEATURES`, with the rows of this SAE.
    settings : ExplanationSettings
        Which features, how many contexts, who explains and who scores.
    features : sequence of int
        Features that are explained whatever is drawn, such as those of a search. They stand in no row
        of the summary, which is of random ones.
    split : str
        Split of the corpus whose densities count.
    explainer, scorer : Writer, optional
        As `explain_and_score` takes them; `load_tellers` gives them.
    batch_size : int
        Most documents per forward pass; fewer where they are long.

    Returns
    -------
    ExplainedBank
        A feature that fires on no document read here has an empty explanation and scores that are null.

    Raises
    ------
    SaeflowError
        If the SAE's values may be negative or it does not fit the model, `known` lacks its features,
        a feature does not exist, a document does not fit the model's positions, or as
        `explain_and_score` does.
    """
    bank = run.bank.to(model.device)
    check_wide(bank)
    if bank.recipe.architecture == "abstopk":
        raise SaeflowError(
            "the SAE is of abstopk, whose features take values below 0, too; expected one whose "
            "features are silent or above 0, such as topk, to explain what they fire on."
        )
    density = _densities(known, run, split)
    drawn = choose_features(density, settings.features, settings.strata, settings.seed)
    chosen = _with_others(drawn, features, bank.d_sae)
    near = _neighbours(bank, chosen, settings.windows.neighbours)
    kept = _Kept(bank, chosen, near, settings)
    for chunk in _chunks(documents()):
        kept.read(model, chunk, batch_size)
    contexts = kept.contexts(model, near)
    site = {"dictionary": run.dictionary, "seed": run.seed, "layer": bank.sites[0].layer}
    tables = explain_and_score(
        contexts,
        dict(enumerate(density.tolist())),
        settings,
        site,
        summarised=drawn.tolist(),
        explainer=explainer,
        scorer=scorer,
    )
    return ExplainedBank(contexts_table(contexts, site), tables)


def load_tellers(
    block: Mapping[str, Any], device: torch.device, files: Mapping[str, Sequence[str]]
) -> tuple[ExplanationSettings, dict[str, Writer | None]]:
    """Read settings as a rule passes them on, and make the models that explain and score.

    Parameters
    ----------
    block : mapping
        Plain form of `ExplanationSettings`, without ``path`` of a local model.
    device : torch.device
        Where a local model computes.
    files : mapping of str to sequence of str
        Files of the directories behind ``explainer`` and ``scorer``; none where they have none.

    Returns
    -------
    settings : ExplanationSettings
        With the directories back in place.
    tellers : dict of str to Writer or None
        By ``explainer`` and ``scorer``; None where tokens are counted. One and the same model is
        loaded once.

    Raises
    ------
    SaeflowError
        As `saeflow.models.writers.writer.load_writer`.
    """
    folders = {who: Path(files[who][0]).parent if files[who] else None for who in TELLERS}
    placed = {
        who: {**block[who], "path": str(folder)}
        for who, folder in folders.items()
        if folder is not None
    }
    settings = ExplanationSettings.model_validate({**block, **placed})
    made: dict[str, Writer | None] = {}
    for who, folder in folders.items():
        teller = getattr(settings, who)
        if isinstance(teller, TokenStatistics):
            made[who] = None
        elif made and teller == settings.explainer:
            made[who] = made["explainer"]
        else:
            made[who] = load_writer(teller, device, folder)
    return settings, made


class _Kept:
    """Random windows on which chosen features fire, and random windows of the corpus."""

    def __init__(
        self,
        bank: Bank,
        chosen: Int[np.ndarray, " chosen"],
        near: Mapping[int, Sequence[int]],
        settings: ExplanationSettings,
    ) -> None:
        self._bank, self._seed, self._windows = bank, settings.seed, settings.windows
        self._chosen = chosen
        self._columns = np.unique([*chosen, *(other for some in near.values() for other in some)])
        self._groups = dict[int, str]()
        self._firing, self._pool = self._samples(settings.windows)

    def _samples(self, windows: WindowSettings) -> tuple[BinSamples, SilentPool]:
        device, d_sae = self._bank.device, self._bank.d_sae
        chosen, columns = (
            torch.from_numpy(each.astype(np.int64)).to(device)
            for each in (self._chosen, self._columns)
        )
        firing = BinSamples(
            chosen,
            d_sae,
            # One bin takes everything, whatever the largest value.
            torch.ones(len(chosen), device=device),
            bins=1,
            keep=windows.activating,
            seed=derive_seed(self._seed, "explanations", "activating"),
            context=windows.context,
        )
        pool = SilentPool(
            columns,
            d_sae,
            size=windows.pool,
            seed=derive_seed(self._seed, "explanations", "pool"),
            context=windows.context,
            per_document=False,
        )
        return firing, pool

    def read(self, model: LanguageModel, documents: Sequence[Document], batch_size: int) -> None:
        """Take some documents in."""
        numbers = [document.number for document in documents]
        contents = [document.content for document in documents]
        for batch in read_corpus(model, self._bank, numbers, contents, batch_size=batch_size):
            block = encode_block(model, self._bank, batch)
            self._firing.add(block)
            self._pool.add(block)
        self._groups |= {document.number: document.group for document in documents}
        shown = {
            number
            for examples in (self._firing.examples(), self._pool.pool()[0])
            for number in torch.unique(examples.document).tolist()
        }
        self._groups = {number: self._groups[number] for number in sorted(shown)}

    def contexts(
        self, model: LanguageModel, near: Mapping[int, Sequence[int]]
    ) -> list[FeatureContexts]:
        """Contexts of the chosen features, with near misses and random ones of both halves."""

        @cache
        def show(token: int) -> str:
            return str(token_texts(model, np.array([token]))[0])

        firing = self._firing.examples()
        windows = _windows(firing, show)
        own: dict[int, list[Window]] = {feature: [] for feature in self._chosen.tolist()}
        for feature, window in zip(
            self._chosen[firing.cell.cpu().numpy()].tolist(), windows, strict=True
        ):
            own[feature].append(window)
        examples, fires = self._pool.pool()
        return gather_contexts(
            {feature: self._ranked(some) for feature, some in own.items()},
            Pool(_windows(examples, show), fires.cpu().numpy(), self._columns),
            near,
            self._groups,
            count=self._windows.silent,
            seed=self._seed,
        )

    def _ranked(self, windows: Sequence[Window]) -> list[Window]:
        """Tell of windows in which part of those of their half they are, by their largest activation."""
        halves: dict[str, list[Window]] = defaultdict(list)
        for window in windows:
            halves[half_of(window.document, self._seed)].append(window)
        found = []
        for part in PARTS:
            largest = [float(np.max(each.activations)) for each in halves[part]]
            rank = np.argsort(np.argsort(largest, kind="stable"), kind="stable")
            parts = rank * self._windows.quantiles // max(1, len(rank))
            found += [
                Window(each.document, each.tokens, each.activations, quantile)
                for each, quantile in zip(halves[part], parts.tolist(), strict=True)
            ]
        return found


def _windows(examples: Examples, show: Callable[[int], str]) -> list[Window]:
    document, token, activation = (
        each.cpu().numpy() for each in (examples.document, *examples.windows)
    )
    return read_windows(document, token, activation, np.full(len(document), -1), show)


def _densities(known: pa.Table, run: WideRun, split: str) -> Float[np.ndarray, " d_sae"]:
    """Share of a split's tokens on which each latent fires."""
    wanted = {
        "dictionary": run.dictionary,
        "seed": run.seed,
        "layer": run.bank.sites[0].layer,
        "split": split,
    }
    for name, value in wanted.items():
        known = known.filter(pc.equal(known[name], pa.scalar(value, known[name].type)))
    found = known.select(["feature", "density"]).sort_by("feature")
    if found["feature"].to_pylist() != list(range(run.bank.d_sae)):
        raise SaeflowError(
            f"The table of features has {found.num_rows} rows of {run.dictionary}, seed {run.seed}, "
            f"and the split {split}; expected one for each of its {run.bank.d_sae} features."
        )
    density: Float[np.ndarray, " d_sae"] = found["density"].to_numpy()
    return density


def _with_others(
    drawn: Int[np.ndarray, " drawn"], others: Sequence[int], d_sae: int
) -> Int[np.ndarray, " chosen"]:
    wrong = [feature for feature in others if not 0 <= feature < d_sae]
    if wrong:
        raise SaeflowError(
            f"feature {wrong[0]} is to be explained; the SAE has features 0 to {d_sae - 1}."
        )
    return np.unique(np.concatenate([drawn, np.array(list(others), np.int64)]))


def _neighbours(bank: Bank, chosen: Int[np.ndarray, " chosen"], n: int) -> dict[int, list[int]]:
    """Of each chosen feature, those whose decoder directions are most like its own."""
    found: dict[int, list[int]] = {feature: [] for feature in chosen.tolist()}
    if len(chosen):
        places = torch.from_numpy(chosen).to(bank.device)
        near = decoder_neighbours(bank.W_dec[0], places, n)
        for feature, other in zip(near.feature.tolist(), near.other.tolist(), strict=True):
            found[feature].append(other)
    return found


def _chunks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while chunk := list(islice(documents, CHUNK)):
        yield chunk
