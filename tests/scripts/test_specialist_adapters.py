"""Jobs of the study of specialists on a user's own pairs: any script, one token, any tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.specialist_effects import ASKED, TRIED
from saeflow.artifacts.specialists import (
    BANK_TABLES,
    POOLED,
    SHARED_TABLES,
    SPECIALIST_TEXTS,
    SPECIALISTS,
    TEXT_LENGTHS,
)
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.specialists import AlignmentSettings
from saeflow.datasets.texts.choices import choice_texts
from saeflow.datasets.texts.cloze import cloze_texts
from saeflow.datasets.texts.table import texts_to_table
from saeflow.studies.specialists.pooled import open_pooled
from tests.conftest import DATA
from tests.scripts.adapters import adapter
from tests.scripts.specialist_jobs import (
    CATEGORIES,
    MODELS,
    PAIRS,
    POOLING,
    Job,
    analyse,
    ask,
    match,
    train,
)
from tests.sentences import check_sentence


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Both models through all jobs; whoever reads these tables must not write."""
    folder = tmp_path_factory.mktemp("specialists")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saeflow.device.set_threads", lambda threads: None)
        patch.setattr("saeflow.studies.specialists.cloze.LEAST", {"arithmetic": 2, "other": 1})
        texts = match(folder / "texts")
        mixture = folder / "mixture.parquet"
        drawn = [*cloze_texts(seed=0, n_arithmetic=60, n_other=0), *choice_texts(seed=0, n=40)]
        write_table(texts_to_table(drawn), mixture, MIXTURE_TEXTS, Provenance("c"))
        jobs = {name: Job(folder, name) for name in MODELS}
        for job in jobs.values():
            train(job, folder)
            job.pool(texts, "pooled", "lengths")
            analyse(job, texts, mixture)
        shared = [str(folder / f"{name}.parquet") for name in ("words", "numbers", "alignment")]
        alignment = AlignmentSettings(permutations=19, neighbour_permutations=19)
        adapter(
            "compare_specialists",
            folder,
            input={
                "texts": str(texts),
                **{
                    table: [job.paths(table)[0] for job in jobs.values()]
                    for table in ("pooled", "lengths")
                },
            },
            output=shared,
            params={
                "spec": {
                    "words": {"permutations": 19, "seed": 0},
                    "alignment": alignment.model_dump(mode="json"),
                    "banks": [[name, "own", 0] for name in jobs],
                    "threads": 1,
                }
            },
        )
        adapter(
            "summarise_specialists",
            folder,
            input={"texts": str(texts), "words": shared[1], "alignment": shared[2]},
            output={
                names: [job.paths(name)[0] for job in jobs.values()]
                for names, name in (("summaries", "summary"), ("claims", "claims"))
            },
            params={
                "spec": [
                    {
                        "tables": {
                            **{name: job.paths(name)[0] for name in ("tasks", "answers")},
                            "numbers": job.paths("numbers", "tried"),
                            **{name: job.paths(name) for name in ("behaviour", "effects")},
                        },
                        "settings": {"seed": 0, "own_weights": "", "pair": tuple(jobs)},
                    }
                    for job in jobs.values()
                ]
            },
        )
        yield {"jobs": jobs, "texts": texts, "mixture": mixture, "shared": shared}


def test_texts_come_as_written(study: dict[str, Any]) -> None:
    rows = read_table(study["texts"], SPECIALIST_TEXTS).to_pylist()
    matched = [row["content"] for row in rows if row["set"] == "pairs"]
    forms = {"category", "expected", "description", "meaning"}
    written = [
        [text for form, text in pair.items() if form not in forms]
        for pairs in PAIRS.values()
        for pair in pairs
    ]
    assert matched == [text for pair in written for text in pair]
    plain = [row["content"] for row in rows if row["set"] == "categories"]
    assert plain == [text for some in CATEGORIES["baseline_categories"].values() for text in some]


@pytest.mark.parametrize("name", MODELS)
def test_every_table_of_a_model_fits_its_schema(study: dict[str, Any], name: str) -> None:
    job = study["jobs"][name]
    kinds = {
        **dict(zip(("pooled", "lengths"), (POOLED, TEXT_LENGTHS), strict=True)),
        **dict(zip(("features", "similarities", "numbers"), BANK_TABLES, strict=True)),
        **dict(zip(("tasks", "answers"), ASKED, strict=True)),
        **dict(
            zip(("activations", "behaviour", "effects", "examples", "tried"), TRIED, strict=True)
        ),
        "summary": SPECIALISTS,
        "claims": CLAIMS,
    }
    of_texts = metadata_of(read_table(study["texts"], SPECIALIST_TEXTS).schema)
    for table, artifact in kinds.items():
        found = read_table(Path(job.paths(table)[0]), artifact)
        assert len(found), table
        keys = found.select(list(artifact.keys)).to_pylist()
        assert len({tuple(key.values()) for key in keys}) == len(keys), table
        assert metadata_of(found.schema)["dataset_revision"] == of_texts["dataset_revision"]
        assert metadata_of(found.schema)["model_revision"]


def test_shared_tables_are_of_both_models(study: dict[str, Any]) -> None:
    for path, artifact in zip(study["shared"], SHARED_TABLES, strict=True):
        assert len(read_table(Path(path), artifact))
    alignment = read_table(Path(study["shared"][2]), SHARED_TABLES[2]).to_pylist()
    assert {(row["model"], row["other_model"]) for row in alignment} == {MODELS}


