"""Which rule of a workflow makes a file, and with which wildcards, told by its path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple


class Made(NamedTuple):
    """What a path tells of the job behind it."""

    rule: str
    wildcards: dict[str, str]
    threads: int | None


@dataclass
class Makers:
    """Rules of a workflow, asked by path.

    Attributes
    ----------
    rules : sequence
        Snakemake's, each with ``name``, ``output``, ``benchmark`` and ``resources``.
    """

    rules: Sequence[Any]
    _known: dict[str, str | None] = field(default_factory=dict)

    def rule_of(self, path: PurePosixPath) -> str | None:
        """Rule whose output is this file, or a folder that it lies in; None if no rule's is."""
        key = path.as_posix()
        if key not in self._known:
            outside = path.parent != path and self.rule_of(path.parent)
            self._known[key] = outside or self._own(key)
        return self._known[key]

    def _own(self, path: str) -> str | None:
        found = (rule.name for rule in self.rules if any(out.match(path) for out in rule.output))
        return next(found, None)

    def measured(self, benchmark: PurePosixPath) -> Made | None:
        """Rule that keeps the time of its jobs in this file; None if none does."""
        for rule in self.rules:
            found = rule.benchmark and rule.benchmark.match(benchmark.as_posix())
            if found:
                wildcards = dict(sorted(found.groupdict().items()))
                return Made(rule.name, wildcards, _threads(rule))
        return None


def _threads(rule: Any) -> int | None:
    asked = rule.resources.get("_cores")
    # What a function decides is not known without its job.
    if asked is None or asked.is_evaluable():
        return None
    return int(asked.value)
