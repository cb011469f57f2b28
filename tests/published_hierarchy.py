"""A small hierarchy study and the published rules as loops over problems, from methods/2, 3.1-3.5."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from saeflow.artifacts.features import LayerTable
from saeflow.config.hierarchy import HierarchyPublished
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.hierarchy.published import PublishedTables, published_hierarchy

N_PROBLEMS, D_SAE, D_IN, SAMPLES = 60, 30, 30, 12
LAYERS, STEPS = (1, 3), (0, 2)
RANGES = ((4, 9), (12, 30))
RUN = {"dataset": "toy", "dictionary": "bank", "seed": 1, "mode": "published"}
SETTINGS = HierarchyPublished.model_validate(
    {
        "models": {"toy": {"datasets": ["toy"], "dictionaries": ["bank"]}},
        "samples": SAMPLES,
        "taxonomy": {"top": 25, "min_operation_hits": 3, "min_number_hits": 5},
        "specialists": {"rank_ranges": RANGES, "null_draws": 300},
        "impact": {"top": 6, "high": 0.1, "medium": 0.02},
    }
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A small bank whose features are its inputs, and what the study makes of it."""

    problems: pa.Table
    texts: list[str]
    numbers: list[int]
    bank: Bank
    features: list[LayerTable]
    x: dict[Site, torch.Tensor]
    tables: PublishedTables

    def read(self, sites: Sequence[Site], numbers: np.ndarray) -> torch.Tensor:
        return torch.stack([self.x[site][torch.from_numpy(numbers)] for site in sites])


def answer(rng: np.random.Generator) -> tuple[str, str]:
    """Worked answer of a random problem, and the text in which patterns are looked for."""
    numbers = (2, 7, 12, 20, 30, 50, 100, 112, 500, 1500, 20)
    signs = ("+", "-", "*", "/", "\N{MULTIPLICATION SIGN}", "\N{DIVISION SIGN}", " sum ")
    parts = []
    for _ in range(rng.integers(0, 4)):
        left, right = rng.choice(numbers, 2)
        parts.append(f"{left}{signs[rng.integers(len(signs))]}{right}={rng.integers(1, 9)}")
    worked = "".join(f"So <<{part}>> it + is.\n" for part in parts)
    return f"{worked}#### 5", " | ".join(parts)


def planted(rng: np.random.Generator, texts: list[str]) -> torch.Tensor:
    """Activations of one site: rare and silent features, ties, and some that follow an operation."""
    rates = rng.permutation(np.linspace(0.05, 1.0, D_SAE))
    values = rng.choice([-2.0, -1.5, -1.0, 0.5, 1.0, 1.5, 2.0], (N_PROBLEMS, D_SAE))
    values[rng.random((N_PROBLEMS, D_SAE)) > rates] = 0.0
    for feature, n_active in ((0, 0), (7, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 1)):
        values[:, feature] = 0.0
        values[rng.choice(N_PROBLEMS, n_active, replace=False), feature] = -1.25
    for feature, sign in ((10, "+"), (11, "/")):
        alone = [sign in text and not set("+-*/") - {sign} & set(text) for text in texts]
        values[:, feature] = np.array(alone) * rng.random(N_PROBLEMS)
    values[:, 12] = ["12" in text for text in texts]
    return torch.from_numpy(values.astype(np.float32))


def small_study(seed: int) -> Study:
    """A study of random problems, with every kind of feature planted."""
    rng = np.random.default_rng(seed)
    answers = [answer(rng) for _ in range(N_PROBLEMS)]
    split = np.where(rng.random(N_PROBLEMS) < 0.75, "validation", "train")
    problems = pa.table(
        {
            "problem": pa.array(np.arange(N_PROBLEMS), pa.int32()),
            "question": ["How many?"] * N_PROBLEMS,
            "answer": [worked for worked, _ in answers],
            "split": split,
            "analysed": np.ones(N_PROBLEMS, bool),
        }
    )
    sites = tuple(Site(layer, step) for layer in LAYERS for step in STEPS)
    x = {site: planted(rng, [text for _, text in answers]) for site in sites}
    eye = torch.eye(D_IN).repeat(len(sites), 1, 1)
    decoder = torch.from_numpy(rng.normal(0, 0.3, (len(sites), D_SAE, D_IN)).astype(np.float32))
    bias = torch.from_numpy(rng.normal(size=(len(sites), D_IN)).astype(np.float32))
    recipe = Recipe("abstopk", D_SAE, D_SAE)
    bank = Bank(recipe, sites, eye, torch.zeros(len(sites), D_SAE), decoder, bias)
    features = [layer_table(layer, x, rng) for layer in LAYERS]
    made = Study(
        problems=problems,
        texts=[text for _, text in answers],
        numbers=np.flatnonzero(split == "validation").tolist(),
        bank=bank,
        features=features,
        x=x,
        tables=PublishedTables(*[pa.table({})] * 3),
    )
    tables = published_hierarchy(
        problems, iter(features), bank, made.read, SETTINGS, RUN, "validation"
    )
    return Study(**vars(made) | {"tables": tables})


