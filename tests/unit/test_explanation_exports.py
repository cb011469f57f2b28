"""Exports hold the files, fields and types that Delphi and Neuronpedia document, with readers of our own.

The readers follow delphi/latents/loader.py and delphi/log/result_analysis.py, docs.neuronpedia.org's page on
exports and the fields of neuronpedia-utils' db_models; they share nothing with what is tested.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file

from saeflow.artifacts.exports.delphi import write_delphi
from saeflow.artifacts.exports.explained import Site, plain_floats, read_explained
from saeflow.artifacts.exports.neuronpedia import Logits, write_neuronpedia
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.scaling_explanations import (
    EXPLANATION_EXAMPLES,
    EXPLANATION_SCORES,
    EXPLANATION_SUMMARY,
    EXPLANATIONS,
    VERDICTS,
)
from saeflow.artifacts.tables import write_table
from saeflow.cli import main
from saeflow.config.scaling_explanations import ExplanationSettings
from saeflow.errors import SaeflowError
from saeflow.studies.scaling.contexts import Context, FeatureContexts, contexts_table
from saeflow.studies.scaling.explanations import explain_and_score
from tests.planted_features import after, on_token, planted
from tests.sentences import check_sentence

SITE = {"dictionary": "wide", "seed": 1, "layer": 2}
ODD = ["🙂", " ", "\n", "\t", "", "ünï", '"', "\\", "\u2028", "中文", "👩‍👩‍👧", "\x00", "<<"]
MODULE = "layers.2"
RUN = "wide-seed1"


def odd(feature: int) -> FeatureContexts:
    """Contexts of tokens that are easily broken."""
    contexts = [
        Context(
            kind, number, 10 * number + place, "", 0 if kind == "activating" else -1,
            (*ODD, "x" if kind == "activating" else "y"),
            np.array([*[0] * len(ODD), 1.1 * (kind == "activating")], np.float32),
        )
        for number in range(6)
        for place, kind in enumerate(("activating", "random"))
    ]  # fmt: skip
    train = tuple(each for each in contexts if each.document % 20 < 10)
    return FeatureContexts(feature, train, tuple(each for each in contexts if each not in train))


@pytest.fixture(scope="module")
def features() -> list[FeatureContexts]:
    pair = ["full", "moon"]
    return [
        planted(3, on_token("river"), 0, held=["river"], count=8),
        planted(40, after(*pair), 0, held=pair, near=["word1", "moon"], count=8),
        odd(700),
        FeatureContexts(900, (), ()),
    ]


@pytest.fixture(scope="module")
def tables(features: list[FeatureContexts], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Tables of a run, as its rules would write them; the last feature is dead."""
    folder = tmp_path_factory.mktemp("tables")
    density = {each.feature: 0.01 for each in features}
    made = explain_and_score(features, density, ExplanationSettings(permutations=19), SITE)
    files = {
        "examples": (contexts_table(features, SITE), EXPLANATION_EXAMPLES),
        "explanations": (made.explanations, EXPLANATIONS),
        "verdicts": (made.verdicts, VERDICTS),
        "scores": (made.scores, EXPLANATION_SCORES),
    }
    for name, (table, artifact) in files.items():
        write_table(table, folder / f"{name}.parquet", artifact, Provenance("abc"))
    write_table(made.summary, folder / "summary.parquet", EXPLANATION_SUMMARY, Provenance("abc"))
    return [folder / f"{name}.parquet" for name in files]


def with_ids(path: Path, folder: Path) -> Path:
    """The same examples with token ids."""
    rows = [
        {**row, "token_ids": [len(token) for token in row["tokens"]]}
        for row in pa.parquet.read_table(path).to_pylist()
    ]
    target = folder / "examples.parquet"
    table = pa.Table.from_pylist(rows, EXPLANATION_EXAMPLES.schema())
    write_table(table, target, EXPLANATION_EXAMPLES, Provenance("abc"))
    return target


