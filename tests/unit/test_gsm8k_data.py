"""The real GSM8K against the facts of methods/6, section 8, and the hub's cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from saeflow.config.datasets import PathDataset, SplitSettings, SubsetSettings
from saeflow.datasets.gsm8k import Problem
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.datasets.tokens import calculation_tokens
from tests.conftest import ROOT

N_TRAIN = 7473
FREQUENCIES = {
    "+": 611, "-": 438, "*": 746, "/": 449, "=": 989, "(": 20, ")": 20,
    "2": 482, "3": 381, "4": 303, "5": 296, "10": 260, "20": 229, "6": 199, "8": 181, "12": 175,
    "30": 148, "15": 145, "100": 142, "40": 132, "60": 128, "1": 127, "50": 125,
}  # fmt: skip
OCCURRENCES = {"+": 1136, "-": 577, "*": 1364, "/": 585, "=": 3182, "(": 22, ")": 22}
OPERATOR_SETS = {
    "+*": 242, "+-*": 138, "*/": 134, "+*/": 126, "-*/": 125, "-*": 121, "*": 105, "+-*/": 93,
    "-/": 75, "+-": 71, "+/": 66, "+": 50, "/": 47, "": 44, "+-/": 35, "-": 23,
}  # fmt: skip
SUBSTRING_AND_TOKEN = {
    "12": (405, 267), "20": (541, 331), "30": (328, 252), "50": (334, 174), "100": (256, 200)
}  # fmt: skip


@pytest.fixture(scope="module")
def train(gsm8k_data: Path) -> pa.Table:
    settings = PathDataset(
        source="path",
        path=str(gsm8k_data / "train.jsonl"),
        id_prefix="train_",
        subset=SubsetSettings(kind="published", n=1000),
        content_sha256="063930346e93b93e59cd583c2faa6768e4a26c9bc82600b385e19d1ea661627f",
    )
    return load_problems(settings).table


@pytest.fixture(scope="module")
def tokens(train: pa.Table) -> pa.Table:
    """Tokens of the analysed problems."""
    whole = cot_token_table(train)
    analysed = train.filter(train["analysed"])["problem"]
    return whole.filter(pc.is_in(whole["problem"], analysed.combine_chunks()))


def document_frequency(tokens: pa.Table) -> Counter[str]:
    pairs = set(zip(tokens["problem"].to_pylist(), tokens["token"].to_pylist(), strict=True))
    return Counter(token for _, token in pairs)


def problems_of(table: pa.Table) -> list[Problem]:
    columns = (table["question"].to_pylist(), table["answer"].to_pylist())
    return [Problem(*texts) for texts in zip(*columns, strict=True)]


@pytest.mark.data
def test_published_subset_is_lexicographic(train: pa.Table) -> None:
    assert len(train) == N_TRAIN
    chosen = sorted(train.filter(train["analysed"])["problem_id"].to_pylist())
    assert len(chosen) == 1000
    assert chosen[:6] == [f"train_{n}" for n in ("0", "1", "10", "100", "1000", "1001")]
    assert chosen[-1] == "train_1898"


@pytest.mark.data
def test_tokens_of_the_training_subset(train: pa.Table, tokens: pa.Table) -> None:
    assert len(tokens) == 16_913
    frequency = document_frequency(tokens)
    assert len(frequency) == 628
    kinds = dict(zip(tokens["token"].to_pylist(), tokens["kind"].to_pylist(), strict=True))
    assert Counter(kinds.values()) == {"number": 621, "operator": 7}
    occurrences = Counter(tokens["token"].to_pylist())
    assert {sign: occurrences[sign] for sign in OCCURRENCES} == OCCURRENCES
    assert {token: frequency[token] for token in FREQUENCIES} == FREQUENCIES
    support = np.array(list(frequency.values()))
    counts = (support == 1, support <= 4, support >= 10, support >= 20)
    assert [int(part.sum()) for part in counts] == [350, 493, 87, 61]
    without = pc.equal(train.filter(train["analysed"])["n_steps"], 0)
    assert pc.sum(without).as_py() == 11
    assert len(set(tokens["problem"].to_pylist())) == 989


@pytest.mark.data
def test_tokens_of_the_first_test_problems(gsm8k_data: Path) -> None:
    path = str(gsm8k_data / "test.jsonl")
    table = load_problems(PathDataset(source="path", path=path, limit=1000)).table
    tokens = cot_token_table(table)
    assert len(tokens) == 16_948
    assert len(document_frequency(tokens)) == 590
    numbers = set(tokens.filter(pc.equal(tokens["kind"], "number"))["token"].to_pylist())
    assert len(numbers) == 583
    assert table["problem_id"].to_pylist()[:2] == ["0", "1"]


def test_split_is_the_published_one() -> None:
    from saeflow.datasets.selection import published_split

    train, validation = published_split(N_TRAIN, SplitSettings())
    assert (len(train), len(validation)) == (5978, 1495)
    assert validation[:10].tolist() == [1297, 576, 5462, 4336, 7105, 6808, 4404, 1649, 5958, 6366]
    assert train[:10].tolist() == [410, 6249, 5218, 438, 5885, 2521, 434, 751, 1514, 5933]
    text = ",".join(map(str, sorted(validation.tolist())))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "4a0c7d97f3601d79"


@pytest.mark.data
def test_contents_of_the_validation_split(train: pa.Table) -> None:
    validation = problems_of(train.filter(pc.equal(train["split"], "validation")))
    assert len(validation) == 1495
    texts = [" ".join(problem.calculations) for problem in validation]
    held = [
        {token for text in problem.calculations for token in calculation_tokens(text)}
        for problem in validation
    ]
    containing = {sign: sum(sign in tokens for tokens in held) for sign in "+-*/"}
    assert containing == {"+": 821, "-": 681, "*": 1084, "/": 701}
    for number, (substring, token) in SUBSTRING_AND_TOKEN.items():
        assert sum(number in text for text in texts) == substring
        assert sum(number in tokens for tokens in held) == token
    sets = Counter("".join(sign for sign in "+-*/" if sign in tokens) for tokens in held)
    assert sets == OPERATOR_SETS


@pytest.mark.data
def test_parquet_copy_has_the_same_digest(gsm8k_data: Path, tmp_path: Path) -> None:
    lines = (gsm8k_data / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    paths = (gsm8k_data / "test.jsonl", tmp_path / "t.parquet")
    found = {load_problems(PathDataset(source="path", path=str(path))).revision for path in paths}
    assert len(found) == 1


REVISION = "740312add88f781978c0658806c59bc2815b9866"
FROM_HUB = """
from saeflow.config.datasets import HubDataset
from saeflow.datasets.sources import load_problems
from saeflow.errors import SaeflowError

for file in ("main/here.jsonl", "main/absent.jsonl"):
    try:
        print(load_problems(HubDataset(source="hub", file=file)).table["question"].to_pylist())
    except SaeflowError as error:
        print(error)
"""


def test_hub_file_comes_from_the_cache_or_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "datasets--openai--gsm8k"
    snapshot = repository / "snapshots" / REVISION / "main"
    blob = repository / "blobs" / "0123"
    for folder in (snapshot, blob.parent):
        folder.mkdir(parents=True)
    blob.write_text('{"question": "cached?", "answer": "#### 1"}\n')
    (snapshot / "here.jsonl").symlink_to(os.path.relpath(blob, snapshot))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-c", FROM_HUB],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    found, sentence = done.stdout.splitlines()
    assert found == "['cached?']"
    assert sentence.startswith(f"openai/gsm8k@{REVISION}, file main/absent.jsonl cannot be had")
    assert "source: path with path: FILE" in sentence
