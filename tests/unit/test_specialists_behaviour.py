"""What a specialist's activation tells: planted associations, nulls, and masses by a plain loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import pointbiserialr, rankdata
from torch import Tensor

from saeflow.datasets.matched.token_classes import CLASSES, SYNTACTIC, token_classes
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import transformer_blocks
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.pooling import POOLINGS, pool_texts
from saeflow.studies.specialists.behaviour import (
    Behaviour,
    SpecialistFeature,
    behaviour,
    partial_rank_correlations,
    specialist_activations,
    syntactic_share,
    token_mass,
)
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, small_model
from tests.unit.test_pooling import bytes_with_begin, with_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH, D_SAE, K, LAYERS = 16, 24, 4, (0, 2)
TEXTS = ["2", "this is 3+4=7", "das ist (ein) Haus, ja?", "def f(x):\n  return x", "今日 😀", "é"]
FORMS = ["symbolic", "verbal", "german", "code", "full_social", "french"]
SPECIALISTS = [SpecialistFeature(2, 3, "Math", "a"), SpecialistFeature(0, 5, "Social", "b")]


def bank() -> Bank:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(len(LAYERS), *shape, generator=generator)

    recipe = Recipe("topk", D_SAE, K, hook="resid_post")
    sites = tuple(Site(layer) for layer in LAYERS)
    return Bank(recipe, sites, draw(WIDTH, D_SAE), draw(D_SAE), draw(D_SAE, WIDTH), draw(WIDTH))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    """The Llama's tokenizer puts a token before every text, whose id is 0; GPT-2's puts none."""
    made = small_model(request.param)
    if request.param == "gpt2":
        return made
    return with_tokenizer(made, bytes_with_begin(0, eos_token="<s>"))


def features_of(model: CodiModel, text: str, layer: int) -> np.ndarray:
    """Features of one text's tokens, begin-of-text token included, read with a plain hook."""
    kept: list[Tensor] = []
    block = transformer_blocks(model.language_model)[layer]
    handle = block.register_forward_hook(
        lambda module, inputs, output: kept.append(
            output if isinstance(output, Tensor) else output[0]
        )
    )
    with torch.no_grad():
        model.language_model(torch.tensor([model.tokenizer(text)["input_ids"]]))
    handle.remove()
    site = LAYERS.index(layer)
    made = bank()
    pre = kept[0][0].double() @ made.W_enc[site].double() + made.b_enc[site].double()
    found = np.zeros(pre.shape)
    for row, values in enumerate(pre.numpy()):
        chosen = np.argsort(values)[-K:]
        found[row, chosen] = np.maximum(values[chosen], 0)
    return found


@pytest.mark.parametrize("batch_size", [1, 32])
def test_mass_by_class_is_that_of_a_loop(model: CodiModel, batch_size: int) -> None:
    found = token_mass(model, bank(), TEXTS, FORMS, SPECIALISTS, batch_size=batch_size)
    begin = len(model.tokenizer("")["input_ids"])
    mass, features = np.zeros(found.specialists.shape), np.zeros(found.features.shape)
    tokens = np.zeros(found.tokens.shape)
    for row, (text, form) in enumerate(zip(TEXTS, FORMS, strict=True)):
        encoded = model.tokenizer(text, return_offsets_mapping=True)
        names = token_classes(text, [tuple(each) for each in encoded["offset_mapping"]], form)
        values = {layer: features_of(model, text, layer) for layer in LAYERS}
        for place in range(begin, len(names)):
            kind = CLASSES.index(names[place])
            tokens[row, kind] += 1
            for number, layer in enumerate(LAYERS):
                features[row, number, kind] += values[layer][place].sum()
            for number, each in enumerate(SPECIALISTS):
                mass[row, number, kind] += values[each.layer][place, each.feature]
    assert found.layers == LAYERS
    np.testing.assert_array_equal(found.tokens, tokens)
    np.testing.assert_allclose(found.specialists, mass, atol=1e-4)
    np.testing.assert_allclose(found.features, features, atol=1e-4)
    assert found.tokens[:, CLASSES.index("keywords")].tolist()[3] > 0
    assert mass.any()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_activations_come_in_the_order_of_texts(model: CodiModel, pooling: str) -> None:
    found = specialist_activations(
        model,
        bank(),
        TEXTS,
        SPECIALISTS,
        pooling=pooling,  # type: ignore[arg-type]
        batch_size=2,
    )
    assert found.shape == (len(TEXTS), len(SPECIALISTS))
    for row, text in enumerate(TEXTS):
        (alone,) = pool_texts(model, bank(), [text])
        for column, each in enumerate(SPECIALISTS):
            value = float(alone.features[each.layer][pooling][0, each.feature])  # type: ignore[index]
            assert found[row, column] == pytest.approx(value, abs=1e-4)


def test_specialists_that_the_bank_lacks(model: CodiModel) -> None:
    for wrong in (SpecialistFeature(1, 0, "Math"), SpecialistFeature(0, D_SAE, "Math")):
        with pytest.raises(SaeflowError) as error:
            specialist_activations(model, bank(), TEXTS, [wrong])
        check_sentence(error.value, "specialist of Math", str(wrong.layer), str(wrong.feature))


def test_a_tokenizer_without_places(model: CodiModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model.tokenizer), "is_fast", False)
    with pytest.raises(SaeflowError) as error:
        token_mass(model, bank(), ["a"], [""], [])
    check_sentence(error.value, "does not tell", "fast tokenizer")


