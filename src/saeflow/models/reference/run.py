"""One training run, from a mixture to a model directory."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch

from saeflow.artifacts.catalog import TRAINING
from saeflow.artifacts.files import atomic_folder
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.tables import write_table
from saeflow.config.mixture import Mixture
from saeflow.datasets.mixture import mixture_problems, mixture_texts
from saeflow.models.directories import save_directory
from saeflow.models.loading import fresh_model
from saeflow.models.numbers import start_numbers
from saeflow.models.reference.checkpoint import CurvePoint
from saeflow.models.reference.prepare import (
    curve_accuracy,
    prepare_streams,
    prepare_tokenizer,
)
from saeflow.models.reference.train import Run, train_reference

TRAINING_FILE = "training.parquet"


def run_training(
    mixture: Mixture, name: str, folder: Path, device: torch.device, *, fingerprint: str
) -> None:
    """Train one model of the mixture and write its directory.

    Parameters
    ----------
    mixture : Mixture
        What to train on, and how.
    name : str
        Which of its models.
    folder : Path
        Directory to write: model, tokenizer, projection and curves. The run keeps its state beside
        it, in ``NAME.training``, until it is done.
    device : torch.device
        Where to train.
    fingerprint : str
        What the run is; the state of another run is not continued.
    """
    recipe = mixture.models[name]
    problems = mixture_problems(mixture.seed, mixture.parts)
    texts = mixture_texts(mixture.seed, mixture.parts, buggy=recipe.decimal_bug)
    tokenizer = prepare_tokenizer(recipe, problems, texts)
    model = fresh_model(recipe.architecture, tokenizer, mixture.seed).to(device)
    start_numbers(model)
    state = folder.with_name(f"{folder.name}.training")
    state.mkdir(parents=True, exist_ok=True)
    run = Run(
        model=model,
        recipe=recipe,
        evaluate=curve_accuracy(recipe, problems),
        checkpoint=state / "checkpoint.safetensors",
        fingerprint=hashlib.sha256(fingerprint.encode()).hexdigest(),
    )
    curves = train_reference(run, prepare_streams(mixture, tokenizer, problems, texts))
    with atomic_folder(folder) as partial:
        save_directory(model.to(torch.device("cpu")), partial)
        _write_curves(curves, partial / TRAINING_FILE, mixture, name)
    shutil.rmtree(state)


def _write_curves(curves: list[CurvePoint], path: Path, mixture: Mixture, name: str) -> None:
    columns = {
        key: [getattr(point, key) for point in curves] for key in ("step", "metric", "value")
    }
    block = {"mixture": mixture.model_dump(mode="json"), "model": name}
    packages = ("torch", "transformers", "tokenizers")
    provenance = Provenance(config_digest(block), seed=mixture.seed, packages=packages)
    write_table(columns, path, TRAINING, provenance)
