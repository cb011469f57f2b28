"""How far what an ablation takes away travels through the blocks behind it (methods/3, section 4.7)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.edits import Edit, Splice, ablate, redirect
from saeflow.models.capture import cut_batches
from saeflow.models.hooks import editing, listening
from saeflow.models.language_model import LanguageModel
from saeflow.models.reader import Reader
from saeflow.models.token_capture import begin_tokens
from saeflow.progress import progress
from saeflow.saes.bank import Bank
from saeflow.saes.tokens import token_sae
from saeflow.seeds import numpy_generator, torch_generator
from saeflow.studies.rows import mean_row
from saeflow.studies.specialists.ablation_prompts import Prompt
from saeflow.studies.specialists.behaviour import SpecialistFeature, check_specialists
from saeflow.studies.specialists.rows import Key


@torch.no_grad()
def relative_change(
    model: LanguageModel,
    bank: Bank,
    prompts: Sequence[Prompt],
    specialists: Sequence[SpecialistFeature],
    *,
    batch_size: int = 32,
    left_pad: bool = False,
    at_random: bool = False,
    seed: int = 0,
) -> Float[np.ndarray, "specialists layers prompts"]:
    """Change of the residual stream behind an ablated specialist, relative to its length.

    Parameters
    ----------
    model, bank
        Model and SAEs of its tokens, between blocks (resid_post or resid_pre).
    prompts : sequence of Prompt
        What is read; targets are not.
    specialists : sequence of SpecialistFeature
        Features of the bank, each ablated by itself.
    batch_size : int
        Most prompts per forward pass.
    left_pad : bool
        On which side shorter prompts are padded; the result does not depend on it.
    at_random : bool
        Whether to add a random direction instead, at the same tokens and lengths: one for each prompt
        and specialist, as the specialist's is one. What it does tells whether the specialist's travels
        farther than any.
    seed : int
        Seed of random directions.

    Returns
    -------
    numpy.ndarray of float64, shape (specialists, layers, prompts)
        ‖δ‖ / ‖x‖ at the output of each block of the model, over all tokens of a prompt but those that
        the tokenizer puts before it: 0 where the specialist is silent, NaN at blocks before it.

    Raises
    ------
    SaeflowError
        If a specialist is not of the bank, or the bank reads inside blocks.
    """
    check_specialists(bank, specialists)
    hook = str(bank.recipe.hook)
    if hook not in ("resid_post", "resid_pre"):
        raise SaeflowError(
            f"the bank reads {hook}; expected one of resid_post or resid_pre, behind which whole "
            "blocks follow."
        )
    found = np.full((len(specialists), model.n_layers, len(prompts)), np.nan)
    saes = {site.layer: token_sae(bank, site.layer).to(model.device) for site in bank.sites}
    lengths = np.array([len(prompt.ids) for prompt in prompts], np.int64)
    batches = list(cut_batches(lengths, batch_size))
    for numbers in progress(batches, description="cascade", total=len(batches)):
        batch = _Batch(model, [list(prompts[n].ids) for n in numbers], left_pad)
        clean = batch.read({})
        size = batch.norms(clean)
        silent = _silent(batch, clean if hook == "resid_post" else batch.read({}, hook), saes)
        for number, each in enumerate(specialists):
            if bool(silent[each.layer][each.feature]):
                found[number, each.layer :, numbers] = 0.0
                continue
            splice = Splice(saes[each.layer], ablate([each.feature]))
            edit: Edit = splice
            if at_random:
                directions = _random_directions(bank.d_in, each, numbers, seed)
                edit = redirect(splice, directions.to(model.device))
            changed = batch.read({(hook, each.layer): batch.edit(edit)})
            moved = batch.norms(changed - clean)
            share = (moved / torch.where(size > 0, size, 1.0))[each.layer :]
            # An index before a slice puts the indexed axis first.
            found[number, each.layer :, numbers] = share.T.double().cpu().numpy()
    return found


def cascade_rows(
    key: Key,
    changes: Mapping[str, Float[np.ndarray, "specialists layers prompts"]],
    specialists: Sequence[SpecialistFeature],
    contents: Sequence[Hashable],
    *,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Mean relative change by specialist and block, over prompts on which it is active.

    Parameters
    ----------
    key : mapping
        Values of the columns dictionary, seed, mode and pooling: where the specialists were chosen.
    changes : mapping of str to numpy.ndarray of float, shape (specialists, layers, prompts)
        By control, ``none`` for the specialists themselves, as `relative_change` gives them.
    specialists : sequence of SpecialistFeature
        One at most of each class and block.
    contents : sequence of hashable
        Content of each prompt; its forms are resampled as one.
    seed : int
        Seed of the resamples, which are the same for all blocks and controls of a specialist.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, part ``cascade``: `layer` is the ablated
        block, and the metric names the block that is looked at, from the ablated one on.
    """
    for number, each in enumerate(specialists):
        where = {"part": "cascade", **key, "layer": each.layer, "group": each.name}
        for control, change in changes.items():
            active = change[number, each.layer] > 0
            for block in range(each.layer, change.shape[1]):
                values = np.where(active, change[number, block], np.nan)
                generator = numpy_generator(seed, "specialists", "cascade", number)
                metric = f"relative_change_{block}"
                yield mean_row(where, metric, values, contents, generator, control)


