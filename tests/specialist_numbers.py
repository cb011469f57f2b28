"""Small summaries of the study of specialists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from tests.report_tables import EVIL

BANK: dict[str, Any] = {"dictionary": "toy_tokens", "seed": 3}
POOLING = "encode_then_average"
CLASSES = ("Math_Simple: symbols", "Math_Simple: prose", "Code: code", f"Code: {EVIL}")
BASELINES = ("words", "trigrams", "characters", "word_length", "character_length")
TOPICS = 7
"""That forms are told apart in: fewer than six could not be told from chance by their signs."""
KINDS = ("cloze arithmetic", "choices other")

Row = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What tables tell; the defaults find forms, meaning beyond words, behaviour and causes.

    Attributes
    ----------
    layers : tuple of int
        Blocks that were read.
    poolings : tuple of str
        Calibrated poolings; the published one is `POOLING`.
    categories : bool
        Whether plain categories were read, too.
    areas : float
        Mean area under the curve on half B.
    against : float
        Share of texts that features put farther than words do.
    tested : float
        Every adjusted p-value.
    beyond : float
        How much more alike classes of one topic are than words explain; topics permuted give 0.04 at most.
    right : float
        Share of tasks that are done right, 0.1 up or down; chance gives 0.25.
    contents : int
        What an ablation is tested on.
    answers : bool
        Whether any text asks for an answer.
    tried : bool
        Whether specialists were held against tasks and ablated.
    seeds : int
        Banks of the model.
    drop : tuple of str
        Metrics that are missing.
    """

    layers: tuple[int, ...] = (0, 2)
    poolings: tuple[str, ...] = (POOLING, "max")
    categories: bool = True
    areas: float = 0.9
    against: float = 0.75
    tested: float = 0.01
    beyond: float = 0.125
    right: float = 0.6
    contents: int = 20
    answers: bool = True
    tried: bool = True
    seeds: int = 1
    drop: tuple[str, ...] = ()


FOUND = Told()
NOTHING = Told(areas=0.55, against=0.5, tested=0.8, beyond=0.02)
SPARSE = Told(layers=(1,), poolings=(POOLING,), categories=False, answers=False, tried=False)


def row(part: str, group: str, metric: str, value: float | None, **more: Any) -> Row:
    """A row of the summary; ``reach`` gives an interval that far to both sides."""
    reach = more.pop("reach", None)
    ends = (None, None) if reach is None or value is None else (value - reach, value + reach)
    fixed = {"dictionary": "", "seed": 0, "mode": "calibrated", "layer": None, "pooling": ""}
    fixed |= {"control": "none", "p_value": None, "q_value": None, "n": 30}
    named = {"part": part, "group": group, "metric": metric, "value": value}
    interval = {"ci_low": ends[0], "ci_high": ends[1], "interval": "95" if reach else "none"}
    return {**fixed, **interval, **named, **more}


def _discovery(told: Told, key: Row) -> Iterator[Row]:
    published = key["mode"] == "published"
    layer = key["layer"]
    for name, n in (("pairs", 4), ("categories", 7), ("forms", 4)):
        if (name == "categories" and not told.categories) or (name == "forms" and published):
            continue
        found = float(n - 1 if told.areas > 0.6 else 0)
        yield row("discovery", name, "n_specialists", found, n=n, **key)
        if published:
            drawn = {"reach": 0.5, "control": "relabeled", "n": 17}
            yield row("discovery", name, "n_specialists", 0.75, **drawn, **key)
            yield row("discovery", name, "mean_score", 2.5 + layer, n=n, **key)
            yield row("discovery", name, "rule_half_a", 1.75, reach=1, **key)
            yield row("discovery", name, "rule_half_b", 1.25, reach=0.5, **key)
            continue
        chance = {**key, "control": "relabeled"}
        yield row("discovery", name, "n_specialists", 0.25, n=n, **chance)
        yield row("discovery", name, "mean_auroc", told.areas + layer / 100, reach=0.02, **key)
        yield row("discovery", name, "mean_auroc", 0.5, control="chance", **key)
        if name != "forms":
            yield row("discovery", name, "rule_half_a", 2.0, reach=1, **key)
            yield row("discovery", name, "rule_half_b", 1.5, reach=0.5, **key)
            yield row("discovery", name, "percentile_half_b", 1.25, reach=0.25, **key)
            for size, area in ((2, 0.6), (16, 0.8)):
                group = f"{name}, {size} of each"
                yield row("discovery", group, "auroc_by_size", area, reach=0.05, **key)
                yield row("discovery", group, "auroc_by_size", 0.5, control="chance", **key)
    for number in () if published else range(TOPICS):
        area = told.areas - (number % 2) / 50
        yield row("discovery", f"forms, Topic {number}: prose", "auroc", area, reach=0.1, **key)
    for each in () if published else CLASSES:
        yield row("discovery", f"pairs, {each}", "auroc", told.areas, reach=0.1, **key)
        yield row("discovery", f"pairs, {each}", "d_prime", 2.125, reach=0.25, **key)


