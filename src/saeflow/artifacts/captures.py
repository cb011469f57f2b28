"""A capture on disk: a folder per hook and layer, a file per chunk, resumable by chunk.

Examples are cut once into numbered chunks of fixed size, and files are never merged, so any split
of the work over jobs gives the same bytes (design, section 4). A capture grows in ``NAME.partial``,
an undeclared folder that Snakemake leaves alone when a job dies, and is renamed when it is whole.
Below it each digest of what decides the content has a folder of its own, so that jobs that start
together need not agree on what is to be discarded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Shaped

from saeflow.artifacts.catalog import ANSWERS, TEXT_TOKENS
from saeflow.artifacts.chunks import PROBLEMS, count_chunks
from saeflow.artifacts.damage import damaged
from saeflow.artifacts.files import atomic_folder, link, replace_folder, write_text
from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.sealing import is_sound
from saeflow.artifacts.tables import check_schema, read_tables, write_table
from saeflow.artifacts.vectors import (
    VectorDtype,
    Vectors,
    VectorsFile,
    chunk_paths,
    write_vectors,
)
from saeflow.progress import progress

CHUNK = PROBLEMS
FINGERPRINT = "fingerprint"
"""File in the folder of a shard that tells what decided its content."""
LAYERS = "layers"
"""In the metadata of the records: number of blocks by hook."""
ORIGIN = ("config", "dataset_revision", "model_revision")
"""What all files of a capture share."""


@dataclass(frozen=True)
class ChunkCapture:
    """Thoughts and answers of one chunk of problems, in the order they were given.

    Attributes
    ----------
    activations : dict of str to numpy.ndarray of shape (problems, steps, layers, d_in)
        By hook, in storage form (see `saeflow.artifacts.vectors.Vectors`).
    dtype : {"float32", "bfloat16", "float16"}
        What the values are.
    texts : list of str
        Answers.
    predicted : list of float or None
        The numbers they give.
    decoded : list of list of str
        By problem and step: the token that the output embedding reads from the thought.
    """

    activations: dict[str, Shaped[np.ndarray, "problems steps layers d_in"]]
    dtype: VectorDtype
    texts: list[str]
    predicted: list[float | None]
    decoded: list[list[str]]


@dataclass(frozen=True)
class Shard:
    """Part of a capture.

    Attributes
    ----------
    chunks : range
        Which of its chunks.
    folder : Path
        Where they shall be.
    """

    chunks: range
    folder: Path


def capture_all(
    problems: pa.Table,
    target: Path,
    think: Callable[[list[str]], ChunkCapture],
    *,
    fingerprint: str,
    provenance: Provenance,
    shard: Shard | None = None,
) -> None:
    """Capture problems, chunk by chunk; memory does not grow with their number.

    Parameters
    ----------
    problems : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    target : Path
        Where the capture shall be.
    think : callable
        Gives the capture of a chunk of questions.
    fingerprint : str
        Digest of everything that decides the content, for resuming.
    provenance : Provenance
        Where it comes from.
    shard : Shard, optional
        Which of them only; see `saeflow.artifacts.capture_shards`.
    """
    writer = CaptureWriter(target, fingerprint)

    def write(chunk: int) -> None:
        rows = problems.slice(chunk * CHUNK, CHUNK)
        writer.write(chunk, rows, think(rows["question"].to_pylist()), provenance)

    writer.write_all(write, count_chunks(len(problems), CHUNK), shard, provenance)


class ChunkWriter:
    """Writes the chunks of a capture and knows which are there.

    Each chunk has vectors, and records that are written last; the records of all are one table in
    the end.

    Parameters
    ----------
    target : Path
        Where the finished capture shall be.
    fingerprint : str
        Digest of everything that decides the content; chunks of another fingerprint are not used, and
        discarded in the end.
    records : Artifact
        What the records are.
    """

    def __init__(self, target: Path, fingerprint: str, records: Artifact) -> None:
        self.records = records
        self.target = target
        self.name = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        self.partial = target.with_name(f"{target.name}.partial") / self.name

    def write_all(
        self,
        write: Callable[[int], None],
        n_chunks: int,
        shard: Shard | None,
        provenance: Provenance,
    ) -> None:
        """Write what is missing of all chunks and finish, or of those of a shard.

        Parameters
        ----------
        write : callable
            Makes a chunk and writes it, its records last.
        n_chunks : int
            Chunks of the capture.
        shard : Shard or None
            Which of them, and where they shall be.
        provenance : Provenance
            Where it comes from.
        """
        chunks = range(n_chunks) if shard is None else shard.chunks
        for chunk in progress(chunks, description="capture", total=len(chunks), unit="chunks"):
            if not self.has(chunk):
                write(chunk)
        if shard is None:
            self.finish(n_chunks, provenance)
        else:
            self.hand_over(shard)

    def has(self, chunk: int) -> bool:
        """Whether a chunk is complete and sound; its records are written last."""
        vectors = self.partial.glob(f"*/layer*/chunk{chunk}.parquet")
        return self._records(chunk).is_file() and all(
            map(is_sound, (self._records(chunk), *vectors))
        )

    def write_vectors(
        self, chunk: int, hook: str, layer: int, vectors: Vectors, provenance: Provenance
    ) -> None:
        """Write what one hook and layer gave."""
        path = self.partial / hook / f"layer{layer}" / f"chunk{chunk}.parquet"
        place = _place(hook, layer, chunk)
        write_vectors(vectors, path, replace(provenance, extra={**provenance.extra, **place}))

    def write_records(
        self, chunk: int, records: pa.Table | Mapping[str, Any], provenance: Provenance
    ) -> None:
        """Write the records of a chunk, which is complete with them."""
        write_table(records, self._records(chunk), self.records, provenance)

    def finish(self, n_chunks: int, provenance: Provenance) -> None:
        """Gather the records and put the capture where it belongs."""
        paths = [self._records(chunk) for chunk in range(n_chunks)]
        write_gathered(paths, self.partial, self.records, provenance)
        shutil.rmtree(self.partial / self.records.name)
        replace_folder(self.partial, self.target)
        shutil.rmtree(self.partial.parent)

    def hand_over(self, shard: Shard) -> None:
        """Link the chunks of a shard into its folder; here they stay, for shards cut otherwise."""
        with atomic_folder(shard.folder) as folder:
            for chunk in shard.chunks:
                for path in self.partial.rglob(f"chunk{chunk}.parquet"):
                    link(path, folder / path.relative_to(self.partial))
            write_text(folder / FINGERPRINT, self.name)

    def _records(self, chunk: int) -> Path:
        return self.partial / self.records.name / f"chunk{chunk}.parquet"


class CaptureWriter(ChunkWriter):
    """Writes thoughts and answers; see `ChunkWriter`."""

    def __init__(self, target: Path, fingerprint: str) -> None:
        super().__init__(target, fingerprint, ANSWERS)

    def write(
        self, chunk: int, problems: pa.Table, captured: ChunkCapture, provenance: Provenance
    ) -> None:
        """Write one chunk, its answers last.

        Parameters
        ----------
        chunk : int
            Its number.
        problems : pyarrow.Table
            Its problems.
        captured : ChunkCapture
            What they gave, in the same order.
        provenance : Provenance
            Where it comes from.
        """
        numbers = problems["problem"].to_numpy()
        for hook, values in captured.activations.items():
            count, steps, layers, width = values.shape
            for layer in range(layers):
                rows = Vectors(
                    example=np.repeat(numbers, steps).astype(np.int32),
                    place=np.tile(np.arange(steps), count).astype(np.int16),
                    values=values[:, :, layer].reshape(count * steps, width),
                    dtype=captured.dtype,
                )
                self.write_vectors(chunk, hook, layer, rows, provenance)
        gold = problems["gold"].to_pylist()
        answers = {
            "problem": numbers,
            "text": captured.texts,
            "predicted": captured.predicted,
            "gold": gold,
            "correct": [
                number == right for number, right in zip(captured.predicted, gold, strict=True)
            ],
            "decoded": captured.decoded,
        }
        self.write_records(chunk, answers, provenance)


def write_gathered(
    chunks: Sequence[Path], capture: Path, records: Artifact, provenance: Provenance
) -> None:
    """Write the records of all chunks as one table of a capture, beside the activations that it has."""
    hooks = [each.parent.name for each in capture.glob("*/layer*") if each.is_dir()]
    layers = {LAYERS: json.dumps({hook: hooks.count(hook) for hook in hooks}, sort_keys=True)}
    provenance = replace(provenance, extra={**provenance.extra, **layers})
    gathered = read_tables(chunks, records)
    write_table(gathered, records_path(capture, records), records, provenance)


def records_path(capture: Path, records: Artifact) -> Path:
    """Where a capture's records are: one table beside the folders of its hooks."""
    return capture / f"{records.name}.parquet"


