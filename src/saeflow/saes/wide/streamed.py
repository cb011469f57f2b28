"""From a model and a corpus to trained wide SAEs, as banks with their quality."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import Provenance, config_digest, inherit, package_version
from saeflow.artifacts.scaling_training import SCALING_TRAINING, TRAINING_FILE
from saeflow.artifacts.tables import check_schema, write_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.streams import StreamSettings
from saeflow.errors import SaeflowError
from saeflow.models.activation_stream import ActivationStream
from saeflow.models.contexts import Contexts
from saeflow.models.language_model import LanguageModel
from saeflow.models.stream_cost import StreamCost, estimate
from saeflow.saes.bank import EVERY_TOKEN, Site
from saeflow.saes.quality import SiteMetric
from saeflow.saes.training import TrainedBank, write_bank
from saeflow.saes.wide.recipe import WideRecipe
from saeflow.saes.wide.train import TrainedWide, train_wide

CACHE, CHECKPOINTS = "activations", "checkpoints"
PACKAGES = ("torch", "transformers", "sae-lens")


class Wanted(NamedTuple):
    """A wide SAE to train.

    Attributes
    ----------
    dictionary : str
        Name of its recipe.
    seed : int
        Of its initial weights.
    settings : DictionarySettings
        The recipe, with a hook, one layer and a stream.
    """

    dictionary: str
    seed: int
    settings: DictionarySettings

    @property
    def name(self) -> str:
        """What training calls it."""
        return f"{self.dictionary}/seed{self.seed}"

    @property
    def stream(self) -> StreamSettings:
        """How it is trained."""
        assert self.settings.stream is not None, "the configuration sends no other here"
        return self.settings.stream

    @property
    def recipe(self) -> WideRecipe:
        """What is trained."""
        block = self.settings
        assert block.d_sae is not None, "controls without d_sae are not trained on streams"
        return WideRecipe(block.d_sae, block.k, self.seed, block.control, self.stream)


@dataclass(frozen=True)
class StreamedBank:
    """A trained wide SAE.

    Attributes
    ----------
    wanted : Wanted
        What it is.
    bank : TrainedBank
        The SAE; its quality is that of the last stretch of training, on what trained it.
    training : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_training.SCALING_TRAINING`.
    """

    wanted: Wanted
    bank: TrainedBank
    training: pa.Table

    def write(self, folder: Path, provenance: Provenance) -> None:
        """Write SAELens's files, quality and training into a folder that exists."""
        write_bank(self.bank, folder, self.wanted.dictionary, self.wanted.seed, provenance)
        write_table(self.training, folder / TRAINING_FILE, SCALING_TRAINING, provenance)


def train_streamed(
    model: LanguageModel,
    texts: Path,
    wanted: Sequence[Wanted],
    *,
    batch_size: int,
    state: Path,
    checkpoint_minutes: float | None = None,
    code: str = "",
) -> list[StreamedBank]:
    """Train SAEs side by side on the tokens of a corpus, which the model reads meanwhile.

    Parameters
    ----------
    model : LanguageModel
        The model, on the device that shall compute.
    texts : Path
        Columns of `saeflow.artifacts.catalog.TEXTS`; those of the split train are read.
    wanted : sequence of Wanted
        SAEs of one hook, layer and stream.
    batch_size : int
        Contexts per forward pass.
    state : Path
        Folder of checkpoints, from which a killed training goes on, and of cached activations. The
        caller removes it once the banks are written.
    checkpoint_minutes : float, optional
        Minutes between checkpoints, in place of those that the recipes name.
    code : str
        Digest of the code; what other code left in `state` is not gone on with.

    Returns
    -------
    list of StreamedBank
        In the order of `wanted`.

    Raises
    ------
    SaeflowError
        If the model lacks the layer, the disk cannot hold the cache, or as `train_wide` does.
    """
    first, stream = wanted[0].settings, wanted[0].stream
    assert first.hook is not None, "see DictionarySettings"
    assert not isinstance(first.layers, str), "see DictionarySettings"
    (layer,) = first.layers
    contexts = Contexts(model, texts, stream.contexts, batch_size=batch_size)
    cost = estimate(
        model,
        contexts,
        hook=first.hook,
        layer=layer,
        tokens=stream.tokens,
        dtype=stream.precision,
        cache=stream.cached,
    )
    logging.getLogger("saeflow").info("%s", cost.sentence())
    trained = [[*each[:2], _decides(each.settings)] for each in wanted]
    versions = {name: package_version(name) for name in PACKAGES}
    made_with = [code, versions, model.device.type, model.revision, contexts.identity, trained]
    state = state / config_digest(made_with)
    state.mkdir(parents=True, exist_ok=True)
    _check_room(state, cost)
    activations = ActivationStream(
        model,
        contexts,
        hook=first.hook,
        layer=layer,
        buffer_tokens=stream.buffer_tokens,
        dtype=stream.precision,
        cache=state / CACHE if stream.cached else None,
    )
    recipes = {each.name: each.recipe for each in wanted}
    if checkpoint_minutes is not None:
        own = {"checkpoint_minutes": checkpoint_minutes}
        recipes = {
            name: replace(each, settings=each.settings.model_copy(update=own))
            for name, each in recipes.items()
        }
    done = train_wide(
        activations,
        recipes,
        site=Site(layer, EVERY_TOKEN),
        hook=first.hook,
        checkpoint_folder=state / CHECKPOINTS,
        device=model.device,
    )
    return [_streamed(each, done) for each in wanted]


def training_state(target: Path) -> Path:
    """Folder beside a bank in which the training of it and others is kept until they are written."""
    return target.with_name(f"{target.name}.training")


def write_streamed(
    banks: Sequence[StreamedBank],
    targets: Sequence[Path],
    blocks: Sequence[Any],
    texts: Path,
    model_revision: str | None,
) -> None:
    """Write banks, each with the provenance that it would have by itself.

    Parameters
    ----------
    banks : sequence of StreamedBank
        As trained.
    targets : sequence of Path
        Where each shall be.
    blocks : sequence of plain values
        Configuration of each.
    texts : Path
        What the model read.
    model_revision : str or None
        Of that model.
    """
    for bank, target, block in zip(banks, targets, blocks, strict=True):
        provenance = inherit(
            check_schema(texts, TEXTS),
            config=config_digest(block),
            seed=bank.wanted.seed,
            model_revision=model_revision,
            packages=PACKAGES,
        )
        with atomic_folder(target) as folder:
            bank.write(folder, provenance)


def _decides(settings: DictionarySettings) -> dict[str, Any]:
    """What a training depends on."""
    block = settings.model_dump(mode="json")
    idle = ("checkpoint_minutes", "saes_per_job")
    return block | {
        "stream": {name: value for name, value in block["stream"].items() if name not in idle}
    }


def _check_room(folder: Path, cost: StreamCost) -> None:
    free = shutil.disk_usage(folder).free
    # What a killed training has cached already needs no more room.
    files = (folder / CACHE).rglob("*")
    needed = cost.cache_bytes - sum(each.stat().st_size for each in files if each.is_file())
    if needed > free:
        raise SaeflowError(
            f"stream.cached needs about {needed / 1e9:.3g} GB more below {folder}, where "
            f"{free / 1e9:.3g} GB are free; expected more room, or cached: false."
        )


def _streamed(wanted: Wanted, trained: TrainedWide) -> StreamedBank:
    bank, control = trained.banks[wanted.name], wanted.settings.control or "none"
    own = [row for row in trained.rows if row.sae == wanted.name]
    rows: list[dict[str, Any]] = [
        {
            "dictionary": wanted.dictionary,
            "seed": wanted.seed,
            "control": control,
            "step": row.step,
            "tokens": row.tokens,
            "metric": row.metric,
            "value": row.value if math.isfinite(row.value) else None,
        }
        for row in own
    ]
    tokens = wanted.stream.batch_size
    last = [
        ("train", SiteMetric(bank.sites[0], row.metric, row.value, tokens))
        for row in own
        if row.step == own[-1].step
    ]
    table = pa.Table.from_pylist(rows, SCALING_TRAINING.schema())
    return StreamedBank(wanted, TrainedBank(bank, last, control), table)
