"""All measurements of one model."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from saeflow.artifacts.catalog import LOGIT_LENS
from saeflow.artifacts.provenance import Provenance, inherit
from saeflow.config.mixture import WordProblems
from saeflow.config.reference import ReferenceSettings
from saeflow.datasets.mixture import word_problems
from saeflow.datasets.texts.table import table_to_texts
from saeflow.models.codi import CodiModel
from saeflow.models.language_model import LanguageModel
from saeflow.studies.evaluation.lens import lens_measures, lens_table, read_thoughts
from saeflow.studies.evaluation.measures import measures_table
from saeflow.studies.evaluation.problems import evaluate_problems
from saeflow.studies.evaluation.texts import evaluate_decimals, evaluate_texts

_SEEN = 2000


class Evaluation(NamedTuple):
    """Tables of one model: `EVALUATION` and `LOGIT_LENS` of `saeflow.artifacts.catalog`."""

    measures: pa.Table
    lens: pa.Table


def evaluation_provenance(texts: pa.Table, model: LanguageModel, config: str) -> Provenance:
    """Provenance of both tables: the texts', the model's and the packages that decide them."""
    packages = ("torch", "transformers", "scipy", "numpy")
    return inherit(texts, config=config, model_revision=model.revision, packages=packages)


def evaluate(
    model: LanguageModel,
    seed: int,
    settings: WordProblems,
    texts: pa.Table,
    sizes: ReferenceSettings,
    *,
    latents: int,
    batch_size: int,
) -> Evaluation:
    """Measure everything on what training held out.

    Parameters
    ----------
    model : LanguageModel
        The model, on any device. One without latent thoughts is measured on texts alone: it was
        taught neither to answer word problems in a few tokens nor to think.
    seed : int
        Seed of the mixture.
    settings : WordProblems
        Its word problems.
    texts : pyarrow.Table
        All texts of the mixture, with the truth as their continuations.
    sizes : ReferenceSettings
        How many problems and texts.
    latents, batch_size : int
        Latent thoughts, and rows per forward pass.
    """
    told = table_to_texts(texts)
    read = [
        *evaluate_decimals(model, told, n_texts=sizes.n_texts, batch_size=batch_size),
        *evaluate_texts(model, told, n_texts=sizes.n_texts, batch_size=batch_size),
    ]
    if not isinstance(model, CodiModel):
        return Evaluation(measures_table(read), LOGIT_LENS.schema().empty_table())
    n = min(sizes.n_problems, settings.n_held_out)
    problems = word_problems(seed, settings, n_train=0, n_held_out=n)
    seen = word_problems(seed, settings, n_train=min(_SEEN, settings.n_train), n_held_out=0)
    shown = problems[: sizes.n_lens]
    lens = read_thoughts(model, shown, latents=latents, batch_size=batch_size)
    measures = [
        *evaluate_problems(model, problems, seen, latents=latents, batch_size=batch_size),
        *read,
        *lens_measures(lens, shown),
    ]
    return Evaluation(measures_table(measures), lens_table(lens))
