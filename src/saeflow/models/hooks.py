"""Reading activations of plain Hugging Face models at named hooks.

``output_hidden_states`` is not used: its last entry is after the final norm, so the last block's own
output would be lost (field-notes, section 0, fact 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.models.conventions import BLOCK_HOOKS
from saeflow.models.families import FAMILIES, FINAL_NORMS, module_named, names_inside

HOOKS = ("embed", "resid_post", "final_norm")
"""embed: input of block 0; resid_post: output of a block; final_norm: output of the final norm.

Captures of thoughts hold all of them."""
TOKEN_HOOKS = (*HOOKS, *BLOCK_HOOKS[1:])
"""`HOOKS` and those that blocks have beside.

resid_pre: input of a block; mlp_out, attn_out: what its MLP and its attention add to the residual
stream, so in Gemma-2 behind the norms that follow them; attn_z: input of the projection W_O, the
query heads side by side, of width n_heads * head_dim. All are TransformerLens' (`hook_names`)."""
BEFORE = ("embed", "resid_pre", "attn_z")
"""Hooks that are the input of their module."""


class _Enough(Exception):  # noqa: N818 - ends a forward pass, tells of no error
    """Everything that a tap listens for has been seen."""


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
    """Norm between the last block and the output embedding.

    Raises
    ------
    SaeflowError
        If there is none under a known name.
    """
    found = module_named(model.base_model, [FINAL_NORMS])
    if found is None:
        raise SaeflowError(
            f"{type(model).__name__} has no final norm named {' or '.join(FINAL_NORMS)}."
        )
    return found


def hooked_module(model: PreTrainedModel, hook: str, layer: int) -> nn.Module:
    """Module whose output is a hook, or whose input is one of `BEFORE`.

    Raises
    ------
    SaeflowError
        If the model has no such module.
    """
    if hook == "final_norm":
        return final_norm(model)
    block: nn.Module = transformer_blocks(model)[layer]
    if hook in ("embed", "resid_pre", "resid_post"):
        return block
    names = names_inside(block, hook)
    module = module_named(block, names)
    if module is None:
        raise SaeflowError(
            f"{type(model).__name__} has no module {'.'.join(map(' or '.join, names))} in its block "
            f"{layer}, where the hook {hook} is; expected a model of the families "
            f"{', '.join(FAMILIES)}."
        )
    return module


@contextmanager
def listening(
    model: PreTrainedModel,
    sites: Mapping[str, Sequence[int]],
    keep: Callable[[str, int, Tensor], None],
) -> Iterator[None]:
    """Hooks on a model within a ``with`` block; behind it they are gone.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model to listen to.
    sites : mapping of str to sequence of int
        Layers by hook (`TOKEN_HOOKS`); ``embed`` and ``final_norm`` have the layer 0 alone.
    keep : callable
        Gets the hook, the layer and what it carries, of shape (batch, length, d_in).

    Raises
    ------
    SaeflowError
        If the model has no module at a hook.
    """
    with ExitStack() as handles:
        for hook, layers in sites.items():
            for layer in layers:
                module = hooked_module(model, hook, layer)
                if hook in BEFORE:
                    look = _passes(hook, layer, keep)
                    handle = module.register_forward_pre_hook(look, with_kwargs=True)
                else:
                    handle = module.register_forward_hook(_gives(hook, layer, keep))
                handles.callback(handle.remove)
        yield


def _gives(hook: str, layer: int, keep: Callable[[str, int, Tensor], None]) -> Any:
    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        # A tensor or a tuple, depending on module, family and version of transformers.
        keep(hook, layer, output if isinstance(output, Tensor) else output[0])

    return look


def _passes(hook: str, layer: int, keep: Callable[[str, int, Tensor], None]) -> Any:
    def look(module: nn.Module, inputs: Any, keywords: dict[str, Any]) -> None:
        keep(hook, layer, inputs[0] if inputs else keywords["hidden_states"])

    return look


