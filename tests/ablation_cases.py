"""A small bank, prompts, and what ablating one of its features does by plain hooks."""

from __future__ import annotations

import torch
from torch import Tensor

from saeflow.datasets.texts.text import HELD_OUT, Text
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import editing, transformer_blocks
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.specialists.ablation_prompts import Prompt, item_prompts, text_prompts
from saeflow.studies.specialists.behaviour import SpecialistFeature
from tests.small_models import small_model
from tests.unit.test_pooling import bytes_with_begin, with_tokenizer

D_IN, D_SAE, K, SITES = 16, 24, 6, (0, 1)
SILENT = 23
ITEMS = [
    Text("cloze", "other", "", n, HELD_OUT, prompt, target, (" x",))
    for n, (prompt, target) in enumerate(
        [
            ("2", " 3"),
            ("seven minus one is", " six"),
            ("今日", " é 😀"),
            ("A longer one, is it", "?"),
        ]
    )
]
TEXTS = ["a", "this is 3+4=7", "今日 😀", "def f(x): return x"]
SPECIALISTS = [
    SpecialistFeature(0, 9, "Math_Simple", "prose"),
    SpecialistFeature(0, 19, "Social", "plain"),
    SpecialistFeature(1, 5, "Python", "code"),
    SpecialistFeature(1, SILENT, "Formal", "plain"),
]


def bank() -> Bank:
    """The last feature never fires."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(len(SITES), *shape, generator=generator)

    b_enc = draw(D_SAE)
    b_enc[:, SILENT] = -1e6
    recipe = Recipe("topk", D_SAE, K, hook="resid_post")
    sites = tuple(Site(layer) for layer in SITES)
    return Bank(recipe, sites, draw(D_IN, D_SAE), b_enc, draw(D_SAE, D_IN), draw(D_IN))


def model_of(family: str) -> CodiModel:
    """The Llama's tokenizer puts a token before every text, whose id is 0; GPT-2's puts none."""
    made = small_model(family)
    return made if family == "gpt2" else with_tokenizer(made, bytes_with_begin(0, eos_token="<s>"))


def encoded(layer: int, x: Tensor) -> Tensor:
    """By the formula, row by row."""
    made, site = bank(), SITES.index(layer)
    pre = x.float() @ made.W_enc[site] + made.b_enc[site]
    found = torch.zeros_like(pre)
    for row in range(len(pre)):
        chosen = pre[row].topk(K).indices
        found[row, chosen] = pre[row, chosen].clamp(min=0)
    return found


def block_outputs(model: CodiModel, ids: list[int]) -> tuple[list[Tensor], Tensor]:
    """Output of every block for one unpadded text, and log-probabilities of the next token."""
    kept: list[Tensor] = []
    handles = [
        block.register_forward_hook(
            lambda module, inputs, output: kept.append(
                (output if isinstance(output, Tensor) else output[0])[0]
            )
        )
        for block in transformer_blocks(model.language_model)
    ]
    with torch.no_grad():
        logits = model.language_model(torch.tensor([ids])).logits[0]
    for handle in handles:
        handle.remove()
    return kept, logits.double().log_softmax(-1)


def edited_outputs(
    model: CodiModel, ids: list[int], specialist: SpecialistFeature, value: float = 0.0
) -> tuple[list[Tensor], Tensor]:
    """The same while one feature is set to a value on all tokens but the tokenizer's own."""
    begin = len(model.tokenizer("")["input_ids"])

    def edit(hidden: Tensor) -> Tensor:
        changed = hidden.clone()
        x = hidden[0, begin:]
        now = encoded(specialist.layer, x)[:, specialist.feature]
        direction = bank().W_dec[SITES.index(specialist.layer), specialist.feature]
        changed[0, begin:] = x + (value - now)[:, None] * direction
        return changed

    with editing(model.language_model, {("resid_post", specialist.layer): edit}):
        return block_outputs(model, ids)


def prompts_of(model: CodiModel, kind: str) -> list[Prompt]:
    if kind == "items":
        return item_prompts(model, ITEMS)
    return text_prompts(model, TEXTS, ["g"] * len(TEXTS), range(len(TEXTS)))
