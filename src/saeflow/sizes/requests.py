"""What a job asks for before it starts: memory of the machine, and minutes at most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from saeflow.config.models import HubModel
from saeflow.config.root import resolve_dictionary
from saeflow.sizes.results import Results
from saeflow.sizes.shapes import weight_bytes

LEAST_MB = 2000
"""Of any job: Python, torch and the tables of a study."""
TABLE_FACTOR, VECTOR_FACTOR = 6.0, 3.0
"""Bytes in memory per byte on disk: of compressed tables, and of activations and SAEs, which are not."""
MODEL_FACTOR = 1.25
"""Bytes in memory per byte of loaded weights: one shard at a time is read beside them."""
LEAST_MINUTES, MINUTES_PER_GB, LOADING_MINUTES_PER_GB = 60, 15, 1
"""Limits of time: of any job, what a job may take longer per gigabyte of its model, and how much of this
each of the jobs needs that share its work."""
VECTORS = ("capture", "saes", "released")
WEIGHTS = (".safetensors", ".bin")
WEIGHTS_FACTOR = 2.5
"""Of weights of a model that writes texts: half precision on disk, float32 in memory."""


def memory_mb(
    results: Results, inputs: Iterable[str], model: str | None, *, vectors: bool = True
) -> int:
    """Megabytes that a job needs, on a machine without a GPU.

    Parameters
    ----------
    results : Results
        Sizes of what is there and of what will be.
    inputs : iterable of str
        Paths that it reads, but those of its model.
    model : str or None
        Name of the model that it loads.
    vectors : bool
        Whether it reads activations and weights; False: of such folders the tables alone.

    Returns
    -------
    int
        At least `LEAST_MB`.
    """
    total = 0.0 if model is None else MODEL_FACTOR * results.loaded_gb(model) * 1000
    for path in inputs:
        if vectors or not _holds_vectors(Path(path)):
            total += _factor(Path(path)) * _held_bytes(results, path) / 1e6
    return max(LEAST_MB, int(total))


def _factor(path: Path) -> float:
    if path.suffix in WEIGHTS:
        return WEIGHTS_FACTOR
    return VECTOR_FACTOR if _holds_vectors(path) else TABLE_FACTOR


def _held_bytes(results: Results, path: str) -> float:
    """Bytes of an input that are in memory together: SAEs of tokens are read one layer at a time."""
    match path.split("/"):
        case ["results", "saes" | "released", model, dictionary, *_]:
            recipe = resolve_dictionary(results.config, dictionary)
            if recipe.hook is not None:
                return results.sae_bytes(model, recipe)
    return results.known_bytes(path)


def _holds_vectors(path: Path) -> bool:
    return len(path.parts) > 1 and path.parts[0] == "results" and path.parts[1] in VECTORS


def training_mb(results: Results, banks: Iterable[tuple[str, str]]) -> int:
    """Megabytes of SAEs that are trained together: weights, gradients and both moments of Adam.

    Parameters
    ----------
    results : Results
        Sizes of SAEs.
    banks : iterable of (str, str)
        Model and dictionary of each.
    """
    recipes = ((model, resolve_dictionary(results.config, name)) for model, name in banks)
    each = (
        results.sites(model, recipe) * results.sae_bytes(model, recipe) for model, recipe in recipes
    )
    return int(4 * sum(each) / 1e6)


def minutes(results: Results, model: str | None, shards: int = 1) -> int:
    """Minutes after which a job may be stopped: for clusters, not a forecast.

    Parameters
    ----------
    results : Results
        Sizes of models.
    model : str or None
        Name of the model that the job loads.
    shards : int
        Jobs that share the work; each loads the model.
    """
    gigabytes = 0.0 if model is None else results.loaded_gb(model)
    work = (MINUTES_PER_GB - LOADING_MINUTES_PER_GB) / shards
    return LEAST_MINUTES + int(gigabytes * (LOADING_MINUTES_PER_GB + work))


def size_warnings(results: Results, inputs: Iterable[str]) -> Iterator[str]:
    """Tell of models whose size nobody knows before they are fetched.

    Parameters
    ----------
    results : Results
        Sizes of models.
    inputs : iterable of str
        Paths that jobs read.

    Yields
    ------
    str
        One sentence for each such model of the hub.
    """
    read = set(inputs)
    for name, block in results.config.models.items():
        folder = f"results/models/{name}"
        unknown = isinstance(block, HubModel) and block.weights_gb is None
        if unknown and folder in read and not weight_bytes(results.folder / folder):
            yield (
                f"warning: models.{name}.weights_gb is null and the model is not fetched yet, so that "
                f"its jobs ask for {LEAST_MB / 1000:g} GB of memory and {LEAST_MINUTES} minutes as if it "
                "were small; expected the gigabytes of its weights there, or a run of the target fetch "
                "before this one."
            )
