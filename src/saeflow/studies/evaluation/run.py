"""All measurements of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from saeflow.config.mixture import Mixture
from saeflow.config.reference import ReferenceSettings
from saeflow.datasets.generated import TRAIN, generate_problems
from saeflow.datasets.mixture import held_out_problems
from saeflow.datasets.texts.text import Text
from saeflow.models.codi import CodiModel
from saeflow.studies.evaluation.lens import lens_measures, lens_table, read_thoughts
from saeflow.studies.evaluation.measures import measures_table
from saeflow.studies.evaluation.problems import evaluate_problems
from saeflow.studies.evaluation.texts import evaluate_decimals, evaluate_texts

_SEEN = 2000


class Evaluation(NamedTuple):
    """Tables of one model: `EVALUATION` and `LOGIT_LENS` of `saeflow.artifacts.catalog`."""

    measures: pa.Table
    lens: pa.Table


def evaluate(
    model: CodiModel,
    mixture: Mixture,
    texts: Sequence[Text],
    sizes: ReferenceSettings,
    *,
    latents: int,
    batch_size: int,
) -> Evaluation:
    """Measure everything on what training held out.

    Parameters
    ----------
    model : CodiModel
        The model, on any device.
    mixture : Mixture
        Gives the word problems.
    texts : sequence of Text
        All texts of the mixture, with the truth as their continuations.
    sizes : ReferenceSettings
        How many problems and texts.
    latents, batch_size : int
        Latent thoughts, and rows per forward pass.
    """
    problems = held_out_problems(mixture)[: sizes.n_problems]
    settings = mixture.parts.problems
    seen = [
        problem
        for problem in generate_problems(
            n_train=min(_SEEN, settings.n_train),
            n_validation=0,
            seed=mixture.seed,
            max_number=settings.max_number,
            step_weights=settings.step_weights,
            decimal_share=settings.decimal_share,
        )
        if problem.split == TRAIN
    ]
    read = problems[: sizes.n_lens]
    lens = read_thoughts(model, read, latents=latents, batch_size=batch_size)
    measures = [
        *evaluate_problems(model, problems, seen, latents=latents, batch_size=batch_size),
        *evaluate_decimals(model, texts, n_texts=sizes.n_texts, batch_size=batch_size),
        *evaluate_texts(model, texts, n_texts=sizes.n_texts, batch_size=batch_size),
        *lens_measures(lens, read),
    ]
    return Evaluation(measures_table(measures), lens_table(lens))
