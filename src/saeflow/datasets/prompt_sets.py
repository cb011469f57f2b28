"""Positive and negative prompts to search features by: listed, from files, or texts of a group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from saeflow.config.scaling_search import GroupPrompts, PromptFiles, PromptSet
from saeflow.datasets.prompt_lengths import matched_lengths
from saeflow.datasets.rows import file_source, read_lines
from saeflow.errors import SaeflowError, nearest
from saeflow.seeds import numpy_generator


@dataclass(frozen=True)
class PromptSides:
    """Prompts that share what is searched and prompts without it, each once.

    Attributes
    ----------
    positive, negative : tuple of str
        In the order in which they were given; there may be no negative ones.
    repeated : int
        Prompts that were left out because an equal one is there.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    repeated: int = 0

    @property
    def prompts(self) -> tuple[str, ...]:
        """All of them, positive ones first."""
        return self.positive + self.negative


def prompt_key(prompt: str) -> str:
    """What equal prompts have in common: case and the number of blanks do not matter."""
    return " ".join(prompt.split()).casefold()


def prompt_sides(positive: Sequence[str], negative: Sequence[str]) -> PromptSides:
    """Keep each prompt once: two equal ones would be one example that counts twice.

    Raises
    ------
    SaeflowError
        If there is no positive prompt, one is empty, or one is on both sides.
    """
    sides: list[dict[str, str]] = []
    for name, prompts in (("positive", positive), ("negative", negative)):
        own: dict[str, str] = {}
        for number, prompt in enumerate(prompts, start=1):
            if not prompt.strip():
                raise SaeflowError(f"{name} prompt {number} is empty; expected a text.")
            own.setdefault(prompt_key(prompt), prompt)
        sides.append(own)
    if not sides[0]:
        raise SaeflowError("There is no positive prompt; expected one at least.")
    both = [prompt for key, prompt in sides[0].items() if key in sides[1]]
    if both:
        raise SaeflowError(
            f"The prompt {both[0]!r} is positive and negative; expected it on one side."
        )
    kept = tuple(sides[0].values()), tuple(sides[1].values())
    return PromptSides(*kept, repeated=len(positive) + len(negative) - len(sum(kept, ())))


def load_prompts(
    name: str,
    settings: PromptSet,
    *,
    files: Mapping[str, Path] | None = None,
    texts: pa.Table | None = None,
    length: Callable[[str], int] = lambda text: len(text.split()),
) -> dict[str, PromptSides]:
    """Prompts of one set of the configuration.

    Parameters
    ----------
    name : str
        Of the set.
    settings : PromptList, PromptFiles or GroupPrompts
        Where they come from.
    files : mapping, optional
        Files behind ``positive`` and ``negative`` of a `PromptFiles`; its own paths if not given.
    texts : pyarrow.Table, optional
        Columns of `saeflow.artifacts.catalog.TEXTS`, for a `GroupPrompts`.
    length : callable
        Length of a text, which negatives are matched in; such as its tokens.

    Returns
    -------
    dict of str to PromptSides
        By the name of the set, or for groups by ``name/group``.

    Raises
    ------
    SaeflowError
        As `prompt_sides` does; or if a file is missing or malformed, a group unknown or all there is.
    """
    if isinstance(settings, GroupPrompts):
        if texts is None:
            raise SaeflowError(f"The prompts {name} are texts of groups; expected a data set.")
        return _of_groups(name, settings, texts, length)
    if isinstance(settings, PromptFiles):
        given = files or {}
        paths = {
            side: given.get(side) or Path(path)
            for side, path in (("positive", settings.positive), ("negative", settings.negative))
            if path is not None
        }
        sides = [prompt_file(paths[side]) if side in paths else [] for side in _SIDES]
    else:
        sides = [list(settings.positive), list(settings.negative)]
    try:
        return {name: prompt_sides(*sides)}
    except SaeflowError as error:
        raise SaeflowError(f"The prompts {name} cannot be used: {error}") from None


_SIDES = ("positive", "negative")


def prompt_file(path: Path) -> list[str]:
    """Prompts of a file, one per line; blank lines do not count.

    Raises
    ------
    SaeflowError
        If there is no such file, it holds no prompt, or a line is no text.
    """
    if not path.is_file():
        raise SaeflowError(f"{path} does not exist; expected a file of one prompt per line.")
    found = [line for _, (line,) in read_lines(file_source(path))]
    if not found:
        raise SaeflowError(f"{path} holds no prompt; expected one per line.")
    return found


def _of_groups(
    name: str, settings: GroupPrompts, texts: pa.Table, length: Callable[[str], int]
) -> dict[str, PromptSides]:
    """Texts of one content in several forms are no different examples, so one of each is drawn."""
    members: dict[str, dict[tuple[str, int], list[str]]] = {}
    columns = (texts[each].to_pylist() for each in ("split", "part", "group", "item", "content"))
    for split, part, group, item, content in zip(*columns, strict=True):
        if split == settings.split:
            members.setdefault(group, {}).setdefault((part, item), []).append(content)
    chosen = tuple(sorted(members)) if settings.groups is None else settings.groups
    found = {}
    for group in chosen:
        if group not in members:
            raise SaeflowError(
                f"The prompts {name} name the group {group!r}, of which the data set "
                f"{settings.dataset} has no {settings.split} texts{nearest(group, members)}"
            )
        if len(members) < 2:
            raise SaeflowError(
                f"All {settings.split} texts of the data set {settings.dataset} are of the group "
                f"{group!r}; expected others for the prompts {name}."
            )
        found[f"{name}/{group}"] = _group_sides(group, settings, members, length)
    return found


def _group_sides(
    group: str,
    settings: GroupPrompts,
    members: Mapping[str, Mapping[tuple[str, int], Sequence[str]]],
    length: Callable[[str], int],
) -> PromptSides:
    pools: list[list[str]] = []
    for names in ([group], [each for each in sorted(members) if each != group]):
        generator = numpy_generator(settings.seed, "datasets", "prompts", group, len(pools))
        contents = [
            forms[int(generator.integers(len(forms)))]
            for each in names
            for forms in members[each].values()
        ]
        drawn = [contents[place] for place in generator.permutation(len(contents))]
        pools.append(list({prompt_key(text): text for text in drawn}.values()))
    inside = {prompt_key(text) for text in pools[0]}
    others = [text for text in pools[1] if prompt_key(text) not in inside]
    positive = pools[0][: settings.positive]
    count = min(settings.negative, len(others))
    if settings.match_lengths:
        wanted, pool = (
            np.array([max(length(text), 1) for text in side], np.int64)
            for side in (positive, others)
        )
        negative = [others[place] for place in matched_lengths(wanted, pool, count)]
    else:
        negative = others[:count]
    return prompt_sides(positive, negative)