def layer_table(layer: int, x: dict[Site, torch.Tensor], rng: np.random.Generator) -> LayerTable:
    """Long table of a layer, its rows in no order."""
    rows = [
        (problem, site.step, feature, float(values[problem, feature]))
        for site, values in x.items()
        if site.layer == layer
        for problem, feature in values.nonzero().tolist()
    ]
    problem, step, feature, value = zip(*(rows[i] for i in rng.permutation(len(rows))), strict=True)
    columns = {
        "problem": pa.array(problem, pa.int32()),
        "layer": pa.array([layer] * len(rows), pa.int16()),
        "step": pa.array(step, pa.int16()),
        "feature": pa.array(feature, pa.int32()),
        "value": pa.array(value, pa.float32()),
    }
    return LayerTable(layer, STEPS, D_SAE, pa.table(columns))


OPERATION_WORDS: dict[str, Callable[[str], bool]] = {
    "addition": lambda text: "+" in text or "sum" in text,
    "subtraction": lambda text: "-" in text or "difference" in text,
    "multiplication": lambda text: bool(re.search("[*\u00d7]|multiply", text)),
    "division": lambda text: bool(re.search("[/\u00f7]|divide", text)),
}


def one_stands_out(shares: dict[str, float], least: float, below: float, ties: bool) -> str | None:
    """Name of the commonest, if it passes; `ties` is whether equals of it count."""
    best = max(shares, key=lambda name: shares[name])
    others = [
        share for name, share in shares.items() if (name != best if ties else share != shares[best])
    ]
    passes = shares[best] > least and all(share < below for share in others)
    return best if passes else None


def verdict(sample: list[str], ties: bool) -> tuple[str | None, str | None]:
    """Operation and value in which a feature with these samples is specialised."""
    if not sample:
        return None, None
    operations = {
        name: 100 * sum(shows(text) for text in sample) / len(sample)
        for name, shows in OPERATION_WORDS.items()
    }
    values = {
        f"number {value}": 100 * sum(str(value) in text for text in sample) / len(sample)
        for value in (12, 20, 30, 50, 100)
    }
    return one_stands_out(operations, 70, 30, ties), one_stands_out(values, 50, 20, ties)


def type_of(sample: list[str]) -> tuple[str, str, list[str]]:
    """Type, confidence and patterns of a feature with these samples."""
    operations = [name for name, shows in OPERATION_WORDS.items() if sum(map(shows, sample)) >= 3]
    values = []
    if sum(any(number in text for number in ("100", "200", "500", "1000")) for text in sample) >= 3:
        values.append("round_numbers")
    for value in (12, 20, 30, 50, 100):
        if sum(str(value) in text for text in sample) >= 5:
            values.append(f"number_{value}")
    tags = operations + values
    if operations and values:
        return "mixed", "medium", tags
    if tags:
        name = "operation-level" if operations else "value-level"
        return name, "high" if len(tags) >= 2 else "medium", tags
    return "unknown", "low", tags


def reference_site(study: Study, site: Site) -> list[Row]:
    """Rows of the ranks at one site, problem by problem."""
    x = study.x[site]
    active = []
    for feature in range(D_SAE):
        hits = [(n, x[n, feature].item()) for n in study.numbers if x[n, feature] != 0]
        active.append(sorted(hits, key=lambda hit: (-abs(hit[1]), hit[0])))
    order = sorted(range(D_SAE), key=lambda feature: (-len(active[feature]), feature))
    rows = []
    for feature, hits in enumerate(active):
        rank = order.index(feature) + 1
        sample = [study.texts[n] for n, _ in hits[:SAMPLES]]
        operation, value = verdict(sample, ties=False)
        kind, name = "general", None
        if operation and value:
            kind, name = "highly-specialised", f"{operation} + {value}"
        elif operation or value:
            kind, name = f"{'operation' if operation else 'value'}-specialised", operation or value
        between = [f"{a}-{b}" for a, b in RANGES if a <= rank <= b]
        judged = bool(between and hits)
        typed = type_of(sample) if rank <= 25 else (None, None, None)
        rows.append(
            {
                "feature": feature,
                "rank": rank,
                "n_active": len(hits),
                "activation_rate": len(hits) / len(study.numbers),
                "mean_magnitude": sum(abs(v) for _, v in hits) / len(study.numbers),
                "n_samples": len(sample),
                "top_problems": [n for n, _ in hits[:10]],
                "type": typed[0],
                "confidence": typed[1],
                "patterns": typed[2],
                "rank_range": between[0] if between else None,
                "specialisation": kind if judged else None,
                "name": name if judged else None,
                "specialised": name is not None,
                "specialised_untied": any(verdict(sample, ties=True)),
            }
        )
    return rows
