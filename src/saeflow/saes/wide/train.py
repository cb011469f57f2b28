"""Training of wide SAEs on one stream of activations (methods/5, section 6)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.config.dictionaries import TokenHook
from saeflow.errors import SaeflowError
from saeflow.progress import progress
from saeflow.saes.bank import Bank, Site
from saeflow.saes.parallel import one_thread_each
from saeflow.saes.wide.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from saeflow.saes.wide.folding import folded
from saeflow.saes.wide.recipe import WideRecipe
from saeflow.saes.wide.sae import WideSae
from saeflow.saes.wide.state import TRAINED, WideState, initial_state
from saeflow.saes.wide.stream import Stream

REPORTS = 100
"""Rows of each metric that a whole training gives, or one per step where there are fewer."""


class TrainingRow(NamedTuple):
    """One number of one stretch of training.

    Attributes
    ----------
    sae : str
        Whose.
    step : int
        Last update of the stretch, counted from 1.
    tokens : int
        Trained on up to there.
    metric : str
        See `saeflow.saes.wide.sae.WideSae.measured`.
    value : float
        Mean over the stretch; of the share of dead latents, at its end.
    """

    sae: str
    step: int
    tokens: int
    metric: str
    value: float


class TrainedWide(NamedTuple):
    """Trained SAEs, and how training went.

    Attributes
    ----------
    banks : dict of str to Bank
        Each of one site, on the CPU, reading activations as they are.
    rows : list of TrainingRow
        By step, SAE and metric.
    """

    banks: dict[str, Bank]
    rows: list[TrainingRow]


def train_wide(
    stream: Stream,
    recipes: Mapping[str, WideRecipe],
    *,
    site: Site,
    hook: TokenHook,
    checkpoint_folder: Path | None,
    device: torch.device | str,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedWide:
    """Train several wide SAEs on the same batches.

    An SAE depends on its recipe and the batches, not on the SAEs beside it; on a CPU, to the bit, not on
    the number of threads either. Decoder rows are of length 1 and gradients along them are removed,
    b_dec starts at the data, dead latents get an auxiliary loss (Gao et al., 2024, arXiv 2406.04093),
    batchtopk becomes a JumpReLU with the running mean of the least active values of batches
    (Bussmann et al., 2024, arXiv 2412.06410); but for the published form of relu, see
    `saeflow.config.streams.StreamSettings`.

    Where there is a whole checkpoint, training goes on from it, with final weights equal to the bit to
    those of a training that was not interrupted, on the same machine's CPU. The caller removes the
    checkpoints once the banks are saved.

    Parameters
    ----------
    stream : Stream
        Gives the batches, at its beginning.
    recipes : mapping of str to WideRecipe
        What to train, by names of the caller's; all with the same tokens, batch_size and
        start_batches.
    site : Site
        What the SAEs read.
    hook : str
        Where that is in the block.
    checkpoint_folder : Path or None
        Where to keep checkpoints; None: nowhere.
    device : torch.device or str
        Where to train.
    clock : callable
        Seconds, by which checkpoints are spaced.

    Returns
    -------
    TrainedWide
        Banks in the order of the recipes, and metrics.

    Raises
    ------
    SaeflowError
        If recipes do not go together, an activation or a weight is not finite, or the checkpoint
        belongs to another configuration.
    """
    training = _Training(stream, dict(recipes), torch.device(device))
    kept = training.configuration()
    if checkpoint_folder is not None:
        found = load_checkpoint(checkpoint_folder, kept)
        if found is not None:
            training.restore(found)
            logging.getLogger("saeflow").info("training goes on from step %d.", found.step)
    minutes = min(recipe.settings.checkpoint_minutes for recipe in recipes.values())
    last = clock()
    for step in training.remaining():
        training.update(step)
        due = clock() - last >= 60 * minutes and step < training.steps and not training.waiting
        if checkpoint_folder is not None and due:
            training.check()
            save_checkpoint(checkpoint_folder, training.checkpoint(step), kept)
            last = clock()
    training.check()
    banks = {
        name: folded(recipes[name], sae.state, site, hook) for name, sae in training.saes.items()
    }
    return TrainedWide(banks, training.rows)


class _Training:
    """SAEs, stream and metrics of one training."""

    def __init__(
        self, stream: Stream, recipes: dict[str, WideRecipe], device: torch.device
    ) -> None:
        _check_together(recipes)
        self.stream, self.recipes, self.device = stream, recipes, device
        first = next(iter(recipes.values()))
        self.steps, self.batch_size = first.steps, first.settings.batch_size
        self.start_batches = min(first.settings.start_batches, self.steps)
        self.report_every = max(1, self.steps // REPORTS)
        self.done, self.measured = 0, 0
        self.saes: dict[str, WideSae] = {}
        self.waiting: list[Tensor] = []
        """Batches that were drawn to start from and are still to be trained on."""
        self.rows: list[TrainingRow] = []

    def configuration(self) -> dict[str, Any]:
        """What a checkpoint must share; how often it is written and who shares a job does not matter."""
        saes = {}
        for name, recipe in self.recipes.items():
            saes[name] = asdict(recipe)
            saes[name]["settings"] = recipe.settings.model_dump(
                mode="json", exclude={"checkpoint_minutes", "saes_per_job"}
            )
        return {"d_in": self.stream.d_in, "saes": saes}

    def remaining(self) -> Iterator[int]:
        """Numbers of the updates to make, from 1, with a line or a bar now and then."""
        steps = range(self.done + 1, self.steps + 1)
        return progress(steps, description="Wide SAEs", total=len(steps), unit="steps")

    def update(self, step: int) -> None:
        """Train all SAEs on the next batch."""
        if not self.saes:
            self._begin()
        batch = self.waiting.pop(0) if self.waiting else self._next()
        for sae in self.saes.values():
            sae.step(batch)
        self.done = step
        if step % self.report_every == 0 or step == self.steps:
            batches = step - self.measured
            for name, sae in self.saes.items():
                values = sae.measured(batches, batches * self.batch_size)
                self.rows += [
                    TrainingRow(name, step, step * self.batch_size, metric, value)
                    for metric, value in values.items()
                ]
            self.measured = step

    def _begin(self) -> None:
        self.waiting = [self._next() for _ in range(self.start_batches)]
        first = torch.cat(self.waiting).to(self.device, torch.float32)
        with one_thread_each(self.device):
            for name, recipe in self.recipes.items():
                self.saes[name] = WideSae(recipe, initial_state(recipe, first, self.device))
                self.saes[name].agree(first[: self.batch_size])

    def _next(self) -> Float[Tensor, "rows d_in"]:
        batch = self.stream.next_batch(self.batch_size)
        if batch.shape != (self.batch_size, self.stream.d_in):
            raise SaeflowError(
                f"the stream gave activations of shape {list(batch.shape)}; expected "
                f"{[self.batch_size, self.stream.d_in]}."
            )
        if not bool(batch.isfinite().all()):
            raise SaeflowError(
                "the stream gave activations that are not finite; expected finite ones."
            )
        return batch

    def check(self) -> None:
        """Refuse weights that are not finite."""
        for name, sae in self.saes.items():
            if not sae.state.finite:
                raise SaeflowError(
                    f"stream.learning_rate of {name} is {sae.recipe.peak_learning_rate:g}, with which "
                    "its weights are no longer finite; expected a lower one."
                )

    def checkpoint(self, step: int) -> Checkpoint:
        """Everything that the next step depends on."""
        tensors = {}
        for name, sae in self.saes.items():
            state = sae.state
            tensors[name] = {
                "idle": state.idle,
                "threshold": state.threshold,
                "factor": state.factor,
                "sums": sae.sums,
            }
            for kind in ("weights", "mean", "square"):
                tensors[name] |= {
                    f"{kind}.{key}": each for key, each in getattr(state, kind).items()
                }
        rows = [list(row) for row in self.rows]
        return Checkpoint(step, tensors, self.stream.state(), rows)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where a checkpoint was made."""
        for name, recipe in self.recipes.items():
            tensors = {key: each.to(self.device) for key, each in checkpoint.tensors[name].items()}
            weights, mean, square = (
                {key: tensors[f"{kind}.{key}"] for key in TRAINED}
                for kind in ("weights", "mean", "square")
            )
            idle, threshold, factor = (tensors[key] for key in ("idle", "threshold", "factor"))
            state = WideState(weights, mean, square, idle, threshold, factor, checkpoint.step)
            self.saes[name] = WideSae(recipe, state)
            self.saes[name].sums = tensors["sums"]
        self.rows = [TrainingRow(*row) for row in checkpoint.rows]
        self.done = checkpoint.step
        self.measured = self.done // self.report_every * self.report_every
        self.stream.restore(checkpoint.stream)


def _check_together(recipes: Mapping[str, WideRecipe]) -> None:
    if not recipes:
        raise SaeflowError("there is no wide SAE to train; expected at least one.")
    for key in ("tokens", "batch_size", "start_batches"):
        values = {name: getattr(recipe.settings, key) for name, recipe in recipes.items()}
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            raise SaeflowError(
                f"stream.{key} differs among SAEs that share a stream ({listed}); expected one value."
            )
