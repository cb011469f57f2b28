"""The training loop of a reference model."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from saeflow.config.mixture import ReferenceModel, Rows, Stage, Training
from saeflow.models.codi import CodiModel
from saeflow.models.reference.batches import Stream
from saeflow.models.reference.checkpoint import (
    CurvePoint,
    TrainingState,
    checkpoint_step,
    load_checkpoint,
    save_checkpoint,
)
from saeflow.models.reference.examples import TextExample, ThoughtExample
from saeflow.models.reference.objective import text_loss, thought_losses
from saeflow.progress import progress

_BETAS = (0.9, 0.98)
_CURVE_EVERY = 50
_EMBEDDINGS = ("embed_tokens", "wte", "wpe")


@dataclass(frozen=True)
class Streams:
    """What the steps of a stage read.

    Attributes
    ----------
    thoughts : dict of str to Stream of ThoughtExample
        Problems, by the name of their part.
    texts : dict of str to Stream of TextExample
        Plain texts, by the name of their part.
    """

    thoughts: Mapping[str, Stream[ThoughtExample]]
    texts: Mapping[str, Stream[TextExample]]


class Run(NamedTuple):
    """What all stages of a run share.

    Attributes
    ----------
    model : CodiModel
        Trained in place.
    recipe : ReferenceModel
        Number of latents, stages and weights.
    evaluate : callable
        Accuracies of the model by name, measured now and then.
    checkpoint : Path
        Where the run keeps its state.
    fingerprint : str
        What the run is; a checkpoint of another run is not continued.
    """

    model: CodiModel
    recipe: ReferenceModel
    evaluate: Callable[[CodiModel], Mapping[str, float]]
    checkpoint: Path
    fingerprint: str


def train_reference(run: Run, streams: Callable[[Rows], Streams]) -> list[CurvePoint]:
    """Train a model in place, stage by stage.

    Matrices of the blocks are trained with Muon, everything else with AdamW. A run that was
    stopped goes on from its last checkpoint and gives what it would have given.

    Parameters
    ----------
    run : Run
        The model, on the device of the training, and how to train it.
    streams : callable
        Gives what the steps of a stage read; steps are counted over all stages.

    Returns
    -------
    list of CurvePoint
        Losses every 50 steps (means over them), and accuracies.
    """
    parameters = _parameters(run.model)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    state = TrainingState(parameters, [], 0, [])
    done = checkpoint_step(run.checkpoint, run.fingerprint)
    if done:
        load_checkpoint(state, run.checkpoint, with_optimizers=False)
    start = 0
    for stage in run.recipe.training.stages:
        end = start + stage.steps
        if done < end:
            state.optimizers = _optimizers(parameters, run.recipe.training, stage)
            if done > start:
                load_checkpoint(state, run.checkpoint, with_optimizers=True)
            _train_stage(run, streams(stage.rows), stage, state, start)
        start = end
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    return state.curves


def _train_stage(
    run: Run, streams: Streams, stage: Stage, state: TrainingState, start: int
) -> None:
    log = logging.getLogger("saeflow")
    settings, end = run.recipe.training, start + stage.steps
    schedules = _schedules(state.optimizers, stage, state.step - start)
    sums: defaultdict[str, list[float]] = defaultdict(list)
    saved = time.monotonic()
    steps = range(state.step, end)
    log.info("training: steps %d to %d", state.step, end)
    for step in progress(steps, description="training", total=len(steps), unit="steps"):
        with_student = step - start >= stage.teacher_steps
        for name, value in _backward(run, streams, step, with_student).items():
            sums[name].append(value)
        clip_grad_norm_(state.parameters.values(), settings.clip)
        for optimizer, schedule in zip(state.optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        state.step = step + 1
        at_end = state.step == end
        if state.step % _CURVE_EVERY == 0 or at_end:
            _note(state, {name: sum(each) / len(each) for name, each in sums.items()}, log)
            sums.clear()
        if state.step % settings.evaluate_every == 0 or at_end:
            _note(state, run.evaluate(run.model), log)
        # Between notes the sums are not in the checkpoint, so it waits for the next one.
        due = time.monotonic() - saved > settings.checkpoint_minutes * 60
        if at_end or (due and not sums):
            save_checkpoint(state, run.checkpoint, run.fingerprint)
            saved = time.monotonic()


def _backward(run: Run, streams: Streams, step: int, with_student: bool) -> dict[str, float]:
    """Add the gradients of one step and return its losses."""
    losses: dict[str, Tensor] = {}
    model, recipe = run.model, run.recipe
    for name, stream in streams.thoughts.items():
        if examples := stream.batch(step):
            each = thought_losses(
                model, examples, latents=recipe.thoughts.latents, with_student=with_student
            )
            each.total(recipe.training.distillation).backward()  # type: ignore[no-untyped-call]
            losses[f"{name} teacher"] = each.teacher
            if with_student:
                losses[f"{name} student"] = each.student
                losses[f"{name} distillation"] = each.distillation
    for name, texts in streams.texts.items():
        if rows := texts.batch(step):
            losses[name] = text_loss(model, rows)
            losses[name].backward()  # type: ignore[no-untyped-call]
    return {f"loss {name}": float(value.detach()) for name, value in losses.items()}


def _note(state: TrainingState, values: Mapping[str, float], log: logging.Logger) -> None:
    state.curves += [CurvePoint(state.step, name, value) for name, value in values.items()]
    told = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    log.info("step %d: %s", state.step, told)


def _parameters(model: CodiModel) -> dict[str, nn.Parameter]:
    """Name every parameter once; the output embedding is the input embedding."""
    parameters = dict(model.language_model.named_parameters())
    for name, parameter in model.projection.named_parameters():
        parameters[f"projection.{name}"] = parameter
    return parameters


def _optimizers(
    parameters: Mapping[str, nn.Parameter], settings: Training, stage: Stage
) -> list[Optimizer]:
    def is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
        return (
            parameter.ndim == 2
            and not name.startswith("projection.")
            and not any(part in name for part in _EMBEDDINGS)
        )

    matrices = [p for name, p in parameters.items() if is_block_matrix(name, p)]
    others = [p for name, p in parameters.items() if not is_block_matrix(name, p)]
    return [
        Muon(
            matrices,
            lr=stage.muon_lr,
            weight_decay=settings.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        AdamW(
            others,
            lr=stage.adam_lr,
            betas=_BETAS,
            weight_decay=settings.weight_decay,
            fused=True,
        ),
    ]


def _schedules(optimizers: Sequence[Optimizer], stage: Stage, done: int) -> list[LambdaLR]:
    def share(step: int) -> float:
        warm = min(1.0, (step + 1) / stage.warmup_steps)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / stage.steps)))

    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [LambdaLR(optimizer, share, last_epoch=done - 1) for optimizer in optimizers]
