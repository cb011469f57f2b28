"""Sums over documents that are read once, with a bootstrap over documents that keeps none of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from saeflow.seeds import numpy_generator
from saeflow.stats.resampling import RESAMPLES, percentile_ends

POISSON = "poisson bootstrap 95 %"
"""Kind of the intervals, as tables name it; documents are the clusters."""


def document_weights(
    documents: Int[np.ndarray, " documents"], *names: int | str
) -> Int[np.ndarray, "documents resamples"]:
    """How often each document is drawn in every resample, from its number alone.

    A bootstrap draws as many documents as there are, which cannot be done before all have been seen.
    Poisson numbers with mean 1 do as well, document by document (Chamandy et al., Estimating
    uncertainty for massive data streams, 2012), and make results independent of the order.

    Parameters
    ----------
    documents : numpy.ndarray of int, shape (documents,)
        Running numbers.
    *names : int or str
        What the generators are named by, before the document's number.

    Returns
    -------
    numpy.ndarray of int64, shape (documents, resamples)
        `saeflow.stats.resampling.RESAMPLES` of them.
    """
    drawn = [
        numpy_generator(*names, "poisson", number).poisson(1.0, RESAMPLES)
        for number in documents.tolist()
    ]
    return np.array(drawn, np.int64).reshape(len(documents), RESAMPLES)


class ResampledSums:
    """Sums of quantities per document, and the same sums of every resample, in constant memory.

    Parameters
    ----------
    quantities : int
        How many are summed.

    Attributes
    ----------
    total : numpy.ndarray of float64, shape (quantities,)
        Sums so far.
    drawn : numpy.ndarray of float64, shape (resamples, quantities)
        Sums so far of the resamples.
    """

    def __init__(self, quantities: int) -> None:
        self.total = np.zeros(quantities)
        self.drawn = np.zeros((RESAMPLES, quantities))

    def add(
        self,
        sums: Float[np.ndarray, "documents quantities"],
        weights: Int[np.ndarray, "documents resamples"],
    ) -> None:
        """Count some documents, or parts of them.

        Parameters
        ----------
        sums : numpy.ndarray of float64, shape (documents, quantities)
            Of each document.
        weights : numpy.ndarray of int64, shape (documents, resamples)
            As `document_weights` gives them.
        """
        self.total += sums.sum(0)
        self.drawn += weights.T.astype(np.float64) @ sums


def drawn_ends(
    drawn: Float[np.ndarray, " resamples"], documents: float
) -> tuple[float, float] | None:
    """Ends of the 95 % interval; None where documents agree, or there are not two to draw from."""
    if documents < 2 or np.isnan(drawn).all() or np.nanmin(drawn) == np.nanmax(drawn):
        return None
    return percentile_ends(drawn)
