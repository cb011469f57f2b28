"""What units write and change, against plain hooks on one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.stats import false_discovery_control
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import FalconConfig, FalconForCausalLM

from saeflow.artifacts.decimal_bug import ATTRIBUTION
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.decimal_bug import AttributionSettings, PairSettings
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.errors import SaeflowError
from saeflow.models.alignment import Key, prompt_keys
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import transformer_blocks
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.decimal_bug.attribution import attribute
from saeflow.studies.decimal_bug.attribution_summary import mixed_features
from saeflow.studies.decimal_bug.behaviour import draw_prompts
from saeflow.studies.decimal_bug.differing import (
    BUGGY,
    PLAIN,
    PromptPair,
    differing_features,
    prone_pairs,
)
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, LAYERS, small_model

pytestmark = pytest.mark.usefixtures("one_thread")
RUN = {"dictionary": "tokens", "seed": 0}
SETTINGS = AttributionSettings(features=5)
HEADS, GROUPS, WIDTH = 4, 2, 16
PAIRS = 6


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    made = small_model(request.param)
    if request.param == "llama":
        add_begin_token(made)
    return made


def add_begin_token(model: CodiModel) -> None:
    """Let its tokenizer put a token before every text, as Llama's does."""
    name, number = model.tokenizer.eos_token, model.tokenizer.eos_token_id
    template = TemplateProcessing(single=f"{name} $A", special_tokens=[(name, number)])
    model.tokenizer.bos_token = name
    model.tokenizer.backend_tokenizer.post_processor = template


def drawn(model: CodiModel, seed: int) -> list[Prompt]:
    return draw_prompts(
        model, seed, PairSettings(drawn=400, per_stratum=4), ("9.8", "9.11")
    ).prompts


@pytest.fixture(scope="module")
def prompts(model: CodiModel) -> list[Prompt]:
    """Every third pair is asked in one order only, and still counts as one."""
    found = drawn(model, 0)
    prone = sorted({each.item for each in found if each.stratum.startswith("prone")})
    return [each for each in found if each.order == "given" or each.item not in prone[::3]]


def pair_mean(values: list[Any], pairs: list[PromptPair]) -> Any:
    """Mean over pairs of numbers of the mean over their prompts."""
    items: dict[int, list[Any]] = {}
    for value, pair in zip(values, pairs, strict=True):
        items.setdefault(pair.buggy.item, []).append(torch.as_tensor(value))
    return torch.stack([torch.stack(each).mean(0) for each in items.values()]).mean(0)


@pytest.fixture(scope="module")
def bank() -> Bank:
    generator = torch.Generator().manual_seed(3)
    encoder = torch.randn(LAYERS, WIDTH, 32, generator=generator)
    sites = tuple(Site(layer) for layer in range(LAYERS))
    bias = torch.randn(LAYERS, 32, generator=generator)
    recipe = Recipe("topk", 32, 12, hook="mlp_out")
    return Bank(recipe, sites, encoder, bias, encoder.mT.contiguous(), torch.zeros(LAYERS, WIDTH))


@pytest.fixture(scope="module")
def table(model: CodiModel, bank: Bank, prompts: list[Prompt]) -> pa.Table:
    return attribute(model, bank, prompts, SETTINGS, RUN, batch_size=5)


def attention_of(model: CodiModel, layer: int) -> tuple[nn.Module, nn.Module]:
    """Attention of a block and its output projection."""
    block = transformer_blocks(model.language_model)[layer]
    attention = getattr(block, "self_attn", None) or block.attn
    return attention, getattr(attention, "o_proj", None) or attention.c_proj