def read_chunks(
    capture: Path, hook: str, layer: int, records: Artifact
) -> Iterator[tuple[Path, Vectors]]:
    """Chunks of one hook and layer, each held against its place and its capture.

    Parameters
    ----------
    capture : Path
        Folder of the capture.
    hook : str
        One of those that were captured.
    layer : int
        Block index.
    records : Artifact
        What the records of the capture are.

    Yields
    ------
    path : Path
        Of the chunk.
    vectors : Vectors
        What it holds.

    Raises
    ------
    SaeflowError
        If one is missing, damaged, or of another place, model or data set.
    """
    told = metadata_of(check_schema(records_path(capture, records), records))
    origin = {key: told[key] for key in ORIGIN if key in told}
    for chunk, path in enumerate(chunk_paths(capture / hook / f"layer{layer}")):
        file = VectorsFile(path)
        for key, expected in {**origin, **_place(hook, layer, chunk)}.items():
            found = file.metadata.get(key)
            if found != expected:
                raise damaged(path, f"was written as {key} {found}; expected {key} {expected}")
        yield path, file.read()


def _place(hook: str, layer: int, chunk: int) -> dict[str, str]:
    return {"hook": hook, "layer": str(layer), "chunk": str(chunk)}


def count_layers(capture: Path, hook: str = "resid_post") -> int:
    """Number of blocks that a capture was written with.

    Raises
    ------
    SaeflowError
        If there are none, or its records are damaged.
    """
    for records in (ANSWERS, TEXT_TOKENS):
        path = records_path(capture, records)
        if path.is_file():
            told = metadata_of(check_schema(path, records)).get(LAYERS, "{}")
            count = int(json.loads(told).get(hook, 0))
            if count:
                return count
    raise damaged(capture, f"holds no {hook} activations")


