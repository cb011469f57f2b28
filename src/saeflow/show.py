"""A Parquet file of the workflow, for people: what it is, where it comes from, its first rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import DAMAGED, known_artifact, read_schema, unreadable
from saeflow.artifacts.vectors import KEYS, read_vectors
from saeflow.artifacts.vectors import KIND as VECTORS
from saeflow.errors import SaeflowError


def describe(path: Path, rows: int) -> str:
    """Text about a file.

    Parameters
    ----------
    path : Path
        A Parquet file of the workflow.
    rows : int
        How many rows to print.

    Returns
    -------
    str
        Several lines.

    Raises
    ------
    SaeflowError
        If the file is missing or unreadable.
    """
    import pandas as pd

    found = describe_json(path, rows)
    lines = [f"{path}: {found['kind']}, {found['n_rows']} rows"]
    if found["about"]:
        lines.append(found["about"])
    lines += ["", "provenance"]
    lines += [f"  {key:24} {value}" for key, value in found["provenance"].items()]
    lines += ["", "columns"]
    lines += [
        f"  {column['name']:24} {column['type']:20} {column['about']}"
        for column in found["columns"]
    ]
    lines.append("")
    with pd.option_context("display.width", 160, "display.max_columns", None):
        lines.append(pd.DataFrame(found["rows"]).to_string(max_colwidth=60))
    return "\n".join(lines)


def describe_json(path: Path, rows: int) -> dict[str, Any]:
    """Return the same as `describe`, as plain values."""
    if path.is_file() and path.suffix != ".parquet":
        raise SaeflowError(f"{path} is no table; expected a file whose name ends in .parquet.")
    kind, schema = read_schema(path, foreign=True)
    artifact = known_artifact(kind)
    about = {column.name: column for column in artifact.columns} if artifact else {}
    return {
        "kind": kind or "a Parquet file that saeflow did not write",
        "about": artifact.about if artifact else "",
        "n_rows": pq.read_metadata(path).num_rows,
        "provenance": metadata_of(schema),
        "columns": [
            {
                "name": field.name,
                "type": str(field.type),
                "about": about[field.name].about if field.name in about else "",
            }
            for field in schema
        ],
        "rows": _first_rows(path, kind, rows),
    }


def _first_rows(path: Path, kind: str | None, rows: int) -> list[dict[str, Any]]:
    if kind == VECTORS:
        vectors = read_vectors(path)
        values = vectors.float32()[:rows]
        names = KEYS[vectors.of]
        return [
            {
                names[0]: int(example),
                names[1]: int(place),
                "vector": [round(float(v), 4) for v in row[:4]],
            }
            for example, place, row in zip(vectors.example, vectors.place, values, strict=False)
        ]
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        first = next(file.iter_batches(batch_size=max(rows, 1)), None)
        return [] if first is None else first.slice(0, rows).to_pylist()
    except DAMAGED as error:
        raise unreadable(path, error) from None
