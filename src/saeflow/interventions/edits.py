"""Edits of activations: what shall be at a place instead of what is there.

Edits of features add only what they change, ``x + (x̂' - x̂)``, so that what the SAE cannot
reconstruct stays in place (methods/2, section 3.7; field-notes, e).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.saes.bank import Bank

Edit = Callable[
    [Float[Tensor, "rows d_in"], Int[Tensor, " rows"]],
    Float[Tensor, "rows d_in"],
]
"""Gets activations and the number of each row's problem (or text) in its run; returns new ones."""
Change = Callable[
    [Float[Tensor, "rows d_sae"], Int[Tensor, " rows"]],
    Float[Tensor, "rows d_sae"],
]
"""Gets features and the same numbers, must not write into them, returns new features."""


@dataclass(frozen=True)
class Splice:
    """Change features and add what that changes in the reconstruction, keeping the SAE's error.

    Where no feature changes, the activation stays bit for bit what it is.

    Attributes
    ----------
    sae : Bank
        Bank of one site, on the model's device.
    change : Change
        What becomes of the features.
    """

    sae: Bank
    change: Change

    def __post_init__(self) -> None:
        if len(self.sae.sites) != 1:
            raise SaeflowError(
                f"a splice needs the SAE of one site; the bank holds {len(self.sae.sites)}. "
                "Choose one with select()."
            )

    def __call__(
        self, x: Float[Tensor, "rows d_in"], rows: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows d_in"]:
        """Return the activations with the change added, in their own precision."""
        return (x.float() + self.difference(x, rows)).to(x.dtype)

    def difference(
        self, x: Float[Tensor, "rows d_in"], rows: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows d_in"]:
        """What would be added, float32."""
        features = self.sae.encode(x.float()[None])[0]
        return (self.change(features, rows) - features) @ self.sae.W_dec[0]


def ablate(features: Sequence[int], to: Float[Tensor, " d_sae"] | None = None) -> Change:
    """Set features to 0, or to values such as their means.

    Parameters
    ----------
    features : sequence of int
        Which ones, all at once.
    to : torch.Tensor of shape (d_sae,), optional
        Values of all features, of which those of `features` are used.
    """
    chosen = list(features)

    def change(values: Tensor, rows: Tensor) -> Tensor:
        values = values.clone()
        values[:, chosen] = 0.0 if to is None else to[chosen]
        return values

    return change


def amplify(features: Sequence[int], dose: float) -> Change:
    """Multiply features; a dose of 0 ablates them, one of 1 changes nothing."""
    chosen = list(features)

    def change(values: Tensor, rows: Tensor) -> Tensor:
        values = values.clone()
        values[:, chosen] *= dose
        return values

    return change


def swap(features: Sequence[int], source: Float[Tensor, "problems d_sae"]) -> Change:
    """Give features the values that they have on another problem.

    Parameters
    ----------
    features : sequence of int
        Which ones.
    source : torch.Tensor of shape (problems, d_sae)
        For each problem of the run, the features of the problem that it takes values from.
    """
    chosen = list(features)

    def change(values: Tensor, rows: Tensor) -> Tensor:
        values = values.clone()
        values[:, chosen] = source[rows][:, chosen]
        return values

    return change


def exchange(feature: int, other: int) -> Change:
    """Exchange two features within each row, as the study does (methods/2, section 3.4)."""

    def change(values: Tensor, rows: Tensor) -> Tensor:
        values = values.clone()
        values[:, [feature, other]] = values[:, [other, feature]]
        return values

    return change


def replace_where(
    mask: Bool[Tensor, "problems d_sae"], values: Float[Tensor, "*problems d_sae"] | None = None
) -> Change:
    """Give each problem's own choice of features other values.

    Parameters
    ----------
    mask : torch.Tensor of bool, shape (problems, d_sae)
        Which features, for each problem of the run.
    values : torch.Tensor of shape (d_sae,) or (problems, d_sae), optional
        Their values; by default 0.
    """

    def change(features: Tensor, rows: Tensor) -> Tensor:
        if values is None:
            return features.masked_fill(mask[rows], 0.0)
        return torch.where(mask[rows], values if values.ndim == 1 else values[rows], features)

    return change


def reconstruct(sae: Bank) -> Edit:
    """Put the SAE's reconstruction in place of the activation, its error left out."""

    def edit(x: Tensor, rows: Tensor) -> Tensor:
        decoded: Tensor = sae.decode(sae.encode(x.float()[None]))[0]
        return decoded.to(x.dtype)

    return edit


def steer(direction: Float[Tensor, "*problems d_in"], strength: float = 1.0) -> Edit:
    """Add a direction.

    Parameters
    ----------
    direction : torch.Tensor of shape (d_in,) or (problems, d_in)
        One for all, or one per problem of the run.
    strength : float
        Factor.
    """

    def edit(x: Tensor, rows: Tensor) -> Tensor:
        added = direction if direction.ndim == 1 else direction[rows]
        steered: Tensor = x.float() + strength * added
        return steered.to(x.dtype)

    return edit


def patch(source: Float[Tensor, "problems d_in"]) -> Edit:
    """Put the activations of another run in place, one per problem of this run."""

    def edit(x: Tensor, rows: Tensor) -> Tensor:
        patched: Tensor = source[rows].to(x.dtype)
        return patched

    return edit


def redirect(splice: Splice, direction: Float[Tensor, "*problems d_in"] | Splice) -> Edit:
    """Add a direction at the length of what a splice would add, row by row.

    Parameters
    ----------
    splice : Splice
        Whose change gives the length.
    direction : torch.Tensor of shape (d_in,) or (problems, d_in), or Splice
        Of any length: one for all, one per problem of the run, or that of what another splice would
        add. Nothing is added where its length is 0.
    """

    def edit(x: Tensor, rows: Tensor) -> Tensor:
        if isinstance(direction, Splice):
            along: Tensor = direction.difference(x, rows)
        else:
            along = (direction if direction.ndim == 1 else direction[rows]).float()
        unit = torch.nn.functional.normalize(along, dim=-1)
        length: Tensor = torch.linalg.vector_norm(splice.difference(x, rows), dim=1, keepdim=True)
        turned: Tensor = x.float() + length * unit
        return turned.to(x.dtype)

    return edit
