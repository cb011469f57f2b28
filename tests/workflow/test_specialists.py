"""The study of specialists: what is run, and what is run again for what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.specialist_effects import SPECIALIST_EFFECTS, SPECIALIST_TASKS
from saeflow.artifacts.specialists import (
    FEATURE_ALIGNMENT,
    SIMILARITIES,
    SPECIALIST_FEATURES,
    SPECIALIST_TEXTS,
    SPECIALISTS,
)
from saeflow.artifacts.tables import read_table
from tests.workflow.running import ROOT, SMOKE, planned

pytestmark = pytest.mark.workflow

FILES = {"pairs": "matched_pairs.json", "categories": "categories70.json"}
JUDGE = {"kind": "endpoint", "url": "http://localhost:1/v1", "model": "m"}
TOGETHER = ("gather_specialists", "summarise_specialists")
TRIED = ("try_specialists", *TOGETHER)
FOUND = ("find_specialists", *TRIED)
POOLED = ("pool_texts", "compare_specialists", *FOUND)
ALL = ("match_texts", "ask_specialists", *POOLED)


def study(**blocks: Any) -> dict[str, Any]:
    return {"studies": {"specialists": blocks}}


def calibrated(**blocks: Any) -> dict[str, Any]:
    return study(calibrated=blocks)


def published(**blocks: Any) -> dict[str, Any]:
    return study(published=blocks)


def replanned(project: Path, folder: Path, overlay: dict[str, Any]) -> dict[str, int]:
    """Jobs of the study that run again with other settings; without the report, for speed."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return planned(project, *SMOKE, str(path), "--", "specialists")


def test_tables_of_the_smallest_study(finished: Path) -> None:
    folder = finished / "results/specialists"
    texts = read_table(folder / "texts.parquet", SPECIALIST_TEXTS).to_pandas()
    matched = texts[texts["set"] == "pairs"]
    assert (matched.groupby("topic")["pair"].nunique() == 4).all()
    assert (texts[texts["set"] == "categories"].groupby("category").size() == 2).all()
    assert matched["topic"].nunique() == texts["category"].nunique() - 1 == 7
    model = folder / "llama"
    features = read_table(model / "features.parquet", SPECIALIST_FEATURES).to_pandas()
    assert set(features["mode"]) == {"published", "calibrated"}
    assert set(features["layer"]) == {1}
    classes = set(matched["topic"] + ": " + matched["form"])
    found = set(features.loc[features["set"] == "pairs", "class"])
    assert found - {"all"} == classes
    alike = read_table(model / "similarities.parquet", SIMILARITIES).to_pandas()
    # Words stand beside features.
    assert set(alike["dictionary"]) == {"", "llama_resid"}
    assert (alike.groupby(["mode", "pooling"]).size() == len(classes) ** 2).all()
    tasks = read_table(model / "tasks.parquet", SPECIALIST_TASKS).to_pandas()["group"]
    assert (tasks == "arithmetic").sum() >= 250
    assert (tasks == "other").sum() >= 100
    assert len(read_table(model / "effects.parquet", SPECIALIST_EFFECTS))
    rows = read_table(model / "summary.parquet", SPECIALISTS).to_pandas()
    parts = "discovery overlap geometry retrieval variance sparsity tasks tokens ablation cascade"
    assert set(rows["part"]) == set(parts.split())
    assert all(read_table(model / "claims.parquet", CLAIMS)["verdict"].to_pylist())
    # Of one model there is none to compare it with.
    alignment = finished / "results/compare/specialists.parquet"
    assert not len(read_table(alignment, FEATURE_ALIGNMENT))


@pytest.mark.parametrize(
    ("changed", "jobs"),
    [
        (study(texts={"per_topic": 3}), ALL),
        (calibrated(pooling={"masking": "published"}), POOLED),
        (calibrated(permutations=29), ("compare_specialists", *FOUND)),
        (study(published={"threshold": 4.0}, calibrated={"floor": 0.7, "q_value": 0.1}), FOUND),
        (published(answer_tokens=3, judge=JUDGE), ("ask_specialists", *TRIED)),
        (calibrated(ablation={"items": 3}, tasks={"others": 3}, examples=2), TRIED),
        (study(alignment={"share": 0.8}), ("compare_specialists", *TOGETHER)),
    ],
    ids=str,
)
def test_only_what_reads_a_setting_is_run_again(
    finished: Path, tmp_path: Path, changed: dict[str, Any], jobs: tuple[str, ...]
) -> None:
    assert replanned(finished, tmp_path, changed) == dict.fromkeys(jobs, 1)


NEW = ("train_bank", "pool_texts", *FOUND)
"""Of one more bank of the same model."""


@pytest.mark.parametrize(
    ("changed", "jobs"),
    [
        (published(models={"llama": {"seeds": [0, 1]}}), NEW),
        (
            {
                "dictionaries": {"wide": {"dataset": "read_texts", "hook": "resid_post",
                                          "d_sae": 24, "k": 4, "layers": [1],
                                          "training": {"epochs": 1}}},
                **published(models={"llama": {"dictionaries": ["llama_resid", "wide"]}}),
            },
            NEW,
        ),
    ],
    ids=["seed", "dictionary"],
)  # fmt: skip
def test_another_bank_is_all_that_is_computed(
    finished: Path, tmp_path: Path, changed: dict[str, Any], jobs: tuple[str, ...]
) -> None:
    assert replanned(finished, tmp_path, changed) == dict.fromkeys(jobs, 1)


def test_another_model_is_compared_with_the_first(finished: Path, tmp_path: Path) -> None:
    models = {"gpt2": {"dictionaries": ["llama_resid"]}}
    found = replanned(finished, tmp_path, published(models=models))
    jobs = ("capture_tokens", "ask_specialists", "compare_specialists", *NEW)
    assert found == dict.fromkeys(jobs, 1)


def test_files_of_ones_own_replace_the_texts_and_train_nothing(
    finished: Path, tmp_path: Path
) -> None:
    for name in FILES.values():
        (tmp_path / name).write_text("{}", encoding="utf-8")
    texts = {key: str(tmp_path / name) for key, name in FILES.items()}
    found = replanned(finished, tmp_path, study(texts={"source": "path", **texts}))
    assert found == dict.fromkeys(ALL, 1)


@pytest.mark.data
def test_the_published_texts_plan_the_whole_study(tmp_path: Path) -> None:
    folder = ROOT.parent / "shared/data/matched_pairs"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; the study of the published texts is not planned")
    overlay = tmp_path / "published.yaml"
    texts = {key: str(folder / name) for key, name in FILES.items()}
    values = study(texts={"source": "path", **texts})
    overlay.write_text(yaml.safe_dump(values), encoding="utf-8")
    preset = "workflow/presets/specialists.yaml"
    found = planned(ROOT, "--forceall", "specialists", "--configfile", preset, str(overlay))
    each = ("pool_texts", "find_specialists", "try_specialists")
    assert {name: found[name] for name in each} == dict.fromkeys(each, 12)
    of_models = ("ask_specialists", "capture_tokens")
    assert {name: found[name] for name in of_models} == dict.fromkeys(of_models, 4)
    of_all = ("match_texts", "compare_specialists", *TOGETHER)
    assert {name: found[name] for name in of_all} == dict.fromkeys(of_all, 1)
