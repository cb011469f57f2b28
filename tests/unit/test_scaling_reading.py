"""Tables of a wide SAE read over a corpus, against NumPy on documents read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from saeflow.artifacts.scaling_examples import SCALING_QUALITY, SCALING_READING
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.scaling_reading import ExampleSettings, ReadingSettings
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.quality import site_quality
from saeflow.saes.wide.snapshots import pack
from saeflow.studies.scaling import reading
from saeflow.studies.scaling.reading import Document, WideRun
from saeflow.studies.scaling.reading_state import ReadingState
from saeflow.studies.scaling.reading_tables import RANDOM, Reading, read_wide
from saeflow.studies.scaling.shown import shown_windows
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, bytes_with_begin, small_model, with_tokenizer
from tests.unit.test_tables import PROVENANCE

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH, D_SAE, K, LAYER = 16, 40, 4, 1
TWIN, SILENT = (7, 11), 23
SETTINGS = ReadingSettings(
    features=None,
    examples=ExampleSettings(top=3, bins=2, per_bin=2, silent=2, pool=12, context=2),
    tokens=3,
    neighbours=3,
    spliced_documents=6,
)
WORDS = ["abc", "de f", "é", "😀 x", "ghost", "a a", "z9", "hm..."]


def corpus() -> Iterator[Document]:
    """One empty, in no order of their numbers; equal beginnings would tie but for rounding."""
    generator = np.random.default_rng(0)
    for place, number in enumerate(generator.permutation(90)[:30].tolist()):
        words = generator.choice(WORDS, generator.integers(1, 5)).tolist()
        content = "" if place == 4 else " ".join([chr(33 + number), *words])
        split = "train" if place % 3 else "validation"
        yield Document(number, content, split, f"topic {number % 4}")


def bank(seed: int = 0, control: Any = None, layer: int = LAYER) -> Bank:
    """One feature never fires, and two write and fire alike, one with twice the other's values."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=generator)

    w_enc, b_enc, w_dec = draw(WIDTH, D_SAE), draw(D_SAE), draw(D_SAE, WIDTH)
    w_enc[:, :, SILENT], b_enc[:, SILENT], b_enc[:, TWIN[0]] = 0, -1, 4
    w_enc[:, :, TWIN[1]], b_enc[:, TWIN[1]] = 2 * w_enc[:, :, TWIN[0]], 2 * b_enc[:, TWIN[0]]
    w_dec[:, TWIN[1]] = 3 * w_dec[:, TWIN[0]]
    recipe = Recipe("topk", D_SAE, K, control=control, hook="resid_post")
    return Bank(recipe, (Site(layer),), w_enc, b_enc, w_dec, draw(WIDTH))


def runs() -> list[WideRun]:
    frozen = WideRun("wide_frozen", 0, bank(5, "frozen_decoder"))
    return [WideRun("wide", 0, bank()), frozen, WideRun("wide", 1, bank(1))]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    made = small_model(request.param)
    if request.param == "gpt2":
        return made
    return with_tokenizer(made, bytes_with_begin(0, eos_token="<s>"))


@pytest.fixture(scope="module")
def found(model: CodiModel) -> Reading:
    return read_wide(model, runs(), corpus, SETTINGS, features=[3], batch_size=4)


@pytest.fixture(scope="module")
def tokens(model: CodiModel) -> pd.DataFrame:
    """A row per token that counts, read document by document, with dense features."""
    rows = []
    begin = len(model.tokenizer("")["input_ids"])
    for document in corpus():
        ids = model.tokenizer(document.content)["input_ids"]
        if len(ids) == begin:
            continue
        with torch.no_grad():
            states = model.language_model(torch.tensor([ids]), output_hidden_states=True)
        x = states.hidden_states[LAYER + 1][0]
        features = bank().encode(x[None])[0].numpy()
        rows += [
            (document.number, document.split, place, ids[place], x[place].numpy(), features[place])
            for place in range(begin, len(ids))
        ]
    return pd.DataFrame(rows, columns=["document", "split", "position", "token", "x", "features"])


