"""Pydantic's findings as one plain sentence that names the key and the nearest valid name."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from saeflow.errors import nearest

SOURCES = ("generated", "balanced", "path", "hub", "mixture", "text_file", "text_hub")
TAGS = {"fresh", "path", "hub", "control", *SOURCES}
LONGEST = 120
"""Characters of a value that are told."""
BRANCHES = ("literal[", "tuple[", "list[", "constrained-str")
"""How pydantic names the branches of a union in a location."""
STUDY_TAGS = {
    "judge": ("exact", "local", "endpoint"),
    "explainer": ("tokens", "local", "endpoint"),
    "scorer": ("tokens", "local", "endpoint"),
    "texts": ("bundled", "path"),
}
"""Blocks of studies that come in several forms, and the names of the forms."""
PROMPT_SETS = "sets"
PROMPT_SOURCES = ("list", "files", "groups")
"""Forms of every block below that key."""
EXPECTED = {
    "model_type": "a block of settings",
    "model_attributes_type": "a block of settings",
    "dict_type": "a block of settings",
    "list_type": "a list",
    "tuple_type": "a list",
    "too_short": "entries, at least {min_length}",
    "too_long": "entries, at most {max_length}",
    "literal_error": "{expected}",
    "string_type": "text",
    "string_unicode": "text",
    "string_too_short": "text that is not empty",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "a smaller integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
}
"""What was expected, by pydantic's kind of finding; its own words name our classes and Python's."""


def first_sentence(error: ValidationError, root: type[BaseModel]) -> str:
    """Say the first finding of a validation.

    Parameters
    ----------
    error : ValidationError
        What pydantic found.
    root : type of BaseModel
        The model that was validated, for the names it knows.

    Returns
    -------
    str
        One sentence: key, what was found, what was expected.
    """
    details = error.errors()
    # An unknown key is usually the cause of the missing one beside it.
    details.sort(key=lambda each: each["type"] != "extra_forbidden")
    key = _path(details[0]["loc"])
    # Each branch of a union has a finding; the one that came furthest is what was meant.
    branches = [each for each in details if _path(each["loc"])[: len(key)] == key]
    detail = max(branches, key=lambda each: len(_path(each["loc"])))
    if detail is not details[0]:
        branches = [detail]
    return _sentence(detail, branches, root).replace("\n", " ")


def _sentence(detail: ErrorDetails, branches: Sequence[ErrorDetails], root: type[BaseModel]) -> str:
    location = detail["loc"]
    key = ".".join(str(part) for part in _path(location)) or "the configuration"
    found = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return f"{key} is no known key{nearest(str(location[-1]), _known_keys(root, location))}"
        case "missing":
            return f"{key} is missing; expected {_description(root, location)}"
        case "union_tag_invalid" | "union_tag_not_found":
            context = detail.get("ctx", {})
            wanted = str(context.get("discriminator", "weights")).strip("'")
            tag = context.get("tag")
            wanted = "weights" if wanted == "_kind()" else wanted
            given = found.get(wanted, tag) if isinstance(found, dict) else tag
            said = "is null" if given is None and tag else f"is {tag!r}" if tag else "is missing"
            known = ", ".join(map(repr, _tags(location, wanted)))
            expected = context.get("expected_tags", known).replace(", 'control'", "")
            return f"{key}.{wanted} {said}; expected one of {expected}."
        case "string_pattern_mismatch" if location and location[-1] == "[key]":
            return (
                f"{key.removesuffix('.[key]')} is no name; expected letters, digits, '_', '-' and "
                "'.', since it becomes part of a path."
            )
        case "invalid_key":
            block = ".".join(map(str, _path(location)[:-1])) or "the configuration"
            return (
                f"{block} has the key {_shown(found)}, which is no text; put it into quotes (in YAML "
                "on, off, yes, no, null, dates and numbers are none)."
            )
        case _:
            message = _wanted(detail, branches, root)
            if isinstance(found, dict):
                return f"{key}: {message}."
            return f"{key} is {_shown(found)}: {message}."


def _shown(found: Any) -> str:
    """A value as YAML or Python write it, cut where it is long."""
    text = "null" if found is None else repr(found)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _tags(location: tuple[int | str, ...], discriminator: str) -> tuple[str, ...]:
    if len(location) > 2 and location[-2] == PROMPT_SETS:
        return PROMPT_SOURCES
    if len(location) > 2 and location[-1] in STUDY_TAGS:
        return STUDY_TAGS[str(location[-1])]
    return ("fresh", "path", "hub") if discriminator == "weights" else SOURCES


def _wanted(detail: ErrorDetails, branches: Sequence[ErrorDetails], root: type[BaseModel]) -> str:
    """What was expected instead, in words of YAML; null where that is allowed, too."""
    known = [each for each in branches if each["type"] in EXPECTED]
    if detail["type"] not in EXPECTED:
        return detail["msg"].removeprefix("Value error, ")
    words = [EXPECTED[each["type"]].format(**_limits(each)) for each in known]
    wanted = "expected " + " or ".join(dict.fromkeys(words))
    nullable = detail["input"] is not None and _may_be_null(root, detail["loc"])
    return f"{wanted}, or null" if nullable else wanted


def _limits(detail: ErrorDetails) -> dict[str, Any]:
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in detail.get("ctx", {}).items()
    }


def _may_be_null(root: type[BaseModel], location: tuple[int | str, ...]) -> bool:
    parts = tuple(part for part in location if not _is_branch(part))
    block = _block_at(root, parts[:-1]) if parts else None
    field = block.model_fields.get(str(parts[-1])) if block else None
    return field is not None and type(None) in _alternatives(field.annotation)


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and part.startswith(BRANCHES)


def _path(location: tuple[int | str, ...]) -> list[int | str]:
    """Location without what pydantic adds: tags and branches of unions."""
    return [
        part
        for index, part in enumerate(location)
        if not (index == 2 and location[0] in ("models", "datasets") and part in TAGS)
        and not (index > 2 and part in STUDY_TAGS.get(str(location[index - 1]), ()))
        and not (index > 2 and location[index - 2] == PROMPT_SETS and part in PROMPT_SOURCES)
        and not _is_branch(part)
    ]


def _known_keys(root: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    block = _block_at(root, location[:-1])
    return list(block.model_fields) if block else []


def _description(root: type[BaseModel], location: tuple[int | str, ...]) -> str:
    block = _block_at(root, location[:-1])
    field = block.model_fields.get(str(location[-1])) if block else None
    return field.description.lower() if field and field.description else "a value."


def _block_at(root: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Model class of the block that a location points to."""
    candidates: list[Any] = [root]
    for part in location:
        tagged = [c for c in candidates if _is_block(c) and _tag_fits(c, part)]
        if len(candidates) > 1 and tagged:
            candidates = tagged
            continue
        following: list[Any] = []
        for candidate in candidates:
            if _is_block(candidate):
                field = candidate.model_fields.get(str(part))
                following += _alternatives(field.annotation) if field else []
            elif typing.get_origin(candidate) is dict:
                following += _alternatives(typing.get_args(candidate)[1])
        candidates = following
    blocks = [c for c in candidates if _is_block(c)]
    return blocks[0] if blocks else None


def _is_block(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _tag_fits(block: type[BaseModel], tag: int | str) -> bool:
    if tag == "control":
        return "of" in block.model_fields
    for name in ("weights", "source", "kind"):
        field = block.model_fields.get(name)
        if field and tag in typing.get_args(field.annotation):
            return "of" not in block.model_fields
    return False


def _alternatives(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [each for arg in typing.get_args(annotation) for each in _alternatives(arg)]
    return [annotation]
