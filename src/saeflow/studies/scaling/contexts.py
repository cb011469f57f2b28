"""Contexts of features as explanations read them: training ones to explain from, test ones to score on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32

from saeflow.artifacts.scaling_explanations import EXPLANATION_EXAMPLES
from saeflow.errors import SaeflowError

ACTIVATING = "activating"
NEGATIVES = ("random", "near_miss")
"""Kinds of contexts on which a feature is silent."""
KINDS = (ACTIVATING, *NEGATIVES)


@dataclass(frozen=True)
class Context:
    """Some tokens of one document, and what one feature does on them.

    Attributes
    ----------
    kind : str
        activating, random or near_miss.
    example, document : int
        Running numbers, of the context in its kind and of its document in the corpus.
    group : str
        Group of the document; empty where not known.
    quantile : int
        Part of the feature's activations, from 0, the weakest; -1 where it is silent.
    tokens : tuple of str
        What each token shows.
    activations : numpy.ndarray of float32, shape (tokens,)
        Of the feature.
    tempting : numpy.ndarray of bool, shape (tokens,), or None
        Of a near miss: on which tokens a neighbour fires, or the feature might have.
    """

    kind: str
    example: int
    document: int
    group: str
    quantile: int
    tokens: tuple[str, ...]
    activations: Float32[np.ndarray, " tokens"]
    tempting: Bool[np.ndarray, " tokens"] | None = None

    @property
    def fires(self) -> Bool[np.ndarray, " tokens"]:
        """Return on which tokens the feature fires."""
        return self.activations > 0


@dataclass(frozen=True)
class FeatureContexts:
    """What is known of one feature.

    Attributes
    ----------
    feature : int
        Index of the latent in its SAE.
    train, test : tuple of Context
        In the order of kinds and numbers. No document is in both.
    """

    feature: int
    train: tuple[Context, ...]
    test: tuple[Context, ...]

    def of_kind(self, part: str, kind: str) -> list[Context]:
        """Return the contexts of one kind; `part` is train or test."""
        return [each for each in getattr(self, part) if each.kind == kind]


def read_contexts(table: pa.Table) -> list[FeatureContexts]:
    """Read contexts feature by feature.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of `saeflow.artifacts.scaling_explanations.EXPLANATION_EXAMPLES`, in any order, of one
        SAE.

    Returns
    -------
    list of FeatureContexts
        In ascending order of features.

    Raises
    ------
    SaeflowError
        If a set or kind is unknown, a context has more or fewer activations than tokens, a feature
        fires where it should not or does not where it should, or a document is in both sets.
    """
    ordered = table.sort_by([(key, "ascending") for key in EXPLANATION_EXAMPLES.keys])
    found: dict[int, dict[str, list[Context]]] = {}
    parts: dict[int, str] = {}
    for row in _rows(ordered):
        context, part = _context(row), row["set"]
        if part not in ("train", "test"):
            raise SaeflowError(f"A context is of the set {part!r}; expected train or test.")
        if parts.setdefault(context.document, part) != part:
            raise SaeflowError(
                f"Document {context.document} is in both sets; expected that explanations are scored "
                "on other documents than those they were made from."
            )
        sets = found.setdefault(row["feature"], {"train": [], "test": []})
        sets[part].append(context)
    return [
        FeatureContexts(feature, tuple(sets["train"]), tuple(sets["test"]))
        for feature, sets in sorted(found.items())
    ]


def contexts_table(contexts: Iterable[FeatureContexts], site: Mapping[str, Any]) -> pa.Table:
    """Return contexts as a table with the columns of `EXPLANATION_EXAMPLES`; ids are not known.

    Parameters
    ----------
    contexts : iterable of FeatureContexts
        Of one SAE.
    site : mapping
        Values of the columns dictionary, seed and layer.
    """
    rows = [
        {
            **site,
            "feature": each.feature,
            "set": part,
            "kind": context.kind,
            "example": context.example,
            "document": context.document,
            "group": context.group,
            "quantile": None if context.quantile < 0 else context.quantile,
            "tokens": list(context.tokens),
            "activations": context.activations.tolist(),
            "token_ids": None,
            "tempting": None if context.tempting is None else context.tempting.tolist(),
        }
        for each in contexts
        for part, some in (("train", each.train), ("test", each.test))
        for context in some
    ]
    return pa.Table.from_pylist(rows, EXPLANATION_EXAMPLES.schema())


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows one by one: Python's objects of a whole table would take several times its memory."""
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _context(row: Mapping[str, Any]) -> Context:
    kind, tempting = row["kind"], row["tempting"]
    of = f"Example {row['example']} of feature {row['feature']} ({row['set']}, {kind})"
    if kind not in KINDS:
        raise SaeflowError(f"{of} is of an unknown kind; expected {', '.join(KINDS)}.")
    tokens = tuple(row["tokens"])
    activations = np.array(row["activations"], np.float32)
    marked = None if tempting is None else np.array(tempting, bool)
    if len(activations) != len(tokens) or (marked is not None and len(marked) != len(tokens)):
        raise SaeflowError(
            f"{of} has {len(tokens)} tokens and {len(activations)} activations; expected one for each."
        )
    if (activations > 0).any() != (kind == ACTIVATING):
        said = "does not fire" if kind == ACTIVATING else "fires"
        raise SaeflowError(f"{of}: the feature {said} there; expected the opposite of this kind.")
    quantile = -1 if row["quantile"] is None else row["quantile"]
    return Context(
        kind, row["example"], row["document"], row["group"], quantile, tokens, activations, marked
    )
