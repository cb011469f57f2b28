"""Tables of what interventions do to answers, each beside its controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saeflow.report.cells import (
    Cell,
    count,
    count_cell,
    filled,
    nats,
    nats_cell,
    number_cell,
    p_text,
    plain_cell,
    points_cell,
    share_cell,
    site_cell,
    table,
    text_cell,
)
from saeflow.report.hierarchy.numbers import (
    NONE,
    OTHER_STEP,
    RANDOM_DIRECTION,
    RANDOM_FEATURE,
    SET,
    Condition,
    HierarchyRun,
    Row,
)

RECONSTRUCTION = "reconstruction"
LOG_PROBABILITY = "log_probability"
EXCESS = "log_probability_excess"
SOURCES = {
    "search": "Search",
    "start": "Best of its random starts",
    "random": "As many random problems",
    "corpus": "Held-out problems",
}
"""Where an input is from, and what it is called."""

METRIC = "largest_set_effect"
Table = dict[str, Any]
OUTCOMES: Mapping[str, tuple[str, Callable[[Row | None], Cell]]] = {
    LOG_PROBABILITY: ("Log-probability of the right answer", nats_cell),
    "accuracy": ("Right answers, points", points_cell),
    "changed": ("Changed answers", share_cell),
    "kl": ("KL of the first answer token", lambda row: number_cell(row, "{:.3f}".format)),
    "cosine": ("Cosine of the next latent", lambda row: number_cell(row, "{:.3f}".format)),
}
"""What is measured: its title, and how it is written."""


def set_cells(run: HierarchyRun, control: HierarchyRun | None = None) -> dict[str, Cell]:
    """The chosen site, what its set does there beyond matched features, and the control's set."""
    where = run.chosen_set()
    if where is None:
        return {}
    other = None if control is None else control.of_chosen_set(METRIC)
    return {
        "site": site_cell(where.layer, where.step),
        "untrained": nats_cell(other),
        "chosen": nats_cell(run.of_chosen_set(f"{METRIC}.chosen")),
        "reported": nats_cell(run.of_chosen_set(METRIC)),
        "p": number_cell(run.of_chosen_set(f"{METRIC}.p_value"), p_text),
    }


def set_table(run: HierarchyRun) -> Table | None:
    """The chosen site's set beside every control: a row per intervention, a column per measure."""
    where = run.chosen_set()
    if where is None:
        return None
    mean = where._replace(edit="mean", dose=None)
    everything = where._replace(unit="all", edit="none", dose=None)
    lines = {
        "Set to zero": (where, NONE),
        "Matched random features to zero": (where, RANDOM_FEATURE),
        "Random direction of the same length": (where, RANDOM_DIRECTION),
        "The same change at another step": (where, OTHER_STEP),
        "Set to its mean": (mean, NONE),
        "Reconstruction in place of the activation": (everything, RECONSTRUCTION),
    }
    cells = []
    for title, (condition, control) in lines.items():
        rows = {metric: run.effect(condition, metric, control) for metric in OUTCOMES}
        if any(rows.values()):
            written = [write(rows[metric]) for metric, (_, write) in OUTCOMES.items()]
            cells.append([text_cell(title), *written])
    heads = [("Intervention", False), *((title, True) for title, _ in OUTCOMES.values())]
    return table(heads, cells) if cells else None


def shortlist(run: HierarchyRun) -> list[Condition]:
    """Single features that were ablated, those with the largest harm beyond matched ones first."""
    found = [where for where in run.conditions("zero") if where.unit != SET]
    excess = {where: run.effect(where, EXCESS, RANDOM_FEATURE) for where in found}
    return sorted(found, key=lambda where: 0.0 if (row := excess[where]) is None else row["value"])


def features_table(run: HierarchyRun) -> Table | None:
    """Every feature of the shortlists: its ablation, its controls, and what it follows."""
    labels = {where: row["label"] for (where, *_), row in run.labelled.items()}
    cells = []
    for where in shortlist(run):
        mean = where._replace(edit="mean", dose=None)
        excess = run.effect(where, EXCESS, RANDOM_FEATURE)
        with_label = run.labelled.get((where, "difference", EXCESS, RANDOM_FEATURE))
        controls = (RANDOM_FEATURE, RANDOM_DIRECTION, OTHER_STEP)
        cells.append(
            [
                feature_cell(where),
                text_cell(labels.get(where, "–")),
                count_cell(run.effect(where, "n_active")),
                nats_cell(run.effect(where, LOG_PROBABILITY)),
                *(_value(run.effect(where, LOG_PROBABILITY, name)) for name in controls),
                _value(run.effect(mean, LOG_PROBABILITY)),
                nats_cell(excess),
                _tested(excess, "p_value"),
                _tested(excess, "q_value"),
                nats_cell(with_label),
                _tested(with_label, "q_value"),
            ]
        )
    titles = [
        "Active",
        "To zero",
        "Random feature",
        "Random direction",
        "Other step",
        "To its mean",
    ]
    titles += ["Beyond random feature", "p", "q", "With minus without label", "q of that"]
    heads = [("Feature", False), ("Follows", False), *((title, True) for title in titles)]
    return filled(table(heads, cells, sortable=True)) if cells else None