@contextmanager
def editing(
    model: PreTrainedModel, edits: Mapping[tuple[str, int], Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Change what a model carries within a ``with`` block; behind it the model is as before.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model to change.
    edits : mapping of (str, int) to callable
        By hook and layer (`TOKEN_HOOKS`): gets what is there, of shape (batch, length, d_in), and
        returns what shall be there instead; it must not write into what it gets.

    Raises
    ------
    SaeflowError
        If the model has no module at a hook.
    """
    with ExitStack() as handles:
        for (hook, layer), edit in edits.items():
            module = hooked_module(model, hook, layer)
            if hook in BEFORE:
                handle = module.register_forward_pre_hook(_takes(edit), with_kwargs=True)
            else:
                handle = module.register_forward_hook(_replaces(edit))
            handles.callback(handle.remove)
        yield


def _replaces(edit: Callable[[Tensor], Tensor]) -> Any:
    def change(module: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return edit(output)
        return (edit(output[0]), *output[1:])

    return change


def _takes(edit: Callable[[Tensor], Tensor]) -> Any:
    def change(module: nn.Module, inputs: Any, keywords: dict[str, Any]) -> Any:
        if inputs:
            return (edit(inputs[0]), *inputs[1:]), keywords
        return inputs, {**keywords, "hidden_states": edit(keywords["hidden_states"])}

    return change


@contextmanager
def entering_at(
    model: PreTrainedModel, block: int, hidden: Float[Tensor, "batch length d_in"]
) -> Iterator[None]:
    """Let forward passes within a ``with`` block start with the input of a later block.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Its blocks return a tensor, as those of `saeflow.models.families.FAMILIES` do.
    block : int
        First block that is computed; those before it are passed by.
    hidden : torch.Tensor of shape (batch, length, d_in)
        What it gets, whatever the model's input is.
    """
    blocks = transformer_blocks(model)

    def pass_by(*_: Any, **__: Any) -> Tensor:
        return hidden

    with ExitStack() as undo:
        for each in list(blocks)[:block]:
            # An attribute of the instance hides the method of the class until it is deleted.
            each.forward = pass_by
            undo.callback(delattr, each, "forward")
        pre = blocks[block].register_forward_pre_hook(_takes(lambda _: hidden), with_kwargs=True)
        undo.callback(pre.remove)
        yield


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
        self._hooks = ExitStack()
        self._kept: dict[str, list[Tensor]] = {}

    def __enter__(self) -> LastPositionTap:
        self._reset()
        blocks = range(len(transformer_blocks(self._model)))
        sites = {"embed": (0,), "resid_post": blocks, "final_norm": (0,)}
        self._hooks.enter_context(listening(self._model, sites, self._keep))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.close()

    def take(self) -> dict[str, Float[Tensor, "batch layers d_in"]]:
        """What the forward pass since the last call left, by hook."""
        taken = {hook: torch.stack(kept, dim=1) for hook, kept in self._kept.items()}
        self._reset()
        return taken

    def _reset(self) -> None:
        self._kept = {hook: [] for hook in HOOKS}

    def _keep(self, hook: str, layer: int, hidden: Float[Tensor, "batch length d_in"]) -> None:
        self._kept[hook].append(hidden[:, -1].clone())


class TokenTap:
    """Keeps what chosen positions of one forward pass carry, as float32.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model to listen to.
    sites : mapping of str to sequence of int
        Different layers by hook (`TOKEN_HOOKS`); ``embed`` and ``final_norm`` have the layer 0
        alone.
    rows : torch.Tensor of shape (tokens,)
        Positions to keep, in the batch laid out flat.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        sites: Mapping[str, Sequence[int]],
        rows: Int[Tensor, " tokens"],
    ) -> None:
        self._model, self._sites, self._rows = model, sites, rows
        self._missing = sum(map(len, sites.values()))
        self.kept: dict[str, Float[Tensor, "layers tokens d_in"]] = {}

    @contextmanager
    def until_enough(self) -> Iterator[None]:
        """Listen to one forward pass, which ends as soon as every site has been seen."""
        with suppress(_Enough), listening(self._model, self._sites, self._keep):
            yield

    def _keep(self, hook: str, layer: int, hidden: Float[Tensor, "batch length d_in"]) -> None:
        # Each layer goes to its place at once: there is never a second copy of all of them.
        layers = list(self._sites[hook])
        if hook not in self.kept:
            shape = len(layers), len(self._rows), hidden.shape[-1]
            self.kept[hook] = torch.empty(shape, device=self._rows.device)
        self.kept[hook][layers.index(layer)] = hidden.flatten(0, 1)[self._rows]
        self._missing -= 1
        if not self._missing:
            raise _Enough
