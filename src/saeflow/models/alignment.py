"""Which token of a prompt corresponds to which of another (methods/4, section 5.6.2).

The study wrote what stood at place i of one prompt to place i of the other, where another word was.
Here a token has a key, which says what it is, and tokens with equal keys correspond.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from saeflow.datasets.comparisons.prompts import FIRST, SECOND, Prompt
from saeflow.errors import SaeflowError

BEGIN, TEXT, LAST = "begin", "text", "last"
OPENING, END, WHOLE = "opening", "end", "whole"
Key = tuple[str | int, ...]
"""What a token is: ``("begin",)``, ``("first", i)``, ``("text", text, part, i)``, ``("last",)`` …"""
Numbers = Literal["value", "place"]
"""Whether the tokens of a number correspond to those of the same number, or of that in its place."""


class AlignmentRow(NamedTuple):
    """A token of a prompt and its counterpart in another prompt.

    Attributes
    ----------
    form, order : str
        Format and order of the prompt.
    item : int
        Number of its pair.
    other_form : str
        Format of the other prompt.
    token : int
        Place of the token, from 0.
    text : str
        The token's text; a special token's name where the prompt does not hold it.
    key : str
        What the token is.
    other_token : int or None
        Place of its counterpart.
    """

    form: str
    order: str
    item: int
    other_form: str
    token: int
    text: str
    key: str
    other_token: int | None


class _Token(NamedTuple):
    """A token and where it is, in characters, the blanks before it left out."""

    text: str
    start: int
    end: int
    begins: bool


def token_keys(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    spans: Mapping[str, tuple[int, int]],
    *,
    name: str = "a prompt",
) -> list[Key]:
    """Say what each token of a prompt is.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        A fast one, which tells the characters of a token.
    text : str
        The prompt.
    spans : mapping of str to (int, int)
        Start and end of ``first``, ``second`` and ``adjective``, in characters; empty for a text that
        compares nothing.
    name : str
        What errors call the prompt.

    Returns
    -------
    list of tuple
        One key per token, all different. ``("begin",)``: the begin-of-text token. ``(field, i)``: the
        i-th token of a field. ``("text", text, part, i)``: any other, the i-th one of this text,
        blanks before it left out, within its part of the prompt: ``opening`` before all fields, else
        named by the field that comes next, or ``end``; ``whole`` if there are no fields. Without
        the part, the colon of ``Q:`` would correspond to that of ``bigger:``. ``("last",)``: the last
        token, whatever it is.

    Raises
    ------
    SaeflowError
        If the tokenizer cannot tell where its tokens are, there is no token, or one holds a part of a
        field and something else beside it.
    """
    tokens = _tokens(tokenizer, text, name)
    ordered = sorted(spans.items(), key=lambda item: item[1])
    keys: list[Key] = []
    counts: Counter[Key] = Counter()
    for place, token in enumerate(tokens):
        kind = _kind(token, ordered, text, name)
        if place == len(tokens) - 1:
            if kind[0] in spans:
                raise SaeflowError(
                    f"{name} {text!r} ends in the {kind[0]} field; expected text behind it, where "
                    "the answer is decided."
                )
            keys.append((LAST,))
        elif token.begins:
            keys.append((BEGIN,))
        else:
            keys.append((*kind, counts[kind]))
            counts[kind] += 1
    return keys


def align(
    source: Sequence[Key],
    target: Sequence[Key],
    *,
    swapped: bool = False,
    names: tuple[str, str] = ("a prompt", "another"),
) -> list[tuple[int, int]]:
    """Pair the tokens of two prompts that are the same thing.

    Parameters
    ----------
    source, target : sequence of tuple
        Keys, as `token_keys` gives them.
    swapped : bool
        Pair the first number of the source with the second of the target, and the second with the
        first.
    names : tuple of str
        What errors call the prompts.

    Returns
    -------
    list of (int, int)
        Places in the source and in the target, in the order of the source.

    Raises
    ------
    SaeflowError
        If a field that both have takes different numbers of tokens, or no token has a counterpart.
    """
    exchanged: dict[str | int, str] = {FIRST: SECOND, SECOND: FIRST} if swapped else {}
    wanted = [(exchanged.get(key[0], key[0]), *key[1:]) for key in source]
    counts, others = (
        Counter(key[0] for key in keys if _in_field(key)) for keys in (wanted, target)
    )
    for field in counts.keys() & others.keys():
        if counts[field] != others[field]:
            raise SaeflowError(
                f"{names[0]} and {names[1]} cannot be aligned: the tokenizer cuts the {field} field "
                f"of the latter into {others[field]} tokens and its counterpart into "
                f"{counts[field]}; expected as many."
            )
    places = {key: place for place, key in enumerate(target)}
    pairs = [(place, places[key]) for place, key in enumerate(wanted) if key in places]
    if not pairs:
        raise SaeflowError(
            f"{names[0]} and {names[1]} cannot be aligned: no token of the one is in the other."
        )
    return pairs


def prompt_keys(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[Key]:
    """Say what each token of a prompt about two numbers is; see `token_keys`."""
    return token_keys(tokenizer, prompt.text, prompt.spans, name=_name(prompt))


def align_prompts(
    tokenizer: PreTrainedTokenizerBase, source: Prompt, target: Prompt, *, numbers: Numbers
) -> list[tuple[int, int]]:
    """Pair the tokens of two prompts about numbers.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The model's.
    source, target : Prompt
        Of one pair in two formats or orders, or of two pairs.
    numbers : str
        ``value``: the tokens of a number are paired with those of the same number, wherever it is;
        ``place``: with those of the number in the same place, whatever it is.

    Returns
    -------
    list of (int, int)
        Places in the source and in the target, in the order of the source.

    Raises
    ------
    SaeflowError
        As `token_keys` and `align` do, or if the prompts compare other numbers and ``value`` is
        asked for.
    """
    swapped = False
    if numbers == "value":
        compared, others = (source.first, source.second), (target.first, target.second)
        swapped = compared == others[::-1]
        if not swapped and compared != others:
            raise SaeflowError(
                f"{_name(source)} compares {' and '.join(compared)}, {_name(target)} compares "
                f"{' and '.join(others)}; expected the same numbers, or numbers aligned by place."
            )
    return align(
        prompt_keys(tokenizer, source),
        prompt_keys(tokenizer, target),
        swapped=swapped,
        names=(_name(source), _name(target)),
    )


def alignment_rows(
    tokenizer: PreTrainedTokenizerBase, source: Prompt, target: Prompt, *, numbers: Numbers
) -> list[AlignmentRow]:
    """Tell for each token of a prompt which token of another one corresponds to it.

    Parameters
    ----------
    tokenizer, source, target, numbers
        As for `align_prompts`, which also raises what this does.

    Returns
    -------
    list of AlignmentRow
        One per token of the source.
    """
    counterparts = dict(align_prompts(tokenizer, source, target, numbers=numbers))
    ids = tokenizer(source.text)["input_ids"]
    tokens = _tokens(tokenizer, source.text, _name(source))
    return [
        AlignmentRow(
            source.form,
            source.order,
            source.item,
            target.form,
            place,
            token.text or str(tokenizer.convert_ids_to_tokens(ids[place])),
            key_text(key),
            counterparts.get(place),
        )
        for place, (token, key) in enumerate(
            zip(tokens, prompt_keys(tokenizer, source), strict=True)
        )
    ]


def key_text(key: Key) -> str:
    """Write a key as text, such as ``first 0``, ``'or' before second 0`` or ``last``."""
    if key[0] != TEXT:
        return " ".join(map(str, key))
    _, text, part, number = key
    where = part if part in (OPENING, END, WHOLE) else f"before {part}"
    return f"{text!r} {where} {number}"


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, name: str) -> list[_Token]:
    if not tokenizer.is_fast:
        raise SaeflowError(
            f"the tokenizer {type(tokenizer).__name__} does not tell where its tokens are in "
            f"{name}; expected a fast one."
        )
    read = tokenizer(text, return_offsets_mapping=True)
    tokens = []
    for place, (token, (start, end)) in enumerate(
        zip(read["input_ids"], read["offset_mapping"], strict=True)
    ):
        begins = place == 0 and token == tokenizer.bos_token_id
        piece = text[start:end]
        bare = piece.lstrip(" ")
        start += len(piece) - len(bare)
        tokens.append(_Token(piece, start, end, begins))
    if not tokens:
        raise SaeflowError(f"{name} {text!r} has no token; expected one at least.")
    return tokens


def _kind(
    token: _Token, ordered: Sequence[tuple[str, tuple[int, int]]], text: str, name: str
) -> Key:
    """Field of a token, or its text and the part of the prompt that it is in."""
    for field, (start, end) in ordered:
        if max(start, token.start) < min(end, token.end):
            if start <= token.start and token.end <= end:
                return (field,)
            raise SaeflowError(
                f"the tokenizer joins {text[start:end]!r} in {name} with what is beside it, in the "
                f"token {token.text!r}; expected a format in which the {field} field has tokens of "
                "its own."
            )
    bare = token.text.lstrip(" ") or token.text
    if not ordered:
        return (TEXT, bare, WHOLE)
    if token.end <= ordered[0][1][0]:
        return (TEXT, bare, OPENING)
    following = (field for field, (start, _) in ordered if token.end <= start)
    return (TEXT, bare, next(following, END))


def _in_field(key: Key) -> bool:
    return key[0] not in (BEGIN, TEXT, LAST)


def _name(prompt: Prompt) -> str:
    return f"pair {prompt.item} in the format {prompt.form}, {prompt.order},"