def read_layer(
    capture: Path, hook: str, layer: int, steps: Sequence[int], problems: Int[np.ndarray, " chosen"]
) -> Float[np.ndarray, "steps chosen d_in"]:
    """Activations of one hook and layer for chosen steps and problems.

    Parameters
    ----------
    capture : Path
        Folder of the capture.
    hook : str
        One of `saeflow.models.hooks.HOOKS`.
    layer : int
        Block index.
    steps : sequence of int
        Thought steps, in the order wanted.
    problems : numpy.ndarray of shape (chosen,)
        Running numbers in ascending order.

    Returns
    -------
    numpy.ndarray of shape (steps, chosen, d_in), float32
        Rows in the order of `problems`.

    Raises
    ------
    SaeflowError
        If files, steps or problems are missing.
    """
    folder = capture / hook / f"layer{layer}"
    parts: list[list[np.ndarray]] = [[] for _ in steps]
    seen = []
    for _, vectors in read_chunks(capture, hook, layer, ANSWERS):
        values = vectors.float32()
        wanted = np.isin(vectors.example, problems)
        for part, step in zip(parts, steps, strict=True):
            part.append(values[wanted & (vectors.place == step)])
        seen.append(vectors.example[wanted & (vectors.place == steps[0])])
    found = np.concatenate(seen)
    stacked = [np.concatenate(part) for part in parts]
    if not np.array_equal(found, problems) or any(len(part) != len(problems) for part in stacked):
        raise damaged(
            folder,
            f"holds {len(found)} of {len(problems)} wanted problems at the steps {list(steps)}; "
            "expected all",
        )
    return np.stack(stacked)
