"""What can be checked before the DAG is built: paths, weights, layers, a writable folder."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from saeflow.artifacts.files import files_below
from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.config.calibration import (
    calibrated_banks,
    calibrated_models,
    calibration_contradictions,
    grid_datasets,
)
from saeflow.config.datasets import PathDataset, TextFile
from saeflow.config.decimal_runs import decimal_banks, decimal_contradictions, decimal_models
from saeflow.config.hierarchy_runs import (
    balanced_dataset,
    hierarchy_banks,
    hierarchy_contradictions,
    hierarchy_models,
)
from saeflow.config.hub_runs import fetched_as, layers_not_there
from saeflow.config.mixture import Mixture, parse_mixture
from saeflow.config.models import MODEL_FILES, HubModel, PathModel, model_patterns
from saeflow.config.root import (
    Config,
    evaluated_models,
    named_paths,
    resolve_dictionary,
    resolve_model,
)
from saeflow.config.scaling_runs import (
    prompt_datasets,
    prompt_files,
    scaling_banks,
    scaling_contradictions,
    scaling_models,
)
from saeflow.config.specialist_runs import (
    specialist_banks,
    specialist_contradictions,
    specialist_models,
)
from saeflow.config.text_files import text_format
from saeflow.errors import SaeflowError
from saeflow.models.own_code import check_code
from saeflow.models.repository_files import layer_count
from saeflow.yaml_files import read_yaml

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


def check_paths(config: Config, root: Path) -> None:
    """Check that what the studies read from this machine is there.

    Parameters
    ----------
    config : Config
        The validated configuration.
    root : Path
        Folder that relative paths start from.

    Raises
    ------
    SaeflowError
        If a path is missing, a model directory holds no weights, or a layer does not exist.
    """
    checks = (
        calibration_contradictions,
        hierarchy_contradictions,
        decimal_contradictions,
        specialist_contradictions,
        scaling_contradictions,
    )
    for sentence in (each for contradictions in checks for each in contradictions(config)):
        raise SaeflowError(sentence)
    used = _used_keys(config)
    patterns = {
        f"datasets.{name}.path"
        for name, each in config.datasets.items()
        if isinstance(each, TextFile)
    }
    for key, path in (*named_paths(config), *prompt_files(config).items()):
        there = (root / path).exists() or (
            key in patterns and glob.has_magic(path) and text_files(path, root)
        )
        if key in used and not there:
            raise SaeflowError(
                f"{key} is {path!r}, which does not exist; relative paths start at {root}."
            )
    studied = read_models(config)
    for name in dict.fromkeys([*studied, *evaluated_models(config)]):
        settings, control = resolve_model(config, name)
        if isinstance(settings, PathModel):
            folder, whose = root / settings.path, control.of if control else name
            _check_directory(folder, f"models.{whose}.path")
            check_code(folder, trusted=settings.trust_remote_code, name=whose)
            if name not in studied:
                continue
            for sentence in layers_not_there(config, name, layer_count(folder)):
                raise SaeflowError(sentence)
        elif isinstance(settings, HubModel) and name in studied:
            # Before a model is fetched nobody knows its layers; the job that fetches it looks.
            folder = Path("results/models") / str(fetched_as(config, name))
            if _holds(folder, settings):
                for sentence in layers_not_there(config, name, layer_count(folder)):
                    raise SaeflowError(sentence)


def read_mixture(path: Path) -> Mixture:
    """Read and validate the training mixture.

    Raises
    ------
    SaeflowError
        If the file cannot be read, is no YAML or is no mixture.
    """
    return parse_mixture(read_yaml(path), str(path))


def check_environment(folder: Path) -> None:
    """Check that results can be written below a folder.

    Raises
    ------
    SaeflowError
        If they cannot.
    """
    target = folder / "results"
    target = target if target.exists() else folder
    if not target.is_dir():
        raise SaeflowError(f"{target} is a file; expected a folder for the results.")
    if not os.access(target, os.W_OK | os.X_OK):
        raise SaeflowError(
            f"{target} is read-only; make it writable or choose another folder with snakemake -d."
        )


def input_files(settings: Any, root: Path) -> list[str]:
    """Files that a block of the configuration names, relative to the working directory.

    Parameters
    ----------
    settings : block of datasets or models
        Only those with a path name files.
    root : Path
        Folder that relative paths start from.

    Returns
    -------
    list of str
        For a model directory, its configuration, weights and tokenizer. Relative paths, so that a
        moved clone does not count as a change.
    """
    if isinstance(settings, PathDataset):
        return [os.path.relpath(root / settings.path)]
    if isinstance(settings, TextFile):
        paths = [settings.path] if isinstance(settings.path, str) else settings.path
        found = dict.fromkeys(file for path in paths for file in text_files(path, root))
        return [os.path.relpath(file) for file in found]
    if isinstance(settings, PathModel):
        return folder_files(settings.path, root, model_patterns(settings))
    return []


def text_files(path: str, root: Path) -> list[Path]:
    """Files of texts behind a path as configured.

    Parameters
    ----------
    path : str
        A file, a folder or a pattern.
    root : Path
        Folder that relative paths start from.

    Returns
    -------
    list of Path
        Of a folder, all below it whose names say that they hold texts, but hidden ones; of a
        pattern, all that fit; both sorted. Of a file, it alone, whether or not it exists.
    """
    place = root / path
    if place.is_dir():
        below = [each.relative_to(place) for each in place.rglob("*") if each.is_file()]
        return [
            place / each
            for each in sorted(below)
            if text_format(each.name).form and not any(part.startswith(".") for part in each.parts)
        ]
    if not place.exists() and glob.has_magic(path):
        found = glob.glob(path, root_dir=root, recursive=True)
        return [root / each for each in sorted(found) if (root / each).is_file()]
    return [place]


def folder_files(path: str | None, root: Path, patterns: Sequence[str] = MODEL_FILES) -> list[str]:
    """Files of a directory that decide what its model gives, relative to the working directory.

    Parameters
    ----------
    path : str or None
        As configured; None names no directory, and gives no file.
    root : Path
        Folder that relative paths start from.
    patterns : sequence of str
        What counts.
    """
    if path is None:
        return []
    found = {each for pattern in patterns for each in (root / path).glob(pattern)}
    return sorted(os.path.relpath(each) for each in found)


def curve_files(config: Config, root: Path) -> dict[str, str]:
    """Training curves beside evaluated models, by name of the model; relative, as inputs are."""
    found = {}
    for name in evaluated_models(config):
        block = config.models[name]
        if isinstance(block, PathModel):
            path = root / block.path / "training.parquet"
            if path.is_file():
                found[name] = os.path.relpath(path)
    return found


def total_mb(paths: Iterable[str]) -> float:
    """Megabytes of files and of everything below folders, which Snakemake counts as 4 KB each."""
    total = 0
    for path in map(Path, paths):
        files = files_below(path) if path.is_dir() else [path]
        total += sum(file.stat().st_size for file in files if file.is_file())
    return total / 1e6


def studied_models(config: Config) -> list[str]:
    """Names of the models that the GSM8K study analyses in either mode."""
    published = config.studies.gsm8k.published.models
    return list(dict.fromkeys([*published, *calibrated_models(config)]))


def read_models(config: Config) -> list[str]:
    """Names of the models that any study analyses."""
    others = (
        hierarchy_models(config),
        decimal_models(config),
        specialist_models(config),
        scaling_models(config),
    )
    return list(
        dict.fromkeys([*studied_models(config), *(name for each in others for name in each)])
    )


def study_datasets(config: Config) -> list[str]:
    """Names of the data sets that the studies analyse, sorted."""
    runs = config.studies.gsm8k.published.models.values()
    published = {dataset for run in runs for dataset in run.datasets}
    calibrated = {bank.dataset for bank in calibrated_banks(config)}
    grids = {name for model in calibrated_models(config) for name in grid_datasets(config, model)}
    hierarchy = {bank.dataset for bank in hierarchy_banks(config)}
    balanced = balanced_dataset(config)
    further = hierarchy if balanced is None else {*hierarchy, balanced}
    return sorted(published | calibrated | grids | further)


def read_datasets(config: Config) -> list[str]:
    """Names of the data sets that any study analyses, or whose SAEs it reads; sorted."""
    trained = {resolve_dictionary(config, name).dataset for _, name, _ in _read_banks(config)}
    return sorted({*study_datasets(config), *prompt_datasets(config), *trained})


def study_dictionaries(config: Config) -> list[tuple[str, str, int]]:
    """Model, dictionary and seed of every bank that the studies read."""
    published = [
        (model, dictionary, seed)
        for model, run in config.studies.gsm8k.published.models.items()
        for dictionary in run.dictionaries
        for seed in run.seeds
    ]
    banks = [*calibrated_banks(config), *hierarchy_banks(config)]
    others = [(each.model, each.dictionary, each.seed) for each in banks]
    return list(dict.fromkeys([*published, *others]))


def _read_banks(config: Config) -> list[tuple[str, str, int]]:
    """Model, dictionary and seed of every bank that any study reads."""
    return [
        *study_dictionaries(config),
        *decimal_banks(config),
        *specialist_banks(config),
        *scaling_banks(config),
    ]


def _used_keys(config: Config) -> set[str]:
    """Only what a study reads must exist; other named blocks may wait for their files."""
    used = {f"datasets.{name}.path" for name in read_datasets(config)}
    used.add("reference_models.mixture")
    named = ("texts.pairs", "texts.categories", "published.judge.path")
    used |= {f"studies.specialists.{key}" for key in named}
    used |= set(prompt_files(config))
    used |= {
        f"studies.scaling.calibrated.explanations.{who}.path" for who in ("explainer", "scorer")
    }
    for model in evaluated_models(config):
        used.add(f"models.{getattr(config.models[model], 'of', model)}.path")
    for model, dictionary, _ in _read_banks(config):
        used.add(f"dictionaries.{dictionary}.released.path")
        block = config.models[model]
        used.add(f"models.{getattr(block, 'of', model)}.path")
    return used


def _check_directory(folder: Path, key: str) -> None:
    if not (folder / "config.json").is_file():
        raise SaeflowError(f"{key} is {str(folder)!r}, which holds no config.json.")
    if not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        raise SaeflowError(
            f"{key} is {str(folder)!r}, which holds no weights; expected model.safetensors or "
            "pytorch_model.bin."
        )


def _holds(folder: Path, settings: HubModel) -> bool:
    """Whether a folder of this run holds what a block names now, and not what it named before."""
    if not (folder / FILES_TABLE).is_file() or not (folder / "config.json").is_file():
        return False
    from saeflow.artifacts.tables import read_table

    try:
        table = read_table(folder / FILES_TABLE, MODEL_FILES_TABLE)
    except SaeflowError:
        return False
    return bool(table["repo"][0].as_py() == settings.repo)
