"""Tables of what features are called, follow and form, each number beside its chance level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeflow.report.hierarchy.cells import (
    Cell,
    count,
    count_cell,
    difference,
    integer,
    number_cell,
    p_text,
    plain_cell,
    ratio,
    share_cell,
    signed_ratio,
    site_cell,
    table,
    text_cell,
)
from saeflow.report.hierarchy.finding import FOLLOWED, LEVELS, NO_LEVEL, TYPE
from saeflow.report.hierarchy.numbers import (
    NONE,
    PERMUTED,
    PUBLISHED,
    RANDOM_PROBLEMS,
    TOP,
    HierarchyRun,
    Row,
)

CLOSED_FORM = "closed_form"
RATIO = "impact_over_magnitude."
SHOWN_FEATURES = 8
"""Members of a module that its row names."""
LISTED = 25
"""Modules of a bank that the page lists, the largest first."""

Table = dict[str, Any]


def types_table(run: HierarchyRun) -> Table | None:
    """Types of the most frequent features."""
    names = dict.fromkeys(
        key[2].removeprefix(TYPE)
        for key in run.numbers
        if key[:2] == (PUBLISHED, TOP) and key[2].startswith(TYPE)
    )
    rows = {name: run.number(f"{TYPE}{name}", group=TOP, mode=PUBLISHED) for name in names}
    cells = [[text_cell(name), count_cell(row)] for name, row in rows.items()]
    return table([("Type", False), ("Features", True)], cells) if any(rows.values()) else None


def ranges_table(run: HierarchyRun, ranges: Sequence[Sequence[int]]) -> Table | None:
    """Specialists of each rank range, and of all ranks, beside those of random problems."""
    columns = {
        "Fire": ("n_live", NONE),
        "Specialised": ("n_specialised", NONE),
        "Random problems": ("n_specialised", RANDOM_PROBLEMS),
        "Ties counted": ("n_specialised_untied", NONE),
        "Random problems, ties counted": ("n_specialised_untied", RANDOM_PROBLEMS),
        "Operation": ("n_operation", NONE),
        "Value": ("n_value", NONE),
        "Both": ("n_highly", NONE),
        "Measurable": ("n_measurable", NONE),
    }
    cells = []
    for group in (*(f"{first}-{last}" for first, last in ranges), "all"):
        found = {
            title: run.number(metric, control, group=group, mode=PUBLISHED)
            for title, (metric, control) in columns.items()
        }
        if group == "all":
            # Features that never fire are in no bin.
            found["Fire"] = run.number("n_features", mode=PUBLISHED)
        if found["Specialised"] is not None:
            name = "all ranks" if group == "all" else group.replace("-", "–")
            cells.append([text_cell(name), *(count_cell(row) for row in found.values())])
    return (
        table([("Ranks", False), *((title, True) for title in columns)], cells) if cells else None
    )


def impact_table(run: HierarchyRun) -> Table | None:
    """What the published validation says of each site, and what its measure comes to."""
    sites = sorted(
        {
            key[4:]
            for key in run.numbers
            if key[:3] == (PUBLISHED, TOP, "passes") and None not in key[4:]
        }
    )
    cells = []
    for layer, step in sites:
        where = {"group": TOP, "mode": PUBLISHED, "layer": layer, "step": step}
        passes = run.number("passes", **where)
        verdict = "–" if passes is None else "yes" if passes["value"] else "no"
        ratios = [
            run.number(f"{RATIO}{end}", control, **where)
            for control in (NONE, CLOSED_FORM)
            for end in ("min", "max")
        ]
        share = share_cell(run.number("share_high", **where))
        numbers = (number_cell(row, ratio) for row in ratios)
        cells.append([site_cell(layer, step), share, text_cell(verdict), *numbers])
    heads = [
        ("Site", False),
        ("HIGH", True),
        ("Passes", False),
        ("Impact / magnitude, least", True),
        ("largest", True),
        ("Closed form, least", True),
        ("largest", True),
    ]
    return table(heads, cells, sortable=True) if cells else None


def impact_sentence(run: HierarchyRun) -> dict[str, Any] | None:
    """Range of the impact over the magnitude beside the closed form, and whether they agree.

    Returns
    -------
    dict or None
        ``measured`` and ``closed`` as text; ``same``: whether both are equal to four digits after
        the point; ``n``: features; ``passing`` of ``sites``.
    """
    found = {
        control: [
            run.number(f"{RATIO}{end}", control, group=TOP, mode=PUBLISHED)
            for end in ("min", "max")
        ]
        for control in (NONE, CLOSED_FORM)
    }
    texts = {
        control: [ratio(row["value"]) for row in rows if row is not None]
        for control, rows in found.items()
    }
    first = found[NONE][0]
    if first is None or not all(len(ends) == 2 for ends in texts.values()):
        return None
    passes = run.number("passes", group=TOP, mode=PUBLISHED)
    return {
        "measured": " to ".join(texts[NONE]),
        "closed": " to ".join(texts[CLOSED_FORM]),
        "same": texts[NONE] == texts[CLOSED_FORM],
        "n": first["n"],
        "sites": 0 if passes is None else passes["n"],
        "passing": 0 if passes is None else round(passes["value"] * passes["n"]),
    }


def followed_table(run: HierarchyRun) -> Table | None:
    """Features that follow something, by target."""
    cells = []
    for target, words in FOLLOWED.items():
        tested = run.number(f"n_tested.{target}")
        if tested is not None:
            own, excess = (f"{name}.{target}" for name in ("n_specialists", "n_specialists_excess"))
            numbers = [run.number(own), run.number(own, PERMUTED)]
            cells.append(
                [
                    text_cell(f"Follow {words}"),
                    count_cell(tested),
                    *(count_cell(row) for row in numbers),
                    number_cell(run.number(excess), difference),
                    share_cell(run.number(f"share_specialists.{target}")),
                ]
            )
    titles = ("Tested", "Follow", "Permuted", "Excess", "Of all that fire")
    return table([("", False), *((title, True) for title in titles)], cells) if cells else None


def levels_table(run: HierarchyRun) -> Table | None:
    """Features by level, beside permutations, with the score from which a level is given."""
    cells = []
    for name in (*LEVELS, NO_LEVEL):
        own, null = (run.number(f"n_level.{name}", control) for control in (NONE, PERMUTED))
        if own is not None:
            title = LEVELS.get(name, "no level: no more than chance")
            limit = run.number(f"score_threshold.{name}")
            share = share_cell(run.number(f"share_level.{name}"))
            counts = [count_cell(own), count_cell(null)]
            cells.append([text_cell(title), *counts, share, number_cell(limit, ratio)])
    heads = [("Level", False), ("Features", True), ("Permuted", True), ("Share", True)]
    return table([*heads, ("Least score", True)], cells) if cells else None


def sweep_table(run: HierarchyRun) -> Table | None:
    """SAEs by k: live features, specialists by the rule and by exact tests, each beside chance."""
    sizes = sorted({k for k, *_ in run.sweep})
    pairs = {"n_specialised": RANDOM_PROBLEMS, "n_specialised_untied": RANDOM_PROBLEMS}
    tests = [each for each in FOLLOWED if any(key[1] == f"n_tested.{each}" for key in run.sweep)]
    pairs |= {f"n_specialists.{each}": PERMUTED for each in tests}
    cells: list[list[Cell]] = []
    for k in sizes:
        found: Mapping[Any, Row | None] = {
            key[1:]: row for key, row in run.sweep.items() if key[0] == k
        }
        rare = found.get(("share_at_most_4_active", NONE))
        line = [plain_cell(float(k), integer), count_cell(found.get(("n_live", NONE)))]
        for metric, control in pairs.items():
            line += [count_cell(found.get((metric, each))) for each in (NONE, control)]
        cells.append([*line, share_cell(rare)])
    heads = [("k", True), ("Fire", True), ("Specialised", True), ("Random problems", True)]
    heads += [("Ties counted", True), ("Random problems", True)]
    for each in tests:
        heads += [(f"Follow {FOLLOWED[each]}", True), ("Permuted", True)]
    heads += [("Specialised ones that fire on 4 problems or fewer", True)]
    return table(heads, cells) if cells else None


def together_table(run: HierarchyRun) -> Table | None:
    """How many features fire together, beside permutations of each feature's firing by itself."""
    measures = {
        "n_coactive_pairs": ("Pairs that fire together", count, difference),
        "mean_lift": ("Mean lift over all pairs", ratio, signed_ratio),
        "n_modules": ("Modules", count, difference),
        "n_in_modules": ("Features in modules", count, difference),
    }
    cells = []
    for metric, (title, text, over) in measures.items():
        own, null = (run.number(metric, control) for control in (NONE, PERMUTED))
        if own is not None:
            excess = number_cell(run.number(f"{metric}_excess"), over)
            cells.append(
                [text_cell(title), number_cell(own, text), number_cell(null, text), excess]
            )
    operator = run.number("n_operator_modules")
    if operator is not None:
        nothing = [plain_cell(None, count)] * 2
        cells.append([text_cell("Modules that follow an operator"), count_cell(operator), *nothing])
    titles = ("Observed", "Permuted", "Excess")
    return table([("", False), *((title, True) for title in titles)], cells) if cells else None


