"""Overlap of features between formats: tables, the published lists, and their summaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.decimal_bug import LAYER_FEATURES, OVERLAP
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.decimal_bug import ListSettings, OverlapSettings, PairSettings
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.errors import SaeflowError
from saeflow.models.alignment import align_prompts, key_text, prompt_keys
from saeflow.models.codi import CodiModel
from saeflow.models.tokens import read_tokens
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.quality import site_quality
from saeflow.saes.tokens import encode_texts, token_sae
from saeflow.stats.overlap import published_overlap, similarity
from saeflow.studies.decimal_bug.behaviour import draw_prompts
from saeflow.studies.decimal_bug.overlap import (
    CHECKED,
    QA,
    SIMPLE,
    Check,
    LayerOverlap,
    check_bank,
    layer_features,
    overlap_table,
    published_layers,
)
from saeflow.studies.decimal_bug.overlap_summary import check_rows, overlap_rows, published_rows
from tests.small_models import FAMILIES, LAYERS, small_model

RUN = {"dictionary": "tokens", "seed": 0}
SETTINGS = ListSettings(top=8)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


@pytest.fixture(scope="module")
def prompts(model: CodiModel) -> list[Prompt]:
    return draw_prompts(model, 0, PairSettings(drawn=400, per_stratum=4), ("9.8", "9.11")).prompts


@pytest.fixture(scope="module")
def bank(model: CodiModel) -> Bank:
    return random_bank(int(model.language_model.config.hidden_size))


def random_bank(d_in: int, d_sae: int = 48, k: int = 6) -> Bank:
    generator = torch.Generator().manual_seed(3)
    encoder = torch.randn(LAYERS, d_in, d_sae, generator=generator)
    decoder = torch.randn(LAYERS, d_sae, d_in, generator=generator)
    sites = tuple(Site(layer) for layer in range(LAYERS))
    zeros = torch.zeros(LAYERS, d_sae), torch.zeros(LAYERS, d_in)
    recipe = Recipe("abstopk", d_sae, k, hook="mlp_out")
    return Bank(recipe, sites, encoder, zeros[0], decoder, zeros[1])


def features_of(model: CodiModel, bank: Bank, prompt: Prompt, layer: int) -> np.ndarray:
    """Features of every token of one prompt, read by itself."""
    (found,) = read_tokens(model, [prompt.text], hooks=("mlp_out",), layers=[layer])
    x = found.activations["mlp_out"][0]
    values: np.ndarray = bank.select([Site(layer)]).encode(x[None])[0].numpy()
    return values


def test_rows_are_those_of_each_pair_by_itself(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    table = overlap_table(model, bank, prompts, RUN, batch_size=7)
    assert table.schema == OVERLAP.schema()
    frame = table.to_pandas()
    items = {each.item for each in prompts} - {-1}
    assert set(frame["item"]) == items
    by_key = {(each.item, each.form, each.order): each for each in prompts}
    for item in sorted(items)[::9]:
        one, other = by_key[item, QA, "given"], by_key[item, SIMPLE, "given"]
        pairs = dict(align_prompts(model.tokenizer, one, other, numbers="value"))
        keys = prompt_keys(model.tokenizer, one)
        for layer in range(LAYERS):
            some = frame[(frame["item"] == item) & (frame["layer"] == layer)]
            some = some[some["comparison"] == "format"].set_index("key")
            wanted = [place for place in pairs if keys[place] != ("begin",)]
            assert set(some.index) == {key_text(keys[place]) for place in wanted}
            first, second = (features_of(model, bank, each, layer) for each in (one, other))
            for place in wanted:
                found = similarity(first[place][None], second[pairs[place]][None])
                row = some.loc[key_text(keys[place])]
                assert row["jaccard"] == pytest.approx(found.jaccard[0], abs=1e-9)
                assert row["cosine"] == pytest.approx(found.cosine[0], abs=1e-3)
                assert row["n_active"] == found.n_active[0]


def test_every_paraphrase_is_compared_in_both_families(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    frame = overlap_table(model, bank, prompts, RUN, batch_size=16).to_pandas()
    seen = set(frame[["comparison", "form", "other_form"]].itertuples(index=False, name=None))
    assert seen == {
        ("format", "qa_which", "plain_which"),
        ("wording", "qa_which", "qa_number"),
        ("wording", "qa_which", "qa_order"),
        ("order", "qa_which", "qa_which"),
        ("wording", "plain_which", "plain_number"),
        ("wording", "plain_which", "plain_order"),
        ("order", "plain_which", "plain_which"),
    }
    assert not frame["key"].eq("begin").any()


def test_the_table_can_be_written(
    model: CodiModel, bank: Bank, prompts: list[Prompt], tmp_path: Path
) -> None:
    table = overlap_table(model, bank, prompts, RUN, batch_size=16)
    write_table(table, tmp_path / "overlap.parquet", OVERLAP, Provenance("x"))
    layers = published_layers(model, bank, prompts, SETTINGS)
    lists = layer_features(layers, RUN)
    write_table(lists, tmp_path / "lists.parquet", LAYER_FEATURES, Provenance("x"))


def test_published_layers_read_the_last_token_of_the_studys_pair(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    layers = published_layers(model, bank, prompts, SETTINGS)
    own = {each.form: each for each in prompts if each.item == -1 and each.order == "given"}
    assert [each.layer for each in layers] == list(range(LAYERS))
    for each in layers:
        qa, simple = (features_of(model, bank, own[form], each.layer)[-1] for form in (QA, SIMPLE))
        np.testing.assert_allclose(each.qa, qa, atol=1e-4)
        wanted = published_overlap(qa, simple, SETTINGS.top)
        assert each.found.percent == wanted.percent
    with pytest.raises(SaeflowError, match="own pair is not among"):
        published_layers(model, bank, [each for each in prompts if each.item != -1], SETTINGS)


def hand_made() -> LayerOverlap:
    """Methods/6, section 8: 6 and 9 positive entries that share 5."""
    qa, simple = np.zeros(40), np.zeros(40)
    qa[20:26] = np.arange(6) + 1.0
    simple[21:30] = np.arange(9) + 1.0
    return LayerOverlap(2, published_overlap(qa, simple, 20), qa, simple)


def test_published_lists_mark_what_only_fills_them() -> None:
    layer = hand_made()
    lists = layer_features([layer], RUN).to_pandas()
    assert layer.found.percent == 80
    shared = lists[lists["group"] == "shared"]
    assert len(shared) == 16
    assert shared["filler"].sum() == 11
    assert set(lists.loc[lists["group"] == "qa_only", "feature"]) == {11, 12, 13, 20}
    assert lists[lists["group"] == "qa_only"].set_index("feature")["filler"].to_dict() == {
        11: True,
        12: True,
        13: True,
        20: False,
    }


def test_published_summary_counts_fillers_and_classes() -> None:
    found = {
        (each["layer"], each["metric"]): each["value"]
        for each in published_rows([hand_made()], SETTINGS, RUN)
    }
    assert found[2, "overlap_percent"] == 80
    assert (found[2, "wrong_fillers"], found[2, "correct_fillers"]) == (14, 11)
    assert found[2, "shared_fillers"] == 11
    assert (found[2, "class_high"], found[2, "class_low"]) == (1, 0)
    assert found[None, "overlap_percent"] == 80
    assert found[None, "overlap_percent_sd"] == 0


def overlap_records(format_jaccard: float, n: int = 30) -> pa.Table:
    """Formats that differ so much at the last token of block 1, and paraphrases that hardly do."""
    generator = np.random.default_rng(0)
    records = []
    for item in range(n):
        for layer in range(2):
            for comparison, form, other in (
                ("format", QA, SIMPLE),
                ("wording", QA, "qa_number"),
                ("order", SIMPLE, SIMPLE),
            ):
                base = format_jaccard if comparison == "format" and layer == 1 else 0.8
                # So alike that it would make any format differ from a mean of all paraphrases.
                base = 1.0 if comparison == "order" else base
                value = base + 0.02 * generator.standard_normal()
                records.append(
                    {**RUN, "layer": layer, "form": form, "order": "given", "item": item,
                     "comparison": comparison, "other_form": other, "key": "last",
                     "half": "report", "n_active": 6, "other_n_active": 6, "jaccard": value,
                     "weighted_jaccard": value, "cosine": value}
                )  # fmt: skip
    return pa.Table.from_pylist(records, OVERLAP.schema())


def test_formats_are_held_against_paraphrases_layer_by_layer() -> None:
    found = pd.DataFrame(overlap_rows(overlap_records(0.5), OverlapSettings(), RUN))
    last = found[found["group"] == "last"]
    below = last[last["metric"] == "jaccard_below_wording"].set_index("layer")
    assert below.loc[1, "value"] == pytest.approx(0.3, abs=0.02)
    assert below.loc[1, "ci_low"] > 0.25
    assert below.loc[1, "q_value"] < 0.01
    assert abs(below.loc[0, "value"]) < 0.02
    assert below.loc[0, "q_value"] > 0.05
    assert below.loc[0, "n"] == 30
    means = last[(last["metric"] == "jaccard") & (last["layer"] == 1)].set_index("control")["value"]
    assert means["none"] == pytest.approx(0.5, abs=0.02)
    assert means["wording"] == pytest.approx(0.8, abs=0.02)
    assert means["order"] == pytest.approx(1.0, abs=0.02)


def test_checks_stand_beside_held_out_texts(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    checks = check_bank(model, bank, prompts, batch_size=32)
    found = {(each.layer, each.tokens, each.metric): each for each in checks}
    assert len(found) == len(checks) == 2 * 3 * LAYERS
    for tokens in ("all tokens", "last"):
        assert found[0, tokens, "l0_mean"].value == 6
    # The last token of every prompt, one prompt at a time.
    texts = [each.text for each in prompts[:: -(-len(prompts) // CHECKED)]]
    alone = [next(encode_texts(model, bank, [text])).activations[1][-1] for text in texts]
    wanted = site_quality(token_sae(bank, 1), torch.stack(alone))
    last = found[1, "last", "fvu"]
    assert last.n == len(texts)
    assert last.value == pytest.approx(wanted["fvu"], rel=1e-3)
    assert found[1, "all tokens", "fvu"].n > 10 * len(texts)
    quality = pa.table(
        {"layer": [0, 0], "metric": ["l0_mean", "l0_mean"], "split": ["validation", "train"],
         "value": [5.5, 9.9], "n": [10, 20]}
    )  # fmt: skip
    shown = [
        [(each["control"], each["value"], each["n"]) for each in check_rows([check], quality, RUN)]
        for tokens in ("all tokens", "last")
        for check in [Check(0, tokens, "l0_mean", 6.0, 7)]
    ]
    # Nothing is known of last tokens of texts.
    assert shown == [[("none", 6.0, 7), ("held_out_texts", 5.5, 10)], [("none", 6.0, 7)]]