def swaps_table(run: HierarchyRun) -> Table | None:
    """Features given the values of a partner problem, and how far the answer moves to the partner's."""
    cells = []
    for kind in ("operator", "value"):
        for where in run.conditions(f"swap.{kind}"):
            excess = run.effect(where, "toward_excess", RANDOM_FEATURE)
            cells.append(
                [
                    feature_cell(where),
                    text_cell(f"another {kind}"),
                    count_cell(run.effect(where, "n_active")),
                    nats_cell(run.effect(where, "toward")),
                    nats_cell(run.effect(where, "toward", RANDOM_FEATURE)),
                    nats_cell(excess),
                    share_cell(run.effect(where, "changed")),
                    share_cell(run.effect(where, "changed", RANDOM_FEATURE)),
                ]
            )
    titles = ["Problems", "Toward the partner’s answer", "Random features", "Beyond them"]
    titles += ["Changed answers", "Random features"]
    heads = [("Feature", False), ("Partner has", False), *((title, True) for title in titles)]
    return table(heads, cells, sortable=True) if cells else None


def maximal_groups(run: HierarchyRun) -> list[dict[str, Any]]:
    """Inputs of largest activation, feature by feature.

    Returns
    -------
    list of dict
        ``name`` of the feature and ``rows``: a ``title``, the ``value``, how many problems were
        ``tried``, the ``question`` and its ``calculations``.
    """
    found: dict[tuple[int, int, int], dict[str, Row]] = {}
    for row in run.maximal:
        name = (row["layer"], row["step"], row["feature"])
        found.setdefault(name, {})[row["source"]] = row
    return [
        {
            "name": site_cell(*name)["value"],
            "rows": [
                {
                    "title": title,
                    "value": f"{rows[source]['value']:.2f}".replace("-", "−"),
                    "tried": f"{rows[source]['evaluations']:,}",
                    "question": rows[source]["question"],
                    "calculations": rows[source]["calculations"],
                }
                for source, title in SOURCES.items()
                if source in rows
            ],
        }
        for name, rows in found.items()
    ]


def agreement(run: HierarchyRun) -> dict[str, str] | None:
    """How well attributed effects tell exact ones, in words for the caption."""
    rank = run.number("screen_rank_correlation", group="shortlist")
    here = run.number("screen_rank_correlation.same_problems", group="shortlist")
    same = run.number("screen_same_sign", group="shortlist")
    if same is None:
        return None
    return {
        "rank": _correlation(rank),
        "same_problems": _correlation(here),
        "same": f"{100 * same['value']:.0f}",
        "n": f"{same['n']:,}",
    }


def _correlation(row: Row | None) -> str:
    return "not defined" if row is None else f"{row['value']:.2f}".replace("-", "−")


def unit_title(where: Condition) -> str:
    """Name of what is edited, with its site."""
    name = "set" if where.unit == SET else where.unit
    return f"L{where.layer}_P{where.step}_{name}"


def feature_cell(where: Condition) -> Cell:
    """Name of what is edited, which sorts by layer, step and index; sets after features."""
    if where.unit == SET:
        last = (where.layer * 1000 + where.step) * 1e7 + 9e6
        return text_cell(unit_title(where), last)
    return site_cell(where.layer, where.step, int(where.unit.removeprefix("F")))


def problems_of(run: HierarchyRun) -> dict[str, Any]:
    """How many problems are screened, chosen on and reported, and how many are answered right.

    Returns
    -------
    dict
        ``screened``, ``chosen``, ``reported`` and ``before``: the share of the reported ones that is
        answered right without an intervention; what was not counted is None.
    """
    found = {
        part: run.number(f"n_problems.{part}", group="causal")
        for part in ("screened", "chosen", "reported")
    }
    counts = {part: None if row is None else count(row["value"]) for part, row in found.items()}
    before = run.number("accuracy_before", group="causal")
    return {**counts, "before": None if before is None else share_cell(before)}


def swapped(run: HierarchyRun) -> str | None:
    """How many balanced problems the swaps are measured on; None without swaps."""
    rows = [
        run.effect(where, "toward")
        for kind in ("operator", "value")
        for where in run.conditions(f"swap.{kind}")
    ]
    sizes = [row["n"] for row in rows if row is not None]
    return count(float(max(sizes))) if sizes else None


def _tested(row: Row | None, which: str) -> Cell:
    return plain_cell(None if row is None else row[which], p_text)


def _value(row: Row | None) -> Cell:
    return plain_cell(None if row is None else row["value"], nats)