def frame(table: Any, **chosen: Any) -> pd.DataFrame:
    rows = table.to_pandas()
    for name, value in chosen.items():
        rows = rows[rows[name] == value]
    return rows


def test_tables_come_back_from_their_files(found: Reading, tmp_path: Path) -> None:
    for artifact, table in zip(SCALING_READING, found, strict=True):
        assert table.schema == artifact.schema()
        assert table.num_rows
        write_table(table, tmp_path / "a.parquet", artifact, PROVENANCE)
        assert read_table(tmp_path / "a.parquet", artifact).num_rows == table.num_rows
        keys = table.select(artifact.keys).to_pandas()
        assert not keys.duplicated().any(), artifact.name


@pytest.mark.parametrize("split", ["train", "validation"])
def test_features_and_metrics_are_those_of_numpy(
    found: Reading, tokens: pd.DataFrame, split: str
) -> None:
    own = tokens[tokens["split"] == split]
    features = np.stack(own["features"]).astype(np.float64)
    rows = frame(found.features, split=split, dictionary="wide", seed=0).sort_values("feature")
    assert rows["n_active"].tolist() == (features != 0).sum(0).tolist()
    np.testing.assert_allclose(rows["density"], (features != 0).mean(0))
    np.testing.assert_allclose(rows["mean"], features.mean(0), atol=1e-5)
    np.testing.assert_allclose(rows["second_moment"], (features**2).mean(0), atol=1e-4)
    np.testing.assert_allclose(rows["largest"], features.max(0), atol=1e-5)
    fires = [own["document"][features[:, each] != 0].nunique() for each in range(D_SAE)]
    assert rows["n_documents"].tolist() == fires
    expected = site_quality(bank(), torch.from_numpy(np.stack(own["x"])))
    quality = frame(found.quality, split=split, dictionary="wide", seed=0, control="none")
    values = dict(zip(quality["metric"], quality["value"], strict=True))
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert quality.set_index("metric").loc["dead_share", "n"] == len(own)
    counts = frame(found.densities, split=split, dictionary="wide", seed=0)
    assert counts["n_features"].sum() == D_SAE
    assert counts.loc[counts["high"] == 0, "n_features"].tolist() == [(features == 0).all(0).sum()]


def test_cross_entropy_lies_between_its_ends(found: Reading) -> None:
    for row in frame(found.quality, metric="ce_recovered_zero").to_dict("records"):
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["interval"] == "poisson bootstrap 95 %"
    quality = frame(found.quality, split="train", dictionary="wide", seed=0, control="none")
    value = dict(zip(quality["metric"], quality["value"], strict=True))
    for name in ("zero", "mean"):
        lost = value[f"ce_{name}"] - value["ce_clean"]
        share = (value[f"ce_{name}"] - value["ce_spliced"]) / lost
        assert value[f"ce_recovered_{name}"] == pytest.approx(share)


def test_redundancy_stands_beside_random_directions(found: Reading) -> None:
    rows = frame(found.quality, split="all", other_seed=-1, dictionary="wide", seed=0)
    value = rows.set_index(["control", "metric"])["value"]
    alive = rows.set_index(["control", "metric"])["n"]["none", "largest_cosine"]
    assert value["none", "dead_share"] == 1 - alive / D_SAE
    assert value["none", "redundant_share_0.9"] == pytest.approx(2 / alive)
    assert value[RANDOM, "redundant_share_0.9"] == 0
    assert value[RANDOM, "largest_cosine"] == pytest.approx(0.5, abs=0.2)
    features = frame(found.features, split="train", dictionary="wide", seed=0).set_index("feature")
    assert features.loc[list(TWIN), "cosine_with"].tolist() == list(TWIN)[::-1]
    assert features.loc[list(TWIN), "cosine"].tolist() == pytest.approx([1, 1])
    assert features.loc[SILENT, "cosine_with"] == -1
    assert np.isnan(features.loc[SILENT, "cosine"])
    frozen = frame(found.quality, dictionary="wide_frozen", split="all")
    assert set(frozen["control"]) == {"frozen_decoder"}


