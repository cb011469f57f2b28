"""A trained reference model with its card, put where runs read it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch

from saeflow.artifacts.catalog import EVALUATION
from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import config_digest
from saeflow.artifacts.tables import write_table
from saeflow.config.mixture import Mixture
from saeflow.config.reference import ReferenceSettings
from saeflow.models.directories import copy_directory, directory_revision, load_directory
from saeflow.report.card import write_card
from saeflow.studies.evaluation.run import evaluate, evaluation_provenance

EVALUATION_FILE = "evaluation.parquet"
CARD_FILE = "README.md"
_BATCH_SIZE = 64


def install_reference(
    source: Path,
    target: Path,
    mixture: Mixture,
    texts: pa.Table,
    sizes: ReferenceSettings,
    device: torch.device,
) -> None:
    """Measure a trained model and copy it, with its card, to where runs read it.

    Parameters
    ----------
    source : Path
        Directory that the training wrote.
    target : Path
        Directory to write, named as the model is in the mixture; what lies there is replaced.
    mixture : Mixture
        What the model was trained on.
    texts : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.MIXTURE_TEXTS`.
    sizes : ReferenceSettings
        How many problems and texts to measure on.
    device : torch.device
        Where to measure.
    """
    recipe = mixture.models[target.name]
    model = load_directory(source, "float32", directory_revision(source)).to(device)
    measures = evaluate(
        model,
        mixture.seed,
        mixture.parts.problems,
        texts,
        sizes,
        latents=recipe.thoughts.latents,
        batch_size=_BATCH_SIZE,
    ).measures
    block = {"mixture": mixture.model_dump(mode="json"), "sizes": sizes.model_dump(mode="json")}
    with atomic_folder(target) as folder:
        copy_directory(source, folder)
        provenance = evaluation_provenance(texts, model, config_digest(block))
        write_table(measures, folder / EVALUATION_FILE, EVALUATION, provenance)
        write_card(target.name, mixture, model.n_parameters, measures, folder / CARD_FILE)
