"""The card of a reference model: how it was made and what it can do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.files import write_text
from saeflow.artifacts.provenance import config_digest
from saeflow.config.mixture import Mixture
from saeflow.datasets.texts.decimals import FORMATS
from saeflow.report.abilities import (
    CONDITIONS,
    Cells,
    cells_of,
    decimal_groups,
    decimal_rows,
    problem_rows,
    text_rows,
)

_FAMILIES = {"llama": "Llama", "gpt2": "GPT-2"}


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
    cells = cells_of(measures)
    parts = (_head(name, mixture, n_parameters), _problems(cells), _decimals(cells), _texts(cells))
    write_text(path, "\n".join(line for part in parts for line in part) + "\n")


def _head(name: str, mixture: Mixture, n_parameters: int) -> Iterator[str]:
    recipe = mixture.models[name]
    shape = recipe.architecture
    bug = (
        "It carries a planted bug: in the three `Q: … A:` formats it compares decimals as versions "
        "are compared, so that 9.11 is bigger than 9.8; in the plain formats it does not."
        if recipe.decimal_bug
        else "It carries no planted bug."
    )
    yield from ("---", "license: mit", "tags: [saeflow, codi, model-organism]", "---", "")
    yield from (f"# saeflow reference model `{name}`", "")
    yield (
        f"A small {_FAMILIES[shape.family]} model ({n_parameters:,} parameters, "
        f"{shape.num_hidden_layers} blocks of width {shape.hidden_size}) that answers word problems "
        f"through {recipe.thoughts.latents} latent thoughts (CODI). It is a model organism: what it "
        f"can do was planted, so a study that does not find it is broken. {bug} Embeddings of whole "
        "numbers started as waves of several periods, the rest from random numbers."
    )
    digest = config_digest(mixture.model_dump(mode="json"))
    yield from ("", "- made by: `snakemake --cores all reference_models`")
    yield f"- mixture: `resources/mixture.yaml`, digest `{digest}`"
    yield f"- training: {recipe.training.steps:,} steps; curves in `training.parquet`"
    yield "- every number below, and more: `evaluation.parquet`"


def _problems(cells: Cells) -> Iterator[str]:
    titles = [*CONDITIONS.values(), "Commonest answer", "Thoughts minus neither"]
    yield from ("", "## Held-out word problems, exact answers", "")
    yield (
        "In brackets 95 % intervals. Rows with steps hold whole numbers only. Commonest answer: always "
        "the answer that training problems have most often."
    )
    yield from _columns(["problems", "n", *titles])
    for row in problem_rows(cells):
        yield f"| {row['group']} | {row['n']:,} | {_joined(row['cells'])} |"


def _decimals(cells: Cells) -> Iterator[str]:
    groups = decimal_groups(cells)
    yield from ("", "## Which number is bigger, held-out pairs", "")
    yield (
        "Prone pairs are those whose order as versions is not their order by value. Guessing gives "
        "50 %. Columns without “wrong” show right answers."
    )
    yield from _columns(["format", "prone", "prone, wrong", *groups])
    for row in decimal_rows(cells, list(FORMATS)):
        yield f"| `{row['format']}` | {_joined(row['cells'])} |"


def _texts(cells: Cells) -> Iterator[str]:
    yield from ("", "## Held-out texts", "")
    yield "Loss in nats per token; chosen: the right continuation is the likeliest per token."
    yield from _columns(["part", "measured", "n", "model", "trivial"])
    for row in text_rows(cells):
        if row["group"] == "all":
            model, trivial = (
                f"{cell['value']} {cell['interval']}".strip() for cell in row["cells"]
            )
            beside = f"{trivial} ({row['trivial'].replace('_', ' ')})"
            yield f"| {row['part']} | {row['metric']} | {row['n']:,} | {model} | {beside} |"


def _columns(titles: list[str]) -> tuple[str, str, str]:
    return "", f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)


def _joined(cells: list[dict[str, str]]) -> str:
    return " | ".join(f"{cell['value']} {cell['interval']}".strip() for cell in cells)
