"""Problems from any source, as the columns of `problems.parquet`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from saeflow.artifacts.catalog import COT_TOKENS, PROBLEMS
from saeflow.config.datasets import (
    BalancedDataset,
    GeneratedDataset,
    HubDataset,
    PathDataset,
    ProblemSettings,
    SubsetSettings,
)
from saeflow.datasets.balanced import balanced_problems
from saeflow.datasets.generated import generate_problems
from saeflow.datasets.gsm8k import Problem, content_digest, read_problems
from saeflow.datasets.selection import analysed_mask, published_split
from saeflow.datasets.tokens import token_rows
from saeflow.errors import SaeflowError
from saeflow.hub_token import token, without_token


@dataclass(frozen=True)
class LoadedProblems:
    """A data set and what identifies it.

    Attributes
    ----------
    table : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PROBLEMS`.
    revision : str
        Digest of questions and answers.
    """

    table: pa.Table
    revision: str


def load_problems(settings: ProblemSettings, file: Path | None = None) -> LoadedProblems:
    """Load a data set, split it and mark what is analysed.

    Parameters
    ----------
    settings : ProblemSettings
        The block of the configuration.
    file : Path, optional
        The file behind a `PathDataset`.

    Returns
    -------
    LoadedProblems
        The table and its digest.

    Raises
    ------
    SaeflowError
        If the source is missing, malformed or not what its checksum says.
    """
    held_out: list[bool | None]
    ids: list[str] | None = None
    if isinstance(settings, GeneratedDataset):
        problems, splits, held_out = _generated(settings)
    elif isinstance(settings, BalancedDataset):
        cells = balanced_problems(settings)
        ids = [cell.problem_id for cell in cells]
        problems = [Problem(cell.problem.question, cell.problem.answer) for cell in cells]
        splits = [cell.problem.split for cell in cells]
        held_out = [cell.problem.held_out_pair for cell in cells]
    else:
        problems = _from_file(settings, file)
        splits = ["train"] * len(problems)
        for index in published_split(len(problems), settings.split)[1]:
            splits[index] = "validation"
        held_out = [None] * len(problems)
    ids = ids or [f"{settings.id_prefix}{index}" for index in range(len(problems))]
    subset = SubsetSettings() if isinstance(settings, BalancedDataset) else settings.subset
    table = pa.table(
        {
            "problem": np.arange(len(problems), dtype=np.int32),
            "problem_id": ids,
            "question": [problem.question for problem in problems],
            "answer": [problem.answer for problem in problems],
            "gold": [problem.gold for problem in problems],
            "n_steps": pa.array([len(problem.calculations) for problem in problems], pa.int16()),
            "split": splits,
            "analysed": analysed_mask(ids, subset),
            "held_out_pair": pa.array(held_out, pa.bool_()),
        }
    )
    return LoadedProblems(table.select(PROBLEMS.column_names()), content_digest(problems))


def cot_token_table(problems: pa.Table) -> pa.Table:
    """Tokens in the calculations of all problems, one row per occurrence.

    Parameters
    ----------
    problems : pyarrow.Table
        As `load_problems` gives it.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COT_TOKENS`.

    Raises
    ------
    SaeflowError
        If no analysed problem holds a calculation.
    """
    texts = (problems[name].to_pylist() for name in ("problem", "question", "answer"))
    rows = [
        (number, *row)
        for number, question, answer in zip(*texts, strict=True)
        for row in token_rows(Problem(question, answer).calculations)
    ]
    holding = {number for number, *_ in rows}
    if holding.isdisjoint(problems.filter(problems["analysed"])["problem"].to_pylist()):
        raise SaeflowError("no analysed problem holds a <<...>> calculation; expected some.")
    columns = list(zip(*rows, strict=True))
    return pa.table(
        [
            pa.array(values, column.type)
            for values, column in zip(columns, COT_TOKENS.columns, strict=True)
        ],
        schema=COT_TOKENS.schema(),
    )


def _generated(settings: GeneratedDataset) -> tuple[list[Problem], list[str], list[bool | None]]:
    try:
        made = generate_problems(
            n_train=settings.n_train,
            n_validation=settings.n_validation,
            seed=settings.seed,
            max_number=settings.max_number,
            step_weights=settings.step_weights,
            decimal_share=settings.decimal_share,
        )
    except ValueError as error:
        raise SaeflowError(f"the problem generator stopped: {error}") from None
    problems = [Problem(each.question, each.answer) for each in made]
    return problems, [each.split for each in made], [each.held_out_pair for each in made]


def _from_file(settings: PathDataset | HubDataset, file: Path | None) -> list[Problem]:
    if isinstance(settings, HubDataset):
        file = download(settings)
        where = f"{settings.repo}@{settings.revision}/{settings.file}"
    else:
        file = file or Path(settings.path)
        where = settings.path
    problems = read_problems(file, settings.limit)
    found = content_digest(problems)
    if settings.content_sha256 and found != settings.content_sha256:
        raise SaeflowError(
            f"{where} has the content digest {found}; content_sha256 expects "
            f"{settings.content_sha256}."
        )
    return problems


def download(settings: HubDataset) -> Path:
    """Fetch a file of a data set through huggingface_hub, so that its cache and offline mode work.

    Raises
    ------
    SaeflowError
        If the hub cannot be reached and the cache does not hold the file.
    """
    from huggingface_hub import hf_hub_download

    where = f"{settings.repo}@{settings.revision}, file {settings.file}"
    try:
        return Path(
            hf_hub_download(
                settings.repo,
                settings.file,
                revision=settings.revision,
                repo_type="dataset",
                token=token(),
            )
        )
    except Exception as error:
        # The hub's client, httpx and the operating system each bring exceptions of their own.
        reason = (
            str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "no reason"
        )
        raise SaeflowError(
            f"{where} cannot be had from the Hugging Face hub ({type(error).__name__}: "
            f"{without_token(reason)}). Without a network: HF_HUB_OFFLINE=1 where the cache holds it, else "
            "download it elsewhere and use source: path with path: FILE."
        ) from None
