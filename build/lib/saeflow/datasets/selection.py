"""Which problems train the SAEs and which are analysed (methods/1, sections 2.1 and 2.3)."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Int

from saeflow.config.datasets import SplitSettings, SubsetSettings
from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator


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