def matrices(job: Job, *tables: str) -> dict[tuple[str, int, str], np.ndarray]:
    pooled = open_pooled(*map(Path, job.paths(*tables)))
    return {
        (mode, layer, name): values
        for mode in POOLING
        for layer, name, values in pooled.matrices(mode)
    }


@pytest.mark.parametrize("name", MODELS)
def test_texts_by_themselves_give_what_padded_ones_do(study: dict[str, Any], name: str) -> None:
    job = study["jobs"][name]
    job.pool(study["texts"], "alone", "alone_lengths", batch_size=1)
    alone, padded = matrices(job, "alone", "alone_lengths"), matrices(job, "pooled", "lengths")
    assert len(alone) == 2 + 4
    for key, values in alone.items():
        np.testing.assert_allclose(padded[key], values, atol=2e-4, rtol=2e-4)
        assert values.any(axis=1).all(), "no text is without features"
    lengths = read_table(Path(job.paths("lengths")[0]), TEXT_LENGTHS).to_pylist()
    contents = read_table(study["texts"], SPECIALIST_TEXTS)["content"].to_pylist()
    # A byte is a token; what is put before a text does not count, whatever its id.
    own = [row for row in lengths if row["mode"] == "calibrated"]
    assert [row["n_tokens"] for row in own] == [len(each.encode()) for each in contents]


@pytest.mark.parametrize("name", MODELS)
def test_a_text_of_one_token_is_the_same_in_every_pooling(study: dict[str, Any], name: str) -> None:
    contents = read_table(study["texts"], SPECIALIST_TEXTS)["content"].to_pylist()
    place = contents.index("a")
    found = matrices(study["jobs"][name], "pooled", "lengths")
    rows = [values[place] for (mode, _, _), values in found.items() if mode == "calibrated"]
    for row in rows[1:]:
        np.testing.assert_allclose(row, rows[0], atol=1e-5)


def said(capsys: pytest.CaptureFixture[str], stopped: pytest.ExceptionInfo[SystemExit]) -> str:
    assert stopped.value.code == 1
    text = capsys.readouterr().err.strip().split("\n")[-1]
    check_sentence(Exception(text.removeprefix("error: ")))
    return text


def test_an_empty_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = [{**PAIRS["python_pairs"][0], "code": ""}]
    with pytest.raises(SystemExit) as stopped:
        match(tmp_path / "bad", {**PAIRS, "python_pairs": python}, None)
    assert "pairs.json, pair 1 of python_pairs: 'code' is ''; expected a text" in said(
        capsys, stopped
    )


def test_a_text_beyond_the_context_is_told(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = [*PAIRS["python_pairs"][1:], {**PAIRS["python_pairs"][0], "code": "今" * 60}]
    texts = match(tmp_path / "long", {**PAIRS, "python_pairs": python}, None)
    for name in MODELS:
        with pytest.raises(SystemExit) as stopped:
            study["jobs"][name].pool(texts, "x", "y")
        told = said(capsys, stopped)
        assert "180" in told or "181" in told, told
        assert "160" in told


def test_a_judge_without_its_key_is_told_before_anything_is_sent(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    judge = {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m",
             "key_variable": "NO_SUCH_KEY"}  # fmt: skip
    job = study["jobs"]["no_begin"]
    before = [Path(path).read_bytes() for path in job.paths("tasks", "answers")]
    with pytest.raises(SystemExit) as stopped:
        ask(job, study["texts"], study["mixture"], judge)
    assert "NO_SUCH_KEY" in said(capsys, stopped)
    assert before == [Path(path).read_bytes() for path in job.paths("tasks", "answers")]


def test_more_bundled_pairs_than_the_mixture_holds_are_told(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        adapter(
            "match_texts",
            tmp_path,
            input={"source": [str(study["mixture"])]},
            output={"texts": str(tmp_path / "texts.parquet")},
            params={"spec": {"source": "bundled", "per_topic": 35, "per_category": 10}},
        )
    told = said(capsys, stopped)
    assert "holds out 0 pairs of Math_Simple" in told
    assert "expected at least 35 (studies.specialists.texts.per_topic)" in told


@pytest.mark.data
def test_the_published_texts(tmp_path: Path) -> None:
    folder = DATA / "matched_pairs"
    if not (folder / "matched_pairs.json").is_file():
        pytest.skip(f"{folder} is absent; the published texts are not read here")
    files = [str(folder / name) for name in ("matched_pairs.json", "categories70.json")]
    target = tmp_path / "texts.parquet"
    adapter(
        "match_texts",
        tmp_path,
        input={"source": files},
        output={"texts": str(target)},
        params={"spec": {"source": "path"}},
    )
    texts = read_table(target, SPECIALIST_TEXTS).to_pandas()
    pairs = texts[texts["set"] == "pairs"]
    assert len(pairs) == pairs["content"].nunique() == 688
    assert pairs.groupby("topic")["pair"].nunique().sum() == 241
    # What a class is held against: every text of another topic.
    contrasts = [len(pairs) - count for count in pairs.groupby("topic", sort=False).size()]
    assert contrasts == [589, 589, 618, 583, 583, 583, 583]
    assert texts[texts["set"] == "categories"].groupby("category").size().tolist() == [10] * 7
