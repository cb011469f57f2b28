"""What judges and explainers ask of a model, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from saeflow.config.writers import EndpointSettings, WriterSettings

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Writer(Protocol):
    """A model that replies to prompts."""

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Reply to each prompt by itself, as likely as possible and never at random.

        Parameters
        ----------
        prompts : sequence of str
            A message each; a chat template is put around it where the model has one.

        Returns
        -------
        list of str
            The replies alone, in the order of the prompts; empty where the model says nothing.

        Raises
        ------
        SaeflowError
            If a prompt cannot be read, or the model cannot be reached.
        """
        ...


def load_writer(
    settings: WriterSettings, device: torch.device, folder: Path | None = None
) -> Writer:
    """Make the writer that a block of the configuration describes.

    Parameters
    ----------
    settings : LocalSettings or EndpointSettings
        Which model.
    device : torch.device
        Where a local one computes.
    folder : Path, optional
        The directory behind the `path` of a local one.

    Raises
    ------
    SaeflowError
        If the directory or repository does not hold what is needed, or the environment variable
        with the endpoint's key is not set. Nothing is sent yet.
    """
    # An endpoint needs neither torch nor transformers, which take seconds to load.
    if isinstance(settings, EndpointSettings):
        from saeflow.models.writers.endpoint import EndpointWriter

        return EndpointWriter(settings)
    from saeflow.models.writers.local import load_local

    return load_local(settings, device, folder)
