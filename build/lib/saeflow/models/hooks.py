"""Reading activations of plain Hugging Face models at named hooks.

``output_hidden_states`` is not used: its last entry is after the final norm, so the last block's own
output would be lost (field-notes, section 0, fact 3).
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError

HOOKS = ("embed", "resid_post", "final_norm")
"""embed: input of block 0; resid_post: output of a block; final_norm: output of the final norm."""


def transformer_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Blocks of a causal language model: its only module list as long as the configuration says.

    Raises
    ------
    SaeflowError
        If there is no such list.
    """
    wanted = model.config.num_hidden_layers
    lists = [
        module
        for module in model.base_model.children()
        if isinstance(module, nn.ModuleList) and len(module) == wanted
    ]
    if len(lists) != 1:
        raise SaeflowError(
            f"{type(model).__name__} has {len(lists)} lists of {wanted} blocks; expected one."
        )
    return lists[0]


def final_norm(model: PreTrainedModel) -> nn.Module:
    """Norm between the last block and the output embedding."""
    for name in ("norm", "ln_f"):
        module = getattr(model.base_model, name, None)
        if isinstance(module, nn.Module):
            return module
    raise SaeflowError(f"{type(model).__name__} has no final norm named 'norm' or 'ln_f'.")


class LastPositionTap:
    """Keeps what the last position of each forward pass carries at every hook.

    Only that position is kept, so memory does not grow with the length of the question.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model to listen to. Leaving the ``with`` block removes every hook.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._handles: list[Any] = []
        self._kept: dict[str, list[Tensor]] = {}

    def __enter__(self) -> LastPositionTap:
        blocks = transformer_blocks(self._model)
        self._reset()
        self._handles = [
            blocks[0].register_forward_pre_hook(self._keep_input, with_kwargs=True),
            *(block.register_forward_hook(self._keep("resid_post")) for block in blocks),
            final_norm(self._model).register_forward_hook(self._keep("final_norm")),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def take(self) -> dict[str, Float[Tensor, "batch layers d_in"]]:
        """What the forward pass since the last call left, by hook."""
        taken = {hook: torch.stack(kept, dim=1) for hook, kept in self._kept.items()}
        self._reset()
        return taken

    def _reset(self) -> None:
        self._kept = {hook: [] for hook in HOOKS}

    def _keep(self, hook: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            # Blocks return a tensor or a tuple, depending on family and version of transformers.
            hidden = output if isinstance(output, Tensor) else output[0]
            self._kept[hook].append(hidden[:, -1].clone())

        return keep

    def _keep_input(self, module: nn.Module, inputs: Any, keywords: dict[str, Any]) -> None:
        hidden = inputs[0] if inputs else keywords["hidden_states"]
        self._kept["embed"].append(hidden[:, -1].clone())
