"""Banks on disk: one SAELens folder per site, read back without importing SAELens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saeflow.artifacts.damage import damaged
from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.provenance import package_version
from saeflow.errors import SaeflowError, first_line
from saeflow.saes.bank import EVERY_TOKEN, Bank, Recipe, Site
from saeflow.saes.selection import Architecture

WEIGHTS = "sae_weights.safetensors"
CONFIG = "cfg.json"
SITE_FOLDER = re.compile(r"layer(\d+)(?:_step(\d+))?")
# What must hold for `Bank.encode` to be what SAELens computes. A missing entry means SAELens's
# own default, which for apply_b_dec_to_input is True.
REQUIRED: dict[str, tuple[Any, Any]] = {
    "apply_b_dec_to_input": (False, True),
    "rescale_acts_by_decoder_norm": (False, False),
    "normalize_activations": ("none", "none"),
    "reshape_activations": ("none", "none"),
}
ARCHITECTURES = get_args(Architecture)
LIMITED = ("abstopk", "topk")
"""Architectures whose configuration names k."""


def save_bank(bank: Bank, folder: Path) -> None:
    """Write one SAELens folder per site, ``folder/layer{layer}_step{step}/``, of tokens ``layer{layer}``.

    Its files are byte for byte those that SAELens writes of the same SAE, so that
    `sae_lens.SAE.load_from_disk` reads them; a test holds them against each other. SAELens itself is
    not imported: that takes longer than to train a small bank. Equal banks give equal bytes.

    Parameters
    ----------
    bank : Bank
        On any device.
    folder : Path
        Made if missing.
    """
    for place, site in enumerate(bank.sites):
        target = folder / site.name
        target.mkdir(parents=True, exist_ok=True)
        weights = {name: each[place].cpu().clone() for name, each in bank.weights.items()}
        save_file(weights, target / WEIGHTS)
        (target / CONFIG).write_text(json.dumps(_config_of(bank, site)), encoding="utf-8")


def _config_of(bank: Bank, site: Site) -> dict[str, Any]:
    """What SAELens's configuration of an SAE gives as a dictionary, in its order."""
    recipe, version = bank.recipe, package_version("sae-lens")
    wanted = {key: value for key, (value, _) in REQUIRED.items()}
    rescale = {"rescale_acts_by_decoder_norm": wanted.pop("rescale_acts_by_decoder_norm")}
    return {
        "d_in": bank.d_in,
        "d_sae": bank.d_sae,
        "dtype": "float32",
        "device": "cpu",
        **wanted,
        "metadata": {
            "sae_lens_version": version,
            "sae_lens_training_version": version,
            "saeflow": {**site._asdict(), **asdict(recipe)},
        },
        **({"k": recipe.k, **rescale} if recipe.architecture in LIMITED else {}),
        "architecture": recipe.architecture,
    }


