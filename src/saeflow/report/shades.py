"""Shades of tokens by activation: steps of a feature's largest activation, by sign; see `page.css`."""

from __future__ import annotations

STEPS = 5
"""Shades of either sign; the last begins at this share of a feature's largest value: 1 - 1 / STEPS."""


def shade(value: float | None, most: float) -> str:
    """Class of a token's shade.

    Parameters
    ----------
    value : float or None
        Activation, signed; None where nothing was read.
    most : float
        Size of the feature's largest activation.

    Returns
    -------
    str
        ``begin`` where nothing was read, nothing for 0, else ``p`` or ``n`` and the step.
    """
    if value is None:
        return "begin"
    if not value or not most:
        return ""
    step = min(STEPS, 1 + int(STEPS * abs(value) / most))
    return f"{'p' if value > 0 else 'n'}{step}"


def legend() -> list[dict[str, str]]:
    """Shades with what they mean, from the most negative to the most positive."""
    ends = [(100 * step // STEPS, 100 * (step - 1) // STEPS) for step in range(1, STEPS + 1)]
    below = [
        {"mark": f"n{step}", "text": f"−{far} to {f'−{near}' if near else near} %"}
        for step, (far, near) in enumerate(ends, start=1)
    ]
    above = [
        {"mark": f"p{step}", "text": f"{near} to {far} %"}
        for step, (far, near) in enumerate(ends, start=1)
    ]
    return [*reversed(below), *above]
