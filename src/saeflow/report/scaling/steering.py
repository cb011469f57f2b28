"""What is written at each dose of a topic's feature, beside directions of the same length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow.compute as pc

from saeflow.report.cells import (
    Cell,
    filled,
    number_cell,
    p_text,
    plain_cell,
    share_cell,
    table,
    text_cell,
)
from saeflow.report.scaling.numbers import (
    CALIBRATED,
    NONE,
    PUBLISHED,
    Figure,
    Numbers,
    Row,
    Table,
    holds,
    of_sae,
)
from saeflow.report.scaling.panels import DASHED, SOLID, Line, Panel, panels_figure
from saeflow.report.specialists.choices import offer
from saeflow.report.specialists.verdicts import too_few
from saeflow.report.tables import MISSING

FEATURE, EVERY = "feature", "every"
CONTROLS = {
    "random_feature": "a random feature as frequent",
    "random_direction": "a random direction",
    "decoder_bias": "the decoder’s bias alone",
    "difference_of_means": "the difference of means, without an SAE",
}
"""What is added in place of the feature, in words."""
DIRECTIONS = {FEATURE: "the topic’s feature", **CONTROLS}
SCORES = {
    "class_probability": "probability of the topic, by a classifier of words",
    "lexicon_share": "share of words that are on the topic’s list",
}
"""How much a continuation is on the topic, in words; the first is told first."""
SHORT = {"class_probability": "classifier", "lexicon_share": "word list"}
"""The same in a word or two."""
COSTS = {
    "kl": "divergence of the next token, nats",
    "log_perplexity": "log perplexity under the unsteered model, nats",
    "repeated_2": "share of pairs of tokens that repeat",
    "distinct_2": "different pairs of tokens over all",
    "tokens": "tokens written",
}
"""What steering does to a continuation whatever it is about, in words."""
LEVEL = 0.05
Place = tuple[str, str, float | None, str]
"""Topic, direction, dose and control."""


def steering_rows(numbers: Numbers, mode: str = CALIBRATED) -> dict[str, dict[Place, Row]]:
    """Rows of the main SAE's steering by metric and place."""
    found: dict[str, dict[Place, Row]] = {}
    for row in of_sae(numbers.tables["steering"], numbers.main):
        if row["mode"] == mode and row["value"] is not None:
            place = (row["topic"], row["direction"], row["dose"], row["control"])
            found.setdefault(row["metric"], {})[place] = row
    return found


def topics(numbers: Numbers) -> list[str]:
    """Topics that were steered to, in the order of the table."""
    rows = of_sae(numbers.tables["steering"], numbers.main)
    return list(dict.fromkeys(row["topic"] for row in rows if row["topic"]))


def doses_figure(numbers: Numbers, metrics: Mapping[str, str]) -> Figure | None:
    """Dose and response of every topic, a panel each; a reader chooses what is measured.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was steered.
    """
    rows, named = steering_rows(numbers), topics(numbers)
    whole: Figure | None = None
    options: dict[str, list[int]] = {}
    for metric, title in metrics.items():
        panels = [Panel(topic, list(_lines(rows.get(metric, {}), topic))) for topic in named]
        drawn = panels_figure(
            panels,
            columns=4,
            title="dose",
            format=".3f",
            shared=True,
            band=DIRECTIONS[FEATURE],
        )
        if drawn is None:
            continue
        before = 0 if whole is None else len(whole["data"])
        options[title] = list(range(before, before + len(drawn["data"])))
        if whole is None:
            whole = drawn
        else:
            whole["data"] = [*whole["data"], *drawn["data"]]
    return None if whole is None else offer(whole, {"Measured": options})


def _lines(rows: Mapping[Place, Row], topic: str) -> Iterator[Line]:
    """A line per direction, all of which begin with what is written without any."""
    start = rows.get((topic, NONE, 0.0, NONE))
    for direction, title in DIRECTIONS.items():
        found = {
            place[2]: row
            for place, row in rows.items()
            if place[:2] == (topic, direction) and place[2] is not None and place[3] == NONE
        }
        if found:
            doses = ({} if start is None else {0.0: start}) | dict(sorted(found.items()))
            style = SOLID if direction == FEATURE else DASHED
            yield Line(title, {f"{dose:g}×": row for dose, row in doses.items()}, style)


def slopes_table(numbers: Numbers) -> Table | None:
    """Slope of every topic's score along its feature, less that along each control, with tests."""
    rows = steering_rows(numbers)
    cells = []
    for score, title in SHORT.items():
        found = rows.get(f"{score}_slope", {})
        for topic in topics(numbers):
            own = found.get((topic, FEATURE, None, NONE))
            if own is None:
                continue
            line = [text_cell(topic), text_cell(title), *_tested(own)]
            line += [number_cell(found.get((topic, "difference_of_means", None, NONE)), _slope)]
            for control in (*CONTROLS, EVERY):
                line += _tested(found.get((topic, FEATURE, None, control)))
            cells.append(line)
    heads = [("Topic", False), ("Score", False), ("Slope along the feature", True), ("Holm", True)]
    heads += [("Along the difference of means", True)]
    for title in (*CONTROLS.values(), "the control that comes nearest"):
        heads += [(f"Minus {title}", True), ("Holm", True)]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


