"""The study of wide SAEs: what is run, and what is run again for what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.scaling_examples import SCALING_READING
from saeflow.artifacts.scaling_explanations import EXPLANATION_ARTIFACTS
from saeflow.artifacts.scaling_search import SEARCH_ARTIFACTS
from saeflow.artifacts.scaling_steering import STEERING_ARTIFACTS
from saeflow.artifacts.scaling_training import SCALING_TRAINING
from saeflow.artifacts.tables import read_table
from tests.workflow.running import SMOKE, planned

pytestmark = pytest.mark.workflow

JUDGED = ("summarise_scaling",)
STEERED = ("steer_scaling", *JUDGED)
EXPLAINED = ("explain_scaling", *JUDGED)
READ = ("read_scaling", "steer_scaling", *EXPLAINED)
SEARCHED = ("search_scaling", *READ)
TRAIN = "train_wide_llama_documents_0"
ALL = (TRAIN, *SEARCHED)
BANKS = ("llama_wide", "llama_wide_frozen_decoder")


def study(**blocks: Any) -> dict[str, Any]:
    return {"studies": {"scaling": blocks}}


def calibrated(**blocks: Any) -> dict[str, Any]:
    return study(calibrated=blocks)


def published(**runs: Any) -> dict[str, Any]:
    return study(published={"models": runs})


def stream(**settings: Any) -> dict[str, Any]:
    return {"dictionaries": {"llama_wide": {"stream": settings}}}


def replanned(project: Path, folder: Path, overlay: dict[str, Any]) -> dict[str, int]:
    """Jobs of the study that run again with other settings; without the report, for speed."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return planned(project, *SMOKE, str(path), "--", "scaling")


def test_tables_of_the_smallest_study(finished: Path) -> None:
    folder = finished / "results/scaling/llama"
    of_corpus = read_table(folder / "quality.parquet", SCALING_READING[0]).schema
    kinds = (
        *SCALING_READING,
        *SEARCH_ARTIFACTS,
        *STEERING_ARTIFACTS,
        *EXPLANATION_ARTIFACTS,
        SCALING_TRAINING,
    )
    tables = {}
    for artifact in kinds:
        name = artifact.name.removeprefix("scaling_")
        table = read_table(folder / f"{name}.parquet", artifact)
        keys = table.select(list(artifact.keys)).to_pylist()
        assert len({tuple(row.values()) for row in keys}) == len(keys), name
        for key in ("dataset_revision", "model_revision"):
            assert metadata_of(table.schema)[key] == metadata_of(of_corpus)[key], name
        tables[name] = table.to_pandas()
    assert {path.stem for path in folder.iterdir()} == {*tables, "claims"}
    for name in ("quality", "features", "densities", "training"):
        assert set(tables[name]["dictionary"]) == set(BANKS), name
    for name in ("examples", "tokens", "neighbours", "map", "continuations", "explanations"):
        assert set(tables[name]["dictionary"]) == {"llama_wide"}, name
    features = tables["features"]
    assert (features.groupby(["dictionary", "split"]).size() == 32).all()
    search = tables["search"]
    assert {"topics/football", "topics/medicine"} == set(search["prompts"])
    assert {"none", "frozen_decoder", "words", "length"} <= set(search["control"])
    assert set(search["mode"]) == {"published", "calibrated"}
    written = tables["continuations"]
    assert set(written["topic"]) == {"football", "medicine"}
    assert set(written["mode"]) == {"published", "calibrated"}
    training = tables["training"]
    assert training.groupby(["dictionary", "metric"])["tokens"].max().eq(4096).all()
    # What is steered with and explained was searched and is shown.
    first = search[(search["control"] == "none") & (search["place"] <= 3)]["feature"]
    assert set(first) <= set(tables["examples"]["feature"]) | set(
        features[(features["dictionary"] == "llama_wide") & (features["density"] == 0)]["feature"]
    )
    assert set(first) <= set(tables["explanations"]["feature"])
    claims = read_table(folder / "claims.parquet", CLAIMS)
    assert all(claims["verdict"].to_pylist())


def test_nothing_is_left_beside_the_banks_that_were_trained(finished: Path) -> None:
    left = {path.name for path in (finished / "results/saes/llama/llama_wide").iterdir()}
    assert left == {"seed0"}