def carried(
    model: CodiModel, text: str, layer: int, change: Callable[[str, Tensor], Tensor] | None = None
) -> dict[str, Any]:
    """Plain pass over one prompt: z and attention's output of one block, all MLPs' outputs."""
    found: dict[str, Any] = {"mlp": []}
    attention, projection = attention_of(model, layer)

    def keep_z(_: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        found["attn_z"] = inputs[0][0]
        return None if change is None else (change("attn_z", inputs[0]),)

    def keep_out(_: nn.Module, __: Any, output: Any) -> Any:
        found["attn_out"] = output[0][0]
        return None if change is None else (change("attn_out", output[0]), *output[1:])

    handles = [projection.register_forward_pre_hook(keep_z)]
    handles += [attention.register_forward_hook(keep_out)]
    for block in transformer_blocks(model.language_model):
        handles += [block.mlp.register_forward_hook(lambda *_: found["mlp"].append(_[2][0, -1]))]
    with torch.no_grad():
        model.language_model(torch.tensor([model.tokenizer(text)["input_ids"]]))
    for handle in handles:
        handle.remove()
    return found


def scale_head(model: CodiModel, head: int, factor: float) -> None:
    """Scale the weights by which a head of block 1 writes."""
    projection, span = attention_of(model, 1)[1], span_of("head", head)[1]
    linear = isinstance(projection, nn.Linear)
    with torch.no_grad():
        (projection.weight[:, span] if linear else projection.weight[span]).mul_(factor)


def span_of(kind: str, unit: int) -> tuple[str, slice]:
    size = WIDTH // (GROUPS if kind == "kv_group" else HEADS)
    hook = "attn_out" if kind == "block" else "attn_z"
    return hook, slice(unit * size, (unit + 1) * size)


def mean_by_key(
    model: CodiModel, pairs: list[PromptPair], layer: int, hook: str
) -> Callable[[Key], Tensor]:
    """Mean of what tokens of plain prompts carry, by key; of all but begin tokens otherwise."""
    by_key: dict[Key, list[Tensor]] = {}
    for pair in pairs:
        values = carried(model, pair.plain.text, layer)[hook]
        for key, value in zip(prompt_keys(model.tokenizer, pair.plain), values, strict=True):
            by_key.setdefault(key, []).append(value)
    others = [each for key, values in by_key.items() if key != ("begin",) for each in values]
    return lambda key: torch.stack(by_key.get(key, others)).mean(0)


def slow_change(
    model: CodiModel,
    bank: Bank,
    prompt: Prompt,
    before: list[Tensor],
    row: pd.Series,
    mean: Callable[[Key], Tensor],
) -> float:
    """Change of a feature at the last token when a unit gets its mean at every token."""
    sae = bank.select([Site(row["feature_layer"])])
    wanted, span = span_of(row["kind"], int(row["units"]))
    keys = prompt_keys(model.tokenizer, prompt)

    def change(hook: str, hidden: Tensor) -> Tensor:
        hidden = hidden.clone()
        for place, key in enumerate(keys):
            if hook == wanted:
                hidden[0, place, span] = mean(key)[span]
        return hidden

    clean, without = (
        float(sae.encode(outputs[row["feature_layer"]][None, None])[0, 0, row["feature"]])
        for outputs in (before, carried(model, prompt.text, row["layer"], change)["mlp"])
    )
    return without - clean


def test_rows_are_every_unit_beside_the_features_it_can_reach(
    model: CodiModel, bank: Bank, prompts: list[Prompt], table: pa.Table, tmp_path: Path
) -> None:
    assert table.schema == ATTRIBUTION.schema()
    frame = table.to_pandas()
    chosen = differing_features(model, bank, prompts, SETTINGS.features, batch_size=64)
    assert all(len(each) == SETTINGS.features for each in chosen.values())
    grouped = hasattr(attention_of(model, 0)[0], "o_proj")
    kinds = {"head": HEADS, "block": HEADS} | ({"kv_group": GROUPS} if grouped else {})
    expected = {
        (layer, kind, str(unit), later, feature)
        for layer in range(LAYERS)
        for kind, count in kinds.items()
        for unit in range(count)
        for later in range(layer, LAYERS)
        for feature in chosen[later].tolist()
    }
    columns = ["layer", "kind", "units", "feature_layer", "feature"]
    found = [tuple(each) for each in frame[columns].itertuples(index=False)]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert set(frame["n"]) == {PAIRS}
    np.testing.assert_allclose(frame["q_value"], false_discovery_control(frame["p_value"]))
    write_table(table, tmp_path / "table.parquet", ATTRIBUTION, Provenance("x"))


def test_numbers_are_those_of_each_prompt_by_itself(
    model: CodiModel, bank: Bank, prompts: list[Prompt], table: pa.Table
) -> None:
    chosen, reported = prone_pairs(prompts, "choose"), prone_pairs(prompts, "report")
    frame = table.to_pandas()
    for layer in range(LAYERS):
        of_layer = frame[frame["layer"] == layer]
        means = {hook: mean_by_key(model, chosen, layer, hook) for hook in ("attn_z", "attn_out")}
        clean = [[carried(model, each.text, layer) for each in pair] for pair in reported]
        # The largest effect of each kind of units and block of features, and one of any size.
        some = of_layer.groupby(["kind", "feature_layer"])["effect"]
        for index in {*some.apply(lambda x: x.abs().idxmax()), *some.apply(lambda x: x.index[3])}:
            row = frame.loc[index]
            hook, span = span_of(row["kind"], int(row["units"]))
            changes = [
                slow_change(model, bank, each.buggy, own["mlp"], row, means[hook])
                for each, (own, _) in zip(reported, clean, strict=True)
            ]
            assert row["effect"] == pytest.approx(
                float(pair_mean(changes, reported)), rel=1e-3, abs=2e-3
            )
            last = [[each[hook][-1] for each in pair] for pair in clean]
            difference = pair_mean([buggy - plain for buggy, plain in last], reported)
            linear = isinstance(attention_of(model, layer)[1], nn.Linear)
            weight = attention_of(model, layer)[1].weight.detach()
            rows = torch.eye(WIDTH) if row["kind"] == "block" else weight.T if linear else weight
            write = difference[span] @ rows[span]
            expected = write @ bank.W_enc[row["feature_layer"]][:, row["feature"]]
            assert row["direct_write"] == pytest.approx(float(expected), rel=1e-3, abs=2e-3)
    assert frame["effect"].abs().max() > 0.1
    assert frame["direct_write"].abs().max() > 0.1


@pytest.mark.parametrize("head", [0, 2])
def test_a_planted_head_is_found(
    model: CodiModel, bank: Bank, prompts: list[Prompt], head: int
) -> None:
    planted = deepcopy(model)
    scale_head(planted, head, 50)
    frame = attribute(planted, bank, prompts, SETTINGS, RUN, batch_size=64).to_pandas()
    own = frame[(frame["layer"] == 1) & (frame["kind"] == "head") & (frame["feature_layer"] == 1)]
    passing = own[own["q_value"] <= SETTINGS.q_value]
    assert len(passing)
    assert set(passing["units"]) == {str(head)}
    largest = own.loc[own.groupby("feature")["effect"].apply(lambda x: x.abs().idxmax())]
    assert set(largest[largest["effect"] != 0]["units"]) == {str(head)}


def test_a_head_that_writes_nothing_changes_nothing(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    silent = deepcopy(model)
    scale_head(silent, 3, 0)
    frame = attribute(silent, bank, prompts, SETTINGS, RUN, batch_size=64).to_pandas()
    own = frame[(frame["layer"] == 1) & (frame["kind"] == "head") & (frame["units"] == "3")]
    assert set(own["effect"]) == {0.0}
    assert set(own["direct_write"]) == {0.0}
    assert set(own["p_value"]) == {1.0}


def with_other_numbers(model: CodiModel, prompts: list[Prompt], half: str) -> list[Prompt]:
    """Prompts of which those of a half ask about other pairs."""
    kept = [each for each in prompts if each.half != half]
    others = [replace(each, item=each.item + 1000) for each in drawn(model, 5) if each.half == half]
    return kept + others


def test_features_are_chosen_on_their_half_and_numbers_come_from_the_other(
    model: CodiModel, bank: Bank, prompts: list[Prompt], table: pa.Table
) -> None:
    def features(asked: list[Prompt]) -> dict[int, list[int]]:
        found = differing_features(model, bank, asked, SETTINGS.features, batch_size=7)
        return {layer: each.tolist() for layer, each in found.items()}

    other = with_other_numbers(model, prompts, "report")
    assert features(other) == features(prompts)
    assert features(with_other_numbers(model, prompts, "choose")) != features(prompts)
    keys = ["layer", "kind", "units", "feature_layer", "feature"]
    first = table.to_pandas()
    second = attribute(model, bank, other, SETTINGS, RUN, batch_size=5).to_pandas()
    assert first[keys].equals(second[keys])
    assert (first["effect"] != second["effect"]).mean() > 0.5
    assert (first["direct_write"] != second["direct_write"]).mean() > 0.9


def test_features_are_those_that_differ_most(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    found = differing_features(model, bank, prompts, 3, batch_size=7)
    every = differing_features(model, bank, prompts, 1000, batch_size=7)
    for layer in range(LAYERS):
        values = []
        for pair in prone_pairs(prompts, "choose"):
            outputs = [carried(model, each.text, 0)["mlp"][layer] for each in pair]
            features = bank.select([Site(layer)]).encode(torch.stack(outputs)[None])[0]
            values.append((features[0] - features[1]).abs())
        difference = pair_mean(values, prone_pairs(prompts, "choose"))
        assert set(found[layer].tolist()) == set(difference.topk(3).indices.tolist())
        # A feature that is the same in both formats would only fill the list.
        assert every[layer].tolist() == difference.nonzero()[:, 0].tolist()


def test_pairs_are_prone_ones_in_both_orders_without_the_published_one(
    prompts: list[Prompt],
) -> None:
    for half in ("choose", "report"):
        pairs = prone_pairs(prompts, half)
        assert len({each.buggy.item for each in pairs}) == PAIRS
        assert PAIRS < len(pairs) < 2 * PAIRS
        for buggy, plain in pairs:
            assert (buggy.form, plain.form) == (BUGGY, PLAIN)
            assert (buggy.item, buggy.order) == (plain.item, plain.order)
            assert buggy.half == half
            assert buggy.item >= 0
            assert buggy.stratum.startswith("prone")


def test_repetition_gives_the_same_bytes_and_batches_do_not_matter(
    model: CodiModel, bank: Bank, prompts: list[Prompt], table: pa.Table
) -> None:
    assert attribute(model, bank, prompts, SETTINGS, RUN, batch_size=5).equals(table)
    other = attribute(model, bank, prompts, SETTINGS, RUN, batch_size=64).to_pandas()
    first = table.to_pandas()
    for column in ("direct_write", "effect"):
        np.testing.assert_allclose(other[column], first[column], rtol=1e-3, atol=2e-3)


def test_mixed_features_are_counted_beside_chance() -> None:
    changing: dict[tuple[int, int], set[int]] = {
        (0, 7): {0, 1}, (0, 8): {0, 2}, (0, 9): set(), (1, 7): {1, 2, 3}, (1, 9): {3}}  # fmt: skip
    rows = [
        {**RUN, "layer": layer, "kind": "head", "units": str(unit), "feature_layer": layer,
         "feature": feature, "direct_write": 0.0, "effect": 0.0, "p_value": 0.0,
         "q_value": 0.05 if unit in units else 0.051, "n": 9}
        for (layer, feature), units in changing.items()
        for unit in range(4)
    ]  # fmt: skip
    # Units of other blocks are numbered anew.
    rows += [{**each, "layer": 0, "q_value": 0.0} for each in rows if each["layer"] == 1]
    found = mixed_features(pa.Table.from_pylist(rows, ATTRIBUTION.schema()), 0.05)
    assert [each[:5] for each in found] == [(0, "head", 3, 2, 1), (1, "head", 2, 2, 1)]
    # Of six sets of two units, two are of one parity; a set of three never is, one unit always.
    assert [each.expected for each in found] == pytest.approx([2 * 4 / 6, 1.0])


def test_what_cannot_be_attributed_is_told(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    other = replace(bank, recipe=replace(bank.recipe, hook="resid_post"))
    with pytest.raises(SaeflowError) as raised:
        attribute(model, other, prompts, SETTINGS, RUN, batch_size=5)
    check_sentence(raised.value, "resid_post", "mlp_out")
    lacking = [each for each in prompts if each.form != PLAIN]
    with pytest.raises(SaeflowError) as raised:
        attribute(model, bank, lacking, SETTINGS, RUN, batch_size=5)
    check_sentence(raised.value, "choose", BUGGY, PLAIN)


def test_a_model_without_the_module_is_named(bank: Bank, prompts: list[Prompt]) -> None:
    made = small_model("llama")
    config = FalconConfig(vocab_size=300, hidden_size=WIDTH, num_hidden_layers=LAYERS,
                          num_attention_heads=HEADS)  # fmt: skip
    made.language_model = FalconForCausalLM(config).eval()
    with pytest.raises(SaeflowError) as raised:
        attribute(made, bank, prompts, SETTINGS, RUN, batch_size=5)
    check_sentence(raised.value, "FalconForCausalLM", "attn_z")


def test_features_that_never_differ_leave_an_empty_table(
    model: CodiModel, bank: Bank, prompts: list[Prompt]
) -> None:
    silent = replace(bank, W_enc=torch.zeros_like(bank.W_enc))
    table = attribute(model, silent, prompts, SETTINGS, RUN, batch_size=5)
    assert table.num_rows == 0
    assert table.schema == ATTRIBUTION.schema()
