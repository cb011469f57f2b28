"""Jobs of the GSM8K study that make several tables, on planted features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from saeflow.artifacts.calibration import DISCOVERIES
from saeflow.artifacts.catalog import (
    ANSWERS,
    ASSOCIATION,
    COT_TOKENS,
    EXAMPLES,
    FEATURES,
    LABELS,
    PERMUTATIONS,
    PROBLEMS,
    SUMMARY,
    TESTED,
)
from saeflow.artifacts.features import shape_metadata
from saeflow.artifacts.provenance import Provenance, config_digest, metadata_of
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.datasets import PathDataset
from saeflow.config.runs import ExactSettings
from saeflow.config.studies import AssociationSettings, HalvesSettings, LabelSettings
from saeflow.studies.gsm8k.labels import label_table
from tests.scripts.adapters import adapter

COUNT = 80
TESTS = AssociationSettings(min_active=8).model_dump(mode="json")
RULE = LabelSettings().model_dump(mode="json")
PLANTED = {"frozen": "7", "pca": "9"}
"""The token that the first feature of each bank follows."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems, answers and features; the first feature fires where a token occurs, others at random."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(5)
    sums = [(number, int(rng.integers(5, 10))) for number in range(COUNT)]
    rows = [
        {"question": f"{a} and {b}?", "answer": f"<<{a}+{b}={a + b}>>{a + b}\n#### {a + b}"}
        for a, b in sums
    ]
    source = folder / "sums.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec = PathDataset(source="path", path=str(source), id_prefix="p").model_dump(mode="json")
    problems = folder / "problems.parquet"
    adapter(
        "load_problems",
        folder,
        input={"source": [str(source)]},
        output={"problems": str(problems)},
        params={"spec": spec},
    )
    tokens = folder / "tokens.parquet"
    adapter("cut_tokens", folder, input={"problems": str(problems)}, output={"tokens": str(tokens)})
    gold = [float(a + b) for a, b in sums]
    nothing = {"text": [""] * COUNT, "predicted": gold, "correct": [True] * COUNT}
    answers = {"problem": list(range(COUNT)), "gold": gold, "decoded": [["x"]] * COUNT, **nothing}
    (folder / "capture").mkdir()
    made = Provenance("c", seed=4, dataset_revision="d", model_revision="m", packages=("torch",))
    table = pa.table(answers, schema=ANSWERS.schema())
    write_table(table, folder / "capture/answers.parquet", ANSWERS, made)
    found = read_table(tokens, COT_TOKENS)
    for name, token in PLANTED.items():
        named = np.array(found["token"].to_pylist()) == token
        holding = set(found["problem"].to_numpy()[named].tolist())
        # It misses two and fires on two others: tables with an empty cell are not tested.
        absent = sorted(set(range(COUNT)) - holding)
        fires = [(problem, 0) for problem in [*sorted(holding)[2:], *absent[:2]]]
        fires += [
            (problem, int(each)) for problem in range(COUNT) for each in rng.integers(1, 6, 2)
        ]
        own = sorted(set(fires))
        layer = {
            "problem": [problem for problem, _ in own],
            "layer": [1] * len(own),
            "step": [0] * len(own),
            "feature": [feature for _, feature in own],
            "value": rng.uniform(0.5, 2.0, len(own)).astype(np.float32),
        }
        (folder / name).mkdir()
        write_table(layer, folder / name / "layer1.parquet", FEATURES, of_bank(name, 1))
    return folder


def of_bank(name: str, *layers: int) -> Provenance:
    """Of features of a bank with SAEs of these layers."""
    shape = shape_metadata((0,), 6, layers)
    return Provenance(f"f{name}", 4, "d", "m", ("sae-lens", "torch"), extra=shape)


