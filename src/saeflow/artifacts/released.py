"""Table of released SAEs: what their release says of them and what was made of it."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import INDEX, REAL, SMALL, TEXT
from saeflow.artifacts.schema import Artifact, Column

RELEASED_FILE = "released.parquet"
"""In the folder of each bank of released SAEs."""

RELEASED = Artifact(
    "released",
    1,
    "What a release says of each SAE, with the checksums of its files, as they are kept, in the metadata.",
    (
        Column("layer", SMALL, "Block whose activations the SAE reads."),
        Column("hook", TEXT, "Where in the block."),
        Column("release", TEXT, "Release, or name of the directory that the SAE is from."),
        Column("sae_id", TEXT, "Id of the SAE in the release."),
        Column("repo", TEXT, "Repository on the hub. Null: a directory.", nullable=True),
        Column("revision", TEXT, "Commit of the repository. Null: a directory.", nullable=True),
        Column("path", TEXT, "Folder of the SAE in the repository or directory."),
        Column("hook_name", TEXT, "What the release calls the place it reads.", nullable=True),
        Column("model_name", TEXT, "What the release calls the model.", nullable=True),
        Column(
            "other_model",
            pa.bool_(),
            "Whether that is another model than the one configured. Null: one of them has no name.",
            nullable=True,
        ),
        Column("architecture", TEXT, "standard, topk, abstopk or jumprelu."),
        Column("d_in", INDEX, "Dimensions of an activation."),
        Column("d_sae", INDEX, "Latents."),
        Column("k", INDEX, "Active latents per activation, of topk and abstopk.", nullable=True),
        Column(
            "l0",
            REAL,
            "Active latents per token as published: of the registry, else average_l0_N in the path.",
            unit="latents",
            nullable=True,
        ),
        Column(
            "explained_variance", REAL, "Share of variance explained as published.", nullable=True
        ),
        Column(
            "centred",
            pa.bool_(),
            "Whether the SAE was trained on activations without their mean over dimensions; that is "
            "part of the encoder here.",
        ),
        Column(
            "scale",
            REAL,
            "What activations were multiplied by in training; that is part of the weights here. "
            "Null: nothing.",
            nullable=True,
        ),
        Column(
            "prepend_bos",
            pa.bool_(),
            "Whether a begin-of-text token stood before the texts of training. Null: not told.",
            nullable=True,
        ),
        Column("context_size", INDEX, "Tokens per text of training.", unit="tokens", nullable=True),
        Column("neuronpedia_id", TEXT, "Its place on neuronpedia.org.", nullable=True),
    ),
    ("layer",),
)