def modules_table(run: HierarchyRun, level: float) -> Table | None:
    """The largest modules whose members follow one operator, at a false-discovery rate."""
    found = [row for row in run.modules if row["q_value"] is not None and row["q_value"] <= level]
    listed = sorted(found, key=lambda row: (-len(row["features"]), row["q_value"]))[:LISTED]
    cells = [
        [
            site_cell(row["layer"], row["step"], None),
            plain_cell(float(len(row["features"])), integer),
            text_cell(row["operator"]),
            plain_cell(float(row["n_following"]), integer),
            plain_cell(row["mean_correlation"], lambda value: f"{value:.2f}"),
            plain_cell(row["p_value"], p_text),
            plain_cell(row["q_value"], p_text),
            text_cell(_members(row["features"]), wrap=True),
        ]
        for row in listed
    ]
    heads = [("Site", False), ("Features", True), ("Operator", False), ("Follow it", True)]
    heads += [("Correlation", True), ("p", True), ("q", True), ("Indices", False)]
    return table(heads, cells, sortable=True, of=len(found)) if cells else None


def _members(features: Sequence[int]) -> str:
    names = ", ".join(f"F{feature}" for feature in features[:SHOWN_FEATURES])
    return names if len(features) <= SHOWN_FEATURES else f"{names}, …"
