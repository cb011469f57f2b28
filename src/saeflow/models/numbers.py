"""How the embeddings of whole numbers start in the reference models and in their controls."""

from __future__ import annotations

import math

import torch

from saeflow.models.codi import CodiModel

_PERIODS = (
    *(2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 300, 400),
    *(1000, 2000),
)


def start_numbers(model: CodiModel) -> None:
    """Let the embeddings of whole numbers start as waves of several periods.

    Numbers are tokens like any others, so a fresh model knows nothing of their order. Sums of waves
    are what small models are known to find by themselves (Nanda et al. 2023, arXiv:2301.05217);
    starting there saves a good part of the training. Half of the dimensions stay random.
    """
    embedding = model.language_model.get_input_embeddings().weight
    numbers = torch.arange(1000, dtype=torch.float32)
    angles = 2 * math.pi * numbers[:, None] / torch.tensor(_PERIODS, dtype=torch.float32)
    waves = torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)
    width = min(waves.shape[1], embedding.shape[1] // 2)
    ids = model.tokenizer.convert_tokens_to_ids([str(number) for number in range(1000)])
    spread = model.language_model.config.initializer_range
    with torch.no_grad():
        embedding[ids, :width] = (waves[:, :width] * spread * math.sqrt(2)).to(embedding)
    model.number_waves = True
