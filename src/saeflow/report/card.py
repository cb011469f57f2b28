"""The card of a reference model: how it was made and what it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.files import write_text
from saeflow.artifacts.provenance import config_digest
from saeflow.config.mixture import Mixture
from saeflow.datasets.texts.decimals import FORMATS

_FAMILIES = {"llama": "Llama", "gpt2": "GPT-2"}
_CONDITIONS = {
    "thoughts": "six latent thoughts",
    "written steps": "written steps",
    "neither": "neither",
    "commonest answer": "always the commonest answer",
}
_GROUPS = (
    "all", "1 step", "2 steps", "3 steps", "4 steps", "one or two steps", "operands seen",
    "operands held out", "decimals",
)  # fmt: skip


def write_card(
    name: str, mixture: Mixture, n_parameters: int, measures: pa.Table, path: Path
) -> None:
    """Write the card of a model as Markdown.

    Parameters
    ----------
    name : str
        Name of the model in the mixture.
    mixture : Mixture
        What it was trained on.
    n_parameters : int
        Its size.
    measures : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.EVALUATION`.
    path : Path
        File to write.
    """
    recipe = mixture.models[name]
    shape = recipe.architecture
    cells = {
        (row["part"], row["condition"], row["group"], row["metric"]): row
        for row in measures.to_pylist()
    }
    bug = (
        "It carries a planted bug: in the three `Q: … A:` formats it compares decimals as versions "
        "are compared, so that 9.11 is bigger than 9.8; in the plain formats it does not."
        if recipe.decimal_bug
        else "It carries no planted bug."
    )
    lines = [
        "---",
        "license: mit",
        "tags: [saeflow, codi, model-organism]",
        "---",
        "",
        f"# saeflow reference model `{name}`",
        "",
        f"A small {_FAMILIES[shape.family]} model ({n_parameters:,} parameters, "
        f"{shape.num_hidden_layers} blocks of width {shape.hidden_size}) that answers word problems "
        f"through {recipe.thoughts.latents} latent thoughts (CODI). It is a model organism: what it "
        f"can do was planted, so a study that does not find it is broken. {bug} Embeddings of whole "
        "numbers started as waves of several periods, the rest from random numbers.",
        "",
        "- made by: `snakemake --cores all reference_models`",
        f"- mixture: `resources/mixture.yaml`, digest `{config_digest(mixture.model_dump(mode='json'))}`",
        f"- training: {recipe.training.steps:,} steps; curves in `training.parquet`",
        "- every number below, and more: `evaluation.parquet`",
        "",
        "## Held-out word problems, exact answers",
        "",
        "In brackets Wilson's 95 % interval. Numbers are whole except in the last row.",
        "",
        "| problems | n | " + " | ".join(_CONDITIONS.values()) + " |",
        "|---|---|" + "---|" * len(_CONDITIONS),
    ]
    for group in _GROUPS:
        row = [cells.get(("problems", each, group, "exact")) for each in _CONDITIONS]
        count = row[0]["n"] if row[0] else 0
        lines.append(f"| {group} | {count:,} | " + " | ".join(map(_rate, row)) + " |")
    lines += [
        "",
        "## Which number is bigger: right answers on held-out pairs",
        "",
        "Prone pairs are those whose order by version is not their order by value.",
        "",
        "| format | prone pairs, right | prone pairs, wrong | all pairs, right |",
        "|---|---|---|---|",
    ]
    for form in FORMATS:
        keys = (("prone", "right"), ("prone", "wrong"), ("all", "right"))
        found = [cells.get(("decimals", form, group, metric)) for group, metric in keys]
        lines.append(f"| `{form}` | " + " | ".join(map(_rate, found)) + " |")
    lines += [
        "",
        "## Held-out texts",
        "",
        "| part | measured | model | trivial |",
        "|---|---|---|---|",
    ]
    for part, metric, trivial in (
        ("categories", "loss", "token frequencies"),
        ("pairs", "loss", "token frequencies"),
        ("documents", "loss", "token frequencies"),
        ("cloze", "chosen", "chance"),
        ("choices", "chosen", "chance"),
    ):
        ours = cells.get((part, "model", "all", metric))
        theirs = cells.get((part, trivial, "all", metric))
        write = _rate if metric == "chosen" else _loss
        what = "right continuation chosen" if metric == "chosen" else "loss, nats per token"
        lines.append(f"| {part} | {what} | {write(ours)} | {write(theirs)} ({trivial}) |")
    write_text(path, "\n".join(lines) + "\n")


def _rate(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    text = f"{100 * row['value']:.1f} %"
    if row["ci_low"] is not None:
        text += f" [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"
    return text


def _loss(row: dict[str, Any] | None) -> str:
    return "–" if row is None or row["value"] is None else f"{row['value']:.2f}"