def test_another_seed_is_compared(found: Reading) -> None:
    rows = frame(found.quality, other_seed=1)
    assert set(rows["metric"]) == {"returning_share", "matched_share"}
    assert set(rows["control"]) == {"none", RANDOM}
    assert rows["value"].max() < 0.2, "two random banks"
    assert (rows["seed"] == 0).all()


def test_top_examples_are_those_of_a_sort(
    found: Reading, tokens: pd.DataFrame, model: CodiModel
) -> None:
    groups = {document.number: document.group for document in corpus()}
    contents = {document.number: document.content for document in corpus()}
    table = frame(found.examples, kind="top")
    for split in ("train", "validation"):
        own = tokens[tokens["split"] == split]
        for feature in range(D_SAE):
            value = np.array([each[feature] for each in own["features"]])
            ranked = own.assign(value=value)[value > 0].sort_values(
                ["value", "document", "position"], ascending=[False, True, True]
            )
            best = ranked.drop_duplicates("document")[:3]
            rows = table[(table["feature"] == feature) & (table["split"] == split)]
            np.testing.assert_allclose(rows["value"], best["value"], atol=1e-5)
            assert rows["document"].tolist() == best["document"].tolist()
            assert rows["position"].tolist() == best["position"].tolist()
            assert rows["group"].tolist() == [groups[number] for number in best["document"]]
            for row in rows.to_dict("records"):
                text = "".join(row["tokens"]).replace("<s>", "").replace("�", "")
                assert text in contents[row["document"]]
                assert row["value"] in row["activations"]
                assert row["activations"][row["centre"]] == np.nanmax(
                    row["activations"][row["centre"]]
                )


def test_bins_and_silent_tokens(found: Reading, tokens: pd.DataFrame) -> None:
    dense = np.stack(tokens["features"])
    largest = dense.max(0)
    for row in frame(found.examples, kind="bin").to_dict("records"):
        most = largest[row["feature"]]
        assert (
            row["bin"] * most / 2 * (1 - 1e-5)
            < row["value"]
            <= (row["bin"] + 1) * most / 2 * 1.0001
        )
        own = dense[(tokens["split"] == row["split"]).to_numpy(), row["feature"]]
        inside = (own > row["bin"] * most / 2) & (own <= (row["bin"] + 1) * most / 2)
        assert row["bin_tokens"] == inside.sum()
    silent = frame(found.examples, kind="silent")
    assert silent["bin_tokens"].isna().all()
    assert set(silent["rank"]) == {0, 1}
    for activations in silent["activations"]:
        assert not np.nan_to_num(np.array(activations, float)).any()
    assert set(found.examples["kind"].to_pylist()) == {"top", "bin", "silent"}


def test_tokens_stand_beside_what_independence_gives(
    found: Reading, tokens: pd.DataFrame, model: CodiModel
) -> None:
    own = tokens[tokens["split"] == "train"]
    density = (np.stack(own["features"]) != 0).mean(0)
    occurrences = own["token"].value_counts()
    for row in frame(found.tokens, split="train").to_dict("records"):
        here = own[own["token"] == row["token_id"]]
        values = np.array([each[row["feature"]] for each in here["features"]])
        assert row["count"] == (values > 0).sum()
        assert row["total"] == pytest.approx(float(values.sum()), rel=1e-5, abs=1e-4)
        assert row["occurrences"] == occurrences[row["token_id"]]
        assert row["expected"] == pytest.approx(density[row["feature"]] * row["occurrences"])
        assert row["token"] == model.tokenizer.decode([row["token_id"]])


