"""Which pairs of numbers are patched, and which others they get activations from."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from transformers import PreTrainedTokenizerBase

from saeflow.datasets.comparisons.formats import GIVEN
from saeflow.datasets.comparisons.pairs import PUBLISHED_ITEM
from saeflow.datasets.comparisons.prompts import FIELDS, Prompt
from saeflow.datasets.texts.decimals import UNEQUAL
from saeflow.errors import SaeflowError
from saeflow.models.alignment import Key, prompt_keys
from saeflow.seeds import derive_seed
from saeflow.studies.decimal_bug.bug import is_prone
from saeflow.studies.decimal_bug.names import BUGGY, FORMS, PLAIN

_AGAIN, _OTHER_ADJECTIVE = 1e3, 1.0
"""What it costs that a pair gives activations once more, and that another adjective is asked about."""
_DRAWN = 2.0**-64
"""Turns a seed into a cost that decides between equals only."""


def prone_prompts(prompts: Sequence[Prompt], half: str, count: int) -> dict[str, list[Prompt]]:
    """Ask about the first prone pairs of a half, in the buggy and in the plain format.

    Pairs are not chosen by how they are answered, so that a share of right answers is one of all.

    Parameters
    ----------
    prompts : sequence of Prompt
        What can be asked.
    half : str
        ``choose`` or ``report``.
    count : int
        Most pairs.

    Returns
    -------
    dict of str to list of Prompt
        By ``buggy`` and ``plain``, the same pairs in the same order, numbers as they were drawn.

    Raises
    ------
    SaeflowError
        If the half has no prone pair in one of both formats.
    """
    found: dict[str, dict[int, Prompt]] = {form: {} for form in FORMS}
    for each in prompts:
        for form, name in FORMS.items():
            if is_prone(each) and (each.half, each.form, each.order) == (half, name, GIVEN):
                found[form][each.item] = each
    items = [item for item in found[BUGGY] if item in found[PLAIN]][:count]
    if not items:
        raise SaeflowError(
            f"the half {half} has no prone pair in the formats {' and '.join(FORMS.values())}; "
            "expected one at least."
        )
    return {form: [each[item] for item in items] for form, each in found.items()}


def own_prompts(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Ask about the study's own pair, as `prone_prompts` asks about others.

    Raises
    ------
    SaeflowError
        If it is not among the prompts in both formats.
    """
    own = {
        each.form: each for each in prompts if (each.item, each.order) == (PUBLISHED_ITEM, GIVEN)
    }
    if not {*FORMS.values()} <= own.keys():
        raise SaeflowError(
            "the study's own pair is not among the prompts in the formats "
            f"{' and '.join(FORMS.values())}; expected it in both."
        )
    return {form: [own[name]] for form, name in FORMS.items()}


def other_pairs(
    asked: Mapping[str, Sequence[Prompt]], keys: Mapping[str, Sequence[Sequence[Key]]], seed: int
) -> list[int]:
    """Choose for each pair another one whose tokens can be put in place of its own.

    It has no number in common with the pair, and as many tokens in each number and in the adjective.
    Its bigger number comes in the other place, so that a model that copies which place the donor's
    answer had is wrong and cannot pass for one that got rid of the bug. Where no pair is like that,
    one whose bigger number has the same place is taken, and the log tells. Each pair gives its activations
    to as few others as can be, and of what is left the same adjective is preferred.

    Parameters
    ----------
    asked : mapping of str to sequence of Prompt
        As `prone_prompts` gives them.
    keys : mapping of str to sequence of sequence of tuple
        What their tokens are.
    seed : int
        Seed of the choice.

    Returns
    -------
    list of int
        For each pair the number of the other one.

    Raises
    ------
    SaeflowError
        If there is none.
    """
    pairs, shapes = asked[BUGGY], _shapes(keys)
    costs = np.full((len(pairs), len(pairs)), np.inf)
    for row, pair in enumerate(pairs):
        fitting = [
            number
            for number, other in enumerate(pairs)
            if shapes[number] == shapes[row] and not numbers_of(pair) & numbers_of(other)
        ]
        elsewhere = [number for number in fitting if _place(pairs[number]) != _place(pair)]
        for number in elsewhere or fitting:
            costs[row, number] = _preference(pair, pairs[number], seed, "other pair")
        if np.isinf(costs[row]).all():
            raise SaeflowError(
                f"pair {pair.item} has no other prone pair of the half {pair.half} beside it whose "
                "numbers and adjective take as many tokens and are not its own; ask for more pairs "
                "(patching.pairs, and pairs.per_stratum, of which a half is used)."
            )
    chosen = _assigned(costs)
    same_place = sum(
        _place(pairs[number]) == _place(pair) for pair, number in zip(pairs, chosen, strict=True)
    )
    if same_place:
        logging.getLogger("saeflow").info(
            "%d of %d pairs of the half %s get another pair whose bigger number has the same place, "
            "because the tokenizer leaves none where it has the other one",
            same_place,
            len(pairs),
            pairs[0].half,
        )
    return chosen


