"""What the tests run through the cluster."""

from __future__ import annotations

import os

TARGETS = (
    ()
    if os.environ.get("SAEFLOW_SOAK")
    else (
        "results/features/llama/generated/llama_pca/seed0",
        "results/datasets/generated/cot_tokens.parquet",
        "results/saes/llama/llama_k100/seed0",
        "results/saes/llama/llama_wide/seed0",
    )
)
"""Of the smoke run: rules made in loops and others, with a GPU and without; all of it when soaking."""
