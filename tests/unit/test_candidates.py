"""Which token decides between two answers, how it is weighed, and answers that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from saeflow.errors import SaeflowError
from saeflow.models.candidates import candidate_tokens, logit_differences
from saeflow.models.sampling import Sampling
from saeflow.models.tokenizer import byte_tokenizer
from tests.conftest import ROOT
from tests.small_models import small_model

PROMPT = "Which is bigger: 9.8 or 9.11?\nAnswer:"
CHAT = "<|start_header_id|>assistant<|end_header_id|>\n\n"


def shipped(name: str) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(ROOT / "resources" / "models" / name)


@pytest.mark.parametrize("tokenizer", [shipped("llama"), shipped("gpt2"), byte_tokenizer()])
@pytest.mark.parametrize("prompt", [PROMPT, CHAT])
@pytest.mark.parametrize("pair", [("9.8", "9.11"), ("9.1", "9.11"), ("7", "70"), ("3.25", "3.4")])
def test_both_answers_are_written_as_far_as_they_agree(tokenizer, prompt, pair) -> None:
    truth, other = pair
    found = candidate_tokens(tokenizer, prompt, truth, other)
    lead = " " if prompt.endswith(":") else ""
    assert found.true != found.other
    for number, token in ((truth, found.true), (other, found.other)):
        text = tokenizer.decode([*found.prompt, *found.shared, token], skip_special_tokens=True)
        assert f"{prompt}{lead}{number} is".replace(" ", "").startswith(text.replace(" ", ""))


def test_tokens_across_the_border_and_equal_answers_are_refused() -> None:
    # One token for the colon at the end of the prompt and the blank behind it.
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: n for n, symbol in enumerate([*symbols, ":Ġ"])}
    joining = Tokenizer(models.BPE(vocab=vocabulary, merges=[(":", "Ġ")]))
    joining.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with pytest.raises(SaeflowError, match="joins the end of the prompt"):
        candidate_tokens(PreTrainedTokenizerFast(tokenizer_object=joining), PROMPT, "9.8", "9.11")
    with pytest.raises(SaeflowError, match="alike"):
        candidate_tokens(byte_tokenizer(), PROMPT, "9.8", "9.8")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_differences_are_those_of_a_plain_forward_pass(family: str) -> None:
    model = small_model(family)
    pairs = [("9.8", "9.11"), ("12", "7"), ("1.5", "1.25"), ("10.9", "10.11")]
    prompts = [f"{PROMPT[: 6 + 4 * n]}:" for n in range(len(pairs))]
    candidates = [
        candidate_tokens(model.tokenizer, prompt, *pair)
        for prompt, pair in zip(prompts, pairs, strict=True)
    ]
    for batch_size in (1, 3):
        found = logit_differences(model, candidates, batch_size=batch_size)
        for value, each in zip(found, candidates, strict=True):
            ids = torch.tensor([[*each.prompt, *each.shared]])
            logits = model.language_model(ids).logits[0, -1].detach().double()
            wanted = float(logits[each.true] - logits[each.other])
            assert wanted != 0
            assert value == pytest.approx(wanted, abs=1e-4)


def test_drawn_tokens_follow_the_probabilities_at_the_temperature() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    numbers = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    sampling = Sampling(0.6, numbers[:, None])
    drawn = sampling.draw(logits.expand(4000, -1), 0)
    shares = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(shares, (logits[0] / 0.6).softmax(-1), atol=1e-3, rtol=0)
    ends = Sampling(1.0, torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    assert ends.draw(logits.expand(2, -1), 0).tolist() == [0, 3]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_drawn_answer_does_not_depend_on_its_batch(family: str) -> None:
    model = small_model(family)
    rows = [list(model.tokenizer(text)["input_ids"]) for text in ("one", "another text", "x y z")]
    uniform = torch.from_numpy(np.random.default_rng(0).random((3, 6)))
    together = model.continue_rows(rows, max_new_tokens=6, sampling=Sampling(1.0, uniform))
    alone = [
        model.continue_rows([row], max_new_tokens=6, sampling=Sampling(1.0, uniform[n : n + 1]))[0]
        for n, row in enumerate(rows)
    ]
    assert together == alone
    assert together != model.continue_rows(rows, max_new_tokens=6)
