"""What a model writes while it is steered, and how far that is from what it would have written.

Every pair of a prompt and a vector is a job, written as often as there are samples. Jobs of any
conditions share forward passes, since each row has a vector of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.edits import steer
from saeflow.interventions.readings import cut
from saeflow.interventions.steering import at_tokens
from saeflow.interventions.writing import Edits, Writer, padded
from saeflow.models.capture import cut_batches
from saeflow.models.conventions import HookedLayer
from saeflow.models.hooks import editing
from saeflow.models.language_model import LanguageModel
from saeflow.models.reader import Reader
from saeflow.models.sampling import Sampling
from saeflow.models.token_capture import begin_tokens
from saeflow.progress import progress
from saeflow.seeds import numpy_generator


@dataclass(frozen=True)
class Continuations:
    """What was written behind the prompts of some jobs.

    Attributes
    ----------
    job, sample : numpy.ndarray of int64, shape (rows,)
        Of each continuation.
    tokens : list of list of int
        Token ids of each, never empty, the end included where one is written in time.
    kl : numpy.ndarray of float64, shape (rows,)
        Kullback-Leibler divergence of the next token from the unsteered model's distribution to the
        steered one's, both behind the same steered text; mean over its tokens, in nats.
    surprisal : numpy.ndarray of float64, shape (rows,)
        Minus the log-probability of a token under the unsteered model, mean over the tokens, in nats.
    """

    job: Int[np.ndarray, " rows"]
    sample: Int[np.ndarray, " rows"]
    tokens: list[list[int]]
    kl: Float[np.ndarray, " rows"]
    surprisal: Float[np.ndarray, " rows"]


def prompt_tokens(
    model: LanguageModel, prompts: Sequence[str], *, begin: bool = True
) -> list[list[int]]:
    """Token ids of prompts, with what the tokenizer puts before a text or without it.

    Raises
    ------
    SaeflowError
        If a prompt has no token to write behind.
    """
    first = 0 if begin else begin_tokens(model)
    rows = [list(model.tokenizer(prompt)["input_ids"])[first:] for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        if not row:
            raise SaeflowError(f"the prompt {prompt!r} has no token; expected one at least.")
    return rows


def uniform_numbers(
    prompts: Sequence[str], samples: int, new: int, *names: int | str
) -> Float[np.ndarray, "prompts samples new"]:
    """Numbers from 0 to 1 that draw the tokens of each sample of each prompt.

    They belong to the text of the prompt and to the sample: neither another prompt nor a longer
    continuation changes them, and every condition has the same, so that conditions are paired.

    Parameters
    ----------
    prompts : sequence of str
        What is continued.
    samples, new : int
        Continuations of each, and their tokens at most.
    *names : int or str
        Seed and stage.
    """
    drawn = [
        [numpy_generator(*names, prompt, sample).random(new) for sample in range(samples)]
        for prompt in prompts
    ]
    return np.array(drawn, np.float64).reshape(len(prompts), samples, new)


def steered_continuations(
    model: LanguageModel,
    place: HookedLayer,
    prompts: Sequence[Sequence[int]],
    jobs: Int[np.ndarray, " jobs"],
    vectors: Float[Tensor, "jobs d_in"],
    *,
    max_new_tokens: int,
    uniform: Float[np.ndarray, "prompts samples new"] | None = None,
    temperature: float = 1.0,
    untouched: int | None = None,
    batch_size: int = 32,
) -> Iterator[Continuations]:
    """Write everything that `SteeredWriting`, with the same parameters, plans.

    Yields
    ------
    Continuations
        One per batch; shorter prompts first, samples of a job side by side.

    Raises
    ------
    SaeflowError
        If the model has no such place, a prompt is empty or does not fit the model's positions with
        its continuation, or too few numbers are given.
    """
    writing = SteeredWriting(
        model,
        place,
        prompts,
        jobs,
        vectors,
        max_new_tokens=max_new_tokens,
        uniform=uniform,
        temperature=temperature,
        untouched=untouched,
        batch_size=batch_size,
    )
    total = len(writing.batches)
    for batch in progress(range(total), description="writing", total=total, unit="batches"):
        yield writing.write(batch)


class SteeredWriting:
    """Adds a vector to every token of a prompt and of what is written behind it, batch by batch.

    What a row gives does not depend on the rows beside it but for the last bits of sums.

    Parameters
    ----------
    model : LanguageModel
        The model; its thoughts are not used, and only tokens of its tokenizer are written.
    place : HookedLayer
        Where the vectors are added: any of `saeflow.models.hooks.TOKEN_HOOKS`.
    prompts : sequence of sequence of int
        Token ids, none empty.
    jobs : numpy.ndarray of int, shape (jobs,)
        Which prompt each job continues.
    vectors : torch.Tensor of shape (jobs, d_in), on any device
        What is added; 0 leaves the model as it is.
    max_new_tokens : int
        Longest continuation.
    uniform : numpy.ndarray of float64, shape (prompts, samples, new), optional
        As of `uniform_numbers`, for `max_new_tokens` or more; None: one greedy continuation.
    temperature : float
        Divides the logits of what is drawn; the measures are always taken at 1.
    untouched : int, optional
        Tokens at the begin of each prompt that are not edited; None: those that the tokenizer puts
        before every text.
    batch_size : int
        Continuations per forward pass.

    Attributes
    ----------
    batches : list of numpy.ndarray of int
        Jobs that are written together, shorter prompts first.

    Raises
    ------
    SaeflowError
        If the model has no such place, a prompt is empty or does not fit the model's positions with
        its continuation, or too few numbers are given.
    """

    def __init__(
        self,
        model: LanguageModel,
        place: HookedLayer,
        prompts: Sequence[Sequence[int]],
        jobs: Int[np.ndarray, " jobs"],
        vectors: Float[Tensor, "jobs d_in"],
        *,
        max_new_tokens: int,
        uniform: Float[np.ndarray, "prompts samples new"] | None = None,
        temperature: float = 1.0,
        untouched: int | None = None,
        batch_size: int = 32,
    ) -> None:
        self._samples = 1 if uniform is None else uniform.shape[1]
        lengths = np.array([len(prompts[job]) for job in jobs], np.int64)
        _check(model, lengths, max_new_tokens, uniform)
        skipped = begin_tokens(model) if untouched is None else untouched
        self._author = _Author(model, place, skipped)
        self._prompts, self._jobs, self._vectors = prompts, jobs, vectors
        self._limit, self._uniform, self._temperature = max_new_tokens, uniform, temperature
        self._device = model.device
        self.batches = list(cut_batches(lengths, max(1, batch_size // self._samples)))

    def write(self, batch: int) -> Continuations:
        """Write the jobs of one batch, samples of a job side by side."""
        numbers, samples, sampling = self.batches[batch], self._samples, None
        rows = [self._prompts[self._jobs[number]] for number in numbers]
        if self._uniform is not None:
            drawn = torch.from_numpy(self._uniform[self._jobs[numbers]]).flatten(0, 1)
            sampling = Sampling(self._temperature, drawn.to(self._device))
        chosen = self._vectors[torch.from_numpy(numbers).to(self._vectors.device)]
        vectors = chosen.float().to(self._device)
        tokens, kl, surprisal = self._author.write(rows, vectors, samples, sampling, self._limit)
        return Continuations(
            np.repeat(numbers, samples),
            np.tile(np.arange(samples), len(numbers)),
            tokens,
            kl,
            surprisal,
        )


class _Author:
    """A model that writes while it is steered at one place."""

    def __init__(self, model: LanguageModel, place: HookedLayer, untouched: int) -> None:
        self._model, self._place, self._untouched = model.language_model, place, untouched
        self._writer = Writer(model.language_model, model.ends, vocabulary=model.text_vocabulary)

    # Not on the generator above, whose caller would compute without gradients between batches.
    @torch.no_grad()
    def write(
        self,
        prompts: Sequence[Sequence[int]],
        vectors: Float[Tensor, "jobs d_in"],
        samples: int,
        sampling: Sampling | None,
        limit: int,
    ) -> tuple[list[list[int]], Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Tokens, KL and surprisal of every sample of every job."""
        device = self._model.device
        ids, lengths = padded(prompts, device, left=True)
        start = ids.shape[1] - lengths[:, None]
        positions = torch.arange(ids.shape[1], device=device)
        mask = positions >= start
        edits = self._edits(vectors, positions >= start + self._untouched)
        # The samples of a job read their prompt together.
        rows = torch.arange(len(ids), device=device).repeat_interleave(samples)
        plain, before = self._read(ids, mask, rows)
        with editing(self._model, edits):
            steered, first = self._read(ids, mask, rows)
        repeated = vectors[rows]
        one = self._edits(repeated, mask.new_ones(len(rows), 1))
        token = self._writer.choose(first, sampling)
        after = [first]
        tokens = self._writer.go_on(steered, token, limit, lambda _: one, sampling, after.append)
        # What nothing is added to is compared with itself: one pass and many differ in last bits.
        pushed = (repeated != 0).any(1)
        kl, surprisal = self._measured(plain, before, torch.stack(after, dim=1), pushed, tokens)
        return tokens, kl, surprisal

    def _read(
        self,
        ids: Int[Tensor, "jobs length"],
        mask: Bool[Tensor, "jobs length"],
        rows: Int[Tensor, " rows"],
    ) -> tuple[Reader, Float[Tensor, "rows d_in"]]:
        """Readers behind the prompts, a row for each sample, and what they carry last."""
        reader = Reader(self._model, mask.long())
        hidden = reader.read(self._model.get_input_embeddings()(ids)).last_hidden_state[:, -1]
        return reader.fork(rows=rows), hidden[rows]

    def _measured(
        self,
        plain: Reader,
        before: Float[Tensor, "rows d_in"],
        after: Float[Tensor, "rows new d_in"],
        pushed: Bool[Tensor, " rows"],
        tokens: Sequence[Sequence[int]],
    ) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
        """Let the unsteered model read what was written, in one pass, and compare."""
        ids, lengths = padded(tokens, self._model.device)
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        unsteered = before[:, None]
        if ids.shape[1] > 1:
            read = self._writer.read(plain, ids[:, :-1], lengths - 1)
            unsteered = torch.cat([unsteered, read], dim=1)
        steered = torch.where(pushed[:, None, None], after[:, : ids.shape[1]], unsteered)
        kl = torch.zeros(real.shape, dtype=torch.float64, device=ids.device)
        surprisal = torch.zeros_like(kl)
        kl[real], surprisal[real] = self._distances(unsteered[real], steered[real], ids[real])
        means = (torch.stack([kl, surprisal]).sum(2) / lengths).cpu().numpy()
        return means[0], means[1]

    def _distances(
        self,
        before: Float[Tensor, "some d_in"],
        after: Float[Tensor, "some d_in"],
        tokens: Int[Tensor, " some"],
    ) -> tuple[Float[Tensor, " some"], Float[Tensor, " some"]]:
        """KL and surprisal of tokens, from hidden states after the final norm."""
        divergences, surprisals = [], []
        step = self._writer.step
        for old, new, token in zip(
            cut(before, step), cut(after, step), cut(tokens, step), strict=True
        ):
            expected = self._writer.log_probabilities(old)
            steered = self._writer.log_probabilities(new)
            divergences.append((expected.exp() * (expected - steered)).sum(-1).double())
            surprisals.append(-expected.gather(1, token[:, None])[:, 0].double())
        return torch.cat(divergences), torch.cat(surprisals)

    def _edits(
        self, vectors: Float[Tensor, "rows d_in"], tokens: Bool[Tensor, "rows length"]
    ) -> Edits:
        return {(self._place.hook, self._place.layer): at_tokens(steer(vectors), tokens)}


def _check(
    model: LanguageModel,
    lengths: Int[np.ndarray, " jobs"],
    new: int,
    uniform: Float[np.ndarray, "prompts samples numbers"] | None,
) -> None:
    limit = int(model.language_model.config.max_position_embeddings)
    if len(lengths) and int(lengths.max()) + new > limit:
        raise SaeflowError(
            f"a prompt with its continuation takes {int(lengths.max()) + new} positions; the model has "
            f"{limit}. Shorten max_new_tokens or leave the prompt out."
        )
    if len(lengths) and int(lengths.min()) == 0:
        raise SaeflowError("a prompt has no token; expected one at least.")
    if uniform is not None and uniform.shape[2] < new:
        raise SaeflowError(
            f"{uniform.shape[2]} numbers are drawn for {new} new tokens; expected one for each."
        )