def unlike_prompts(
    asked: Mapping[str, Sequence[Prompt]],
    keys: Mapping[str, Sequence[Sequence[Key]]],
    prompts: Sequence[Prompt],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> dict[str, list[Prompt]]:
    """Choose for each prone pair one of the same half that is not prone, and whose answer looks other.

    The bigger number of a prone pair is the one with fewer digits, so any other prone pair's answer has
    the shape of its own, right or wrong as it is. Here the number with more digits is the bigger one,
    in the place where that of the pair is the smaller one; no bug changes its answer. Each pair gives its
    activations to as few others as can be.

    Parameters
    ----------
    asked : mapping of str to sequence of Prompt
        As `prone_prompts` gives them.
    keys : mapping of str to sequence of sequence of tuple
        What their tokens are.
    prompts : sequence of Prompt
        What can be asked.
    tokenizer : transformers.PreTrainedTokenizerBase
        Cuts them.
    seed : int
        Seed of the choice.

    Returns
    -------
    dict of str to list of Prompt
        By ``buggy`` and ``plain``, one for each pair; the same one is chosen again where there are too few.

    Raises
    ------
    SaeflowError
        If there is none.
    """
    pairs, shapes = asked[BUGGY], _shapes(keys)
    forms: dict[tuple[int, str], dict[str, Prompt]] = {}
    for each in prompts:
        if each.stratum == UNEQUAL and each.half == pairs[0].half:
            forms.setdefault((each.item, each.order), {})[each.form] = each
    found = [each for each in forms.values() if {*FORMS.values()} <= each.keys()]
    cut = {
        form: [prompt_keys(tokenizer, each[name]) for each in found] for form, name in FORMS.items()
    }
    others = _shapes(cut)
    items = sorted({each[FORMS[BUGGY]].item for each in found})
    # Of both orders of a pair at most one has its bigger number in the other place.
    fitting: dict[tuple[int, int], dict[str, Prompt]] = {}
    costs = np.full((len(pairs), len(items)), np.inf)
    for row, pair in enumerate(pairs):
        for number, forms_of in enumerate(found):
            other = forms_of[FORMS[BUGGY]]
            if (
                others[number] == shapes[row]
                and _place(other) != _place(pair)
                and not numbers_of(pair) & numbers_of(other)
            ):
                place = items.index(other.item)
                fitting[row, place] = forms_of
                costs[row, place] = _preference(pair, other, seed, "unlike pair")
        if np.isinf(costs[row]).all():
            raise SaeflowError(
                f"pair {pair.item} has no pair of the kind {UNEQUAL} of the half {pair.half} beside it "
                "whose numbers and adjective take as many tokens and whose bigger number has the other "
                "place; ask for more pairs (pairs.per_stratum), or leave out the donors "
                "unlike_pair_plain and unlike_pair_buggy (patching.donors)."
            )
    chosen = [fitting[row, place] for row, place in enumerate(_assigned(costs))]
    return {form: [each[name] for each in chosen] for form, name in FORMS.items()}


def _preference(pair: Prompt, other: Prompt, seed: int, name: str) -> float:
    """What it costs to take one pair rather than another that fits as well."""
    drawn = derive_seed(seed, "decimal_bug", name, pair.item, other.item)
    return _OTHER_ADJECTIVE * (other.adjective != pair.adjective) + _DRAWN * drawn


def _assigned(costs: Float[np.ndarray, "rows donors"]) -> list[int]:
    """Give each row a donor, each donor to as few rows as can be; infinite costs rule one out.

    The assignment of least cost, in which every further row of a donor costs more than the last one
    (SciPy's `linear_sum_assignment`).
    """
    n_rows, n_donors = costs.shape
    for times in 2 ** np.arange(1 + int(n_rows).bit_length()):
        again = np.repeat(_AGAIN * np.arange(times), n_donors)
        try:
            # Of fewer columns than rows, SciPy would leave out rows.
            rows, places = linear_sum_assignment(np.tile(costs, times) + again)
        except ValueError:
            continue
        if len(rows) == n_rows:
            break
    chosen: list[int] = (places % n_donors).tolist()
    return chosen


def _shapes(keys: Mapping[str, Sequence[Sequence[Key]]]) -> list[tuple[tuple[int, ...], ...]]:
    """How many tokens each field of a pair takes, in both formats."""
    return list(
        zip(*([_tokens_of_fields(each) for each in keys[form]] for form in FORMS), strict=True)
    )


def _tokens_of_fields(keys: Sequence[Key]) -> tuple[int, ...]:
    counts = Counter(key[0] for key in keys)
    return tuple(counts[field] for field in FIELDS)


def _place(prompt: Prompt) -> bool:
    """Whether the bigger number comes first."""
    return prompt.first == prompt.truth


def numbers_of(prompt: Prompt) -> frozenset[str]:
    """Both numbers that a prompt asks about."""
    return frozenset((prompt.first, prompt.second))
