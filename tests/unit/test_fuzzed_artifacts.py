"""Whatever happens to the files of an artifact: the same result, or a sentence that names the file.

2,000 cases in `make soak`, a tenth of them otherwise.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import Phase, assume, event, given, settings
from hypothesis import strategies as st
from torch import nn

from saeflow.artifacts import captures, token_captures
from saeflow.artifacts.batches import TableGroups, write_batches
from saeflow.artifacts.captures import capture_all, count_layers, read_layer
from saeflow.artifacts.catalog import ANSWERS, EVALUATION, FEATURES, LABELS, TEXTS
from saeflow.artifacts.damage import STAMP
from saeflow.artifacts.features import read_features, shape_metadata
from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.artifacts.token_captures import (
    capture_texts,
    read_text_tokens,
    read_token_layer,
)
from saeflow.artifacts.vectors import Vectors, vectors_writer
from saeflow.errors import SaeflowError
from saeflow.models.activation_cache import ActivationCache
from saeflow.models.directories import directory_revision
from saeflow.models.reference import checkpoint as training
from saeflow.models.repository_files import MEASURED, check_fetched, check_measured
from saeflow.saes.encoding import open_bank
from saeflow.saes.quality import SiteMetric
from saeflow.saes.storage import save_bank
from saeflow.saes.training import write_quality
from saeflow.saes.wide.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from tests import fuzzed
from tests.fuzzed import OF_BYTES, Damage, damage_files, damages, snapshot, write_files
from tests.sentences import check_sentence
from tests.unit.test_captures import problems_of, think
from tests.unit.test_saes_bank import random_bank
from tests.unit.test_tables import columns_of
from tests.unit.test_token_captures import read as read_texts
from tests.unit.test_token_captures import texts_of

CASES = 2000 if os.environ.get("SAEFLOW_SOAK") else 200
NOTHING = "made anew"
"""What a reader gives that passes over what is damaged."""


def provenance_of(variant: int, **extra: str) -> Provenance:
    """Of another model, data set and seed each."""
    number = str(variant)
    return Provenance("c" + number, variant, "d" + number, "m" + number, ("numpy",), extra)


def plain(table: pa.Table) -> Any:
    return sorted((table.schema.metadata or {}).items()), table.to_pylist()


def write_answers(folder: Path, variant: int) -> None:
    write_table(
        columns_of(ANSWERS, 20, variant), folder / "a.parquet", ANSWERS, provenance_of(variant)
    )


def read_answers(folder: Path) -> Any:
    return plain(read_table(folder / "a.parquet", ANSWERS))


def write_texts(folder: Path, variant: int) -> None:
    columns = columns_of(TEXTS, 30, variant)
    types = {column.name: column.type for column in TEXTS.columns}
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    table = table.sort_by([(key, "ascending") for key in TEXTS.keys])
    path = folder / "texts.parquet"
    write_batches([table], path, TEXTS, lambda: provenance_of(variant), row_group=7)


def read_batches(folder: Path) -> Any:
    groups = TableGroups(folder / "texts.parquet", TEXTS)
    return groups.metadata, [groups.read(number).to_pylist() for number in range(len(groups))]


def write_thoughts(folder: Path, variant: int) -> None:
    with mock.patch.object(captures, "CHUNK", 4):
        capture_all(
            problems_of(10), folder, think, fingerprint="f", provenance=provenance_of(variant)
        )


def read_thoughts(folder: Path) -> Any:
    layers = {hook: count_layers(folder, hook) for hook in ("resid_post", "final_norm")}
    read = [
        read_layer(folder, hook, layer, [0, 1, 2], np.arange(10)).tobytes()
        for hook, count in layers.items()
        for layer in range(count)
    ]
    return layers, read, plain(read_table(folder / "answers.parquet", ANSWERS))


def write_tokens(folder: Path, variant: int) -> None:
    texts = texts_of([str(number) for number in range(8)])
    with mock.patch.object(token_captures, "CHUNK", 3):
        capture_texts(texts, folder, read_texts, fingerprint="f", provenance=provenance_of(variant))


def read_tokens(folder: Path) -> Any:
    tokens = read_text_tokens(folder)
    wanted = np.ones(len(tokens), bool)
    layers = {hook: count_layers(folder, hook) for hook in ("mlp_out", "resid_post")}
    read = [
        read_token_layer(folder, hook, layer, tokens, wanted).tobytes()
        for hook, count in layers.items()
        for layer in range(count)
    ]
    return layers, read, plain(tokens)


def write_bank(folder: Path, variant: int) -> None:
    bank = random_bank("abstopk", k=2 + variant, d_in=5, d_sae=7, n_sites=2)
    save_bank(bank, folder)
    quality = [("train", SiteMetric(site, "explained", 0.5, 4)) for site in bank.sites]
    keys: dict[str, str | int] = {"dictionary": "k100", "seed": variant, "control": "none"}
    write_quality(quality, folder, keys, provenance_of(variant))


def read_bank(folder: Path) -> Any:
    bank = open_bank(folder)
    weights = {name: each.numpy().tobytes() for name, each in bank.weights.items()}
    return bank.recipe, bank.sites, weights


def write_features(folder: Path, variant: int) -> None:
    for layer in (0, 1, 2):
        shape = shape_metadata([0, 2], 8, [0, 1, 2])
        columns = {"problem": [0, 1], "layer": [layer] * 2, "step": [0, 2], "feature": [3, variant],
                   "value": [0.5, -1.0]}  # fmt: skip
        provenance = provenance_of(variant, **shape)
        write_table(columns, folder / f"layer{layer}.parquet", FEATURES, provenance)


def read_all_features(folder: Path) -> Any:
    tables = read_features(folder, "all")
    return [(each.layer, each.steps, each.d_sae, plain(each.table)) for each in tables]


MODEL = {"config.json": b'{"model_type": "llama"}', "model.safetensors": bytes(range(200))}


def write_fetched(folder: Path, variant: int) -> None:
    content = {name: value + bytes([variant]) for name, value in MODEL.items()}
    write_files(folder, content)
    table = {
        "file": list(content),
        "bytes": [len(value) for value in content.values()],
        "sha256": [hashlib.sha256(value).hexdigest() for value in content.values()],
        "repo": ["r"] * len(content),
        "revision": [f"v{variant}"] * len(content),
    }
    write_table(table, folder / FILES_TABLE, MODEL_FILES_TABLE, provenance_of(variant))


def read_fetched(folder: Path) -> Any:
    return check_fetched(folder), [(folder / name).read_bytes() for name in MODEL]


def write_measured(folder: Path, variant: int) -> None:
    write_files(folder, {name: value + bytes([variant]) for name, value in MODEL.items()})
    provenance = Provenance("c", variant, None, directory_revision(folder))
    write_table(columns_of(EVALUATION, 5), folder / MEASURED, EVALUATION, provenance)


def read_measured(folder: Path) -> Any:
    check_measured(folder, directory_revision(folder))
    return [(folder / name).read_bytes() for name in MODEL]


def write_steps(folder: Path, variant: int) -> None:
    for step in (1, 2):
        tensors = {"a": {"W": torch.arange(6.0) * step + variant}}
        stream: dict[str, torch.Tensor | int] = {"order": torch.arange(4), "place": step}
        save_checkpoint(folder, Checkpoint(step, tensors, stream, [[step, 0.5]]), {"k": 3})


def read_steps(folder: Path) -> Any:
    """The last checkpoint that is whole; the one before it is as good."""
    found = load_checkpoint(folder, {"k": 3})
    if found is None:
        return NOTHING
    order = torch.as_tensor(found.stream["order"]).tolist()
    content = found.tensors["a"]["W"].tolist(), order, found.stream["place"], found.rows
    first = [float(number) for number in range(6)], [0, 1, 2, 3], 1, [[1, 0.5]]
    return NOTHING if (found.step, content) == (1, first) else (found.step, content)


def training_state() -> training.TrainingState:
    weight = nn.Parameter(torch.zeros(5))
    optimizer = torch.optim.Adam([weight])
    return training.TrainingState({"w": weight}, [optimizer], 0, [])


def write_training(folder: Path, variant: int) -> None:
    state = training_state()
    for _ in range(3 + variant):
        state.parameters["w"].grad = torch.arange(5.0)
        state.optimizers[0].step()
    state.step = 3 + variant
    state.curves.append(training.CurvePoint(1, "loss", 0.25))
    folder.mkdir(parents=True)
    training.save_checkpoint(state, folder / "checkpoint.safetensors", "f")


def read_training(folder: Path) -> Any:
    path, state = folder / "checkpoint.safetensors", training_state()
    if not training.checkpoint_step(path, "f"):
        return NOTHING
    training.load_checkpoint(state, path, with_optimizers=True)
    moments = state.optimizers[0].state[state.parameters["w"]]
    kept = {name: torch.as_tensor(value).tolist() for name, value in moments.items()}
    return state.step, state.parameters["w"].tolist(), state.curves, kept


def cache(folder: Path, variant: int = 0) -> ActivationCache:
    return ActivationCache(folder, 3, "float32", provenance_of(variant))


def write_cache(folder: Path, variant: int) -> None:
    path = cache(folder).path(0)
    with vectors_writer(path, 3, "float32", "tokens", provenance_of(variant)) as write:
        for part in range(2):
            numbers = np.arange(4, dtype=np.int32) + part
            values = np.arange(12, dtype=np.float32).reshape(4, 3) + part
            write(Vectors(numbers, numbers.astype(np.int16), values, "float32", "tokens"))


def read_cache(folder: Path) -> Any:
    opened = cache(folder)
    if opened.parts(0) is None:
        return NOTHING
    return [opened.read(0, part).tolist() for part in range(opened.parts(0) or 0)]


@dataclass(frozen=True)
class Kind:
    """How an artifact is written and read, and where it is.

    `command` is in the sentence about it; {output} is the folder that a rule declares. Of a single
    file nobody can tell whether a sound one of the same kind belongs there, unless its folder says
    the seed. `unread` are files that are read only if others are damaged.
    """

    place: str
    write: Callable[[Path, int], None]
    read: Callable[[Path], Any]
    command: str = "rebuild it with: rm -r {output}, then run the same snakemake command again."
    one_file: bool = False
    names_file: bool = True
    knows_others: bool = True
    unread: tuple[str, ...] = ()


KINDS = {
    "table": Kind("results/gsm8k/m/seed0", write_answers, read_answers, one_file=True),
    "texts": Kind(
        "results/datasets/y", write_texts, read_batches, one_file=True, knows_others=False
    ),
    "thoughts": Kind("results/capture/m/d", write_thoughts, read_thoughts),
    "tokens": Kind("results/capture/m/t", write_tokens, read_tokens),
    "bank": Kind("results/saes/m/k100/seed0", write_bank, read_bank),
    "features": Kind("results/features/m/d/k100/seed0", write_features, read_all_features),
    "fetched": Kind("results/models/m", write_fetched, read_fetched, "rm -r {output}"),
    "measured": Kind(
        "models/m",
        write_measured,
        read_measured,
        "expected it as saeflow wrote it",
        names_file=False,
    ),
    "checkpoints": Kind("results/steps", write_steps, read_steps, "", unread=("step000000001/",)),
    "training": Kind("results/training", write_training, read_training, "", knows_others=False),
    "cache": Kind("results/cache", write_cache, read_cache, ""),
}


@dataclass(frozen=True, repr=False)
class Sound:
    """A kind's artifact, another one of the kind, a file of none, and what reading the first gives."""

    kind: Kind
    folder: Path
    files: fuzzed.Files
    others: fuzzed.Files
    foreign: bytes
    expected: Any


