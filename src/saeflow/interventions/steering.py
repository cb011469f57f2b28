"""Directions to steer along, and what they are added to.

Calibrated: ``x += c * m * W_dec[f] / ||W_dec[f]||`` at the place that the SAE was fitted on, m being the
length of what the feature adds at its maximum, in the model's own scale. Published: a multiple of
``W_dec[f] + b_dec`` in the scale that the SAE was trained in, one block too late (methods/5, sections
6.6 and 6.8).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.edits import Edit
from saeflow.models.conventions import HookedLayer
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.models.tokens import read_tokens
from saeflow.saes.bank import EVERY_TOKEN, Bank
from saeflow.seeds import torch_generator

Bug = Literal["normalised_scale", "block_output"]
"""What is wrong with where and how far the study pushes (methods/5, section 6.8, point 3).

normalised_scale: the vector is in the units of the normalised activations that the SAE was trained on,
though the model carries them unscaled; block_output: it is added to the output of the block whose input
the SAE was fitted on."""
PUBLISHED_BUGS: tuple[Bug, ...] = ("normalised_scale", "block_output")


class GroupMeans(NamedTuple):
    """Mean activations of the tokens of groups of texts, begin tokens left out.

    Attributes
    ----------
    names : list of str
        Groups, in the order in which they first appear.
    means : torch.Tensor of shape (groups, d_in), float64, on the CPU
        NaN for a group without a token.
    tokens : torch.Tensor of int64, shape (groups,)
        Tokens of each group.
    """

    names: list[str]
    means: Float[Tensor, "groups d_in"]
    tokens: Int[Tensor, " groups"]

    def difference(self, name: str) -> Float[Tensor, " d_in"]:
        """Mean over the tokens of one group less that over the tokens of all others, float32.

        Raises
        ------
        SaeflowError
            If the group is not there, or it or all others have no token.
        """
        own = torch.tensor([each == name for each in self.names])
        some = self.tokens > 0
        if not bool((own & some).any()) or not bool((~own & some).any()):
            raise SaeflowError(
                f"the difference of means of {name!r} needs tokens of that group and of others; found "
                f"{dict(zip(self.names, self.tokens.tolist(), strict=True))}."
            )
        weights = self.tokens[~own & some].double()
        others = (self.means[~own & some] * weights[:, None]).sum(0) / weights.sum()
        found: Tensor = self.means[own][0] - others
        return found.float()


def fitted_place(sae: Bank) -> HookedLayer:
    """Where an SAE of tokens reads.

    Raises
    ------
    SaeflowError
        If the bank holds several SAEs, or reads latent thoughts.
    """
    if len(sae.sites) != 1 or sae.recipe.hook is None or sae.sites[0].step != EVERY_TOKEN:
        raise SaeflowError(
            f"the bank holds the SAEs {', '.join(each.name for each in sae.sites)}; expected one of "
            "tokens, of a dictionary with a hook. Choose one with select()."
        )
    return HookedLayer(sae.recipe.hook, sae.sites[0].layer)


def feature_direction(sae: Bank, feature: int) -> Float[Tensor, " d_in"]:
    """Direction that a feature writes, of length 1.

    Raises
    ------
    SaeflowError
        If the bank has no such feature, or its direction has no length.
    """
    _check_feature(sae, feature)
    return unit(sae.W_dec[0, feature], f"the decoder row of feature {feature}")


def feature_length(sae: Bank, feature: int, maximum: float) -> float:
    """Length of what a feature adds at its maximum: m, in the model's own scale.

    Parameters
    ----------
    sae : Bank
        Of one site.
    feature : int
        Index of the latent.
    maximum : float
        Its largest activation, on texts that chose nothing.

    Raises
    ------
    SaeflowError
        If the bank has no such feature, or the maximum is not above 0.
    """
    _check_feature(sae, feature)
    if not maximum > 0:
        raise SaeflowError(
            f"feature {feature} has the maximum {maximum}; expected more than 0: a feature that is "
            "never active has no dose."
        )
    return float(maximum) * float(torch.linalg.vector_norm(sae.W_dec[0, feature]))


def bias_direction(sae: Bank) -> Float[Tensor, " d_in"]:
    """Direction of the decoder's bias, of length 1; the same for every feature."""
    return unit(sae.b_dec[0], "the decoder's bias")


def random_direction(d_in: int, *names: int | str) -> Float[Tensor, " d_in"]:
    """Direction drawn evenly from all, of length 1, on the CPU; `names` are what the seed is made of."""
    drawn = torch.randn(d_in, generator=torch_generator(*names))
    return unit(drawn, "a drawn direction")


def unit(vector: Float[Tensor, " d_in"], what: str) -> Float[Tensor, " d_in"]:
    """Bring a vector to the length 1, float32.

    Raises
    ------
    SaeflowError
        If it is 0 or not finite; `what` names it.
    """
    length = float(torch.linalg.vector_norm(vector.double()))
    if not 0 < length < float("inf"):
        raise SaeflowError(f"{what} has the length {length}; expected one to steer along.")
    found: Tensor = (vector.double() / length).float()
    return found


