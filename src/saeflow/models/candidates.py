"""Which token decides between two answers, and how a model weighs them there.

Answers such as `` 9.8 is`` and `` 9.11 is`` begin with the same tokens; the prompt is continued by
these, and the first token that differs is read (methods/4, section 5.6, "Do instead").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from transformers import PreTrainedTokenizerBase

from saeflow.errors import SaeflowError
from saeflow.models.capture import cut_batches
from saeflow.models.language_model import LanguageModel, last_of
from saeflow.models.reader import Reader


class Candidates(NamedTuple):
    """A prompt that is continued as far as two answers agree, and what follows in either.

    Attributes
    ----------
    prompt : list of int
        Tokens of the prompt.
    shared : list of int
        Tokens behind it in which both answers agree, perhaps none.
    true, other : int
        First token that differs.
    """

    prompt: list[int]
    shared: list[int]
    true: int
    other: int


def candidate_tokens(
    tokenizer: PreTrainedTokenizerBase, prompt: str, truth: str, other: str
) -> Candidates:
    """Find the token that decides which of two numbers an answer names first.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's.
    prompt : str
        Where it ends in a colon, a blank comes before the answer.
    truth, other : str
        The two numbers.

    Raises
    ------
    SaeflowError
        If the tokenizer joins the end of the prompt with the beginning of an answer, or writes both
        answers alike.
    """
    lead = " " if prompt.endswith(":") else ""
    ids = list(tokenizer(prompt)["input_ids"])
    answers = []
    for number in (truth, other):
        whole = list(tokenizer(f"{prompt}{lead}{number} is")["input_ids"])
        if whole[: len(ids)] != ids:
            raise SaeflowError(
                f"the tokenizer joins the end of the prompt {prompt[-20:]!r} with the answer "
                f"{number!r}; expected a format behind which an answer begins with a token of its own."
            )
        answers.append(whole[len(ids) :])
    right, wrong = answers
    pairs = zip(right, wrong, strict=False)
    place = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
    if place is None:
        raise SaeflowError(
            f"the tokenizer writes the answers {truth!r} and {other!r} alike; expected numbers that "
            "differ in a token."
        )
    return Candidates(ids, right[:place], right[place], wrong[place])


@torch.no_grad()
def logit_differences(
    model: LanguageModel, candidates: Sequence[Candidates], *, batch_size: int
) -> Float[np.ndarray, " prompts"]:
    """Logit of the true number's token minus that of the other's, behind what both answers share.

    Parameters
    ----------
    model : LanguageModel
        The model.
    candidates : sequence of Candidates
        Prompts of any lengths.
    batch_size : int
        Most prompts per forward pass.

    Returns
    -------
    numpy.ndarray of shape (prompts,), float64
        In nats, in the order given.
    """
    rows = [[*each.prompt, *each.shared] for each in candidates]
    found = np.empty(len(rows))
    embed = model.language_model.get_input_embeddings()
    for batch in cut_batches(np.array([len(row) for row in rows]), batch_size):
        ids, mask = model.pad([rows[n] for n in batch], left_pad=True)
        logits = model.logits(last_of(Reader(model.language_model, mask), embed(ids))).double()
        pairs = torch.tensor([[candidates[n].true, candidates[n].other] for n in batch])
        both = logits.gather(1, pairs.to(model.device))
        found[batch] = (both[:, 0] - both[:, 1]).cpu().numpy()
    return found
