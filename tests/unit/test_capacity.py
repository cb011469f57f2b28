"""The grid of SAE sizes against slow tests of every pair."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.stats import chi2_contingency, false_discovery_control, fisher_exact

from saeflow.artifacts.calibration import CAPACITY, MATCHED
from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.tables import metadata_of, read_table, write_table
from saeflow.artifacts.vectors import Vectors
from saeflow.config.runs import ExactSettings
from saeflow.config.studies import AssociationSettings, CapacitySettings, Gsm8kCriteria
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Recipe, Site
from saeflow.saes.sites import read_sites
from saeflow.saes.train import train_bank
from saeflow.studies.depths import layers_at
from saeflow.studies.gsm8k.association import token_matrix
from saeflow.studies.gsm8k.capacity import (
    GridCriteria,
    beside_chance,
    capacity_table,
    grid_sizes,
)
from saeflow.studies.gsm8k.labels import label_feature
from saeflow.studies.gsm8k.permutations import permuted_rows
from tests.planted_captures import write_capture
from tests.scripts.test_adapters import adapter
from tests.sentences import check_sentence

CPU = torch.device("cpu")
N_TRAIN, N_HELD_OUT, D_IN, LAYERS, STEPS = 160, 140, 12, 3, 3
TOKENS = ["12", "+", "7", "*", "250", "-", "3.5", "/"]
GRID = CapacitySettings(
    d_sae=(16, 8), k=(2, 12, 4), depths=(1.0, 0.4), steps=(2, 0), seed=3, permutations=4
)
CRITERIA = GridCriteria(
    GRID,
    ExactSettings(min_active=5, min_support=6),
    Gsm8kCriteria(association=AssociationSettings(min_active=8, p_value=0.05, min_enrichment=1.3)),
)
RUN: dict[str, Any] = {"model": "m", "dataset": "d", "device": CPU}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Activations that are sums of one direction per token, the weaker the lower the layer."""
    folder = tmp_path_factory.mktemp("capture")
    rng = np.random.default_rng(0)
    present = present_tokens()
    numbers = np.arange(len(present), dtype=np.int32)
    layers = []
    for layer in range(LAYERS):
        parts = []
        for _ in range(STEPS):
            size = present * rng.uniform(0.7, 1.3, present.shape)
            noise = rng.standard_normal((len(present), D_IN)) / 10
            parts.append(layer * size @ rng.standard_normal((len(TOKENS), D_IN)) + noise)
        values = np.stack(parts, 1).reshape(-1, D_IN).astype(np.float32)
        steps = np.tile(np.arange(STEPS, dtype=np.int16), len(numbers))
        vectors = Vectors(np.repeat(numbers, STEPS), steps, values, "float32")
        layers.append(vectors)
    return write_capture(folder, {"resid_post": layers})


def present_tokens() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.random((N_TRAIN + N_HELD_OUT, len(TOKENS))) < np.linspace(0.12, 0.3, len(TOKENS))


def problem_table(n_held_out: int = N_HELD_OUT) -> pa.Table:
    # Splits are mixed, as the study draws them.
    total = N_TRAIN + N_HELD_OUT
    held_out = np.random.default_rng(2).permutation(total) < n_held_out
    split = np.where(held_out, "validation", "train")
    return pa.table({"problem": pa.array(range(total), pa.int32()), "split": split})


def token_table() -> pa.Table:
    problem, token = present_tokens().nonzero()
    return pa.table(
        {"problem": pa.array(problem, pa.int32()), "token": np.array(TOKENS, object)[token]}
    )


def grid(capture: Path, criteria: GridCriteria = CRITERIA) -> pa.Table:
    return capacity_table(capture, problem_table(), token_table(), criteria, **RUN)


@pytest.fixture(scope="module")
def found(capture: Path) -> pd.DataFrame:
    return grid(capture).to_pandas()


def cells_of(one: np.ndarray, other: np.ndarray) -> list[list[int]]:
    return [[int((a & b).sum()) for b in (other, ~other)] for a in (one, ~one)]


