"""Bytes of what rules will write, by its path; told from the configuration until it is there."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from saeflow.config.datasets import (
    BalancedDataset,
    DatasetSettings,
    GeneratedDataset,
    MixtureTexts,
    PathDataset,
    Texts,
)
from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.hub_runs import fetched_as
from saeflow.config.models import HubModel, PathModel
from saeflow.config.root import Config, resolve_dictionary, resolve_model
from saeflow.config.token_banks import captured_hooks
from saeflow.preflight import total_mb
from saeflow.sizes.shapes import BYTES, Shape, loaded_gb, model_shape

Kind = Literal["models", "released", "captures", "saes", "features", "datasets", "tables"]
Basis = Literal["on disk", "computed", "assumed"]
"""on disk: measured; computed: shapes are known; assumed: rests on a number in this module."""

PROBLEMS = 7473
"""Of a file of problems that is not here yet: as many as GSM8K's training file."""
DOCUMENTS = 10_000
"""Of a corpus without a limit."""
SENTENCE_TOKENS, DOCUMENT_TOKENS = 16, 500
"""Tokens of a text of the training mixture, and of a document of a corpus."""
DOCUMENT_BYTES = 2200
"""Of a document of a corpus, compressed."""
FEATURE_BYTES = 6
"""Of an activation that is not zero: example, feature and value, compressed."""
TABLE_BYTES, FOLDER_BYTES = 500_000, 20_000_000
"""Of any other table, and of the report's folder."""
CHANNEL_BYTES = 4
"""SAEs and activations that are kept apart from models are float32."""


class Size(NamedTuple):
    """Bytes of one output, what it is, and what the number rests on."""

    bytes: float
    kind: Kind
    basis: Basis


def most_examples(block: DatasetSettings) -> int | None:
    """Examples that a data set holds at most; None where its block does not tell."""
    if isinstance(block, GeneratedDataset | MixtureTexts):
        return block.n_train + block.n_validation
    if isinstance(block, BalancedDataset):
        # Each story once per operator, of which there are four, and value.
        return block.stories * len(block.steps) * len(block.values) * 4
    return block.limit


