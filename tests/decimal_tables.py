"""Small tables of the study of the decimal bug, and the report over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.decimal_bug import DECIMAL_BUG, LAYER_FEATURES
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.report.decimal_bug.model import DecimalModel, read_decimal_models
from saeflow.report.decimal_bug.numbers import Bank, DecimalTables, Numbers, read_numbers
from saeflow.report.report import write_report
from tests.report_tables import EVIL, FRESH, SPEC, TEMPLATES, write_tables

TRAINED = Provenance("x", model_revision="sha256:1", packages=("pyarrow",))
BANK: dict[str, Any] = {"dictionary": "toy_mlp", "seed": 3}
DECIMAL_SPEC: dict[str, Any] = {
    "numbers": ["9.8", "9.11"],
    "top": 10,
    "low": 35.0,
    "high": 65.0,
    "samples": 7,
    "temperature": 0.45,
    "q_value": 0.07,
}
OWN = Bank(BANK["dictionary"], BANK["seed"])
UNTRAINED = {"toy": "toy_untrained"}
DONORS = {
    "none": (0.8, 0.0),
    "other_pair_plain": (0.9, 0.05),
    "other_pair_buggy": (0.1, 0.15),
    "unlike_pair_plain": (0.6, 0.25),
    "unlike_pair_buggy": (0.35, 0.2),
    "word_problem": (0.2, 0.0),
    "identity": (0.03, 0.0),
    "mean_plain": (0.7, 0.0),
    "mean_buggy": (0.04, 0.0),
}
"""Right answers at the chosen site, and those that name the donor's number, by donor."""
MAPPED = ("none", "other_pair_plain", "other_pair_buggy", "identity")
WHOLE = ("attn_out", "mlp_out", "resid_post")
SINGLE = ("head 0", "head 1", "head 10", "kv_group 0", "block 0")

