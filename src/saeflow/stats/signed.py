"""Features that may be negative, as those of an ``abstopk`` dictionary are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def halves(
    values: Float[np.ndarray, "examples features"],
) -> Float[np.ndarray, "examples doubled"]:
    """Split signed features: first the positive part of each, then the size of the negative part."""
    return np.concatenate([np.maximum(values, 0), np.maximum(-values, 0)], axis=1)