class Results:
    """Sizes of results of one configuration.

    Parameters
    ----------
    config : Config
        The validated configuration.
    root : Path
        Folder that relative paths of the configuration start from.
    folder : Path
        Where the workflow runs.
    """

    def __init__(self, config: Config, root: Path, folder: Path = Path()) -> None:
        self.config, self.root, self.folder = config, root, folder
        self.shape = lru_cache(maxsize=None)(self._shape)
        self.examples = lru_cache(maxsize=None)(self._examples)

    def size(self, path: str) -> Size:
        """What a result takes on disk.

        Parameters
        ----------
        path : str
            An output of a rule, relative to the folder of the run.

        Returns
        -------
        Size
            Measured where the result is there.
        """
        computed = self.computed(path)
        if (self.folder / path).exists():
            return Size(1e6 * total_mb([str(self.folder / path)]), computed.kind, "on disk")
        return computed

    def computed(self, path: str) -> Size:
        """The same, told from the configuration alone."""
        match path.split("/"):
            case ["results", "models", model]:
                return self._model(model)
            case ["results", "shards", *_]:
                # Gone once they are gathered, by links where they are large.
                return Size(0.0, "tables", "computed")
            case ["results", "capture", model, dataset]:
                return self._capture(model, dataset)
            case ["results", "saes", model, dictionary, _]:
                # Those of others lie there as links to what was fetched.
                recipe = resolve_dictionary(self.config, dictionary)
                linked = recipe.released is not None
                return Size(0.0, "saes", "computed") if linked else self._bank(model, recipe)
            case ["results", "released", model, dictionary]:
                recipe = resolve_dictionary(self.config, dictionary)
                return self._bank(model, recipe)._replace(kind="released")
            case ["results", "features", model, dataset, dictionary, _]:
                return self._features(model, dataset, dictionary)
            case ["results", "datasets", dataset, _]:
                return self._dataset(dataset)
        return Size(float(TABLE_BYTES if Path(path).suffix else FOLDER_BYTES), "tables", "assumed")

    def known_bytes(self, path: str) -> float:
        """Bytes that a job will read of an input: measured, else computed for results, else 0."""
        place = self.folder / path
        if place.exists():
            return 1e6 * total_mb([str(place)])
        match path.split("/"):
            case ["results", "saes", model, dictionary, _]:
                return self._bank(model, resolve_dictionary(self.config, dictionary)).bytes
            case ["results", *_]:
                return self.computed(path).bytes
        return 0.0

    def loaded_gb(self, model: str) -> float:
        """Gigabytes of a model in the precision that it is run in."""
        settings, _ = resolve_model(self.config, model)
        return loaded_gb(settings, self.shape(model))

    def sae_bytes(self, model: str, recipe: DictionarySettings) -> float:
        """Of one SAE of a bank: encoder, decoder and both biases."""
        width = self.shape(model).width_at(recipe.hook)
        d_sae = self.latents(model, recipe)
        return float(CHANNEL_BYTES * (2 * d_sae * width + d_sae + width))

    def latents(self, model: str, recipe: DictionarySettings) -> int:
        """Latents of an SAE; of a released one as its name tells, else eight per dimension."""
        width = self.shape(model).width_at(recipe.hook)
        if recipe.released is None:
            return recipe.d_sae or width
        name = f"{recipe.released.release}/{recipe.released.sae_id}"
        if told := re.search(r"width_(\d+)(k|m)", name):
            return int(told[1]) * {"k": 1024, "m": 1024**2}[told[2]]
        if told := re.search(r"_(\d+)x", name):
            return int(told[1]) * width
        return (32 if "res-jb" in name else 8) * width

    def sites(self, model: str, recipe: DictionarySettings) -> int:
        """SAEs of a bank."""
        layers = self.shape(model).n_layers if recipe.layers == "all" else len(recipe.layers)
        return layers * (1 if recipe.hook else len(recipe.steps))

    def temporary(self, banks: list[tuple[str, str]]) -> float:
        """Bytes that one job of wide SAEs keeps while it trains: checkpoints, and a cache if asked for.

        Parameters
        ----------
        banks : list of (str, str)
            Model and dictionary of each SAE.
        """
        recipes = [(model, resolve_dictionary(self.config, name)) for model, name in banks]
        # Weights and both moments of Adam.
        total = sum(3 * self.sae_bytes(model, recipe) for model, recipe in recipes)
        model, recipe = recipes[0]
        if recipe.stream is not None and recipe.stream.cached:
            width = self.shape(model).width_at(recipe.hook)
            # Six more bytes tell document and position, as in saeflow.models.stream_cost.
            total += recipe.stream.tokens * (width * BYTES[recipe.stream.precision] + 6)
        return total

    def _shape(self, model: str) -> Shape:
        settings, _ = resolve_model(self.config, model)
        folder = None
        if isinstance(settings, PathModel):
            folder = self.root / settings.path
        elif isinstance(settings, HubModel):
            folder = self.folder / "results" / "models" / str(fetched_as(self.config, model))
        return model_shape(settings, folder)

    def _basis(self, model: str) -> Basis:
        return "assumed" if self.shape(model).guessed else "computed"

    def _model(self, name: str) -> Size:
        block = self.config.models[name]
        weights = 1e9 * (getattr(block, "weights_gb", None) or 0)
        # A checkpoint is converted, and stays in the hub's cache; others are linked to it.
        copies = 2 if getattr(block, "checkpoint", None) else 1
        return Size(copies * weights, "models", "computed" if weights else "assumed")

    def _capture(self, model: str, dataset: str) -> Size:
        settings, _ = resolve_model(self.config, model)
        shape, stored = self.shape(model), BYTES[settings.capture_dtype]
        examples = self.examples(dataset)
        if isinstance(self.config.datasets[dataset], Texts):
            widths = [shape.width_at(hook) for hook in captured_hooks(self.config, dataset)]
            tokens = examples * self._tokens(dataset)
            return Size(
                float(tokens * shape.n_layers * sum(widths) * stored), "captures", "assumed"
            )
        steps = settings.thoughts.latents + 1
        # The embedding and what the final norm gives, beside every block.
        places = shape.n_layers + 2
        counted = self._counted(dataset) and not shape.guessed
        total = examples * steps * places * shape.width * stored
        return Size(float(total), "captures", "computed" if counted else "assumed")

    def _bank(self, model: str, recipe: DictionarySettings) -> Size:
        basis: Basis = "assumed" if recipe.released else self._basis(model)
        total = self.sites(model, recipe) * self.sae_bytes(model, recipe)
        return Size(total, "saes", basis)

    def _features(self, model: str, dataset: str, dictionary: str) -> Size:
        recipe = resolve_dictionary(self.config, dictionary)
        active = self.examples(dataset) * self.sites(model, recipe) * recipe.k
        return Size(float(active * FEATURE_BYTES), "features", "assumed")

    def _dataset(self, name: str) -> Size:
        corpus = isinstance(self.config.datasets[name], Texts) and not isinstance(
            self.config.datasets[name], MixtureTexts
        )
        each = DOCUMENT_BYTES if corpus else 200
        return Size(float(self.examples(name) * each), "datasets", "assumed")

    def _tokens(self, dataset: str) -> int:
        mixture = isinstance(self.config.datasets[dataset], MixtureTexts)
        return SENTENCE_TOKENS if mixture else DOCUMENT_TOKENS

    def _counted(self, dataset: str) -> bool:
        """Whether the number of examples is known, and not the largest that there can be."""
        block = self.config.datasets[dataset]
        return (
            isinstance(block, GeneratedDataset | BalancedDataset | MixtureTexts)
            or getattr(block, "limit", None) is not None
            or self._table(dataset).is_file()
            or isinstance(block, PathDataset)
        )

    def _table(self, dataset: str) -> Path:
        kind = "texts" if isinstance(self.config.datasets[dataset], Texts) else "problems"
        return self.folder / "results" / "datasets" / dataset / f"{kind}.parquet"

    def _examples(self, dataset: str) -> int:
        """Examples of a data set: counted where it is here, else as configured, else assumed."""
        import pyarrow.parquet as pq

        block = self.config.datasets[dataset]
        if self._table(dataset).is_file():
            return int(pq.ParquetFile(self._table(dataset)).metadata.num_rows)
        if (most := most_examples(block)) is not None:
            return most
        if isinstance(block, PathDataset) and (self.root / block.path).is_file():
            return sum(1 for _ in (self.root / block.path).open("rb"))
        return DOCUMENTS if isinstance(block, Texts) else PROBLEMS

    @cached_property
    def small(self) -> bool:
        """Whether every model of the configuration is as small as the bundled ones."""
        return all(self.loaded_gb(name) < 0.2 for name in self.config.models)
