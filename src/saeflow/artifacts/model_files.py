"""Table of the files of a fetched model."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import TEXT
from saeflow.artifacts.schema import Artifact, Column

FILES_TABLE = "files.parquet"
"""In the folder of each fetched model."""

MODEL_FILES_TABLE = Artifact(
    "model_files",
    1,
    "Files of a model that was fetched from the Hugging Face hub, as they lie beside this table.",
    (
        Column("file", TEXT, "Name of the file."),
        Column(
            "bytes",
            pa.int64(),
            "Its size, checked with the digest whenever a job loads the model.",
            unit="bytes",
        ),
        Column("sha256", TEXT, "SHA-256 of its content when it was fetched, in hexadecimal."),
        Column("repo", TEXT, "Repository on the hub that it comes from."),
        Column("revision", TEXT, "Commit of the repository."),
    ),
    ("file",),
)
