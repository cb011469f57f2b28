"""Effects of ablating every feature to first order: one forward and one backward pass for all.

Attribution patching: the derivative of the right answer's log-probability along what an ablation
takes away. It only screens; what it finds is to be ablated exactly (field-notes, c1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.interventions.answers import AnswerKey
from saeflow.interventions.thoughts import Place
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import editing
from saeflow.models.language_model import last_of
from saeflow.models.reader import Reader
from saeflow.saes.bank import Bank


def answer_gradients(
    model: CodiModel,
    questions: list[str],
    answers: list[str],
    places: Sequence[Place],
    *,
    latents: int,
) -> dict[Place, tuple[Float[Tensor, "problems d_in"], Float[Tensor, "problems d_in"]]]:
    """Activations, and how the right answer's log-probability changes with them.

    Parameters
    ----------
    model : CodiModel
        The model.
    questions, answers : list of str
        Problems in GSM8K's form.
    places : sequence of Place
        Where to differentiate.
    latents : int
        Latent thoughts.

    Returns
    -------
    dict of Place to two torch.Tensor of shape (problems, d_in)
        Activations and gradients in nats per unit, both float32.
    """
    key = AnswerKey(model, answers, 1)
    ids, mask = model.pad([model.question_ids(each) for each in questions], left_pad=True)
    embed = model.language_model.get_input_embeddings()
    reader = Reader(model.language_model, mask[:, :-1])
    with torch.no_grad():
        # No edit reaches the question, so nothing of it has to be kept for the backward pass.
        reader.read(embed(ids[:, :-1]))
        inputs = embed(ids[:, -1:])
    probes = {place: _Probe() for place in places}
    with torch.enable_grad():
        for step in range(latents + 1):
            here: dict[tuple[str, int], Callable[[Tensor], Tensor]] = {
                (place.hook, place.layer): probe
                for place, probe in probes.items()
                if place.step == step
            }
            with editing(model.language_model, here):
                hidden = last_of(reader, inputs)
            inputs = model.projection(hidden)[:, None]
        total = key.log_probability(reader).sum()
        added = [probe.added for probe in probes.values()]
        gradients = torch.autograd.grad(total, added, allow_unused=True)
    found = {}
    for (place, probe), gradient in zip(probes.items(), gradients, strict=True):
        # The last thought's final norm feeds nothing.
        gradient = torch.zeros_like(probe.seen) if gradient is None else gradient
        found[place] = probe.seen.float(), gradient.float()
    return found


def feature_effects(
    sae: Bank,
    activations: Float[Tensor, "problems d_in"],
    gradients: Float[Tensor, "problems d_in"],
) -> tuple[Float[Tensor, "problems d_sae"], Float[Tensor, "problems d_sae"]]:
    """Effect of setting each feature to 0, to first order.

    Parameters
    ----------
    sae : Bank
        Bank of one site.
    activations, gradients : torch.Tensor of shape (problems, d_in)
        As `answer_gradients` gives them at the site.

    Returns
    -------
    effects : torch.Tensor of shape (problems, d_sae)
        Change of the right answer's log-probability, in nats; 0 where a feature is silent.
    features : torch.Tensor of shape (problems, d_sae)
        Their values.
    """
    features = sae.encode(activations[None])[0]
    return -features * (gradients @ sae.W_dec[0].T), features


class _Probe:
    """Adds a zero to the last position of what is there; its gradient is that of the activation."""

    def __init__(self) -> None:
        self.added = self.seen = torch.empty(0)

    def __call__(self, hidden: Tensor) -> Tensor:
        self.seen = hidden[:, -1].detach()
        self.added = torch.zeros_like(self.seen, requires_grad=True)
        return torch.cat([hidden[:, :-1], (hidden[:, -1] + self.added)[:, None]], dim=1)