Sounds = Callable[[str], Sound]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    run = tmp_path_factory.mktemp("run")
    write_table(columns_of(LABELS, 5), run / "labels.parquet", LABELS, provenance_of(0))
    foreign = (run / "labels.parquet").read_bytes()

    @functools.cache
    def made(name: str) -> Sound:
        kind = KINDS[name]
        other, folder = run / "other" / name, run / kind.place
        kind.write(other, 1)
        kind.write(folder, 0)
        files, others = snapshot(folder), snapshot(other)
        return Sound(kind, folder, files, others, foreign, kind.read(folder))

    return made


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Checkpoints that are passed over are told in the log."""
    logging.getLogger("saeflow").setLevel(logging.CRITICAL)


@settings(max_examples=CASES, phases=(Phase.explicit, Phase.generate, Phase.shrink))
@given(name=st.sampled_from(list(KINDS)), damage=damages())
def test_damaged_artifact_gives_the_same_or_a_sentence(
    sound: Sounds, name: str, damage: Damage
) -> None:
    made = sound(name)
    kind, folder = made.kind, made.folder
    assume(kind.knows_others or damage.how != "other")
    write_files(folder, made.files)
    if not kind.one_file:
        (folder / STAMP).touch()
    file = damage_files(folder, made.files, made.others, made.foreign, damage)
    try:
        found = kind.read(folder)
    except SaeflowError as error:
        event(f"{name}: told")
        check_sentence(error, str(folder))
        if damage.how in OF_BYTES and kind.names_file:
            check_sentence(error, Path(file).name)
        if not (kind.one_file and damage.how in ("delete", "folder")):
            output = folder / file if kind.one_file else folder
            check_sentence(error, kind.command.format(output=output))
    else:
        event(f"{name}: {'anew' if found == NOTHING else 'the same'}")
        assert found == made.expected or (not kind.command and found == NOTHING)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_notices_bytes_all_over_its_files(sound: Sounds, name: str) -> None:
    made = sound(name)
    write_files(made.folder, made.files)
    for file, content in made.files.items():
        if file.startswith(made.kind.unread):
            continue
        for place in range(0, len(content), max(1, len(content) * len(made.files) // 40)):
            changed = bytearray(content)
            changed[place] ^= 1
            (made.folder / file).write_bytes(bytes(changed))
            try:
                assert made.kind.read(made.folder) == NOTHING, (file, place)
            except SaeflowError:
                assert made.kind.command
        (made.folder / file).write_bytes(content)
