"""Texts on which specialists are strongest, token by token, for a reader to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32, Int

from saeflow.artifacts.specialists import SPECIALIST_EXAMPLES
from saeflow.errors import SaeflowError
from saeflow.models.capture import token_texts
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import EncodedTokens, encode_texts
from saeflow.studies.specialists.behaviour import SpecialistFeature, check_specialists, token_spans
from saeflow.studies.specialists.rows import Key


class _Example(NamedTuple):
    """One feature on one text.

    Attributes
    ----------
    size : float
        Largest absolute value on a token.
    text : int
        Number of the text.
    values : numpy.ndarray of float32, shape (tokens,)
        NaN on tokens before the text.
    """

    size: float
    text: int
    values: Float32[np.ndarray, " tokens"]


class _Pieces(NamedTuple):
    """A text cut as a reader sees it.

    Attributes
    ----------
    shown : list of str
        What was put before the text, then parts that give the text when joined.
    of_token : numpy.ndarray of int64, shape (tokens,)
        Part that each token belongs to.
    """

    shown: list[str]
    of_token: Int[np.ndarray, " tokens"]


def top_texts(
    model: LanguageModel,
    bank: Bank,
    contents: Sequence[str],
    features: Sequence[tuple[int, int]],
    run: Key,
    *,
    keep: int = 10,
    batch_size: int = 32,
) -> pa.Table:
    """Find the texts on which features are strongest, in one pass.

    Only the best texts so far are held, so that memory does not grow with their number.

    Parameters
    ----------
    model, bank
        Model and SAEs of its tokens.
    contents : sequence of str
        The texts; their place is their number.
    features : sequence of (int, int)
        Block and index in its SAE; the same one twice is listed once.
    run : mapping
        Values of the key columns dictionary and seed.
    keep : int
        Most texts of a feature: those with the largest absolute value on a token; of equal ones those
        that come first.
    batch_size : int
        Most texts per forward pass.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.specialists.SPECIALIST_EXAMPLES`. Texts on which a feature is
        silent are not listed.

    Raises
    ------
    SaeflowError
        If the bank lacks a feature, no text is to be kept, the tokenizer does not tell where its
        tokens are in a text, or as `encode_texts` does.
    """
    wanted = list(dict.fromkeys((int(layer), int(feature)) for layer, feature in features))
    check_specialists(bank, [SpecialistFeature(*each, "the examples") for each in wanted])
    if keep < 1:
        raise SaeflowError(f"{keep} texts are to be kept of each feature; expected 1 or more.")
    # So that a tokenizer that cannot tell is refused before anything is read.
    token_spans(model, "")
    best: dict[tuple[int, int], list[_Example]] = {each: [] for each in wanted}
    for batch in encode_texts(model, bank, contents, batch_size=batch_size):
        for each, found in _examples(batch, wanted, keep):
            ranked = sorted(
                [*best[each], *found], key=lambda example: (-example.size, example.text)
            )
            best[each] = ranked[:keep]
    chosen = {example.text for examples in best.values() for example in examples}
    pieces = {text: _pieces(model, contents[text]) for text in sorted(chosen)}
    rows = [
        {
            "dictionary": run["dictionary"],
            "seed": run["seed"],
            "layer": layer,
            "feature": feature,
            "rank": rank,
            **_columns(example, pieces[example.text]),
        }
        for (layer, feature), examples in best.items()
        for rank, example in enumerate(examples)
    ]
    return pa.Table.from_pylist(rows, SPECIALIST_EXAMPLES.schema())


def _examples(
    batch: EncodedTokens, wanted: Sequence[tuple[int, int]], keep: int
) -> Iterator[tuple[tuple[int, int], list[_Example]]]:
    """The best texts of a batch, feature by feature."""
    texts, begin = batch.text.cpu().numpy(), batch.begin.cpu().numpy()
    # Tokens of one text are beside one another.
    starts = np.flatnonzero(np.diff(texts, prepend=-1))
    ends = [*starts[1:].tolist(), len(texts)]
    for layer, encoded in batch.features.items():
        own = [each for each in wanted if each[0] == layer]
        columns = encoded[:, [feature for _, feature in own]].float().cpu().numpy()
        columns[begin] = np.nan
        sizes = np.maximum.reduceat(np.abs(np.nan_to_num(columns)), starts, axis=0)
        for number, each in enumerate(own):
            order = np.lexsort((texts[starts], -sizes[:, number]))[:keep]
            yield (
                each,
                [
                    _Example(
                        float(sizes[place, number]),
                        int(texts[starts[place]]),
                        columns[starts[place] : ends[place], number].copy(),
                    )
                    for place in order.tolist()
                    if sizes[place, number] > 0
                ],
            )


def _pieces(model: LanguageModel, text: str) -> _Pieces:
    """Cut a text between its tokens, but never inside a character.

    A tokenizer of bytes needs several tokens for an emoji, and some leave blanks out of what they call
    a token's place: a part therefore reaches to where the next one begins.
    """
    first, spans = begin_tokens(model), token_spans(model, text)
    ids = np.array(model.tokenizer(text)["input_ids"][:first], np.int64)
    cuts, reached, numbers = [0], 0, list(range(first))
    for start, end in spans[first:]:
        if reached and start >= reached and end > start:
            cuts.append(reached)
        reached = max(reached, end)
        numbers.append(first + len(cuts) - 1)
    ends = [*cuts[1:], len(text)]
    # Without a token there is no part, not an empty one.
    parts = [text[start:end] for start, end in zip(cuts, ends, strict=True) if end > start]
    return _Pieces([*token_texts(model, ids), *parts], np.array(numbers, np.int64))


def _columns(example: _Example, pieces: _Pieces) -> dict[str, Any]:
    values = [
        _largest(example.values[pieces.of_token == part]) for part in range(len(pieces.shown))
    ]
    return {
        "text": example.text,
        "value": _largest(example.values[~np.isnan(example.values)]),
        "tokens": pieces.shown,
        "activations": [None if np.isnan(value) else value for value in values],
    }


def _largest(values: Float[np.ndarray, " some"]) -> float:
    """The value that is farthest from 0, with its sign."""
    return float(values[np.abs(values).argmax()])
