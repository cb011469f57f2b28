"""Adapters with a stand-in for Snakemake's object: milliseconds, and debuggable."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from saeflow.artifacts.catalog import (
    COMPARISON,
    COT_TOKENS,
    LABELS,
    MIXTURE_TEXTS,
    PERMUTATIONS,
    PROBLEMS,
    QUALITY,
    SUMMARY,
    TEXT_TOKENS,
    TEXTS,
)
from saeflow.artifacts.tables import metadata_of, read_table
from saeflow.config.datasets import MixtureTexts, PathDataset, TextFile
from tests.scripts.adapters import adapter


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    source = tmp_path / "three.jsonl"
    rows = [
        {
            "question": f"How much is {n} and {n}?",
            "answer": f"<<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}",
        }
        for n in (2, 3, 4)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    target = tmp_path / "problems.parquet"
    spec = PathDataset(source="path", path=str(source), id_prefix="p").model_dump(mode="json")
    adapter(
        "load_problems",
        tmp_path,
        input={"source": [str(source)]},
        output={"problems": str(target)},
        params={"spec": spec},
    )
    return target


def test_load_problems(problems: Path) -> None:
    table = read_table(problems, PROBLEMS)
    assert table["problem_id"].to_pylist() == ["p0", "p1", "p2"]
    assert table["gold"].to_pylist() == [4.0, 6.0, 8.0]
    assert sorted(table["split"].to_pylist()) == ["train", "train", "validation"]
    assert len(metadata_of(table.schema)["dataset_revision"]) == 64


def test_cut_tokens(problems: Path, tmp_path: Path) -> None:
    target = tmp_path / "tokens.parquet"
    adapter(
        "cut_tokens", tmp_path, input={"problems": str(problems)}, output={"tokens": str(target)}
    )
    table = read_table(target, COT_TOKENS)
    assert table["token"].to_pylist()[:5] == ["2", "+", "2", "=", "4"]
    revision = metadata_of(read_table(problems, PROBLEMS).schema)["dataset_revision"]
    assert metadata_of(table.schema)["dataset_revision"] == revision


def test_gather_sorts_by_key(tmp_path: Path) -> None:
    from saeflow.artifacts.provenance import Provenance
    from saeflow.artifacts.tables import write_table

    parts = []
    for seed in (1, 0):
        row = {
            "dataset": "d", "dictionary": "k", "seed": seed, "mode": "published", "layer": 0,
            "step": 0, "feature": 3, "feature_id": "L0_P0_F3", "label": "number_5",
            "label_type": "number", "monosemantic": True, "explanation": "x", "n_active": 20,
            "activation_rate": 0.5, "n_kept": 1, "top_tokens": ["5"], "max_enrichment": 6.0,
            "min_p_value": 0.001,
        }  # fmt: skip
        parts.append(tmp_path / f"part{seed}.parquet")
        table = pa.Table.from_pylist([row], LABELS.schema())
        write_table(table, parts[-1], LABELS, Provenance("c"))
    target = tmp_path / "labels.parquet"
    adapter(
        "gather",
        tmp_path,
        output=[str(target)],
        params={"spec": [{"artifact": "labels", "parts": [str(part) for part in parts]}]},
    )
    assert read_table(target, LABELS)["seed"].to_pylist() == [0, 1]


def test_compare_gsm8k_knows_whose_tables_they_are(tmp_path: Path) -> None:
    from saeflow.artifacts.provenance import Provenance
    from saeflow.artifacts.tables import write_table

    summaries, permutations, permuted = [], [], []
    for model, value, seeds in (("one", 0.75, (0, 1)), ("two", 0.5, (4,))):
        whole = {"dataset": "d", "dictionary": "k", "mode": "published", "layer": None,
                 "step": None, "n": 9, "metric": "monosemantic_rate", "target": "token"}  # fmt: skip
        band = {"control": "none", "ci_low": None, "ci_high": None, "interval": "none"}
        rows = [{**whole, **band, "seed": seed, "value": value} for seed in seeds]
        # Controls of the dictionary are in the same table; the study's questions leave them out.
        rows.append({**whole, **band, "dictionary": "k_pca", "seed": 0, "value": 0.1})
        provenance = Provenance("c", dataset_revision="d", model_revision=model)
        summaries.append(tmp_path / f"{model}.parquet")
        table = pa.Table.from_pylist(rows, SUMMARY.schema())
        write_table(table, summaries[-1], SUMMARY, provenance)
        for seed in seeds:
            row = {**whole, "seed": seed, "permutation": 0, "value": value / 2}
            permutations.append(tmp_path / f"{model}_{seed}.parquet")
            permuted.append(model)
            table = pa.Table.from_pylist([row], PERMUTATIONS.schema())
            write_table(table, permutations[-1], PERMUTATIONS, provenance)
    target = tmp_path / "comparison.parquet"
    adapter(
        "compare_gsm8k",
        tmp_path,
        input={
            "summaries": list(map(str, summaries)),
            "permutations": list(map(str, permutations)),
        },
        output={"comparison": str(target)},
        params={"spec": {"models": ["one", "two"], "dictionaries": ["k"], "permuted": permuted}},
    )
    found = read_table(target, COMPARISON)
    assert set(found["dictionary"].to_pylist()) == {"k"}
    values = {
        (row["other"], row["metric"], row["control"]): (row["value"], row["n"])
        for row in found.to_pylist()
        if row["model"] == "one" and row["question"] == "monosemantic"
    }
    assert values["", "monosemantic_rate", "permuted"] == (0.375, 1)
    assert values["two", "difference", "none"] == (0.25, 2)
    assert values["two", "excess_difference", "none"] == (0.125, 2)
    said = metadata_of(found.schema)
    assert (said["model_revision"], said["dataset_revision"]) == ("one+two", "d")


def test_user_error_ends_the_adapter_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        adapter(
            "cut_tokens",
            tmp_path,
            input={"problems": str(tmp_path / "absent.parquet")},
            output={"tokens": str(tmp_path / "tokens.parquet")},
        )
    assert stopped.value.code == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ")
    assert said.endswith("expected a Parquet file there.")
    assert said.count("\n") == 0
    assert "error: " in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_texts_become_a_bank_of_tokens(tmp_path: Path) -> None:
    source = tmp_path / "mine.txt"
    source.write_text("".join(f"Text {n} is short.\n" for n in range(6)), encoding="utf-8")
    texts, capture, bank = (tmp_path / name for name in ("texts.parquet", "capture", "bank"))
    block = TextFile(source="text_file", path="elsewhere.txt").model_dump(mode="json")
    adapter(
        "load_texts",
        tmp_path,
        input={"source": [str(source)]},
        output={"texts": str(texts)},
        params={"spec": {key: value for key, value in block.items() if key != "path"}},
    )
    loaded = read_table(texts, TEXTS)
    assert loaded["split"].to_pylist() == ["train"] * 4 + ["validation"] * 2
    fresh = {"weights": "fresh", "family": "gpt2", "hidden_size": 16, "num_hidden_layers": 2}
    adapter(
        "capture_tokens",
        tmp_path,
        input={"texts": str(texts), "model": []},
        output={"capture": str(capture)},
        params={
            "code": "c",
            "spec": {
                "model": {"model": fresh, "control": None, "threads": 1},
                "hooks": ["mlp_out"],
            },
        },
    )
    tokens = read_table(capture / "text_tokens.parquet", TEXT_TOKENS)
    contents = loaded["content"].to_pylist()
    assert len(tokens) == sum(len(content.encode()) for content in contents)  # bytes are tokens
    assert sorted(path.name for path in (capture / "mlp_out").iterdir()) == ["layer0", "layer1"]
    dictionary = {"dataset": "mine", "hook": "mlp_out", "d_sae": 8, "k": 2,
                  "training": {"epochs": 1}}  # fmt: skip
    adapter(
        "train_bank",
        tmp_path,
        input={"examples": str(texts), "capture": str(capture)},
        output={"banks": [str(bank)]},
        params={"spec": {"seed": 3, "banks": {"mlp": {"dictionary": dictionary, "threads": 1}}}},
    )
    quality = read_table(bank / "quality.parquet", QUALITY)
    counts = {row["split"]: row["n"] for row in quality.to_pylist()}
    assert counts["train"] + counts["validation"] == counts["all"] == len(tokens)
    said = metadata_of(quality.schema)
    assert said["dataset_revision"] == metadata_of(loaded.schema)["dataset_revision"]
    assert (said["seed"], len(json.loads(said["files_sha256"]))) == ("3", 4)


@pytest.mark.parametrize("script", ["capture_thoughts", "capture_tokens"])
def test_an_empty_shard_of_a_capture_leaves_its_folder(
    script: str, problems: Path, tmp_path: Path
) -> None:
    from saeflow.artifacts.provenance import Provenance
    from saeflow.artifacts.tables import write_table

    texts, shard = tmp_path / "texts.parquet", tmp_path / "shards" / "1-of-2"
    row = dict.fromkeys(TEXTS.schema().names, "") | {"text": 0, "item": 0}
    write_table(pa.Table.from_pylist([row], TEXTS.schema()), texts, TEXTS, Provenance("c"))
    adapter(
        script,
        tmp_path,
        input={"problems": str(problems), "texts": str(texts), "model": []},
        output={"shard": str(shard)},
        wildcards={"model": "m", "dataset": "d", "scatteritem": "1-of-2"},
        params={"code": "c", "spec": {"threads": 1}},
    )
    assert shard.is_dir()
    assert list(shard.iterdir()) == []


def test_banks_of_one_job_are_those_of_jobs_of_their_own(problems: Path, tmp_path: Path) -> None:
    fresh = {"weights": "fresh", "family": "gpt2", "hidden_size": 16, "num_hidden_layers": 2,
             "thoughts": {"latents": 1, "max_new_tokens": 1}}  # fmt: skip
    capture = str(tmp_path / "capture")
    adapter(
        "capture_thoughts",
        tmp_path,
        input={"problems": str(problems), "model": []},
        output={"capture": capture},
        params={"code": "c", "spec": {"model": fresh, "control": None, "threads": 1}},
    )
    recipe = {"dataset": "d", "k": 2, "steps": [0, 1], "training": {"epochs": 1}}
    recipes = {
        "frozen": {**recipe, "d_sae": 8, "control": "frozen_decoder"},
        "pca": {**recipe, "d_sae": None, "control": "pca", "layers": [1]},
    }

    def make(job: str, *names: str) -> None:
        def paths(kind: str) -> list[str]:
            return [str(tmp_path / job / kind / name) for name in names]

        banks = {name: {"dictionary": recipes[name], "threads": 1} for name in names}
        adapter(
            "train_bank",
            tmp_path,
            input={"examples": str(problems), "capture": capture},
            output={"banks": paths("banks")},
            params={"spec": {"seed": 3, "banks": banks}},
        )
        read = {"layer_convention": "block_output", "held_out": None, "threads": 1}
        adapter(
            "encode_features",
            tmp_path,
            input={"problems": str(problems), "capture": capture, "banks": paths("banks")},
            output={"features": paths("features")},
            params={"spec": {name: {**read, "k": recipes[name]["k"]} for name in names}},
        )

    def written(*jobs: str) -> dict[str, bytes]:
        folders = [tmp_path / job for job in jobs]
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file()
        }

    make("both", "frozen", "pca")
    make("first", "frozen")
    make("second", "pca")
    found = written("both")
    assert found == written("first", "second")
    assert {"features/frozen/layer0.parquet", "features/pca/layer1.parquet"} <= set(found)
    assert "features/pca/layer0.parquet" not in found
    quality = read_table(tmp_path / "both/banks/pca/quality.parquet", QUALITY)
    assert set(quality["control"].to_pylist()) == {"pca"}
    assert set(quality["dictionary"].to_pylist()) == {"pca"}
    assert metadata_of(quality.schema)["seed"] == "3"


def test_load_texts_of_the_mixture(tmp_path: Path) -> None:
    from saeflow.artifacts.provenance import Provenance
    from saeflow.artifacts.tables import write_table
    from saeflow.datasets.texts.table import texts_to_table
    from saeflow.datasets.texts.text import Text

    mixture = [
        Text("pairs", "g", "f", item, split, "", f"{split} {item}")
        for split in ("train", "held_out")
        for item in range(3)
    ]
    provenance = Provenance("c")
    write_table(texts_to_table(mixture), tmp_path / "all.parquet", MIXTURE_TEXTS, provenance)
    block = MixtureTexts(source="mixture", parts=("pairs",), n_train=2, n_validation=1)
    adapter(
        "load_texts",
        tmp_path,
        input={"source": [str(tmp_path / "all.parquet")]},
        output={"texts": str(tmp_path / "texts.parquet")},
        params={"spec": block.model_dump(mode="json")},
    )
    contents = read_table(tmp_path / "texts.parquet", TEXTS)["content"].to_pylist()
    assert [content.split()[0] for content in contents] == ["train", "train", "held_out"]


def test_load_texts_of_many_files(tmp_path: Path) -> None:
    import gzip

    files = [tmp_path / "a.txt", tmp_path / "b.txt.gz"]
    files[0].write_text("".join(f"First {n}.\n" for n in range(20)), encoding="utf-8")
    files[1].write_bytes(gzip.compress("".join(f"Second {n}.\n" for n in range(20)).encode()))
    block = TextFile(source="text_file", path=[str(file) for file in files], limit=30)
    spec = {key: value for key, value in block.model_dump(mode="json").items() if key != "path"}
    target = tmp_path / "results" / "texts.parquet"
    adapter(
        "load_texts",
        tmp_path,
        input={"source": [str(file) for file in files]},
        output={"texts": str(target)},
        params={"spec": spec},
    )
    loaded = read_table(target, TEXTS)
    assert sorted(loaded["item"].to_pylist()) == list(range(30))
    assert loaded["text"].to_pylist() == list(range(30))
    assert len(metadata_of(loaded.schema)["dataset_revision"]) == 64
    assert [path.name for path in target.parent.iterdir()] == ["texts.parquet"]
