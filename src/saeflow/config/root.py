"""The whole configuration and the checks that reach across its blocks (design, section 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from saeflow.config.base import Block, DropNulls, Name
from saeflow.config.compute import ComputeSettings
from saeflow.config.datasets import (
    BalancedDataset,
    DatasetSettings,
    GeneratedDataset,
    PathDataset,
    ProblemSettings,
    TextFile,
    Texts,
)
from saeflow.config.dictionaries import DictionaryChoice, DictionaryControl, DictionarySettings
from saeflow.config.messages import first_sentence
from saeflow.config.models import (
    FreshModel,
    ModelSettings,
    PathModel,
    RunnableModel,
    UntrainedControl,
)
from saeflow.config.reference import ReferenceSettings
from saeflow.config.runs import BankRun
from saeflow.config.secrets import secret_sentences
from saeflow.config.studies import StudySettings
from saeflow.config.writers import LocalSettings
from saeflow.errors import SaeflowError, nearest


class Config(Block):
    """Everything that `config.yaml` may say."""

    compute: ComputeSettings = Field(
        default_factory=ComputeSettings, description="How numbers are computed."
    )
    datasets: Annotated[dict[Name, DatasetSettings], DropNulls] = Field(
        min_length=1, description="Problems and texts, by name."
    )
    models: Annotated[dict[Name, ModelSettings], DropNulls] = Field(
        min_length=1, description="Models, by name."
    )
    dictionaries: Annotated[dict[Name, DictionaryChoice], DropNulls] = Field(
        min_length=1, description="Recipes for SAEs, by name."
    )
    reference_models: ReferenceSettings = Field(
        default_factory=ReferenceSettings, description="The bundled models and what they can do."
    )
    studies: StudySettings = Field(description="What to measure.")


def parse_config(values: Mapping[Any, Any]) -> Config:
    """Validate a configuration.

    Parameters
    ----------
    values : mapping
        The merged YAML of `config.yaml`, presets and overlays.

    Returns
    -------
    Config
        The validated configuration.

    Raises
    ------
    SaeflowError
        With one plain sentence naming the key, what was found and what was expected.
    """
    for sentence in secret_sentences(values):
        raise SaeflowError(sentence)
    try:
        config = Config.model_validate(_without_orphans(_in_order_of_models(values)))
    except ValidationError as error:
        raise SaeflowError(first_sentence(error, Config)) from None
    for problem in _contradictions(config):
        raise SaeflowError(problem)
    return config


def _in_order_of_models(values: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Name the study's models in the order of the block `models`.

    Snakemake puts what an overlay names first, which would turn pages and differences around.
    """
    match values:
        case {
            "models": dict(models),
            "studies": {"gsm8k": {"published": {"models": dict(studied)}}},
        }:
            place = {name: number for number, name in enumerate(models)}
            chosen = sorted(studied, key=lambda name: place.get(name, len(place)))
            ordered = {name: studied[name] for name in chosen}
            gsm8k = values["studies"]["gsm8k"]
            published = {**gsm8k["published"], "models": ordered}
            studies = {**values["studies"], "gsm8k": {**gsm8k, "published": published}}
            return {**values, "studies": studies}
    return values