def slow_published(active: np.ndarray, present: np.ndarray, tokens: list[str]) -> list[float]:
    """Interpretable and monosemantic rate, one pair after the other."""
    settings, labels = CRITERIA.published.association, []
    for feature in active.T:
        kept = []
        for name, label in zip(tokens, present.T, strict=True):
            cells = np.array(cells_of(feature, label))
            if feature.sum() < settings.min_active or (cells == 0).any():
                continue
            ratio = (cells[0, 0] / cells[0].sum()) / (cells[1, 0] / cells[1].sum())
            if chi2_contingency(cells).pvalue < settings.p_value and ratio >= 1.3:
                kept.append((-ratio, name))
        kept.sort(key=lambda pair: pair[0])
        if kept:
            top = [name for _, name in kept]
            labels.append(label_feature(top, -kept[0][0], CRITERIA.published.labels))
    mono = sum(label.monosemantic for label in labels)
    return [len(labels) / active.shape[1], mono / len(labels) if labels else float("nan")]


def slow_discovered(
    values: np.ndarray, present: np.ndarray, limit: float | None = None
) -> tuple[float, float]:
    """Share of features of which either part has a discovery or a p-value up to a limit; the limit."""
    owners, p_values = [], []
    for feature, sign in itertools.product(range(values.shape[1]), (1, -1)):
        active = sign * values[:, feature] > 0
        for label in present.T:
            if active.sum() >= 5 and label.sum() >= 6:
                owners.append(feature)
                test = fisher_exact(cells_of(active, label), alternative="greater")
                p_values.append(test.pvalue)
    if limit is None:
        discovered = np.array(p_values)[false_discovery_control(p_values) <= 0.05]
        limit = discovered.max(initial=-1.0)
    chosen = np.array(p_values) <= limit * (1 + 1e-9)
    return len(set(np.array(owners)[chosen])) / values.shape[1], limit


