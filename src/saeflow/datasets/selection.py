"""Which problems train the SAEs and which are analysed (methods/1, sections 2.1 and 2.3)."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from saeflow.config.datasets import SplitSettings, SubsetSettings
from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator

HeldOut = Literal["validation", "analysed"]


def published_split(
    n_problems: int, settings: SplitSettings
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """Split of scikit-learn's ``train_test_split(train_size, random_state, shuffle=True)``.

    Re-derived without scikit-learn (methods/1, section 2.1): a legacy NumPy permutation whose first
    part is the validation set.

    Parameters
    ----------
    n_problems : int
        How many problems there are.
    settings : SplitSettings
        Share of training problems and seed.

    Returns
    -------
    train, validation : numpy.ndarray of int64
        Running numbers in the order of the permutation.
    """
    n_train = math.floor(settings.train_share * n_problems)
    order = np.random.RandomState(settings.seed).permutation(n_problems)
    n_validation = n_problems - n_train
    return order[n_validation:], order[:n_validation]


def trains(content: str, settings: SplitSettings) -> bool:
    """Whether a text trains, by a digest of its content: equal texts are on the same side.

    Parameters
    ----------
    content : str
        The whole text.
    settings : SplitSettings
        Share of training texts and seed.
    """
    key = f"{settings.seed}\x1f{content}".encode()
    digest = int.from_bytes(hashlib.sha256(key).digest()[:8], "big")
    return digest < settings.train_share * 2**64


def analysed_mask(ids: list[str], settings: SubsetSettings) -> Bool[np.ndarray, " problems"]:
    """Mark the problems that a study analyses.

    Parameters
    ----------
    ids : list of str
        Problem ids in the order of the data set.
    settings : SubsetSettings
        The rule.

    Returns
    -------
    numpy.ndarray of bool
        True where a problem is analysed.

    Raises
    ------
    SaeflowError
        If the subset is empty or larger than the data set.
    """
    total = len(ids)
    wanted = total if settings.n is None else settings.n
    if wanted > total or not total:
        raise SaeflowError(
            f"subset asks for {settings.n} problems ({settings.kind}), but the data set holds {total}."
        )
    if settings.kind == "published":
        # numpy.unique of the ids as text: train_0, train_1, train_10, train_100, ...
        chosen = np.argsort(np.array(ids), kind="stable")[:wanted]
    elif settings.kind == "random":
        generator = numpy_generator(settings.seed, "datasets", "subset")
        chosen = generator.choice(total, wanted, replace=False)
    else:
        chosen = np.arange(wanted)
    mask = np.zeros(total, bool)
    mask[chosen] = True
    return mask


def held_out_numbers(problems: pa.Table, held_out: HeldOut) -> Int[np.ndarray, " problems"]:
    """Running numbers of the problems on which a bank is calibrated, ascending.

    Parameters
    ----------
    problems : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    held_out : {"validation", "analysed"}
        The validation split of the data set that trained the SAEs, or the analysed problems of
        another data set, none of which did.

    Raises
    ------
    SaeflowError
        If there is none.
    """
    if held_out == "analysed":
        chosen = problems["analysed"].to_numpy()
    else:
        chosen = np.array(problems["split"].to_pylist()) == "validation"
    if not chosen.any():
        raise SaeflowError(
            "no problem is held out: the data set has no validation problems; expected some, on "
            "which no SAE was trained."
        )
    numbers: Int[np.ndarray, " problems"] = problems["problem"].to_numpy()[chosen]
    return numbers


def encoded_numbers(problems: pa.Table, held_out: HeldOut | None) -> Int[np.ndarray, " problems"]:
    """Running numbers of the problems that a bank encodes, ascending: analysed ones and held-out ones.

    Parameters
    ----------
    problems : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    held_out : {"validation", "analysed"} or None
        As for `held_out_numbers`; None if nothing is calibrated.
    """
    numbers: Int[np.ndarray, " problems"] = problems["problem"].to_numpy()
    analysed = numbers[problems["analysed"].to_numpy()]
    return (
        analysed if held_out is None else np.union1d(analysed, held_out_numbers(problems, held_out))
    )
