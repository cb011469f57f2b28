"""Random directions beside a specialist's on their way through the blocks, rows, and ranks of targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from saeflow.artifacts.specialists import SPECIALISTS
from saeflow.artifacts.tables import write_table
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import editing
from saeflow.seeds import torch_generator
from saeflow.studies.rows import CALIBRATED, NONE
from saeflow.studies.specialists.ablation import ablation_trials
from saeflow.studies.specialists.ablation_prompts import Prompt, text_prompts
from saeflow.studies.specialists.behaviour import SpecialistFeature
from saeflow.studies.specialists.cascade import cascade_rows, relative_change
from saeflow.studies.specialists.names import RANDOM_DIRECTION, ZERO
from saeflow.studies.specialists.rows import numbers_table
from tests.small_models import LAYERS
from tests.unit.test_specialists_behaviour import D_SAE, WIDTH, K, bank
from tests.unit.test_specialists_behaviour import LAYERS as SITES
from tests.unit.test_specialists_behaviour import model as model
from tests.unit.test_tables import PROVENANCE

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["2", "this is 3+4=7", "今日 😀", "def f(x): return x"]
SPECIALISTS_OF = [
    *(SpecialistFeature(0, feature, "Math", f"form{feature}") for feature in range(0, D_SAE, 5)),
    SpecialistFeature(2, 3, "Social"),
]
KEY = {"dictionary": "tokens", "seed": 7, "mode": CALIBRATED, "pooling": "max"}


def prompts_of(model: CodiModel) -> list[Prompt]:
    return text_prompts(model, TEXTS, ["g"] * len(TEXTS), range(len(TEXTS)))


def encoded(layer: int, x: Tensor) -> Tensor:
    """By the formula, row by row."""
    made, site = bank(), SITES.index(layer)
    pre = x @ made.W_enc[site] + made.b_enc[site]
    found = torch.zeros_like(pre)
    for row, values in enumerate(pre):
        chosen = values.topk(K).indices
        found[row, chosen] = values[chosen].clamp(min=0)
    return found


def outputs(
    model: CodiModel, ids: list[int], specialist: SpecialistFeature | None, direction: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """Blocks of one unpadded text, while the specialist's part is replaced by a direction as long."""
    begin = len(model.tokenizer("")["input_ids"])
    kept: list[Tensor] = []

    def at(layer: int) -> object:
        def look(hidden: Tensor) -> Tensor:
            if specialist is not None and layer == specialist.layer:
                x = hidden[0, begin:]
                part = (
                    encoded(layer, x)[:, [specialist.feature]]
                    * (bank().W_dec[SITES.index(layer), specialist.feature])
                )
                moved = -part
                if direction is not None:
                    moved = part.norm(dim=1, keepdim=True) * direction / direction.norm()
                hidden = hidden.clone()
                hidden[0, begin:] = x + moved
            kept.append(hidden[0, begin:])
            return hidden

        return look

    edits = {("resid_post", layer): at(layer) for layer in range(LAYERS)}
    with torch.no_grad(), editing(model.language_model, edits):  # type: ignore[arg-type]
        logits = model.language_model(torch.tensor([ids])).logits[0]
    return kept, logits.double()


@pytest.mark.parametrize("left_pad", [False, True])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_random_directions_are_those_of_plain_hooks(
    model: CodiModel, left_pad: bool, batch_size: int
) -> None:
    prompts = prompts_of(model)
    own, other = (
        relative_change(
            model, bank(), prompts, SPECIALISTS_OF, batch_size=batch_size, left_pad=left_pad,
            at_random=at_random, seed=4,
        )
        for at_random in (False, True)
    )  # fmt: skip
    apart = 0
    for number, each in enumerate(SPECIALISTS_OF):
        assert np.isnan(other[number, : each.layer]).all()
        np.testing.assert_allclose(
            other[number, each.layer], own[number, each.layer], rtol=1e-4, atol=1e-6
        )
        for column, prompt in enumerate(prompts):
            generator = torch_generator(
                4, "specialists", "cascade", each.layer, each.feature, column
            )
            direction = torch.randn(WIDTH, generator=generator)
            clean = outputs(model, list(prompt.ids), None, None)[0]
            for found, along in ((own, None), (other, direction)):
                edited = outputs(model, list(prompt.ids), each, along)[0]
                for layer in range(each.layer, LAYERS):
                    share = float((edited[layer] - clean[layer]).norm() / clean[layer].norm())
                    assert found[number, layer, column] == pytest.approx(share, abs=1e-4)
            apart += abs(own[number, -1, column] - other[number, -1, column]) > 1e-3
    assert apart > 5
    changed = relative_change(model, bank(), prompts, SPECIALISTS_OF, at_random=True, seed=5)
    assert np.abs(changed[:, -1] - other[:, -1]).max() > 1e-3


