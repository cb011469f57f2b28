"""Tables of what features are called, follow and form, each number beside its chance level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saeflow.report.cells import (
    Cell,
    count,
    count_cell,
    difference,
    filled,
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
from saeflow.report.controls import TITLES
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
from saeflow.report.tables import MISSING
from saeflow.studies.compare.hierarchy import UNTRAINED

CLOSED_FORM = "closed_form"
RATIO = "impact_over_magnitude."
SHOWN_FEATURES = 8
"""Members of a module that its row names."""
LISTED = 25
"""Modules of a bank that the page lists, the largest first."""

Table = dict[str, Any]
Controls = Mapping[str, HierarchyRun]
"""Runs that stand beside one, by what they control for."""


def types_table(run: HierarchyRun, control: HierarchyRun | None = None) -> Table | None:
    """Types of the most frequent features, beside random problems and the untrained control."""
    names = dict.fromkeys(
        key[2].removeprefix(TYPE)
        for key in run.numbers
        if key[:2] == (PUBLISHED, TOP) and key[2].startswith(TYPE)
    )
    cells = []
    for name in names:
        where: dict[str, Any] = {"metric": f"{TYPE}{name}", "group": TOP, "mode": PUBLISHED}
        own, null = run.number(**where), run.number(**where, control=RANDOM_PROBLEMS)
        if own is not None:
            other = None if control is None else control.number(**where)
            cells.append([text_cell(name), *(count_cell(row) for row in (own, null, other))])
    titles = ("Features", "Random problems", "Untrained")
    heads = [("Type", False), *((title, True) for title in titles)]
    return filled(table(heads, cells)) if cells else None


def ranges_table(
    run: HierarchyRun, ranges: Sequence[Sequence[int]], control: HierarchyRun | None = None
) -> Table | None:
    """Specialists of each rank range, and of all ranks, beside random problems and the control."""
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
        if control is not None:
            found["Untrained"] = control.number("n_specialised", group=group, mode=PUBLISHED)
        if found["Specialised"] is not None:
            name = "all ranks" if group == "all" else group.replace("-", "–")
            cells.append([text_cell(name), *(count_cell(row) for row in found.values())])
    titles = (*columns, *(["Specialised, untrained"] if control is not None else []))
    heads = [("Ranks", False), *((title, True) for title in titles)]
    return filled(table(heads, cells)) if cells else None


def impact_table(run: HierarchyRun, control: HierarchyRun | None = None) -> Table | None:
    """What the published validation says of each site, and what its measure comes to.

    Beside it stands what the mean activation alone says, and what the untrained control's is.
    """
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
        sources = [(run, NONE), (run, CLOSED_FORM), (control, NONE)]
        verdicts = [
            cell
            for source, name in sources
            for cell in (
                share_cell(None if source is None else source.number("share_high", name, **where)),
                _passing(None if source is None else source.number("passes", name, **where)),
            )
        ]
        ratios = [
            run.number(f"{RATIO}{end}", control, **where)
            for control in (NONE, CLOSED_FORM)
            for end in ("min", "max")
        ]
        numbers = (number_cell(row, ratio) for row in ratios)
        cells.append([site_cell(layer, step), *verdicts, *numbers])
    heads = [
        ("Site", False),
        ("HIGH", True),
        ("Passes", False),
        ("HIGH by mean activation", True),
        ("Passes by it", False),
        ("HIGH, untrained", True),
        ("Passes, untrained", False),
        ("Impact / magnitude, least", True),
        ("largest", True),
        ("Closed form, least", True),
        ("largest", True),
    ]
    return filled(table(heads, cells, sortable=True)) if cells else None


def sanity_sentence(run: HierarchyRun) -> dict[str, str | None] | None:
    """What the published checks of edits and of the reconstruction come to; None where not made.

    Returns
    -------
    dict or None
        ``swap`` and ``ablation``: largest changes that should be none; ``error`` of the
        reconstruction beside that of the ``mean`` activation; ``passing`` of ``sites``. What has no
        number is None.
    """
    rows = {
        "swap": run.number("sanity.swap_with_itself", mode=PUBLISHED),
        "ablation": run.number("sanity.never_active", mode=PUBLISHED),
        "error": run.number("sanity.reconstruction_mse", mode=PUBLISHED),
        "mean": run.number("sanity.reconstruction_mse", "mean", mode=PUBLISHED),
    }
    passes = run.number("sanity.passes", mode=PUBLISHED)
    if passes is None:
        return None
    texts = {name: None if row is None else f"{row['value']:.3g}" for name, row in rows.items()}
    passing = round(passes["value"] * (passes["n"] or 1))
    return {**texts, "passing": f"{passing:,}", "sites": f"{passes['n'] or 1:,}"}


def impact_sentence(run: HierarchyRun) -> dict[str, Any] | None:
    """Range of the impact over the magnitude beside the closed form, and whether they agree.

    Returns
    -------
    dict or None
        ``measured`` and ``closed`` as text; ``same``: whether both are equal to four digits after
        the point; ``n``: features; ``passing`` of ``sites``, and how many do ``by_activation`` alone,
        None where that is not told.
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
    by_activation = run.number("passes", CLOSED_FORM, group=TOP, mode=PUBLISHED)
    return {
        "measured": " to ".join(texts[NONE]),
        "closed": " to ".join(texts[CLOSED_FORM]),
        "same": texts[NONE] == texts[CLOSED_FORM],
        "n": first["n"],
        "sites": 0 if passes is None else passes["n"],
        "passing": _times(passes),
        "by_activation": None if by_activation is None else _times(by_activation),
    }