def associate(study: Path, target: Path, tests: dict[str, Any]) -> None:
    names = ("tested", "association", "labels")
    adapter(
        "associate",
        target,
        input={
            "problems": str(study / "problems.parquet"),
            "tokens": str(study / "tokens.parquet"),
            "features": str(study / "pca"),
        },
        output={name: str(target / f"{name}.parquet") for name in names},
        params={"spec": {"tests": {"association": tests, "layers": "all"}, "labels": RULE}},
        wildcards={"dataset": "sums", "dictionary": "pca", "seed": "4"},
    )


@pytest.mark.parametrize("p_value", [0.01, 1e-300])
def test_labels_are_those_of_the_tables_beside_them(
    study: Path, tmp_path: Path, p_value: float
) -> None:
    tests = {**TESTS, "p_value": p_value}
    associate(study, tmp_path, tests)
    pairs = read_table(tmp_path / "association.parquet", ASSOCIATION)
    tested = read_table(tmp_path / "tested.parquet", TESTED)
    labels = read_table(tmp_path / "labels.parquet", LABELS)
    again = label_table(pairs, tested, LabelSettings.model_validate(RULE))
    write_table(again, tmp_path / "again.parquet", LABELS, Provenance("c"))
    expected = read_table(tmp_path / "again.parquet", LABELS).to_pylist()
    assert labels.to_pylist() == expected
    assert len(labels) == len(set(pairs["feature"].to_pylist()))
    named = dict(zip(labels["feature"].to_pylist(), labels["label"].to_pylist(), strict=True))
    assert named.get(0) == ("number_9" if p_value == 0.01 else None)
    # Each table tells of the settings that decide it, and of the same sources.
    said = {"labels": metadata_of(labels.schema), "association": metadata_of(pairs.schema)}
    assert said["labels"].pop("config") == config_digest(RULE)
    digest = config_digest({"association": tests, "layers": "all"})
    assert said["association"].pop("config") == digest
    assert said["labels"].pop("artifact") == "labels"
    assert said["association"].pop("artifact") == "association"
    assert said["labels"] == said["association"]
    assert said["labels"]["model_revision"] == "m"
    assert {"version.scipy", "version.sae-lens"} <= set(said["labels"])


def summarise(study: Path, target: Path, tests: dict[str, Any], drawn: int) -> dict[str, Any]:
    """Its tables from those of `associate`; returns the settings of the rates."""
    permutations = {"count": drawn, "seed": 0}
    criteria = {"association": tests, "labels": RULE, "permutations": permutations}
    permuted = {"criteria": criteria, "layers": [1]}
    # A layer that is not analysed is not read: here it is damaged.
    (target / "pca").mkdir()
    rows = read_table(study / "pca/layer1.parquet", FEATURES)
    write_table(rows, target / "pca/layer1.parquet", FEATURES, of_bank("pca", 1, 2))
    (target / "pca/layer2.parquet").write_text("damaged", encoding="utf-8")
    # Every third problem is encoded for another study and is no example.
    problems = read_table(study / "problems.parquet", PROBLEMS)
    place = problems.schema.get_field_index("analysed")
    analysed = pa.array([problem % 3 > 0 for problem in problems["problem"].to_pylist()])
    problems = problems.set_column(place, "analysed", analysed)
    write_table(problems, target / "problems.parquet", PROBLEMS, Provenance("c"))
    given = {name: str(target / f"{name}.parquet") for name in ("tested", "labels", "problems")}
    given |= {"tokens": str(study / "tokens.parquet"), "features": str(target / "pca")}
    names = ("permutations", "summary", "examples")
    adapter(
        "summarise",
        target,
        input=given,
        output={name: str(target / f"{name}.parquet") for name in names},
        params={"spec": {"permuted": permuted, "examples": 2}},
        wildcards={"dataset": "sums", "dictionary": "pca", "seed": "4"},
    )
    return permuted