def delphi_latents(folder: Path) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Per latent: places [n, 2], activations and all tokens, as delphi's TensorBuffer reads them."""
    found = {}
    for path in folder.glob("*.safetensors"):
        first, last = map(int, path.stem.split("_"))
        data = load_file(path)
        assert {*data} <= {"locations", "activations", "tokens"}
        locations = data["locations"].astype(np.int64)
        assert data["locations"].dtype in (np.uint16, np.uint32)
        assert locations.shape == (len(data["activations"]), 3)
        assert data["activations"].dtype in (np.float16, np.float32)
        locations[:, 2] += first
        assert not len(locations) or locations[:, 2].max() <= last
        tokens = data.get("tokens")
        assert tokens is None or (tokens.dtype == np.int64 and tokens.ndim == 2)
        for latent in np.unique(locations[:, 2]):
            own = locations[:, 2] == latent
            found[int(latent)] = (locations[own, :2], data["activations"][own], tokens)
    return found


OUTPUT: dict[str, tuple[type, ...]] = {
    "str_tokens": (list,),
    "activations": (list,),
    "distance": (float, int),
    "activating": (bool,),
    "prediction": (bool, type(None)),
    "probability": (float, type(None)),
    "correct": (bool, type(None)),
}
"""Fields of delphi's ClassifierOutput."""
CACHE_CONFIG = {
    "dataset_repo": str, "dataset_split": str, "dataset_name": str, "dataset_column": str,
    "batch_size": int, "cache_ctx_len": int, "n_tokens": int, "n_splits": int, "model_name": str,
}  # fmt: skip


def check_delphi(folder: Path, features: Sequence[FeatureContexts]) -> None:
    module = folder / "latents" / MODULE
    config = json.loads((module / "config.json").read_text())
    assert {name: type(value) for name, value in config.items()} == CACHE_CONFIG
    latents = delphi_latents(module)
    alive = [each for each in features if each.train or each.test]
    assert sorted(latents) == [each.feature for each in alive]
    row = 0
    for each in features:
        contexts = sorted(
            [*((("test"), c) for c in each.test), *((("train"), c) for c in each.train)],
            key=lambda one: (one[0], one[1].kind, one[1].example),
        )
        values = [context.activations for _, context in contexts]
        if values:
            places, activations, _ = latents[each.feature]
            wanted = [(row + n, p) for n, v in enumerate(values) for p in np.flatnonzero(v)]
            np.testing.assert_array_equal(places, wanted)
            nonzero = np.concatenate([v[v > 0] for v in values])
            np.testing.assert_allclose(activations.astype(np.float64), nonzero, rtol=1e-3)
        row += len(values)


def test_delphi_reads_what_was_explained(
    tables: list[Path], features: list[FeatureContexts], tmp_path: Path
) -> None:
    sites = read_explained(tables)
    assert write_delphi(sites, tmp_path, model="models/llama") == 4
    folder = tmp_path / RUN
    check_delphi(folder, features)
    (explained,) = sites.values()
    for each in explained:
        path = folder / "explanations" / f"{MODULE}_latent{each.feature}.txt"
        assert json.loads(path.read_text(encoding="utf-8")) == each.explanation["explanation"]
    by_feature = {each.feature: each for each in features}
    files = sorted((folder / "scores").rglob("*.txt"))
    assert {path.parent.name for path in files} == {"detection", "fuzz"}
    for path in files:
        contexts = by_feature[int(path.stem.split("latent")[-1])]
        assert path.stem.split("_latent")[0] == MODULE
        shown = json.loads(path.read_text(encoding="utf-8"))
        assert shown
        known = {
            (each.tokens, tuple(plain_floats(each.activations.tolist()))) for each in contexts.test
        }
        for one in shown:
            assert one.keys() == OUTPUT.keys()
            assert all(isinstance(one[name], types) for name, types in OUTPUT.items())
            assert len(one["str_tokens"]) == len(one["activations"])
            assert (tuple(one["str_tokens"]), tuple(one["activations"])) in known
            assert one["correct"] == (one["prediction"] == one["activating"])
            if path.parent.name == "detection":
                assert one["activating"] == any(one["activations"])
                assert (one["distance"] == -1) == (not one["activating"])
    assert "does not\nmean that it is silent" in (folder / "README.md").read_text()


