"""What users are told must be one plain line."""

from __future__ import annotations


def check_sentence(error: Exception, *parts: str) -> None:
    """Hold an error's message against what it must say."""
    text = str(error)
    assert text.strip()
    assert "\n" not in text
    for part in parts:
        assert part in text
