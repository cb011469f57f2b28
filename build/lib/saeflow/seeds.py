"""Seeds derived per stage and per part, never shared and never global (design, section 4)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch


def derive_seed(*parts: int | str) -> int:
    """Seed of one part of one stage.

    Parameters
    ----------
    *parts : int or str
        The path to the part, coarse to fine, such as ``(seed, "bank", layer, step)``.

    Returns
    -------
    int
        In [0, 2**63), the same on every platform and Python version.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(*parts: int | str) -> numpy.random.Generator:
    """NumPy generator of one part; see `derive_seed`."""
    import numpy

    return numpy.random.Generator(numpy.random.PCG64(derive_seed(*parts)))


def torch_generator(*parts: int | str) -> torch.Generator:
    """CPU torch generator of one part; see `derive_seed`.

    Random numbers are always drawn on the CPU, so that a run on CUDA starts from the same weights.
    """
    import torch

    return torch.Generator().manual_seed(derive_seed(*parts))
