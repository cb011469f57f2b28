"""A model of a study, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Numbers = TypeVar("Numbers")


@dataclass(frozen=True)
class StudiedModel(Generic[Numbers]):
    """One model of a study.

    Attributes
    ----------
    name : str
        In the configuration.
    numbers : Numbers
        What was measured.
    weights : mapping
        ``revision``, ``fresh`` and ``versions``, as `saeflow.report.study.weights_of` gives them.
    control : Numbers or None
        What was measured of the untrained model of its shape; ``control_name``: that model.
    """

    name: str
    numbers: Numbers
    weights: Mapping[str, Any]
    control: Numbers | None = None
    control_name: str = ""