def _without_orphans(values: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Drop the controls of a dictionary that an overlay drops by writing null."""
    dictionaries = values.get("dictionaries")
    if not isinstance(dictionaries, dict):
        return values
    kept = {
        name: block
        for name, block in dictionaries.items()
        if not (
            isinstance(block, dict)
            and isinstance(block.get("of"), str)
            and dictionaries.get(block["of"], block) is None
        )
    }
    return {**values, "dictionaries": kept}


def evaluated_models(config: Config) -> list[str]:
    """Names of the models whose abilities are measured: those named, or all that a study reads."""
    wanted = config.reference_models.evaluate
    if wanted != "all":
        return wanted
    studies = config.studies
    every = (studies.hierarchy, studies.decimal_bug, studies.specialists, studies.scaling)
    others = [each for each in every if each is not None]
    read = _gsm8k_models(config).union(*(each.published.models for each in others))
    return [name for name in config.models if name in read]


def _gsm8k_models(config: Config) -> set[str]:
    """Names of the models that the GSM8K study analyses in either mode."""
    study = config.studies.gsm8k
    calibrated = (study.calibrated and study.calibrated.models) or {}
    return {*study.published.models, *calibrated}


def resolve_model(config: Config, name: str) -> tuple[RunnableModel, UntrainedControl | None]:
    """Model block behind a name, following ``of`` of a control.

    Parameters
    ----------
    config : Config
        The validated configuration.
    name : str
        Name of a model or of an untrained control.

    Returns
    -------
    settings : FreshModel, PathModel or HubModel
        The block that gives the architecture.
    control : UntrainedControl or None
        The control, if the name is one.
    """
    block = config.models[name]
    if isinstance(block, UntrainedControl):
        target = config.models[block.of]
        assert not isinstance(target, UntrainedControl), (
            "parse_config refuses a control of a control"
        )
        return target, block
    return block, None


def resolve_dictionary(config: Config, name: str) -> DictionarySettings:
    """Whole recipe behind a name, following ``of`` of a control."""
    block = config.dictionaries[name]
    if isinstance(block, DictionaryControl):
        base = config.dictionaries[block.of]
        assert isinstance(base, DictionarySettings), "parse_config refuses a control of a control"
        return block.resolved(base)
    return block


def problem_dataset(config: Config, name: str) -> ProblemSettings:
    """Block of a data set that a study reads thoughts about; the configuration holds no other."""
    block = config.datasets[name]
    assert not isinstance(block, Texts), "parse_config refuses texts here"
    return block


def holds_texts(config: Config, dataset: str) -> bool:
    """Whether a data set holds texts and not problems."""
    return isinstance(config.datasets[dataset], Texts)


def _contradictions(config: Config) -> Iterator[str]:
    for name, block in config.models.items():
        if isinstance(block, UntrainedControl):
            target = config.models.get(block.of)
            if target is None or isinstance(target, UntrainedControl):
                known = [k for k, v in config.models.items() if not isinstance(v, UntrainedControl)]
                yield f"models.{name}.of is {block.of!r}, which is no model{nearest(block.of, known)}"
    yield from _control_contradictions(config)
    for name in config.dictionaries:
        dictionary = resolve_dictionary(config, name)
        if dictionary.dataset not in config.datasets:
            yield (
                f"dictionaries.{name}.dataset is {dictionary.dataset!r}, which is no data set"
                f"{nearest(dictionary.dataset, config.datasets)}"
            )
        dataset = config.datasets[dictionary.dataset]
        if dictionary.hook is None and holds_texts(config, dictionary.dataset):
            yield (
                f"dictionaries.{name}.dataset is {dictionary.dataset!r}, which holds texts; expected "
                "problems to think about, or a hook at which tokens of texts are read."
            )
        if dictionary.hook is not None and not holds_texts(config, dictionary.dataset):
            yield (
                f"dictionaries.{name}.hook is {dictionary.hook!r}, at which tokens of texts are read, "
                f"but the data set {dictionary.dataset!r} holds problems; expected one of texts, or "
                "hook: null."
            )
        if isinstance(dataset, BalancedDataset):
            yield (
                f"dictionaries.{name}.dataset is {dictionary.dataset!r}, whose balanced problems no "
                "SAE may be trained on; expected another data set."
            )
        if (
            isinstance(dataset, GeneratedDataset)
            and dictionary.rows == "train"
            and not dataset.n_train
        ):
            yield (
                f"dictionaries.{name} trains on the train problems of {dictionary.dataset!r}, "
                "but its n_train is 0."
            )
    for name in evaluated_models(config):
        if name not in config.models:
            yield (
                f"reference_models.evaluate holds {name!r}, which is no model"
                f"{nearest(name, config.models)}"
            )
    gsm8k = config.studies.gsm8k
    for name, run in gsm8k.published.models.items():
        yield from _run_contradictions(config, f"studies.gsm8k.published.models.{name}", name, run)
    if gsm8k.calibrated is not None:
        for name, run in (gsm8k.calibrated.models or {}).items():
            key = f"studies.gsm8k.calibrated.models.{name}"
            yield from _run_contradictions(config, key, name, run)
    if config.studies.hierarchy is not None:
        for name, run in config.studies.hierarchy.published.models.items():
            key = f"studies.hierarchy.published.models.{name}"
            yield from _run_contradictions(config, key, name, run)


def _control_contradictions(config: Config) -> Iterator[str]:
    for name, block in config.dictionaries.items():
        if not isinstance(block, DictionaryControl):
            continue
        base = config.dictionaries.get(block.of)
        if not isinstance(base, DictionarySettings):
            known = [k for k, v in config.dictionaries.items() if isinstance(v, DictionarySettings)]
            yield (
                f"dictionaries.{name}.of is {block.of!r}, which is no dictionary"
                f"{nearest(block.of, known)}"
            )
            continue
        try:
            block.resolved(base)
        except ValueError as error:
            yield f"dictionaries.{name}: {error}."


def _run_contradictions(config: Config, key: str, model: str, run: BankRun) -> Iterator[str]:
    if model not in config.models:
        yield f"{key} names no model of the models block{nearest(model, config.models)}"
    for dataset in run.datasets:
        if dataset not in config.datasets:
            yield f"{key}.datasets holds {dataset!r}, which is no data set{nearest(dataset, config.datasets)}"
        if holds_texts(config, dataset):
            yield f"{key}.datasets holds {dataset!r}, which holds texts; expected problems."
    settings, _ = resolve_model(config, model)
    for name in run.dictionaries:
        if name not in config.dictionaries:
            yield (
                f"{key}.dictionaries holds {name!r}, which is no dictionary"
                f"{nearest(name, config.dictionaries)}"
            )
        dictionary = resolve_dictionary(config, name)
        if dictionary.hook is not None:
            yield (
                f"{key}.dictionaries holds {name!r}, whose SAEs read tokens of texts (hook: "
                f"{dictionary.hook}); expected one of latent thoughts."
            )
        last = settings.thoughts.latents
        if max(dictionary.steps) > last:
            yield (
                f"dictionaries.{name}.steps holds {max(dictionary.steps)}, but model {model!r} has "
                f"the thought steps 0 to {last}."
            )
        if isinstance(settings, FreshModel):
            yield from layer_contradictions(config, model, settings.num_hidden_layers)
            if dictionary.d_sae is None and dictionary.k > settings.hidden_size:
                yield (
                    f"dictionaries.{name}.k is {dictionary.k}, but {dictionary.control} has one "
                    f"latent per dimension and model {model!r} has {settings.hidden_size}."
                )


def layer_contradictions(config: Config, model: str, n_layers: int) -> Iterator[str]:
    """Sentences about layers that the GSM8K study analyses and its model does not have.

    Parameters
    ----------
    config : Config
        The validated configuration.
    model : str
        Name of the model.
    n_layers : int
        How many blocks it has.

    Yields
    ------
    str
        One sentence per unknown layer; none about a model that only other studies read.
    """
    layers = config.studies.gsm8k.published.layers
    if layers == "all" or model not in _gsm8k_models(config):
        return
    for layer in layers:
        if not 0 <= layer < n_layers:
            yield (
                f"studies.gsm8k.published.layers holds {layer}, but model {model!r} has the layers "
                f"0 to {n_layers - 1}."
            )


def named_layer_contradictions(
    config: Config, dictionary: str, model: str, n_layers: int
) -> Iterator[str]:
    """Sentences about layers that one dictionary names and a model of so many blocks does not have."""
    layers = resolve_dictionary(config, dictionary).layers
    for layer in () if isinstance(layers, str) else layers:
        if layer >= n_layers:
            yield (
                f"dictionaries.{dictionary}.layers holds {layer}, but model {model!r} has the layers "
                f"0 to {n_layers - 1}."
            )


def named_paths(config: Config) -> Iterator[tuple[str, str]]:
    """Files and directories that the configuration names.

    Yields
    ------
    key : str
        Dotted key, for messages.
    path : str
        As written.
    """
    for name, dataset in config.datasets.items():
        if isinstance(dataset, PathDataset | TextFile):
            paths = [dataset.path] if isinstance(dataset.path, str) else dataset.path
            yield from ((f"datasets.{name}.path", path) for path in paths)
    yield "reference_models.mixture", config.reference_models.mixture
    study = config.studies.specialists
    if study is not None and study.texts.source == "path":
        yield "studies.specialists.texts.pairs", study.texts.pairs
        if study.texts.categories is not None:
            yield "studies.specialists.texts.categories", study.texts.categories
    judge = None if study is None else study.published.judge
    if isinstance(judge, LocalSettings) and judge.path is not None:
        yield "studies.specialists.published.judge.path", judge.path
    scaling = config.studies.scaling
    explanations = scaling and scaling.calibrated.explanations
    for who in ("explainer", "scorer") if explanations else ():
        teller = getattr(explanations, who)
        if isinstance(teller, LocalSettings) and teller.path is not None:
            yield f"studies.scaling.calibrated.explanations.{who}.path", teller.path
    for name, dictionary in config.dictionaries.items():
        released = getattr(dictionary, "released", None)
        if released is not None and released.path is not None:
            yield f"dictionaries.{name}.released.path", released.path
    for name, model in config.models.items():
        if isinstance(model, PathModel):
            yield f"models.{name}.path", model.path