def _random_directions(
    d_in: int, specialist: SpecialistFeature, numbers: Int[np.ndarray, " batch"], seed: int
) -> Float[Tensor, "batch d_in"]:
    """By prompt, so that nothing depends on how prompts are cut into batches."""
    where = (seed, "specialists", "cascade", specialist.layer, specialist.feature)
    drawn = [
        torch.randn(d_in, generator=torch_generator(*where, number)) for number in numbers.tolist()
    ]
    return torch.stack(drawn)


def _silent(
    batch: _Batch, clean: Float[Tensor, "layers batch length d_in"], saes: dict[int, Bank]
) -> dict[int, Bool[Tensor, " d_sae"]]:
    """Features that no token of the batch has, by block: their ablation need not be read."""
    return {
        layer: (sae.encode(clean[layer][batch.tokens].float()[None])[0] == 0).all(0)
        for layer, sae in saes.items()
    }


class _Batch:
    """Prompts that are read in whole forward passes."""

    def __init__(self, model: LanguageModel, rows: list[list[int]], left_pad: bool) -> None:
        self._model = model
        self._ids, self._mask = model.pad(rows, left_pad=left_pad)
        place: Int[Tensor, "batch length"] = self._mask.cumsum(1)
        self.tokens = (self._mask == 1) & (place > begin_tokens(model))

    def read(
        self, edits: dict[tuple[str, int], Callable[[Tensor], Tensor]], hook: str = "resid_post"
    ) -> Float[Tensor, "layers batch length d_in"]:
        """What every block carries at a hook, by default its output."""
        seen: dict[int, Tensor] = {}

        def keep(_: str, layer: int, hidden: Tensor) -> None:
            seen[layer] = hidden.float()

        language_model = self._model.language_model
        blocks = range(self._model.n_layers)
        # Listeners come behind edits, so that they hear what is edited.
        with (
            editing(language_model, edits),
            listening(language_model, {hook: blocks}, keep),
        ):
            embedded = language_model.get_input_embeddings()(self._ids)
            Reader(language_model, self._mask).read(embedded)
        return torch.stack([seen[layer] for layer in blocks])

    def norms(
        self, hidden: Float[Tensor, "layers batch length d_in"]
    ) -> Float[Tensor, "layers batch"]:
        """Length over all tokens that count."""
        counted = torch.where(self.tokens[None, :, :, None], hidden, 0.0)
        lengths: Tensor = torch.linalg.vector_norm(counted.flatten(2), dim=2)
        return lengths

    def edit(self, edit_of: Edit) -> Callable[[Tensor], Tensor]:
        """Edit of the tokens that count, the others left as they are."""
        rows = self.tokens.nonzero()[:, 0]

        def change(hidden: Tensor) -> Tensor:
            edited = hidden.clone()
            x = hidden[self.tokens]
            if len(x):
                edited[self.tokens] = edit_of(x, rows)
            return edited

        return change