def test_cell_equals_slow_tests_of_every_pair(capture: Path, found: pd.DataFrame) -> None:
    split = np.array(problem_table()["split"].to_pylist())
    sites = [Site(layer, step) for layer in (0, 2) for step in (0, 2)]
    numbers = np.arange(len(split))
    train, test = (
        read_sites(capture, "block_output", sites, numbers[split == name])
        for name in ("train", "validation")
    )
    bank = train_bank(train, sites, Recipe("abstopk", 16, 4), seed=3, device=CPU)
    place = sites.index(Site(2, 2))
    encoded = bank.encode(test)
    values, x = encoded[place].numpy(), test[place].numpy().astype(float)
    error = x - bank.decode(encoded)[place].numpy()
    tokens = token_matrix(token_table(), numbers[split == "validation"])

    _, limit = slow_discovered(values, tokens.present)

    def rates(present: np.ndarray) -> list[float]:
        labelled = slow_published(values != 0, present, tokens.tokens)
        return [*labelled, slow_discovered(values, present, limit)[0]]

    observed = rates(tokens.present)
    orders = [permuted_rows(N_HELD_OUT, GRID.seed, index) for index in range(4)]
    null = np.array([rates(tokens.present[order]) for order in orders])
    cell = found[(found.depth == 1.0) & (found.step == 2) & (found.d_sae == 16) & (found.k == 4)]
    assert set(cell.layer) == {2}
    rows = {(row.metric, row.control): row for row in cell.itertuples()}
    assert rows["explained_variance", "none"].value == pytest.approx(1 - error.var() / x.var())
    fvu = (error**2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert rows["fvu", "none"].value == pytest.approx(fvu, rel=1e-4)
    assert rows["l0_mean", "none"].value == 4
    assert rows["dead_share", "none"].value == (values == 0).all(0).mean()
    n_labelled = round(observed[0] * 16)
    for name, mode, value, chance, n in zip(
        ["interpretable", "monosemantic", "discovered"],
        ["published", "published", "calibrated"],
        observed, null.T, [16, n_labelled, 16], strict=True,
    ):  # fmt: skip
        chance = chance[~np.isnan(chance)]
        own, permuted = rows[f"{name}_rate", "none"], rows[f"{name}_rate", "permuted"]
        excess = rows[f"{name}_excess", "none"]
        assert {own.mode, permuted.mode, excess.mode} == {mode}
        assert (own.value, own.n, own.interval) == (pytest.approx(value), n, "none")
        assert (permuted.ci_low, permuted.value, permuted.ci_high, permuted.n) == pytest.approx(
            (chance.min(), chance.mean(), chance.max(), len(chance))
        )
        assert excess.value == pytest.approx(value - chance.mean())
        # Too few permutations for an interval.
        assert (excess.interval, excess.n) == ("none", n)
    assert 0 < observed[1] <= 1
    assert observed[0] > null[:, 0].max() > 0
    assert observed[2] > null[:, 2].max()


def test_every_size_and_site_has_its_rows(found: pd.DataFrame, tmp_path: Path) -> None:
    sizes = [(8, 2), (8, 4), (16, 2), (16, 4), (16, 12)]
    cells = found.groupby(["d_sae", "k", "depth", "layer", "step"]).size()
    assert list(cells.index) == [
        (*size, *site, step) for size in sizes for site in ((0.4, 0), (1.0, 2)) for step in (0, 2)
    ]
    assert set(cells) == {4 + 3 * 3}
    assert (found[found.metric == "l0_mean"].value == found[found.metric == "l0_mean"].k).all()
    table = pa.Table.from_pandas(found, CAPACITY.schema(), preserve_index=False)
    write_table(table, tmp_path / "capacity.parquet", CAPACITY, Provenance("c"))
    assert len(read_table(tmp_path / "capacity.parquet", CAPACITY)) == len(found)
    assert not found.duplicated(list(CAPACITY.keys)).any()


def test_what_was_planted_is_found_and_noise_is_not(found: pd.DataFrame) -> None:
    rates = found[(found.metric == "discovered_rate") & (found.control == "none")]
    assert rates[(rates.layer == 2) & (rates.k > 2)].value.min() >= 0.5
    assert rates[rates.layer == 0].value.mean() <= 0.05, "the first layer is noise"
    excess = found[(found.metric == "interpretable_excess") & (found.layer == 0)]
    assert (excess.value <= 0.25).all()


def test_order_of_sites_and_sizes_changes_nothing(capture: Path, found: pd.DataFrame) -> None:
    changed = GRID.model_copy(
        update={"d_sae": (8, 16, 8), "k": (12, 4, 2), "depths": (0.4, 1.0), "steps": (0, 2)}
    )
    other = GridCriteria(changed, CRITERIA.exact, CRITERIA.published)
    pd.testing.assert_frame_equal(grid(capture, other).to_pandas(), found, check_exact=True)


def test_k_that_does_not_fit_is_left_out_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    log = logging.getLogger("saeflow")
    monkeypatch.setattr(log, "info", lambda text, *parts: said.append(text % parts))
    assert grid_sizes(GRID) == [(8, 2), (8, 4), (16, 2), (16, 4), (16, 12)]
    assert said == ["k 12 is left out for d_sae 8, which has fewer latents."]


def test_relative_depths() -> None:
    assert layers_at([1.0, 0.75, 0.01, 0.75], 16) == {0.01: 0, 0.75: 11, 1.0: 15}
    assert layers_at([0.75, 1.0], 4) == {0.75: 2, 1.0: 3}
    assert layers_at([0.7, 0.75], 12) == {0.7: 7, 0.75: 8}


def test_two_depths_of_a_shallow_model_are_one_layer(capture: Path) -> None:
    changed = GRID.model_copy(update={"depths": (0.9, 1.0), "d_sae": (8,), "k": (2,)})
    table = grid(capture, GridCriteria(changed, CRITERIA.exact, CRITERIA.published)).to_pandas()
    one, other = (table[table.depth == depth].drop(columns="depth") for depth in (0.9, 1.0))
    assert len(one)
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def test_rates_over_nothing_are_null(capture: Path) -> None:
    strict = Gsm8kCriteria(association=AssociationSettings(min_active=N_HELD_OUT))
    small = GRID.model_copy(update={"d_sae": (8,), "k": (2,)})
    table = grid(capture, GridCriteria(small, CRITERIA.exact, strict)).to_pandas()
    mono = table[table.metric.isin(["monosemantic_rate", "monosemantic_excess"])]
    assert len(mono) == 4 * 3
    assert mono[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert set(mono.n) == {0}
    assert set(table[table.metric == "interpretable_rate"].value) == {0.0}


@pytest.mark.parametrize(
    ("rate", "chance", "excess"),
    [((0.5, 4), [0.25, 0.0] * 10, 0.375), ((None, 0), [1.0, 1.0], None), ((0.5, 4), [], None)],
)
def test_excess_needs_both(rate: Any, chance: list[float], excess: float | None) -> None:
    own, permuted, difference = beside_chance("calibrated", "discovered_rate", rate, chance)
    assert (own["value"], own["n"]) == rate
    assert permuted["n"] == len(chance)
    assert (difference["metric"], difference["value"]) == ("discovered_excess", excess)
    assert (difference["ci_low"] is None) == (excess is None)


@pytest.mark.parametrize("n_held_out", [0, N_TRAIN + N_HELD_OUT])
def test_empty_split_is_refused(capture: Path, n_held_out: int) -> None:
    with pytest.raises(SaeflowError) as caught:
        capacity_table(capture, problem_table(n_held_out), token_table(), CRITERIA, **RUN)
    check_sentence(caught.value, "data set d", f"{n_held_out} in the split validation")


def write_filled(columns: pa.Table, path: Path, artifact: Artifact) -> str:
    """Write some columns of a table; the others hold nothing in particular."""
    blank = {pa.string(): "", pa.bool_(): False, pa.list_(pa.string()): []}
    rows = {each.name: [blank.get(each.type, 0)] * len(columns) for each in artifact.columns}
    source = Provenance("c", dataset_revision="r", model_revision="w", packages=("torch",))
    write_table(rows | columns.to_pydict(), path, artifact, source)
    return str(path)


def test_adapters(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr("saeflow.device.set_threads", threads.append)  # it lasts for the process
    problems = write_filled(problem_table(), tmp_path / "problems.parquet", PROBLEMS)
    tokens = write_filled(token_table(), tmp_path / "tokens.parquet", COT_TOKENS)
    small = GRID.model_copy(update={"d_sae": (8,), "k": (2,)})
    published = CRITERIA.published.model_dump(mode="json", include={"association", "labels"})
    spec = {"datasets": ["d"], "capacity": small.model_dump(mode="json"), "threads": 2,
            "association": CRITERIA.exact.model_dump(mode="json"), "published": published}  # fmt: skip
    target = tmp_path / "capacity.parquet"
    adapter(
        "capacity_grid",
        tmp_path,
        input={"problems": [problems], "tokens": [tokens], "capture": [str(capture)]},
        output={"capacity": str(target)},
        wildcards={"model": "m"},
        params={"spec": spec},
    )
    assert threads == [2]
    made = read_table(target, CAPACITY)
    expected = grid(capture, GridCriteria(small, CRITERIA.exact, CRITERIA.published))
    order = [(key, "ascending") for key in CAPACITY.keys]
    assert made.replace_schema_metadata(None).equals(expected.sort_by(order))
    said = metadata_of(made.schema)
    assert (said["seed"], said["dataset_revision"], said["model_revision"]) == ("3", "r", "w")
    assert {"version.scipy", "version.torch"} <= said.keys()
    adapter(
        "compare_capacity",
        tmp_path,
        input={"capacity": [str(target), str(target)]},
        output={"matched": str(tmp_path / "matched.parquet")},
        params={"spec": {"models": ["m", "same"]}},
    )
    differences = read_table(tmp_path / "matched.parquet", MATCHED).to_pandas()
    assert set(differences[differences.control == "none"].value.dropna()) == {0.0}
    assert set(differences.matched_on) == {"l0", "explained_variance"}
