"""Matched pairs: the same content told in two or three forms."""

from saeflow.datasets.texts.pairs.draw import pair_texts

__all__ = ["pair_texts"]