def bank_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the weights and the configuration of each SAE of a bank.

    Parameters
    ----------
    folder : Path
        Of a bank.

    Returns
    -------
    dict of str to str
        Path below the folder, with forward slashes, to hexadecimal digits.

    Raises
    ------
    SaeflowError
        If the folder holds no bank or a file is missing.
    """
    names = [f"{site.name}/{file}" for site in _sites_in(folder) for file in (WEIGHTS, CONFIG)]
    return {name: file_digest(_existing(folder / name)) for name in names}


def load_bank(
    folder: Path,
    *,
    digests: Mapping[str, str] | None = None,
    sites: Sequence[Site] | None = None,
) -> Bank:
    """Read a bank that `save_bank` or SAELens wrote.

    Parameters
    ----------
    folder : Path
        Holds ``layer{layer}_step{step}/cfg.json`` and ``sae_weights.safetensors``.
    digests : mapping of str to str, optional
        What `bank_digests` gave when the bank was written; held against every file read.
    sites : sequence of Site, optional
        Which SAEs, in this order; all of them by layer and step if not given.

    Returns
    -------
    Bank
        On the CPU, float32.

    Raises
    ------
    SaeflowError
        If a folder or file is missing, damaged or not what the digests say, or if the SAEs are
        of a kind that `Bank` does not compute or differ among themselves.
    """
    chosen = _chosen(folder, sites, digests)
    recipes: list[Recipe] = []
    stacked: dict[str, Tensor] = {}
    for place, site in enumerate(chosen):
        config_path = _existing(folder / site.name / CONFIG)
        weights_path = _existing(folder / site.name / WEIGHTS)
        for path in (config_path, weights_path):
            _check_digest(path, f"{site.name}/{path.name}", digests)
        config = _read_config(config_path)
        recipes.append(_recipe_of(config, config_path))
        weights = _read_weights(weights_path, config)
        if not stacked:
            # Filled one by one: to stack wide SAEs that were read before would take twice their memory.
            stacked = {
                name: torch.empty(len(chosen), *each.shape) for name, each in weights.items()
            }
        if recipes[-1] != recipes[0] or weights["b_dec"].shape != stacked["b_dec"].shape[1:]:
            raise SaeflowError(
                f"{config_path} describes another SAE than {folder / chosen[0].name / CONFIG}; "
                "expected one architecture, d_in, d_sae, k and training in a bank."
            )
        for name, each in weights.items():
            stacked[name][place] = each
    return Bank(recipes[0], tuple(chosen), **stacked)


def _sites_in(folder: Path) -> list[Site]:
    if not folder.is_dir():
        raise SaeflowError(f"{folder} does not exist; expected the folder of a bank of SAEs.")
    matches = (SITE_FOLDER.fullmatch(each.name) for each in folder.iterdir() if each.is_dir())
    found = sorted(
        Site(int(match[1]), EVERY_TOKEN if match[2] is None else int(match[2]))
        for match in matches
        if match
    )
    if not found:
        raise SaeflowError(f"{folder} holds no SAE; expected folders such as {Site(0, 0).name}.")
    return found


def _chosen(
    folder: Path, sites: Sequence[Site] | None, digests: Mapping[str, str] | None
) -> list[Site]:
    found = _sites_in(folder)
    listed = {name.split("/")[0] for name in digests or {}}
    expected: Iterable[str] = sorted(listed) if sites is None else [site.name for site in sites]
    for name in expected:
        if name not in {site.name for site in found}:
            raise damaged(
                folder / name,
                f"does not exist; the bank has {', '.join(site.name for site in found)}",
            )
    return found if sites is None else list(sites)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise damaged(path, "does not exist; expected a file of a bank of SAEs")
    return path


def _check_digest(path: Path, name: str, digests: Mapping[str, str] | None) -> None:
    if digests is None:
        return
    if name not in digests:
        raise damaged(path, f"is none of the {len(digests)} files of its bank")
    found = file_digest(path)
    if found != digests[name]:
        raise damaged(
            path, f"has the sha256 {found}; expected {digests[name]}, which it had when written"
        )


def _read_config(path: Path) -> dict[str, Any]:
    """Configuration of an SAE that `Bank` computes as SAELens does."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        architecture = config["architecture"]
        keys = ("d_in", "d_sae", "k") if architecture in LIMITED else ("d_in", "d_sae")
        sizes = {key: int(config[key]) for key in keys}
    except (ValueError, KeyError, TypeError) as error:
        raise SaeflowError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected the JSON of an SAE "
            "with architecture, d_in, d_sae and, of abstopk and topk, k."
        ) from None
    if architecture not in ARCHITECTURES:
        raise SaeflowError(
            f"{path} names the architecture {architecture!r}; expected one of "
            f"{', '.join(map(repr, ARCHITECTURES))}."
        )
    for key, (wanted, default) in REQUIRED.items():
        if config.get(key, default) != wanted:
            raise SaeflowError(
                f"{path} has {key} = {config.get(key, default)!r}; expected {wanted!r}, for other "
                "SAEs are not supported."
            )
    return {**config, **sizes}


def _recipe_of(config: dict[str, Any], path: Path) -> Recipe:
    metadata = config.get("metadata")
    ours = metadata.get("saeflow") if isinstance(metadata, dict) else None
    known = {each.name for each in fields(Recipe)} - {"architecture", "d_sae", "k"}
    training = {key: value for key, value in (ours or {}).items() if key in known}
    k = config["k"] if config["architecture"] in LIMITED else (ours or {}).get("k", config["d_sae"])
    try:
        return Recipe(config["architecture"], config["d_sae"], k, **training)
    except SaeflowError as error:
        raise SaeflowError(f"{path} cannot be used: {error}") from None


def _read_weights(path: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(path, f"is damaged ({first_line(error)}); expected safetensors") from None
    d_in, d_sae = config["d_in"], config["d_sae"]
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
    }
    if config["architecture"] == "jumprelu":
        shapes["threshold"] = (d_sae,)
    found = {name: tuple(each.shape) for name, each in tensors.items()}
    if found != shapes:
        raise SaeflowError(
            f"{path} holds {_listed(found)}; expected {_listed(shapes)}, as {CONFIG} beside it says."
        )
    return {name: tensors[name].float() for name in shapes}


def _listed(shapes: Mapping[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())) or "nothing"