def density_neighbours(
    density: Float[np.ndarray, " d_sae"], feature: int, excluded: Collection[int], count: int
) -> Int[np.ndarray, " _"]:
    """Features that are active about as often as one of them.

    Parameters
    ----------
    density : numpy.ndarray of float, shape (d_sae,)
        Share of tokens on which each feature is active.
    feature : int
        The one that is to be matched, itself left out.
    excluded : collection of int
        Others that are left out, such as those that were chosen for a topic.
    count : int
        How many, at most.

    Returns
    -------
    numpy.ndarray of int64, shape (at most count,)
        Nearest in the logarithm of the density first; of equally near ones the lower index. Features
        that are never active are none.

    Raises
    ------
    SaeflowError
        If the feature is never active, or nothing is left.
    """
    if not 0 <= feature < len(density) or not density[feature] > 0:
        raise SaeflowError(
            f"feature {feature} of {len(density)} is never active or not there; expected one with a "
            "density to match."
        )
    alive = density > 0
    alive[[feature, *excluded]] = False
    pool = np.flatnonzero(alive)
    if not len(pool):
        raise SaeflowError(
            f"no feature but feature {feature} and those left out is ever active; expected one at "
            "least to compare it with."
        )
    distance = np.abs(np.log(density[pool]) - np.log(density[feature]))
    return pool[np.argsort(distance, kind="stable")[:count]]


def group_means(
    model: LanguageModel,
    place: HookedLayer,
    texts: Sequence[str],
    groups: Sequence[str],
    *,
    batch_size: int = 32,
) -> GroupMeans:
    """Read texts in batches and average what their tokens carry, group by group.

    Parameters
    ----------
    model : LanguageModel
        The model.
    place : HookedLayer
        Where it is read, such as `fitted_place`.
    texts : sequence of str
        Texts that report nothing, such as those that train SAEs.
    groups : sequence of str
        Of each text, such as its topic.
    batch_size : int
        Most texts per forward pass.

    Raises
    ------
    SaeflowError
        If there are more or fewer groups than texts, no text has a token, or the place does not
        exist.
    """
    if len(groups) != len(texts):
        raise SaeflowError(
            f"{len(groups)} groups are named for {len(texts)} texts; expected one for each."
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    group = torch.tensor([numbers[each] for each in groups], device=model.device)
    first = begin_tokens(model)
    sums = torch.zeros(0)
    counts = torch.zeros(len(numbers), dtype=torch.long, device=model.device)
    for batch in read_tokens(
        model, texts, hooks=(place.hook,), layers=[place.layer], batch_size=batch_size
    ):
        x = batch.activations[place.hook][0].double()
        if not sums.numel():
            sums = x.new_zeros(len(numbers), x.shape[1])
        of = group[batch.text]
        counted = batch.position >= first
        sums.index_add_(0, of[counted], x[counted])
        counts += torch.bincount(of[counted], minlength=len(numbers))
    if not sums.numel():
        raise SaeflowError(f"{len(texts)} texts have no token; expected some to average.")
    means = sums / counts[:, None]
    return GroupMeans(list(numbers), means.cpu(), counts.cpu())


def published_vector(
    sae: Bank,
    feature: int | None,
    scale: float,
    bugs: Collection[Bug] = PUBLISHED_BUGS,
) -> Float[Tensor, " d_in"]:
    """What the study multiplies: what the decoder makes of a one-hot, its bias included.

    Parameters
    ----------
    sae : Bank
        Of one site, in the model's own scale.
    feature : int or None
        Index of the latent; None: the bias alone, which is what every feature shares.
    scale : float
        By what the activations were multiplied before the SAE saw them (methods/5, section 6.1:
        4.662); 1 where they were not.
    bugs : collection of {"normalised_scale", "block_output"}
        Without ``normalised_scale`` the vector is in the model's own scale.
    """
    vector = sae.b_dec[0].float()
    if feature is not None:
        _check_feature(sae, feature)
        # A feature of the normalised activations writes, in the model's scale, 1 / scale as much.
        vector = vector + sae.W_dec[0, feature].float()
    return vector * scale if "normalised_scale" in bugs else vector


def published_place(
    place: HookedLayer, n_layers: int, bugs: Collection[Bug] = PUBLISHED_BUGS
) -> HookedLayer:
    """Where the study adds it: the output of the block whose input the SAE was fitted on.

    Parameters
    ----------
    place : HookedLayer
        Where the SAE reads: the residual stream before, between or behind blocks.
    n_layers : int
        Blocks of the model.
    bugs : collection of {"normalised_scale", "block_output"}
        Without ``block_output`` it is added where the SAE reads.

    Raises
    ------
    SaeflowError
        If no block has what the SAE reads as its input.
    """
    if "block_output" not in bugs:
        return place
    blocks = {"embed": 0, "resid_pre": place.layer, "resid_post": place.layer + 1}
    block = blocks.get(place.hook, n_layers)
    if block >= n_layers:
        raise SaeflowError(
            f"nothing is added behind a block that reads the layer {place.layer} of {place.hook}: none "
            f"of {n_layers} does; expected an SAE of embed, resid_pre or resid_post before the last block, or "
            "bugs without block_output."
        )
    return HookedLayer("resid_post", block)


def at_tokens(
    edit: Edit, tokens: Bool[Tensor, "rows length"]
) -> Callable[[Float[Tensor, "rows length d_in"]], Float[Tensor, "rows length d_in"]]:
    """Edit some tokens of a batch, for `saeflow.models.hooks.editing`; the others stay bit for bit.

    Parameters
    ----------
    edit : Edit
        Gets every activation and the number of its row in the batch.
    tokens : torch.Tensor of bool, shape (rows, length)
        Which ones are edited.
    """

    def change(hidden: Tensor) -> Tensor:
        rows = torch.arange(len(hidden), device=hidden.device)
        numbers = rows[:, None].expand(hidden.shape[:2]).flatten()
        edited = edit(hidden.flatten(0, 1), numbers).view_as(hidden)
        return torch.where(tokens[:, :, None], edited, hidden)

    return change


def _check_feature(sae: Bank, feature: int) -> None:
    fitted_place(sae)
    if not 0 <= feature < sae.d_sae:
        raise SaeflowError(f"there is no feature {feature}; expected one of 0 to {sae.d_sae - 1}.")
