"""Problems from files, their selection and their tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.datasets import ProblemSettings, SplitSettings, SubsetSettings
from saeflow.datasets.generated import generate_problems, to_jsonl_line
from saeflow.datasets.gsm8k import Problem, content_digest, read_problems
from saeflow.datasets.selection import analysed_mask, published_split
from saeflow.datasets.sources import LoadedProblems, cot_token_table, load_problems
from saeflow.datasets.tokens import calculation_tokens, token_kind, token_rows
from saeflow.errors import SaeflowError
from tests.sentences import check_sentence

ANSWER = "He has 2+3=<<2+3=5>>5.\n#### 5"


def line(question: Any = "How many?", answer: Any = ANSWER) -> str:
    return json.dumps({"question": question, "answer": answer})


def write(folder: Path, text: str | bytes, name: str = "problems.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def load(block: dict[str, Any], file: Path | None = None) -> LoadedProblems:
    return load_problems(TypeAdapter(ProblemSettings).validate_python(block), file)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("48/2=24", ["48", "/", "2", "=", "24"]),
        ("5-8=-3", ["5", "-", "8", "=", "-", "3"]),
        (".5*4=2", ["5", "*", "4", "=", "2"]),
        ("3.*2.50", ["3.", "*", "2.50"]),
        ("1.2.3", ["1.2", "3"]),
        ("1,000", ["1", "000"]),
        ("(2+3)*4", ["(", "2", "+", "3", ")", "*", "4"]),
        ("2x3 = $6%", ["2", "3", "=", "6"]),
        ("2÷3×4", ["2", "3", "4"]),
        ("", []),
        ("half", []),
    ],
)
def test_tokens_of_a_calculation(text: str, tokens: list[str]) -> None:
    assert calculation_tokens(text) == tokens


def test_token_rows_number_calculations_and_positions() -> None:
    assert list(token_rows(["1+2", "", "(3"])) == [
        (0, 0, "1", "number"),
        (0, 1, "+", "operator"),
        (0, 2, "2", "number"),
        (2, 0, "(", "operator"),
        (2, 1, "3", "number"),
    ]
    assert {token_kind(sign) for sign in "+-*/=()"} == {"operator"}


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("#### 5", 5.0),
        ("x\n#### 1,234,567", 1234567.0),
        ("####-3.5 ", -3.5),
        ("a #### 7\n", 7.0),
    ],
)
def test_gold_is_the_number_after_the_hashes(answer: str, gold: float) -> None:
    assert Problem("q", answer).gold == gold


def test_calculations_are_the_annotations_in_order() -> None:
    assert Problem("q", "a <<1+1=2>>2 b <<>> <<2\n*3=6>> << #### 6").calculations == [
        "1+1=2",
        "",
        "2\n*3=6",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (line() + "\n" + line()[:30], "line 2: the line is no JSON"),
        (line() + "\nnonsense\n" + line(), "line 2: the line is no JSON"),
        ((line() + "\n\n").encode() + b"\xff\xfe\n", "line 3: the line is not UTF-8"),
        ("\ufeff" + line(), "line 1: the line is no JSON"),
        ("[" * 100_000, "line 1: the line is no JSON"),
        ('{"question": ' + "9" * 5000 + "}", "line 1: the line is no JSON"),
        ("[1, 2]\n", "line 1: found list, expected an object"),
        ("null\n", "line 1: found NoneType, expected an object"),
        (line(answer="five"), "line 1: the answer holds no '####' line; expected '#### NUMBER'"),
        (line(answer="#### five"), "line 1: 'five' after '####' is no number"),
        (line(answer="#### nan"), "line 1: 'nan' after '####' is no number"),
        (line(answer="#### 1e999"), "line 1: '1e999' after '####' is no number"),
        (line(answer="####  "), "line 1: the answer holds no '####' line"),
        ('{"answer": "#### 1"}', "line 1: 'question' is None; expected a text"),
        ('{"question": "q"}', "line 1: 'answer' is None; expected a text"),
        (line(question=7), "line 1: 'question' is 7; expected a text"),
        (line(question="  "), "line 1: 'question' is '  '; expected a text"),
        ('{"question": "\\ud800", "answer": "#### 1"}', "half a surrogate pair"),
        ("", "holds no problem; expected at least one"),
        ("\n \n", "holds no problem; expected at least one"),
    ],
)
def test_malformed_file_is_told_with_its_line(text: Any, part: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SaeflowError) as caught:
        read_problems(path)
    assert part in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limit_stops_before_what_comes_after(tmp_path: Path) -> None:
    path = write(tmp_path, f"{line('a')}\n{line('b')}\nnonsense")
    assert [each.question for each in read_problems(path, 2)] == ["a", "b"]
    with pytest.raises(SaeflowError, match="line 3"):
        read_problems(path, 3)
    path = write(tmp_path, line())
    with pytest.raises(SaeflowError, match="holds 1 problems; limit asks for 2"):
        read_problems(path, 2)
    with pytest.raises(SaeflowError, match="does not exist"):
        read_problems(tmp_path / "absent.jsonl")


def test_parquet_holds_the_same_problems_as_json_lines(tmp_path: Path) -> None:
    texts = ["How many?", "Wie viele? „äöü“ 😀", "a\nb\t\x1f"]
    lines = write(tmp_path, "\r\n".join(line(text) for text in texts) + "\n")
    table = pa.table({"x": [1, 2, 3], "answer": [ANSWER] * 3, "question": texts})
    pq.write_table(table, tmp_path / "p.parquet")
    assert read_problems(tmp_path / "p.parquet") == read_problems(lines)
    found = {
        load({"source": "path", "path": "x"}, file).revision
        for file in (lines, tmp_path / "p.parquet")
    }
    assert len(found) == 1
    assert content_digest(read_problems(lines, 2)) not in found


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ({"question": ["q"], "response": ["r"]}, "has the columns ['question', 'response']"),
        ({"question": ["q", None], "answer": [ANSWER] * 2}, "row 2: 'question' is None"),
        ({"question": [b"q"], "answer": [ANSWER]}, "row 1: 'question' is b'q'"),
        ({"question": ["q"], "answer": [3]}, "row 1: 'answer' is 3"),
        (
            {"question": pa.array([], pa.string()), "answer": pa.array([], pa.string())},
            "no problem",
        ),
        (None, "cannot be read as Parquet"),
    ],
)
def test_other_parquet_is_told(table: Any, part: str, tmp_path: Path) -> None:
    path = write(tmp_path, "no parquet", "p.parquet")
    if table is not None:
        pq.write_table(pa.table(table), path)
    with pytest.raises(SaeflowError) as caught:
        read_problems(path)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parquet_text_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
    pq.write_table(pa.table({"question": text, "answer": [ANSWER]}), tmp_path / "p.parquet")
    with pytest.raises(SaeflowError, match="not UTF-8"):
        read_problems(tmp_path / "p.parquet")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2)
    ),
    max_leaves=4,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={"question": JSON, "answer": JSON | st.just(ANSWER) | st.text().map("#### ".__add__)},
)
CONTENT = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(ROWS, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.tuples(st.integers(0, 120), st.binary(max_size=3)).map(
        lambda cut: f"{line()}\n{line()}\n".encode()[: cut[0]] + cut[1]
    ),
)


@given(CONTENT, st.sampled_from(["jsonl", "parquet"]), st.sampled_from([None, 1, 3]))
def test_any_bytes_give_problems_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str, limit: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz.{suffix}"
    path.write_bytes(content)
    try:
        problems = read_problems(path, limit)
    except SaeflowError as error:
        check_sentence(error, str(path))
    else:
        assert problems
        assert all(np.isfinite(problem.gold) for problem in problems)


IDS = [f"train_{number}" for number in range(1200)]


@pytest.mark.parametrize(
    ("subset", "chosen"),
    [
        ({"kind": "all"}, set(range(1200))),
        ({"kind": "first", "n": 3}, {0, 1, 2}),
        ({"kind": "published", "n": 6}, {0, 1, 10, 100, 1000, 1001}),
        ({"kind": "published", "n": 1200}, set(range(1200))),
    ],
)
def test_subset_kinds(subset: dict[str, Any], chosen: set[int]) -> None:
    mask = analysed_mask(IDS, SubsetSettings(**subset))
    assert set(np.flatnonzero(mask)) == chosen


def test_random_subset_is_seeded() -> None:
    masks = [analysed_mask(IDS, SubsetSettings(kind="random", n=50, seed=s)) for s in (0, 0, 1)]
    assert [mask.sum() for mask in masks] == [50] * 3
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != masks[2]).any()


@pytest.mark.parametrize("kind", ["first", "random", "published"])
def test_too_large_or_empty_subset_is_told(kind: str) -> None:
    with pytest.raises(SaeflowError, match=rf"asks for 1201 problems \({kind}\).* holds 1200"):
        analysed_mask(IDS, SubsetSettings(kind=kind, n=1201))
    with pytest.raises(SaeflowError, match="holds 0"):
        analysed_mask([], SubsetSettings())


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1319])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.999])
def test_split_uses_every_problem_once(n: int, share: float) -> None:
    train, validation = published_split(n, SplitSettings(train_share=share))
    assert sorted([*train, *validation]) == list(range(n))
    assert len(train) == int(share * n)


def test_generated_problems_survive_a_file(tmp_path: Path) -> None:
    block = {"source": "generated", "n_train": 30, "n_validation": 10, "seed": 4}
    made = load({**block, "subset": {"kind": "published", "n": 20}})
    problems = generate_problems(n_train=30, n_validation=10, seed=4)
    path = write(tmp_path, "".join(to_jsonl_line(each) + "\n" for each in problems))
    read = load({"source": "path", "path": str(path), "id_prefix": "generated_"})
    assert read.revision == made.revision
    same = ["problem", "problem_id", "question", "answer", "gold", "n_steps"]
    assert made.table.select(same).equals(read.table.select(same))
    assert made.table["split"].to_pylist() == ["train"] * 30 + ["validation"] * 10
    assert made.table["n_steps"].to_pylist() == [problem.n_steps for problem in problems]
    assert sum(made.table["analysed"].to_pylist()) == 20
    assert read.table["held_out_pair"].null_count == 40
    write_table(made.table, tmp_path / "problems.parquet", PROBLEMS, Provenance("c"))
    tokens = cot_token_table(made.table)
    write_table(tokens, tmp_path / "tokens.parquet", COT_TOKENS, Provenance("c"))
    assert set(tokens["problem"].to_pylist()) == set(range(40)), "those not analysed, too"


def test_path_of_the_block_is_read_where_no_file_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, line())
    found = load({"source": "path", "path": str(path), "split": {"seed": 0}})
    assert found.table["gold"].to_pylist() == [5.0]


def test_expected_digest_is_checked(tmp_path: Path) -> None:
    path = write(tmp_path, line())
    block = {"source": "path", "path": str(path)}
    digest = load(block).revision
    assert load({**block, "content_sha256": digest}).revision == digest
    with pytest.raises(SaeflowError, match=f"has the content digest {digest}"):
        load({**block, "content_sha256": "0" * 64})


def test_problems_without_any_calculation_are_told(tmp_path: Path) -> None:
    lines = "\n".join([line(answer="#### 1"), line(answer="<<1+1=2>> #### 2")])
    table = load({"source": "path", "path": "x"}, write(tmp_path, lines)).table
    assert cot_token_table(table)["problem"].to_pylist() == [1] * 5
    place = table.column_names.index("analysed")
    table = table.set_column(place, "analysed", pa.array([True, False]))
    with pytest.raises(SaeflowError, match="no analysed problem holds"):
        cot_token_table(table)


def test_generator_that_cannot_go_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(**_: Any) -> None:
        raise ValueError("too many")

    monkeypatch.setattr("saeflow.datasets.sources.generate_problems", stop)
    with pytest.raises(SaeflowError, match="generator stopped: too many"):
        load({"source": "generated"})
