"""Figures with a list to choose from: which of their traces are shown; see `page.js`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeflow.report.specialists.numbers import Figure


def offer(figure: Figure, choices: Mapping[str, Mapping[str, Sequence[int]]]) -> Figure:
    """Let a reader choose which traces of a figure are shown; the first of each choice is at first.

    Parameters
    ----------
    figure : dict
        ``data`` and ``layout``, all traces visible.
    choices : mapping of str to mapping of str to sequence of int
        By what is chosen: traces by the name of the option. A trace is in one choice at most.
    """
    shown: list[dict[str, Any]] = []
    for label, options in choices.items():
        for number, traces in enumerate(options.values()):
            for trace in traces:
                figure["data"][trace]["visible"] = number == 0
        named = [{"title": title, "traces": list(traces)} for title, traces in options.items()]
        if len(named) > 1:
            shown.append({"label": label, "options": named})
    figure["layout"]["meta"] = {"choices": shown}
    return figure