def test_neighbours_are_those_of_numpy(found: Reading, tokens: pd.DataFrame) -> None:
    dense = np.stack(tokens["features"]).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.nan_to_num(np.corrcoef(dense.T))
    directions = bank().W_dec[0].double().numpy()
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    both = {"correlation": correlation, "cosine": unit @ unit.T}
    for by, other in (("correlation", "cosine"), ("cosine", "correlation")):
        rows = frame(found.neighbours, by=by)
        assert len(rows) == 3 * D_SAE
        pairs = rows["feature"].to_numpy(), rows["other"].to_numpy()
        np.testing.assert_allclose(rows["similarity"], both[by][pairs], atol=1e-4)
        np.testing.assert_allclose(rows["other_similarity"], both[other][pairs], atol=1e-4)
        best = np.sort(both[by] - 3 * np.eye(D_SAE), axis=1)[:, ::-1][:, :3]
        np.testing.assert_allclose(rows["similarity"].to_numpy().reshape(-1, 3), best, atol=1e-4)
    twin = frame(found.neighbours, feature=TWIN[0], by="cosine", rank=0)
    assert twin["other"].tolist() == [TWIN[1]]


def test_the_map_holds_what_fires(found: Reading, tokens: pd.DataFrame) -> None:
    rows = found.map.to_pandas()
    fires = np.stack(tokens["features"]).any(0)
    assert not fires[SILENT]
    assert rows["feature"].tolist() == np.flatnonzero(fires).tolist()
    assert np.isfinite(rows[["x", "y", "first", "second"]]).all(axis=None)


def reading_of(
    model: CodiModel, documents: Callable[[], Iterator[Document]] = corpus, **options: Any
) -> Reading:
    settings = options.pop("settings", SETTINGS)
    return read_wide(model, options.pop("runs", runs()[:1]), documents, settings, **options)