def test_rows_are_means_over_active_prompts() -> None:
    rng = np.random.default_rng(0)
    contents = np.repeat(np.arange(10), 3).tolist()
    specialists = [
        SpecialistFeature(0, 1, "Math", "a"),
        SpecialistFeature(1, 1, "Math", "a"),
        SpecialistFeature(1, 2, "Social"),
    ]
    own = rng.uniform(0.1, 1, size=(3, LAYERS, 30))
    # Active on some prompts, of which the first two contents have none, and on no prompt.
    own[1, :, :7] = own[1, :, 20] = own[2] = 0.0
    own[1:, 0] = np.nan
    other = own * 0.5
    rows = list(cascade_rows(KEY, {NONE: own, RANDOM_DIRECTION: other}, specialists, contents))
    assert len(rows) == 2 * (3 + 2 + 2)
    for number, each in enumerate(specialists):
        for control, change in ((NONE, own), (RANDOM_DIRECTION, other)):
            for block in range(each.layer, LAYERS):
                (found,) = (
                    row
                    for row in rows
                    if (row["layer"], row["group"]) == (each.layer, each.name)
                    and (row["metric"], row["control"]) == (f"relative_change_{block}", control)
                )
                values = [value for value in change[number, block] if value > 0]
                if not values:
                    assert (found["value"], found["n"], found["ci_low"]) == (None, 0, None)
                    continue
                assert found["value"] == pytest.approx(np.mean(values))
                assert found["n"] == (10, 8)[number]
                assert found["ci_low"] < found["value"] < found["ci_high"]


def test_contents_are_resampled_as_one() -> None:
    """Copies of a prompt tell nothing new."""
    rng = np.random.default_rng(1)
    single = rng.uniform(0.1, 1, size=(1, 1, 12))
    copies = np.repeat(single, 25, axis=2)
    specialist = [SpecialistFeature(0, 1, "Math")]
    (one,) = cascade_rows(KEY, {NONE: single}, specialist, range(12))
    (many,) = cascade_rows(KEY, {NONE: copies}, specialist, np.repeat(np.arange(12), 25).tolist())
    (apart,) = cascade_rows(KEY, {NONE: copies}, specialist, range(300))
    assert many["n"] == 12
    for name in ("value", "ci_low", "ci_high"):
        assert many[name] == pytest.approx(one[name])
    width = one["ci_high"] - one["ci_low"]
    assert apart["ci_high"] - apart["ci_low"] < width / 3


def test_rows_of_a_bank_fit_their_table(model: CodiModel, tmp_path: Path) -> None:
    prompts = prompts_of(model)
    changes = {
        name: relative_change(model, bank(), prompts, SPECIALISTS_OF, at_random=name != NONE)
        for name in (NONE, RANDOM_DIRECTION)
    }
    rows = list(cascade_rows(KEY, changes, SPECIALISTS_OF, range(len(prompts))))
    table = numbers_table(rows)
    write_table(table, tmp_path / "a.parquet", SPECIALISTS, PROVENANCE)
    keys = table.select(SPECIALISTS.keys).to_pylist()
    assert len({tuple(each.values()) for each in keys}) == len(rows)


def test_ranks_of_targets_are_those_of_sorted_tokens(model: CodiModel) -> None:
    """Of the first token of an ending; a prompt without one follows the likeliest."""
    texts = prompts_of(model)
    endings = [(7, 9), (40,), (200, 3, 3), (90,)]
    with_ending = [
        Prompt(each.ids, target, each.content, each.group)
        for each, target in zip(texts, endings, strict=True)
    ]
    for prompts in (texts, with_ending):
        trials = ablation_trials(model, bank(), prompts, SPECIALISTS_OF, draws=1, rows=3)
        found = trials.effects[ZERO].rank
        moved = 0
        for number, each in enumerate(SPECIALISTS_OF):
            for column, prompt in enumerate(prompts):
                ids = list(prompt.ids)
                before, after = (
                    outputs(model, ids, some, None)[1][-1].numpy() for some in (None, each)
                )
                target = prompt.target[0] if prompt.target else int(before.argmax())
                places = [np.argsort(-logits).tolist().index(target) for logits in (before, after)]
                # Rounding may exchange tokens that are as likely.
                near = sum(
                    int((np.abs(logits - logits[target]) < 1e-4).sum()) - 1
                    for logits in (before, after)
                )
                assert abs(found[number, column] - (places[1] - places[0])) <= near
                moved += found[number, column] != 0
        assert moved > 3
        if prompts is texts:
            assert (found >= 0).all(), "nothing is likelier than the likeliest"
        controls = trials.effects[RANDOM_DIRECTION].rank
        assert controls[trials.active].any()
        assert not controls[~trials.active].any()