def followed_table(run: HierarchyRun, controls: Controls) -> Table | None:
    """Features that follow something, by target, beside permutations and controls."""
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
                    *_beside(controls, own, f"share_specialists.{target}"),
                ]
            )
    titles = ["Tested", "Follow", "Permuted", "Excess", "Of all that fire"]
    titles += _titles(controls, share=True)
    heads = [("", False), *((title, True) for title in titles)]
    return filled(table(heads, cells)) if cells else None


def levels_table(run: HierarchyRun, controls: Controls) -> Table | None:
    """Features by level, beside permutations and controls, with the least score that gives one."""
    cells = []
    for name in (*LEVELS, NO_LEVEL):
        own, null = (run.number(f"n_level.{name}", control) for control in (NONE, PERMUTED))
        if own is not None:
            title = LEVELS.get(name, "no level: no more than chance")
            limit = run.number(f"score_threshold.{name}")
            share = share_cell(run.number(f"share_level.{name}"))
            counts = [count_cell(own), count_cell(null)]
            others = _beside(controls, f"n_level.{name}", f"share_level.{name}")
            cells.append([text_cell(title), *counts, share, *others, number_cell(limit, ratio)])
    titles = ["Features", "Permuted", "Share", *_titles(controls, share=True), "Least score"]
    heads = [("Level", False), *((title, True) for title in titles)]
    return filled(table(heads, cells)) if cells else None


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


def together_table(run: HierarchyRun, controls: Controls) -> Table | None:
    """How many features fire together, beside permutations of each one's firing and controls."""
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
            others = [number_cell(each.number(metric), text) for each in controls.values()]
            numbers = [number_cell(own, text), number_cell(null, text), excess]
            cells.append([text_cell(title), *numbers, *others])
    operator = "n_operator_modules"
    if run.number(operator) is not None:
        rows = [run.number(operator), run.number(operator, PERMUTED)]
        excess = number_cell(run.number(f"{operator}_excess"), difference)
        others = [count_cell(each.number(operator)) for each in controls.values()]
        name = text_cell("Modules that follow an operator")
        cells.append([name, *(count_cell(row) for row in rows), excess, *others])
    titles = ("Observed", "Permuted", "Excess", *_titles(controls))
    heads = [("", False), *((title, True) for title in titles)]
    return filled(table(heads, cells)) if cells else None


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
            plain_cell(row.get("n_following_expected"), count),
            plain_cell(row["mean_correlation"], lambda value: f"{value:.2f}"),
            plain_cell(row["p_value"], p_text),
            plain_cell(row["q_value"], p_text),
            text_cell(_members(row["features"]), wrap=True),
        ]
        for row in listed
    ]
    heads = [("Site", False), ("Features", True), ("Operator", False), ("Follow it", True)]
    heads += [
        ("Expected", True),
        ("Correlation", True),
        ("p", True),
        ("q", True),
        ("Indices", False),
    ]
    return filled(table(heads, cells, sortable=True, of=len(found))) if cells else None


def control_title(control: str) -> str:
    """Head of a control's column."""
    return "Untrained" if control == UNTRAINED else TITLES.get(control, control)


def _titles(controls: Controls, *, share: bool = False) -> list[str]:
    """Heads of the columns of controls: a count, and perhaps its share."""
    titles = [control_title(control) for control in controls]
    return [
        head for title in titles for head in ((title, f"{title}, share") if share else (title,))
    ]


def _beside(controls: Controls, count: str, share: str) -> list[Cell]:
    """A count of each control, and its share."""
    return [
        cell
        for control in controls.values()
        for cell in (count_cell(control.number(count)), share_cell(control.number(share)))
    ]


def _passing(row: Row | None) -> Cell:
    return text_cell(MISSING if row is None else "yes" if row["value"] else "no")


def _times(row: Row | None) -> int:
    return 0 if row is None else round(row["value"] * row["n"])


def _members(features: Sequence[int]) -> str:
    names = ", ".join(f"F{feature}" for feature in features[:SHOWN_FEATURES])
    return names if len(features) <= SHOWN_FEATURES else f"{names}, …"