def planted(
    n_contents: int = 60, strength: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Two forms of each content: length drives both; the first specialist has more with the margin."""
    rng = np.random.default_rng(seed)
    contents = np.repeat(np.arange(n_contents), 2)
    length = rng.normal(size=n_contents)[contents] + 0.2 * rng.normal(size=len(contents))
    own = rng.normal(size=n_contents)[contents]
    margin = 2 * length + own + 0.3 * rng.normal(size=len(contents))
    activations = np.column_stack(
        [
            length + strength * own + 0.5 * rng.normal(size=len(contents)),
            length + 0.5 * rng.normal(size=len(contents)),
            np.zeros(len(contents)),
        ]
    )
    return activations, margin, length[:, None], contents.tolist()


def by_place(found: Sequence[Behaviour], outcome: str = "margin") -> list[Behaviour]:
    return [each for each in found if each.outcome == outcome]


def test_planted_association_is_found_and_length_is_not() -> None:
    activations, margin, length, contents = planted()
    groups = ["arithmetic"] * len(margin)
    outcomes = {"margin": margin, "correct": (margin > 0).astype(float)}
    found = behaviour(activations, outcomes, groups, contents, covariates=length, permutations=300)
    own, decoy, silent = by_place(found)
    assert own.association.value > 0.4
    assert own.holm < 0.05
    assert own.association.low > 0
    assert decoy.holm > 0.1
    assert abs(decoy.association.value) < 0.3
    assert np.isnan(silent.association.value)
    assert silent.holm == 1.0
    plain = by_place(behaviour(activations, outcomes, groups, contents, permutations=300))
    assert plain[1].association.value > 0.6, "without covariates length passes for an association"
    published = by_place(found, "correct")
    right = margin > 0
    for number in (0, 1):
        tested = published[number].published
        assert tested is not None
        expected = pointbiserialr(right, activations[:, number])
        assert tested.r == pytest.approx(expected.statistic)
        assert tested.p_value == pytest.approx(expected.pvalue)
        assert tested.p_value < 1e-6, "as published the decoy passes, too"
    assert own.published is None, "a margin is not right or wrong"


def test_groups_are_apart_and_corrected_together() -> None:
    activations, margin, length, contents = planted()
    groups = ["a" if content < 30 else "b" for content in contents]
    outcomes = {"margin": margin}
    found = behaviour(activations, outcomes, groups, contents, covariates=length, permutations=200)
    assert [(each.group, each.specialist) for each in found] == [
        (group, number) for group in "ab" for number in range(3)
    ]
    first = np.array(groups) == "a"
    alone = behaviour(
        activations[first],
        {"margin": margin[first]},
        ["a"] * int(first.sum()),
        [contents[n] for n in np.flatnonzero(first)],
        covariates=length[first],
        permutations=200,
    )
    assert [each.association for each in alone[:2]] == [each.association for each in found[:2]]
    smallest = min(each.association.p_value for each in found[:2] + found[3:5])
    best = min(found, key=lambda each: each.holm)
    assert best.holm == pytest.approx(6 * smallest)
    assert all(each.q_value <= each.holm + 1e-12 for each in found)


def test_nothing_planted_nothing_found() -> None:
    """Contents in two equal forms: a test that counts forms would find too much."""
    hits = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        contents = np.repeat(np.arange(30), 3)
        activations = rng.normal(size=(30, 1))[contents]
        margin = rng.normal(size=30)[contents]
        (found,) = behaviour(
            activations,
            {"margin": margin},
            ["g"] * 90,
            contents.tolist(),
            permutations=99,
            seed=seed,
        )
        hits += found.association.p_value <= 0.05
    assert hits <= 4


def test_correlations_of_many_features_are_those_of_one() -> None:
    activations, margin, length, _ = planted()
    found = partial_rank_correlations(activations, margin, length)

    def left(values: np.ndarray) -> np.ndarray:
        design = np.column_stack([np.ones(len(values)), rankdata(length[:, 0])])
        ranks = rankdata(values)
        return np.asarray(ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0])

    for column in (0, 1):
        expected = np.corrcoef(left(activations[:, column]), left(margin))[0, 1]
        assert found[column] == pytest.approx(expected)
    assert np.isnan(found[2])
    assert np.isnan(
        partial_rank_correlations(activations, np.full(len(margin), np.nan), length)
    ).all()


def test_beside_other_features() -> None:
    activations, margin, length, contents = planted()
    rng = np.random.default_rng(1)
    others = {
        0: rng.normal(size=(len(margin), 19)),
        1: np.tile(-activations[:, :1], 19),
        2: activations,
    }
    found = behaviour(
        activations, {"margin": margin}, ["g"] * len(margin), contents,
        covariates=length, others=others, permutations=20,
    )  # fmt: skip
    assert found[0].other_features == pytest.approx(1 / 20)
    assert found[1].other_features == 1.0
    assert np.isnan(found[2].other_features)
    # Such a correlation is the one that is tested.
    assert partial_rank_correlations(activations, margin, length)[0] == pytest.approx(
        found[0].association.value
    )


def test_syntactic_share() -> None:
    mass = np.zeros((4, len(CLASSES)))
    mass[0, CLASSES.index(SYNTACTIC[0])], mass[0, CLASSES.index("content")] = 3, 1
    mass[1, CLASSES.index(SYNTACTIC[5])], mass[1, CLASSES.index("blanks")] = 1, 1
    mass[2, CLASSES.index("content")] = 2
    found = syntactic_share(mass, ["a", "a", "b", "c"])
    assert found.value == pytest.approx(4 / 8)
    assert found.n == 2, "a text without any mass takes no part"
    assert found.low == 0
    assert found.high == pytest.approx(4 / 6)
    assert np.isnan(syntactic_share(mass[3:], ["c"]).value)
    same = syntactic_share(mass[:2], ["a", "a"])
    assert same.value == pytest.approx(4 / 6)
    assert np.isnan(same.low)
