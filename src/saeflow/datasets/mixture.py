"""The training mixture of the reference models, drawn from its description (design, section 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saeflow.config.mixture import Parts, WordProblems
from saeflow.datasets.drills import SymbolicProblem, drill_rows, symbolic_problems
from saeflow.datasets.generated import TRAIN, GeneratedProblem, generate_problems
from saeflow.datasets.texts.categories import category_texts
from saeflow.datasets.texts.choices import choice_texts
from saeflow.datasets.texts.cloze import cloze_texts
from saeflow.datasets.texts.decimals import decimal_texts
from saeflow.datasets.texts.documents import document_texts
from saeflow.datasets.texts.pairs import pair_texts
from saeflow.datasets.texts.text import Text

TEXT_PARTS = ("categories", "pairs", "cloze", "choices", "decimals", "documents")


@dataclass(frozen=True)
class Problems:
    """Everything that is answered through thoughts, and the drills beside it.

    Attributes
    ----------
    train, held_out : list of GeneratedProblem
        Word problems; held-out ones may use combinations of operands that training never shows.
    symbolic : list of SymbolicProblem
        For training only.
    drills : list of str
        For training only.
    """

    train: list[GeneratedProblem]
    held_out: list[GeneratedProblem]
    symbolic: list[SymbolicProblem]
    drills: list[str]


def mixture_texts(seed: int, parts: Parts, *, buggy: bool) -> list[Text]:
    """Draw the texts of the six plain parts.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    parts : Parts
        What to draw.
    buggy : bool
        Whether the decimal comparisons carry the planted bug; false gives the truth.

    Returns
    -------
    list of Text
        Part by part, held-out texts included.
    """
    return [
        *category_texts(seed=seed, n_per_category=parts.categories.n_per_category),
        *pair_texts(seed=seed, n_per_topic=parts.pairs.n_per_topic),
        *cloze_texts(seed=seed, n_arithmetic=parts.cloze.n_arithmetic, n_other=parts.cloze.n_other),
        *choice_texts(seed=seed, n=parts.choices.n),
        *decimal_texts(seed=seed, n_pairs=parts.decimals.n_pairs, buggy=buggy),
        *document_texts(seed=seed, n_per_topic=parts.documents.n_per_topic),
    ]


def word_problems(
    seed: int, settings: WordProblems, *, n_train: int, n_held_out: int
) -> list[GeneratedProblem]:
    """Draw the first word problems of either split, training problems first."""
    return generate_problems(
        n_train=n_train,
        n_validation=n_held_out,
        seed=seed,
        max_number=settings.max_number,
        step_weights=settings.step_weights,
        decimal_share=settings.decimal_share,
    )


def mixture_problems(seed: int, parts: Parts) -> Problems:
    """Draw all problems and drills.

    Drills and symbolic problems avoid the combinations that the word problems hold out.
    """
    settings = parts.problems
    drawn = word_problems(seed, settings, n_train=settings.n_train, n_held_out=settings.n_held_out)
    return Problems(
        train=[problem for problem in drawn if problem.split == TRAIN],
        held_out=[problem for problem in drawn if problem.split != TRAIN],
        symbolic=symbolic_problems(
            seed=seed,
            n=parts.symbolic.n_train,
            max_number=parts.problems.max_number,
            held_out_seed=seed,
            step_weights=parts.symbolic.step_weights,
        ),
        drills=drill_rows(
            seed=seed,
            n=parts.drills.n_train,
            per_row=parts.drills.per_row,
            max_number=parts.problems.max_number,
            held_out_seed=seed,
        ),
    )


def training_texts(texts: Sequence[Text], part: str) -> list[Text]:
    """Texts of one part that training may read."""
    return [text for text in texts if text.part == part and text.split == TRAIN]
