"""Fetch the SAEs of a release, check that they fit the model, and keep them as a bank."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformer_lens.supported_models import MODEL_ALIASES

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.released import RELEASED, RELEASED_FILE
from saeflow.artifacts.tables import write_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.errors import SaeflowError
from saeflow.models.shape import ModelShape
from saeflow.progress import progress
from saeflow.saes.bank import Recipe, Site
from saeflow.saes.released.folding import folded_release
from saeflow.saes.released.loading import ReleasedFiles, ReleasedSAE, check_ids, load_released
from saeflow.saes.storage import LIMITED, bank_digests, save_bank


def fetch_bank(
    dictionary: DictionarySettings,
    shape: ModelShape,
    folder: Path,
    *,
    provenance: Provenance,
) -> None:
    """Write a bank of released SAEs and `RELEASED_FILE`, one layer in memory at a time.

    Parameters
    ----------
    dictionary : DictionarySettings
        With a block ``released``; its path, if any, as this process finds it.
    shape : ModelShape
        Of the model that is to be read.
    folder : Path
        Existing and empty.
    provenance : Provenance
        Of the table; checksums of weights are added.

    Raises
    ------
    SaeflowError
        If the release or an id is unknown, an SAE cannot be read or kept, or does not fit the model,
        the hook or the other layers.
    """
    settings, hook = dictionary.released, dictionary.hook
    assert settings is not None, "the configuration sends no other here"
    assert hook is not None, "released SAEs read tokens"
    layers = _layers(dictionary, shape)
    ids = settings.ids(layers)
    check_ids(settings.release, ids)
    place = None if settings.path is None else Path(settings.path)
    files = ReleasedFiles(settings.revision, place)
    rows: list[dict[str, Any]] = []
    recipes: dict[int, Recipe] = {}
    for layer in progress(layers, description="released SAEs", total=len(layers), unit="SAE"):
        released = load_released(files, settings.release, ids[layer])
        _check_place(released, shape, hook, layer)
        _check_width(released, shape, hook)
        other = _other_model(released, shape, allowed=settings.other_model)
        # What heads put out before W_O is no part of the residual stream, so nobody centres it.
        centred = released.centred and shape.layer_normed and hook != "attn_z"
        bank = folded_release(released, Site(layer), hook, centred=centred)
        recipes[layer] = bank.recipe
        if bank.recipe != recipes[layers[0]]:
            raise SaeflowError(
                f"the SAE of layer {layer} is {_told(bank.recipe)}, but that of layer {layers[0]} "
                f"{_told(recipes[layers[0]])}; expected one kind in a dictionary."
            )
        save_bank(bank, folder)
        rows.append(
            {
                "layer": layer,
                "hook": hook,
                "repo": files.repo,
                "revision": files.revision if files.repo else None,
                "other_model": other,
                "centred": centred,
                **_row(released, bank.recipe, bank.d_in),
            }
        )
        del released, bank
    digests = json.dumps(bank_digests(folder), sort_keys=True)
    provenance = replace(provenance, extra={**provenance.extra, "files_sha256": digests})
    schema = RELEASED.schema()
    write_table(pa.Table.from_pylist(rows, schema), folder / RELEASED_FILE, RELEASED, provenance)


def _layers(dictionary: DictionarySettings, shape: ModelShape) -> list[int]:
    known = range(shape.n_layers)
    layers = list(known) if isinstance(dictionary.layers, str) else sorted(dictionary.layers)
    for layer in layers:
        if layer not in known:
            raise SaeflowError(
                f"the dictionary's layers hold {layer}, but the model has the layers 0 to {known[-1]}."
            )
    return layers


def _row(released: ReleasedSAE, recipe: Recipe, d_in: int) -> dict[str, Any]:
    told = released.metadata
    return {
        "release": released.release,
        "sae_id": released.sae_id,
        "path": released.path,
        "hook_name": told.get("hook_name"),
        "model_name": told.get("model_name"),
        "architecture": recipe.architecture,
        "d_in": d_in,
        "d_sae": recipe.d_sae,
        "k": recipe.k if recipe.architecture in LIMITED else None,
        "l0": released.l0,
        "explained_variance": released.explained_variance,
        "scale": released.scale,
        "prepend_bos": told.get("prepend_bos"),
        "context_size": told.get("context_size"),
        "neuronpedia_id": told.get("neuronpedia_id"),
    }


def _told(recipe: Recipe) -> str:
    k = f" of k {recipe.k}" if recipe.architecture in LIMITED else ""
    return f"{recipe.architecture}{k} with {recipe.d_sae} latents"


def _check_place(released: ReleasedSAE, shape: ModelShape, hook: str, layer: int) -> None:
    name = released.metadata.get("hook_name")
    if name is None:
        return  # A directory may say nothing; what the configuration says is then checked by numbers.
    found = shape.place_of(str(name))
    if found != (hook, layer):
        raise SaeflowError(
            f"{released.sae_id!r} of {released.release} reads {name}, which is {found.hook} of layer "
            f"{found.layer}; found hook {hook} and layer {layer}, expected hook: {found.hook} and "
            f"layers: [{found.layer}]."
        )


def _check_width(released: ReleasedSAE, shape: ModelShape, hook: str) -> None:
    wanted, found = shape.width_at(hook), int(released.sae.cfg.d_in)
    if found != wanted:
        raise SaeflowError(
            f"{released.sae_id!r} of {released.release} reads activations of {found} dimensions, but "
            f"the model has {wanted} at {hook}; expected SAEs of the model {shape.name or 'configured'}"
            f", not of {released.metadata.get('model_name') or 'another'}."
        )


def _other_model(released: ReleasedSAE, shape: ModelShape, *, allowed: bool) -> bool | None:
    """Whether the release names another model than the configuration does."""
    name = released.metadata.get("model_name")
    if name is None or shape.name is None:
        return None
    other = {*_known_as(str(name))}.isdisjoint(_known_as(shape.name))
    if other and not allowed:
        raise SaeflowError(
            f"{released.sae_id!r} of {released.release} was trained on {name}, but the model is "
            f"{shape.name}; expected that model, or released.other_model: true to read another with it."
        )
    return other


def _known_as(name: str) -> Iterator[str]:
    """Names of a model, without who published it: TransformerLens has short ones of its own."""
    for official, aliases in MODEL_ALIASES.items():
        names = [each.rsplit("/", 1)[-1].lower() for each in (official, *aliases)]
        if name.rsplit("/", 1)[-1].lower() in names:
            yield from names
    yield name.rsplit("/", 1)[-1].lower()