@pytest.mark.parametrize(
    ("changed", "jobs"),
    [
        (calibrated(reading={"tokens": 4, "examples": {"top": 3}}), READ),
        (calibrated(search={"permutations": 29}), SEARCHED),
        (calibrated(search={"sets": {"topics": {"positive": 7}}}), SEARCHED),
        (calibrated(search={"sets": {"mine": {"source": "list", "positive": ["x"]}}}), SEARCHED),
        (calibrated(steering={"doses": [0.0, 1.0], "published": {"prompt": "We"}}), STEERED),
        (calibrated(explanations={"features": 3, "windows": {"silent": 3}}), EXPLAINED),
        (stream(learning_rate=1e-4), ALL),
        (stream(tokens=2048), ALL),
        ({"dictionaries": {"llama_wide": {"k": 3}}}, ALL),
        # How often checkpoints are written, and how SAEs share jobs that stay the same, is no result.
        (stream(checkpoint_minutes=1.0), ()),
        (stream(saes_per_job=2), ()),
        (calibrated(search={}, steering={}, explanations={}), ()),
        (calibrated(steering=None), JUDGED),
        (calibrated(explanations=None), JUDGED),
    ],
    ids=str,
)
def test_only_what_reads_a_setting_is_run_again(
    finished: Path, tmp_path: Path, changed: dict[str, Any], jobs: tuple[str, ...]
) -> None:
    assert replanned(finished, tmp_path, changed) == dict.fromkeys(jobs, 1)


@pytest.mark.parametrize(
    "changed",
    [
        published(llama={"seeds": [0, 1]}),
        {
            "dictionaries": {"wider": {"dataset": "documents", "hook": "resid_post", "layers": [0],
                                       "d_sae": 40, "k": 4,
                                       "stream": {"tokens": 4096, "batch_size": 64,
                                                  "start_batches": 2, "buffer_tokens": 1024,
                                                  "contexts": {"packing": "documents"}}}},
            **published(llama={"dictionaries": ["llama_wide", "wider"]}),
        },
    ],
    ids=["seed", "dictionary"],
)  # fmt: skip
def test_another_sae_on_the_stream_is_trained_with_the_others(
    finished: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    # One job trains all that read a stream, the others to the same bits.
    assert replanned(finished, tmp_path, changed) == dict.fromkeys(ALL, 1)


def test_a_stream_of_its_own_leaves_the_others_alone(finished: Path, tmp_path: Path) -> None:
    other = {"dataset": "documents", "hook": "resid_post", "layers": [0], "d_sae": 40, "k": 4,
             "stream": {"tokens": 2048, "batch_size": 32}}  # fmt: skip
    changed = {
        "dictionaries": {"other": other},
        **published(llama={"dictionaries": [*BANKS, "other"]}),
    }
    # It is read beside the others, and no control of what is searched.
    jobs = ("train_wide_llama_documents_1", *READ)
    assert replanned(finished, tmp_path, changed) == dict.fromkeys(jobs, 1)


def test_another_model_is_studied_by_itself(finished: Path, tmp_path: Path) -> None:
    found = replanned(finished, tmp_path, published(gpt2={"dictionaries": ["llama_wide"]}))
    assert found == dict.fromkeys(("train_wide_gpt2_documents_0", *SEARCHED), 1)


def test_an_untrained_control_is_read_and_explained_and_stands_beside_the_search(
    finished: Path, tmp_path: Path
) -> None:
    changed = {
        "models": {"llama_untrained": {"of": "llama", "weights": "fresh"}},
        **published(llama_untrained={"dictionaries": ["llama_wide"], "seeds": [0]}),
    }
    assert replanned(finished, tmp_path, changed) == {
        "train_wide_llama_untrained_documents_0": 1,
        "search_scaling": 1,
        "read_scaling": 2,
        "steer_scaling": 1,
        "explain_scaling": 2,
        "summarise_scaling": 1,
    }


def test_prompts_of_ones_own_are_inputs(finished: Path, tmp_path: Path) -> None:
    for name in ("positive", "negative", "prompts"):
        (tmp_path / f"{name}.txt").write_text("One.\nTwo.\n", encoding="utf-8")
    files = {side: str(tmp_path / f"{side}.txt") for side in ("positive", "negative")}
    search = {"sets": {"mine": {"source": "files", **files}}}
    found = replanned(finished, tmp_path, calibrated(search=search))
    assert found == dict.fromkeys(SEARCHED, 1)
    steering = {"prompt_file": str(tmp_path / "prompts.txt")}
    found = replanned(finished, tmp_path, calibrated(steering=steering))
    assert found == dict.fromkeys(STEERED, 1)


def test_without_a_search_a_model_is_still_read(finished: Path, tmp_path: Path) -> None:
    nothing = calibrated(search={"sets": {"topics": None}}, steering=None)
    assert replanned(finished, tmp_path, nothing) == dict.fromkeys(("read_scaling", *EXPLAINED), 1)


def test_without_the_study_nothing_of_it_is_run(finished: Path, tmp_path: Path) -> None:
    assert replanned(finished, tmp_path, {"studies": {"scaling": None}}) == {}