def test_neither_order_nor_chunks_nor_batches_matter(
    model: CodiModel, found: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", 7)
    backwards = reading_of(model, lambda: reversed(list(corpus())), batch_size=3)
    for table, other in ((found.examples, backwards.examples), (found.tokens, backwards.tokens)):
        one, two = table.to_pandas(), other.to_pandas()
        for name in ("document", "position", "token_id", "count", "bin", "rank", "split"):
            if name in one:
                assert one[name].tolist() == two[name].tolist(), name
    one, two = (frame(each.quality, dictionary="wide", seed=0) for each in (found, backwards))
    keys = ["control", "split", "metric"]
    one = one[one["other_seed"] == -1].sort_values(keys)
    two = two.sort_values(keys)
    for name in ("value", "ci_low", "ci_high"):
        np.testing.assert_allclose(one[name].astype(float), two[name].astype(float), rtol=1e-4)


def test_little_can_be_asked_for(model: CodiModel) -> None:
    none = ExampleSettings(top=0, per_bin=0, silent=0, pool=1)
    settings = ReadingSettings(
        features=1, examples=none, tokens=0, neighbours=0, spliced_documents=0
    )
    found = reading_of(model, settings=settings, features=[TWIN[0], SILENT])
    assert (found.examples.num_rows, found.tokens.num_rows, found.neighbours.num_rows) == (0, 0, 0)
    assert "ce_clean" not in found.quality["metric"].to_pylist()
    assert {TWIN[0]} <= set(found.map["feature"].to_pylist())
    one = reading_of(model, lambda: iter([Document(0, "one document", "train")]))
    assert set(one.quality["ci_low"].to_pylist()) == {None}
    assert set(one.examples["group"].to_pylist()) == {""}


def test_groups_of_other_documents_are_forgotten(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", 7)
    most = [0]
    forget = reading._forget

    def forgetting(found: reading.CorpusSums, shown: set[int]) -> None:
        most.append(len(found.groups))
        forget(found, shown)

    monkeypatch.setattr(reading, "_forget", forgetting)
    few = ExampleSettings(top=1, bins=1, per_bin=1, silent=0, pool=1, context=0)
    settings = ReadingSettings(features=1, examples=few, spliced_documents=0)

    def many() -> Iterator[Document]:
        return (Document(n, WORDS[n % 8], "train", f"topic {n}") for n in range(90))

    found = reading.sum_corpus(model, runs()[:1], many, settings, features=[TWIN[0]])
    split = found.splits["train"]
    shown = split.shown_documents() | split.drawn_documents()
    assert found.groups == {number: f"topic {number}" for number in shown}
    assert 0 < max(most) < 40


def test_a_feature_that_fires_on_nothing_has_silent_examples(found: Reading) -> None:
    rows = frame(found.examples, feature=SILENT)
    assert set(rows["kind"]) == {"silent"}


def test_what_cannot_be_read(model: CodiModel) -> None:
    with pytest.raises(SaeflowError) as error:
        reading_of(model, lambda: iter([Document(0, "", "train")]))
    check_sentence(error.value, "no token that counts")
    with pytest.raises(SaeflowError) as error:
        reading_of(model, features=[D_SAE])
    check_sentence(error.value, "feature 40", "0 to 39")
    with pytest.raises(SaeflowError) as error:
        reading_of(model, runs=[WideRun("a", 0, bank()), WideRun("b", 0, bank(layer=0))])
    check_sentence(error.value, "resid_post 0, resid_post 1", "one site")


def test_characters_of_several_tokens_are_shown_whole() -> None:
    model = small_model("gpt2")
    ids = np.array(model.tokenizer("a😀é!")["input_ids"])
    assert len(ids) == 8
    window = np.concatenate([[-1], ids])[None]
    values = np.arange(9, dtype=np.float32)[None]
    values[0, 3] = -20
    shown = shown_windows(model, window, values)
    assert shown.tokens.to_pylist() == [["a", "😀", "é", "!"]]
    assert shown.activations.to_pylist() == [[1, -20, 7, 8]]
    assert shown.centre.tolist() == [1]
    cut = shown_windows(model, window[:, 3:], values[:, 3:])
    assert cut.tokens.to_pylist() == [["\ufffd"] * 3 + ["é", "!"]]
    assert shown_windows(model, window[:0], values[:0]).tokens.to_pylist() == []


def test_metrics_are_a_measurement_table() -> None:
    assert [each.name for each in SCALING_QUALITY.columns[-6:]] == [
        "metric", "value", "ci_low", "ci_high", "interval", "n",
    ]  # fmt: skip


def test_a_killed_reading_goes_on_from_its_last_checkpoint(
    model: CodiModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", 7)
    read, calls = reading._read, [0]

    def reads(*given: Any, killed_at: int | None = None) -> Any:
        calls[0] += 1
        if calls[0] == killed_at:
            raise KeyboardInterrupt
        return read(*given)

    def run(folder: Path | None, killed_at: int | None = None) -> Reading:
        calls[0] = 0
        monkeypatch.setattr(reading, "_read", partial(reads, killed_at=killed_at))
        kept = ReadingState(folder, minutes=0.0)
        return read_wide(model, runs(), corpus, SETTINGS, features=[3], batch_size=4, state=kept)

    whole, passes = run(None), calls[0]
    assert passes > 12
    for at in (2, passes // 2, passes // 2 + 1, passes):
        folder = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            run(folder, at)
        again = run(folder)
        # Between the passes nothing is kept, so that the first of the second one may come again.
        assert calls[0] <= passes - at + 2
        for one, other in zip(again, whole, strict=True):
            pd.testing.assert_frame_equal(one.to_pandas(), other.to_pandas(), check_exact=True)
            assert one.schema.equals(other.schema)


def test_a_reading_that_goes_on_in_its_second_pass_makes_bins_where_the_sae_is(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a GPU the features that index them are on it; here every device is the CPU.
    placed = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        def zeros(self, *size: int, device: torch.device | None = None) -> torch.Tensor:
            placed.append(device)
            return torch.zeros(*size, device=device)

    class Second(ReadingState):
        def begin(self) -> tuple[int, int, list[str]]:
            return 2, 0, ["train"]

    monkeypatch.setattr(reading, "torch", Watched())
    monkeypatch.setattr(reading, "_second_pass", lambda *_: None)
    reading.sum_corpus(model, runs(), corpus, SETTINGS, state=Second())
    assert placed == [runs()[0].bank.device]


def test_what_no_checkpoint_can_hold_is_no_silent_loss() -> None:
    with pytest.raises(TypeError, match="a Generator cannot be kept in a checkpoint"):
        pack([np.random.default_rng()], {})