def _geometry(told: Told, key: Row, control: str = "none") -> Iterator[Row]:
    bump = 0.1 if control == "none" else 0.0
    fixed = {**key, "control": control}
    yield row("geometry", "topics", "within", 0.5 + bump, **fixed)
    yield row("geometry", "topics", "across", 0.25, **fixed)
    if key["mode"] == "published":
        yield row("geometry", "topics", "t", 8.25, p_value=1e-9, **fixed)
        yield row("geometry", "topics", "same_form_across", 0.0625, **fixed)
        return
    tested = {"p_value": told.tested / 2, "q_value": told.tested}
    yield row("geometry", "topics", "difference", 0.25 + bump, **tested, **fixed)
    if control == "none":
        yield row("geometry", "topics", "explained_by_words", 0.625, **fixed)
        yield row("geometry", "topics", "difference_beyond_words", told.beyond, **tested, **fixed)
        permuted = {**fixed, "control": "relabeled", "reach": 0.04}
        yield row("geometry", "topics", "difference_beyond_words", 0.0, **permuted)
        yield row("geometry", "topics", "mantel_beyond_words", 0.375, **tested, **fixed)
        for name in BASELINES:
            yield row("geometry", name, "mantel", 0.4375, **tested, **fixed)


def _texts(told: Told, key: Row, control: str = "none") -> Iterator[Row]:
    own = control == "none"
    fixed = {**key, "control": control, "reach": 0.05}
    tested = {"p_value": told.tested, "q_value": told.tested}
    for group in ("all", "Math_Simple"):
        yield row("retrieval", group, "top_1", 0.45 if own else 0.35, **fixed)
        yield row("retrieval", group, "mrr", 0.55, **tested, **fixed)
        if own:
            yield row("retrieval", group, "found_against_words", told.against, **tested, **fixed)
            for metric, value in (("top_1", 0.03), ("mrr", 0.1), ("found_against_words", 0.5)):
                yield row("retrieval", group, metric, value, **{**key, "control": "chance"})
    for term, value in (("topic", 0.2), ("form", 0.15), ("pair", 0.3), ("residual", 0.35)):
        yield row(
            "variance", term, "share", value, p_value=told.tested, **{**key, "control": control}
        )
        if own and term != "residual":
            yield row("variance", term, "share", 0.05, **{**key, "control": "chance"})


def _overlap(key: Row) -> Iterator[Row]:
    published = key["mode"] == "published"
    for group in ("all", "Math_Simple", "Math_Simple: symbols ~ prose"):
        for metric, value in (
            (("jaccard_top_means", 0.1875), ("jaccard_top_scores", 0.125))
            if published
            else (("jaccard_halves", 0.3), ("jaccard_relative", 0.5))
        ):
            yield row("overlap", group, metric, value, **key)
        if not published:
            for control, value in (("split_half_ceiling", 0.6), ("chance", 0.02)):
                yield row("overlap", group, "jaccard_halves", value, **{**key, "control": control})


def _ablation(key: Row) -> Iterator[Row]:
    for kind in ("texts", "tasks"):
        for metric, value in (
            ("resilience_ratio", 140.5),
            ("effect_to_random_sd", 0.375),
            ("cascade", 2.75),
        ):
            yield row("ablation", kind, metric, value, reach=0.25, **key)
        for mode in ("published", "calibrated"):
            value = -0.5 if mode == "published" else 0.25
            fixed = {**key, "mode": mode, "p_value": 0.3}
            yield row("ablation", kind, "selectivity_causality", value, **fixed)
    where = {**key, "layer": 0, "pooling": POOLING}
    for control, value in (("none", 0.25), ("random_direction", 0.125)):
        for block in (0, 1, 2):
            metric = f"relative_change_{block}"
            yield row("cascade", CLASSES[0], metric, value / (1 + block), control=control, **where)
    for control, value in (("none", 0.875), ("all_features", 0.5), ("tokens", 0.4375)):
        yield row("tokens", CLASSES[0], "syntactic_share", value, control=control, **where)


def _tasks(told: Told) -> Iterator[Row]:
    for kind in KINDS:
        for group in (kind, f"{kind}, level 1", f"{kind}, level 2"):
            yield row("tasks", group, "right", told.right, reach=0.1)
            yield row("tasks", group, "right", 0.25, control="chance")
            yield row("tasks", group, "margin", 0.5, reach=0.125)
    if told.answers:
        yield row("tasks", CLASSES[0], "contained", 0.125, mode="published", n=8)
        yield row("tasks", CLASSES[0], "judged", 0.375, reach=0.25, n=8)


def summary_rows(told: Told) -> list[Row]:
    """Numbers of one model: tasks, words, then every bank."""
    rows = list(_tasks(told))
    for name in BASELINES[:3]:
        for mode in ("published", "calibrated"):
            rows += _geometry(told, {"mode": mode}, name)
        rows += _texts(told, {}, name)
    for seed, layer in product(range(told.seeds), told.layers):
        bank = {**BANK, "seed": BANK["seed"] + seed}
        for pooling in told.poolings:
            key = {**bank, "layer": layer, "pooling": pooling}
            for mode in ("published", "calibrated") if pooling == POOLING else ("calibrated",):
                each = {**key, "mode": mode}
                rows += [*_discovery(told, each), *_geometry(told, each), *_overlap(each)]
            rows += _texts(told, key)
    for seed in range(told.seeds if told.tried else 0):
        rows += _ablation({**BANK, "seed": BANK["seed"] + seed})
    return [each for each in rows if each["metric"] not in told.drop]