@pytest.mark.parametrize("p_value", [0.01, 1e-300])
def test_rates_and_examples_are_those_of_the_labels(
    study: Path, tmp_path: Path, p_value: float
) -> None:
    tests = {**TESTS, "p_value": p_value}
    associate(study, tmp_path, tests)
    settings = summarise(study, tmp_path, tests, 3)
    labels = read_table(tmp_path / "labels.parquet", LABELS)
    summary = read_table(tmp_path / "summary.parquet", SUMMARY)
    counts = {
        row["control"]: row["value"]
        for row in summary.to_pylist()
        if row["metric"] == "n_interpretable" and row["layer"] is None
    }
    assert counts["none"] == len(labels)
    permuted = read_table(tmp_path / "permutations.parquet", PERMUTATIONS).to_pylist()
    drawn = [
        row["value"]
        for row in permuted
        if row["metric"] == "n_interpretable" and row["layer"] is None
    ]
    assert counts["permuted"] == pytest.approx(sum(drawn) / 3)
    examples = read_table(tmp_path / "examples.parquet", EXAMPLES)
    names = ("feature", "rank", "problem", "value")
    rows = read_table(study / "pca/layer1.parquet", FEATURES).to_pylist()
    expected = []
    for feature in labels["feature"].to_pylist():
        own = [row for row in rows if row["feature"] == feature and row["problem"] % 3 > 0]
        own.sort(key=lambda row: (-abs(row["value"]), row["problem"]))
        expected += [
            (feature, rank, row["problem"], row["value"]) for rank, row in enumerate(own[:2])
        ]
    assert [tuple(row[name] for name in names) for row in examples.to_pylist()] == expected
    assert bool(expected) == (p_value == 0.01)
    # Each table tells of the settings that decide it, and of the same sources.
    said = {"summary": metadata_of(summary.schema), "examples": metadata_of(examples.schema)}
    assert said["summary"].pop("config") == config_digest(settings)
    assert said["examples"].pop("config") == config_digest({"examples": 2})
    for name, pairs in said.items():
        assert pairs.pop("artifact") == name
        del pairs["schema_version"]
    assert said["summary"] == said["examples"]
    assert (said["summary"]["model_revision"], said["summary"]["dataset_revision"]) == ("m", "d")


def calibrated(study: Path, folder: Path, *names: str) -> dict[str, bytes]:
    """Files that one job makes of some banks."""
    spec = {
        "association": ExactSettings(min_active=6, min_support=4).model_dump(mode="json"),
        "targets": ["token"],
        "halves": HalvesSettings().model_dump(mode="json"),
        "published": {"association": TESTS, "labels": RULE, "observed": True},
        "held_out": "analysed",
        "layers": "all",
    }
    # One that differs shows whose settings are read.
    specs = {"frozen": spec, "pca": {**spec, "halves": {"count": 21, "seed": 0}}}
    kinds = ("calibrated", "discoveries")
    adapter(
        "calibrate",
        folder,
        input={
            "problems": str(study / "problems.parquet"),
            "tokens": str(study / "tokens.parquet"),
            "capture": str(study / "capture"),
            "features": [str(study / name) for name in names],
            "nulls": [],
        },
        output={kind: [str(folder / name / f"{kind}.parquet") for name in names] for kind in kinds},
        params={
            "spec": {
                "dataset": "sums",
                "seed": 4,
                "banks": {name: specs[name] for name in names},
            }
        },
    )
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.parquet")
    }


def test_banks_of_one_job_are_calibrated_as_by_jobs_of_their_own(
    study: Path, tmp_path: Path
) -> None:
    together = calibrated(study, tmp_path / "both", "frozen", "pca")
    alone = [calibrated(study, tmp_path / name, name) for name in PLANTED]
    assert together == alone[0] | alone[1]
    assert len(together) == 4
    for name, token in PLANTED.items():
        folder = tmp_path / "both" / name
        found = read_table(folder / "discoveries.parquet", DISCOVERIES).to_pylist()
        rates = read_table(folder / "calibrated.parquet", SUMMARY).to_pylist()
        for row in (*found, *rates):
            assert (row["dataset"], row["dictionary"], row["seed"]) == ("sums", name, 4)
        assert {row["mode"] for row in found} == {"calibrated"}
        assert {row["mode"] for row in rates} == {"calibrated", "published"}
        assert token in {row["label"] for row in found if row["feature"] == 0}