Row = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What tables tell; the defaults have a bug that one KV group carries.

    Attributes
    ----------
    qa, plain : float
        Right answers in the Q/A formats and in the plain ones, on the half that is reported.
    bug, chosen : bool
        Whether there is a bug on that half, and on the one that chooses.
    site : str or None
        Chosen units; None where none was chosen.
    beyond : float
        Lower end of the interval of what they do beyond unrelated donors.
    donors : mapping
        As `DONORS`.
    by_format : float or None
        What the format does to unlike pairs; None: they are no donors.
    below : float
        How much less alike formats are than wordings in layer 1.
    spared : float or None
        Unlike pairs that stay right with a prone pair's plain activations; None: none were tried.
    smallest : float
        Smallest p-value that labels of units can have.
    seeds : int
        Banks of the model.
    sampled : bool
        Whether answers were drawn, too.
    """

    qa: float = 0.05
    plain: float = 0.95
    bug: bool = True
    chosen: bool = True
    site: str | None = "kv_group 1"
    beyond: float = 0.4
    donors: Mapping[str, tuple[float, float]] | None = None
    by_format: float | None = 0.25
    spared: float | None = 0.9
    smallest: float = 0.333
    below: float = 0.2
    seeds: int = 1
    sampled: bool = True


BUGGY = Told()
NO_BUG = Told(qa=0.94, bug=False, chosen=False, site=None)
NOTHING = Told(qa=0.0, plain=0.01, bug=False, chosen=False, site=None, below=0.02)


def row(part: str, group: str, metric: str, value: float | None, **more: Any) -> Row:
    """A row of the summary; ``reach`` gives an interval that far to both sides."""
    reach = more.pop("reach", None)
    ends = (None, None) if reach is None or value is None else (value - reach, value + reach)
    named = {"part": part, "group": group, "metric": metric, "value": value}
    fixed = {"dictionary": "", "seed": 0, "mode": "calibrated", "layer": None, "control": "none"}
    tested = {"p_value": None, "q_value": None, "n": 30}
    interval = {
        "ci_low": ends[0],
        "ci_high": ends[1],
        "interval": "none" if reach is None else "95",
    }
    return {**fixed, **tested, **interval, **named, **more}


def behaviour(told: Told) -> Iterator[Row]:
    for half, bug in (("report", told.bug), ("choose", told.chosen)):
        yield row("behaviour", f"bug, {half}", "bug", float(bug), n=45)
        for metric, value in (("right_qa", told.qa), ("right_plain", told.plain)):
            yield row("behaviour", f"bug, {half}", metric, value, n=45, reach=0.04)
    for form, right in (("qa_which", told.qa), ("plain_which", told.plain), ("chat", 0.31)):
        for group, more in (("all", 0.01), ("prone", 0.0), ("integers", 0.005)):
            key = f"{form}, {group}"
            yield row("behaviour", key, "right", right + more, reach=0.03, n=44)
            if told.sampled:
                yield row("behaviour", key, "right", right / 2, control="sampled", reach=0.02)
            yield row("behaviour", key, "right", 0.5, control="chance")
            yield row("behaviour", key, "wrong", 0.9 - right, reach=0.03)
            yield row("behaviour", key, "unclear", 0.125, reach=0.03)
            yield row("behaviour", key, "logit_difference", 2 * right - 1.5, reach=0.1)
    for name, verdict in (("Q&A", "wrong"), ("Simple", "right")):
        for each in ("right", "wrong", "unclear"):
            yield row("behaviour", name, each, float(each == verdict), mode="published", n=1)
        yield row("behaviour", name, "logit_difference", -1.25, mode="published", n=1)


def of_bank(told: Told, seed: int) -> Iterator[Row]:
    for layer in (0, 1):
        fixed = {**BANK, "seed": seed, "layer": layer}
        for group, l0 in (("all tokens", 12.5), ("last", 9.25)):
            yield row("checks", group, "l0_mean", l0 + layer, **fixed)
        yield row("checks", "all tokens", "explained_variance", 0.75, **fixed)
        yield row(
            "checks", "all tokens", "explained_variance", 0.875, control="held_out_texts", **fixed
        )
        lists = {**fixed, "mode": "published"}
        fillers = 4 * layer
        yield row("overlap", "last", "overlap_percent", 60.0 + 20 * layer, n=1, **lists)
        yield row("overlap", "last", "shared", 6.0 + 2 * layer, n=10, **lists)
        yield row("overlap", "last", "shared_fillers", fillers, n=10, **lists)
        yield row("overlap", "last", "amplification", 1.125, n=1, **lists)
        for name in ("low", "medium", "high"):
            is_it = float(name == ("medium", "high")[layer])
            yield row("overlap", "last", f"class_{name}", is_it, n=1, **lists)
        for token, measure in (("last", "jaccard"), ("all tokens", "cosine")):
            for control, value in (("none", 0.5), ("wording", 0.625), ("order", 0.9)):
                shown = value + 0.01 * layer
                yield row("overlap", token, measure, shown, control=control, reach=0.05, **fixed)
            below = told.below if layer else -0.01
            tested = {"p_value": 0.0123 if layer else 0.6, "q_value": 0.0246 if layer else 0.8}
            metric = f"{measure}_below_wording"
            yield row("overlap", token, metric, below, reach=0.005, **fixed, **tested)
        for control, share in (("none", 0.275), ("equal_shares", 0.25)):
            key = {**fixed, "control": control}
            yield row("attribution", "block", "share_of_own_head", share, **key)
    every = {**BANK, "seed": seed, "mode": "published"}
    yield row("overlap", "last", "overlap_percent", 70.0, n=2, **every)
    yield row("overlap", "last", "class_high", 1.0, n=2, **every)


def attributed(seed: int) -> Iterator[Row]:
    fixed = {**BANK, "seed": seed}
    yield row("attribution", "head", "n_pairs", 17.0, **{**fixed, "n": 320})
    yield row("attribution", "head", "n_affected", 11.0, **{**fixed, "n": 40})
    yield row("attribution", "head", "mixed_share", 0.455, **fixed)
    yield row("attribution", "head", "mixed_share", 0.432, control="drawn_units", **fixed)


def patched(told: Told) -> Iterator[Row]:
    for direction, base in (("plain_to_buggy", 0.03), ("buggy_to_plain", 0.97)):
        for layer in (0, 1):
            for place, units in enumerate((*WHOLE, *SINGLE)):
                for number, control in enumerate(MAPPED):
                    if control == "identity" and units in SINGLE:
                        continue
                    value = base if control == "identity" else (number + place * 4 + layer) / 40
                    for phase in ("both", "prefill") if units in WHOLE else ("both",):
                        key = {"control": control, "layer": layer, "reach": 0.01}
                        group = f"{direction}, {units}, {phase}"
                        # A phase alone does less than both, so that neither passes for the other.
                        part = 1.0 if phase == "both" or control == "identity" else 0.5
                        yield row("patching", group, "right", part * value, **key)
                        yield row("patching", group, "wrote_donor", 0.0, **key)
    yield from _blends()
    yield from _sets()
    for kind, q_value in (("attn_out", 0.0005), ("mlp_out", 0.9)):
        tested = {"p_value": q_value / 2, "q_value": q_value, "reach": 0.02, "layer": 1}
        group = f"chosen, {kind}"
        yield row("patching", group, "right_beyond_other_pair_buggy", 0.6543, **tested)
    if told.site is not None:
        yield from _site(told, f"chosen site: {told.site}")


def _blends() -> Iterator[Row]:
    fixed = {"mode": "published", "layer": 1, "reach": 0.05}
    for weight, value in (("", 0.875), (", weight 0.2", 0.125), (", weight 0.6", 0.5)):
        group = f"blend: plain_to_buggy, attn_out, both{weight}"
        yield row("patching", group, "right", value, **fixed)
        yield row("patching", group, "logit_change", 3 * value, **fixed)
    for phase, value in (("prefill", 0.0625), ("decode", 0.8125)):
        group = f"blend: plain_to_buggy, attn_out, {phase}"
        yield row("patching", group, "right", value, **fixed)


def _sets() -> Iterator[Row]:
    place = "random: plain_to_buggy, head"
    yield row("patching", f"{place} 0,10 (chosen_2), both", "right", 0.7125, layer=1, reach=0.01)
    other = {"layer": 1, "control": "other_pair_buggy"}
    yield row("patching", f"{place} 0,10 (chosen_2), both", "right", 0.1125, **other)
    for number, value in enumerate((0.3125, 0.0125, 0.2125)):
        group = f"{place} 1,{number + 2} (random_2_{number}), both"
        yield row("patching", group, "right", value, layer=1)
    yield row("patching", f"{place} 0,1,2 (exchanged), both", "right", 0.4125, layer=1)
    fixed = {"layer": 1, "mode": "published", "reach": 0.02}
    group = f"published: plain_to_buggy, block 0,2 ({EVIL}), both"
    yield row("patching", group, "right", 0.5678, **fixed)
    yield row("patching", group, "logit_change", -0.789, **fixed)
    yield row("patching", group, "right", 0.0123, control="identity", **fixed)


def own_pair() -> Iterator[Row]:
    """What the study did, to its own pair."""
    fixed = {"mode": "published", "n": 1}
    for layer in (0, 1):
        group = "own: buggy_to_plain, attn_out, both"
        yield row("patching", group, "right", float(layer), layer=layer, **fixed)
        yield row("patching", group, "logit_change", 0.5 - layer, layer=layer, **fixed)
    group = "own: plain_to_buggy, block 0,2 (even_2), both, weight 0.6"
    yield row("patching", group, "right", 1.0, layer=1, **fixed)


def _site(told: Told, group: str) -> Iterator[Row]:
    found = told.donors or DONORS
    if told.by_format is None:
        found = {donor: each for donor, each in found.items() if not donor.startswith("unlike")}
    for donor, (right, wrote) in found.items():
        key = {"layer": 1, "control": donor, "reach": 0.02}
        yield row("patching", group, "right", right, **key)
        if "_pair_" in donor:
            yield row("patching", group, "wrote_donor", wrote, **key)
        yield row("patching", group, "logit_change", 5 * right - 1, **key)
    for donor, value in (("other_pair_buggy", 0.7), ("word_problem", 0.6)):
        ends = {"p_value": 0.0021, "q_value": 0.0042, "layer": 1, "reach": value - told.beyond}
        yield row("patching", group, f"right_beyond_{donor}", value, **ends)
    if told.by_format is not None:
        ends = {"p_value": 0.0031, "q_value": 0.0062, "layer": 1, "reach": 0.05}
        yield row("patching", group, "right_beyond_unlike_pair_buggy", 0.45, **ends)
        yield row("patching", group, "right_by_format", told.by_format, **ends)
    if told.spared is not None:
        where = f"spared: plain_to_buggy, {told.site}, both"
        for donor, right in (("none", 0.95), ("unlike_pair_plain", told.spared), ("identity", 1.0)):
            key = {"layer": 1, "control": donor, "reach": 0.05, "n": 15}
            yield row("patching", where, "right", right, **key)


def subsets(told: Told) -> Iterator[Row]:
    for kind, units in (("block", 2), ("head", 3)):
        for size in range(units + 1):
            key = f"{kind}, {size} of {units} units"
            yield row("subsets", key, "right", size / units, layer=1, reach=0.06)
            yield row("subsets", key, "subsets", 1.0 + size, layer=1)
        for metric, scale in (("shapley", 1.0), ("banzhaf", 0.5)):
            for unit in range(units):
                value = scale * (unit + 1) / 10
                yield row("subsets", f"{kind}, unit {unit}", metric, value, layer=1, reach=0.03)
            tested = {"layer": 1, "reach": 0.04, "p_value": 0.333}
            yield row("subsets", f"{kind}, even minus odd units", metric, scale / 5, **tested)
        group = f"{kind}, even minus odd units"
        yield row("subsets", group, "smallest_p_value", told.smallest, layer=1)


def summary(told: Told = BUGGY) -> pa.Table:
    """Numbers of one model; without a bug on the half that chooses nothing is patched."""
    rows = list(behaviour(told))
    for seed in range(BANK["seed"], BANK["seed"] + told.seeds):
        rows += of_bank(told, seed)
        rows += attributed(seed) if told.chosen else []
    if told.chosen:
        rows += [*patched(told), *own_pair(), *subsets(told)]
    return pa.Table.from_pylist(rows, DECIMAL_BUG.schema())


def claims(told: Told = BUGGY) -> pa.Table:
    """Three sentences: of other weights, of any, and one that was never measured."""
    fixed: Row = {"study": "decimal_bug", "source": "surgeon", "interval": "none", "metric": ""}
    fixed |= dict.fromkeys(
        ("published_value", "value", "ci_low", "ci_high", "null", "analogue_value", "layer")
    )
    found = [
        {**fixed, "claim": "qa_wrong", "statement": f"Always wrong {EVIL}", "scope": "model"}
        | {"published": "100 % wrong", "published_value": 1.0, "analogue_value": 1 - told.qa}
        | {"null": 0.0625, "verdict": "not testable in this run", "rule": "Other weights."},
        {**fixed, "claim": "overlap_is_shared_features", "statement": "Says", "scope": "procedure"}
        | {"published": "50.6 %", "published_value": 70.0, "value": 0.5, "ci_low": 0.45}
        | {"ci_high": 0.55, "null": 0.625, "verdict": "contradicted", "rule": f"As {told.qa}."},
        {**fixed, "claim": "unheard", "statement": "New", "scope": "model", "published": "r"}
        | {"verdict": "reported but never measured", "rule": "Drawn at random."},
    ]
    return pa.Table.from_pylist(found, CLAIMS.schema())


def lists(told: Told = BUGGY) -> pa.Table:
    """Features of the published lists of each bank."""
    rows = [
        {**BANK, "seed": BANK["seed"] + seed, "layer": layer, "feature": feature, "group": group}
        | {"qa_value": qa, "simple_value": simple, "filler": not (qa and simple)}
        for seed in range(told.seeds)
        for layer, feature, group, qa, simple in (
            (0, 4, "shared", 1.25, 2.5),
            (0, 17, "qa_only", 3.75, 0.5),
            (1, 0, "shared", 0.0, 0.0),
        )
    ]
    return pa.Table.from_pylist(rows, LAYER_FEATURES.schema())


def tables(told: Told = BUGGY, *, fresh: bool = False) -> DecimalTables:
    """Tables of one model."""
    metadata = (FRESH if fresh else TRAINED).metadata()
    return DecimalTables(summary(told).replace_schema_metadata(metadata), claims(told), lists(told))


def numbers(told: Told = BUGGY) -> Numbers:
    """What the pages read of one model."""
    return read_numbers(tables(told))


def shown(table: dict[str, Any] | None) -> list[list[str]]:
    """Cells of a page's table as text, the heads first."""
    assert table is not None
    rows = [
        [f"{cell['value']} {cell['interval']}".strip() for cell in line] for line in table["rows"]
    ]
    return [[head["title"] for head in table["heads"]], *rows]


def models(told: Mapping[str, Told]) -> list[DecimalModel]:
    """Models by name, the untrained named so."""
    found = {name: tables(each, fresh=name.endswith("untrained")) for name, each in told.items()}
    return read_decimal_models(found, UNTRAINED)


def make_decimals(root: Path, told: Mapping[str, Told]) -> Path:
    """Write tables of models, the untrained named so, and the report; returns its folder."""
    folders = []
    for name, each in told.items():
        folder = root / "decimal_bug" / name
        provenance = FRESH if name.endswith("untrained") else TRAINED
        written = (("summary", summary(each), DECIMAL_BUG), ("claims", claims(each), CLAIMS))
        for file, table, artifact in (*written, ("layer_features", lists(each), LAYER_FEATURES)):
            write_table(table, folder / f"{file}.parquet", artifact, provenance)
        folders.append(folder)
    files = replace(write_tables(root, 24, FRESH, calibrated=False), decimal_bug=folders)
    chosen = {**DECIMAL_SPEC, "models": list(told), "untrained": UNTRAINED}
    spec = {**SPEC, "decimal_bug": chosen}
    write_report(files, templates=TEMPLATES, spec=spec, folder=root / "report")
    return root / "report"