def test_delphi_gets_tokens_where_ids_are_known(
    tables: list[Path], features: list[FeatureContexts], tmp_path: Path
) -> None:
    sites = read_explained([with_ids(tables[0], tmp_path), *tables[1:]])
    write_delphi(sites, tmp_path / "out", model="m")
    found = delphi_latents(tmp_path / "out" / RUN / "latents" / MODULE)
    places, _, tokens = found[700]
    assert tokens is not None
    assert tokens.shape == (
        sum(len(each.train) + len(each.test) for each in features),
        max(len(c.tokens) for each in features for c in each.train),
    )
    assert tokens[places[0, 0], : len(ODD)].tolist() == [len(token) for token in ODD]
    # Shorter contexts end in zeros.
    assert not tokens[places[0, 0], len(ODD) + 1 :].any()


def test_delphi_keeps_values_that_float16_cannot_hold(tmp_path: Path) -> None:
    context = Context("activating", 0, 0, "", 0, ("a", "b"), np.array([1e-9, 1e6], np.float32))
    some = [FeatureContexts(1, (context,), ())]
    made = explain_and_score(some, {1: 0.5}, ExplanationSettings(), SITE)
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    write_table(made.explanations, paths[0], EXPLANATIONS, Provenance("x"))
    write_table(contexts_table(some, SITE), paths[1], EXPLANATION_EXAMPLES, Provenance("x"))
    write_delphi(read_explained(paths), tmp_path, model="m")
    found = delphi_latents(tmp_path / RUN / "latents" / MODULE)[1]
    np.testing.assert_array_equal(found[1], context.activations)


NUMBERS, TEXTS = "list of numbers", "list of texts"
FEATURE = {
    "modelId": str, "layer": str, "index": str, "creatorId": str, "createdAt": str,
    "maxActApprox": float, "hasVector": bool, "vector": NUMBERS, "vectorLabel": None,
    "hookName": None, "topkCosSimIndices": NUMBERS, "topkCosSimValues": NUMBERS,
    "neuron_alignment_indices": NUMBERS, "neuron_alignment_values": NUMBERS,
    "neuron_alignment_l1": NUMBERS, "correlated_neurons_indices": NUMBERS,
    "correlated_neurons_pearson": NUMBERS, "correlated_neurons_l1": NUMBERS,
    "correlated_features_indices": NUMBERS, "correlated_features_pearson": NUMBERS,
    "correlated_features_l1": NUMBERS, "neg_str": TEXTS, "neg_values": NUMBERS,
    "pos_str": TEXTS, "pos_values": NUMBERS, "frac_nonzero": float,
    "freq_hist_data_bar_heights": NUMBERS, "freq_hist_data_bar_values": NUMBERS,
    "logits_hist_data_bar_heights": NUMBERS, "logits_hist_data_bar_values": NUMBERS,
    "decoder_weights_dist": NUMBERS,
}  # fmt: skip
ACTIVATION = {
    "id": str, "tokens": TEXTS, "index": str, "layer": str, "modelId": str, "maxValue": float,
    "maxValueTokenIndex": int, "minValue": float, "values": NUMBERS, "creatorId": str,
    "dataSource": None, "dataIndex": str, "dfaValues": NUMBERS, "dfaTargetIndex": None,
    "dfaMaxValue": None, "createdAt": str, "lossValues": NUMBERS, "logitContributions": None,
    "binMin": float, "binMax": float, "binContains": float, "qualifyingTokenIndex": int,
}  # fmt: skip
EXPLANATION = {
    "id": str, "modelId": str, "layer": str, "index": str, "description": str, "authorId": str,
    "embedding": None, "triggeredById": None, "typeName": str, "explanationModelName": None,
    "notes": str, "createdAt": str,
}  # fmt: skip
HEADS = {
    "model": {"id", "instruct", "creatorId", "displayNameShort", "displayName", "visibility"},
    "release": {"name", "description", "creatorName", "creatorId", "visibility", "urls"},
    "sourceset": {"modelId", "name", "creatorId", "hasDashboards", "visibility", "releaseName"},
    "source": {"id", "modelId", "setName", "creatorId", "num_prompts", "num_tokens_in_prompt"},
}
"""Fields that Neuronpedia's tables cannot do without."""