class Passing(NamedTuple):
    """Topics whose feature's slope exceeds that of a control.

    Attributes
    ----------
    topics : list of str
        Those of which it does, by the whole interval and after Holm.
    tested : list of str
        All that were tested.
    short : int
        How many could not pass, whatever is found: signs of too few prompts.
    """

    topics: list[str]
    tested: list[str]
    short: int


def passing(numbers: Numbers, score: str, control: str = EVERY) -> Passing:
    """Hold the slopes of all topics' features against a control; against 0 with the control none."""
    found = steering_rows(numbers).get(f"{score}_slope", {})
    tested = {
        place[0]: row for place, row in found.items() if place[1:] == (FEATURE, None, control)
    }
    passed = [topic for topic, row in tested.items() if holds(row, LEVEL, "p_holm")]
    return Passing(passed, list(tested), sum(too_few([row["n"] for row in tested.values()])))


def costs_table(numbers: Numbers) -> Table | None:
    """What steering costs at each dose, direction by direction and topic by topic."""
    rows = steering_rows(numbers)
    places = dict.fromkeys(
        place for metric in (*SCORES, *COSTS) for place in rows.get(metric, {}) if place[3] == NONE
    )
    cells = []
    for place in places:
        topic, direction, dose, _ = place
        if dose is None or not topic:
            continue
        line = [text_cell(topic), text_cell(DIRECTIONS.get(direction, "nothing added"))]
        line += [plain_cell(dose, "{:g}".format)]
        line += [share_cell(rows.get(score, {}).get(place)) for score in SCORES]
        line += [number_cell(rows.get(cost, {}).get(place), _short) for cost in COSTS]
        cells.append(line)
    heads = [("Topic", False), ("Added", False), ("Dose", True)]
    heads += [(title.capitalize(), True) for title in (*SCORES.values(), *COSTS.values())]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


def accuracy(numbers: Numbers) -> Row | None:
    """How often the classifier of topics is right on documents that did not make it."""
    return steering_rows(numbers).get("classifier_accuracy", {}).get(("", NONE, None, NONE))


def written(numbers: Numbers, mode: str) -> list[dict[str, Any]]:
    """Continuations of the first prompt, first sample, of every topic; which ones is fixed beforehand.

    Returns
    -------
    list of dict
        ``topic``, ``prompt``, ``feature`` and ``table``; of the calibrated mode the feature at all doses
        and controls at the middle one, of the published mode everything.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    table = numbers.tables["continuations"]
    chosen = pc.equal(table["mode"], mode)
    for name in ("prompt", "sample"):
        chosen = pc.and_(chosen, pc.equal(table[name], 0))
    for row in of_sae(table.filter(chosen), numbers.main):
        found.setdefault(row["topic"], []).append(row)
    return [_of_topic(topic, rows, mode) for topic, rows in found.items()]


def _of_topic(topic: str, rows: Sequence[dict[str, Any]], mode: str) -> dict[str, Any]:
    doses = sorted({row["dose"] for row in rows if row["dose"] > 0})
    middle = doses[len(doses) // 2] if doses else 0.0
    order = [NONE, *DIRECTIONS]
    shown = [
        row
        for row in rows
        if mode == PUBLISHED or row["direction"] in (NONE, FEATURE) or row["dose"] == middle
    ]
    shown.sort(key=lambda row: (_place(order, row["direction"]), row["dose"]))
    heads = [("Added", False), ("Dose", True), ("What is written", False)]
    heads += [("Probability of the topic", True), ("Divergence, nats", True)]
    cells: list[list[Cell]] = [
        [
            text_cell(DIRECTIONS.get(row["direction"], "nothing")),
            plain_cell(row["dose"], "{:g}".format),
            text_cell(row["text"].strip() or MISSING, wrap=True),
            share_cell({"value": row["class_probability"], "ci_low": None, "ci_high": None}),
            plain_cell(row["kl"], _short),
        ]
        for row in shown
    ]
    features = [row["feature"] for row in rows if row["direction"] == FEATURE]
    return {
        "topic": topic,
        "prompt": rows[0]["prompt_text"],
        "feature": features[0] if features else None,
        "table": table(heads, cells),
    }


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _tested(row: Row | None) -> list[Cell]:
    return [number_cell(row, _slope), plain_cell(None if row is None else row["p_holm"], p_text)]


def _slope(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _short(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
