"""CODI: a language model that thinks in latent steps (methods/0, sections 1.1 to 1.3).

``question → s0 … s6 → answer``: step s0 reads the begin-of-thought token, steps s1 to s6 read the
latents z0 to z5, each the projection of the step before. Unlike the original code, attention masks
and position ids are explicit everywhere, so what a question gives does not depend on its batch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from saeflow.models.hooks import LastPositionTap
from saeflow.models.language_model import LanguageModel, last_of
from saeflow.models.reader import Reader

NUMBER = re.compile(r"-?\d+\.?\d*")


@dataclass(frozen=True)
class ThoughtTokens:
    """Ids behind the tokenizer's own (methods/0, section 1.1).

    Attributes
    ----------
    pad, begin, end : int
        Padding, begin of thought (``bot``), end of thought (``eot``).
    """

    pad: int
    begin: int
    end: int

    @classmethod
    def after(cls, vocabulary: int) -> ThoughtTokens:
        """Return the three ids that follow a vocabulary of the given size."""
        return cls(pad=vocabulary, begin=vocabulary + 1, end=vocabulary + 2)


class Projection(nn.Sequential):
    """Last hidden state → next latent: linear, GELU, linear, layer norm.

    State-dict names are those of the released checkpoints without their prefix ``prj``.

    Parameters
    ----------
    d_in : int
        Width of the residual stream.
    size : int
        Width in between.
    """

    def __init__(self, d_in: int, size: int) -> None:
        super().__init__(nn.Dropout(0.0), nn.Linear(d_in, size), nn.GELU(), nn.Linear(size, d_in))
        self.add_module("ln", nn.LayerNorm(d_in))


@dataclass(frozen=True)
class Thoughts:
    """What a batch of questions left.

    Attributes
    ----------
    activations : dict of str to Tensor of shape (batch, steps, layers, d_in)
        By hook (`saeflow.models.hooks.HOOKS`); steps s0 … s{latents}.
    answers : list of str
        Greedy answers, empty if none were asked for.
    """

    activations: dict[str, Float[Tensor, "batch steps layers d_in"]]
    answers: list[str]


class CodiModel(LanguageModel):
    """A causal language model with CODI's projection.

    Parameters
    ----------
    language_model : transformers.PreTrainedModel
        Llama or GPT-2 family, with embeddings for the thought tokens.
    projection : Projection
        Maps a last hidden state to the next latent.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its vocabulary ends before the thought tokens.
    tokens : ThoughtTokens
        Their ids.
    revision : str
        What identifies the weights; it goes into provenance.

    Attributes
    ----------
    number_waves : bool
        Whether the embeddings of whole numbers started as waves, and shall in a control, too
        (`saeflow.models.numbers.start_numbers`).
    """

    def __init__(
        self,
        language_model: PreTrainedModel,
        projection: Projection,
        tokenizer: PreTrainedTokenizerBase,
        tokens: ThoughtTokens,
        revision: str,
    ) -> None:
        super().__init__(language_model, tokenizer, revision)
        self.projection = projection.to(language_model.dtype).eval()
        self.tokens = tokens
        self.number_waves = False

    @property
    def pad_id(self) -> int:
        """Padding, an id of its own."""
        return self.tokens.pad

    @property
    def vocabulary(self) -> int:
        """Columns of logits that may be written: the original cuts the end-of-thought token."""
        return self.tokens.end

    @property
    def text_vocabulary(self) -> int:
        """Ids that stand for text: those before the thought tokens."""
        return self.tokens.pad

    @property
    def ends(self) -> list[int]:
        """The tokenizer's end-of-text token alone ends what is written (methods/0, section 1.2)."""
        return [int(self.tokenizer.eos_token_id)]

    @property
    def n_parameters(self) -> int:
        """Number of parameters, the projection's included; tied ones count once."""
        return super().n_parameters + sum(each.numel() for each in self.projection.parameters())

    def to(self, device: torch.device) -> CodiModel:
        """Move the weights and return the model."""
        self.projection.to(device)
        super().to(device)
        return self

    def question_ids(self, question: str) -> list[int]:
        """Token ids of a question, begin-of-thought token included (methods/0, section 1.2)."""
        return [*self.tokenizer(clean_question(question))["input_ids"], self.tokens.begin]

    @torch.no_grad()
    def think(
        self, questions: list[str], *, latents: int, max_new_tokens: int = 0, left_pad: bool = True
    ) -> Thoughts:
        """Think about a batch of questions and, if asked, answer them.

        Parameters
        ----------
        questions : list of str
            Plain questions, no template.
        latents : int
            Latent thoughts; there are ``latents + 1`` steps.
        max_new_tokens : int
            Longest greedy answer; 0 for none.
        left_pad : bool
            On which side shorter questions are padded; the result does not depend on it.

        Returns
        -------
        Thoughts
            Activations at every hook, layer and step, and the answers.

        Raises
        ------
        SaeflowError
            If a question, its thoughts and its answer do not fit the model's positions.
        """
        reader, activations = self.read_thoughts(
            questions, latents=latents, further=max_new_tokens, left_pad=left_pad
        )
        answers: list[str] = []
        if max_new_tokens:
            answers = self.texts(self.write(reader, max_new_tokens=max_new_tokens))
        return Thoughts(activations, answers)

    @torch.no_grad()
    def read_thoughts(
        self, questions: list[str], *, latents: int, further: int = 0, left_pad: bool = True
    ) -> tuple[Reader, dict[str, Float[Tensor, "batch steps layers d_in"]]]:
        """Think about a batch of questions and stay ready to go on.

        Parameters
        ----------
        questions : list of str
            Plain questions, no template.
        latents : int
            Latent thoughts.
        further : int
            Positions that will be read behind the end-of-thought token.
        left_pad : bool
            On which side shorter questions are padded.

        Returns
        -------
        reader : Reader
            It has read the questions and all thoughts; on the left, steps are its last positions.
        activations : dict of str to torch.Tensor of shape (batch, steps, layers, d_in)
            By hook (`saeflow.models.hooks.HOOKS`).

        Raises
        ------
        SaeflowError
            If a question and what follows it do not fit the model's positions.
        """
        rows = [self.question_ids(question) for question in questions]
        self._check_length(rows, latents + 1 + further, "a question with its thoughts and answer")
        ids, mask = self.pad(rows, left_pad=left_pad)
        reader = Reader(self.language_model, mask)
        steps: list[dict[str, Tensor]] = []
        with LastPositionTap(self.language_model) as tap:
            if left_pad:
                hidden = last_of(reader, self.language_model.get_input_embeddings()(ids))
            else:
                hidden = self._read_right_padded(reader, tap, ids, mask.sum(1) - 1)
            steps.append(tap.take())
            for _ in range(latents):
                hidden = last_of(reader, self.projection(hidden)[:, None])
                steps.append(tap.take())
        return reader, {
            hook: torch.stack([step[hook] for step in steps], dim=1) for hook in steps[0]
        }

    @torch.no_grad()
    def write(self, reader: Reader, *, max_new_tokens: int) -> list[list[int]]:
        """Answer greedily behind thoughts.

        Parameters
        ----------
        reader : Reader
            It has read questions and thoughts; it goes on from there.
        max_new_tokens : int
            Longest answer.

        Returns
        -------
        list of list of int
            Token ids, the end-of-text token included where the answer ends in time.
        """
        end = torch.full((len(reader.mask), 1), self.tokens.end, device=self.device)
        embed = self.language_model.get_input_embeddings()
        return self._go_on(reader, last_of(reader, embed(end)), max_new_tokens)

    def _read_right_padded(
        self,
        reader: Reader,
        tap: LastPositionTap,
        ids: Int[Tensor, "batch length"],
        last: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch d_in"]:
        """Read right-padded questions but for their begin token, then that token for all at once."""
        embed = self.language_model.get_input_embeddings()
        rows = torch.arange(len(ids), device=ids.device)
        reader.mask[rows, last] = 0
        reader.read(embed(ids))
        tap.take()
        begin = torch.full((len(ids), 1), self.tokens.begin, device=ids.device)
        return last_of(reader, embed(begin))


def clean_question(question: str) -> str:
    """Question as the model reads it (methods/0, section 1.2)."""
    return question.strip().replace("  ", " ")


def answer_number(text: str) -> float | None:
    """Number that an answer gives: the last one, commas deleted (methods/0, section 1.2).

    Returns
    -------
    float or None
        None where the original counts infinity: the text holds no number.
    """
    found: list[str] = NUMBER.findall(text.replace(",", ""))
    return float(found[-1]) if found else None
