"""What objects hold that grow while a corpus is read, as tensors and a plain tree that names them.

Sums over a corpus are kept in many small objects. What they hold is walked through strictly: an
attribute of a kind that is not known here is an error, for it would be lost without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

CONSTANT = "constant"
"""What an object is made with and does not change; it is made anew, not kept."""


def pack(value: Any, tensors: dict[str, Tensor], constants: tuple[type, ...] = ()) -> Any:
    """Describe a value, and everything below it.

    Parameters
    ----------
    value : object
        Tensors, arrays, numbers, strings, tuples, lists, dictionaries, and objects of such.
    tensors : dict of str to Tensor
        Takes the tensors, on the CPU, by the name that the description has for them.
    constants : tuple of type
        Kinds that are left out, beside settings.

    Returns
    -------
    object
        Of JSON's kinds.

    Raises
    ------
    TypeError
        If a value is of another kind.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return {"plain": value}
    if isinstance(value, Tensor | np.ndarray):
        name = f"t{len(tensors)}"
        found = value if isinstance(value, Tensor) else torch.from_numpy(value)
        tensors[name] = found.detach().cpu().clone()
        return {"tensor" if isinstance(value, Tensor) else "array": name}
    if isinstance(value, (BaseModel, torch.device, *constants)):
        return CONSTANT
    if isinstance(value, list | tuple):
        kind = "items" if isinstance(value, list) else "tuple"
        return {kind: [pack(each, tensors, constants) for each in value]}
    if isinstance(value, dict):
        return {"pairs": [[key, pack(each, tensors, constants)] for key, each in value.items()]}
    if type(value).__module__.startswith("saeflow."):
        held = vars(value).items()
        return {"held": {name: pack(each, tensors, constants) for name, each in held}}
    raise TypeError(f"a {type(value).__name__} cannot be kept in a checkpoint")


def unpack(tree: Any, tensors: Mapping[str, Tensor], like: Any, device: torch.device) -> Any:
    """Return a value as it was packed; objects are filled in place.

    Parameters
    ----------
    tree : object
        What `pack` returned.
    tensors : mapping of str to Tensor
        What it kept.
    like : object
        The value of a new object that was made in the same way; it gives what is constant, and types.
    device : torch.device
        Where tensors go.
    """
    if tree == CONSTANT:
        return like
    ((kind, told),) = tree.items()
    if kind == "plain":
        return told
    if kind == "tensor":
        return tensors[told].to(device)
    if kind == "array":
        return tensors[told].numpy().copy()
    if kind == "pairs":
        made = like if isinstance(like, dict) else {}
        return {key: unpack(each, tensors, made.get(key), device) for key, each in told}
    if kind == "held":
        for name, each in told.items():
            setattr(like, name, unpack(each, tensors, getattr(like, name), device))
        return like
    # Lists of what is no object grow, so that a new one is shorter.
    before = list(like) if isinstance(like, list | tuple) else []
    before += [None] * (len(told) - len(before))
    found = [
        unpack(each, tensors, old, device)
        for each, old in zip(told, before[: len(told)], strict=True)
    ]
    if hasattr(like, "_fields"):
        return type(like)(*found)
    return tuple(found) if kind == "tuple" else found