def check_row(row: dict[str, Any], fields: dict[str, Any]) -> None:
    assert row.keys() == fields.keys()
    for name, wanted in fields.items():
        value = row[name]
        if wanted is None:
            assert value is None, name
        elif wanted is NUMBERS:
            assert all(type(each) in (float, int) for each in value), name
        elif wanted is TEXTS:
            assert all(type(each) is str for each in value), name
        else:
            assert type(value) is wanted, name


def neuronpedia(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Lines of a kind; only a line feed ends one, whatever Unicode calls a break."""
    lines: list[bytes] = []
    for number, path in enumerate(sorted((folder / kind).iterdir())):
        assert path.name == f"batch-{number}.jsonl.gz"
        whole = gzip.decompress(path.read_bytes())
        assert not whole or whole.endswith(b"\n")
        lines += whole.split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def test_neuronpedia_reads_what_was_explained(
    tables: list[Path], features: list[FeatureContexts], tmp_path: Path
) -> None:
    sites = read_explained(tables)
    (site,) = sites
    logits = {(site, 3): Logits([(" moon", 1.5), ("🙂", 0.5)], [("\n", -2.0)])}
    assert write_neuronpedia(sites, tmp_path, model="llama", logits=logits) == 4
    source = "2-wide-seed1"
    folder = tmp_path / "llama" / source
    assert {path.name for path in folder.iterdir()} == {
        "model.jsonl", "release.jsonl", "source.jsonl", "sourceset.jsonl",
        "features", "activations", "explanations",
    }  # fmt: skip
    for name, needed in HEADS.items():
        (line,) = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert needed <= json.loads(line).keys()
    assert json.loads((folder / "source.jsonl").read_text())["id"] == source
    rows = {kind: neuronpedia(folder, kind) for kind in ("features", "activations", "explanations")}
    for kind, fields in (
        ("features", FEATURE),
        ("activations", ACTIVATION),
        ("explanations", EXPLANATION),
    ):
        for row in rows[kind]:
            check_row(row, fields)
            assert (row["modelId"], row["layer"]) == ("llama", source)
    assert [row["index"] for row in rows["features"]] == ["3", "40", "700", "900"]
    first = rows["features"][0]
    assert (first["pos_str"], first["pos_values"]) == ([" moon", "🙂"], [1.5, 0.5])
    assert (first["neg_str"], first["neg_values"]) == (["\n"], [-2.0])
    # A dead feature has no explanation, and nothing is said of it.
    assert [row["index"] for row in rows["explanations"]] == ["3", "40", "700"]
    assert rows["explanations"][0]["description"].startswith('fires on "river"')
    assert "detection balanced accuracy 1.00 (tokens)" in rows["explanations"][0]["notes"]
    for each in features:
        own = [row for row in rows["activations"] if row["index"] == str(each.feature)]
        wanted = [*each.of_kind("train", "activating"), *each.of_kind("test", "activating")]
        assert {(tuple(row["tokens"]), tuple(row["values"])) for row in own} == {
            (context.tokens, tuple(plain_floats(context.activations.tolist())))
            for context in wanted
        }
        assert len(own) == len(wanted)
        assert [row["maxValue"] for row in own] == sorted(
            (row["maxValue"] for row in own), reverse=True
        )
        for row in own:
            assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"] == max(row["values"])
            assert row["binMin"] <= row["maxValue"] <= row["binMax"]
            assert 0 < row["binContains"] <= 1
    ids = [row["id"] for kind in ("activations", "explanations") for row in rows[kind]]
    assert len({*ids}) == len(ids)
    assert all(len(each) == 25 and each.startswith("c") for each in ids)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("form", ["delphi", "neuronpedia"])
def test_the_same_tables_give_the_same_bytes(
    form: str, tables: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, paths in (("a", tables), ("b", tables[::-1]), ("b", tables)):
        target = tmp_path / name
        command = ["export-explanations", "--format", form, "--model", "llama"]
        assert main([*command, *map(str, paths), str(target)]) == 0
        assert capsys.readouterr().out == f"{target}: 4 features\n"
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_float32_survive_as_decimals() -> None:
    values = np.random.default_rng(0).normal(size=999).astype(np.float32)
    assert np.array_equal(np.array(plain_floats(values.tolist()), np.float32), values)
    assert plain_floats([0.1]) == [0.1]


def test_verdicts_and_scores_may_be_missing(tables: list[Path], tmp_path: Path) -> None:
    sites = read_explained(tables[:2])
    write_delphi(sites, tmp_path, model="m")
    assert not (tmp_path / RUN / "scores").exists()
    write_neuronpedia(sites, tmp_path, model="m")
    rows = neuronpedia(tmp_path / "m" / "2-wide-seed1", "explanations")
    assert {row["notes"] for row in rows} == {None}


def test_sites_are_kept_apart(tables: list[Path], tmp_path: Path) -> None:
    """Tables of several SAEs, gathered: one folder each, and features of one number are not mixed."""
    moved = []
    for path, artifact in zip(tables[:2], (EXPLANATION_EXAMPLES, EXPLANATIONS), strict=True):
        table = pa.parquet.read_table(path)
        layer = pa.array([7] * len(table), pa.int16())
        other = table.set_column(
            table.column_names.index("layer"), artifact.schema().field("layer"), layer
        )
        gathered = pa.concat_tables([each.replace_schema_metadata(None) for each in (table, other)])
        moved.append(tmp_path / path.name)
        write_table(gathered, moved[-1], artifact, Provenance("abc"))
    sites = read_explained(moved)
    assert list(sites) == [Site("wide", 1, 2), Site("wide", 1, 7)]
    assert write_delphi(sites, tmp_path / "out", model="m") == 8
    names = {path.name for path in (tmp_path / "out" / RUN / "latents").iterdir()}
    assert names == {MODULE, "layers.7"}


def test_bad_input_is_told_in_one_sentence(tables: list[Path], tmp_path: Path) -> None:
    examples, explanations, _, scores = tables
    summary = examples.with_name("summary.parquet")
    for paths, part in (
        ([examples, explanations, summary], "scaling_explanation_summary"),
        ([examples], "'scaling_explanations' is given"),
        ([explanations, scores], "'scaling_explanation_examples' is given"),
        ([examples, explanations, explanations], "is explained by tokens and by tokens"),
        ([tmp_path / "none.parquet"], "does not exist"),
    ):
        with pytest.raises(SaeflowError) as error:
            read_explained(paths)
        check_sentence(error.value, part)
    rows = [{**row, "scorer": "m"} for row in pa.parquet.read_table(scores).to_pylist()]
    other = tmp_path / "scores.parquet"
    table = pa.Table.from_pylist(rows, EXPLANATION_SCORES.schema())
    write_table(table, other, EXPLANATION_SCORES, Provenance("abc"))
    with pytest.raises(SaeflowError) as error:
        read_explained([*tables, other])
    check_sentence(error.value, "is scored by different models")
    for model in ("", "a/b", "..", "a\\b"):
        with pytest.raises(SaeflowError) as error:
            write_neuronpedia(read_explained(tables), tmp_path, model=model)
        check_sentence(error.value, "is no id of a model")
