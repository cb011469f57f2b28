"""Matched pairs and plain categories of a study, from wherever the configuration says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from saeflow.config.specialists import MatchedTexts, PairsFile
from saeflow.datasets.matched.bundled import bundled_categories, bundled_pairs
from saeflow.datasets.matched.published import (
    CategoryText,
    MatchedText,
    read_categories,
    read_matched_pairs,
)
from saeflow.datasets.texts.text import Text


class LoadedPairs(NamedTuple):
    """Texts, and the digest of the files that they were read from.

    Attributes
    ----------
    pairs : tuple of MatchedText
        One content in several forms.
    categories : tuple of CategoryText
        Plain texts; may be none.
    revision : str or None
        SHA-256 of the files; None for bundled texts, which the mixture decides.
    """

    pairs: tuple[MatchedText, ...]
    categories: tuple[CategoryText, ...]
    revision: str | None


def load_pairs(
    settings: MatchedTexts, *, mixture: Sequence[Text] = (), files: Sequence[Path] = ()
) -> LoadedPairs:
    """Load the texts of a study.

    Parameters
    ----------
    settings : BundledPairs or PairsFile
        Where they come from; of files only their number and order are read here.
    mixture : sequence of Text
        Every text of the training mixture, of which bundled ones are a part.
    files : sequence of Path
        File of pairs, and file of categories if there is one.

    Raises
    ------
    SaeflowError
        If a file cannot be read as the study's, or the mixture holds too few texts.
    """
    if isinstance(settings, PairsFile):
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        categories = read_categories(files[1]) if len(files) > 1 else []
        return LoadedPairs(tuple(read_matched_pairs(files[0])), tuple(categories), digest)
    return LoadedPairs(
        tuple(bundled_pairs(mixture, settings.per_topic)),
        tuple(bundled_categories(mixture, settings.per_category)),
        None,
    )
