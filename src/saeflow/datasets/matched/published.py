"""Matched pairs and categories in the published shape, read from JSON (methods/3, section 4.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from saeflow.datasets.rows import check_text
from saeflow.errors import SaeflowError, nearest


@dataclass(frozen=True)
class MatchedText:
    """One content in one form.

    Attributes
    ----------
    text : str
        As in the source.
    topic, form : str
        Together they are the class, one of 20.
    pair : int
        Number within the topic; the forms of one content share it.
    meaning : str
        What the content is about, in the words of the source; empty where it says nothing.
    expected : str or None
        Right continuation; None where the text asks for none.
    """

    text: str
    topic: str
    form: str
    pair: int
    meaning: str = ""
    expected: str | None = None

    @property
    def content(self) -> tuple[str, int]:
        """Topic and pair: the cluster that is resampled and never split."""
        return self.topic, self.pair


@dataclass(frozen=True)
class CategoryText:
    """One text of a category.

    Attributes
    ----------
    text : str
        As in the source.
    category : str
        Such as ``Python`` or ``URLs``.
    """

    text: str
    category: str


class _Topic(NamedTuple):
    name: str
    forms: tuple[str, ...]
    meaning: str
    expected: bool = False


_MATHS = ("symbolic", "verbal", "prose")
_TOPICS = {
    "math_pairs_simple": _Topic("Math_Simple", _MATHS, "category", expected=True),
    "math_pairs_complex": _Topic("Math_Complex", _MATHS, "category", expected=True),
    "python_pairs": _Topic("Python", ("code", "pseudo"), "description"),
    "non_english_pairs": _Topic("Non_English", ("spanish", "french", "german"), "english_meaning"),
    "social_pairs": _Topic("Social", ("full_social", "partial_social", "standard"), "meaning"),
    "formal_pairs": _Topic("Formal", ("highly_formal", "moderately_formal", "plain"), "topic"),
    "conversational_pairs": _Topic(
        "Conversational", ("first_person", "third_person", "neutral"), "topic"
    ),
}
_CATEGORIES = "baseline_categories"
# The published file carries them empty; its notebook filled them with the categories' texts.
_NOT_READ = ("baseline_texts", "baseline_labels")


def read_matched_pairs(path: Path) -> list[MatchedText]:
    """Read matched pairs of at least two topics, such as ``matched_pairs.json``.

    The file holds one object. Each of its keys names a list of pairs: ``math_pairs_simple``,
    ``math_pairs_complex``, ``python_pairs``, ``non_english_pairs``, ``social_pairs``,
    ``formal_pairs``, ``conversational_pairs``. A pair is an object of texts: one a form of its topic,
    one that tells its meaning and, in the two lists of maths, ``expected``. Topics may be left out.
    Anything unknown is refused, since it is most likely misspelt; so is a text that comes twice,
    since it would be on both sides of a comparison.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    list of MatchedText
        Topic by topic in the order above, pair by pair as in the file, form by form.

    Raises
    ------
    SaeflowError
        If the file is missing or malformed, in one sentence that names the pair.
    """
    document = _read_object(path, "lists of matched pairs")
    _refuse_unknown(document, _TOPICS, str(path), "key")
    if len(document) < 2:
        raise SaeflowError(
            f"{path} holds {len(document)} topics; expected at least two of {', '.join(_TOPICS)}."
        )
    rows: list[MatchedText] = []
    for key, topic in _TOPICS.items():
        if key in document:
            for number, pair in enumerate(_list(document[key], path, key, "pairs")):
                rows += _forms(pair, topic, number, f"{path}, pair {number + 1} of {key}")
    _refuse_repeats(path, ((row.text, f"{row.form} of {row.topic}") for row in rows))
    return rows


def read_categories(path: Path) -> list[CategoryText]:
    """Read texts of at least two categories, such as ``categories70.json``.

    The file holds one object whose key ``baseline_categories`` maps names of categories to lists of
    texts. The keys ``baseline_texts`` and ``baseline_labels`` may stand beside it and are not read.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    list of CategoryText
        In file order.

    Raises
    ------
    SaeflowError
        If the file is missing or malformed, in one sentence that names the text.
    """
    document = _read_object(path, "categories of texts")
    _refuse_unknown(document, (_CATEGORIES, *_NOT_READ), str(path), "key")
    categories = document.get(_CATEGORIES)
    if not isinstance(categories, dict) or len(categories) < 2:
        found = f"{len(categories)} categories" if isinstance(categories, dict) else "no object"
        raise SaeflowError(f"{path} holds {found} in {_CATEGORIES}; expected at least two.")
    rows = []
    for name, texts in categories.items():
        _text(name, "name", f"{path}, a category")
        for number, text in enumerate(_list(texts, path, repr(name), "texts"), start=1):
            rows.append(
                CategoryText(_text(text, "text", f"{path}, text {number} of {name!r}"), name)
            )
    _refuse_repeats(path, ((row.text, repr(row.category)) for row in rows))
    return rows


def _read_object(path: Path, content: str) -> dict[str, object]:
    if not path.is_file():
        raise SaeflowError(f"{path} does not exist; expected a JSON file with {content}.")
    try:
        # Some editors put a byte order mark before the text.
        document = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_without_repeats)
    except UnicodeDecodeError:
        raise SaeflowError(f"{path} is not UTF-8; expected a JSON file with {content}.") from None
    except _RepeatedKeyError as error:
        raise SaeflowError(f"{path} gives the key {error} twice in one object.") from None
    except (ValueError, RecursionError) as error:  # not only JSONDecodeError: huge numbers
        raise SaeflowError(f"{path} is no JSON ({error}); expected {content}.") from None
    if not isinstance(document, dict):
        raise SaeflowError(f"{path} holds {_kind(document)}; expected an object with {content}.")
    return document


class _RepeatedKeyError(Exception):
    pass


def _without_repeats(items: list[tuple[str, object]]) -> dict[str, object]:
    """Object of its items; JSON itself would silently keep the last of two."""
    found: dict[str, object] = {}
    for name, value in items:
        if name in found:
            raise _RepeatedKeyError(repr(name))
        found[name] = value
    return found


def _forms(pair: object, topic: _Topic, number: int, where: str) -> Iterator[MatchedText]:
    if not isinstance(pair, dict):
        raise SaeflowError(f"{where} is {_kind(pair)}; expected an object.")
    fields = (*topic.forms, topic.meaning, *(("expected",) if topic.expected else ()))
    _refuse_unknown(pair, fields, where, "field")
    for name in fields:
        if name not in pair:
            raise SaeflowError(f"{where} lacks {name!r}; expected {', '.join(fields)}.")
        _text(pair[name], name, where)
    for form in topic.forms:
        yield MatchedText(
            pair[form], topic.name, form, number, pair[topic.meaning], pair.get("expected")
        )


def _list(value: object, path: Path, key: str, content: str) -> list[object]:
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else _kind(value)
        raise SaeflowError(f"{path}: {key} is {found}; expected a list of {content}.")
    return value


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise SaeflowError(f"{where}: {name!r} is {_kind(value)}; expected a text.")
    return check_text(value, name, where)


def _refuse_unknown(
    found: Mapping[str, object],
    known: Mapping[str, object] | tuple[str, ...],
    where: str,
    what: str,
) -> None:
    for name in found:
        if name not in known:
            raise SaeflowError(f"{where} holds the unknown {what} {name!r}{nearest(name, known)}")


def _refuse_repeats(path: Path, texts: Iterator[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for text, where in texts:
        # Blanks do not make two texts of one.
        key = " ".join(text.split())
        if key in seen:
            raise SaeflowError(
                f"{path} holds the text {text!r} twice, in {seen[key]} and in {where}; expected "
                "distinct texts."
            )
        seen[key] = where


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a truth value", dict: "an object", list: "a list"}
    names |= {str: "a text", int: "a number", float: "a number"}
    return names[type(value)]
