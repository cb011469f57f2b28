"""Pydantic's findings as one plain sentence that names the key and the nearest valid name."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from saeflow.errors import nearest

TAGS = {"fresh", "path", "hub", "control", "generated", "balanced"}


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
    if len(branches) > 1 and detail is details[0]:
        detail["msg"] = " or ".join(dict.fromkeys(each["msg"] for each in branches))
    return _sentence(detail, root).replace("\n", " ")


def _sentence(detail: ErrorDetails, root: type[BaseModel]) -> str:
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
            said = f"is {tag!r}" if tag else "is missing"
            wanted = "weights" if wanted == "_kind()" else wanted
            known = (
                "'fresh', 'path', 'hub'"
                if wanted == "weights"
                else "'generated', 'balanced', 'path', 'hub'"
            )
            expected = context.get("expected_tags", known).replace(", 'control'", "")
            return f"{key}.{wanted} {said}; expected one of {expected}."
        case "string_pattern_mismatch" if location and location[-1] == "[key]":
            return (
                f"{key.removesuffix('.[key]')} is no name; expected letters, digits, '_', '-' and "
                "'.', since it becomes part of a path."
            )
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            return (
                f"{key} is {found!r}: {message}."
                if not isinstance(found, dict)
                else f"{key}: {message}."
            )


def _path(location: tuple[int | str, ...]) -> list[int | str]:
    """Location without what pydantic adds: tags and branches of unions."""
    return [
        part
        for index, part in enumerate(location)
        if not (index == 2 and location[0] in ("models", "datasets") and part in TAGS)
        and not (isinstance(part, str) and part.startswith(("literal[", "tuple[")))
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
    for name in ("weights", "source"):
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
